//! Receiving into leased buffers, many times by one operation.
//!
//! A receiver has at most about `MOST_HELD` buffers that wait for its task or are leased by it, or by a multishot about twice as
//! many; then it pauses until fewer than half of `MOST_HELD` are left, or fewer than that and its task waits for more.
//!
//! When the pool is empty, who has something for its task pauses until the task took that, or buffers of its own came back. Others wait
//! in a queue, and as long as there is one nobody goes on because buffers of its own came back: who has nothing stands behind it. Who
//! gives a buffer back sees to it that the queue is looked at. No timer is involved.
//!
//! But buffers may be with those who do not give them back for as long as they like, so nobody depends on them who has nothing.
//! When the worker finds nothing else to do, or looked often and none came back, it lends: who waits in the queue receives into
//! a buffer from outside of the pool, if there is something to receive, and gets no other before that one is given back. While buffers
//! come back, which is a matter of moments where there is much to do, the queue costs less memory, and less time, than that.

use super::super::buffers::Lease;
use super::super::context::PollContext;
use super::super::io::{IoName, IoPoll, traits};
use super::super::worker::Worker;
use super::many::MOST_IN_A_ROW;
use super::progress::told_by_closed;
use super::request::Request;
use super::starved::Among;
use super::submit::GROUP;
use super::*;
use crate::driver::Completion;
use std::task::Poll;

/// How many buffers one receiver may have.
pub(super) const MOST_HELD: u32 = 16;
/// How often a busy worker looks for buffers that came back before it lends.
const PATIENCE: u32 = 64;

/// A result of a receiver.
pub(crate) enum Delivered {
    Data(Lease),
    /// The last one: the end of the stream, or an error.
    Last(i64),
}

impl Body {
    /// True for a receiver that paused for having too many buffers, and may go on: half of them came back, or some did and
    /// its task waits for more.
    fn may_receive_again(&self) -> bool {
        let Some(many) = self.many.as_ref().filter(|_| matches!(self.request, Request::RecvMany)) else { return false };
        let waits = many.leases.borrow().is_empty();
        self.stage.get() == Stage::Paused
            && !many.starves.get()
            && many.held.get() < if waits { MOST_HELD } else { MOST_HELD / 2 }
    }

    /// True for a receiver that has nothing for its task, and so must not wait for others.
    fn may_borrow(&self) -> bool {
        let many = self.many();
        !many.borrows.get() && many.leases.borrow().is_empty()
    }
}

impl Many {
    /// The results of a request that may have many.
    pub(super) fn of(request: &Request, io: Option<IoName>) -> Option<Box<Self>> {
        let is_netlink = |io: IoName| {
            !io.has(traits::STREAM) && io.option(libc::SOL_SOCKET, libc::SO_DOMAIN) == Ok(libc::AF_NETLINK)
        };
        let tells_loss = matches!(request, Request::RecvMany) && io.is_some_and(is_netlink);
        request.is_many().then(|| Box::new(Self { tells_loss, ..Self::default() }))
    }
}

/// What a receiver borrowed, until nobody has it any more.
struct Loan(OpName);

impl Drop for Loan {
    fn drop(&mut self) {
        let _ = self.0.told(self.0.op.word.tell_life(self.0.generation, News::BACK));
    }
}

impl OpName {
    /// The task of an operation that has nothing for it waits for more: a receiver that paused goes on, where it may, and may have
    /// something at once. It may also be the end, and of its entry.
    #[inline]
    pub(super) fn is_awaited(self, worker: &Worker) -> Result<(), Errno> {
        if self.op.body(worker).may_receive_again() {
            worker.go_on(self.op);
        }
        if self.op.word.lives(self.generation) { Ok(()) } else { Err(libc::EBADF) }
    }

    /// True for a receiver that has this number in the queue for buffers.
    fn has_place(self, worker: &Worker, number: u64) -> bool {
        self.op.word.lives(self.generation) && {
            let body = self.op.body(worker);
            body.stage.get() == Stage::Paused && body.many().starves.get() && body.many().number.get() == number
        }
    }

