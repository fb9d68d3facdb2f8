//! Tasks and who joins, wakes and aborts them, in both flavours.

use super::*;
use crate::task::JoinError;
use std::sync::Mutex;
use std::task::Context;

#[test]
fn a_task_gives_its_result_to_whoever_joins_it() {
    in_both(|runtime| {
        let small = runtime.spawn(async { 7u8 }).expect("running");
        let large = runtime.spawn(async { [7u64; 100] }).expect("running");
        let text = runtime.spawn(async { String::from("seven") }).expect("running");
        assert_eq!(block_on(&runtime, small).expect("no panic"), 7);
        assert_eq!(block_on(&runtime, large).expect("no panic"), [7; 100]);
        assert_eq!(block_on(&runtime, text).expect("no panic"), "seven");
    });
}

#[test]
fn ten_thousand_tasks_end_once_each() {
    in_both(|runtime| {
        let drops = Drops::default();
        let tasks: Vec<_> = (0..10_000u64)
            .map(|n| {
                let guard = drops.guard();
                runtime
                    .spawn(async move {
                        let _guard = guard;
                        yield_now().await;
                        n
                    })
                    .expect("running")
            })
            .collect();
        let sum = block_on(&runtime, async {
            let mut sum = 0;
            for task in tasks {
                sum += task.await.expect("no panic");
            }
            sum
        });
        assert_eq!((sum, drops.count()), (9_999 * 10_000 / 2, 10_000));
    });
}

#[test]
fn tasks_spawn_tasks_and_wake_each_other() {
    in_both(|runtime| {
        let runtime = Arc::new(runtime);
        let inner = runtime.clone();
        let sum = block_on(&runtime, async move {
            let (first, second) = (Gate::default(), Gate::default());
            let (open, wait) = (second.clone(), first.clone());
            let task = inner.spawn(async move {
                wait.passed().await;
                open.open();
                1
            });
            first.open();
            second.passed().await;
            let result = task.expect("running").await.expect("no panic");
            // The last reference must not go in here: a runtime is not freed by its own task.
            (result, inner)
        });
        assert_eq!(sum.0, 1);
    });
}

#[test]
fn a_panic_is_the_joiners_and_hurts_nobody_else() {
    in_both(|runtime| {
        let drops = Drops::default();
        let guard = drops.guard();
        let task: Result<JoinHandle<()>, _> = runtime.spawn(async move {
            let _guard = guard;
            panic!("planted")
        });
        match block_on(&runtime, task.expect("running")) {
            Err(JoinError::Panicked(payload)) => assert_eq!(payload.downcast_ref(), Some(&"planted")),
            other => panic!("{other:?}"),
        }
        assert_eq!(drops.count(), 1);
        let outcome: Result<(), _> = runtime.block_on(async { std::panic::panic_any(7u8) }).expect("running");
        let Err(JoinError::Panicked(payload)) = outcome else { panic!("it panicked") };
        assert_eq!(payload.downcast_ref(), Some(&7u8));
        assert_eq!(block_on(&runtime, async { 1 }), 1);
    });
}

#[test]
fn an_aborted_task_is_dropped_before_its_joiner_hears_of_it() {
    in_both(|runtime| {
        let drops = Drops::default();
        let task = spawn_waiting(&runtime, &drops);
        assert_eq!(drops.count(), 0);
        task.abort();
        task.abort();
        let outcome = block_on(&runtime, task);
        assert!(matches!(outcome, Err(JoinError::Cancelled)), "{outcome:?}");
        assert_eq!(drops.count(), 1);
    });
}

#[test]
fn a_result_beats_an_abort_of_the_same_poll() {
    in_both(|runtime| {
        let (named, handle) = (Gate::default(), Arc::new(Mutex::new(None::<Arc<JoinHandle<u32>>>)));
        let (wait, own) = (named.clone(), handle.clone());
        let task = runtime.spawn(async move {
            wait.passed().await;
            own.lock().expect("no panic").take().expect("named").abort();
            5
        });
        let task = Arc::new(task.expect("running"));
        *handle.lock().expect("no panic") = Some(task.clone());
        named.open();
        let result = block_on(&runtime, async move {
            let mut task = task;
            // Until the task let go of its own handle.
            let mine = loop {
                match Arc::try_unwrap(task) {
                    Ok(mine) => break mine,
                    Err(shared) => task = shared,
                }
                yield_now().await;
            };
            mine.await
        });
        assert_eq!(result.expect("the result wins"), 5);
    });
}

#[test]
fn a_task_that_nobody_joins_goes_on() {
    in_both(|runtime| {
        let (start, end) = (Gate::default(), Gate::default());
        let (wait, open) = (start.clone(), end.clone());
        drop(runtime.spawn(async move {
            wait.passed().await;
            open.open();
        }));
        start.open();
        block_on(&runtime, end.passed());
    });
}

#[test]
fn a_wake_from_a_foreign_thread_arrives() {
    in_both(|runtime| {
        for _ in 0..100 {
            let gate = Gate::default();
            let opener = gate.clone();
            let thread = std::thread::spawn(move || opener.open());
            block_on(&runtime, gate.passed());
            thread.join().expect("no panic");
        }
    });
}

#[test]
fn a_wake_that_comes_after_the_runtime_finds_nothing() {
    in_both(|runtime| {
        let kept = Arc::new(AtomicWaker::new());
        let (cell, waits) = (kept.clone(), Gate::default());
        let here = waits.clone();
        drop(runtime.spawn(poll_fn(move |context: &mut Context<'_>| {
            cell.register_by_ref(context.waker());
            here.open();
            Poll::<()>::Pending
        })));
        block_on(&runtime, waits.passed());
        let waker = kept.take_waker().expect("registered");
        drop(runtime);
        let other = waker.clone();
        other.wake_by_ref();
        waker.wake();
        drop(other);
    });
}

/// A cell that a worker keeps has a count on the runtime, which must not live by that.
#[test]
fn a_worker_keeps_some_cells_and_no_more() {
    in_both(|runtime| {
        let shared = Arc::clone(&runtime.enter().expect("open").shared_arc());
        let workers = shared.remotes.len();
        let counts = Arc::strong_count(&shared);
        for _ in 0..3 {
            let tasks: Vec<_> = (0..1_000).map(|n| runtime.spawn(async move { n }).expect("running")).collect();
            block_on(&runtime, async {
                for task in tasks {
                    task.await.expect("no panic");
                }
            });
            let kept = Arc::strong_count(&shared) - counts;
            // One more that each is about to let go of.
            assert!((60..=65 * workers).contains(&kept), "{kept} cells are kept by {workers} workers");
        }
        let weak = Arc::downgrade(&shared);
        drop(shared);
        drop(runtime);
        assert!(weak.upgrade().is_none(), "somebody keeps the runtime");
    });
}
