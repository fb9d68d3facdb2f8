//! How a worker that ends, ends what it has: operations of tasks that were given up, and the library's own.

use super::super::buffers::Buffers;
use super::super::worker::Worker;
use super::life::close;
use super::request::Yields;
use super::word::{News, Told};
use super::{OPS, Operation};
use crate::primitives::sync::Ordering::*;
use crate::primitives::thread::Moment;
use crate::task::Header;
use std::os::fd::RawFd;
use std::time::Duration;

/// How long the kernel is given to end what is on a ring that goes: 100 ms.
const LAST_PATIENCE: Duration = Duration::from_millis(100);

impl Worker {
    /// The worker ends, and with it what is left on its ring: sends that nobody waits for, and operations of tasks that
    /// were given up.
    pub(in super::super) fn end_operations(&self) {
        let mut completions = Vec::new();
        let ended = self.driver.borrow_mut().end(LAST_PATIENCE, &mut completions);
        if let Err(left) = ended {
            self.shared().ops_abandoned.fetch_add(left as u64, Relaxed);
            self.remote().kept.store(true, Relaxed);
            // The kernel may still write to its buffers.
            let none = Buffers::new(1, 1, Box::new(|| {}));
            std::mem::forget(self.ops().buffers.replace(none));
        }
        for completion in completions {
            self.completed(completion);
        }
        for op in self.remote().mail.close() {
            // SAFETY: what is mailed is an entry of the slab.
            self.ops().woken.push(unsafe { op.as_ref() });
        }
        // Nothing is begun any more for tasks that were given up: what can be ended is.
        self.end_woken();
        for (op, life) in self.own_operations() {
            if op.take_mark(life, || self.end_woken()) {
                self.end_for_good(op);
            }
        }
        // Those that wakers began meanwhile.
        self.end_woken();
        self.ops().woken.closed.set(true);
        self.ops().spare.borrow_mut().drain(..).for_each(Operation::give_back);
    }

    /// All operations that are this worker's, and the lives that they live. One may be its maker's yet.
    pub(super) fn own_operations(&self) -> impl Iterator<Item = (&'static Operation, u32)> {
        OPS.iter().filter_map(|(_, op)| {
            let life = op.word.life()?;
            let mine = op.runtime.load(Relaxed) == self.shared().handle && op.home.load(Relaxed) == self.index();
            mine.then_some((op, life))
        })
    }
}

impl Operation {
    /// For an owner that ends and whose mailbox is closed: marks the operation as mailed, and so makes sure that nobody else
    /// has done so. Whoever has, has the mark for a moment: a teller, who finds the mailbox closed and takes it off again; the
    /// maker of a pump, who ends that; or the owner itself, in its own list, which `own` empties. False: this life is over.
    pub(super) fn take_mark(&self, life: u32, own: impl Fn()) -> bool {
        let mut moment = Moment::default();
        loop {
            match self.word.tell_life(life, News::CANCEL) {
                Told::Stale => return false,
                Told::Post => return true,
                Told::Queued => {
                    own();
                    moment.pass();
                }
            }
        }
    }
}

impl Operation {
    /// Another thread, or the stream, had it in hand, and has done it; its owner has ended, or will when it is no longer stuck, and
    /// leaves it as it is. Its task was given up, and the entry stays the task's.
    pub(super) fn end_unheard(&'static self) {
        self.body.with(|body| {
            // SAFETY: the body stays until the operation is settled, which its owner could do on this news alone, as it could touch
            // the cell that says whether the descriptors are used. All else that is looked at is constant.
            let body = unsafe { (*body).assume_init_ref() };
            let made = self.result.load(Acquire) as i64;
            if made >= 0 && body.request.yields() == Yields::File {
                close(made as RawFd);
            }
            for (slot, io) in body.ios.into_iter().enumerate() {
                let receives = body.request.receives() && slot == 0;
                io.into_iter().for_each(|io| io.leave_traffic_of(self, slot, receives));
            }
            body.leave_descriptors();
        });
        // SAFETY: a task that was given up is never freed.
        let task = unsafe { self.task.load(Relaxed).as_ref() };
        if let Some(extra) = task.and_then(Header::extra) {
            extra.ended_unheard.fetch_add(1, AcqRel);
        }
    }
}

impl Worker {
    /// Ends what is in the list of a worker that ends.
    fn end_woken(&self) {
        while let Some(op) = self.ops().woken.pop() {
            self.end_for_good(op);
        }
    }

    /// Ends an operation of a worker that ends, which has its mark. What was done by then is over as it was done.
    fn end_for_good(&self, op: &'static Operation) {
        let life = op.word.generation();
        let Some(news) = op.open_mail() else { return };
        self.delivered(op, news);
        if op.word.lives(life) {
            self.cancel(op);
        }
    }
}
