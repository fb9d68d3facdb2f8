//! The task's state word, and its edges.
//!
//! | generation 32 | references 20 | flags 12 |
//!
//! A task's life:
//!
//! ```text
//! spawned: NOTIFIED --start--> RUNNING --park--> (parked) --wake--> NOTIFIED ..
//!                               ^ |--again--' (queued, but for others still running)
//!                                 |--end--> DRAINING --finish--> COMPLETE
//!                                 '--drain--> DRAINING (parked) --drained--> NOTIFIED --start--> end ..
//! ```
//!
//! The lower way is that of a task which ended while operations of its own were still going on. One that its scheduler
//! refuses goes from spawned to COMPLETE at once (retract).
//!
//! A task may also be queued while it is RUNNING: one that asked to be polled again, which goes back without a change, and
//! one that was woken on a thread of its scheduler. Then the next `start` need write nothing: whoever meets the task
//! meanwhile leaves a note, and its runner looks before the poll.
//!
//! References: one for the life (until COMPLETE), one for the queue or the runner (while NOTIFIED or RUNNING), one for the
//! right to join (while JOIN_INTEREST), one for every waker. A count that reaches its maximum stays there and the cell is
//! never used again, which is the harmless end of a million wakers.
//!
//! A name is good while the generation matches and the task has not ended or been given up, or its join is still open.

use crate::primitives::pack::Field;
use crate::primitives::sync::{AtomicU64, Ordering::*};

const FLAGS: Field = Field::low(12);
const REFS: Field = FLAGS.above(20);
const GENERATION: Field = REFS.above(32);

/// A worker polls it, or ends it, or has it in a queue: then the runner's reference is the queue's.
const RUNNING: u64 = 1;
/// It is in a queue, or will be put there after its next return from a poll.
const NOTIFIED: u64 = 1 << 1;
/// It ended: the state was dropped, the stage holds the output. Final.
const COMPLETE: u64 = 1 << 2;
/// Somebody asked it to end. Final.
const CANCELLED: u64 = 1 << 3;
/// It ended, but its drop function has not returned yet, or must wait for operations. No wake matters any more.
const DRAINING: u64 = 1 << 4;
/// Somebody may still take the output.
const JOIN_INTEREST: u64 = 1 << 5;
/// Somebody waits for the end. Set under the joiners' lock.
const JOIN_WAKER: u64 = 1 << 6;
/// It stays with its home worker. Constant.
const PINNED: u64 = 1 << 7;
/// A shutdown gave it up: its drop function must not start any more. Final.
const ABANDONED: u64 = 1 << 8;

/// Only its owner may join it. Set before the task can run.
const EXCLUSIVE: u64 = 1 << 9;
/// It has operations, so it stays with the worker that it ran on last. Changed by the runner alone, when it parks the task.
const HELD: u64 = 1 << 10;
/// It ends itself when it is asked to: it is polled then, where others are cancelled. Set before the task can run.
const SHIELDED: u64 = 1 << 11;

/// See the module.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(super) struct State(AtomicU64);

/// Whether a task that was just made can be taken back.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Retract {
    /// Its future, and so many references, are the caller's. Joiners must be woken if told so.
    Retracted { refs: u64, wake: bool },
    /// A shutdown gave it up: it stays.
    Abandoned,
}

/// What the runner does with a task that it took from a queue.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Start {
    Poll,
    Cancel,
    /// It ended before, and its last operation is over: drop its state.
    End,
    /// A shutdown gave it up: let go of it, running nothing.
    Abandoned,
}

/// What the runner does after a poll that returned pending.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Park {
    /// The runner's reference is gone.
    Parked,
    /// It was woken meanwhile: the runner's reference is now the queue's.
    Requeue,
    /// It was aborted meanwhile, and still belongs to the runner.
    Cancel,
    Abandoned,
}

/// Whether the runner may drop the task's state.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum End {
    Drop,
    Abandoned,
}

/// What the runner does after COMPLETE was set.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Finish {
    /// Nobody waits, and the output is a joiner's. The runner's and the life's reference are gone.
    Quiet { last: bool },
    /// The runner still holds both references: wake the joiners and, if told so, drop the output.
    Loud { wake: bool, drop_output: bool },
}

