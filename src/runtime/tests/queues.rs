//! Where tasks wait for their turn.

use crate::primitives::sync::RUN_QUEUE_SLOTS;
use crate::runtime::injector::Injector;
use crate::runtime::local::List;
use crate::runtime::queue::{Full, Queue};
use crate::task::{Header, Notified};
use std::collections::VecDeque;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};

const SLOTS: usize = RUN_QUEUE_SLOTS as usize;
const HALF: usize = SLOTS / 2;

/// Tasks that never run: a queue only moves them.
struct Tasks(Box<[Header]>);

impl Tasks {
    fn new(n: usize) -> Self {
        Self((0..n).map(|_| Header::default()).collect())
    }

    fn get(&self, n: usize) -> Notified {
        // SAFETY: stands for the task in one queue at a time; nobody runs it or gives up its reference.
        unsafe { Notified::from_raw(NonNull::from(&self.0[n])) }
    }

    /// Which task it is.
    fn number(&self, task: Notified) -> usize {
        (task.into_raw().addr().get() - self.0.as_ptr().addr()) / size_of::<Header>()
    }
}

/// A small random generator.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
}

fn pushed(outcome: Result<(), Full>) {
    assert!(outcome.is_ok(), "there is room");
}

#[test]
fn a_run_queue_gives_tasks_in_the_order_of_their_pushes() {
    let tasks = Tasks::new(SLOTS);
    for start in [0, 7, u32::MAX, u32::MAX - 100, u32::MAX / 2] {
        let queue = Queue::starting_at(start);
        assert!(queue.pop().is_none());
        for round in 0..3 {
            (0..SLOTS).for_each(|n| pushed(queue.push(tasks.get(n))));
            assert_eq!(queue.len(), RUN_QUEUE_SLOTS);
            for n in 0..SLOTS {
                assert_eq!(tasks.number(queue.pop().expect("pushed")), n, "from {start} in round {round}");
            }
            assert!(queue.pop().is_none());
            assert_eq!(queue.len(), 0);
        }
    }
}

/// Full is not empty: the oldest half goes, and the new task with it, behind it.
#[test]
fn a_full_run_queue_gives_up_its_oldest_half() {
    let tasks = Tasks::new(SLOTS + 1);
    for start in [0, u32::MAX, u32::MAX - RUN_QUEUE_SLOTS + 1, u32::MAX - 3] {
        let queue = Queue::starting_at(start);
        (0..SLOTS).for_each(|n| pushed(queue.push(tasks.get(n))));
        let Err(Full::Overflow(task, half)) = queue.push(tasks.get(SLOTS)) else { panic!("it was full") };
        assert_eq!(tasks.number(task), SLOTS);
        assert_eq!(half.into_iter().map(|task| tasks.number(task)).collect::<Vec<_>>(), (0..HALF).collect::<Vec<_>>());
        assert_eq!(queue.len() as usize, SLOTS - HALF);
        for n in HALF..SLOTS {
            assert_eq!(tasks.number(queue.pop().expect("it stayed")), n);
        }
        assert!(queue.pop().is_none());
    }
}

#[test]
fn a_thief_takes_the_older_half_rounded_up() {
    let tasks = Tasks::new(SLOTS);
    for n in [1, 2, 3, 4, HALF - 1, HALF, HALF + 1, SLOTS - 1, SLOTS] {
        let (victim, thief) = (Queue::starting_at(u32::MAX - 2), Queue::starting_at(u32::MAX));
        (0..n).for_each(|n| pushed(victim.push(tasks.get(n))));
        let (first, count) = victim.steal_into(&thief).expect("there are tasks");
        assert_eq!(count as usize, n.div_ceil(2));
        assert_eq!(tasks.number(first), 0);
        for stolen in 1..n.div_ceil(2) {
            assert_eq!(tasks.number(thief.pop().expect("stolen")), stolen);
        }
        for kept in n.div_ceil(2)..n {
            assert_eq!(tasks.number(victim.pop().expect("kept")), kept);
        }
        assert!(thief.pop().is_none() && victim.pop().is_none());
        assert!(victim.steal_into(&thief).is_none(), "there is nothing left");
    }
}

#[test]
fn a_thief_without_room_takes_nothing() {
    let tasks = Tasks::new(2 * SLOTS);
    let (victim, thief) = (Queue::new(), Queue::new());
    (0..SLOTS).for_each(|n| pushed(victim.push(tasks.get(n))));
    (0..HALF + 1).for_each(|n| pushed(thief.push(tasks.get(SLOTS + n))));
    assert!(victim.steal_into(&thief).is_none());
    assert_eq!(victim.len(), RUN_QUEUE_SLOTS);
    assert_eq!(tasks.number(thief.pop().expect("its own")), SLOTS);
    let (first, count) = victim.steal_into(&thief).expect("there is just enough room");
    assert_eq!((tasks.number(first), count as usize, thief.len() as usize), (0, HALF, SLOTS - 1));
}

#[test]
fn a_drained_run_queue_is_empty() {
    let tasks = Tasks::new(SLOTS);
    let (queue, drained) = (Queue::starting_at(u32::MAX - 9), List::new());
    (0..SLOTS).for_each(|n| pushed(queue.push(tasks.get(n))));
    queue.drain_into(&drained);
    assert_eq!((queue.len(), drained.len()), (0, RUN_QUEUE_SLOTS));
    (0..SLOTS).for_each(|n| assert_eq!(tasks.number(drained.pop().expect("drained")), n));
}

