//! A wake is never lost, and brings one poll at a time.

use super::*;
use crate::primitives::inbox::{Inbox, Pushed};
use crate::primitives::sync::AtomicU32;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool as Flag, AtomicU32 as Count};
use std::task::{Context, Poll};

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

/// The scheduler's own thread wakes by name, which keeps no second reference, while another thread does so too.
#[test]
fn loom_a_local_wake_by_name() {
    loom::model(|| {
        let (pool, reader) = (Pool::local(), Reader::new());
        let (words, done) = (reader.words.clone(), reader.done.clone());
        let name = launch(&pool, reader, false);
        let foreign = thread::spawn({
            let (pool, words) = (pool.clone(), words.clone());
            move || {
                words[0].store(1, Relaxed);
                let _ = name.wake();
                pool.run();
            }
        });
        pool.run();
        words[1].store(1, Relaxed);
        let _ = name.wake();
        pool.run();
        all([foreign]);
        assert!(done.load(Relaxed), "a wake was lost");
        assert_freed_once(&[]);
    });
}

/// Asks for another poll by itself, as long as nobody wrote, for so many times.
struct Rounds {
    reader: Reader,
    left: u32,
}

impl Future for Rounds {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let (Some(task), Some(left)) = (super::super::header_of(context.waker()), self.left.checked_sub(1)) {
            self.left = left;
            task.run_again();
        }
        Pin::new(&mut self.reader).poll(context)
    }
}

/// A task that goes back to the queue by itself, as another thread acts and runs what is queued. It must end.
fn go_round(words: [u32; 2], act: fn(TaskName, &[AtomicU32; 2])) {
    loom::model(move || {
        let (pool, reader) = (Pool::new(), Reader::new());
        let (shared, done) = (reader.words.clone(), reader.done.clone());
        for (word, value) in shared.iter().zip(words) {
            word.store(value, Relaxed);
        }
        let name = launch(&pool, Rounds { reader, left: 2 }, false);
        let other = thread::spawn({
            let pool = pool.clone();
            move || {
                act(name, &shared);
                pool.run();
            }
        });
        pool.run();
        all([other]);
        pool.run();
        assert!(done.load(Relaxed), "a wake or an abort was lost");
        assert_freed_once(&[]);
    });
}

/// It is there for wakes that come meanwhile, and for one runner at a time.
#[test]
fn loom_a_task_that_goes_round_misses_no_wake() {
    go_round([0, 1], |name, words| {
        words[0].store(1, Relaxed);
        let _ = name.wake();
    });
}

/// And for an abort.
#[test]
fn loom_a_task_that_goes_round_is_ended_by_an_abort() {
    go_round([0, 0], |name, _| {
        let _ = name.abort();
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

// The scheduler's own life.

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

    fn here() -> *const Self {
        ptr::null()
    }

    fn ended(&self, _task: &Header) {}
}

impl Drop for Fleeting {
    fn drop(&mut self) {
        assert_eq!(self.inside.load(Relaxed), 0, "gone while a wake is inside");
    }
}

/// The woken task ends, and takes the last other count on its scheduler with it, before the wake has returned.
fn a_wake_keeps_its_scheduler(wake: fn(TaskName, Waker)) {
    loom::model(move || {
        let (pool, reader) = (Fleeting::new(), Reader::new());
        let (words, done) = (reader.words.clone(), reader.done.clone());
        words[1].store(1, Relaxed);
        let task = spawn(Plain(reader), &pool, None, false).ok().expect("memory");
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
    fn run(&self, mut task: Option<Notified>, done: &Flag) {
        loop {
            while let Some(Ran::Again(again)) = task.take().map(Notified::run) {
                task = Some(again);
            }
            if done.load(Relaxed) {
                return;
            }
            for woken in self.inbox.take() {
                assert!(self.queued.swap(false, Relaxed) && task.is_none());
                // SAFETY: `schedule` took it apart, and the inbox gives it out once.
                task = Some(unsafe { Notified::from_raw(woken) });
            }
            if task.is_none() && self.inbox.park() {
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

    fn here() -> *const Self {
        ptr::null()
    }

    fn ended(&self, _task: &Header) {}
}

/// Two threads wake a pinned task, whose home sleeps in its inbox.
#[test]
fn loom_a_pinned_task_hears_foreign_wakes() {
    loom::model(|| {
        let (home, reader) = (Home::new(), Reader::new());
        let (words, done) = (reader.words.clone(), reader.done.clone());
        let task = spawn(Plain(reader), &home, Some(Home::INDEX), false).ok().expect("memory");
        let wakers = [0, 1].map(|which| {
            let (waker, words) = (waker_ref(task.header()).clone(), words.clone());
            thread::spawn(move || {
                words[which].store(1, Relaxed);
                waker.wake_by_ref();
                waker
            })
        });
        home.run(Some(task), &done);
        drop(all(wakers));
        assert!(home.unparks.load(Relaxed) <= home.parks.load(Relaxed), "woken without need");
        assert!(!home.queued.load(Relaxed), "queued after its end");
        assert_freed_once(&[]);
    });
}