/// What a waker or an aborter must do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Wake {
    Nothing,
    /// A reference was made for the queue: put the task there.
    Submit,
}

/// The outcome of an edge that a name takes.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Named {
    Stale,
    Nothing,
    /// A reference was made for the queue. `kept`: and one that keeps the scheduler alive while the caller submits.
    Submit {
        kept: bool,
    },
}

/// The outcome of an edge that a joiner takes.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Join {
    Stale,
    Running,
    /// The output, and the join's reference, are the caller's now.
    Taken,
    /// It will never end; the join's reference is the caller's now.
    Abandoned,
}

/// What whoever gave up the join must do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Detach {
    Stale,
    /// The join's reference is the caller's now. Joiners must be woken if told so; the output dropped if told so.
    Detached {
        wake: bool,
        drop_output: bool,
    },
}

impl State {
    /// A free cell.
    pub(super) fn generation(&self) -> u32 {
        GENERATION.get(self.0.load(Relaxed)) as u32
    }

    /// Brings a free cell to life, with its life's, its queue's and, if asked for, its join's reference. The caller wrote
    /// all other fields before.
    pub(super) fn open(&self, generation: u32, pinned: bool, joinable: bool) {
        let mut word = GENERATION.set(0, generation.into()) | NOTIFIED;
        word |= if pinned { PINNED } else { 0 };
        word |= if joinable { JOIN_INTEREST } else { 0 };
        self.0.store(REFS.set(word, 2 + u64::from(joinable)), Release);
    }

    /// Taken by whoever opened the cell and put the task into no queue: it ends, and nobody can have its output.
    pub(super) fn retract(&self) -> Retract {
        self.edge(|word| match word & ABANDONED {
            0 => {
                let refs = 2 + u64::from(word & JOIN_INTEREST != 0);
                let over = (word | COMPLETE) & !(NOTIFIED | JOIN_INTEREST);
                (Some(over), Retract::Retracted { refs, wake: word & JOIN_WAKER != 0 })
            }
            _ => (None, Retract::Abandoned),
        })
    }

    /// Ends the life after the last reference went. False: the cell must not be used again.
    pub(super) fn recycle(&self) -> bool {
        let generation = self.generation();
        self.0.store(GENERATION.set(0, generation.into()), Release);
        generation < u32::MAX
    }

    /// One edge: `next` says which word follows and what the caller must do. `None` leaves the word alone, where the
    /// edge needs no ordering either.
    fn edge<R>(&self, mut next: impl FnMut(u64) -> (Option<u64>, R)) -> R {
        let mut word = self.0.load(Acquire);
        loop {
            let (after, result) = next(word);
            let Some(after) = after else { return result };
            match self.0.compare_exchange_weak(word, after, AcqRel, Acquire) {
                Ok(_) => return result,
                Err(now) => word = now,
            }
        }
    }

    /// Taken by whoever got the task out of a queue.
    pub(super) fn start(&self) -> Start {
        self.edge(|word| {
            debug_assert!(word & (NOTIFIED | RUNNING) != 0 && word & COMPLETE == 0, "{word:#x}");
            let running = (word | RUNNING) & !NOTIFIED;
            let changed = (word != running).then_some(running);
            match word {
                _ if word & ABANDONED != 0 => ((word & RUNNING != 0).then_some(word & !RUNNING), Start::Abandoned),
                _ if word & DRAINING != 0 => (changed, Start::End),
                _ if is_cut(word) => (changed, Start::Cancel),
                _ => (changed, Start::Poll),
            }
        })
    }

    /// Taken by the runner when the poll returned pending. `held`: the task has operations. `again`: it asked for another
    /// poll; unless somebody waits for it to return for good, that costs no write.
    pub(super) fn park(&self, held: bool, again: bool) -> Park {
        let hold = |word: u64| if held { word | HELD } else { word & !HELD };
        self.edge(|word| match word {
            _ if word & ABANDONED != 0 => (None, Park::Abandoned),
            _ if is_cut(word) => (None, Park::Cancel),
            _ if again && hold(word) == word && word & EXCLUSIVE == 0 => (None, Park::Requeue),
            _ if again || word & NOTIFIED != 0 => (Some((hold(word) | NOTIFIED) & !RUNNING), Park::Requeue),
            // Never the last reference: the life's stays.
            _ => (Some(drop_refs(hold(word) & !RUNNING, 1)), Park::Parked),
        })
    }

