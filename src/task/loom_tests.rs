//! Every order in which a task's runner can meet those who wake, abort, join and let go of it.
//!
//! The models share their bookkeeping through loom's cells: an access that is not ordered after the one before it fails
//! the model. The data that a waker leaves for the poll is Relaxed, so that only the task's own word can order it.
//! A scheduler's count that a cell does not give back is a leak, which loom reports by itself.

use super::cell::{CELLS, dealloc};
use super::waker::waker_ref;
use super::{Header, JoinError, Notified, Ran, Schedule, TaskName, live_tasks, spawn};
use crate::primitives::inbox::{Inbox, Pushed};
use crate::primitives::sync::{Arc, AtomicU32, Mutex, Ordering::*, UnsafeCell};
use crate::primitives::{Wake, waker};
use loom::sync::Notify;
use loom::thread::{self, JoinHandle, ThreadId};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc as Shared;
use std::sync::atomic::{AtomicBool as Flag, AtomicU32 as Count};
use std::task::{Context, Poll, Waker};

// What the models run.

/// A queue that any thread may run, and that refuses a task which it holds already.
struct Pool {
    queue: Mutex<Vec<Notified>>,
    /// The thread that counts as the scheduler's own.
    local: Option<ThreadId>,
}

impl Pool {
    fn new() -> Arc<Self> {
        Arc::new(Self { queue: Mutex::new(Vec::new()), local: None })
    }

    /// With this thread as the scheduler's own.
    fn local() -> Arc<Self> {
        Arc::new(Self { queue: Mutex::new(Vec::new()), local: Some(thread::current().id()) })
    }

    fn pop(&self) -> Option<Notified> {
        self.queue.lock().pop()
    }

    fn run(&self) {
        while let Some(task) = self.pop() {
            if let Ran::Again(task) = task.run() {
                self.schedule(task);
            }
        }
    }
}

/// Makes a joinable task and queues it.
fn launch<F: Future<Output: Send + 'static> + Send + 'static>(pool: &Arc<Pool>, future: F) -> TaskName {
    let task = spawn(future, pool, None, true).ok().expect("memory");
    let name = TaskName::of(task.header());
    pool.schedule(task);
    name
}

impl Schedule for Pool {
    fn schedule(&self, task: Notified) {
        let mut queue = self.queue.lock();
        assert!(!queue.iter().any(|queued| queued.header() == task.header()), "queued twice");
        queue.push(task);
    }

    fn is_local(&self) -> bool {
        self.local == Some(thread::current().id())
    }

    fn ended(&self, _task: &Header) {}
}

/// One worker's inbox, for pinned tasks.
struct Home {
    inbox: Inbox<Header>,
    /// Stands for the worker's eventfd.
    bell: Notify,
    queued: Flag,
    parks: Count,
    unparks: Count,
}

impl Home {
    const INDEX: u32 = 7;

