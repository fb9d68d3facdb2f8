//! Every order in which a task's runner can meet those who wake, abort, join and let go of it.
//!
//! The models share their bookkeeping through loom's cells: an access that is not ordered after the one before it fails
//! the model. The data that a waker leaves for the poll is Relaxed, so that only the task's own word can order it.
//! A scheduler's count that a cell does not give back is a leak, which loom reports by itself.

use super::cell::{CELLS, dealloc};
use super::waker::waker_ref;
use super::{Header, JoinError, Notified, Ran, Schedule, TaskName, live_tasks, spawn};
use crate::primitives::inbox::{Inbox, Pushed};
use crate::primitives::sync::{Arc, AtomicPtr, AtomicU32, Ordering::*, UnsafeCell};
use crate::primitives::{Wake, waker};
use loom::thread::{self, JoinHandle, Thread};
use std::future::Future;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::Arc as Shared;
use std::sync::atomic::{AtomicBool as Flag, AtomicU32 as Count};
use std::task::{Context, Poll, Waker};

// What the models run.

/// A queue for one task, that any thread may run. It refuses a task while it holds one, and orders no more than a queue must.
struct Pool {
    slot: AtomicPtr<Header>,
    /// The thread that made the pool.
    maker: Thread,
    /// Whether that thread counts as the scheduler's own.
    local: bool,
}

impl Pool {
    fn new() -> Arc<Self> {
        Arc::new(Self { slot: AtomicPtr::new(ptr::null_mut()), maker: thread::current(), local: false })
    }

    fn local() -> Arc<Self> {
        Arc::new(Self { slot: AtomicPtr::new(ptr::null_mut()), maker: thread::current(), local: true })
    }

    fn pop(&self) -> Option<Notified> {
        // SAFETY: `schedule` took it apart, and the swap gives it out once.
        NonNull::new(self.slot.swap(ptr::null_mut(), Acquire)).map(|task| unsafe { Notified::from_raw(task) })
    }

    fn run(&self) {
        while let Some(task) = self.pop() {
            if let Ran::Again(task) = task.run() {
                self.schedule(task);
            }
        }
    }
}

impl Schedule for Pool {
    fn schedule(&self, task: Notified) {
        assert!(self.slot.swap(task.into_raw().as_ptr(), Release).is_null(), "queued twice");
    }

    fn is_local(&self) -> bool {
        self.local && self.maker.id() == thread::current().id()
    }

    fn ended(&self, _task: &Header) {}
}

/// Makes a task and queues it.
fn launch<F>(pool: &Arc<Pool>, future: F, joinable: bool) -> TaskName
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let task = spawn(future, pool, None, joinable).ok().expect("memory");
    let name = TaskName::of(task.header());
    pool.schedule(task);
    name
}

/// A queue for one task whose runner lets go of it first. It must not go away while somebody is still inside of it.
struct Fleeting {
    slot: AtomicPtr<Header>,
    inside: AtomicU32,
    runner: Thread,
}

impl Fleeting {
    fn new() -> Arc<Self> {
        let (slot, inside) = (AtomicPtr::new(ptr::null_mut()), AtomicU32::new(0));
        Arc::new(Self { slot, inside, runner: thread::current() })
    }

    fn wait(&self) -> Notified {
        loop {
            if let Some(task) = NonNull::new(self.slot.swap(ptr::null_mut(), Acquire)) {
                // SAFETY: `schedule` took it apart, and the swap gives it out once.
                return unsafe { Notified::from_raw(task) };
            }
            thread::park();
        }
    }
}

impl Schedule for Fleeting {
    fn schedule(&self, task: Notified) {
        self.inside.store(1, Relaxed);
        assert!(self.slot.swap(task.into_raw().as_ptr(), Release).is_null(), "queued twice");
        self.runner.unpark();
        self.inside.store(0, Relaxed);
    }

    fn is_local(&self) -> bool {
        false
    }

    fn ended(&self, _task: &Header) {}
}

impl Drop for Fleeting {
    fn drop(&mut self) {
        assert_eq!(self.inside.load(Relaxed), 0, "gone while a wake is inside");
    }
}

/// One worker's inbox, for pinned tasks.
struct Home {
    inbox: Inbox<Header>,
    worker: Thread,
    queued: Flag,
    parks: Count,
    unparks: Count,
}

impl Home {
    const INDEX: u32 = 7;

