//! Models of the run queue, whose cursors wrap in the middle of each.

use super::*;
use crate::primitives::sync::{Arc, RUN_QUEUE_SLOTS};
use crate::runtime::local::List;
use crate::runtime::queue::{Full, Queue};

/// What came out of a queue, as a set of task numbers; twice is a failure.
#[derive(Default)]
struct Seen(u32);

impl Seen {
    fn add(&mut self, tasks: &Tasks, task: Notified) {
        let bit = 1 << tasks.number(task);
        assert_eq!(self.0 & bit, 0, "a task came twice");
        self.0 |= bit;
    }

    fn join(self, other: Self) -> Self {
        assert_eq!(self.0 & other.0, 0, "a task came twice");
        Self(self.0 | other.0)
    }
}

/// The owner's push, with the injector's part played by `seen`.
fn push(queue: &Queue, tasks: &Tasks, n: usize, seen: &mut Seen) {
    match queue.push(tasks.get(n)) {
        Ok(()) => {}
        Err(Full::Stolen(task)) => seen.add(tasks, task),
        Err(Full::Overflow(task, half)) => half.into_iter().chain([task]).for_each(|task| seen.add(tasks, task)),
    }
}

/// A thief's steal and its own queue's end.
fn steal(from: &Queue, tasks: &Tasks, cursor: u32) -> Seen {
    let mut seen = Seen::default();
    let mine = Queue::starting_at(cursor);
    if let Some((task, count)) = from.steal_into(&mine) {
        assert_eq!(mine.len() + 1, count);
        seen.add(tasks, task);
        while let Some(task) = mine.pop() {
            seen.add(tasks, task);
        }
    }
    seen
}

/// Where the cursors start: they wrap in the middle of each model.
const NEAR_MAX: u32 = u32::MAX - 1;

/// The owner pushes more than fits and pops, while two others steal.
#[test]
fn loom_every_task_leaves_the_run_queue_once() {
    loom::model(|| {
        let n = RUN_QUEUE_SLOTS as usize + 1;
        let shared = Arc::new((Queue::starting_at(NEAR_MAX), Tasks::new(n)));
        let (queue, tasks) = &*shared;
        let mut seen = Seen::default();
        (0..3).for_each(|task| push(queue, tasks, task, &mut seen));
        let thieves: Vec<_> = (0..2)
            .map(|thief| {
                let shared = shared.clone();
                thread::spawn(move || steal(&shared.0, &shared.1, NEAR_MAX + thief))
            })
            .collect();
        (3..n).for_each(|task| push(queue, tasks, task, &mut seen));
        queue.pop().into_iter().for_each(|task| seen.add(tasks, task));
        let stolen = thieves.into_iter().map(|thief| thief.join().expect("no panic"));
        seen = stolen.fold(seen, Seen::join);
        while let Some(task) = queue.pop() {
            seen.add(tasks, task);
        }
        assert_eq!(seen.0, (1 << n) - 1, "a task was lost");
        assert_eq!(queue.len(), 0);
    });
}

/// A thief copies while the owner pops everything and fills the queue again.
#[test]
fn loom_the_owner_goes_round_while_a_thief_copies() {
    loom::model(|| {
        let n = 2 * RUN_QUEUE_SLOTS as usize;
        let shared = Arc::new((Queue::starting_at(NEAR_MAX), Tasks::new(n)));
        let (queue, tasks) = &*shared;
        let mut seen = Seen::default();
        (0..n / 2).for_each(|task| push(queue, tasks, task, &mut seen));
        let thief = {
            let shared = shared.clone();
            thread::spawn(move || steal(&shared.0, &shared.1, 0))
        };
        while let Some(task) = queue.pop() {
            seen.add(tasks, task);
        }
        (n / 2..n).for_each(|task| push(queue, tasks, task, &mut seen));
        seen = seen.join(thief.join().expect("no panic"));
        while let Some(task) = queue.pop() {
            seen.add(tasks, task);
        }
        assert_eq!(seen.0, (1 << n) - 1, "a task was lost");
    });
}

/// Two workers steal from each other, so that each copies into a queue out of which the other copies.
#[test]
fn loom_two_workers_steal_from_each_other() {
    loom::model(|| {
        let queues = || [NEAR_MAX, u32::MAX].map(Queue::starting_at);
        let shared = Arc::new((queues(), Tasks::new(5)));
        let work = |shared: &([Queue; 2], Tasks), me: usize, first: usize, last: usize| {
            let (queues, tasks) = shared;
            let (mine, mut seen) = (&queues[me], Seen::default());
            (first..last).for_each(|task| push(mine, tasks, task, &mut seen));
            queues[1 - me].steal_into(mine).into_iter().for_each(|(task, _)| seen.add(tasks, task));
            while let Some(task) = mine.pop() {
                seen.add(tasks, task);
            }
            seen
        };
        let other = {
            let shared = shared.clone();
            thread::spawn(move || work(&shared, 1, 2, 5))
        };
        let seen = work(&shared, 0, 0, 2).join(other.join().expect("no panic"));
        assert_eq!(seen.0, 0b11111, "a task was lost");
    });
}

/// A thread that is no worker empties the queue (a shutdown that gave up waiting), beside a thief and the owner.
#[test]
fn loom_a_drain_leaves_nothing_but_what_others_took() {
    loom::model(|| {
        let shared = Arc::new((Queue::starting_at(NEAR_MAX), Tasks::new(3)));
        let (queue, tasks) = &*shared;
        let mut seen = Seen::default();
        (0..3).for_each(|task| push(queue, tasks, task, &mut seen));
        let thief = {
            let shared = shared.clone();
            thread::spawn(move || steal(&shared.0, &shared.1, NEAR_MAX))
        };
        let drainer = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (drained, mut seen) = (List::new(), Seen::default());
                shared.0.drain_into(&drained);
                while let Some(task) = drained.pop() {
                    seen.add(&shared.1, task);
                }
                seen
            })
        };
        queue.pop().into_iter().for_each(|task| seen.add(tasks, task));
        seen = [thief, drainer].map(|other| other.join().expect("no panic")).into_iter().fold(seen, Seen::join);
        while let Some(task) = queue.pop() {
            seen.add(tasks, task);
        }
        assert_eq!(seen.0, 0b111, "a task was lost");
    });
}
