//! Beginning an operation, choosing its way, and what a task may ask of it.

use super::super::context::{Current, PollContext};
use super::super::io::{Errno, IoName, IoPoll, traits};
use super::super::pool::{Job, Pool};
use super::super::shared::Phase;
use super::super::worker::Worker;
use super::life::neighbour;
use super::progress::errno_outcome;
use super::request::{CURRENT, Fds, Request};
use super::*;
use crate::primitives::sync::Ordering::Relaxed;
use std::net::SocketAddr;
use std::task::{Poll, ready};

/// The group of the receive buffers on a worker's ring.
pub(super) const GROUP: u16 = 0;

/// Runs `f` with the worker and the task of a poll. `EPERM` for a context that is no task's, or not this thread's.
pub(super) fn in_poll<R>(
    cx: &PollContext,
    f: impl FnOnce(&Worker, &'static Header) -> Result<R, Errno>,
) -> Result<R, Errno> {
    Current::with_worker(|worker| {
        let worker = worker.filter(|worker| std::ptr::eq(worker.context(), cx)).ok_or(libc::EPERM)?;
        f(worker, cx.header().ok_or(libc::EPERM)?)
    })
}

/// Begins an operation of the task that is polled, and returns its handle.
pub(crate) fn submit(cx: &PollContext, request: Request, ios: [Option<IoName>; 2]) -> Result<u64, Errno> {
    in_poll(cx, |worker, task| {
        for io in ios.into_iter().flatten() {
            worker.check(io, &request)?;
        }
        let request = for_this_kind(request, ios[0])?;
        let op = worker.begin(task, request, ios)?;
        let name = op.name();
        worker.launch(op);
        Ok(name)
    })
}

/// What an operation is on a descriptor of this kind. Writing to a socket is sending: in its order, and without SIGPIPE.
fn for_this_kind(mut request: Request, io: Option<IoName>) -> Result<Request, Errno> {
    let is = |kind| io.is_some_and(|io| io.has(kind));
    let scatters = matches!(request, Request::RecvMsg { .. });
    if let Request::Recv { flags, .. }
    | Request::RecvMsg { flags, .. }
    | Request::Send { flags, .. }
    | Request::SendMsg { flags, .. } = &mut request
    {
        // Operations wait. The ring would come back with EAGAIN, as often as it is asked.
        *flags &= !libc::MSG_DONTWAIT;
    }
    match &mut request {
        Request::Write { flags: 1.., .. } | Request::Writev { flags: 1.., .. } if !is(traits::FILE) => {
            return Err(libc::EINVAL);
        }
        Request::Write { buffer, len, .. } if is(traits::SOCKET) => {
            return Ok(Request::Send { buffer: *buffer, len: *len, flags: 0 });
        }
        Request::Recv { flags, .. } | Request::RecvMsg { flags, .. } if *flags & libc::MSG_WAITALL != 0 => {
            if !is(traits::STREAM) || *flags & (libc::MSG_OOB | libc::MSG_ERRQUEUE) != 0 {
                // What comes alone is all there is: recv(2) passes over the flag.
                *flags &= !libc::MSG_WAITALL;
            } else if scatters || *flags & (libc::MSG_PEEK | libc::MSG_TRUNC) != 0 {
                // It comes in parts, of which each must be put behind the others, and nothing but bytes be kept.
                return Err(libc::EINVAL);
            }
        }
        _ => {}
    }
    Ok(request)
}

impl OpName {
    /// The operation, if it is alive and this task's.
    fn owned(self, task: &'static Header) -> Result<&'static Operation, Errno> {
        // First, for what is read after it is this life's, or a later one's, which cannot be the task's that asks.
        if !self.is_live() {
            return Err(libc::EBADF);
        }
        if std::ptr::eq(self.op.task.load(Relaxed), task) { Ok(self.op) } else { Err(libc::EPERM) }
    }

    /// Runs `f` with the operation, for the task that it belongs to.
    pub(super) fn with<R>(
        self,
        cx: &PollContext,
        f: impl FnOnce(&Worker, &'static Operation, &Body) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        let owner = in_poll(cx, |worker, task| {
            let op = self.owned(task)?;
            f(worker, op, op.body(worker))
        });
        // Outside of tasks a stale handle is that before all else.
        owner.map_err(|errno| if errno == libc::EPERM && !self.is_live() { libc::EBADF } else { errno })
    }

    /// The same, for the task whose poll goes on on this thread.
    fn with_own<R>(self, f: impl FnOnce(&Worker, &'static Operation, &Body) -> Result<R, Errno>) -> Result<R, Errno> {
        match PollContext::current() {
            Some(cx) => self.with(cx, f),
            None => Err(if self.is_live() { libc::EPERM } else { libc::EBADF }),
        }
    }

    /// The outcome, once.
    pub(crate) fn poll(self, cx: &PollContext) -> IoPoll<i64> {
        let polled = self.with(cx, |worker, op, body| {
            if body.request.is_many() {
                return Err(libc::EINVAL);
            }
            if !cx.can_spend() {
                return Ok(Poll::Pending);
            }
            if body.stage.get() != Stage::Done {
                body.awaited.set(true);
                return Ok(Poll::Pending);
            }
            cx.spend();
            Ok(Poll::Ready(worker.take(op)))
        });
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(outcome)) => Poll::Ready(Ok(outcome)),
            Err(errno) => Poll::Ready(Err(errno)),
        }
    }

    /// What the name servers answered, once.
    pub(crate) fn poll_answer(self, cx: &PollContext) -> IoPoll<Vec<SocketAddr>> {
        let question = self.with(cx, |_worker, _op, body| match &body.request {
            Request::Resolve(question) => Ok(question.clone()),
            _ => Err(libc::EINVAL),
        });
        let outcome = match question {
            Ok(_) => ready!(self.poll(cx)),
            Err(errno) => Err(errno),
        };
        Poll::Ready(match (question, outcome) {
            (Ok(question), Ok(0..)) => question.answer(),
            (_, Ok(errno)) => Err(-errno as Errno),
            (_, Err(errno)) => Err(errno),
        })
    }

    /// Sets the time at which it is ended.
    pub(crate) fn set_deadline(self, at: u64) -> Result<(), Errno> {
        self.with_own(|worker, op, body| {
            if body.stage.get() == Stage::Done {
                return Ok(());
            }
            worker.set_deadline(op, at)
        })
    }

    /// Whoever submitted it wants it no more: it is ended, and its outcome dropped. On the task's worker, also between
    /// calls with its context; from elsewhere it is ended, and stays the task's.
    pub(crate) fn discard(self) {
        let discarded = Current::with_worker(|worker| {
            let is_its = |worker: &&Worker| {
                // Looked at once more when both were read: then they are of one life.
                worker.index() == self.op.home.load(Acquire)
                    && worker.shared().handle == self.op.runtime.load(Acquire)
                    && self.is_live()
            };
            let Some(worker) = worker.filter(is_its) else { return false };
            let body = self.op.body(worker);
            self.op.word.forget();
            body.tell_watcher();
            body.fate.set(Fate::Dropped);
            match body.stage.get() {
                Stage::Done => worker.release(self.op),
                _ => worker.cancel(self.op),
            }
            true
        });
        if !discarded {
            let _ = self.cancel();
        }
    }

    /// The task lets go of the outcome.
    pub(crate) fn forget(self, done: Done, arg: *mut c_void) -> Result<(), Errno> {
        self.with_own(|worker, op, body| {
            if body.request.is_many() {
                return Err(libc::EINVAL);
            }
            op.word.forget();
            body.fate.set(Fate::Reported);
            body.report.set((done, arg));
            body.tell_watcher();
            if body.stage.get() == Stage::Done {
                body.drop_passed();
                worker.report_later(op);
            }
            Ok(())
        })
    }
}

