//! The place for the task that was woken last by the task that runs, which is polled next. Others may take it from there when nothing
//! else is left.

use crate::primitives::sync::{AtomicPtr, Ordering::*};
use crate::task::{Header, Notified};
use std::ptr::{NonNull, null_mut};

/// See the module.
#[derive(Default)]
pub(super) struct Lifo(AtomicPtr<Header>);

impl Lifo {
    /// Puts a task there. Returns the one that was there.
    pub(super) fn put(&self, task: Notified) -> Option<Notified> {
        notified(self.0.swap(task.into_raw().as_ptr(), AcqRel))
    }

    /// Takes the task. Any thread.
    pub(super) fn take(&self) -> Option<Notified> {
        if self.is_empty() { None } else { notified(self.0.swap(null_mut(), AcqRel)) }
    }

    /// A look without ordering.
    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Relaxed).is_null()
    }

    /// The same for a worker that has just said that it sleeps, or searches no more: it sees the task, or whoever puts one there later,
    /// and looks who sleeps after that, sees what it said. These are two words, which a load would not put in order.
    pub(super) fn is_still_empty(&self) -> bool {
        self.0.compare_exchange(null_mut(), null_mut(), AcqRel, Acquire).is_ok()
    }
}

fn notified(task: *mut Header) -> Option<Notified> {
    // SAFETY: the place held a reference that `into_raw` made, and the swap made it the caller's.
    NonNull::new(task).map(|task| unsafe { Notified::from_raw(task) })
}