    /// Taken by the runner of a task that ended with operations going on: it waits for the last of them.
    pub(super) fn drain(&self) -> End {
        self.edge(|word| match word & ABANDONED {
            0 => {
                let waits = (word | DRAINING | HELD) & !(RUNNING | NOTIFIED);
                (Some(drop_refs(waits, 1)), End::Drop)
            }
            _ => (None, End::Abandoned),
        })
    }

    /// Taken by the worker of a task whose last operation ended. A task that has not ended itself, or was given up, is left
    /// alone.
    pub(super) fn drained(&self) -> Wake {
        self.edge(|word| match word {
            _ if word & DRAINING == 0 || word & (RUNNING | NOTIFIED | COMPLETE | ABANDONED) != 0 => {
                (None, Wake::Nothing)
            }
            _ => (Some(add_refs(word | NOTIFIED, 1)), Wake::Submit),
        })
    }

    /// Taken by the runner before it drops the task's state. Where that runs nothing of the program's it is over at once, and
    /// nobody need be told.
    pub(super) fn end(&self, by_program: bool) -> End {
        self.edge(|word| match word & ABANDONED {
            0 => (by_program.then_some(word | DRAINING), End::Drop),
            _ => (None, End::Abandoned),
        })
    }

    /// Taken by the runner when the state was dropped and the output is in the stage. A task that was given up meanwhile
    /// keeps a reference for ever, as all that were given up: whoever holds its name or its cell may go by that.
    pub(super) fn finish(&self) -> Finish {
        self.edge(|word| {
            let complete = (word | COMPLETE) & !(RUNNING | DRAINING | NOTIFIED);
            let complete = if word & ABANDONED == 0 { complete } else { add_refs(complete, 1) };
            if word & JOIN_WAKER == 0 && word & JOIN_INTEREST != 0 {
                let left = drop_refs(complete, 2);
                (Some(left), Finish::Quiet { last: REFS.get(left) == 0 })
            } else {
                let wake = word & JOIN_WAKER != 0;
                (Some(complete), Finish::Loud { wake, drop_output: word & JOIN_INTEREST == 0 })
            }
        })
    }

    /// A wake through a waker, which keeps its own reference.
    ///
    /// A task that is notified already is written all the same: the next poll acquires this word, and so sees what the
    /// caller wrote before.
    pub(super) fn wake_by_ref(&self) -> Wake {
        self.edge(|word| match word {
            _ if word & (COMPLETE | DRAINING | ABANDONED) != 0 => (None, Wake::Nothing),
            _ if word & (NOTIFIED | RUNNING) != 0 => (Some(word | NOTIFIED), Wake::Nothing),
            _ => (Some(add_refs(word | NOTIFIED, 1)), Wake::Submit),
        })
    }

    /// A wake that gives its waker's reference to the queue. On `Nothing` the reference is still the caller's.
    /// Only on the scheduler's own thread, where the scheduler outlives the call anyway.
    pub(super) fn wake_by_val(&self) -> Wake {
        self.edge(|word| match word {
            _ if word & (COMPLETE | DRAINING | ABANDONED) != 0 => (None, Wake::Nothing),
            _ if word & (NOTIFIED | RUNNING) != 0 => (Some(word | NOTIFIED), Wake::Nothing),
            _ => (Some(word | queued_here(word)), Wake::Submit),
        })
    }

    /// A wake through a name. `local` says whether the scheduler outlives the call anyway; it is asked while the name is
    /// good.
    pub(super) fn wake_named(&self, generation: u32, local: impl Fn() -> bool) -> Named {
        self.named(generation, 0, local)
    }

