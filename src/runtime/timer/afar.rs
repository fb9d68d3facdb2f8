//! What is done to a timer on other threads than its worker's.

use super::mail::Next;
use super::word::{NEVER_FROM, State};
use super::{Start, TIMERS, Timer, TimerName};
use crate::primitives::guard::Left;
use crate::primitives::inbox::Pushed;
use crate::primitives::sync::Ordering::*;
use crate::primitives::wake_list::wake;
use crate::runtime::io::{Errno, IoPoll};
use crate::runtime::runtimes::RuntimeRef;
use crate::task::is_dead;
use std::ptr::NonNull;
use std::task::{Poll, Waker};

/// How an entry gets into its worker's mailbox.
pub(super) trait Post {
    /// False: the worker is gone, or about to go.
    fn post(&self, timer: &'static Timer) -> bool;
}

/// By way of the runtime that the timer belongs to.
pub(super) struct ByRuntime;

impl Post for ByRuntime {
    fn post(&self, timer: &'static Timer) -> bool {
        let Ok(runtime) = RuntimeRef::enter(timer.runtime.load(Relaxed)) else { return false };
        let remote = runtime.shared().remote(timer.home.load(Relaxed));
        if let State::Armed(at) = timer.word.state()
            && at < NEVER_FROM
        {
            remote.next_deadline.fetch_min(at, AcqRel);
        }
        let posted = remote.timers.push(NonNull::from(timer)) != Pushed::Closed;
        remote.nudge();
        posted
    }
}

/// The use of a timer, which is not given back while this exists.
pub(super) struct InUse<'a, P: Post>(&'static Timer, &'a P);

impl<P: Post> Drop for InUse<'_, P> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

/// Starts a timer of a runtime.
pub(super) fn start(runtime: &RuntimeRef, start: Start) -> Result<u64, Errno> {
    let shared = runtime.shared();
    let home = runtime.pick_home();
    let (index, timer) = TIMERS.alloc().ok_or(libc::ENOMEM)?;
    timer.belong(shared.handle, home, index);
    let generation = timer.begin(&start, true);
    timer.guard.open();
    if (TimerName { timer, generation }).introduce(&ByRuntime) {
        return Ok(timer.name(generation));
    }
    Err(libc::ESHUTDOWN)
}

/// Ends all timers of a runtime, of which some belong to workers that will not do so.
pub(in super::super) fn end_all(runtime: u64) {
    for (_, timer) in TIMERS.iter() {
        // The generation first: if the entry is another timer's by now, that one stays.
        if let Some(generation) = timer.guard.current()
            && timer.runtime.load(Relaxed) == runtime
        {
            let _ = TimerName { timer, generation }.cancel_from_afar(&ByRuntime);
        }
    }
}

impl Timer {
    /// A free entry is for a worker, which becomes its owner when it first hears of it.
    pub(super) fn belong(&self, runtime: u64, home: u32, index: u32) {
        self.runtime.store(runtime, Relaxed);
        self.home.store(home, Relaxed);
        self.index.store(index, Relaxed);
    }

    /// A free entry gets what the timer is started with, and its generation.
    pub(super) fn begin(&self, start: &Start, mailed: bool) -> u32 {
        self.period.store(start.period, Relaxed);
        self.missed.store(start.missed as u8, Relaxed);
        self.operation.set(0);
        self.mail.begin(mailed);
        self.word.begin(start.at);
        self.guard.next_generation()
    }

    /// Ends a use.
    fn leave(&'static self, by: &impl Post) {
        if self.guard.leave() != Left::Last {
            return;
        }
        match self.mail.last_left() {
            Next::Nothing => {}
            Next::GiveBack => self.give_back(),
            Next::Post => {
                self.post(by);
            }
        }
    }

    /// Has the worker look at the timer.
    fn tell_home(&'static self, by: &impl Post) {
        if self.mail.mark() {
            self.post(by);
        }
    }

