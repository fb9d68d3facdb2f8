//! A task by its handle: what C callers, and joins, hold. A name keeps nothing alive and never dangles.

use super::cell::{CELLS, Extra, Header};
use super::join::{self, JoinError, claim};
use super::raw::submit;
use super::state::{Join, Named};
use super::waker::release;
use crate::primitives::handle::{Handle, Kind};
use crate::primitives::sync::Ordering::Acquire;
use std::any::TypeId;
use std::ffi::CString;
use std::task::{Poll, Waker};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskName {
    cell: &'static Header,
    generation: u32,
    /// The one name that may join a task whose join is somebody's alone.
    owner: bool,
}

impl PartialEq for Header {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Header {}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("state", &self.state).finish_non_exhaustive()
    }
}

/// The name is stale.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stale;

impl TaskName {
    /// The task that a handle names, alive or not.
    pub(crate) fn parse(raw: u64) -> Option<Self> {
        let handle = Handle::parse(raw, Kind::Task)?;
        Some(Self { cell: CELLS.get(handle.index)?, generation: handle.generation, owner: false })
    }

    /// The name of a task to which the caller holds a reference.
    pub(crate) fn of(cell: &'static Header) -> Self {
        Self { cell, generation: cell.state.generation(), owner: false }
    }

    /// The task's cell, and what tells it from others that had, or will have, that.
    pub(crate) fn parts(self) -> (&'static Header, u32) {
        (self.cell, self.generation)
    }

    /// The reverse.
    pub(crate) fn of_parts(cell: &'static Header, generation: u32) -> Self {
        Self { cell, generation, owner: false }
    }

    pub(crate) fn raw(self) -> u64 {
        self.cell.name()
    }

    /// Wakes the task. Any thread.
    pub(crate) fn wake(self) -> Result<(), Stale> {
        self.act(self.cell.state.wake_named(self.generation, || self.cell.is_local()))
    }

    /// Asks the task to end. Any thread.
    pub(crate) fn abort(self) -> Result<(), Stale> {
        self.act(self.cell.state.abort_named(self.generation, || self.cell.is_local()))
    }

    fn act(self, edge: Named) -> Result<(), Stale> {
        match edge {
            Named::Stale => Err(Stale),
            Named::Nothing => Ok(()),
            Named::Submit { kept } => {
                // SAFETY: the edge made a reference for the queue; the scheduler is this thread's, or kept until here by a
                // second one.
                unsafe { submit(self.cell) };
                if kept {
                    release(self.cell);
                }
                Ok(())
            }
        }
    }

    /// Makes this the only name that may join a task, which cannot run yet.
    pub(crate) fn exclusively(self) -> Self {
        self.cell.state.set_exclusive();
        Self { owner: true, ..self }
    }

    /// Makes an abort of a task, which cannot run yet, a request that it sees in its next poll.
    pub(crate) fn shield(self) {
        self.cell.state.set_shielded();
    }

    fn may_join(self) -> bool {
        self.owner || !self.cell.state.is_exclusive()
    }

    /// True while a worker polls the task or ends it. Also for tasks that were given up.
    pub(crate) fn is_running(self) -> bool {
        self.cell.state.is_running(self.generation)
    }

    /// True if it is not polled any more.
    pub(crate) fn is_over(self) -> bool {
        self.cell.state.is_past(self.generation)
    }

    /// True while operations go on of a task that was given up. Any thread.
    pub(crate) fn has_live_ops(self) -> bool {
        // The cell of a task that was given up never lives again, so what is read is this task's. What ends unheard between the
        // two loads is seen the next time.
        let any = |extra: &Extra| {
            let unheard = extra.ended_unheard.load(Acquire);
            extra.live_ops.load(Acquire) > unheard
        };
        self.is_abandoned() && self.cell.extra().is_some_and(any)
    }

    /// True if a shutdown gave the task up.
    pub(crate) fn is_abandoned(self) -> bool {
        self.cell.state.is_abandoned(self.generation)
    }

