//! The part of a runtime that every thread may touch: it outlives everything that may still wake one of its tasks.

use super::config::{Config, Flavour};
use super::context::Current;
use super::fds::FdTable;
use super::idle::Idle;
use super::injector::Injector;
use super::lifo::Lifo;
use super::live::{Ended, Live};
use super::operation::Operation;
use super::polled::Polled;
use super::pool::Pool;
use super::queue::Queue;
use super::timer::Timer;
use super::worker::Worker;
use crate::driver;
use crate::primitives::fork::is_forked;
use crate::primitives::inbox::{Inbox, Pushed};
use crate::primitives::sync::{Arc, AtomicBool, AtomicU8, AtomicU64, Condvar, Mutex, Ordering::*, nature};
use crate::primitives::thread::Moment;
use crate::task::{Header, Notified, Schedule, Spare, TaskName};
use std::collections::HashMap;
use std::ptr;
use std::time::{Duration, Instant};

/// How long a thread for blocking calls waits for the next one.
const THREAD_IDLES: Duration = Duration::from_secs(10);

/// A deadline that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

pub(crate) use crate::primitives::sync::nature::now;

/// The time until a deadline; `None` if there is none.
pub(super) fn until(deadline: u64) -> Option<Duration> {
    (deadline != NEVER).then(|| Duration::from_nanos(deadline.saturating_sub(now())))
}

/// The same for condition variables.
pub(super) fn instant_of(deadline: u64) -> Option<Instant> {
    until(deadline).and_then(|left| nature::instant().checked_add(left))
}

/// Where a runtime is in its life. Only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    Running = 0,
    /// Every task is being ended.
    Stopping = 1,
    /// Nothing will run any more.
    Stopped = 2,
}

/// Counters of one worker: written by it alone, read by anybody.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) polls: AtomicU64,
    pub(super) steals: AtomicU64,
    pub(super) parks: AtomicU64,
    pub(super) events: AtomicU64,
    pub(super) spins_paid: AtomicU64,
    pub(super) ops_begun: AtomicU64,
    pub(super) ops_ended: AtomicU64,
}

impl Counters {
    /// One writer, so a load and a store will do.
    pub(super) fn add(counter: &AtomicU64, n: u64) {
        counter.store(counter.load(Relaxed).wrapping_add(n), Release);
    }
}

/// What others see of a worker.
pub(super) struct Remote {
    pub(super) queue: Queue,
    /// The task that was woken last by the task that runs, to be polled next. Stolen when nothing else is left.
    pub(super) lifo: Lifo,
    pub(super) inbox: Inbox<Header>,
    /// Operations of this worker that others have news for. Who pushes nudges the inbox, which is what the worker sleeps on.
    pub(super) mail: Inbox<Operation>,
    /// Timers of this worker that others did something to. As with the mail, who pushes nudges.
    pub(super) timers: Inbox<Timer>,
    /// When the worker wants to be awake for a timer, for who asks from another thread. Who arms one there may only lower it.
    pub(super) next_deadline: AtomicU64,
    pub(super) driver: driver::Handle,
    pub(super) counters: Counters,
    /// How often the worker's eventfd was written. Written by anybody.
    pub(super) unparks: AtomicU64,
    pub(super) polled: Polled,
    /// The worker's thread has done its last work, or was never made.
    pub(super) retired: AtomicBool,
    /// The kernel could not end all that was on the worker's ring, and keeps its thread until it can. Written before `retired`.
    pub(super) kept: AtomicBool,
}

impl Remote {
    pub(super) fn new(driver: driver::Handle) -> Self {
        Self {
            queue: Queue::new(),
            lifo: Lifo::default(),
            inbox: Inbox::new(),
            mail: Inbox::new(),
            timers: Inbox::new(),
            next_deadline: AtomicU64::new(NEVER),
            driver,
            counters: Counters::default(),
            unparks: AtomicU64::new(0),
            polled: Polled::default(),
            retired: AtomicBool::new(false),
            kept: AtomicBool::new(false),
        }
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Acquire)
    }

    /// True while the worker runs a task that was given up.
    pub(super) fn is_stuck(&self) -> bool {
        self.polled.now().is_some_and(TaskName::is_abandoned)
    }

    /// Where no task is counted any more: true while the worker has yet to say that one can be joined.
    pub(super) fn is_ending(&self) -> bool {
        self.polled.now().is_some_and(|task| task.is_running() && !task.is_abandoned())
    }

    pub(super) fn unpark(&self) {
        self.unparks.fetch_add(1, Relaxed);
        // What a child wakes does not run there, and it has the bell in common with its parent.
        if !is_forked() {
            self.driver.unpark();
        }
    }

    /// Makes the worker look around once more, now or before it sleeps.
    pub(super) fn nudge(&self) {
        if self.inbox.nudge() {
            self.unpark();
        }
    }
}

