//! How a worker sleeps: it looks around for a bounded time first, and tells the idle word what it does.

use super::config::{Config, allowed_cpus};
use super::shared::{Counters, NEVER, now, until};
use super::worker::Worker;
use crate::primitives::fork::is_forked;
use std::cell::Cell;
use std::time::Duration;

/// How long to look for work before sleeping. Learns whether that pays.
///
/// A sleep costs two scheduler passes here and an interrupt at whoever wakes us, some 20 to 50 microseconds of latency in
/// all; a spin costs the CPU that it takes. It pays if work comes within the limit. Each spin that finds nothing halves the
/// limit; each that finds something doubles it; and a sleep after which a spin of the longest kind would have caught the
/// work makes it long enough for twice that.
pub(super) struct Spin {
    /// 0: never.
    longest: u64,
    limit: Cell<u64>,
    /// How long the last spin took, if it was in vain.
    wasted: Cell<u64>,
    /// The driver had something the last time that it was asked without a wait, or with next to none.
    busy: Cell<bool>,
}

/// Below this a spin is not worth its clock reads.
const SHORTEST: u64 = 2_000;

impl Spin {
    pub(super) fn new(config: &Config, workers: usize) -> Self {
        // With fewer CPUs than workers, a spinner takes the CPU from the one it waits for.
        let longest = if allowed_cpus() < workers { 0 } else { config.spin.as_nanos().min(1_000_000_000) as u64 };
        Self { longest, limit: Cell::new(longest), wasted: Cell::new(0), busy: Cell::new(true) }
    }

    /// True if the driver is worth a look before a sleep, which is a look as well: a busy worker finds its next events by the
    /// first and need tell nobody that it sleeps; an idle one is spared a system call.
    fn is_look_worthwhile(&self) -> bool {
        self.busy.get() || self.budget() > 0
    }

    /// How long the next spin may take; 0: sleep at once.
    pub(super) fn budget(&self) -> u64 {
        if self.limit.get() < SHORTEST { 0 } else { self.limit.get() }
    }

    pub(super) fn paid(&self) {
        self.limit.set((self.limit.get() * 2).clamp(SHORTEST.min(self.longest), self.longest));
    }

    pub(super) fn wasted(&self, nanoseconds: u64) {
        self.limit.set(self.limit.get() / 2);
        self.wasted.set(nanoseconds);
    }

    /// After a sleep of this many nanoseconds.
    pub(super) fn slept(&self, nanoseconds: u64) {
        self.busy.set(nanoseconds < SHORTEST);
        let waited = nanoseconds.saturating_add(self.wasted.take());
        if waited < self.longest {
            self.limit.set(self.limit.get().max(2 * waited).clamp(SHORTEST.min(self.longest), self.longest));
        }
    }
}

impl Worker {
    /// Waits for something to do, for at most `timeout`. It may return early, with or without work.
    pub(super) fn park(&self, timeout: Option<Duration>) {
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            if !self.look() && !self.has_work() {
                self.lend();
            }
            return;
        }
        let deadline =
            timeout.map_or(NEVER, |timeout| now().saturating_add(timeout.as_nanos().min(u64::MAX.into()) as u64));
        if self.look_before_sleep(deadline) {
            return;
        }
        // As from here on this worker looks no more, nobody need wait for the hook.
        if self.hooks().park.is_some() && self.stop_searching() {
            return;
        }
        self.hooks().call(self.hooks().park);
        // It may fork, and come back in the child.
        if is_forked() {
            return;
        }
        // What the hook woke or spawned on this thread is in no inbox that would keep us awake.
        if !self.has_work() {
            self.sleep(deadline);
        }
        if self.hooks().unpark.is_some() {
            self.rouse();
        }
        self.hooks().call(self.hooks().unpark);
    }

    /// Something has come that may keep this worker for long, as functions of the program's may, or a close(2): it neither
    /// sleeps nor searches, so that others are woken for what comes meanwhile.
    pub(super) fn rouse(&self) {
        self.wake_up();
        if self.stop_searching() {
            self.shared().wake_one();
        }
    }

    /// The worker is not asleep any more. Who was chosen to look for work searches.
    fn wake_up(&self) {
        if self.asleep.replace(false) {
            self.searching.set(self.shared().idle.woke(self.index()));
        }
    }

    /// True if somebody must look: it was the last who searched, and there is something.
    fn stop_searching(&self) -> bool {
        self.searching.replace(false) && self.shared().idle.rest() && self.scan()
    }

    /// Searches, and spins as long as that pays. True if there is something to do.
    fn look_before_sleep(&self, deadline: u64) -> bool {
        let found = match self.is_look_due() || self.spin.is_look_worthwhile() {
            true => self.look(),
            false => self.look_here(),
        };
        if found || self.has_work() || self.lend() {
            return true;
        }
        self.spin.busy.set(false);
        let multi = !self.shared().is_current_thread();
        if multi && !self.searching.get() {
            self.searching.set(self.shared().idle.search());
        }
        if self.searching.get() && self.steal() {
            return true;
        }
        let budget = self.spin.budget();
        budget > 0 && self.spin_until(deadline, now(), budget)
    }

    /// Looks around for as long as the budget allows. True if there is something to do.
    fn spin_until(&self, deadline: u64, begun: u64, budget: u64) -> bool {
        loop {
            std::hint::spin_loop();
            if self.look() || self.has_work() || (self.searching.get() && self.steal()) {
                self.spin.paid();
                Counters::add(&self.remote().counters.spins_paid, 1);
                return true;
            }
            let time = now();
            if time >= deadline || time - begun >= budget {
                self.spin.wasted(time - begun);
                return false;
            }
        }
    }

    fn sleep(&self, deadline: u64) {
        let multi = !self.shared().is_current_thread();
        if multi {
            let alone = self.shared().idle.sleep(self.index(), self.searching.replace(false));
            self.asleep.set(true);
            if alone && self.scan() {
                return self.wake_up();
            }
        }
        self.driver.borrow_mut().prepare_sleep();
        if self.remote().inbox.park() {
            Counters::add(&self.remote().counters.parks, 1);
            let begun = now();
            let wake_at = deadline.min(self.shared().fds.retry_at()).min(self.note_next_deadline());
            self.turn(until(wake_at));
            self.spin.slept(now() - begun);
        }
        self.driver.borrow().stay_awake();
        self.take_inbox();
        self.retry_starved();
        self.progress();
        self.wake_up();
    }

    /// The second look at everything that others may have filled, where nobody searches. True if there is something.
    fn scan(&self) -> bool {
        let shared = self.shared();
        self.has_work()
            || !shared.injector.is_empty()
            || shared.remotes.iter().any(|remote| remote.queue.len() > 0 || !remote.lifo.is_still_empty())
    }
}
