//! Tasks that were woken or spawned by threads which are no workers, or that overflowed a worker's queue. First in, first out.

use super::local::List;
use crate::primitives::sync::{AtomicU32, Mutex, Ordering::*};
use crate::task::Notified;

/// See the module. The tasks are linked through themselves.
pub(super) struct Injector {
    list: Mutex<List>,
    /// The list's length, to look at without the lock. Written under it.
    len: AtomicU32,
}

impl Injector {
    pub(super) fn new() -> Self {
        Self { list: Mutex::new(List::new()), len: AtomicU32::new(0) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len.load(Acquire) == 0
    }

    pub(super) fn len(&self) -> u32 {
        self.len.load(Relaxed)
    }

    pub(super) fn push(&self, task: Notified) {
        let list = self.list.lock();
        list.push(task);
        self.len.store(list.len(), Release);
    }

    pub(super) fn push_all(&self, tasks: impl Iterator<Item = Notified>) {
        let list = self.list.lock();
        tasks.for_each(|task| list.push(task));
        self.len.store(list.len(), Release);
    }

    /// Moves at most `n` tasks into another list.
    pub(super) fn pop_into(&self, n: u32, into: &List) {
        if self.is_empty() {
            return;
        }
        let list = self.list.lock();
        for _ in 0..n {
            match list.pop() {
                Some(task) => into.push(task),
                None => break,
            }
        }
        self.len.store(list.len(), Release);
    }
}