/// Waits until none of the task's operations goes on.
pub(crate) fn poll_quiesce(cx: &PollContext) -> IoPoll<()> {
    let quiet = in_poll(cx, |_worker, task| {
        let quiet = task.is_quiet();
        if let Some(extra) = task.extra() {
            extra.quiesces.store(!quiet, Relaxed);
        }
        Ok(quiet)
    });
    match quiet {
        Ok(true) => Poll::Ready(Ok(())),
        Ok(false) => Poll::Pending,
        Err(errno) => Poll::Ready(Err(errno)),
    }
}

impl Worker {
    /// Whether an operation may be begun on a descriptor.
    pub(super) fn check(&self, io: IoName, request: &Request) -> Result<(), Errno> {
        if io.owner()? != self.shared().handle {
            return Err(libc::EPERM);
        }
        if self.shared().phase() != Phase::Running {
            return Err(libc::ESHUTDOWN);
        }
        let is_file = io.has(traits::FILE);
        if !is_file && !io.has(traits::NONBLOCK) && (request.is_on(false) || matches!(request, Request::Splice(_))) {
            return Err(libc::EINVAL);
        }
        let offset = match request {
            Request::Read { offset, .. } | Request::Write { offset, .. } => *offset,
            Request::Readv { offset, .. } | Request::Writev { offset, .. } => *offset,
            _ => CURRENT,
        };
        if offset != CURRENT && !is_file { Err(libc::ESPIPE) } else { Ok(()) }
    }

