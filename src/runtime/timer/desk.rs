//! A worker's side of its timers.

use super::afar::ByRuntime;
use super::wheel::Wheel;
use super::word::{NEVER_FROM, State, Was};
use super::{Start, TIMERS, Timer, TimerName};
use crate::primitives::guard::Left;
use crate::primitives::sync::{AtomicU32, Ordering::*, process_static};
use crate::primitives::wake_list::wake;
use crate::runtime::context::PollContext;
use crate::runtime::io::{Errno, IoPoll};
use crate::runtime::shared::now;
use std::cell::Cell;
use std::task::{Poll, Waker};

/// How many free entries a worker keeps for itself.
const MOST_SPARE: u32 = 256;

process_static! {
    static NUMBERS: AtomicU32 = AtomicU32::new(1);
}

/// See the module. One thread's at a time.
pub(in super::super) struct Desk {
    /// No other desk has it, or had it.
    number: u32,
    runtime: u64,
    home: u32,
    wheel: Wheel,
    /// Free entries that are this worker's, linked through their spots, and how many.
    spare: Cell<Option<&'static Timer>>,
    spares: Cell<u32>,
    /// The time when `expire` began: what is later is not fired by it.
    expired: Cell<u64>,
    /// False: all timers were ended, and none may be started.
    open: Cell<bool>,
}

