//! A worker: finds the next task, runs it, looks at its driver now and then, and parks when nothing is left.

use super::config::Hooks;
use super::context::{Current, OwnContext, PollContext};
use super::local::List;
use super::operation::Ops;
use super::park::Spin;
use super::queue::Full;
use super::registration::feed;
use super::shared::{Counters, NEVER, Phase, Shared};
use super::threads::take_name;
use super::timer::Desk;
use crate::driver::Driver;
use crate::primitives::fork::is_forked;
use crate::primitives::sync::{Arc, Ordering::*, nature};
use crate::task::{Notified, Ran, Spare, TaskName, live_tasks};
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// How long a worker whose driver fails waits before it looks again.
const BACK_OFF: Duration = Duration::from_millis(1);

/// How many cells of tasks that are no more a worker keeps for the next ones.
const MOST_SPARES: usize = 64;

/// A worker belongs to one thread at a time. Its fields are cells because tasks that run on it schedule others.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    index: u32,
    context: OwnContext,
    /// Tasks that may run here only. In the current-thread flavour: all.
    pinned: List,
    /// Cells for the next tasks that are made here: nobody else is asked for them, nor the runtime for another count.
    spares: RefCell<Vec<Spare>>,
    pub(super) driver: RefCell<Driver>,
    ops: Ops,
    desk: Desk,
    pub(super) spin: Spin,
    /// Polls since the driver was looked at.
    pub(super) unlooked: Cell<u32>,
    /// Whose turn it is when the LIFO slot has had its share: the pinned tasks', or the stealable ones'.
    pinned_turn: Cell<bool>,
    /// Polls in a row that came from the LIFO slot.
    lifo_polls: Cell<u32>,
    /// A task runs: what it wakes may go to the LIFO slot.
    running: Cell<bool>,
    /// Counted as searching in the idle word.
    pub(super) searching: Cell<bool>,
    /// Counted as sleeping there, unless it was chosen since.
    pub(super) asleep: Cell<bool>,
    /// It has seen that the runtime is stopping, and has aborted all tasks.
    stopping: Cell<bool>,
    /// It came back from a task that a shutdown gave up: nobody waits for it, and the program's hooks may be gone.
    outcast: Cell<bool>,
    /// The state of a small random generator, to choose whom to steal from.
    seed: Cell<u64>,
}

/// Runs a task, and reports how long that took.
#[cfg(feature = "tracing")]
fn timed(task: Notified) -> Ran {
    let (name, begun) = (task.header().name(), super::shared::now());
    let ran = task.run();
    tracing::trace!(target: "asyncio::task", op = "poll", task = name, ns = super::shared::now() - begun);
    ran
}

