//! Timers: entries of a process-wide, type-stable slab, each of which belongs to one worker, whose wheel it is in.
//!
//! - `word.rs`: what a timer is armed for, whether it fired, and whether somebody elsewhere waits. Firing, arming anew and
//!   ending are read-modify-writes of that word.
//! - `wheel.rs`: when it expires. The worker's alone, as is every `Cell` of an entry.
//! - `mail.rs`: how the worker hears of what others did, and who gives an entry back.
//! - `desk.rs`: the worker's side: the calls on its own timers, which take no lock; mail, expiry, and the end.
//! - `afar.rs`: the calls of everybody else.
//!
//! The handle is good while the guard is open. Ending a timer closes the guard; only the worker unlinks the entry, and an
//! entry is given back when it is unlinked, its last user left, and it is in no mail.

mod afar;
mod desk;
mod mail;
mod wheel;
mod word;

#[cfg(all(test, loom))]
mod loom_tests;

pub(super) use afar::end_all;
pub(super) use desk::Desk;

use super::context::{Current, PollContext};
use super::io::{Errno, IoPoll};
use super::runtimes::RuntimeRef;
use super::shared::{NEVER, now};
use super::worker::Worker;
use crate::primitives::crowd::Crowd;
use crate::primitives::guard::Guard;
use crate::primitives::handle::{Handle, Kind};
use crate::primitives::inbox::Node;
use crate::primitives::slab::{Entry, Slab};
use crate::primitives::sync::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Mutex, Ordering::*, process_static};
use afar::ByRuntime;
use mail::Mail;
use std::cell::Cell;
use std::fmt;
use std::task::{Poll, Waker};
use wheel::Spot;
use word::{State, Word};

process_static! {
    /// All timers of the process.
    static TIMERS: Slab<Timer> = Slab::new();
}

/// What becomes of the ticks of an interval that nobody took in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Missed {
    /// Each is taken, one after the other.
    #[default]
    Burst = 0,
    /// All are taken at once; the next one comes when it would have come anyway.
    Skip = 1,
    /// They are dropped; the next one comes a period after the one that is taken.
    Delay = 2,
}

/// See the module.
#[derive(Default)]
#[repr(C, align(128))]
pub(crate) struct Timer {
    guard: Guard,
    word: Word,
    /// The worker that it belongs to, by a number that no other worker has; 0: the worker has not heard of it.
    owner: AtomicU32,
    index: AtomicU32,
    spot: Spot,
    /// Of an interval; 0: it fires once. Constant during a life, as is `missed`.
    period: AtomicU64,
    missed: AtomicU8,
    mail: Mail,
    /// The same worker, for those who must look for it.
    home: AtomicU32,
    runtime: AtomicU64,
    next_free: AtomicU32,
    /// The mail's.
    link: AtomicPtr<Timer>,
    /// The operation whose deadline it is, or 0. The worker's.
    operation: Cell<u64>,
    /// A task that waits, and runs on the worker. The worker's.
    waiter: Cell<Option<(usize, Waker)>>,
    /// All others.
    others: Mutex<Others>,
}

/// Who waits on other threads, by key.
type Others = Option<Box<Crowd<usize, Waker>>>;

// SAFETY: all zeros are a free guard, a word that is armed for nothing, a place in no list, and no waiters.
unsafe impl Entry for Timer {
    fn next_free(&self) -> &AtomicU32 {
        &self.next_free
    }
}

// SAFETY: the link is the mail's, which holds an entry once at most (MAILED). Entries are aligned to 128.
unsafe impl Node for Timer {
    fn link(&self) -> &AtomicPtr<Self> {
        &self.link
    }
}

// SAFETY: the cells are touched by the worker that the timer belongs to, and by nobody else until it is given back.
unsafe impl Sync for Timer {}
// SAFETY: as above; wakers are Send.
unsafe impl Send for Timer {}

impl Timer {
    /// The handle of the present life.
    fn name(&self, generation: u32) -> u64 {
        Handle { generation, index: self.index.load(Relaxed) }.pack(Kind::Timer)
    }

