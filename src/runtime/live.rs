//! How many tasks of a runtime live, and whether it takes more.
//!
//! | CLOSED 1 | AWAITED 1 | tasks 62 |
//!
//! Beginning, ending, closing and waiting for the end are all read-modify-writes of one word, so no task is missed by a
//! shutdown and no end by a waiter. A task is counted when it can be found: whoever closes the word finds every task that
//! was taken, and the others are refused.

use crate::primitives::pack::Field;
use crate::primitives::sync::{AtomicU64, Ordering::*};

const TASKS: Field = Field::low(62);
const AWAITED: Field = TASKS.above(1);
const CLOSED: Field = AWAITED.above(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Live(AtomicU64);

/// What whoever took a count back must do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Ended {
    Nothing,
    /// It was the last: tell those who wait for that, and the workers if the word is closed.
    Last {
        closed: bool,
    },
}

impl Live {
    /// Counts a task that can be found. False: it is refused, and the count must be taken back.
    #[must_use]
    pub(super) fn begin(&self) -> bool {
        CLOSED.get(self.0.fetch_add(TASKS.one(), AcqRel)) == 0
    }

    /// Takes back the count of a task that ended, or was refused.
    pub(super) fn end(&self) -> Ended {
        let before = self.0.fetch_sub(TASKS.one(), AcqRel);
        match TASKS.get(before) == 1 && before & (AWAITED.mask() | CLOSED.mask()) != 0 {
            true => Ended::Last { closed: CLOSED.get(before) != 0 },
            false => Ended::Nothing,
        }
    }

    pub(super) fn tasks(&self) -> u64 {
        TASKS.get(self.0.load(Acquire))
    }

    /// From now on no task is taken. True for the first caller.
    pub(super) fn close(&self) -> bool {
        CLOSED.get(self.0.fetch_or(CLOSED.mask(), AcqRel)) == 0
    }

    /// Asks by a read-modify-write: a caller that made something visible before either sees the close, or is seen by it.
    pub(super) fn is_closed(&self) -> bool {
        CLOSED.get(self.0.fetch_add(0, AcqRel)) != 0
    }

    /// Somebody is about to look whether the last has ended, and sleeps if not: the last will tell.
    pub(super) fn await_last(&self) {
        self.0.fetch_or(AWAITED.mask(), AcqRel);
    }
}
