//! Which descriptors a runtime has registered, and which listeners wait for descriptors to become free.

use super::io::IoName;
use super::shared::{NEVER, now};
use crate::primitives::sync::{AtomicU64, Mutex, Ordering::*};
use std::collections::HashMap;
use std::os::fd::RawFd;

/// How long a listener waits after EMFILE, if no descriptor becomes free before: 100 ms.
const RETRY_AFTER: u64 = 100_000_000;

/// See the module.
pub(super) struct FdTable {
    /// A lock is held while a descriptor enters, leaves or changes its driver's set, and nobody changes the set for a handle
    /// that does not stand in the table. So a number is in a set for who stands there, and for nobody else. Several, to keep
    /// closers of different descriptors out of each other's way.
    numbers: [Mutex<Numbers>; 16],
    starved: Mutex<Vec<u64>>,
    /// When the starved are to be looked at again.
    retry_at: AtomicU64,
}

/// Whose the numbers are: each is one registration's at most.
#[derive(Default)]
pub(super) struct Numbers(HashMap<RawFd, u64>);

impl Numbers {
    /// Who stands for a number. If it was closed behind us, the number may be a stranger's.
    pub(super) fn holder(&self, fd: RawFd) -> Option<IoName> {
        self.0.get(&fd).and_then(|&handle| IoName::parse(handle))
    }

    /// True if it is this handle that stands for the number.
    pub(super) fn is_held_by(&self, fd: RawFd, handle: u64) -> bool {
        self.0.get(&fd) == Some(&handle)
    }

    /// Enters a handle, in the place of who stood there.
    pub(super) fn enter(&mut self, fd: RawFd, handle: u64) {
        self.0.insert(fd, handle);
    }

    /// Takes a handle out. False: it does not stand there any more.
    pub(super) fn leave(&mut self, fd: RawFd, handle: u64) -> bool {
        self.is_held_by(fd, handle) && self.0.remove(&fd).is_some()
    }
}

impl FdTable {
    pub(super) fn new() -> Self {
        Self { numbers: Default::default(), starved: Mutex::new(Vec::new()), retry_at: AtomicU64::new(NEVER) }
    }

    /// The part of the table that this number is in.
    pub(super) fn numbers(&self, fd: RawFd) -> &Mutex<Numbers> {
        &self.numbers[fd as usize % self.numbers.len()]
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
    fn only_who_stands_there_leaves() {
        let mut numbers = Numbers::default();
        numbers.enter(3, 10);
        assert!(numbers.is_held_by(3, 10) && !numbers.leave(4, 10) && !numbers.leave(3, 11));
        numbers.enter(3, 11);
        assert!(!numbers.leave(3, 10), "another took its place");
        assert!(numbers.leave(3, 11));
        assert!(!numbers.leave(3, 11), "it went before");
        assert!(numbers.holder(3).is_none());
    }
}
