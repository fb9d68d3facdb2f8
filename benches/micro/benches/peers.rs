//! Other runtimes, and what a group of benchmarks is made of.

use asyncio_bench::{Flavour, Runtime, now};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What runs futures.
pub trait Peer {
    fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> impl Future<Output = T> + Send;

    fn yield_now() -> impl Future<Output = ()> + Send;
}

/// tokio, with the parts that a server needs.
pub struct Tokio(pub tokio::runtime::Runtime);

impl Tokio {
    pub fn new(flavour: Flavour) -> Self {
        let mut builder = match flavour {
            Flavour::CurrentThread => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        Self(builder.worker_threads(1).enable_all().build().expect("a runtime"))
    }

    /// Runs a future as a task of its own.
    pub fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        self.0.block_on(async { tokio::spawn(future).await.expect("no panic") })
    }
}

impl Peer for Tokio {
    fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> impl Future<Output = T> + Send {
        let task = tokio::spawn(future);
        async { task.await.expect("no panic") }
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        tokio::task::yield_now()
    }
}

/// The least that runs a task: async-task's, from a queue of this thread's.
pub struct AsyncTask;

thread_local! {
    static QUEUE: RefCell<VecDeque<async_task::Runnable>> = const { RefCell::new(VecDeque::new()) };
}

impl AsyncTask {
    fn start<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> async_task::Task<T> {
        let (runnable, task) = async_task::spawn(future, |task| QUEUE.with_borrow_mut(|queue| queue.push_back(task)));
        runnable.schedule();
        task
    }

    pub fn detach(future: impl Future<Output = ()> + Send + 'static) {
        Self::start(future).detach();
    }

    pub fn run<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
        let mut root = pin!(Self::start(future));
        loop {
            while let Some(task) = QUEUE.with_borrow_mut(VecDeque::pop_front) {
                task.run();
            }
            if let Poll::Ready(value) = root.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return value;
            }
        }
    }
}

impl Peer for AsyncTask {
    fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> impl Future<Output = T> + Send {
        Self::start(future)
    }

    async fn yield_now() {
        let mut yielded = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// How long a future takes.
pub async fn timed(future: impl Future<Output = ()>) -> Duration {
    let began = now(libc::CLOCK_MONOTONIC);
    future.await;
    now(libc::CLOCK_MONOTONIC) - began
}

/// One thing that is measured, ours and others'. Each of them is a function of how often to do it.
pub struct Group<'a>(BenchmarkGroup<'a, WallTime>);

impl<'a> Group<'a> {
    pub fn new(c: &'a mut Criterion, name: &str) -> Self {
        Self(c.benchmark_group(name))
    }

    pub fn add(mut self, who: &str, how: &str, mut measure: impl FnMut(u64) -> Duration) -> Self {
        self.0.bench_function(BenchmarkId::new(who, how), |b| b.iter_custom(&mut measure));
        self
    }

    /// What needs no task.
    pub fn each(self, who: &str, how: &str, mut once: impl FnMut()) -> Self {
        self.add(who, how, |rounds| {
            let began = now(libc::CLOCK_MONOTONIC);
            for _ in 0..rounds {
                once();
            }
            now(libc::CLOCK_MONOTONIC) - began
        })
    }

    /// The same in both flavours.
    pub fn both(self, add: impl FnMut(Self, Flavour) -> Self) -> Self {
        [Flavour::CurrentThread, Flavour::OneWorker].into_iter().fold(self, add)
    }

    pub fn ours(self, measure: impl Fn(&Runtime, u64) -> Duration) -> Self {
        self.both(|group, flavour| {
            let runtime = Runtime::new(flavour);
            group.add("asyncio", flavour.name(), |rounds| measure(&runtime, rounds))
        })
    }

    pub fn tokio(self, measure: impl Fn(&Tokio, u64) -> Duration) -> Self {
        self.both(|group, flavour| {
            let tokio = Tokio::new(flavour);
            group.add("tokio", flavour.name(), |rounds| measure(&tokio, rounds))
        })
    }

    pub fn async_task(self, measure: impl Fn(u64) -> Duration) -> Self {
        self.add("async-task", Flavour::CurrentThread.name(), measure)
    }
}