    /// Puts the entry, which the caller marked, into the mailbox. False: the worker is gone, or about to go.
    fn post(&'static self, by: &impl Post) -> bool {
        let posted = by.post(self);
        if !posted && self.mail.undelivered() {
            self.give_back();
        }
        posted
    }

    /// An entry that its worker kept for itself.
    pub(super) fn give_back_spare(&self) {
        self.owner.store(0, Release);
        TIMERS.free(self.index.load(Relaxed));
    }

    /// Wakes all who wait on other threads. They leave at once: whoever was woken may be back before this ends, to
    /// wait for what comes next.
    pub(super) fn wake_others(&self) {
        let others = self.others.lock().take();
        others.into_iter().flat_map(|others| others.into_values()).for_each(wake);
    }
}

impl TimerName {
    fn enter<P: Post>(self, by: &P) -> Option<InUse<'_, P>> {
        self.timer.guard.enter(self.generation).then(|| InUse(self.timer, by))
    }

    /// A timer that was made here, and is marked, gets to its worker. False: that is ending all its timers, and this one is
    /// ended, too.
    pub(super) fn introduce(self, by: &impl Post) -> bool {
        let _in_use = self.enter(by);
        let posted = self.timer.post(by);
        if !posted {
            self.timer.mail.never_linked();
            let _ = self.cancel_from_afar(by);
        }
        posted
    }

    pub(super) fn cancel_from_afar(self, by: &impl Post) -> Result<bool, Errno> {
        if !self.timer.guard.close(self.generation) {
            return Err(libc::EBADF);
        }
        let in_use = InUse(self.timer, by);
        let was = self.timer.word.end();
        if was.waited {
            self.timer.wake_others();
        }
        self.timer.tell_home(by);
        drop(in_use);
        Ok(was.armed)
    }

    pub(super) fn reset_from_afar(self, at: u64, by: &impl Post) -> Result<bool, Errno> {
        let _in_use = self.enter(by).ok_or(libc::EBADF)?;
        let was = self.timer.word.arm(at).ok_or(libc::EBADF)?;
        self.timer.tell_home(by);
        Ok(was.armed)
    }

    pub(super) fn poll_from_afar(self, key: usize, waker: &Waker, by: &impl Post) -> IoPoll<u64> {
        loop {
            let Some(_in_use) = self.enter(by) else { return Poll::Ready(Err(libc::EBADF)) };
            match self.timer.take() {
                Err(errno) => return Poll::Ready(Err(errno)),
                Ok(Some(taken)) => {
                    if taken.next.is_some() {
                        self.timer.tell_home(by);
                    }
                    return Poll::Ready(Ok(taken.ticks));
                }
                Ok(None) => {}
            }
            match self.wait_from_afar(key, waker, by) {
                Err(errno) => return Poll::Ready(Err(errno)),
                Ok(true) => return Poll::Pending,
                Ok(false) => {}
            }
        }
    }

    /// Leaves a waker with the timer, once for a key. False: it fired already, or is over.
    ///
    /// The waker is in the crowd before the word says that somebody waits, and who takes that back empties it: so a
    /// waker is either found there, or the word is found to be fired here.
    pub(super) fn wait_from_afar(self, key: usize, waker: &Waker, by: &impl Post) -> Result<bool, Errno> {
        let _in_use = self.enter(by).ok_or(libc::EBADF)?;
        let waker = waker.clone();
        let mut others = self.timer.others.lock();
        let crowd = others.get_or_insert_default();
        // A timer may live long, and see many tasks that wait for it, and end.
        let unneeded = crowd.put(key, waker, is_dead);
        let waits = self.timer.word.wait();
        let refused = if waits { None } else { crowd.take(&key) };
        drop(others);
        drop((unneeded, refused));
        Ok(waits)
    }

    /// Takes back what `watch` left with the timer.
    pub(in super::super) fn forget_watcher(self, key: usize) {
        let Some(_in_use) = self.enter(&ByRuntime) else { return };
        let mut others = self.timer.others.lock();
        let forgotten = others.as_mut().and_then(|others| others.take(&key));
        drop(others);
        drop(forgotten);
    }
}