    /// With this thread as the worker.
    fn new() -> Arc<Self> {
        let (queued, parks, unparks) = Default::default();
        Arc::new(Self { inbox: Inbox::new(), worker: thread::current(), queued, parks, unparks })
    }

    /// Runs and sleeps until `done`.
    fn run(&self, done: &Flag) {
        while !done.load(Relaxed) {
            for task in self.inbox.take() {
                assert!(self.queued.swap(false, Relaxed));
                // SAFETY: `schedule` took it apart, and the inbox gives it out once.
                let mut ran = unsafe { Notified::from_raw(task) }.run();
                while let Ran::Again(task) = ran {
                    ran = task.run();
                }
            }
            if !done.load(Relaxed) && self.inbox.park() {
                self.parks.fetch_add(1, Relaxed);
                thread::park();
            }
        }
    }
}

impl Schedule for Home {
    fn schedule(&self, task: Notified) {
        assert!(task.header().is_pinned() && task.header().home() == Self::INDEX);
        assert!(!self.queued.swap(true, Relaxed), "queued twice");
        match self.inbox.push(task.into_raw()) {
            Pushed::Queued => {}
            Pushed::Unpark => {
                self.unparks.fetch_add(1, Relaxed);
                self.worker.unpark();
            }
            Pushed::Closed => unreachable!("nobody closes this inbox"),
        }
    }

    fn is_local(&self) -> bool {
        false
    }

    fn ended(&self, _task: &Header) {}
}

/// How often something happened, counted so that two counts without an order between them fail the model.
#[derive(Clone)]
struct Tally(Shared<UnsafeCell<u32>>);

// SAFETY: loom sees to it that accesses are ordered, which is what the models are for.
unsafe impl Send for Tally {}

impl Tally {
    fn new() -> Self {
        Self(Shared::new(UnsafeCell::new(0)))
    }

    fn add(&self) {
        // SAFETY: loom fails the model if another access is not ordered with this one.
        self.0.with_mut(|count| unsafe { *count += 1 });
    }

    fn get(&self) -> u32 {
        // SAFETY: as above.
        self.0.with(|count| unsafe { *count })
    }
}

/// Counts its drop.
struct Dropped(Tally);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.add();
    }
}

/// Ends when both words were written, and says so as the last thing.
struct Reader {
    words: Shared<[AtomicU32; 2]>,
    polls: Tally,
    done: Shared<Flag>,
}

impl Reader {
    fn new() -> Self {
        let words = Shared::new([AtomicU32::new(0), AtomicU32::new(0)]);
        Self { words, polls: Tally::new(), done: Shared::default() }
    }
}

impl Future for Reader {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<()> {
        self.polls.add();
        if self.words.iter().all(|word| word.load(Relaxed) != 0) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.polls.add();
        assert!(!self.done.swap(true, Relaxed), "dropped twice");
    }
}

/// The tallies of a `Victim`.
#[derive(Clone)]
struct Traces {
    polls: Tally,
    state: Tally,
    output: Tally,
}

/// A task's state: ready at the first poll, or never.
struct Victim {
    ready: bool,
    traces: Traces,
    _state: Dropped,
}

impl Victim {
    fn new(ready: bool) -> (Self, Traces) {
        let traces = Traces { polls: Tally::new(), state: Tally::new(), output: Tally::new() };
        (Self { ready, traces: traces.clone(), _state: Dropped(traces.state.clone()) }, traces)
    }
}

impl Future for Victim {
    type Output = Dropped;

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Dropped> {
        self.traces.polls.add();
        if self.ready { Poll::Ready(Dropped(self.traces.output.clone())) } else { Poll::Pending }
    }
}

/// Wakes a thread.
struct Sleeper(Thread);

impl Wake for Sleeper {
    fn wake_by_ref(this: &Shared<Self>) {
        this.0.unpark();
    }
}

/// Sleeps until the task ended. `None`: somebody else took the result, or gave it up.
fn join(name: TaskName) -> Option<Result<Dropped, JoinError>> {
    let waker = waker(Shared::new(Sleeper(thread::current())));
    loop {
        match name.poll_join(waker.data().addr(), &waker)? {
            Poll::Ready(result) => return Some(result),
            Poll::Pending => thread::park(),
        }
    }
}

fn waker_of(name: TaskName) -> Waker {
    name.with(|cell| waker_ref(cell).clone()).expect("alive")
}

/// What the threads returned.
fn all<T, const N: usize>(threads: [JoinHandle<T>; N]) -> [T; N] {
    threads.map(|thread| thread.join().expect("no panic"))
}