    /// For the worker.
    fn has_waiter(&self) -> bool {
        // SAFETY: the cell is the worker's alone, and nothing writes it during the look.
        unsafe { (*self.waiter.as_ptr()).is_some() }
    }

    /// Gives the entry back to the slab.
    fn give_back(&self) {
        self.owner.store(0, Release);
        if self.guard.recycle(u32::MAX) {
            TIMERS.free(self.index.load(Relaxed));
        }
    }

    /// Takes what a timer that fired has to give: how many ticks. `None`: it is armed.
    fn take(&self) -> Result<Option<Taken>, Errno> {
        loop {
            let at = match self.word.state() {
                State::Armed(_) => return Ok(None),
                State::Over => return Err(libc::EBADF),
                State::Fired(at) => at,
            };
            let period = self.period.load(Relaxed);
            if period == 0 {
                return Ok(Some(Taken { ticks: 0, next: None }));
            }
            let now = now();
            let (ticks, next) = match self.missed.load(Relaxed) {
                missed if missed == Missed::Burst as u8 => (1, at.saturating_add(period)),
                missed if missed == Missed::Delay as u8 => (1, now.saturating_add(period)),
                _ => {
                    let ticks = now.saturating_sub(at) / period + 1;
                    (ticks, at.saturating_add(ticks.saturating_mul(period)))
                }
            };
            if self.word.take_tick(at, next) {
                return Ok(Some(Taken { ticks, next: Some(next) }));
            }
        }
    }
}

/// What was taken of a timer that fired.
struct Taken {
    /// Of an interval; 0: it is none.
    ticks: u64,
    /// When the next tick comes: the timer was armed for that, and must be queued.
    next: Option<u64>,
}

/// A timer by its handle. Keeps nothing alive and never dangles.
#[derive(Clone, Copy)]
pub(crate) struct TimerName {
    timer: &'static Timer,
    generation: u32,
}

impl fmt::Debug for TimerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimerName({:#x})", self.timer.name(self.generation))
    }
}

/// What a timer is started with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) at: u64,
    pub(crate) period: u64,
    pub(crate) missed: Missed,
}

impl Start {
    /// Once.
    pub(crate) fn at(at: u64) -> Self {
        Self { at, period: 0, missed: Missed::Burst }
    }
}

/// Starts a timer of the runtime with this handle.
#[inline]
pub(crate) fn start(runtime: u64, start: Start) -> Result<u64, Errno> {
    Current::with_worker(|worker| match worker {
        Some(worker) if worker.shared().handle == runtime && worker.desk().is_open() => {
            worker.desk().start(start).ok_or(libc::ENOMEM)
        }
        _ => afar::start(&RuntimeRef::enter(runtime)?, start),
    })
}

/// Starts a timer of the runtime whose worker runs on this thread. `EPERM`: there is none, or it has ended.
pub(crate) fn start_here(start: Start) -> Result<TimerName, Errno> {
    Current::with_worker(|worker| {
        let desk = worker.map(Worker::desk).filter(|desk| desk.is_open()).ok_or(libc::EPERM)?;
        desk.start(start).and_then(TimerName::parse).ok_or(libc::ENOMEM)
    })
}

impl TimerName {
    /// What a handle names, alive or not.
    #[inline]
    pub(crate) fn parse(raw: u64) -> Option<Self> {
        let handle = Handle::parse(raw, Kind::Timer)?;
        Some(Self { timer: TIMERS.get(handle.index)?, generation: handle.generation })
    }

    /// Runs one of two, depending on whether the timer belongs to this thread's worker.
    #[inline]
    fn here_or<R>(self, here: impl FnOnce(&Worker) -> R, afar: impl FnOnce() -> R) -> R {
        Current::with_worker(|worker| match worker {
            Some(worker) if self.timer.owner.load(Relaxed) == worker.desk().number() => here(worker),
            _ => afar(),
        })
    }