    /// A task ends: its operations are cancelled, and those that are over let go.
    pub(in super::super) fn drain_task(&self, task: &'static Header) {
        let mut next = task.first_op();
        while let Some(op) = neighbour(next) {
            let body = op.body(self);
            // Read first: the operation may be gone after the next lines. No other one is touched by them.
            next = body.next.get();
            if body.fate.get() == Fate::Taken {
                body.fate.set(Fate::Dropped);
                if body.stage.get() == Stage::Done {
                    body.drop_passed();
                    self.release(op);
                    continue;
                }
            }
            self.cancel(op);
        }
    }

    /// Sends the operation on its way.
    pub(super) fn launch(&self, op: &'static Operation) {
        let body = op.body(self);
        let io = body.ios[0];
        match &body.request {
            Request::Send { .. } | Request::SendMsg { .. } | Request::Writev { .. }
                if io.is_some_and(IoName::sends_in_order) =>
            {
                return self.join_stream(op);
            }
            Request::Splice(_) if body.ios[1].is_some_and(IoName::sends_in_order) => return self.join_stream(op),
            // After what rt_send queued, be it a stream or not.
            Request::Shutdown { .. } if io.is_some_and(|io| io.has(traits::SOCKET)) => return self.join_stream(op),
            Request::Shutdown { how } => {
                return self.settle(op, errno_outcome(io.map_or(Err(libc::EBADF), |io| io.shut_down(*how))));
            }
            // It begins when the last user of the descriptor has gone.
            Request::Close => return self.await_last_user(op),
            // Its runner tells.
            Request::Errand(_) => return,
            _ => {}
        }
        self.carry_out(op);
    }

    /// Does what must be done, on the way that there is.
    pub(super) fn carry_out(&self, op: &'static Operation) {
        let body = op.body(self);
        let io = body.ios[0];
        let is_file = io.is_some_and(|io| io.has(traits::FILE));
        let by_ring = body.request.opcode(io).is_some_and(|opcode| self.driver.borrow().supports(opcode));
        match &body.request {
            Request::RecvMany => self.receive(op),
            _ if by_ring => self.to_ring(op),
            request if request.is_on(is_file) || matches!(request, Request::Splice(_)) => self.attempt(op),
            _ => self.to_pool(op),
        }
    }

    pub(super) fn fds(&self, op: &'static Operation) -> Fds {
        let body = op.body(self);
        let fd = |io: Option<IoName>| io.map_or(libc::AT_FDCWD, IoName::fd);
        Fds { first: fd(body.ios[0]), second: fd(body.ios[1]) }
    }