#[test]
fn run_queues_agree_with_deques_on_a_random_walk() {
    let tasks = Tasks::new(4 * SLOTS);
    let queues = [u32::MAX - 1000, u32::MAX].map(Queue::starting_at);
    let mut models = [VecDeque::new(), VecDeque::new()];
    let mut spare: Vec<usize> = (0..4 * SLOTS).collect();
    let mut dice = Dice(7);
    for _ in 0..100_000 {
        let which = dice.below(2);
        let (queue, other) = (&queues[which], &queues[1 - which]);
        match dice.below(64) {
            0 => {
                let stolen = other.steal_into(queue).map(|(task, count)| (tasks.number(task), count as usize));
                let (len, room) = (models[1 - which].len(), SLOTS - models[which].len());
                let expected = (len > 0 && room >= HALF).then(|| (models[1 - which][0], len.div_ceil(2).min(HALF)));
                assert_eq!(stolen, expected);
                if let Some((first, count)) = stolen {
                    let taken: Vec<_> = models[1 - which].drain(..count).skip(1).collect();
                    models[which].extend(taken);
                    spare.push(first);
                }
            }
            1..36 => {
                let Some(n) = spare.pop() else { continue };
                match queue.push(tasks.get(n)) {
                    Ok(()) => models[which].push_back(n),
                    Err(Full::Stolen(_)) => panic!("nobody steals"),
                    Err(Full::Overflow(task, half)) => {
                        assert_eq!((models[which].len(), tasks.number(task), half.len()), (SLOTS, n, HALF));
                        spare.push(n);
                        for task in half {
                            let n = tasks.number(task);
                            assert_eq!(models[which].pop_front(), Some(n));
                            spare.push(n);
                        }
                    }
                }
            }
            _ => {
                let popped = queue.pop().map(|task| tasks.number(task));
                assert_eq!(popped, models[which].pop_front());
                spare.extend(popped);
            }
        }
        assert_eq!(queue.len() as usize, models[which].len());
    }
}

/// As the loom model, on real threads and the real size: the owner goes on while two others steal.
#[test]
fn every_task_leaves_a_run_queue_once_on_real_threads() {
    const N: usize = 20_000;
    let (tasks, queue) = (Tasks::new(N), Queue::starting_at(u32::MAX - N as u32 / 2));
    let seen: Vec<_> = (0..N).map(|_| AtomicU32::new(0)).collect();
    let over = AtomicBool::new(false);
    let ran = |task| seen[tasks.number(task)].fetch_add(1, Relaxed);
    let steal = || {
        let mine = Queue::starting_at(u32::MAX);
        while !over.load(Acquire) {
            if let Some((first, _)) = queue.steal_into(&mine) {
                ran(first);
                while let Some(task) = mine.pop() {
                    ran(task);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let thieves = [scope.spawn(steal), scope.spawn(steal)];
        for n in 0..N {
            match queue.push(tasks.get(n)) {
                Ok(()) => {}
                Err(Full::Stolen(task)) => {
                    ran(task);
                }
                Err(Full::Overflow(task, half)) => half.into_iter().chain([task]).for_each(|task| {
                    ran(task);
                }),
            }
            if n % 3 == 0 {
                queue.pop().map(ran);
            }
        }
        while let Some(task) = queue.pop() {
            ran(task);
        }
        over.store(true, Release);
        thieves.into_iter().for_each(|thief| thief.join().expect("no panic"));
    });
    let wrong = seen.iter().position(|times| times.load(Relaxed) != 1);
    assert_eq!(wrong, None, "a task came twice, or never");
}

#[test]
fn a_list_is_first_in_first_out() {
    let tasks = Tasks::new(5);
    let list = List::new();
    assert!(list.is_empty() && list.pop().is_none());
    for _ in 0..2 {
        (0..3).for_each(|n| list.push(tasks.get(n)));
        assert_eq!(tasks.number(list.pop().expect("pushed")), 0);
        (3..5).for_each(|n| list.push(tasks.get(n)));
        assert_eq!((list.len(), list.is_empty()), (4, false));
        assert!(list.iter().map(ptr::from_ref).eq(tasks.0[1..5].iter().map(ptr::from_ref)));
        (1..5).for_each(|n| assert_eq!(tasks.number(list.pop().expect("pushed")), n));
        assert!(list.is_empty() && list.pop().is_none());
        assert_eq!(list.len(), 0);
    }
}

#[test]
fn an_injector_is_first_in_first_out_and_gives_no_more_than_is_asked() {
    let tasks = Tasks::new(10);
    let (injector, taken) = (Injector::new(), List::new());
    injector.pop_into(3, &taken);
    assert!(injector.is_empty() && taken.is_empty());
    injector.push(tasks.get(0));
    injector.push_all((1..9).map(|n| tasks.get(n)));
    injector.push(tasks.get(9));
    assert_eq!((injector.len(), injector.is_empty()), (10, false));
    injector.pop_into(0, &taken);
    assert!(taken.is_empty());
    injector.pop_into(4, &taken);
    assert_eq!((injector.len(), taken.len()), (6, 4));
    injector.pop_into(u32::MAX, &taken);
    assert!(injector.is_empty());
    (0..10).for_each(|n| assert_eq!(tasks.number(taken.pop().expect("taken")), n));
}
