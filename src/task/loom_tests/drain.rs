//! A task with operations is finished once, and after the last of them.

use super::super::JoinError;
use super::end::{Dropped, Victim, join};
use super::*;

/// Queues a task with an operation.
fn launch_with_operation(pool: &Arc<Pool>, victim: Victim) -> (TaskName, &'static Header) {
    let task = spawn(Plain(victim), &pool, None, true).ok().expect("memory");
    let cell = task.header();
    cell.stay(0);
    cell.set_first_op(1);
    pool.schedule(task);
    (TaskName::of(cell), cell)
}

/// The last operation ends, on the thread where the task runs. The task's state was not dropped before.
fn end_operation(cell: &'static Header, state: &Tally) {
    assert_eq!(state.get(), 0, "the operation outlived the task's state");
    cell.set_first_op(0);
    cell.drained();
}

/// A task returns with an operation, while others wake and abort it.
#[test]
fn loom_a_task_that_returned_waits_for_its_operation() {
    loom::model(|| {
        let pool = Pool::new();
        let (victim, traces) = Victim::new(true);
        let (name, cell) = launch_with_operation(&pool, victim);
        let aborter = thread::spawn(move || {
            let _ = name.wake();
            let _ = name.abort();
        });
        let joiner = thread::spawn({
            let traces = traces.clone();
            move || {
                let result: Result<Dropped, JoinError> = join(name).expect("nobody else joins");
                assert_eq!(traces.state.get(), 1, "dropped once, before the join");
                assert_eq!(result.is_ok(), traces.polls.get() == 1);
            }
        });
        pool.run();
        end_operation(cell, &traces.state);
        pool.run();
        all([aborter, joiner]);
        assert_eq!(traces.state.get(), 1);
        assert_freed_once(&[]);
    });
}

/// The same with a task that waits for its operation when it is aborted, and is woken beside that.
#[test]
fn loom_an_aborted_task_waits_for_its_operation() {
    loom::model(|| {
        let pool = Pool::new();
        let (victim, traces) = Victim::new(false);
        let (name, cell) = launch_with_operation(&pool, victim);
        let aborter = thread::spawn(move || name.abort().expect("nobody joined yet"));
        let waking = thread::spawn(move || {
            let _ = name.wake();
        });
        pool.run();
        end_operation(cell, &traces.state);
        pool.run();
        all([aborter, waking]);
        pool.run();
        assert!(matches!(join(name), Some(Err(JoinError::Cancelled))));
        assert_eq!((traces.state.get(), traces.output.get()), (1, 0));
        assert_freed_once(&[]);
    });
}
