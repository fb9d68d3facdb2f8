//! White-box tests of tasks: every moment of a task's life, on one thread.

mod end;
mod join;
mod life;

use super::waker::waker_ref;
use super::{Header, JoinError, Notified, Plain, Ran, Schedule, TaskName, spawn};
use crate::primitives::sync::{Arc, Mutex, Ordering::*};
use crate::primitives::{Wake, waker};
use std::cell::Cell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::ptr;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, Waker};

/// A queue. Every live cell holds a count on it.
#[derive(Default)]
struct Queue {
    tasks: Mutex<VecDeque<Notified>>,
    ended: AtomicUsize,
}

thread_local! {
    /// The queue whose thread this is.
    static HERE: Cell<*const Queue> = const { Cell::new(ptr::null()) };
}

impl Queue {
    fn pop(&self) -> Option<Notified> {
        self.tasks.lock().pop_front()
    }

    /// Runs until the queue is empty. Returns how many tasks it took from there.
    fn run(&self) -> usize {
        let mut runs = 0;
        while let Some(task) = self.pop() {
            runs += 1;
            if let Ran::Again(task) = task.run() {
                self.schedule(task);
            }
        }
        runs
    }

    fn live(self: &Arc<Self>) -> usize {
        Arc::strong_count(self) - 1
    }

    /// Makes a joinable task and queues it.
    fn spawn<F>(self: &Arc<Self>, future: F) -> TaskName
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let task = spawn(Plain(future), self, None, true).ok().expect("memory");
        let name = TaskName::of(task.header());
        self.schedule(task);
        name
    }
}

impl Schedule for Queue {
    fn schedule(&self, task: Notified) {
        let mut tasks = self.tasks.lock();
        assert!(tasks.iter().all(|queued| queued.header() != task.header()), "queued twice");
        tasks.push_back(task);
    }

    fn here() -> *const Self {
        HERE.get()
    }

    fn ended(&self, _task: &Header) {
        self.ended.fetch_add(1, Relaxed);
    }
}

/// Counts whatever it is told to count; as a waker, its wakes.
#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Something that counts its drop.
    fn dropped(self: &Arc<Self>) -> OnDrop<impl FnMut() + Send + use<>> {
        let count = self.clone();
        OnDrop(move || count.add())
    }
}

impl Wake for Count {
    fn wake_by_ref(this: &Arc<Self>) {
        this.add();
    }
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A panic that prints nothing.
fn planted() {
    resume_unwind(Box::new("planted"));
}

/// A future that owns `state`.
fn task<S, T>(state: S, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T> + Send) -> impl Future<Output = T> + Send
where
    S: Send,
{
    poll_fn(move |context| {
        let _owned = &state;
        poll(context)
    })
}

/// The result of a task that ended.
fn join<T: 'static>(name: TaskName) -> Option<Result<T, JoinError>> {
    match name.poll_join(0, Waker::noop()) {
        Some(Poll::Ready(result)) => Some(result),
        Some(Poll::Pending) => panic!("it runs"),
        None => None,
    }
}

fn joined<T: 'static>(name: TaskName) -> Result<T, JoinError> {
    join(name).expect("nobody else joined")
}

fn waker_of(name: TaskName) -> Waker {
    name.with(|cell| waker_ref(cell).clone()).expect("alive")
}
