//! What is done to a timer on other threads than its worker's.

use super::mail::Next;
use super::word::State;
use super::{Start, TIMERS, Timer, TimerName};
use crate::primitives::guard::Left;
use crate::primitives::inbox::Pushed;
use crate::primitives::sync::Ordering::*;
use crate::primitives::wake_list::WakeList;
use crate::runtime::io::{Errno, IoPoll};
use crate::runtime::runtimes::RuntimeRef;
use std::ptr::NonNull;
use std::task::{Poll, Waker};

/// The use of a timer, which is not given back while this exists.
struct InUse(&'static Timer);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Starts a timer of a runtime.
pub(super) fn start(runtime: &RuntimeRef, start: Start) -> Result<u64, Errno> {
    let shared = runtime.shared();
    let home = runtime.pick_home();
    let (index, timer) = TIMERS.alloc().ok_or(libc::ENOMEM)?;
    let generation = timer.begin(&start, true);
    timer.belong(shared.remote(home).desk.load(Acquire), shared.handle, home, index);
    timer.guard.open();
    let name = TimerName { timer, generation };
    // Nobody else knows the handle, so it is good; but the worker may be ending all its timers.
    let _in_use = name.enter();
    if timer.post() {
        return Ok(timer.name(generation));
    }
    let _ = name.cancel_from_afar();
    Err(libc::ESHUTDOWN)
}

impl Timer {
    /// A free entry gets an owner.
    pub(super) fn belong(&self, number: u32, runtime: u64, home: u32, index: u32) {
        self.runtime.store(runtime, Relaxed);
        self.home.store(home, Relaxed);
        self.index.store(index, Relaxed);
        self.owner.store(number, Release);
    }

    /// A free entry gets what the timer is started with, and its generation.
    pub(super) fn begin(&self, start: &Start, mailed: bool) -> u32 {
        self.period.store(start.period, Relaxed);
        self.missed.store(start.missed as u8, Relaxed);
        self.mail.begin(mailed);
        self.word.begin(start.at);
        self.guard.next_generation()
    }

    /// Ends a use.
    fn leave(&'static self) {
        if self.guard.leave() != Left::Last {
            return;
        }
        match self.mail.last_left() {
            Next::Nothing => {}
            Next::GiveBack => self.give_back(),
            Next::Post => {
                self.post();
            }
        }
    }

    /// Has the worker look at the timer.
    fn tell_home(&'static self) {
        if self.mail.mark() {
            self.post();
        }
    }

    /// Puts the entry, which the caller marked, into the mailbox. False: the worker is gone, or about to go.
    fn post(&'static self) -> bool {
        if let Ok(runtime) = RuntimeRef::enter(self.runtime.load(Relaxed)) {
            let remote = runtime.shared().remote(self.home.load(Relaxed));
            if let State::Armed(at) = self.word.state() {
                remote.next_deadline.fetch_min(at, AcqRel);
            }
            if remote.timers.push(NonNull::from(self)) != Pushed::Closed {
                remote.nudge();
                return true;
            }
        }
        if self.mail.undelivered() {
            self.give_back();
        }
        false
    }

    /// An entry that its worker kept for itself.
    pub(super) fn give_back_spare(&self) {
        self.owner.store(0, Release);
        TIMERS.free(self.index.load(Relaxed));
    }

    /// Wakes all who wait on other threads.
    pub(super) fn wake_others(&self) {
        loop {
            let mut woken = WakeList::new();
            let mut others = self.others.lock();
            let Some(list) = others.as_mut() else { return };
            while woken.can_push()
                && let Some((_, waker)) = list.pop()
            {
                woken.push(waker);
            }
            if list.is_empty() {
                *others = None;
            }
            drop(others);
            woken.wake_all();
        }
    }
}

impl TimerName {
    fn enter(self) -> Option<InUse> {
        self.timer.guard.enter(self.generation).then(|| InUse(self.timer))
    }

    pub(super) fn cancel_from_afar(self) -> Result<bool, Errno> {
        if !self.timer.guard.close(self.generation) {
            return Err(libc::EBADF);
        }
        let in_use = InUse(self.timer);
        let was = self.timer.word.end();
        if was.waited {
            self.timer.wake_others();
        }
        self.timer.tell_home();
        drop(in_use);
        Ok(was.armed)
    }

    pub(super) fn reset_from_afar(self, at: u64) -> Result<bool, Errno> {
        let _in_use = self.enter().ok_or(libc::EBADF)?;
        let was = self.timer.word.arm(at).ok_or(libc::EBADF)?;
        self.timer.tell_home();
        Ok(was.armed)
    }

    pub(super) fn poll_from_afar(self, key: usize, waker: &Waker) -> IoPoll<u64> {
        loop {
            let Some(_in_use) = self.enter() else { return Poll::Ready(Err(libc::EBADF)) };
            match self.timer.take() {
                Err(errno) => return Poll::Ready(Err(errno)),
                Ok(Some(taken)) => {
                    if taken.next.is_some() {
                        self.timer.tell_home();
                    }
                    return Poll::Ready(Ok(taken.ticks));
                }
                Ok(None) => {}
            }
            match self.wait_from_afar(key, waker) {
                Err(errno) => return Poll::Ready(Err(errno)),
                Ok(true) => return Poll::Pending,
                Ok(false) => {}
            }
        }
    }

    /// Leaves a waker with the timer, once for a key. False: it fired already, or is over.
    ///
    /// The waker is in the list before the word says that somebody waits, and who takes that back empties the list: so a
    /// waker is either found there, or the word is found to be fired here.
    pub(super) fn wait_from_afar(self, key: usize, waker: &Waker) -> Result<bool, Errno> {
        let _in_use = self.enter().ok_or(libc::EBADF)?;
        let waker = waker.clone();
        let mut others = self.timer.others.lock();
        let list = others.get_or_insert_default();
        let replaced = list.iter().position(|&(other, _)| other == key).map(|at| list.swap_remove(at));
        list.push((key, waker));
        let waits = self.timer.word.wait();
        let unneeded = if waits { None } else { list.pop() };
        drop(others);
        drop((replaced, unneeded));
        Ok(waits)
    }
}