    /// The next data of a receiver.
    pub(crate) fn poll_received(self, cx: &PollContext) -> IoPoll<Delivered> {
        let next = self.with(cx, |worker, op, body| {
            if !matches!(body.request, Request::RecvMany) {
                return Err(libc::EINVAL);
            }
            if !cx.can_spend() {
                return Ok(Poll::Pending);
            }
            let next = || body.many().leases.borrow_mut().pop();
            let mut lease = next();
            if lease.is_none() {
                self.is_awaited(worker)?;
                lease = next();
            }
            if let Some(lease) = lease {
                cx.spend();
                return Ok(Poll::Ready(Delivered::Data(lease)));
            }
            if body.stage.get() == Stage::Done {
                return Ok(Poll::Ready(Delivered::Last(worker.take(op))));
            }
            body.awaited.set(true);
            Ok(Poll::Pending)
        });
        match next {
            Ok(Poll::Ready(delivered)) => Poll::Ready(Ok(delivered)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(errno) => Poll::Ready(Err(errno)),
        }
    }
}

impl Worker {
    /// Begins to receive, or goes on with it.
    pub(super) fn receive(&self, op: &'static Operation) {
        if !self.receives_on_ring(op) {
            return self.attempt_many(op);
        }
        let has_buffers = self.ops().buffers.borrow_mut().refill();
        match has_buffers {
            true => self.receive_on_ring(op),
            false => self.attempt_many(op),
        }
    }

    /// Whether the ring receives for this operation. What netlink says of messages that were lost, ENOBUFS, could not be told there
    /// from want of a buffer.
    fn receives_on_ring(&self, op: &'static Operation) -> bool {
        !op.body(self).many().tells_loss && self.can_receive_on_ring()
    }

    /// Whether the kernel receives many times by one entry, into this worker's buffers.
    pub(super) fn can_receive_on_ring(&self) -> bool {
        let on_ring = {
            let driver = self.driver.borrow();
            driver.has_ring() && driver.supports(io_uring::opcode::RecvMulti::CODE)
        };
        on_ring && self.provides()
    }

    /// Queues a receive into a buffer that the kernel chooses when there is something.
    ///
    /// For a stream it is one for each buffer, which costs no system call, for it leaves with the next wait. A multishot would
    /// spare the entry; but one that takes the last bytes while the end is coming may never look again (Linux 6.18.44: once in
    /// some thousand shutdowns of Unix sockets, and resets of TCP's; liburing's issue 1549 is about the former). What has no end
    /// is received by a multishot. The kernel goes on with that for many buffers before it looks at a cancel, so where it can be
    /// told a limit (Linux 6.17), it is.
    fn receive_on_ring(&self, op: &'static Operation) {
        let fd = io_uring::types::Fd(self.fds(op).first);
        if op.body(self).ios[0].is_some_and(|io| io.has(traits::STREAM)) {
            let entry = io_uring::opcode::Recv::new(fd, std::ptr::null_mut(), 0).buf_group(GROUP).build();
            return self.push(op, entry.flags(io_uring::squeue::Flags::BUFFER_SELECT));
        }
        let entry = io_uring::opcode::RecvMulti::new(fd, GROUP).build();
        let most = most_bytes(self.shared().config.buffer_size);
        let is_limited = self.ops().limits.get();
        op.body(self).many().is_limited.set(is_limited);
        self.push(op, if is_limited { with_limit(entry, most) } else { entry });
    }

    /// Whether the kernel chooses from this worker's buffers. Asks for that the first time.
    fn provides(&self) -> bool {
        if let Some(provides) = self.ops().provides.get() {
            return provides;
        }
        let memory = self.ops().buffers.borrow_mut().ring_memory();
        let registered = memory.and_then(|(memory, entries)| {
            // SAFETY: the memory is the pool's, which the worker gives up after it closed its ring, or leaks with it.
            unsafe { self.driver.borrow_mut().register_buffers(memory, entries, GROUP) }
        });
        self.ops().provides.set(Some(registered.is_ok()));
        registered.is_ok()
    }

