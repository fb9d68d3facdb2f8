//! Operations with many results: accepting connections, and, in `receiving.rs`, what comes on one of them.

use super::super::accepting::{MOST_PASSED_OVER, is_passed_over, is_starvation};
use super::super::context::PollContext;
use super::super::io::{Errno, IoName, IoPoll};
use super::super::worker::Worker;
use super::life::close;
use super::receiving::MOST_HELD;
use super::request::Request;
use super::*;
use crate::driver::Completion;
use std::task::Poll;

/// How many connections may wait to be taken by the task.
const MOST_WAITING: usize = 128;
/// How many system calls one receiver or listener makes in a row.
pub(super) const MOST_IN_A_ROW: u32 = 8;

impl Many {
    fn connections(&self) -> usize {
        self.accepted.get().map_or(0, |accepted| accepted.borrow().len())
    }

    pub(super) fn take_connection(&self) -> Option<i32> {
        self.accepted.get()?.borrow_mut().pop_front()
    }

    pub(super) fn has_results(&self) -> bool {
        self.connections() > 0 || !self.leases.borrow().is_empty() || self.error.get().is_some()
    }
}

impl Body {
    pub(super) fn many(&self) -> &Many {
        self.many.as_deref().expect("an operation of this kind has it")
    }
}

impl OpName {
    /// The next connection of a listener.
    pub(crate) fn poll_accepted(self, cx: &PollContext) -> IoPoll<IoName> {
        let next = self.with(cx, |worker, op, body| {
            if !matches!(body.request, Request::AcceptMany) {
                return Err(libc::EINVAL);
            }
            if !cx.can_spend() {
                return Ok(Poll::Pending);
            }
            let many = body.many();
            let connection = many.take_connection();
            if let Some(fd) = connection {
                cx.spend();
                worker.resume_if_drained(op);
                // Which closed it; the operation goes on, as after any want of memory.
                let adopted = worker.shared().adopt(fd, body.family, worker.index()).map_err(|_| libc::ENOMEM);
                return adopted.map(Poll::Ready);
            }
            match many.error.take() {
                Some(errno) => return Err(errno),
                None if body.stage.get() == Stage::Done => return Err(worker.take(op).unsigned_abs() as Errno),
                None => body.awaited.set(true),
            }
            Ok(Poll::Pending)
        });
        match next {
            Ok(Poll::Ready(io)) => Poll::Ready(Ok(io)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(errno) => Poll::Ready(Err(errno)),
        }
    }
}

impl Worker {
    // Accepting.

    /// The kernel accepted a connection, or could not.
    pub(super) fn accepted(&self, op: &'static Operation, completion: Completion) {
        let result = completion.result;
        if result >= 0 {
            self.keep_connection(op, result);
        }
        let body = op.body(self);
        if completion.has_more() {
            let is_full = body.many().connections() >= MOST_WAITING;
            if is_full && self.stop_in_ring(op) {
                body.stage.set(Stage::Paused);
            }
            return;
        }
        match result.checked_neg().unwrap_or(0) {
            errno if errno <= 0 || errno == libc::EINTR => {
                body.moved.set(0);
                self.go_on(op);
            }
            // Not without end, for these may also be this system's own doing.
            errno if is_passed_over(errno) && body.moved.get() < MOST_PASSED_OVER => {
                body.moved.set(body.moved.get() + 1);
                self.go_on(op);
            }
            errno if is_passed_over(errno) => self.try_accept_later(op, errno),
            libc::ECANCELED => self.go_on(op),
            libc::EAGAIN if !body.cancelled.get() => self.attempt(op),
            libc::EAGAIN => self.go_on(op),
            errno => self.could_not_accept(op, errno),
        }
    }

    fn keep_connection(&self, op: &'static Operation, fd: i32) {
        let body = op.body(self);
        if body.fate.get() == Fate::Dropped {
            return close(fd);
        }
        body.many().accepted.get_or_init(Box::default).borrow_mut().push_back(fd);
        self.notify(op);
    }

    /// Want of descriptors or memory is told once, and the next try waits; anything else is the end.
    fn could_not_accept(&self, op: &'static Operation, errno: Errno) {
        let body = op.body(self);
        if body.cancelled.get() || !(is_starvation(errno) || is_passed_over(errno)) {
            return self.settle(op, -i64::from(errno));
        }
        self.try_accept_later(op, errno);
    }

    /// The task is told, and the next try waits for a descriptor to become free, or for a while.
    fn try_accept_later(&self, op: &'static Operation, errno: Errno) {
        let body = op.body(self);
        body.stage.set(Stage::Paused);
        body.many().error.set(Some(errno));
        body.many().starves.set(true);
        self.shared().fds.starve(op.name());
        self.notify(op);
    }

    fn attempt_accept(&self, op: &'static Operation, io: IoName) {
        let body = op.body(self);
        for _ in 0..MOST_IN_A_ROW {
            if body.many().connections() >= MOST_WAITING {
                return body.stage.set(Stage::Paused);
            }
            match self.as_operation(op, |cx| io.poll_accept_fd(cx)) {
                Poll::Pending => return body.stage.set(Stage::Ready),
                Poll::Ready(Ok(fd)) => self.keep_connection(op, fd),
                Poll::Ready(Err(libc::EBADF)) if !io.is_open() => {
                    return self.settle(op, -i64::from(libc::ECANCELED));
                }
                Poll::Ready(Err(errno)) => return self.could_not_accept(op, errno),
            }
        }
        self.soon(op);
    }

    /// The task took some: a listener that paused for that goes on.
    fn resume_if_drained(&self, op: &'static Operation) {
        let body = op.body(self);
        let many = body.many();
        if body.stage.get() == Stage::Paused && !many.starves.get() && many.connections() <= MOST_WAITING / 2 {
            self.go_on(op);
        }
    }

    // Both.

    pub(super) fn attempt_many(&self, op: &'static Operation) {
        let body = op.body(self);
        match (body.ios[0], &body.request) {
            (Some(io), Request::AcceptMany) => self.attempt_accept(op, io),
            (Some(io), _) => self.attempt_receive(op, io),
            (None, _) => self.settle(op, -i64::from(libc::EBADF)),
        }
    }

    /// A try after some time, or because a descriptor became free.
    pub(super) fn resume(&self, op: &'static Operation) {
        op.body(self).many().starves.set(false);
        self.go_on(op);
    }

    /// Nothing of it is in the kernel: it goes on, pauses or ends.
    pub(super) fn go_on(&self, op: &'static Operation) {
        let body = op.body(self);
        if body.cancelled.get() {
            return self.settle(op, -i64::from(libc::ECANCELED));
        }
        self.waits_no_more(op);
        match &body.request {
            Request::AcceptMany if body.many().connections() >= MOST_WAITING => {
                body.stage.set(Stage::Paused);
            }
            Request::RecvMany if body.many().held.get() >= MOST_HELD => self.pause(op),
            _ => self.carry_out(op),
        }
    }

    /// Goes on after others had their turn.
    pub(super) fn soon(&self, op: &'static Operation) {
        op.body(self).stage.set(Stage::Ready);
        if op.word.tell(None, News::TRY) == Told::Post {
            self.ops().woken.push(op);
        }
    }
}
