//! One registered descriptor: its readiness word, its guard, and its waiters.
//!
//! The word:
//!
//! | generation 24 | tick 28 | shutdown 1 | waiters: reader 1, writer 1, list 1 | urgent 1 | readiness 7 |
//!
//! - One load validates a handle and reads its readiness. Every update keeps the fields that it does not own.
//! - The driver delivers by one CAS that compares the generation, ORs readiness in, advances the tick and takes the bits of
//!   the waiters that it satisfies; it takes the lock only if such a bit was set.
//! - A waiter links itself under the lock, then sets its bit by a CAS that holds only while the generation matches, nothing
//!   that it wants is ready, and shutdown is clear; else it unlinks itself and returns. So either the driver's CAS sees the
//!   bit, or the waiter's CAS sees the readiness.
//! - A bit may be set without a waiter behind it (the waiter left); it costs the driver a look under the lock, no more.
//!   A waiter without its bit exists only while the driver that took the bit is on its way to the lock.
//! - The tick counts deliveries. A clear names the tick that it saw and does nothing when there was another delivery since.
//!   There is one tick for both directions, because an epoll event reports the whole mask.
//! - "Urgent" says that out-of-band data came once. No clear takes it away: the mark, at which a read stops early, outlives the
//!   byte and whatever anybody does about it.

use super::ready::{Interest, Ready, ReadyEvent};
use super::waiters::{Kinds, Node, Waiters};
use crate::primitives::guard::Guard;
use crate::primitives::pack::Field;
use crate::primitives::slab::{Entry, Slab};
use crate::primitives::sync::{AtomicU16, AtomicU32, AtomicU64, Mutex, Ordering::*, process_static};
use crate::primitives::wake_list::WakeList;
use std::ptr::NonNull;
use std::task::Waker;

const READY: Field = Field::low(7);
const URGENT: Field = READY.above(1);
const LIST: Field = URGENT.above(1);
const WRITER: Field = LIST.above(1);
const READER: Field = WRITER.above(1);
const SHUTDOWN: Field = READER.above(1);
const TICK: Field = SHUTDOWN.above(28);
const GENERATION: Field = TICK.above(24);

const WAITERS: u64 = LIST.mask() | WRITER.mask() | READER.mask();

/// The last generation that the word can tell from the others; an entry that lived it is not used again.
pub(crate) const LAST_GENERATION: u32 = GENERATION.max() as u32;

process_static! {
    /// All registered descriptors of the process.
    pub(crate) static IOS: Slab<ScheduledIo> = Slab::new();
}

/// See the module.
#[derive(Default)]
#[repr(C, align(128))]
pub(crate) struct ScheduledIo {
    word: AtomicU64,
    /// Who uses the descriptor. Its generation is the word's.
    pub(crate) guard: Guard,
    /// The runtime that it is registered with.
    pub(crate) owner: AtomicU64,
    /// The descriptor.
    pub(crate) fd: AtomicU32,
    /// The worker whose driver watches it.
    pub(crate) home: AtomicU16,
    /// What was found out about the descriptor when it was registered; the runtime's to define.
    pub(crate) traits: AtomicU16,
    next_free: AtomicU32,
    /// Where the descriptor's operations are; 0: it has none. The runtime's to define.
    pub(crate) traffic: AtomicU32,
    /// Tells the descriptor from a later one with the same number, where the driver cannot. The runtime's to define.
    pub(crate) identity: AtomicU64,
    waiters: Mutex<Waiters>,
}

// SAFETY: all zeros are generation 0, which no handle has, a free guard, and an unlocked mutex with no waiters.
unsafe impl Entry for ScheduledIo {
    fn next_free(&self) -> &AtomicU32 {
        &self.next_free
    }
}

/// A task or context that wants to wait.
pub(crate) struct Waiting<'a> {
    /// Tells waiters apart.
    pub(crate) key: usize,
    pub(crate) waker: &'a Waker,
    /// Tells wakers that need not be kept.
    pub(crate) dead: fn(&Waker) -> bool,
    /// What was seen and tried in vain: as long as nothing else came, it counts as not ready.
    pub(crate) in_vain: Option<ReadyEvent>,
}

