//! The word that says whether a slab entry is alive, which life it lives, and who uses it.
//!
//! | generation 32 | OPEN 1 | AWAITED 1 | users 30 |
//!
//! - A free entry is not OPEN. An all-zero word is a free entry that was never used.
//! - Entering takes a reference by one CAS on the word that holds the generation, so a stale handle cannot enter.
//! - Closing clears OPEN: the handle is stale at once, and whoever leaves last finishes the entry.
//! - AWAITED says that the closer sleeps until the other users are gone.

use super::pack::Field;
use super::sync::{AtomicU64, Ordering::*};

const USERS: Field = Field::low(30);
const AWAITED: Field = USERS.above(1);
const OPEN: Field = AWAITED.above(1);
const GENERATION: Field = OPEN.above(32);

/// See the module.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct Guard(AtomicU64);

/// What the user who leaves must do next.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Left {
    /// Nothing: it is open, or others are still in.
    InUse,
    /// The closer sleeps and is now the only user: wake it.
    WakeCloser,
    /// The entry was closed and this was the last user: finish it, then `recycle`.
    Last,
}

impl Guard {
    /// The generation that `open` will give. Only the owner of a free entry may ask.
    pub(crate) fn next_generation(&self) -> u32 {
        (GENERATION.get(self.0.load(Relaxed)) as u32).wrapping_add(1)
    }

    /// Brings a free entry to life. Everything that a user may read must be written before.
    pub(crate) fn open(&self) {
        let word = GENERATION.set(OPEN.one(), self.next_generation().into());
        self.0.store(word, Release);
    }

    /// Becomes a user, if the entry still lives the life that the caller means.
    pub(crate) fn enter(&self, generation: u32) -> bool {
        self.update_if_open(generation, |word| word + USERS.one())
    }

    /// Makes the handle stale. The winner is a user, so the entry stays until it left too.
    pub(crate) fn close(&self, generation: u32) -> bool {
        self.update_if_open(generation, |word| OPEN.set(word, 0) + USERS.one())
    }

    /// Makes the handle stale if nobody uses the entry: then it is the caller's. False: it is stale already, or in use.
    pub(crate) fn close_if_unused(&self, generation: u32) -> bool {
        let unused = GENERATION.set(OPEN.one(), generation.into());
        self.0.compare_exchange(unused, GENERATION.set(0, generation.into()), AcqRel, Relaxed).is_ok()
    }

    fn update_if_open(&self, generation: u32, next: impl Fn(u64) -> u64) -> bool {
        let mut word = self.0.load(Relaxed);
        loop {
            if GENERATION.get(word) != generation.into() || OPEN.get(word) == 0 {
                return false;
            }
            match self.0.compare_exchange_weak(word, next(word), AcqRel, Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// Ends a use.
    pub(crate) fn leave(&self) -> Left {
        let before = self.0.fetch_sub(USERS.one(), AcqRel);
        match (OPEN.get(before), USERS.get(before), AWAITED.get(before)) {
            (0, 1, _) => Left::Last,
            (0, 2, 1) => Left::WakeCloser,
            _ => Left::InUse,
        }
    }

    /// For the closer: true when it is the only user left. Otherwise whoever leaves before it will see AWAITED.
    pub(crate) fn await_others(&self) -> bool {
        let before = self.0.fetch_or(AWAITED.one(), AcqRel);
        USERS.get(before) == 1
    }

    /// True while the entry lives the given life.
    pub(crate) fn is_open(&self, generation: u32) -> bool {
        let word = self.0.load(Acquire);
        GENERATION.get(word) == generation.into() && OPEN.get(word) == 1
    }

    /// The generation of an entry that is open now.
    pub(crate) fn current(&self) -> Option<u32> {
        let word = self.0.load(Acquire);
        (OPEN.get(word) == 1).then(|| GENERATION.get(word) as u32)
    }

    /// Ends the life after the last user left. False: `last` generations were lived, so the entry must not be used again.
    pub(crate) fn recycle(&self, last: u32) -> bool {
        let generation = GENERATION.get(self.0.load(Relaxed)) as u32;
        self.0.store(GENERATION.set(0, generation.into()), Release);
        generation < last
    }

    /// For tests that begin near the end of an entry's lives.
    #[cfg(test)]
    pub(crate) fn age_to(&self, generation: u32) {
        self.0.store(GENERATION.set(0, generation.into()), Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_entry_cannot_be_entered_by_a_guess() {
        let guard = Guard::default();
        assert!(!guard.enter(0));
        assert!(!guard.enter(1));
        guard.open();
        assert!(!guard.enter(0));
        assert!(guard.enter(1));
    }

    #[test]
    fn the_last_user_finishes() {
        let guard = Guard::default();
        guard.open();
        assert!(guard.enter(1));
        assert_eq!(guard.leave(), Left::InUse);
        assert!(guard.enter(1));
        assert!(guard.close(1));
        assert!(!guard.close(1), "closed once");
        assert!(!guard.enter(1), "stale at once");
        assert_eq!(guard.leave(), Left::InUse);
        assert_eq!(guard.leave(), Left::Last);
        assert!(guard.recycle(u32::MAX));
        guard.open();
        assert!(!guard.enter(1));
        assert!(guard.enter(2));
    }

    #[test]
    fn a_closer_that_waits_is_woken_by_the_last_of_the_others() {
        let guard = Guard::default();
        guard.open();
        assert!(guard.enter(1) && guard.enter(1) && guard.close(1));
        assert!(!guard.await_others());
        assert_eq!(guard.leave(), Left::InUse);
        assert_eq!(guard.leave(), Left::WakeCloser);
        assert!(guard.await_others());
        assert_eq!(guard.leave(), Left::Last);
    }

    #[test]
    fn an_entry_retires_before_its_generation_wraps() {
        let guard = Guard::default();
        guard.age_to(u32::MAX - 1);
        guard.open();
        assert!(guard.close(u32::MAX));
        assert_eq!(guard.leave(), Left::Last);
        assert!(!guard.recycle(u32::MAX));
    }
}