/// Every cell that the model used went back to the slab, once: they come out again before any new one, all but the
/// retired ones.
fn assert_freed_once(retired: &[u32]) {
    let used = CELLS.iter().count() as u32;
    let expected: Vec<u32> = (0..used).filter(|index| !retired.contains(index)).collect();
    let mut free: Vec<u32> = expected.iter().map(|_| CELLS.alloc().expect("memory").0).collect();
    free.sort_unstable();
    assert_eq!(free, expected, "not freed, or freed twice");
    assert_eq!(CELLS.alloc().expect("memory").0, used, "too many free");
    for (_, cell) in CELLS.iter() {
        assert_eq!(cell.state.refs(), 0, "freed while in use");
        assert!(cell.joiners.lock().is_empty(), "a joiner was left behind");
    }
}

// Stealable tasks.

/// Two wakes race the polls: the last poll sees what both wakers wrote.
#[test]
fn loom_a_poll_follows_the_last_wake() {
    loom::model(|| {
        let (pool, reader) = (Pool::new(), Reader::new());
        let (words, done) = (reader.words.clone(), reader.done.clone());
        let name = launch(&pool, reader, false);
        let wakers = [0, 1].map(|which| {
            let (waker, words) = (waker_of(name), words.clone());
            thread::spawn(move || {
                words[which].store(1, Relaxed);
                waker.wake_by_ref();
                waker
            })
        });
        pool.run();
        drop(all(wakers));
        pool.run();
        assert!(done.load(Relaxed), "a wake was lost");
        assert_freed_once(&[]);
    });
}

/// Two threads run the task: nobody polls it while another does, and each poll sees what the one before left.
#[test]
fn loom_one_thread_polls_at_a_time() {
    loom::model(|| {
        let (pool, reader) = (Pool::new(), Reader::new());
        let (words, done) = (reader.words.clone(), reader.done.clone());
        let name = launch(&pool, reader, false);
        let runners = [0, 1].map(|which| {
            let (pool, words) = (pool.clone(), words.clone());
            thread::spawn(move || {
                words[which].store(1, Relaxed);
                // Stale where the other's wake has shown this word to a poll.
                let _ = name.wake();
                pool.run();
            })
        });
        pool.run();
        all(runners);
        assert!(done.load(Relaxed), "a wake was lost");
        assert_freed_once(&[]);
    });
}

/// The scheduler's own thread gives its waker's reference to the queue, while another thread gives its own up.
#[test]
fn loom_a_local_wake_hands_its_reference_on() {
    loom::model(|| {
        let (pool, reader) = (Pool::local(), Reader::new());
        let (words, done) = (reader.words.clone(), reader.done.clone());
        let name = launch(&pool, reader, false);
        let waker = waker_of(name);
        let foreign = thread::spawn({
            let (pool, waker, words) = (pool.clone(), waker_of(name), words.clone());
            move || {
                words[0].store(1, Relaxed);
                waker.wake();
                pool.run();
            }
        });
        pool.run();
        words[1].store(1, Relaxed);
        waker.wake();
        pool.run();
        all([foreign]);
        assert!(done.load(Relaxed), "a wake was lost");
        assert_freed_once(&[]);
    });
}

/// The woken task ends, and takes the last other count on its scheduler with it, before the wake has returned.
fn a_wake_keeps_its_scheduler(wake: fn(TaskName, Waker)) {
    loom::model(move || {
        let (pool, reader) = (Fleeting::new(), Reader::new());
        let (words, done) = (reader.words.clone(), reader.done.clone());
        words[1].store(1, Relaxed);
        let task = spawn(reader, &pool, None, false).ok().expect("memory");
        let name = TaskName::of(task.header());
        let waker = waker_ref(task.header()).clone();
        let foreign = thread::spawn(move || {
            words[0].store(1, Relaxed);
            wake(name, waker);
        });
        let task = match task.run() {
            Ran::Again(task) => Some(task),
            Ran::Done => (!done.load(Relaxed)).then(|| pool.wait()),
        };
        drop(pool);
        if let Some(task) = task {
            assert!(matches!(task.run(), Ran::Done));
        }
        all([foreign]);
        assert!(done.load(Relaxed), "a wake was lost");
        assert_freed_once(&[]);
    });
}

#[test]
fn loom_a_wake_by_value_keeps_its_scheduler() {
    a_wake_keeps_its_scheduler(|_, waker| waker.wake());
}