#[cfg(not(feature = "tracing"))]
#[inline(always)]
fn timed(task: Notified) -> Ran {
    task.run()
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, index: u32, driver: Driver, context: OwnContext, ops: Ops) -> Self {
        let spin = Spin::new(&shared.config, shared.remotes.len());
        let desk = Desk::new(shared.handle, index);
        Self {
            shared,
            index,
            context,
            pinned: List::new(),
            spares: RefCell::new(Vec::with_capacity(MOST_SPARES)),
            driver: RefCell::new(driver),
            ops,
            desk,
            spin,
            unlooked: Cell::new(0),
            pinned_turn: Cell::new(true),
            lifo_polls: Cell::new(0),
            running: Cell::new(false),
            searching: Cell::new(false),
            asleep: Cell::new(false),
            stopping: Cell::new(false),
            outcast: Cell::new(false),
            seed: Cell::new(0x9e37_79b9_7f4a_7c15 ^ u64::from(index + 1)),
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    pub(super) fn context(&self) -> &'static PollContext {
        self.context.get()
    }

    pub(super) fn ops(&self) -> &Ops {
        &self.ops
    }

    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }

    pub(super) fn hooks(&self) -> &Hooks {
        &self.shared.config.hooks
    }

    // Making tasks on this thread.

    pub(super) fn spare(&self) -> Option<Spare> {
        self.spares.borrow_mut().pop()
    }

    /// Keeps a cell; gives it back if there are enough.
    pub(super) fn keep(&self, spare: Spare) -> Option<Spare> {
        let mut spares = self.spares.borrow_mut();
        if spares.len() == MOST_SPARES {
            return Some(spare);
        }
        spares.push(spare);
        None
    }

    // Scheduling from this thread.

    pub(super) fn push_pinned(&self, task: Notified) {
        self.pinned.push(task);
    }

    /// A stealable task was woken on this thread. By a task that runs: it is polled next. By the driver: in its turn.
    pub(super) fn push_woken(&self, task: Notified) {
        if !self.running.get() || self.shared.config.lifo_limit == 0 {
            return self.push_back(task);
        }
        match self.remote().lifo.put(task) {
            Some(before) => self.push_back(before),
            None => self.offer(),
        }
    }

    /// Queues a task behind the others.
    fn push_back(&self, task: Notified) {
        if task.header().is_pinned() {
            return self.pinned.push(task);
        }
        match self.remote().queue.push(task) {
            Ok(()) => {}
            Err(Full::Stolen(task)) => self.shared.injector.push(task),
            Err(Full::Overflow(task, half)) => {
                self.shared.injector.push_all(half.into_iter().chain(std::iter::once(task)));
            }
        }
        self.offer();
    }

    /// Wakes a sleeper to share the work. The look is a hint: nothing is lost without it, since this worker has the work. Of what it put
    /// into its queue a worker that falls asleep at that moment may not hear, for that is a store alone.
    fn offer(&self) {
        if self.shared.idle.could_help() {
            self.shared.wake_one();
        }
    }

    // Finding and running.

    pub(super) fn has_work(&self) -> bool {
        !self.pinned.is_empty()
            || self.remote().queue.len() > 0
            || !self.remote().lifo.is_empty()
            || self.ops.have_news()
    }

    /// Moves what others sent to this worker into its list. True if there was something, be it a nudge: then the worker
    /// must not sleep before it looked at the runtime's phase again.
    pub(super) fn take_inbox(&self) -> bool {
        let taken = self.remote().inbox.take();
        let news = taken.is_news();
        if news {
            self.take_mail();
            self.take_timer_mail();
        }
        for task in taken {
            // SAFETY: the inbox gives back what `into_raw` gave to it.
            self.pinned.push(unsafe { Notified::from_raw(task) });
        }
        news
    }

    /// The next task of this worker's own. Pinned and stealable tasks take turns.
    fn next(&self) -> Option<Notified> {
        if self.shared.is_current_thread() {
            return self.pinned.pop();
        }
        if self.lifo_polls.get() < self.shared.config.lifo_limit {
            if let Some(task) = self.remote().lifo.take() {
                self.lifo_polls.set(self.lifo_polls.get() + 1);
                return Some(task);
            }
        } else if let Some(task) = self.remote().lifo.take() {
            // It had its share: behind the others with it.
            self.push_back(task);
        }
        self.lifo_polls.set(0);
        match self.pinned_turn.replace(!self.pinned_turn.get()) {
            true => self.pinned.pop().or_else(|| self.remote().queue.pop()),
            false => self.remote().queue.pop().or_else(|| self.pinned.pop()),
        }
    }

    /// True when so many tasks were polled that the driver must be looked at, whatever else there is to do.
    pub(super) fn is_look_due(&self) -> bool {
        self.unlooked.get() >= self.shared.config.event_interval
    }

    /// Runs tasks until none is left, `done` says so, or it is time to look around. Returns how many were polled.
    ///
    /// A task may fork, and its poll come back in the child, as may any other function of the program's: all that is left is the
    /// parent's.
    pub(super) fn run_batch(&self, done: &dyn Fn() -> bool) -> u64 {
        let mut polls = 0;
        while !self.is_look_due() && !is_forked() {
            let Some(task) = self.next() else { break };
            self.run(task);
            self.unlooked.set(self.unlooked.get() + 1);
            polls += 1;
            if done() {
                break;
            }
        }
        Counters::add(&self.remote().counters.polls, polls);
        polls
    }

    fn run(&self, task: Notified) {
        if self.searching.get() {
            self.found_work();
        }
        if self.stopping.get() {
            task.cancel();
        }
        let header = task.header();
        let name = TaskName::of(header);
        self.context().begin(header, self.shared.config.poll_budget);
        self.remote().polled.begin(name);
        self.running.set(true);
        self.foresee_runs(header, &self.pinned);
        let ran = timed(task);
        self.running.set(false);
        self.context().end();
        self.remote().polled.end();
        if self.shared.phase() != Phase::Running && name.is_abandoned() {
            self.outcast.set(true);
        }
        if let Ran::Again(task) = ran {
            self.push_back(task);
        }
    }

    /// A searcher has something to do: it stops searching, and sees to it that somebody looks for the rest.
    fn found_work(&self) {
        self.searching.set(false);
        if self.shared.idle.rest() {
            self.shared.wake_one();
        }
    }

    // Looking around.

    /// Everything that may have come from elsewhere, without sleeping.
    pub(super) fn look(&self) -> bool {
        // What was told before the driver is looked at comes before what the driver tells: a cancel finds its operation.
        let here = self.look_here();
        let events = self.turn(Some(Duration::ZERO));
        let progress = self.progress();
        here || events || progress
    }

    /// The same, but for the driver. It counts as a poll, so that a worker which never comes to sleep hears of its driver.
    pub(super) fn look_here(&self) -> bool {
        self.unlooked.set(self.unlooked.get() + 1);
        let inbox = self.take_inbox();
        self.retry_starved();
        let told = self.progress();
        let injected = self.pull_injected();
        inbox || told || injected
    }

    /// The driver's wait failed: the set's descriptor was closed behind us, or the system refuses the call. Neither an abort
    /// nor a spin at full speed: tasks that have other sources of wakes go on, looked at a thousand times a second.
    pub(super) fn back_off(&self, timeout: Option<Duration>) {
        nature::sleep(timeout.map_or(BACK_OFF, |timeout| timeout.min(BACK_OFF)));
    }

    /// Listeners that starve may try again when their time has come.
    pub(super) fn retry_starved(&self) {
        if self.shared.fds.retry_at() == NEVER {
            return;
        }
        let starved = self.shared.fds.take_starved(false);
        if !starved.is_empty() {
            self.rouse();
            feed(starved);
        }
    }

    /// Takes a fair share of the injected tasks.
    pub(super) fn pull_injected(&self) -> bool {
        let injector = &self.shared.injector;
        if injector.is_empty() {
            return false;
        }
        let share = injector.len() / self.shared.remotes.len() as u32 + 1;
        let pulled = List::new();
        injector.pop_into(share.min(128), &pulled);
        let any = !pulled.is_empty();
        while let Some(task) = pulled.pop() {
            self.push_back(task);
        }
        any
    }

    /// Takes tasks from another worker. True if there were any.
    pub(super) fn steal(&self) -> bool {
        let workers = self.shared.remotes.len();
        let start = self.random() as usize % workers;
        let others = (0..workers).map(|n| (start + n) % workers).filter(|&other| other != self.index as usize);
        for other in others.clone() {
            if let Some((task, count)) = self.shared.remotes[other].queue.steal_into(&self.remote().queue) {
                Counters::add(&self.remote().counters.steals, count.into());
                self.push_back(task);
                return true;
            }
        }
        for other in others {
            if let Some(task) = self.shared.remotes[other].lifo.take() {
                Counters::add(&self.remote().counters.steals, 1);
                self.push_back(task);
                return true;
            }
        }
        false
    }

    fn random(&self) -> u64 {
        let mut seed = self.seed.get();
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        self.seed.set(seed);
        seed
    }

    // A thread's life.

    /// The life of a multi-thread worker. It ends at once in a child that a task forked and whose poll came back: nothing
    /// there is the worker's to look at, to wait on or to end.
    pub(super) fn main(&self) {
        take_name(&self.shared.config.thread_name);
        Current::belongs_to(&self.shared);
        Current::scope(self, || {
            self.driver.borrow_mut().start();
            self.hooks().call(self.hooks().thread_start);
            self.work();
            if is_forked() {
                return;
            }
            self.retire();
            if !self.outcast.get() {
                self.hooks().call(self.hooks().thread_stop);
            }
        });
        if is_forked() {
            return;
        }
        self.remote().retired.swap(true, AcqRel);
        self.shared.ring();
        // Who freed the runtime did not wait for one that was stuck. Either it has seen that this one retired, and closes, or
        // it is seen here; both ask by read-modify-writes.
        if self.shared.freed.fetch_or(false, AcqRel) {
            self.remote().driver.close();
        }
    }

    /// Runs what there is to run, until the runtime has ended.
    fn work(&self) {
        while self.goes_on() {
            self.run_batch(&|| false);
            if is_forked() {
                return;
            }
            if self.has_work() || self.is_look_due() {
                self.look();
            } else if !self.take_inbox() && !self.pull_injected() {
                self.park(None);
            }
        }
    }

    /// False when the runtime has ended. On the first look at a stopping runtime every task is aborted.
    ///
    /// Each worker does that on its own. A task that this worker polled before is seen by its scan; one that it polls
    /// later is cancelled by `run`. So no task is missed, whoever made it when.
    pub(super) fn goes_on(&self) -> bool {
        match self.shared.phase() {
            Phase::Running => true,
            Phase::Stopped => false,
            Phase::Stopping => {
                if !self.stopping.replace(true) {
                    live_tasks(self.shared.identity()).for_each(|task| {
                        let _ = task.abort();
                    });
                }
                self.shared.tasks() > 0
            }
        }
    }

    /// Ends the worker: what is still queued was given up, and is let go.
    pub(super) fn retire(&self) {
        if self.searching.replace(false) {
            let _ = self.shared.idle.rest();
        }
        for task in self.remote().inbox.close() {
            // Counted as abandoned by the shutdown; its memory stays.
            let _ = task;
        }
        self.end_operations();
        self.end_timers();
    }
}