    /// The kernel received something, or nothing more.
    pub(super) fn received(&self, op: &'static Operation, completion: Completion) {
        let body = op.body(self);
        let result = completion.result;
        if let Some(buffer) = completion.buffer() {
            let wanted = result > 0 && body.wants_data();
            let mut buffers = self.ops().buffers.borrow_mut();
            match wanted {
                false => buffers.unfilled(buffer),
                true => {
                    let lease = buffers.filled(buffer, result as u32, op.name());
                    drop(buffers);
                    lease.into_iter().for_each(|lease| self.keep_lease(op, lease));
                }
            }
        }
        if completion.has_more() {
            if body.many().held.get() >= MOST_HELD && self.stop_in_ring(op) {
                body.stage.set(Stage::Paused);
            }
            return;
        }
        match result.checked_neg().unwrap_or(0) {
            0 => self.settle(op, self.end_of(op)),
            errno if errno < 0 => self.go_on(op),
            // An older kernel, which knows no limit. It says so to everyone who was begun with one.
            libc::EINVAL if body.many().is_limited.replace(false) => {
                self.ops().limits.set(false);
                self.go_on(op);
            }
            libc::EINTR | libc::ECANCELED => self.go_on(op),
            // There is something, and the kernel's share was used up: asking it again would be in vain until some came back.
            libc::EAGAIN | libc::ENOBUFS if !body.cancelled.get() => self.attempt(op),
            libc::EAGAIN | libc::ENOBUFS => self.go_on(op),
            errno => self.settle(op, -i64::from(errno)),
        }
    }

    fn keep_lease(&self, op: &'static Operation, lease: Lease) {
        let many = op.body(self).many();
        many.held.set(many.held.get() + 1);
        self.deliver_lease(op, lease);
    }

    /// What was received waits for the task. What was borrowed is not counted as held, for it does not come back to the pool.
    fn deliver_lease(&self, op: &'static Operation, lease: Lease) {
        let body = op.body(self);
        body.ios[0].into_iter().for_each(|io| io.note_moved(true));
        body.many().leases.borrow_mut().push(lease);
        self.tell_task(op);
    }

    pub(super) fn attempt_receive(&self, op: &'static Operation, io: IoName) {
        let body = op.body(self);
        let (size, on_ring) = (self.shared().config.buffer_size as usize, self.receives_on_ring(op));
        for _ in 0..MOST_IN_A_ROW {
            if body.many().held.get() >= MOST_HELD {
                return self.pause(op);
            }
            let taken = self.ops().buffers.borrow_mut().take();
            let Some(taken) = taken else { return self.receive_outside(op, io, size) };
            let polled = self.as_operation(op, |cx| {
                // SAFETY: the buffer is ours until it is kept or put back.
                io.poll_recv_next(cx, size, |receiving| unsafe { receiving.receive(taken.ptr()) })
            });
            match polled {
                Poll::Ready(Ok(n)) if n > 0 => {
                    let lease = self.ops().buffers.borrow_mut().keep(taken, n as u32, op.name());
                    self.keep_lease(op, lease);
                }
                over => {
                    self.ops().buffers.borrow_mut().put_back(taken);
                    return self.received_nothing(op, over);
                }
            }
            if on_ring {
                return self.go_on(op);
            }
        }
        self.soon(op);
    }

