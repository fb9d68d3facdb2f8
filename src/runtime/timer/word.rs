//! A timer's word: what it is armed for, and whether it fired.
//!
//! | deadline 61 | WAITED 1 | state 2 |
//!
//! Firing, arming anew, ending and waiting are read-modify-writes of this word, so a deadline that was replaced cannot fire,
//! and one that fired cannot be taken back.

use crate::primitives::pack::Field;
use crate::primitives::sync::{AtomicU64, Ordering::*};

const STATE: Field = Field::low(2);
/// Somebody waits who is not on the timer's own worker.
const WAITED: Field = STATE.above(1);
const DEADLINE: Field = WAITED.above(61);

/// Deadlines from here on never come.
pub(super) const NEVER_FROM: u64 = DEADLINE.max();

const ARMED: u64 = 1;
const FIRED: u64 = 2;
/// Its handle is gone.
const OVER: u64 = 3;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Word(AtomicU64);

/// What a timer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It will fire at the deadline.
    Armed(u64),
    /// It fired for this deadline.
    Fired(u64),
    Over,
}

/// What an edge found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub(super) struct Was {
    /// It was armed, and will not fire for that deadline.
    pub(super) armed: bool,
    /// Wake those who wait.
    pub(super) waited: bool,
}

fn unpack(word: u64) -> State {
    match STATE.get(word) {
        ARMED => State::Armed(DEADLINE.get(word)),
        FIRED => State::Fired(DEADLINE.get(word)),
        _ => State::Over,
    }
}

fn pack(state: u64, deadline: u64) -> u64 {
    DEADLINE.set(STATE.set(0, state), deadline.min(NEVER_FROM))
}

impl Word {
    /// A new life, of which nobody knows yet.
    pub(super) fn begin(&self, deadline: u64) {
        self.0.store(pack(ARMED, deadline), Relaxed);
    }

    pub(super) fn state(&self) -> State {
        unpack(self.0.load(Acquire))
    }

    /// What ending it would find.
    pub(super) fn look(&self) -> Was {
        was(self.0.load(Acquire))
    }

    /// Fires, if it is still armed for this deadline. `None`: it is not.
    pub(super) fn fire(&self, deadline: u64) -> Option<Was> {
        let fired = |word| (unpack(word) == State::Armed(deadline)).then(|| pack(FIRED, deadline));
        self.0.fetch_update(AcqRel, Acquire, fired).ok().map(was)
    }

    /// Arms it anew. Who waits goes on waiting. `None`: it is over.
    pub(super) fn arm(&self, deadline: u64) -> Option<Was> {
        let armed = |word| (STATE.get(word) != OVER).then(|| pack(ARMED, deadline) | word & WAITED.mask());
        self.0.fetch_update(AcqRel, Acquire, armed).ok().map(was)
    }

    /// Arms it anew after a tick that the caller takes. False: another one took it.
    pub(super) fn take_tick(&self, fired_at: u64, next: u64) -> bool {
        let armed = |word| (unpack(word) == State::Fired(fired_at)).then(|| pack(ARMED, next));
        self.0.fetch_update(AcqRel, Acquire, armed).is_ok()
    }

    /// Ends it.
    pub(super) fn end(&self) -> Was {
        was(self.0.swap(pack(OVER, 0), AcqRel))
    }

    /// Notes that somebody waits. False: it is not armed any more.
    #[must_use]
    pub(super) fn wait(&self) -> bool {
        let waited = |word| (STATE.get(word) == ARMED).then_some(word | WAITED.mask());
        self.0.fetch_update(AcqRel, Acquire, waited).is_ok()
    }
}

fn was(word: u64) -> Was {
    Was { armed: STATE.get(word) == ARMED, waited: WAITED.get(word) != 0 }
}
