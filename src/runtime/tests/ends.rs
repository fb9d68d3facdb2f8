//! Threads that wait for a runtime, and its end, in both flavours.

use super::*;
use crate::task::JoinError;
use std::task::{Context, Waker};

#[test]
fn a_task_may_not_block_on_its_own_runtime() {
    in_both(|runtime| {
        let runtime = Arc::new(runtime);
        let inner = runtime.clone();
        let (errno, _inner) = block_on(&runtime, async move {
            let errno = inner.block_on(async {}).map(|_| ()).expect_err("a deadlock").errno();
            let shutdown = inner.shutdown(None).expect_err("a deadlock").errno();
            ((errno, shutdown), inner)
        });
        assert_eq!(errno, (libc::EDEADLK, libc::EDEADLK));
    });
}

#[test]
fn a_task_may_block_on_another_runtime() {
    in_both(|runtime| {
        let sum = block_on(&runtime, async {
            let other = current_thread();
            let third = multi_thread();
            block_on(&other, async { 1 }) + block_on(&third, async { 2 })
        });
        assert_eq!(sum, 3);
    });
}

#[test]
fn a_current_thread_runtime_stays_with_its_thread() {
    let runtime = current_thread();
    block_on(&runtime, async {});
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            assert_eq!(runtime.block_on(async {}).map(|_| ()).expect_err("another thread").errno(), libc::EPERM);
            assert_eq!(runtime.shutdown(None).expect_err("another thread").errno(), libc::EPERM);
            runtime.spawn(async { 3 }).expect("spawning is for every thread")
        });
        let task = other.join().expect("no panic");
        assert_eq!(block_on(&runtime, task).expect("no panic"), 3);
    });
}

#[test]
fn a_shutdown_drops_every_task_and_refuses_more() {
    in_both(|runtime| {
        let drops = Drops::default();
        let tasks: Vec<_> = (0..20).map(|_| spawn_waiting(&runtime, &drops)).collect();
        assert_eq!(runtime.shutdown(None).expect("once"), 0);
        assert_eq!(drops.count(), 20);
        assert_eq!(runtime.shutdown(None).expect("twice"), 0);
        assert_eq!(runtime.spawn(async {}).map(|_| ()).expect_err("it is over").errno(), libc::ESHUTDOWN);
        assert_eq!(runtime.block_on(async {}).map(|_| ()).expect_err("it is over").errno(), libc::ESHUTDOWN);
        for task in tasks {
            let mut task = Box::pin(task);
            let mut context = Context::from_waker(Waker::noop());
            assert!(matches!(task.as_mut().poll(&mut context), Poll::Ready(Err(JoinError::Cancelled))));
        }
    });
}

#[test]
fn dropping_a_runtime_drops_its_tasks() {
    in_both(|runtime| {
        let drops = Drops::default();
        let _tasks = [spawn_waiting(&runtime, &drops), spawn_waiting(&runtime, &drops)];
        drop(runtime);
        assert_eq!(drops.count(), 2);
    });
}

#[test]
fn a_destructor_may_spawn_and_wake_during_the_shutdown() {
    struct Busy(Arc<Runtime>, Gate, Arc<AtomicUsize>);
    impl Drop for Busy {
        fn drop(&mut self) {
            self.1.open();
            let refused = self.0.spawn(async {}).is_err();
            self.2.fetch_add(usize::from(refused), AcqRel);
        }
    }
    in_both(|runtime| {
        let (runtime, refused) = (Arc::new(runtime), Arc::new(AtomicUsize::new(0)));
        let (waits, gate) = (Gate::default(), Gate::default());
        let busy = Busy(runtime.clone(), gate.clone(), refused.clone());
        let here = waits.clone();
        drop(runtime.spawn(async move {
            let _busy = busy;
            here.open();
            pending::<()>().await;
        }));
        drop(runtime.spawn(gate.passed()));
        block_on(&runtime, waits.passed());
        assert_eq!(runtime.shutdown(None).expect("not inside"), 0);
        assert_eq!(refused.load(Acquire), 1);
    });
}
