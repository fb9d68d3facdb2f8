//! Models of the idle word beside the injector.

use super::*;
use crate::primitives::inbox::Inbox;
use crate::primitives::sync::{Arc, AtomicU32};
use crate::runtime::idle::Idle;
use crate::runtime::injector::Injector;
use crate::runtime::lifo::Lifo;
use crate::runtime::local::List;

/// What workers share.
struct Pool {
    idle: Idle,
    injector: Injector,
    inboxes: [(Inbox<Letter>, EventFd); 2],
    tasks: Tasks,
    done: AtomicU32,
}

/// Where a worker came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ended {
    /// In a task that never returns.
    Busy,
    /// Asleep; its eventfd may have been written since.
    Asleep,
}

impl Pool {
    fn new(tasks: usize) -> Arc<Self> {
        Arc::new(Self {
            idle: Idle::new(2),
            injector: Injector::new(),
            inboxes: [(Inbox::new(), EventFd::default()), (Inbox::new(), EventFd::default())],
            tasks: Tasks::new(tasks),
            done: AtomicU32::new(0),
        })
    }

    /// A thread that is no worker.
    fn inject(&self, task: usize) {
        self.injector.push(self.tasks.get(task));
        self.wake_one();
    }

    fn wake_one(&self) {
        if let Some(worker) = self.idle.wake_one() {
            let (inbox, eventfd) = &self.inboxes[worker as usize];
            if inbox.nudge() {
                eventfd.write();
            }
        }
    }

    fn found_work(&self, searching: &mut bool) {
        if std::mem::take(searching) && self.idle.rest() {
            self.wake_one();
        }
    }

    /// Takes one task from the injector.
    fn look(&self) -> bool {
        let list = List::new();
        self.injector.pop_into(1, &list);
        let task = list.pop().map(|task| self.tasks.number(task));
        assert!(list.is_empty());
        task.inspect(|&task| {
            let before = self.done.fetch_or(1 << task, Relaxed);
            assert_eq!(before & 1 << task, 0, "a task came twice");
        })
        .is_some()
    }

    /// A worker's way to sleep, step by step as `park.rs` goes it. What it finds, it runs.
    fn work_until_asleep(&self, worker: u32, mut searching: bool) -> Ended {
        let (inbox, _) = &self.inboxes[worker as usize];
        loop {
            if self.look() {
                self.found_work(&mut searching);
                continue;
            }
            searching = searching || self.idle.search();
            if self.look() {
                self.found_work(&mut searching);
                continue;
            }
            let must_scan = self.idle.sleep(worker, std::mem::take(&mut searching));
            if must_scan && !self.injector.is_empty() {
                searching = self.idle.woke(worker);
                continue;
            }
            if inbox.park() {
                return Ended::Asleep;
            }
            let _nudge = inbox.take();
            searching = self.idle.woke(worker);
        }
    }

    /// Goes on with a worker that was woken.
    fn wake_up(&self, worker: u32) -> Ended {
        let _nudge = self.inboxes[worker as usize].0.take();
        let searching = self.idle.woke(worker);
        self.work_until_asleep(worker, searching)
    }

    /// Something has come that is no task: as `Worker::rouse`. A worker that slept may be chosen for an injected task.
    fn has_news(&self, searching: bool) {
        if searching && self.idle.rest() && !self.injector.is_empty() {
            self.wake_one();
        }
    }

    /// Goes on, on this thread, with every worker that sleeps and was woken, until nobody is.
    fn settle(&self, workers: [Ended; 2]) {
        let mut heard = [0; 2];
        let mut again = true;
        while std::mem::take(&mut again) {
            for worker in 0..2 {
                let writes = self.inboxes[worker].1.writes();
                if workers[worker] == Ended::Asleep && writes > heard[worker] {
                    heard[worker] = writes;
                    again = true;
                    assert_eq!(self.wake_up(worker as u32), Ended::Asleep);
                }
            }
        }
    }

    fn is_done(&self, tasks: usize) -> bool {
        self.done.load(Relaxed) == (1 << tasks) - 1
    }