    /// Asks the task to end. The runner sees it after the poll, or instead of the next one. A poll that returns a result
    /// at the same time wins.
    pub(super) fn abort_named(&self, generation: u32, local: impl Fn() -> bool) -> Named {
        self.named(generation, CANCELLED, local)
    }

    fn named(&self, generation: u32, flag: u64, local: impl Fn() -> bool) -> Named {
        self.edge(|word| match word {
            _ if !is_named(word, generation) => (None, Named::Stale),
            _ if word & (COMPLETE | DRAINING | ABANDONED) != 0 => (None, Named::Nothing),
            _ if word & NOTIFIED != 0 => (Some(word | flag), Named::Nothing),
            // An abort need not notify a running task: `park` looks at CANCELLED first.
            _ if word & RUNNING != 0 && is_cut(word & SHIELDED | flag) => (Some(word | flag), Named::Nothing),
            _ if word & RUNNING != 0 => (Some(word | flag | NOTIFIED), Named::Nothing),
            _ => {
                let kept = !local();
                let queued = if kept { NOTIFIED } else { queued_here(word) };
                (Some(add_refs(word | queued | flag, 1 + u64::from(kept))), Named::Submit { kept })
            }
        })
    }

    /// For whoever holds the queue's reference: the task will be ended instead of polled, or polled to end itself.
    pub(super) fn cancel(&self) {
        self.edge(|word| (Some(word | CANCELLED), ()));
    }

    /// A shutdown gives the task up. True for the first that does so before the task ended.
    pub(super) fn abandon(&self) -> bool {
        self.edge(|word| match word & (COMPLETE | ABANDONED) {
            0 if REFS.get(word) != 0 => (Some(word | ABANDONED), true),
            _ => (None, false),
        })
    }

    /// A joiner holds the lock, and links itself. False: do not wait, look again.
    #[must_use]
    pub(super) fn set_join_waker(&self, generation: u32) -> bool {
        self.edge(|word| {
            let waits = is_named(word, generation) && word & JOIN_INTEREST != 0 && word & (COMPLETE | ABANDONED) == 0;
            (waits.then_some(word | JOIN_WAKER), waits)
        })
    }

    /// True if somebody may still join the task, ended or not.
    pub(super) fn is_joinable(&self, generation: u32) -> bool {
        let word = self.0.load(Acquire);
        is_named(word, generation) && word & JOIN_INTEREST != 0
    }

    /// Takes the output, if it is there.
    pub(super) fn take_join(&self, generation: u32) -> Join {
        self.edge(|word| match word {
            _ if !is_named(word, generation) || word & JOIN_INTEREST == 0 => (None, Join::Stale),
            _ if word & COMPLETE != 0 => (Some(word & !JOIN_INTEREST), Join::Taken),
            _ if word & ABANDONED != 0 => (Some(word & !JOIN_INTEREST), Join::Abandoned),
            _ => (None, Join::Running),
        })
    }

    /// Gives up the join.
    pub(super) fn detach(&self, generation: u32) -> Detach {
        self.edge(|word| match word {
            _ if !is_named(word, generation) || word & JOIN_INTEREST == 0 => (None, Detach::Stale),
            _ => {
                let (wake, drop_output) = (word & JOIN_WAKER != 0, word & COMPLETE != 0);
                (Some(word & !JOIN_INTEREST), Detach::Detached { wake, drop_output })
            }
        })
    }

    /// A reference more, by somebody who holds one.
    pub(super) fn ref_inc(&self) {
        self.edge(|word| (Some(add_refs(word, 1)), ()));
    }

    /// `n` references fewer. True: they were the last. Nobody gets one of a task that is over but from who has one, so whoever has
    /// all of them writes nothing.
    #[must_use]
    pub(super) fn ref_dec(&self, n: u64) -> bool {
        self.edge(|word| match drop_refs(word, n) {
            after if REFS.get(after) == 0 && is_over_for_all(word) => (None, true),
            after => (Some(after), REFS.get(after) == 0),
        })
    }

    /// A reference by somebody who holds none, if the cell is alive, and the task not over for all.
    #[must_use]
    pub(super) fn try_ref(&self) -> bool {
        self.edge(|word| match REFS.get(word) {
            0 => (None, false),
            _ if is_over_for_all(word) => (None, false),
            _ => (Some(add_refs(word, 1)), true),
        })
    }

