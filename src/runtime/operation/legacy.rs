//! Receivers that leave something behind: those of buffered streams, which may be read by another task later.
//!
//! Such a receiver ends by itself: what its task has not taken, and its outcome, go to its legacy, from where whoever reads
//! the stream takes them. So nothing that the kernel gave is lost when the task ends, or when another one reads on.

use super::super::buffers::LeaseQueue;
use super::super::context::PollContext;
use super::super::io::{Errno, IoName, IoPoll, traits};
use super::super::worker::Worker;
use super::submit::in_poll;
use super::{Body, Delivered, Fate, OpName, Operation, Request};
use crate::primitives::sync::Mutex;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// See the module.
#[derive(Default)]
pub(super) struct Legacy {
    left: Mutex<Left>,
}

#[derive(Default)]
struct Left {
    leases: LeaseQueue,
    /// Set when the receiver is over.
    outcome: Option<i64>,
    /// Who found the receiver to be another task's.
    waiting: Option<Waker>,
}

impl Legacy {
    /// The receiver is over.
    fn inherit(&self, leases: LeaseQueue, outcome: i64) {
        let mut left = self.left.lock();
        left.leases = leases;
        left.outcome = Some(outcome);
        let waiting = left.waiting.take();
        drop(left);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// What the receiver left, and in the end its outcome; waits for its end.
    fn poll(&self, cx: &PollContext) -> IoPoll<Delivered> {
        if !cx.can_spend() {
            return Poll::Pending;
        }
        // It is cloned, and dropped, without the lock.
        let mut waker: Option<Waker> = None;
        loop {
            let mut left = self.left.lock();
            let delivered = left.leases.pop().map(Delivered::Data).or_else(|| left.outcome.map(Delivered::Last));
            if let Some(delivered) = delivered {
                cx.spend();
                return Poll::Ready(Ok(delivered));
            }
            if let Some(waker) = waker.take() {
                let before = left.waiting.replace(waker);
                drop(left);
                drop(before);
                return Poll::Pending;
            }
            drop(left);
            waker = Some((*cx.waker()).clone());
        }
    }
}

/// A receiver of a stream's. Dropping it ends it.
pub(crate) struct Receiver {
    op: OpName,
    legacy: Arc<Legacy>,
}

impl Receiver {
    /// Begins to receive, as an operation of the task that is polled. `None` where that is no use: outside of tasks, on
    /// a worker without a ring, and for what is not a stream socket. `EBUSY`: something else receives there.
    pub(crate) fn begin(cx: &PollContext, io: IoName) -> Result<Option<Self>, Errno> {
        let begun = in_poll(cx, |worker, task| {
            if !io.has(traits::STREAM) || !worker.can_receive_on_ring() {
                return Err(libc::EPERM);
            }
            worker.check(io, &Request::RecvMany)?;
            io.check_free(false)?;
            let op = worker.begin(task, Request::RecvMany, [Some(io), None])?;
            let legacy = Arc::new(Legacy::default());
            op.body(worker).many().legacy.replace(Some(legacy.clone()));
            let receiver = Self { op: OpName { op, generation: op.word.generation() }, legacy };
            worker.launch(op);
            Ok(Some(receiver))
        });
        if begun.as_ref().is_err_and(|&errno| errno == libc::EPERM) { Ok(None) } else { begun }
    }

    /// What was received next, for whichever task. Another task's receiver is ended, and what it left comes first.
    pub(crate) fn poll(&self, cx: &PollContext) -> IoPoll<Delivered> {
        match self.op.poll_received(cx) {
            Poll::Ready(Err(libc::EPERM)) => {
                // Stale by now or not: the legacy tells.
                self.end();
                self.legacy.poll(cx)
            }
            Poll::Ready(Err(libc::EBADF)) => self.legacy.poll(cx),
            polled => polled,
        }
    }

    /// Asks the receiver to end; its outcome says when it has.
    pub(crate) fn end(&self) {
        let _ = self.op.cancel();
    }

    /// The outcome, once the receiver is over.
    pub(crate) fn outcome(&self) -> Option<i64> {
        self.legacy.left.lock().outcome
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.end();
    }
}

impl Body {
    /// True if what is received is wanted: somebody may take it still.
    pub(super) fn wants_data(&self) -> bool {
        let has_heir = || self.many.as_ref().is_some_and(|many| many.legacy.borrow().is_some());
        self.fate.get() != Fate::Dropped || has_heir()
    }
}

impl Worker {
    /// True if the receiver left something behind, and with it ended for good.
    pub(super) fn bequeath(&self, op: &'static Operation) -> bool {
        let body = op.body(self);
        let Some(legacy) = body.many.as_ref().and_then(|many| many.legacy.take()) else { return false };
        let (leases, outcome) = (body.many().leases.take(), body.outcome.get());
        self.tell_task(op);
        self.release(op);
        legacy.inherit(leases, outcome);
        true
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::primitives::{Wake, waker};
    use loom::thread::{self, Thread};

    struct Sleeper(Thread);

    impl Wake for Sleeper {
        fn wake_by_ref(this: &Arc<Self>) {
            this.0.unpark();
        }
    }

    /// Whoever reads on hears of the receiver's end, whenever that comes.
    #[test]
    fn loom_a_receiver_ends_while_another_reads_on() {
        loom::model(|| {
            let legacy = Arc::new(Legacy::default());
            let ending = thread::spawn({
                let legacy = legacy.clone();
                move || legacy.inherit(LeaseQueue::default(), -5)
            });
            let cx = PollContext::standalone(0, waker(Arc::new(Sleeper(thread::current())))).expect("memory");
            let outcome = loop {
                match legacy.poll(cx) {
                    Poll::Ready(Ok(Delivered::Last(outcome))) => break outcome,
                    Poll::Ready(_) => panic!("no data, no error"),
                    Poll::Pending => thread::park(),
                }
            };
            assert_eq!(outcome, -5);
            ending.join().expect("no panic");
            cx.free_standalone();
        });
    }
}
