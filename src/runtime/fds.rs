//! Which descriptors a runtime has registered for readiness, and which listeners wait for descriptors to become free.

use super::shared::{NEVER, now};
use crate::primitives::sync::{AtomicU64, Mutex, Ordering::*};
use std::collections::HashMap;
use std::os::fd::RawFd;

/// How long a listener waits after EMFILE, if no descriptor becomes free before: 100 ms.
const RETRY_AFTER: u64 = 100_000_000;

/// See the module.
pub(super) struct FdTable {
    by_number: Mutex<HashMap<RawFd, u64>>,
    starved: Mutex<Vec<u64>>,
    /// Held while a descriptor enters, leaves or changes its driver's set, so that nobody takes one that is on its way for
    /// one that was closed behind us. Several, to keep closers of different descriptors out of each other's way.
    moving: [Mutex<()>; 16],
    /// When the starved are to be looked at again.
    retry_at: AtomicU64,
}

impl FdTable {
    pub(super) fn new() -> Self {
        Self {
            by_number: Mutex::new(HashMap::new()),
            starved: Mutex::new(Vec::new()),
            moving: Default::default(),
            retry_at: AtomicU64::new(NEVER),
        }
    }

    /// The lock under which this number moves.
    pub(super) fn moving(&self, fd: RawFd) -> &Mutex<()> {
        &self.moving[fd as usize % self.moving.len()]
    }

    /// The handle that is registered for this number.
    pub(super) fn get(&self, fd: RawFd) -> Option<u64> {
        self.by_number.lock().get(&fd).copied()
    }

    /// Enters a handle unless there is another one than `replaces`, which may have gone meanwhile. False: there is.
    pub(super) fn insert(&self, fd: RawFd, handle: u64, replaces: Option<u64>) -> bool {
        let mut table = self.by_number.lock();
        if table.get(&fd).is_some_and(|&other| Some(other) != replaces) {
            return false;
        }
        table.insert(fd, handle);
        true
    }

    /// Takes a handle out, if it is the one that stands there.
    pub(super) fn remove(&self, fd: RawFd, handle: u64) {
        let mut table = self.by_number.lock();
        if table.get(&fd) == Some(&handle) {
            table.remove(&fd);
        }
    }

    /// Notes a listener that could not accept for want of descriptors.
    pub(super) fn starve(&self, handle: u64) {
        let mut starved = self.starved.lock();
        if !starved.contains(&handle) {
            starved.push(handle);
        }
        let retry_at = self.retry_at.load(Relaxed).min(now() + RETRY_AFTER);
        self.retry_at.store(retry_at, Release);
    }

    /// When the starved want to be looked at; `NEVER` without any.
    pub(super) fn retry_at(&self) -> u64 {
        self.retry_at.load(Acquire)
    }

    /// The starved, if there are any and it is time (or a descriptor became free).
    pub(super) fn take_starved(&self, freed: bool) -> Vec<u64> {
        let retry_at = self.retry_at();
        if retry_at == NEVER || (!freed && now() < retry_at) {
            return Vec::new();
        }
        let mut starved = self.starved.lock();
        self.retry_at.store(NEVER, Release);
        std::mem::take(&mut starved)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_displaced_is_replaced() {
        let table = FdTable::new();
        assert!(table.insert(3, 10, None));
        assert!(!table.insert(3, 11, None), "it is there");
        assert!(table.insert(3, 11, Some(10)));
        assert!(!table.insert(3, 12, Some(10)), "another was quicker");
        table.remove(3, 11);
        assert!(table.insert(3, 12, Some(11)), "it went by itself");
        assert_eq!(table.get(3), Some(12));
    }
}