impl Waiting<'_> {
    /// Takes what was tried in vain out of an answer.
    fn judge(&self, answer: Polled) -> Polled {
        match (answer, self.in_vain) {
            (Polled::Ready(now), Some(vain)) if now.tick == vain.tick && now.ready.without(vain.ready).is_empty() => {
                Polled::Pending
            }
            _ => answer,
        }
    }
}

/// The answer to a question for readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Polled {
    Ready(ReadyEvent),
    /// The runtime is going: everything counts as ready, for ever.
    Shutdown,
    Pending,
    /// The handle is stale.
    Stale,
}

impl ScheduledIo {
    /// Begins a life. The caller owns the free entry and opens the guard next.
    pub(crate) fn begin(&self, generation: u32, ready: Ready) {
        let word = GENERATION.set(READY.set(0, ready.bits().into()), generation.into());
        self.word.store(word, Release);
    }

    /// What is ready of an interest. Does not wait.
    #[inline]
    pub(crate) fn look(&self, generation: u32, interest: Interest) -> Polled {
        answer(self.word.load(Acquire), generation, interest)
    }

    /// True if out-of-band data came in this life, whatever became of it.
    pub(crate) fn had_urgent(&self) -> bool {
        URGENT.get(self.word.load(Relaxed)) != 0
    }

    /// How many deliveries there were, in the field's width.
    pub(crate) fn tick(&self) -> u32 {
        TICK.get(self.word.load(Relaxed)) as u32
    }

    /// What is ready of an interest; if nothing is, the waiter will be woken.
    pub(crate) fn poll(&self, generation: u32, interest: Interest, waiting: &Waiting<'_>) -> Polled {
        let word = self.word.load(Acquire);
        let seen = waiting.judge(answer(word, generation, interest));
        if seen != Polled::Pending {
            return seen;
        }
        if word & WAITERS != 0 && self.waits_already(interest, waiting) {
            // The place stays, whatever the answer is: as below.
            return waiting.judge(self.look(generation, interest));
        }
        let waker = waiting.waker.clone();
        let mut gone = Vec::new();
        let mut waiters = self.waiters.lock();
        let again = waiters.put(waiting.key, interest, waker, waiting.dead, &mut gone);
        let judge = |answer| waiting.judge(answer);
        let answer = self.arm(generation, interest, flags_of(waiters.kinds()), judge);
        // An earlier question of this waiter was answered by the promise of a wake, so its place stays: one wake too many
        // is allowed, one too few is not.
        if answer != Polled::Pending && !again {
            gone.extend(waiters.take(waiting.key, interest));
        }
        drop(waiters);
        drop(gone);
        answer
    }

    /// True for a waiter that asks once more, and whose waker has not been taken yet: it need leave no other.
    fn waits_already(&self, interest: Interest, waiting: &Waiting<'_>) -> bool {
        let waiters = self.waiters.lock();
        waiters.has(waiting.key, interest, waiting.waker)
    }

    /// For the `Readiness` future: links its node, or says why it need not wait.
    ///
    /// # Safety
    /// The node stays where it is until it is unlinked.
    pub(super) unsafe fn wait(&self, generation: u32, interest: Interest, node: NonNull<Node>) -> Polled {
        let mut waiters = self.waiters.lock();
        // SAFETY: the caller says so.
        unsafe { waiters.link(node) };
        let answer = self.arm(generation, interest, flags_of(waiters.kinds()), |answer| answer);
        if answer != Polled::Pending {
            // SAFETY: it was linked above, under the same lock.
            unsafe { waiters.unlink(node) };
        }
        answer
    }