#[test]
fn loom_a_wake_by_name_keeps_its_scheduler() {
    a_wake_keeps_its_scheduler(|name, waker| {
        drop(waker);
        let _ = name.wake();
    });
}

// Pinned tasks.

/// Two threads wake a pinned task, whose home sleeps in its inbox.
#[test]
fn loom_a_pinned_task_hears_foreign_wakes() {
    loom::model(|| {
        let (home, reader) = (Home::new(), Reader::new());
        let (words, done) = (reader.words.clone(), reader.done.clone());
        let task = spawn(reader, &home, Some(Home::INDEX), false).ok().expect("memory");
        let wakers = [0, 1].map(|which| {
            let (waker, words) = (waker_ref(task.header()).clone(), words.clone());
            thread::spawn(move || {
                words[which].store(1, Relaxed);
                waker.wake_by_ref();
                waker
            })
        });
        home.schedule(task);
        home.run(&done);
        drop(all(wakers));
        assert!(home.unparks.load(Relaxed) <= home.parks.load(Relaxed), "woken without need");
        assert!(!home.queued.load(Relaxed), "queued after its end");
        assert_freed_once(&[]);
    });
}

// A task's end.

/// An abort races the polls of a task that never ends by itself; whoever joins sees its state dropped.
#[test]
fn loom_an_abort_ends_a_parked_task() {
    loom::model(|| {
        let pool = Pool::new();
        let (victim, traces) = Victim::new(false);
        let name = launch(&pool, victim, true);
        let aborter = thread::spawn({
            let pool = pool.clone();
            move || {
                name.abort().expect("nobody joined yet");
                pool.run();
            }
        });
        let joiner = thread::spawn({
            let state = traces.state.clone();
            move || {
                assert!(matches!(join(name), Some(Err(JoinError::Cancelled))));
                assert_eq!(state.get(), 1, "dropped once, before the join");
            }
        });
        pool.run();
        all([aborter, joiner]);
        assert_eq!((traces.state.get(), traces.output.get()), (1, 0));
        assert_freed_once(&[]);
    });
}

/// An abort races a poll that returns: the result of a poll wins, and without a poll there is none.
#[test]
fn loom_a_return_beats_an_abort() {
    loom::model(|| {
        let pool = Pool::new();
        let (victim, traces) = Victim::new(true);
        let name = launch(&pool, victim, true);
        let aborter = thread::spawn(move || {
            // Stale where the result was taken already.
            let _ = name.abort();
        });
        let joiner = thread::spawn({
            let traces = traces.clone();
            move || {
                let result = join(name).expect("nobody else joins");
                assert_eq!(traces.state.get(), 1, "dropped once, before the join");
                assert_eq!(result.is_ok(), traces.polls.get() == 1);
            }
        });
        pool.run();
        all([aborter, joiner]);
        assert_eq!(traces.state.get(), 1);
        assert_eq!(traces.output.get(), traces.polls.get());
        assert_freed_once(&[]);
    });
}

/// Whoever comes last of the runner, the one who gives up the join and the last waker frees the cell; whoever comes
/// later of the first two drops the output.
#[test]
fn loom_the_last_of_runner_detach_and_waker_frees() {
    loom::model(|| {
        let pool = Pool::new();
        let (victim, traces) = Victim::new(true);
        let name = launch(&pool, victim, true);
        let waker = waker_of(name);
        let detacher = thread::spawn(move || assert!(name.detach()));
        let waking = thread::spawn(move || waker.wake());
        pool.run();
        all([detacher, waking]);
        assert_eq!((traces.state.get(), traces.output.get()), (1, 1));
        assert_freed_once(&[]);
    });
}

/// Of two joiners, one of whom waits already, one gets the result and the other is told.
#[test]
fn loom_two_joiners_share_one_result() {
    loom::model(|| {
        let pool = Pool::new();
        let (victim, traces) = Victim::new(true);
        let name = launch(&pool, victim, true);
        let waker = waker(Shared::new(Sleeper(thread::current())));
        assert!(matches!(name.poll_join::<Dropped>(0, &waker), Some(Poll::Pending)));
        let runner = thread::spawn(move || pool.run());
        let joiner = thread::spawn(move || join(name));
        thread::park();
        let first = name.poll_join::<Dropped>(0, &waker);
        let [second] = all([joiner]);
        match (first, second) {
            (Some(Poll::Ready(Ok(_result))), None) | (None, Some(Ok(_result))) => assert_eq!(traces.output.get(), 0),
            _ => panic!("not one winner"),
        }
        all([runner]);
        assert_eq!((traces.state.get(), traces.output.get()), (1, 1));
        assert_freed_once(&[]);
    });
}

