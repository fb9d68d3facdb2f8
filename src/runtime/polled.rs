//! The task that a worker polls, as others see it.
//!
//! A cell may be another task's when somebody looks, so its life is noted with it. What was read belongs together if the turn is
//! the same before and after: whatever a later poll wrote comes after the turn that ended this one.

use crate::primitives::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering::*};
use crate::task::{Header, TaskName};
use std::ptr;

/// See the module. Written by the worker alone.
#[derive(Default)]
pub(super) struct Polled {
    /// Odd while there is one.
    turn: AtomicU64,
    cell: AtomicPtr<Header>,
    life: AtomicU32,
}

impl Polled {
    pub(super) fn begin(&self, task: TaskName) {
        let (cell, life) = task.parts();
        self.cell.store(ptr::from_ref(cell).cast_mut(), Release);
        self.life.store(life, Release);
        self.next_turn();
    }

    pub(super) fn end(&self) {
        self.next_turn();
    }

    /// One writer, so a load and a store will do.
    fn next_turn(&self) {
        self.turn.store(self.turn.load(Relaxed) + 1, Release);
    }

    /// `None` also where the poll ended, and maybe another began, during the look.
    pub(super) fn now(&self) -> Option<TaskName> {
        let turn = self.turn.load(Acquire);
        let (cell, life) = (self.cell.load(Acquire), self.life.load(Acquire));
        if turn.is_multiple_of(2) || self.turn.load(Relaxed) != turn {
            return None;
        }
        // SAFETY: it was written before the turn, and cells are never unmapped.
        unsafe { cell.as_ref() }.map(|cell| TaskName::of_parts(cell, life))
    }
}