    /// Takes a waiter out that waits no more, whatever it waited for.
    pub(crate) fn forget(&self, key: usize) {
        let mut gone = Vec::new();
        let mut waiters = self.waiters.lock();
        for interest in [Interest::READABLE, Interest::WRITABLE, Interest::PRIORITY, Interest::ERROR] {
            gone.extend(waiters.take(key, interest));
        }
        drop(waiters);
    }

    /// Runs `f` on the waiters under the lock, for the future's own node.
    pub(super) fn locked<R>(&self, f: impl FnOnce(&mut Waiters) -> R) -> R {
        f(&mut self.waiters.lock())
    }

    /// The waiter's CAS. The caller holds the lock and has linked the waiter; `flags` stand for everybody who is linked,
    /// which sets some bit anew whose taker is still on its way to the lock, and does no harm.
    fn arm(&self, generation: u32, interest: Interest, flags: u64, judge: impl Fn(Polled) -> Polled) -> Polled {
        let mut word = self.word.load(Acquire);
        loop {
            let answer = judge(answer(word, generation, interest));
            if answer != Polled::Pending || word & flags == flags {
                return answer;
            }
            match self.word.compare_exchange_weak(word, word | flags, AcqRel, Acquire) {
                Ok(_) => return Polled::Pending,
                Err(now) => word = now,
            }
        }
    }

    /// An event for this descriptor. False: it was for somebody who is gone.
    pub(crate) fn deliver(&self, generation: u32, ready: Ready) -> bool {
        let mut wakers = WakeList::new();
        let known = self.deliver_into(generation, ready, &mut wakers);
        wakers.wake_all();
        known
    }

    /// The driver's CAS. Whom the event wakes is left to the caller, who may have more events.
    pub(crate) fn deliver_into(&self, generation: u32, ready: Ready, wakers: &mut WakeList) -> bool {
        let taken = satisfied_flags(ready);
        let brings = u64::from(ready.bits()) | if ready.intersects(Ready::PRIORITY) { URGENT.one() } else { 0 };
        self.update(generation, taken, ready, wakers, |word| {
            let tick = TICK.get(word).wrapping_add(1);
            TICK.set(word | brings, tick) & !taken
        })
    }

    /// The runtime is going: everybody wakes, and nobody waits again.
    pub(crate) fn shut_down(&self, generation: u32) -> bool {
        let mut wakers = WakeList::new();
        let known =
            self.update(generation, WAITERS, Ready::EMPTY, &mut wakers, |word| (word | SHUTDOWN.one()) & !WAITERS);
        wakers.wake_all();
        known
    }

    /// The handle becomes stale for the readiness calls too: everybody wakes. The closer calls it once.
    ///
    /// It does not go by the bits: a driver may have taken them and be on its way to the lock, which it might reach when
    /// the entry lives its next life. Nobody of this life may be left in it then.
    pub(crate) fn end(&self, generation: u32) {
        let mut wakers = WakeList::new();
        let over = |word| GENERATION.set(word | SHUTDOWN.one(), 0) & !WAITERS;
        if self.update(generation, 0, Ready::EMPTY, &mut wakers, over) {
            self.settle(generation, Ready::EMPTY, &mut wakers);
        }
        wakers.wake_all();
    }