    fn new() -> Arc<Self> {
        let (queued, parks, unparks) = Default::default();
        Arc::new(Self { inbox: Inbox::new(), bell: Notify::new(), queued, parks, unparks })
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
                self.bell.wait();
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
                self.bell.notify();
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

struct Bell(Notify);

impl Wake for Bell {
    fn wake_by_ref(this: &Shared<Self>) {
        this.0.notify();
    }
}

/// Sleeps until the task ended. `None`: somebody else took the result, or gave it up.
fn join(name: TaskName) -> Option<Result<Dropped, JoinError>> {
    let bell = Shared::new(Bell(Notify::new()));
    let waker = waker(bell.clone());
    loop {
        match name.poll_join(waker.data().addr(), &waker)? {
            Poll::Ready(result) => return Some(result),
            Poll::Pending => bell.0.wait(),
        }
    }
}

fn waker_of(name: TaskName) -> Waker {
    name.with(|cell| waker_ref(cell).clone()).expect("alive")
}

fn all<const N: usize>(threads: [JoinHandle<()>; N]) {
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}

/// The first cell of the model went back to the slab once: it is the next to be handed out, and not the one after.
fn assert_freed_once() {
    let cell = CELLS.get(0).expect("the model has spawned");
    assert_eq!(cell.state.refs(), 0);
    assert!(std::ptr::eq(CELLS.alloc().expect("memory").1, cell), "not freed");
    assert!(!std::ptr::eq(CELLS.alloc().expect("memory").1, cell), "freed twice");
}

// Stealable tasks.

/// Two wakes race the poll: the last poll sees what both wakers wrote.
#[test]
fn loom_a_poll_follows_the_last_wake() {
    loom::model(|| {
        let (pool, reader) = (Pool::new(), Reader::new());
        let (words, done) = (reader.words.clone(), reader.done.clone());
        let name = launch(&pool, reader);
        let by_ref = thread::spawn({
            let (waker, words) = (waker_of(name), words.clone());
            move || {
                words[0].store(1, Relaxed);
                waker.wake_by_ref();
            }
        });
        let by_value = thread::spawn({
            let waker = waker_of(name);
            move || {
                words[1].store(1, Relaxed);
                waker.wake();
            }
        });
        assert!(name.detach());
        pool.run();
        all([by_ref, by_value]);
        pool.run();
        assert!(done.load(Relaxed), "a wake was lost");
        assert_freed_once();
    });
}

/// Two threads run the task, and one that has a name wakes it: nobody polls it while another does, and each poll sees
/// what the one before left.
#[test]
fn loom_one_thread_polls_at_a_time() {
    loom::model(|| {
        let (pool, reader) = (Pool::new(), Reader::new());
        let (words, done) = (reader.words.clone(), reader.done.clone());
        let name = launch(&pool, reader);
        let runner = thread::spawn({
            let (pool, waker, words) = (pool.clone(), waker_of(name), words.clone());
            move || {
                words[0].store(1, Relaxed);
                waker.wake();
                pool.run();
            }
        });
        let named = thread::spawn({
            let pool = pool.clone();
            move || {
                words[1].store(1, Relaxed);
                // The task cannot end before this wake: the word was not there.
                let _ = name.wake();
                pool.run();
            }
        });
        pool.run();
        all([runner, named]);
        assert!(done.load(Relaxed), "a wake was lost");
        assert!(name.detach());
        assert_freed_once();
    });
}

/// The scheduler's own thread gives its waker's reference to the queue, while another thread wakes and polls.
#[test]
fn loom_a_local_wake_hands_its_reference_on() {
    loom::model(|| {
        let (pool, reader) = (Pool::local(), Reader::new());
        let (words, done) = (reader.words.clone(), reader.done.clone());
        let name = launch(&pool, reader);
        let waker = waker_of(name);
        let foreign = thread::spawn({
            let (pool, waker, words) = (pool.clone(), waker_of(name), words.clone());
            move || {
                words[0].store(1, Relaxed);
                waker.wake();
                pool.run();
            }
        });
        assert!(name.detach());
        pool.run();
        words[1].store(1, Relaxed);
        waker.wake();
        pool.run();
        all([foreign]);
        assert!(done.load(Relaxed), "a wake was lost");
        assert_freed_once();
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
        let name = TaskName::of(task.header());
        let threads = [0, 1].map(|which| {
            let (waker, words) = (waker_of(name), words.clone());
            thread::spawn(move || {
                words[which].store(1, Relaxed);
                if which == 0 { waker.wake_by_ref() } else { waker.wake() }
            })
        });
        home.schedule(task);
        home.run(&done);
        all(threads);
        assert!(home.unparks.load(Relaxed) <= home.parks.load(Relaxed), "woken without need");
        assert!(!home.queued.load(Relaxed), "queued after its end");
        assert_freed_once();
    });
}

// A task's end.

/// An abort races the polls of a task that never ends by itself; whoever joins sees its state dropped.
#[test]
fn loom_an_abort_ends_a_parked_task() {
    loom::model(|| {
        let pool = Pool::new();
        let (victim, traces) = Victim::new(false);
        let name = launch(&pool, victim);
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
        assert_freed_once();
    });
}
