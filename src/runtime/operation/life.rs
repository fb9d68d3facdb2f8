//! The life of an operation's entry: making it, its place in its task's list, and the end.

use super::super::io::{Errno, IoName};
use super::super::letting_go::InUse;
use super::super::shared::Counters;
use super::super::worker::Worker;
use super::request::{Request, Yields};
use super::*;
use crate::primitives::sync::Ordering::Relaxed;
use std::os::fd::RawFd;

/// How many free entries a worker keeps for itself.
const MOST_SPARE: usize = 256;

/// The operation with this index and 1.
pub(super) fn neighbour(link: u32) -> Option<&'static Operation> {
    OPS.get(link.checked_sub(1)?)
}

/// Makes an entry, and a user of its descriptors. `spare`: a free entry that is the caller's, which saves a walk to the slab.
pub(super) fn make(
    runtime: u64,
    home: u32,
    task: Option<&'static Header>,
    request: Request,
    ios: [Option<IoName>; 2],
    spare: impl FnOnce() -> Option<&'static Operation>,
) -> Result<&'static Operation, Errno> {
    let [first, second] = ios.map(|io| io.map(IoName::enter).transpose());
    let in_use = [first?, second?];
    let op = match spare() {
        Some(op) => op,
        None => {
            let (index, op) = OPS.alloc().ok_or(libc::ENOMEM)?;
            op.index.store(index, Relaxed);
            op
        }
    };
    // A later life's are read with what made the handle stale.
    op.home.store(home, Release);
    op.runtime.store(runtime, Release);
    op.task.store(task.map_or(std::ptr::null_mut(), |task| std::ptr::from_ref(task).cast_mut()), Relaxed);
    let many = Many::of(&request, ios[0]);
    let receives = request.receives();
    let body = Body {
        family: ios[0].map_or(0, |io| io.family()),
        request,
        ios,
        uses: Cell::new(true),
        stage: Cell::new(Stage::Ready),
        outcome: Cell::new(0),
        fate: Cell::new(if task.is_some() { Fate::Taken } else { Fate::Dropped }),
        report: Cell::new((None, std::ptr::null_mut())),
        awaited: Cell::new(false),
        cancelled: Cell::new(false),
        timed_out: Cell::new(false),
        cancels: Cell::new(false),
        deadline: Cell::new(None),
        prev: Cell::new(0),
        next: Cell::new(0),
        watcher: Cell::new(None),
        moved: Cell::new(0),
        many,
        batch: Cell::default(),
    };
    // SAFETY: a free entry is the caller's alone.
    op.body.with_mut(|place| unsafe { (*place).write(body) });
    in_use.into_iter().flatten().for_each(InUse::keep);
    match task {
        Some(_) => op.word.open(),
        None => op.word.open_mailed(News::TRY),
    };
    for (slot, io) in ios.into_iter().enumerate() {
        let Some(io) = io else { continue };
        if let Err(errno) = io.join_traffic(op, slot, receives && slot == 0) {
            for (slot, io) in ios.into_iter().enumerate().take(slot) {
                io.into_iter().for_each(|io| io.leave_traffic_of(op, slot, receives && slot == 0));
            }
            op.unmake();
            return Err(errno);
        }
    }
    Ok(op)
}

impl Operation {
    /// Drops what is the owner's. The life ends next.
    pub(super) fn drop_body(&self) {
        // SAFETY: the owner ends the life; nobody else comes to the body any more.
        self.body.with_mut(|body| unsafe { (*body).assume_init_drop() });
    }

    /// Ends what was made, for its maker. Nobody else was told of it.
    pub(super) fn unmake(&self) {
        let is_marked = self.task.load(Relaxed).is_null();
        self.drop_body();
        self.end();
        if is_marked {
            let _ = self.open_mail();
        }
    }
}

impl Worker {
    /// Makes an operation of the task that runs here.
    pub(super) fn begin(
        &self,
        task: &'static Header,
        request: Request,
        ios: [Option<IoName>; 2],
    ) -> Result<&'static Operation, Errno> {
        let spare = || self.ops().spare.borrow_mut().pop();
        let op = make(self.shared().handle, self.index(), Some(task), request, ios, spare)?;
        self.join_task(op, task);
        let extra = task.extra_or_new();
        extra.live_ops.store(extra.live_ops.load(Relaxed) + 1, Relaxed);
        Counters::add(&self.remote().counters.ops_begun, 1);
        Ok(op)
    }

    /// Puts the operation first in its task's list; from its first on the task stays here.
    fn join_task(&self, op: &'static Operation, task: &'static Header) {
        let first = task.first_op();
        let me = op.index.load(Relaxed) + 1;
        op.body(self).next.set(first);
        match neighbour(first) {
            Some(next) => next.body(self).prev.set(me),
            None => task.stay(self.index()),
        }
        task.set_first_op(me);
    }

    /// The reverse of `join_task`. The last one lets a task end that only waited for it.
    fn leave_task(&self, op: &'static Operation) {
        let Some(task) = op.task_here() else { return };
        let body = op.body(self);
        let (prev, next) = (body.prev.get(), body.next.get());
        if let Some(next) = neighbour(next) {
            next.body(self).prev.set(prev);
        }
        match neighbour(prev) {
            Some(prev) => prev.body(self).next.set(next),
            None => {
                task.set_first_op(next);
                if next == 0 {
                    task.drained();
                }
            }
        }
    }

    /// The outcome of an operation that is done, as the program sees it, and the end of its entry.
    pub(super) fn take(&self, op: &'static Operation) -> i64 {
        let outcome = self.claim(op);
        self.release(op);
        outcome
    }

    /// Makes what the operation produced the program's.
    pub(super) fn claim(&self, op: &'static Operation) -> i64 {
        let body = op.body(self);
        let outcome = body.outcome.replace(-1);
        if outcome < 0 {
            return outcome;
        }
        let made = match body.request.yields() {
            Yields::Number => {
                if let Request::Errand(errand) = &body.request {
                    errand.hand_over();
                }
                return outcome;
            }
            Yields::Connection => self.shared().adopt(outcome as RawFd, body.family, self.index()),
            Yields::File => self.shared().adopt_file(outcome as RawFd),
        };
        made.map_or_else(|errno| -i64::from(errno), |io| io.raw() as i64)
    }

    /// Lets go of an operation that is done: what nobody took is closed or given back.
    pub(super) fn release(&self, op: &'static Operation) {
        let body = op.body(self);
        if body.request.yields() != Yields::Number && body.outcome.get() >= 0 && !body.request.is_many() {
            close(body.outcome.get() as RawFd);
        }
        if let Some(many) = &body.many {
            std::iter::from_fn(|| many.take_connection()).for_each(close);
        }
        let watcher = body.watcher.take();
        self.leave_task(op);
        op.drop_body();
        match op.word.close() {
            Over::Later => {}
            Over::Free if op.word.is_reusable() && self.ops().spare.borrow().len() < MOST_SPARE => {
                self.ops().spare.borrow_mut().push(op);
            }
            Over::Free => op.give_back(),
        }
        // Whoever it wakes finds a handle that is stale.
        watcher.into_iter().for_each(|watcher| watcher.fire());
    }
}

/// Closes a descriptor that nobody has heard of.
pub(super) fn close(fd: RawFd) {
    // SAFETY: the kernel gave it to an operation, whose task did not take it.
    unsafe { libc::close(fd) };
}
