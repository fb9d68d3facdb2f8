//! Models of the word of live tasks: a spawn races the close, and the scan that gives up whoever is left at the deadline.

use crate::primitives::sync::Arc;
use crate::runtime::live::{Ended, Live};
use crate::task::loom_tests::bury;
use crate::task::{Header, Notified, Plain, Schedule, SpawnError, live_tasks, spawn};
use loom::thread;
use std::future::pending;
use std::ptr;

/// A scheduler whose workers have left.
#[derive(Default)]
struct Left {
    live: Live,
}

impl Schedule for Left {
    fn schedule(&self, _task: Notified) {
        unreachable!("nobody wakes the task");
    }

    fn here() -> *const Self {
        ptr::null()
    }

    fn begins(&self) -> bool {
        self.live.begin()
    }

    fn ended(&self, _task: &Header) {
        assert_eq!(self.live.end(), Ended::Last { closed: true });
    }
}

/// Nobody runs tasks any more, so one that is taken must have been given up, and one that is refused must not.
fn spawn_beside_the_end(joinable: bool) {
    loom::model(move || {
        let left = Arc::new(Left::default());
        let spawning = thread::spawn({
            let left = left.clone();
            move || spawn(Plain(pending::<()>()), &left, None, joinable).map_err(|(error, _future)| error)
        });
        assert!(left.live.close());
        let given_up = live_tasks(Arc::as_ptr(&left).cast()).filter(|task| task.abandon()).count();
        match spawning.join().expect("no panic") {
            Ok(_given_up) => assert_eq!((given_up, left.live.tasks(), bury(0)), (1, 1, true), "taken, and lost"),
            Err(error) => {
                assert_eq!(error, SpawnError::Stopped);
                assert_eq!((given_up, left.live.tasks(), bury(0)), (0, 0, false), "refused, and there");
            }
        }
    });
}

#[test]
fn loom_a_task_that_is_taken_is_found_by_whoever_closes() {
    spawn_beside_the_end(false);
}

#[test]
fn loom_a_joinable_task_that_is_taken_is_found_by_whoever_closes() {
    spawn_beside_the_end(true);
}