/// See the module.
pub(crate) struct Shared {
    /// The runtime's handle.
    pub(crate) handle: u64,
    pub(super) config: Config,
    pub(super) remotes: Box<[Remote]>,
    pub(super) injector: Injector,
    pub(super) idle: Idle,
    pub(super) fds: FdTable,
    /// Threads for calls that block.
    pub(super) pool: Arc<Pool>,
    /// Threads that ask name servers: a share of their own, so that slow servers keep no file from being read.
    pub(super) resolvers: Arc<Pool>,
    live: Live,
    phase: AtomicU8,
    pub(super) stop: AtomicBool,
    /// Nobody needs the drivers any more but workers that are stuck.
    pub(super) freed: AtomicBool,
    /// Somebody else's loop waits on the driver's descriptor.
    pub(super) embedded: AtomicBool,
    /// The lock and the bell of threads that wait for the runtime as a whole.
    gate: Mutex<()>,
    bell: Condvar,
    /// How many tasks a shutdown gave up.
    pub(super) abandoned: AtomicU64,
    /// How many operations would not end, and were leaked with their ring.
    pub(super) ops_abandoned: AtomicU64,
    /// The thread that drives a current-thread runtime, as `thread_number`; 0: none yet.
    pub(super) driven_by: AtomicU64,
    /// The worker that the next descriptor or pinned task of a foreign thread goes to.
    next_home: AtomicU64,
    /// Handles that are good no longer than the runtime, and what lets go of them.
    pub(super) along: Mutex<HashMap<u64, fn(u64)>>,
}

impl Shared {
    pub(super) fn new(handle: u64, config: Config, drivers: Vec<driver::Handle>) -> Self {
        let pool = |threads| Arc::new(Pool::new(threads, THREAD_IDLES, config.thread_name.clone(), config.stack_size));
        let (pool, resolvers) = (pool(config.blocking_threads), pool(config.resolver_threads));
        Self {
            handle,
            config,
            idle: Idle::new(drivers.len() as u32),
            remotes: drivers.into_iter().map(Remote::new).collect(),
            injector: Injector::new(),
            fds: FdTable::new(),
            pool,
            resolvers,
            live: Live::default(),
            phase: AtomicU8::new(Phase::Running as u8),
            stop: AtomicBool::new(false),
            freed: AtomicBool::new(false),
            embedded: AtomicBool::new(false),
            gate: Mutex::new(()),
            bell: Condvar::new(),
            abandoned: AtomicU64::new(0),
            ops_abandoned: AtomicU64::new(0),
            driven_by: AtomicU64::new(0),
            next_home: AtomicU64::new(0),
            along: Mutex::new(HashMap::new()),
        }
    }

    pub(super) fn is_current_thread(&self) -> bool {
        self.config.flavour == Flavour::CurrentThread
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Acquire) {
            0 => Phase::Running,
            1 => Phase::Stopping,
            _ => Phase::Stopped,
        }
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, AcqRel);
        self.remotes.iter().for_each(Remote::nudge);
        self.ring();
    }

    pub(super) fn remote(&self, worker: u32) -> &Remote {
        &self.remotes[worker as usize]
    }

    /// The worker for something that has no home yet: this thread's, or the next in turn.
    pub(super) fn pick_home(&self) -> u32 {
        match Current::worker_of(self) {
            Some(worker) => worker.index(),
            None => (self.next_home.fetch_add(1, Relaxed) % self.remotes.len() as u64) as u32,
        }
    }

    // Live tasks.

    pub(super) fn tasks(&self) -> u64 {
        self.live.tasks()
    }

    /// From now on no task is accepted. True for the first caller.
    pub(super) fn close(&self) -> bool {
        self.live.close()
    }

    /// Asks by a read-modify-write: a caller that made something visible before either sees the close, or is seen by it.
    pub(super) fn is_closed(&self) -> bool {
        self.live.is_closed()
    }

    // Waiting for the runtime as a whole.

    /// Waits until all workers' threads have done their last work, but for those that are stuck in a task which was given
    /// up.
    pub(super) fn wait_for_workers(&self, deadline: u64) {
        self.wait_until(deadline, || self.remotes.iter().all(|remote| remote.is_retired() || remote.is_stuck()));
    }

    /// A task is counted out shortly before it can be joined. Where no task is counted any more, waits until all can be, which is
    /// a few steps of the library's own, and as long as the system keeps a worker from them.
    pub(super) fn wait_for_ends(&self) {
        let mut moment = Moment::default();
        while self.tasks() == 0 && self.remotes.iter().any(Remote::is_ending) {
            moment.pass();
        }
    }

    /// Wakes the threads that wait in `wait_until`.
    pub(super) fn ring(&self) {
        drop(self.gate.lock());
        self.bell.notify_all();
    }

    /// Blocks this thread until `done`, or until no task is left if that is asked for, or until the deadline. False: the
    /// deadline came.
    pub(super) fn wait_until(&self, deadline: u64, done: impl Fn() -> bool) -> bool {
        let mut gate = self.gate.lock();
        loop {
            self.live.await_last();
            if done() {
                return true;
            }
            match instant_of(deadline) {
                None => self.bell.wait(&mut gate),
                Some(end) => {
                    if self.bell.wait_until(&mut gate, end).timed_out() {
                        return done();
                    }
                }
            }
        }
    }

    // Scheduling.

    /// Wakes a worker for work that was just made visible, if that is due.
    pub(super) fn wake_one(&self) {
        if let Some(worker) = self.idle.wake_one() {
            self.remote(worker).nudge();
        }
    }

    /// Puts a task into its worker's inbox.
    pub(super) fn post(&self, worker: u32, task: Notified) {
        let remote = self.remote(worker);
        match remote.inbox.push(task.into_raw()) {
            Pushed::Queued => {}
            Pushed::Unpark => remote.unpark(),
            // Only after every task ended or was given up: this one was given up, and is leaked as such.
            Pushed::Closed => {}
        }
    }

    /// What tells this scheduler's tasks from others'.
    pub(super) fn identity(&self) -> *const () {
        ptr::from_ref(self).cast()
    }
}