    fn writes(&self) -> u32 {
        self.inboxes.iter().map(|(_, eventfd)| eventfd.writes()).sum()
    }
}

/// A foreign thread injects a task as both workers go to sleep, one of them as the last searcher.
#[test]
fn loom_an_injected_task_is_seen_or_somebody_is_woken_for_it() {
    loom::model(|| {
        let pool = Pool::new(1);
        let workers: Vec<_> = (0..2)
            .map(|worker| {
                let pool = pool.clone();
                thread::spawn(move || pool.work_until_asleep(worker, false))
            })
            .collect();
        pool.inject(0);
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join().expect("no panic")).collect();
        pool.settle([ended[0], ended[1]]);
        assert!(pool.is_done(1), "everybody sleeps on an injected task");
    });
}

/// As above, but one of the workers is kept for ever, after it searched or slept: the other must see to the task.
fn one_is_kept(asleep: bool, kept: fn(&Pool)) {
    loom::model(move || {
        let pool = Pool::new(1);
        if asleep {
            assert_eq!(pool.work_until_asleep(0, false), Ended::Asleep);
        } else {
            assert!(pool.idle.search());
        }
        let busy = {
            let pool = pool.clone();
            thread::spawn(move || {
                kept(&pool);
                Ended::Busy
            })
        };
        let other = {
            let pool = pool.clone();
            thread::spawn(move || pool.work_until_asleep(1, false))
        };
        pool.inject(0);
        let ended = [busy, other].map(|worker| worker.join().expect("no panic"));
        pool.settle(ended);
        assert!(pool.is_done(1), "a worker sleeps on a task for which the other has no time");
    });
}

/// It finds work of its own.
#[test]
fn loom_an_injected_task_does_not_wait_for_a_busy_worker() {
    one_is_kept(false, |pool| pool.found_work(&mut true));
}

#[test]
fn loom_an_injected_task_does_not_wait_for_a_searcher_that_has_news() {
    one_is_kept(false, |pool| pool.has_news(true));
}

#[test]
fn loom_an_injected_task_does_not_wait_for_a_sleeper_that_has_news() {
    one_is_kept(true, |pool| pool.has_news(pool.idle.woke(0)));
}

/// A task wakes another, which gets the place behind it, as the other worker falls asleep.
fn beside_who_falls_asleep(searching: bool) {
    loom::model(move || {
        let (pool, lifo) = (Pool::new(1), Arc::new(Lifo::default()));
        if searching {
            assert!(pool.idle.search());
        }
        let sleeper = {
            let (pool, lifo) = (pool.clone(), lifo.clone());
            thread::spawn(move || pool.idle.sleep(1, searching) && !lifo.is_still_empty())
        };
        assert!(lifo.put(pool.tasks.get(0)).is_none());
        let is_told = pool.idle.could_help() && pool.idle.wake_one().is_some();
        let has_seen = sleeper.join().expect("no panic");
        assert!(is_told || has_seen, "a task waits behind the one that runs, and the other worker sleeps");
        assert_eq!(lifo.take().map(|task| pool.tasks.number(task)), Some(0));
    });
}

#[test]
fn loom_a_task_that_is_to_be_next_is_seen_or_somebody_is_woken_for_it() {
    beside_who_falls_asleep(false);
}

#[test]
fn loom_a_task_that_is_to_be_next_is_seen_by_the_last_searcher_or_wakes_it() {
    beside_who_falls_asleep(true);
}

/// Two threads inject while everybody sleeps: one worker is woken for the burst, and it wakes the other for the rest.
#[test]
fn loom_a_burst_wakes_one_worker_who_wakes_the_next() {
    loom::model(|| {
        let pool = Pool::new(2);
        let workers = [0, 1].map(|worker| pool.work_until_asleep(worker, false));
        let other = {
            let pool = pool.clone();
            thread::spawn(move || pool.inject(1))
        };
        pool.inject(0);
        other.join().expect("no panic");
        assert_eq!(pool.writes(), 1, "more than one was woken for a burst");
        pool.settle(workers);
        assert!(pool.is_done(2));
    });
}
