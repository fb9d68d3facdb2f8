//! What the runtime's parts do on one thread, and what it does as a whole. What threads may do to the parts is in
//! `loom_tests.rs`.

mod calls;
mod descriptors;
mod ends;
mod parts;
mod pool;
mod queues;
mod tasks;

use super::{Config, Flavour, Runtime};
use crate::AtomicWaker;
use crate::task::JoinHandle;
use std::future::{Future, pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::task::Poll;

fn multi_thread() -> Runtime {
    Runtime::new(Config { workers: 2, ..Config::default() }).expect("a runtime")
}

fn current_thread() -> Runtime {
    Runtime::new(Config { flavour: Flavour::CurrentThread, ..Config::default() }).expect("a runtime")
}

/// Runs a test in each flavour.
fn in_both(test: impl Fn(Runtime)) {
    test(multi_thread());
    test(current_thread());
}

fn block_on<T: Send + 'static>(runtime: &Runtime, future: impl Future<Output = T> + Send + 'static) -> T {
    runtime.block_on(future).expect("a running runtime").expect("no panic")
}

/// Opened once, by anybody, for one task that waits.
#[derive(Clone, Default)]
struct Gate(Arc<(AtomicBool, AtomicWaker)>);

impl Gate {
    fn open(&self) {
        self.0.0.store(true, Release);
        self.0.1.wake();
    }

    async fn passed(self) {
        poll_fn(|context| {
            self.0.1.register_by_ref(context.waker());
            if self.0.0.load(Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Counts its drops, all clones together.
#[derive(Clone, Default)]
struct Drops(Arc<AtomicUsize>);

impl Drops {
    fn guard(&self) -> impl Send + use<> {
        struct Guard(Arc<AtomicUsize>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.fetch_add(1, AcqRel);
            }
        }
        Guard(self.0.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Acquire)
    }
}

/// Spawns a task that waits for ever, and waits until it does.
fn spawn_waiting(runtime: &Runtime, drops: &Drops) -> JoinHandle<()> {
    let (waits, guard) = (Gate::default(), drops.guard());
    let here = waits.clone();
    let task = runtime.spawn(async move {
        let _guard = guard;
        here.open();
        pending::<()>().await;
    });
    block_on(runtime, waits.passed());
    task.expect("a running runtime")
}

async fn yield_now() {
    let mut again = true;
    poll_fn(|context| {
        if !std::mem::take(&mut again) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