    /// Ends it, and makes its handle stale. True: it had not fired, and never will.
    #[inline]
    pub(crate) fn cancel(self) -> Result<bool, Errno> {
        self.here_or(|worker| worker.desk().cancel(self), || self.cancel_from_afar(&ByRuntime))
    }

    /// Arms it anew. True: it had not fired for the time before, and will not.
    #[inline]
    pub(crate) fn reset(self, at: u64) -> Result<bool, Errno> {
        self.here_or(|worker| worker.desk().reset(self, at), || self.reset_from_afar(at, &ByRuntime))
    }

    /// Waits until it has fired: how many ticks the caller took of an interval, else 0.
    #[inline]
    pub(crate) fn poll(self, cx: &PollContext) -> IoPoll<u64> {
        if !cx.can_spend() {
            // That the handle is stale is told without a budget.
            return match self.timer.guard.is_open(self.generation) {
                true => Poll::Pending,
                false => Poll::Ready(Err(libc::EBADF)),
            };
        }
        let polled = self.poll_with(cx.key(), &cx.waker());
        if polled.is_ready() {
            cx.spend();
        }
        polled
    }

    /// The same, with the waker of a future.
    pub(crate) fn poll_with(self, key: usize, waker: &Waker) -> IoPoll<u64> {
        self.here_or(|worker| worker.desk().poll(self, key, waker), || self.poll_from_afar(key, waker, &ByRuntime))
    }

    /// True if this is the time that it is armed for, or fired for. For who holds the handle.
    pub(crate) fn is_for(self, at: u64) -> bool {
        match self.timer.word.state() {
            State::Armed(known) | State::Fired(known) => known == at.min(word::NEVER_FROM),
            State::Over => true,
        }
    }

    /// Has a waker woken, once, when the timer has fired or is over: now, if so.
    pub(super) fn watch(self, waker: impl FnOnce() -> Waker) -> Result<(), Errno> {
        if !self.timer.guard.is_open(self.generation) {
            return Err(libc::EBADF);
        }
        let waker = waker();
        // One that ended meanwhile has been ready.
        if self.wait_from_afar(waker.data().addr(), &waker, &ByRuntime) != Ok(true) {
            waker.wake();
        }
        Ok(())
    }
}

/// How many timers the runtime with this handle has.
pub(super) fn owned_by(runtime: u64) -> usize {
    let owned = |timer: &Timer| timer.guard.current().is_some() && timer.runtime.load(Relaxed) == runtime;
    TIMERS.iter().filter(|(_, timer)| owned(timer)).count()
}

/// How many timers there are.
pub(super) fn all() -> u64 {
    TIMERS.in_use()
}

impl Worker {
    /// Fires what has expired. True if there was anything.
    pub(super) fn expire(&self) -> bool {
        if !self.desk().has_timers() {
            return false;
        }
        self.desk().expire(now(), || self.rouse(), |operation| self.op_timed_out(operation))
    }

    /// When to be awake for a timer; noted for those who ask elsewhere.
    pub(super) fn note_next_deadline(&self) -> u64 {
        let next = self.desk().next().unwrap_or(NEVER);
        self.remote().next_deadline.store(next, Relaxed);
        next
    }

    /// Takes in what others did to timers.
    pub(super) fn take_timer_mail(&self) {
        for timer in self.remote().timers.take() {
            self.rouse();
            // SAFETY: what is mailed is an entry of the slab.
            self.desk().receive(unsafe { timer.as_ref() });
        }
    }

    /// Ends all timers. Nothing of this worker's fires any more, and what its wakers and hooks would start is refused: by the
    /// desk here, and by the mailbox elsewhere.
    pub(super) fn end_timers(&self) {
        if !self.desk().close() {
            return;
        }
        for timer in self.remote().timers.close() {
            // SAFETY: as above.
            self.desk().receive(unsafe { timer.as_ref() });
        }
        TIMERS.iter().for_each(|(_, timer)| self.desk().orphan(timer));
    }
}
