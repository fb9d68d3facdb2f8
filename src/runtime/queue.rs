//! A worker's run queue: a ring that its owner pushes to and pops from, and that others steal half of.
//!
//! Two cursors make up `head`: `real`, the next task to be popped, and `steal`, which lags behind while a stealer copies
//! what it claimed between the two. `tail` is only written by the owner. All cursors wrap; their differences count.
//!
//! ```text
//! steal <= real <= tail <= steal + SLOTS
//! ```
//!
//! Pushing is a store. Popping and claiming are a CAS on `head`. There is one stealer at a time.
//! It is our own because a published deque cannot be run under loom with its cursors near their wrap.

use super::local::List;
use crate::primitives::pack::Field;
use crate::primitives::sync::{AtomicU32, AtomicU64, Ordering::*, RUN_QUEUE_SLOTS, UnsafeCell};
use crate::task::{Header, Notified};
use std::ptr::NonNull;

const REAL: Field = Field::low(32);
const STEAL: Field = REAL.above(32);
const HALF: u32 = RUN_QUEUE_SLOTS / 2;

/// See the module.
pub(super) struct Queue {
    head: AtomicU64,
    tail: AtomicU32,
    slots: Box<[UnsafeCell<Option<NonNull<Header>>>]>,
}

// SAFETY: a slot is written by the owner while it lies outside of steal..tail, and read by the one whose CAS on `head`
// claimed it.
unsafe impl Sync for Queue {}
// SAFETY: the tasks in it are Send.
unsafe impl Send for Queue {}

/// Why a push did not take place.
pub(super) enum Full {
    /// A stealer is about to make room.
    Stolen(Notified),
    /// Half of the queue was taken out, to be put elsewhere together with the task.
    Overflow(Notified, Vec<Notified>),
}

fn head(steal: u32, real: u32) -> u64 {
    STEAL.set(u64::from(real), steal.into())
}

fn cursors(head: u64) -> (u32, u32) {
    (STEAL.get(head) as u32, REAL.get(head) as u32)
}

impl Queue {
    pub(super) fn new() -> Self {
        Self::starting_at(0)
    }

    /// A queue whose cursors start at any value.
    pub(super) fn starting_at(cursor: u32) -> Self {
        Self {
            head: AtomicU64::new(head(cursor, cursor)),
            tail: AtomicU32::new(cursor),
            slots: (0..RUN_QUEUE_SLOTS).map(|_| UnsafeCell::new(None)).collect(),
        }
    }

    fn slot(&self, cursor: u32) -> &UnsafeCell<Option<NonNull<Header>>> {
        &self.slots[(cursor % RUN_QUEUE_SLOTS) as usize]
    }

    /// # Safety
    /// The slot is outside of steal..tail, and the caller is the owner.
    unsafe fn put(&self, cursor: u32, task: Notified) {
        // SAFETY: nobody else touches such a slot.
        self.slot(cursor).with_mut(|slot| unsafe { *slot = Some(task.into_raw()) });
    }

    /// # Safety
    /// The caller claimed the slot by a CAS on `head`.
    unsafe fn get(&self, cursor: u32) -> Notified {
        // SAFETY: a claimed slot is the claimer's until the cursors move past it, and was filled before `tail` passed it.
        unsafe { Notified::from_raw(self.slot(cursor).with(|slot| *slot).expect("a claimed slot is filled")) }
    }

    /// How many tasks there are. Exact for the owner, as far as nobody steals.
    pub(super) fn len(&self) -> u32 {
        let (_, real) = cursors(self.head.load(Acquire));
        self.tail.load(Acquire).wrapping_sub(real)
    }

    /// The owner adds a task at the end.
    pub(super) fn push(&self, task: Notified) -> Result<(), Full> {
        let tail = self.tail.load(Relaxed);
        loop {
            let seen = self.head.load(Acquire);
            let (steal, real) = cursors(seen);
            if tail.wrapping_sub(steal) < RUN_QUEUE_SLOTS {
                // SAFETY: `tail` lies outside of steal..tail, and we are the owner.
                unsafe { self.put(tail, task) };
                self.tail.store(tail.wrapping_add(1), Release);
                return Ok(());
            }
            if steal != real {
                return Err(Full::Stolen(task));
            }
            let after = real.wrapping_add(HALF);
            if self.head.compare_exchange(seen, head(after, after), AcqRel, Relaxed).is_ok() {
                // SAFETY: the exchange claimed these slots.
                let half = (0..HALF).map(|n| unsafe { self.get(real.wrapping_add(n)) }).collect();
                return Err(Full::Overflow(task, half));
            }
        }
    }

    /// The owner takes the oldest task.
    pub(super) fn pop(&self) -> Option<Notified> {
        let mut seen = self.head.load(Acquire);
        loop {
            let (steal, real) = cursors(seen);
            if real == self.tail.load(Relaxed) {
                return None;
            }
            let next = real.wrapping_add(1);
            // A stealer that is at work keeps its own cursor.
            let after = if steal == real { head(next, next) } else { head(steal, next) };
            match self.head.compare_exchange_weak(seen, after, AcqRel, Acquire) {
                // SAFETY: the exchange claimed the slot.
                Ok(_) => return Some(unsafe { self.get(real) }),
                Err(now) => seen = now,
            }
        }
    }

    /// The owner of `into` takes half of this queue. One task is returned, the others are put into `into`; the count is
    /// of all.
    pub(super) fn steal_into(&self, into: &Queue) -> Option<(Notified, u32)> {
        let tail = into.tail.load(Relaxed);
        let (steal, _) = cursors(into.head.load(Acquire));
        if tail.wrapping_sub(steal) > HALF {
            // Others still copy out of our own queue: there may be no room.
            return None;
        }
        let (first, count) = self.claim()?;
        for n in 1..count {
            // SAFETY: the tasks were claimed; `into` has HALF free slots behind its tail, and the caller owns it.
            unsafe { into.put(tail.wrapping_add(n - 1), self.get(first.wrapping_add(n))) };
        }
        // SAFETY: claimed as well.
        let task = unsafe { self.get(first) };
        self.release();
        into.tail.store(tail.wrapping_add(count - 1), Release);
        Some((task, count))
    }

    /// Takes everything out, half by half. Any thread; what a stealer is copying at the moment is that stealer's.
    pub(super) fn drain_into(&self, into: &List) {
        while let Some((first, count)) = self.claim() {
            for n in 0..count {
                // SAFETY: the tasks were claimed.
                into.push(unsafe { self.get(first.wrapping_add(n)) });
            }
            self.release();
        }
    }

    /// Claims half of the tasks, rounded up: the first cursor and how many.
    fn claim(&self) -> Option<(u32, u32)> {
        let mut seen = self.head.load(Acquire);
        loop {
            let (steal, real) = cursors(seen);
            if steal != real {
                return None;
            }
            let available = self.tail.load(Acquire).wrapping_sub(real);
            // An older head with a newer tail may look like more than there can be.
            let count = (available - available / 2).min(HALF);
            if count == 0 || available > RUN_QUEUE_SLOTS {
                return None;
            }
            match self.head.compare_exchange_weak(seen, head(steal, real.wrapping_add(count)), AcqRel, Acquire) {
                Ok(_) => return Some((real, count)),
                Err(now) => seen = now,
            }
        }
    }

    /// Ends a claim: the stealer's cursor catches up.
    fn release(&self) {
        let mut seen = self.head.load(Acquire);
        loop {
            let (_, real) = cursors(seen);
            match self.head.compare_exchange_weak(seen, head(real, real), AcqRel, Acquire) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }
}