/// Giving up the join of a task that goes on wakes whoever waits for it.
#[test]
fn loom_a_detach_sends_joiners_away() {
    loom::model(|| {
        let pool = Pool::new();
        let (victim, traces) = Victim::new(false);
        let name = launch(&pool, victim, true);
        let joiner = thread::spawn(move || assert!(join(name).is_none()));
        let detacher = thread::spawn(move || assert!(name.detach()));
        pool.run();
        all([joiner, detacher]);
        assert_eq!(traces.state.get(), 0);
        name.abort().expect("it goes on");
        pool.run();
        assert_eq!(traces.state.get(), 1);
        assert_freed_once(&[]);
    });
}

/// A cell that is used again while others still hold the name of its last task: they cannot reach the next.
#[test]
fn loom_a_stale_name_does_not_reach_the_next_task() {
    loom::model(|| {
        let pool = Pool::new();
        let name = launch(&pool, Victim::new(true).0, false);
        let stranger = thread::spawn(move || {
            let _ = name.abort();
            assert!(!name.detach());
        });
        pool.run();
        let (victim, traces) = Victim::new(true);
        let next = launch(&pool, victim, true);
        assert_ne!(next, name);
        pool.run();
        assert!(matches!(join(next), Some(Ok(_))), "aborted by a stranger");
        assert_eq!(traces.state.get(), 1);
        all([stranger]);
        assert_freed_once(&[]);
    });
}

/// The same when the cell has lived its last life: it is not used again.
#[test]
fn loom_a_retired_cell_is_not_used_again() {
    loom::model(|| {
        let (index, cell) = CELLS.alloc().expect("memory");
        cell.state.age_to(u32::MAX - 1);
        CELLS.free(index);
        let pool = Pool::new();
        let name = launch(&pool, Victim::new(true).0, true);
        let waker = waker_of(name);
        let detacher = thread::spawn(move || {
            assert!(name.detach());
            let _ = name.wake();
        });
        let waking = thread::spawn(move || waker.wake());
        pool.run();
        let next = launch(&pool, Victim::new(true).0, false);
        assert_ne!(next, name);
        pool.run();
        all([detacher, waking]);
        assert!(!name.detach() && name.wake().is_err());
        assert_freed_once(&[index]);
    });
}

/// A scan for a scheduler's tasks holds each of them only while it looks, whatever they become meanwhile.
#[test]
fn loom_a_scan_meets_tasks_that_end_and_begin() {
    loom::model(|| {
        let (pool, other) = (Pool::new(), Pool::new());
        launch(&pool, Victim::new(true).0, false);
        let scan = thread::spawn({
            let identity = Arc::as_ptr(&pool).addr();
            move || live_tasks(ptr::without_provenance(identity)).for_each(|task| drop(task.abort()))
        });
        pool.run();
        let next = launch(&other, Victim::new(true).0, true);
        other.run();
        assert!(matches!(join(next), Some(Ok(_))), "the scan reached another scheduler's task");
        all([scan]);
        assert_freed_once(&[]);
    });
}

/// A shutdown gives a task up while it ends: its state is dropped once or, if it was given up first, never. A joiner
/// hears of either.
#[test]
fn loom_an_abandoned_task_is_dropped_once_or_never() {
    loom::model(|| {
        let pool = Pool::new();
        let (victim, traces) = Victim::new(true);
        let name = launch(&pool, victim, true);
        let joiner = thread::spawn(move || join(name).expect("nobody else joins").is_ok());
        let shutdown = thread::spawn(move || name.abandon());
        pool.run();
        let ([joined], [abandoned]) = (all([joiner]), all([shutdown]));
        match traces.state.get() {
            0 => assert!(abandoned && !joined),
            1 => assert!(abandoned || joined),
            _ => panic!("dropped twice"),
        }
        // What was given up in time stays for ever, but a model must not leak.
        let cell = CELLS.get(0).expect("the model has spawned");
        let refs = cell.state.refs();
        assert!(abandoned || refs == 0);
        if refs > 0 && cell.state.ref_dec(refs) {
            dealloc(cell);
        }
        assert_freed_once(&[]);
    });
}
