//! Functions that block, and questions, as Rust sees them.

use super::*;
use crate::net::resolve::lookup;
use crate::task::{JoinError, header_of};
use std::sync::mpsc::channel;

fn with_one_thread(flavour: Flavour) -> Runtime {
    Runtime::new(Config { flavour, workers: 2, blocking_threads: 1, ..Config::default() }).expect("a runtime")
}

#[test]
fn a_closure_returns_what_it_returns() {
    in_both(|runtime| {
        let drops = Drops::default();
        let guard = drops.guard();
        let large = runtime.spawn_blocking(move || {
            let _guard = guard;
            [7u64; 100]
        });
        let large = block_on(&runtime, large.expect("running"));
        assert_eq!(large.expect("no panic").expect("a thread"), [7; 100]);
        assert_eq!(drops.count(), 1);
    });
}

#[test]
fn a_panic_is_the_joiners() {
    in_both(|runtime| {
        let task = runtime.spawn_blocking(|| std::panic::resume_unwind(Box::new("thrown"))).expect("running");
        let Err(JoinError::Panicked(thrown)) = block_on(&runtime, task) else { panic!("it panicked") };
        assert_eq!(thrown.downcast_ref(), Some(&"thrown"));
    });
}

#[test]
fn an_abort_takes_back_what_is_queued_and_waits_for_what_runs() {
    for flavour in [Flavour::MultiThread, Flavour::CurrentThread] {
        let runtime = with_one_thread(flavour);
        let (running, drops) = (Gate::default(), Drops::default());
        let (held, holds) = channel::<()>();
        let here = running.clone();
        let runs = runtime.spawn_blocking(move || {
            here.open();
            holds.recv().expect_err("dropped");
            5
        });
        let runs = runs.expect("running");
        block_on(&runtime, running.passed());
        let guard = drops.guard();
        let queued = runtime
            .spawn_blocking(move || {
                let _guard = guard;
                6
            })
            .expect("running");
        runs.abort();
        queued.abort();
        let error = block_on(&runtime, queued).expect("no panic").expect_err("it was queued");
        assert_eq!((error.errno(), drops.count()), (libc::ECANCELED, 1));
        drop(held);
        assert_eq!(block_on(&runtime, runs).expect("no panic").expect("it ran"), 5);
    }
}

#[test]
fn a_lookup_is_awaited_or_dropped_in_any_task() {
    in_both(|runtime| {
        let found = block_on(&runtime, async { lookup("127.0.0.1", 80).await });
        assert_eq!(found, Ok(vec![([127, 0, 0, 1], 80).into()]));
        assert_eq!(block_on(&runtime, lookup("a\0b", 80)), Err(libc::EINVAL));
        for _ in 0..100 {
            block_on(&runtime, async {
                for _ in 0..10 {
                    // Asked, and given up before the answer, or with it.
                    let mut asked = Box::pin(lookup("localhost", 80));
                    let _ = poll_fn(|context| Poll::Ready(asked.as_mut().poll(context))).await;
                    drop(asked);
                    poll_fn(|context| {
                        let task = header_of(context.waker()).expect("a task's waker");
                        assert!(!task.has_ops(), "nothing is left of it");
                        Poll::Ready(())
                    })
                    .await;
                }
            });
        }
    });
}

#[test]
fn a_lookup_outside_of_tasks_is_refused() {
    let waker = crate::waker(Arc::new(Nobody));
    let mut context = std::task::Context::from_waker(&waker);
    let asked = std::pin::pin!(lookup("localhost", 80));
    assert_eq!(asked.poll(&mut context), Poll::Ready(Err(libc::EPERM)));
}

struct Nobody;

impl crate::Wake for Nobody {
    fn wake_by_ref(_this: &Arc<Self>) {}
}