    /// True if anybody holds a reference.
    pub(super) fn is_held(&self) -> bool {
        REFS.get(self.0.load(Acquire)) != 0
    }

    /// A reference by somebody who holds a name.
    #[must_use]
    pub(super) fn try_ref_named(&self, generation: u32) -> bool {
        self.edge(|word| match is_named(word, generation) {
            false => (None, false),
            true => (Some(add_refs(word, 1)), true),
        })
    }

    /// For whoever made the task, before it can run.
    pub(super) fn set_exclusive(&self) {
        self.edge(|word| (Some(word | EXCLUSIVE), ()));
    }

    /// For whoever made the task, before it can run.
    pub(super) fn set_shielded(&self) {
        self.edge(|word| (Some(word | SHIELDED), ()));
    }

    /// True once somebody asked the task to end.
    pub(super) fn is_cancelled(&self) -> bool {
        self.0.load(Acquire) & CANCELLED != 0
    }

    pub(super) fn is_exclusive(&self) -> bool {
        self.0.load(Acquire) & EXCLUSIVE != 0
    }

    /// Taken by the runner of a task that was given up, when the poll has returned.
    pub(super) fn let_go(&self) {
        self.edge(|word| (Some(word & !RUNNING), ()));
    }

    pub(super) fn is_running(&self, generation: u32) -> bool {
        self.is_in(generation, RUNNING)
    }

    pub(super) fn is_abandoned(&self, generation: u32) -> bool {
        self.is_in(generation, ABANDONED)
    }

    fn is_in(&self, generation: u32, flag: u64) -> bool {
        let word = self.0.load(Acquire);
        GENERATION.get(word) == generation.into() && word & flag != 0
    }

    /// True if the task must run on its home worker: for good, or as long as it has operations.
    pub(super) fn is_pinned(&self) -> bool {
        self.0.load(Relaxed) & (PINNED | HELD) != 0
    }

    /// True when the task of that name is not polled any more.
    pub(super) fn is_past(&self, generation: u32) -> bool {
        let word = self.0.load(Acquire);
        !is_named(word, generation) || word & (COMPLETE | DRAINING | ABANDONED) != 0
    }

    /// True when no wake can matter to the task any more.
    pub(super) fn is_over(&self) -> bool {
        self.0.load(Relaxed) & (COMPLETE | ABANDONED) != 0
    }

    /// For tests that begin near the end of a cell's lives.
    #[cfg(test)]
    pub(super) fn age_to(&self, generation: u32) {
        self.0.store(GENERATION.set(0, generation.into()), Release);
    }

    #[cfg(test)]
    pub(super) fn refs(&self) -> u64 {
        REFS.get(self.0.load(Acquire))
    }
}

fn is_named(word: u64, generation: u32) -> bool {
    GENERATION.get(word) == generation.into()
        && REFS.get(word) != 0
        && (word & (COMPLETE | ABANDONED) == 0 || word & JOIN_INTEREST != 0)
}

/// True if the task ended, and no name of it is good.
fn is_over_for_all(word: u64) -> bool {
    word & (COMPLETE | JOIN_INTEREST) == COMPLETE
}

/// True if the task is to be ended from outside.
fn is_cut(word: u64) -> bool {
    word & (CANCELLED | SHIELDED) == CANCELLED
}

/// How a task is marked that a thread of its scheduler queues. Whoever waits for the return of a poll must see one that is
/// in a queue.
fn queued_here(word: u64) -> u64 {
    if word & EXCLUSIVE == 0 { RUNNING } else { NOTIFIED }
}

fn add_refs(word: u64, n: u64) -> u64 {
    REFS.set(word, (REFS.get(word) + n).min(REFS.max()))
}

fn drop_refs(word: u64, n: u64) -> u64 {
    match REFS.get(word) {
        saturated if saturated == REFS.max() => word,
        refs => {
            debug_assert!(refs >= n, "{word:#x}");
            REFS.set(word, refs - n)
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