impl Desk {
    pub(in super::super) fn new(runtime: u64, home: u32) -> Self {
        Self {
            number: NUMBERS.fetch_add(1, Relaxed),
            runtime,
            home,
            wheel: Wheel::new(now()),
            spare: Cell::new(None),
            spares: Cell::new(0),
            expired: Cell::new(0),
            open: Cell::new(true),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.get()
    }

    /// From now on no timer can be started. False: that was so before.
    #[must_use]
    pub(super) fn close(&self) -> bool {
        self.open.replace(false)
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn has_timers(&self) -> bool {
        self.wheel.has_timers()
    }

    /// When the worker wants to be awake for a timer.
    pub(in super::super) fn next(&self) -> Option<u64> {
        self.wheel.next()
    }

    /// Starts a timer. `None`: no memory.
    #[inline]
    pub(super) fn start(&self, start: Start) -> Option<u64> {
        let timer = self.entry()?;
        let generation = timer.begin(&start, false);
        timer.guard.open();
        self.queue(timer, start.at);
        Some(timer.name(generation))
    }

    /// Starts the deadline of an operation.
    pub(in super::super) fn start_for(&self, operation: u64, at: u64) -> Option<TimerName> {
        let name = self.start(Start::at(at)).and_then(TimerName::parse)?;
        name.timer.operation.set(operation);
        Some(name)
    }

    /// A free entry that is this worker's.
    fn entry(&self) -> Option<&'static Timer> {
        if let Some(timer) = self.spare.get() {
            self.spare.set(timer.spot.next_spare());
            self.spares.set(self.spares.get() - 1);
            return Some(timer);
        }
        let (index, timer) = TIMERS.alloc()?;
        timer.belong(self.runtime, self.home, index);
        timer.owner.store(self.number, Release);
        Some(timer)
    }

    fn queue(&self, timer: &'static Timer, at: u64) {
        match (at < NEVER_FROM, timer.spot.is_queued()) {
            (true, false) => self.wheel.add(timer, at),
            (true, true) => self.wheel.moved(timer, at),
            (false, _) => self.wheel.remove(timer),
        }
    }

    /// See `TimerName::cancel`.
    #[inline]
    pub(in super::super) fn cancel(&self, name: TimerName) -> Result<bool, Errno> {
        let timer = name.timer;
        if timer.guard.close_if_unused(name.generation) {
            let was = timer.word.look();
            self.wheel.remove(timer);
            self.tell_all(timer, was);
            if timer.mail.last_left_here() {
                self.give_back(timer);
            }
            return Ok(was.armed);
        }
        if !timer.guard.close(name.generation) {
            return Err(libc::EBADF);
        }
        let was = timer.word.end();
        self.wheel.remove(timer);
        self.tell_all(timer, was);
        if timer.guard.leave() == Left::Last && timer.mail.last_left_here() {
            self.give_back(timer);
        }
        Ok(was.armed)
    }

    /// Wakes everybody who waits, but for the task that asks.
    fn tell_all(&self, timer: &'static Timer, was: Was) {
        if timer.has_waiter()
            && let Some((key, waker)) = timer.waiter.take()
            && PollContext::current().is_none_or(|cx| cx.key() != key)
        {
            wake(waker);
        }
        if was.waited {
            timer.wake_others();
        }
    }

    fn give_back(&self, timer: &'static Timer) {
        if self.spares.get() == MOST_SPARE {
            return timer.give_back();
        }
        if timer.guard.recycle(u32::MAX) {
            timer.spot.set_next_spare(self.spare.replace(Some(timer)));
            self.spares.set(self.spares.get() + 1);
        }
    }

    /// See `TimerName::reset`.
    #[inline]
    pub(super) fn reset(&self, name: TimerName, at: u64) -> Result<bool, Errno> {
        let timer = name.timer;
        if !timer.guard.is_open(name.generation) {
            return Err(libc::EBADF);
        }
        let was = timer.word.arm(at).ok_or(libc::EBADF)?;
        self.queue(timer, at);
        Ok(was.armed)
    }

    /// See `TimerName::poll_with`.
    pub(super) fn poll(&self, name: TimerName, key: usize, waker: &Waker) -> IoPoll<u64> {
        let timer = name.timer;
        let mut cloned: Option<Waker> = None;
        loop {
            if !timer.guard.is_open(name.generation) {
                return Poll::Ready(Err(libc::EBADF));
            }
            match timer.take() {
                Err(errno) => return Poll::Ready(Err(errno)),
                Ok(Some(taken)) => {
                    taken.next.into_iter().for_each(|next| self.queue(timer, next));
                    return Poll::Ready(Ok(taken.ticks));
                }
                Ok(None) => {}
            }
            match (timer.waiter.take(), cloned.take()) {
                // Two tasks wait: the second one does so as if it were elsewhere.
                (Some(first), _) if first.0 != key => {
                    timer.waiter.set(Some(first));
                    return name.poll_from_afar(key, waker, &ByRuntime);
                }
                (Some((_, same)), _) if same.will_wake(waker) => {
                    timer.waiter.set(Some((key, same)));
                    return Poll::Pending;
                }
                (_replaced, Some(cloned)) => {
                    timer.waiter.set(Some((key, cloned)));
                    return Poll::Pending;
                }
                // The clone may be made by the program, which may do anything to the timer.
                (kept, None) => {
                    timer.waiter.set(kept);
                    cloned = Some(waker.clone());
                }
            }
        }
    }

    /// Somebody else did something to the timer.
    pub(super) fn receive(&self, timer: &'static Timer) {
        let over = timer.mail.open();
        timer.owner.store(self.number, Release);
        match timer.word.state() {
            State::Armed(at) if timer.guard.current().is_some() => self.queue(timer, at),
            _ => self.wheel.remove(timer),
        }
        if timer.guard.current().is_none() {
            // The others were told by who ended it.
            self.tell_all(timer, Was::default());
        }
        if over {
            self.give_back(timer);
        }
    }

    /// Fires all that has expired; `timed_out` ends the operation whose deadline it was. True if there was anything: `first`
    /// is called then.
    pub(super) fn expire(&self, now: u64, first: impl Fn(), timed_out: impl Fn(u64)) -> bool {
        self.expired.set(now);
        self.wheel.expire(now, |timer| match timer.word.state() {
            State::Armed(at) => at,
            // Taken out below.
            State::Fired(_) | State::Over => 0,
        });
        let mut any = false;
        while let Some(timer) = self.wheel.pop_due() {
            if !std::mem::replace(&mut any, true) {
                first();
            }
            self.fire(timer, &timed_out);
        }
        any
    }

    fn fire(&self, timer: &'static Timer, timed_out: &impl Fn(u64)) {
        let State::Armed(at) = timer.word.state() else { return };
        // What the program did as others fired moved it, or somebody elsewhere did, whose mail comes.
        if at > self.expired.get() {
            return self.queue(timer, at);
        }
        let Some(was) = timer.word.fire(at) else { return };
        let operation = timer.operation.get();
        if operation != 0 {
            return timed_out(operation);
        }
        if was.waited {
            timer.wake_others();
        }
        if let Some((_, waker)) = timer.waiter.take() {
            wake(waker);
        }
    }

    /// The worker goes: a timer of its own is unlinked, and ended.
    pub(super) fn orphan(&self, timer: &'static Timer) {
        if timer.owner.load(Acquire) != self.number {
            return;
        }
        self.wheel.remove(timer);
        let closed = timer.guard.current().is_some_and(|generation| timer.guard.close(generation));
        if closed {
            self.tell_all(timer, timer.word.end());
        }
        // Whoever ended it meanwhile told the others.
        self.tell_all(timer, Was::default());
        let last_left = closed && timer.guard.leave() == Left::Last;
        if timer.mail.orphan(last_left) {
            timer.give_back();
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let spares = std::iter::successors(self.spare.take(), |timer| timer.spot.next_spare());
        spares.collect::<Vec<_>>().into_iter().for_each(Timer::give_back_spare);
    }
}