    /// Queues the operation's entry.
    pub(super) fn to_ring(&self, op: &'static Operation) {
        let body = op.body(self);
        let is_file = body.ios[0].is_some_and(|io| io.has(traits::FILE));
        let leaves_program = is_file && self.shared().is_current_thread() && body.request.is_limited();
        match body.request.entry(self.fds(op), is_file, body.moved.get()) {
            Some(entry) if leaves_program || body.request.leaves_worker(body.ios[0]) => {
                self.push(op, entry.flags(io_uring::squeue::Flags::ASYNC));
            }
            Some(entry) => self.push(op, entry),
            None => self.settle(op, -i64::from(libc::ENOSYS)),
        }
    }

    pub(super) fn push(&self, op: &'static Operation, entry: crate::driver::Entry) {
        let body = op.body(self);
        // What the ring had of it has ended as the ring was given up. No way leads back to the ring from there.
        if self.driver.borrow().has_given_up() {
            return self.came_back(op);
        }
        if !self.driver.borrow().has_ring() {
            // It was closed, and the worker with it is about to end.
            return self.settle(op, -i64::from(libc::ECANCELED));
        }
        body.cancels.set(false);
        // SAFETY: what the entry names is the program's until the outcome was taken, or the body's, which outlives the last
        // completion; the operation is a user of its descriptors until then.
        let ticket = unsafe { self.driver.borrow_mut().push(entry.user_data(op.name())) };
        body.stage.set(Stage::Ring(ticket));
    }

    /// Gives the operation to a thread that may block.
    pub(super) fn to_pool(&self, op: &'static Operation) {
        let body = op.body(self);
        // SAFETY: the request is alive, and nobody else uses the memory that it names.
        if let Some(read) = unsafe { body.request.read_cached(self.fds(op).first) } {
            return self.settle(op, read as i64);
        }
        let queued = match &body.request {
            Request::Resolve(question) => question.submit(&self.shared().resolvers, op),
            _ => {
                // SAFETY: the entry stays alive until the job was run or revoked, for it is not settled before.
                let job = unsafe { Job::new(work, std::ptr::from_ref(op).cast()) };
                Pool::submit(&self.shared().pool, job).map_err(|(errno, _job)| errno)
            }
        };
        match (queued, &body.request) {
            (Ok(place), _) => body.stage.set(Stage::Pool(place)),
            // That it is closed was promised: better here than never.
            (Err(_), Request::Close) => {
                // SAFETY: as for the job.
                let outcome = unsafe { body.request.work(self.fds(op)) };
                self.settle(op, outcome);
            }
            (Err(errno), _) => self.settle(op, -i64::from(errno)),
        }
    }

    /// Takes an operation back from the threads that may block. False: one of them has it, and must have done it first.
    pub(super) fn revoke(&self, op: &'static Operation, place: Place) -> bool {
        match &op.body(self).request {
            Request::Resolve(question) => {
                question.revoke(&self.shared().resolvers, place);
                true
            }
            _ => self.shared().pool.revoke(place),
        }
    }
}

/// A thread of the pool does an operation.
///
/// # Safety
/// `op` is an entry in the stage `Pool`, given to the pool once.
unsafe fn work(op: *const ()) {
    // SAFETY: the caller says so; entries are never unmapped.
    let op: &'static Operation = unsafe { &*op.cast::<Operation>() };
    // SAFETY: the owner leaves the body alone in this stage, but for cells that are not read here; the request is constant.
    let outcome = unsafe {
        op.body.with(|body| {
            let body = (*body).assume_init_ref();
            let fd = |io: Option<IoName>| io.map_or(libc::AT_FDCWD, IoName::fd);
            body.request.work(Fds { first: fd(body.ios[0]), second: fd(body.ios[1]) })
        })
    };
    op.deliver(outcome);
}