impl Schedule for Shared {
    fn schedule(&self, task: Notified) {
        let here = Current::worker_of(self);
        if task.header().is_pinned() {
            let home = task.header().home();
            return match here {
                Some(worker) if worker.index() == home => worker.push_pinned(task),
                _ => self.post(home, task),
            };
        }
        match here {
            Some(worker) => worker.push_woken(task),
            None => {
                self.injector.push(task);
                self.wake_one();
            }
        }
    }

    fn spare(&self) -> Option<Spare> {
        Current::worker_of(self)?.spare()
    }

    fn keep(&self, spare: Spare) -> Option<Spare> {
        match Current::worker_of(self) {
            Some(worker) => worker.keep(spare),
            None => Some(spare),
        }
    }

    fn here() -> *const Self {
        Current::shared().map_or(ptr::null(), ptr::from_ref)
    }

    fn begins(&self) -> bool {
        self.live.begin()
    }

    fn ended(&self, _task: &Header) {
        if let Ended::Last { closed } = self.live.end() {
            self.ring();
            if closed {
                self.remotes.iter().for_each(Remote::nudge);
            }
        }
    }

    fn drain(&self, task: &'static Header) {
        if let Some(worker) = Current::worker_of(self) {
            worker.drain_task(task);
        }
    }
}

/// Counters of a whole runtime.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) workers: u32,
    pub(crate) tasks_live: u64,
    pub(crate) tasks_abandoned: u64,
    pub(crate) polls: u64,
    pub(crate) steals: u64,
    pub(crate) parks: u64,
    pub(crate) unparks: u64,
    pub(crate) events: u64,
    pub(crate) spins_paid: u64,
    pub(crate) ios_live: u64,
    pub(crate) ops_live: u64,
    pub(crate) leases_live: u64,
    pub(crate) blocking_threads: u64,
    pub(crate) timers_live: u64,
    pub(crate) ops_abandoned: u64,
}

impl Shared {
    pub(crate) fn metrics(&self) -> Metrics {
        let sum = |pick: fn(&Remote) -> &AtomicU64| self.remotes.iter().map(|remote| pick(remote).load(Acquire)).sum();
        Metrics {
            workers: self.remotes.len() as u32,
            tasks_live: self.tasks(),
            tasks_abandoned: self.abandoned.load(Acquire),
            polls: sum(|remote| &remote.counters.polls),
            steals: sum(|remote| &remote.counters.steals),
            parks: sum(|remote| &remote.counters.parks),
            unparks: sum(|remote| &remote.unparks),
            events: sum(|remote| &remote.counters.events),
            spins_paid: sum(|remote| &remote.counters.spins_paid),
            ios_live: super::letting_go::owned_by(self.handle).count() as u64,
            // Ended first: the difference of two counters that run must not wrap.
            ops_live: {
                let ended = sum(|remote| &remote.counters.ops_ended);
                sum(|remote| &remote.counters.ops_begun).saturating_sub(ended)
            },
            leases_live: super::buffers::live_leases(),
            timers_live: super::timer::owned_by(self.handle) as u64,
            blocking_threads: (self.pool.threads() + self.resolvers.threads()) as u64,
            ops_abandoned: self.ops_abandoned.load(Relaxed),
        }
    }
}

// Workers are made and driven elsewhere; what is left here is how a worker finds its own remote.
impl Worker {
    pub(super) fn remote(&self) -> &Remote {
        self.shared().remote(self.index())
    }
}