    /// The pool is empty: into a buffer from outside of it, if one is lent.
    #[cold]
    fn receive_outside(&self, op: &'static Operation, io: IoName, size: usize) {
        let body = op.body(self);
        if !(self.ops().lending.get() && body.may_borrow()) {
            return self.starve(op);
        }
        let mut borrowed = None;
        let polled = self.as_operation(op, |cx| {
            io.poll_recv_next(cx, size, |receiving| {
                if borrowed.is_none() {
                    receiving.look()?;
                    let loan = Loan(OpName { op, generation: op.word.generation() });
                    borrowed = self.borrow_outside(move || {
                        let _ = &loan;
                    });
                }
                match &borrowed {
                    // SAFETY: as above.
                    Some(borrowed) => unsafe { receiving.receive(borrowed.ptr()) },
                    None => Err(libc::ENOMEM),
                }
            })
        });
        match (polled, borrowed) {
            (Poll::Ready(Ok(n)), Some(borrowed)) if n > 0 => {
                let lease = self.kept(borrowed, n as u32, op.name());
                body.many().borrows.set(true);
                self.deliver_lease(op, lease);
                self.go_on(op);
            }
            (over, borrowed) => {
                borrowed.into_iter().for_each(|borrowed| self.not_kept(borrowed));
                self.received_nothing(op, over);
            }
        }
    }

    fn received_nothing(&self, op: &'static Operation, over: IoPoll<usize>) {
        let body = op.body(self);
        match over {
            Poll::Pending => body.stage.set(Stage::Ready),
            Poll::Ready(done) => self.settle(op, told_by_closed(body.ios, done)),
        }
    }

    /// The receiver has as many buffers as it may, or there is none for it.
    pub(super) fn pause(&self, op: &'static Operation) {
        let body = op.body(self);
        body.stage.set(Stage::Paused);
        if !body.many().waits.replace(true) {
            self.ops().waiting.set(self.ops().waiting.get() + 1);
        }
        self.want_buffers();
    }

    /// The next buffer that comes back, from whatever thread, is to wake this worker.
    fn want_buffers(&self) {
        if !self.ops().buffers.borrow().want_release() {
            // Some came back meanwhile.
            self.shared().remote(self.index()).nudge();
        }
    }

    /// A receiver goes on, or is over.
    pub(super) fn waits_no_more(&self, op: &'static Operation) {
        if op.body(self).many.as_ref().is_some_and(|many| many.waits.replace(false)) {
            self.ops().waiting.set(self.ops().waiting.get() - 1);
        }
    }

    /// The pool is empty.
    fn starve(&self, op: &'static Operation) {
        let body = op.body(self);
        if self.ops().buffers.borrow().free() > 0 {
            // There would be one, but for the memory: nobody would wake it.
            return self.settle(op, -i64::from(libc::ENOMEM));
        }
        // Who has something for its task goes on when that was taken.
        if body.many().leases.borrow().is_empty() {
            self.stand_in_line(op);
        }
        self.pause(op);
    }

    /// A receiver that has nothing for its task waits in the queue for a buffer, behind all others, unless it has its place there.
    #[cold]
    fn stand_in_line(&self, op: &'static Operation) {
        let body = op.body(self);
        let may_borrow = body.may_borrow();
        if may_borrow {
            self.ops().hungry.set(true);
        }
        if !body.many().starves.replace(true) {
            let name = OpName { op, generation: op.word.generation() };
            let is_there = |number, name: &OpName| name.has_place(self, number);
            body.many().number.set(self.ops().starved.borrow_mut().push(name, !may_borrow, is_there));
        }
    }

    /// Nobody has what the receiver borrowed any more. It may borrow again, so if it stood in line it does so elsewhere.
    pub(super) fn loan_ended(&self, op: &'static Operation) {
        let body = op.body(self);
        body.many().borrows.set(false);
        if body.stage.get() == Stage::Paused {
            body.many().starves.set(false);
            self.go_on(op);
        }
    }

