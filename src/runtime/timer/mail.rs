//! How a timer gets to its worker, and who gives its entry back.
//!
//! | ORPHAN | OVER | MAILED |
//!
//! - MAILED: who set it puts the entry into the worker's mailbox, or holds it there until the worker takes it. An entry that
//!   is mailed is given back by whoever has the mail, and by nobody else.
//! - OVER: the last user left. The worker gives the entry back after it unlinked it.
//! - ORPHAN: the worker is gone, and nothing links to the entry any more: whoever finds both bits gives it back.

use crate::primitives::sync::{AtomicU8, Ordering::*};

const MAILED: u8 = 1;
const OVER: u8 = 2;
const ORPHAN: u8 = 4;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Mail(AtomicU8);

/// What the last user must do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Next {
    /// Nothing: whoever has the mail does it.
    Nothing,
    /// Post the entry.
    Post,
    /// Give the entry back.
    GiveBack,
}

impl Mail {
    /// A new life, of which nobody knows yet.
    pub(super) fn begin(&self, mailed: bool) {
        self.0.store(if mailed { MAILED } else { 0 }, Relaxed);
    }

    /// The worker shall look. True: post the entry.
    #[must_use]
    pub(super) fn mark(&self) -> bool {
        self.0.fetch_or(MAILED, AcqRel) & MAILED == 0
    }

    /// The last user left, and is not the worker.
    pub(super) fn last_left(&self) -> Next {
        match self.0.fetch_or(OVER | MAILED, AcqRel) {
            before if before & MAILED != 0 => Next::Nothing,
            before if before & ORPHAN != 0 => Next::GiveBack,
            _ => Next::Post,
        }
    }

    /// The entry could not be posted, for the worker is gone or about to go. True: give the entry back.
    #[must_use]
    pub(super) fn undelivered(&self) -> bool {
        let before = self.0.fetch_and(!MAILED, AcqRel);
        before & (ORPHAN | OVER) == ORPHAN | OVER
    }

    /// The worker takes it out of its mailbox. True: the last user left.
    pub(super) fn open(&self) -> bool {
        self.0.swap(0, AcqRel) & OVER != 0
    }

    /// For the worker, as the last user. True: give the entry back; else it is in the mail, and the mail says so.
    #[must_use]
    pub(super) fn last_left_here(&self) -> bool {
        // Nobody marks an entry that has no users.
        self.0.load(Acquire) & MAILED == 0 || self.0.fetch_or(OVER, AcqRel) & MAILED == 0
    }

    /// The worker went before it heard of the entry.
    pub(super) fn never_linked(&self) {
        self.0.fetch_or(ORPHAN, AcqRel);
    }

    /// The worker goes, and was the last user, or not. True: give the entry back.
    #[must_use]
    pub(super) fn orphan(&self, last_left: bool) -> bool {
        let over = if last_left { OVER } else { 0 };
        let before = self.0.fetch_or(ORPHAN | over, AcqRel);
        before & MAILED == 0 && (before | over) & OVER != 0
    }
}
