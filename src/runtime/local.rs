//! Lists of tasks that one thread uses at a time, linked through the tasks themselves.

use crate::primitives::inbox::Node;
use crate::primitives::sync::Ordering::Relaxed;
use crate::task::{Header, Notified};
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// First in, first out. No allocation, no atomics beyond the tasks' own links.
pub(super) struct List {
    head: Cell<*mut Header>,
    tail: Cell<*mut Header>,
    len: Cell<u32>,
}

// SAFETY: the tasks in it are Send, and a list is used by one thread at a time (it is not Sync).
unsafe impl Send for List {}

impl List {
    pub(super) fn new() -> Self {
        Self { head: Cell::new(ptr::null_mut()), tail: Cell::new(ptr::null_mut()), len: Cell::new(0) }
    }

    pub(super) fn len(&self) -> u32 {
        self.len.get()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head.get().is_null()
    }

    pub(super) fn push(&self, task: Notified) {
        let task = task.into_raw();
        // SAFETY: a task in a queue is alive, and its link is the queue's.
        unsafe { task.as_ref() }.link().store(ptr::null_mut(), Relaxed);
        match NonNull::new(self.tail.get()) {
            None => self.head.set(task.as_ptr()),
            // SAFETY: as above.
            Some(tail) => unsafe { tail.as_ref() }.link().store(task.as_ptr(), Relaxed),
        }
        self.tail.set(task.as_ptr());
        self.len.set(self.len.get() + 1);
    }

    /// Those that come next, in their order. None of them is looked at before the one that follows is asked for.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'static Header> {
        let mut before: Option<&'static Header> = None;
        std::iter::from_fn(move || {
            let next = before.map_or(self.head.get(), |before| before.link().load(Relaxed));
            // SAFETY: a task in a queue is alive, and cells are never unmapped.
            before = unsafe { next.as_ref() };
            before
        })
    }

    pub(super) fn pop(&self) -> Option<Notified> {
        let task = NonNull::new(self.head.get())?;
        // SAFETY: a task in a queue is alive, and its link is the queue's.
        let next = unsafe { task.as_ref() }.link().load(Relaxed);
        self.head.set(next);
        if next.is_null() {
            self.tail.set(ptr::null_mut());
        }
        self.len.set(self.len.get() - 1);
        // SAFETY: `push` took it apart.
        Some(unsafe { Notified::from_raw(task) })
    }
}