    /// Takes in the buffers that came back, and lets those go on who waited for them. True if there were any.
    pub(super) fn take_returned(&self) -> bool {
        let mut resumed = Vec::new();
        let any = self.ops().buffers.borrow_mut().collect(|owner| {
            if let Some(name) = OpName::parse(owner).filter(|name| name.op.word.lives(name.generation)) {
                let body = name.op.body(self);
                let held = body.many().held.get() - 1;
                body.many().held.set(held);
                if body.may_receive_again() {
                    resumed.push(name);
                }
            }
        });
        for name in resumed {
            if !(name.op.word.lives(name.generation) && name.op.body(self).may_receive_again()) {
                continue;
            }
            let is_first = self.ops().starved.borrow().is_empty();
            let has_nothing = name.op.body(self).many().leases.borrow().is_empty();
            match (is_first, has_nothing) {
                (true, _) => self.go_on(name.op),
                (false, true) => self.stand_in_line(name.op),
                // It stands there when its task took what it has.
                (false, false) => {}
            }
        }
        if !self.ops().starved.borrow().is_empty() {
            self.feed_starved(any);
        }
        if self.ops().provides.get() == Some(true) {
            self.ops().buffers.borrow_mut().refill();
        }
        // The wish was answered; who still waits wishes on.
        if any && self.ops().waiting.get() > 0 {
            self.want_buffers();
        }
        any
    }

    /// Lets receivers go on in their order, as far as there are buffers. Who has nothing to receive takes none: who is left because
    /// of those goes on when there is nothing else to do.
    #[cold]
    fn feed_starved(&self, any: bool) {
        let buffers = self.ops().buffers.borrow().at_hand();
        self.let_starved_go_on(buffers as usize);
        if buffers > 0 && !self.ops().starved.borrow().is_empty() {
            self.ops().hungry.set(true);
        }
        let looked = if any { 0 } else { self.ops().looked.get() + 1 };
        self.ops().looked.set(looked);
        if looked > PATIENCE {
            self.ops().looked.set(0);
            self.lend();
        }
    }

    /// So many receivers go on, as long as there are buffers. Without any, who may borrow does, if that is allowed.
    fn let_starved_go_on(&self, most: usize) {
        let waiting = self.ops().starved.borrow().len();
        for _ in 0..waiting.min(most) {
            let buffers = self.ops().buffers.borrow().at_hand();
            let among = match buffers {
                0 if self.ops().lending.get() => Among::Poor,
                0 => break,
                _ => Among::All,
            };
            let is_there = |number, name: &OpName| name.has_place(self, number);
            let next = self.ops().starved.borrow_mut().pop(among, is_there);
            let Some(OpName { op, .. }) = next else { break };
            let body = op.body(self);
            body.many().starves.set(false);
            if body.stage.get() == Stage::Paused {
                self.go_on(op);
            }
        }
    }

    /// There is nothing else to do: all who wait go on where there are buffers, and who has nothing may do without the pool. True if
    /// there were any.
    pub(in super::super) fn lend(&self) -> bool {
        let are_hungry = self.ops().hungry.replace(false);
        if are_hungry {
            self.ops().lending.set(true);
            self.let_starved_go_on(usize::MAX);
            self.ops().lending.set(false);
        }
        are_hungry
    }
}

/// After how many bytes a multishot receive ends. The kernel takes 0 for no limit, and compares it as an `int`.
pub(super) fn most_bytes(buffer_size: u32) -> u32 {
    MOST_HELD.saturating_mul(buffer_size).min(i32::MAX as u32)
}

/// Ends a multishot receive after so many bytes: IORING_RECVSEND's `optlen`, which the crate does not know.
fn with_limit(entry: crate::driver::Entry, most: u32) -> crate::driver::Entry {
    const OPTLEN: usize = 44;
    // SAFETY: an entry is the kernel's structure of 64 bytes, plain data, in which this field is four bytes at this place.
    unsafe {
        let mut bytes = std::mem::transmute::<crate::driver::Entry, [u8; 64]>(entry);
        bytes[OPTLEN..OPTLEN + 4].copy_from_slice(&most.to_ne_bytes());
        std::mem::transmute::<[u8; 64], crate::driver::Entry>(bytes)
    }
}