    /// Labels a task that cannot run yet.
    pub(crate) fn set_label(self, label: CString) {
        self.cell.set_label(label);
    }

    pub(crate) fn label(self) -> Result<Option<CString>, Stale> {
        self.with(|cell| cell.label())
    }

    /// Runs `f` with the task held alive.
    pub(crate) fn with<R>(self, f: impl FnOnce(&'static Header) -> R) -> Result<R, Stale> {
        if !self.cell.state.try_ref_named(self.generation) {
            return Err(Stale);
        }
        let _held = Held(self.cell);
        Ok(f(self.cell))
    }

    /// `None`: the name is stale, the join was given up, or the task's output is no `T`. The waiter is told apart by `key`.
    pub(crate) fn poll_join<T: 'static>(self, key: usize, waker: &Waker) -> Option<Poll<Result<T, JoinError>>> {
        // No reference is held. The name is looked at before the type: that is this life's then, or the edges below find the name
        // stale. (Before a life began, the type would be an earlier one's, and a name that was guessed could become good.)
        let cell = self.cell;
        if !self.is_joinable() || !cell.yields(TypeId::of::<T>()) {
            return None;
        }
        match join::poll_join(cell, self.generation, key, waker) {
            Join::Stale => None,
            Join::Running => Some(Poll::Pending),
            // SAFETY: the join is ours now, and the type was compared.
            Join::Taken => Some(Poll::Ready(unsafe { claim(cell) })),
            Join::Abandoned => {
                release(cell);
                Some(Poll::Ready(Err(JoinError::Cancelled)))
            }
        }
    }

    /// True if it may still be joined by this name, ended or not.
    pub(crate) fn is_joinable(self) -> bool {
        self.cell.state.is_joinable(self.generation) && self.may_join()
    }

    /// Calls the waker when the task can be joined, or not any more: now, if that is so. Stale also if the join was given
    /// up. The waiter is told apart by the waker's data.
    pub(crate) fn watch(self, waker: impl FnOnce() -> Waker) -> Result<(), Stale> {
        self.with(|cell| {
            if !self.is_joinable() {
                return Err(Stale);
            }
            let waker = waker();
            if let Err(waker) = join::await_join(cell, self.generation, waker.data().addr(), waker) {
                waker.wake();
            }
            Ok(())
        })?
    }

    /// Takes a waiter out that gave up.
    pub(crate) fn forget_joiner(self, key: usize) {
        let _ = self.with(|cell| join::forget_joiner(cell, key));
    }

    /// Gives up the join. False: the name is stale, or it was given up before.
    pub(crate) fn detach(self) -> bool {
        self.with(|cell| self.may_join() && join::detach(cell, self.generation)).unwrap_or(false)
    }

    /// A shutdown gives the task up; its joiners are told.
    pub(crate) fn abandon(self) -> bool {
        self.with(|cell| {
            let first = cell.state.abandon();
            if first {
                cell.refuse_calls();
                join::wake_joiners(cell);
            }
            first
        })
        .unwrap_or(false)
    }
}

/// A reference that is given up even where a waker's clone or drop panics.
struct Held(&'static Header);

impl Drop for Held {
    fn drop(&mut self) {
        release(self.0);
    }
}

/// How many cells are taken: by tasks that live, can be joined, or whose wakers somebody has.
pub(crate) fn cells() -> u64 {
    CELLS.iter().filter(|(_, cell)| cell.state.is_held()).count() as u64
}

/// Every task that belongs to the scheduler at this address, and lives or can be joined.
pub(crate) fn live_tasks(scheduler: *const ()) -> impl Iterator<Item = TaskName> {
    CELLS.iter().filter_map(move |(_, cell)| {
        if !cell.state.try_ref() {
            return None;
        }
        // The reference makes the fields constant while they are read.
        let found = (cell.scheduler() == scheduler).then(|| TaskName::of(cell));
        release(cell);
        found
    })
}