    /// Changes the word if the generation matches, then takes out whom it satisfies then, or the event that was brought, if one
    /// of the flags was set.
    fn update(
        &self,
        generation: u32,
        flags: u64,
        brings: Ready,
        wakers: &mut WakeList,
        next: impl Fn(u64) -> u64,
    ) -> bool {
        let mut word = self.word.load(Acquire);
        loop {
            if GENERATION.get(word) != generation.into() {
                return false;
            }
            match self.word.compare_exchange_weak(word, next(word), AcqRel, Acquire) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        if word & flags != 0 {
            self.settle(generation, brings, wakers);
        }
        true
    }

    /// Takes everybody out whom the word satisfies now, or what was just brought: another task may have seen that and cleared it
    /// already, which is no reason to leave the others asleep. The word is left with the bits of those that stay. Wakers are
    /// called after the lock is released; whoever waits anew meanwhile is none of them.
    fn settle(&self, generation: u32, brought: Ready, wakers: &mut WakeList) {
        let mut waiters = self.waiters.lock();
        let mut word = self.word.load(Acquire);
        loop {
            let ready = match SHUTDOWN.get(word) {
                // Not to the waiters of a later life, which did not hear of it.
                0 if GENERATION.get(word) != generation.into() => Ready::from_bits(READY.get(word) as u8),
                0 => Ready::from_bits(READY.get(word) as u8) | brought,
                _ => Ready::ALL,
            };
            waiters.splice(ready, wakers);
            let flags = flags_of(waiters.kinds());
            if word & flags == flags {
                return;
            }
            match self.word.compare_exchange_weak(word, word | flags, AcqRel, Acquire) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// Takes readiness away that was seen at `tick`, unless something came since. Final states stay.
    pub(crate) fn clear(&self, generation: u32, seen: ReadyEvent) -> bool {
        self.clear_exactly(generation, seen.tick, seen.ready.clearable())
    }

    /// As `clear`, final states included. For a caller who asked the kernel and knows that they do not hold.
    pub(crate) fn clear_exactly(&self, generation: u32, tick: u32, ready: Ready) -> bool {
        let mut word = self.word.load(Acquire);
        loop {
            if GENERATION.get(word) != generation.into() {
                return false;
            }
            let next = word & !u64::from(ready.bits());
            if TICK.get(word) != u64::from(tick) || next == word {
                return true;
            }
            match self.word.compare_exchange_weak(word, next, AcqRel, Acquire) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }
}

/// The word taken apart, for tests.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) generation: u32,
    pub(super) tick: u32,
    pub(super) shutdown: bool,
    pub(super) waiters: Kinds,
    pub(super) ready: Ready,
}

#[cfg(test)]
impl ScheduledIo {
    pub(super) fn fields(&self) -> Fields {
        let word = self.word.load(Acquire);
        Fields {
            generation: GENERATION.get(word) as u32,
            tick: TICK.get(word) as u32,
            shutdown: SHUTDOWN.get(word) != 0,
            waiters: Kinds { reader: READER.get(word) != 0, writer: WRITER.get(word) != 0, list: LIST.get(word) != 0 },
            ready: Ready::from_bits(READY.get(word) as u8),
        }
    }
}

#[cfg(all(test, not(loom)))]
impl ScheduledIo {
    /// For tests that begin near the wrap of the tick.
    pub(super) fn set_tick(&self, tick: u32) {
        self.word.store(TICK.set(self.word.load(Acquire), tick.into()), Release);
    }

    pub(super) fn is_locked(&self) -> bool {
        self.waiters.try_lock().is_none()
    }
}

#[inline]
fn answer(word: u64, generation: u32, interest: Interest) -> Polled {
    if GENERATION.get(word) != generation.into() {
        return Polled::Stale;
    }
    if SHUTDOWN.get(word) != 0 {
        return Polled::Shutdown;
    }
    match Ready::from_bits(READY.get(word) as u8) & interest.ready() {
        Ready::EMPTY => Polled::Pending,
        ready => Polled::Ready(ReadyEvent { ready, tick: TICK.get(word) as u32 }),
    }
}

fn flags_of(kinds: Kinds) -> u64 {
    let reader = if kinds.reader { READER.one() } else { 0 };
    let writer = if kinds.writer { WRITER.one() } else { 0 };
    let list = if kinds.list { LIST.one() } else { 0 };
    reader | writer | list
}

/// The bits that a delivery takes: the slots that it satisfies, and the list's, whose waiters differ.
fn satisfied_flags(ready: Ready) -> u64 {
    let mut flags = LIST.one();
    if ready.intersects(Interest::READABLE.ready()) {
        flags |= READER.one();
    }
    if ready.intersects(Interest::WRITABLE.ready()) {
        flags |= WRITER.one();
    }
    flags
}
