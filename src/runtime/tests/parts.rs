//! Who sleeps and who searches, how long a spin may take, and what may be configured.

use crate::runtime::config::{Config, Engine, Flavour, allowed_cpus};
use crate::runtime::idle::Idle;
use crate::runtime::park::Spin;
use crate::runtime::{Error, Runtime};
use std::time::Duration;

// The idle word.

#[test]
fn nobody_is_woken_where_nobody_sleeps() {
    let idle = Idle::new(4);
    assert!(!idle.could_help());
    assert_eq!(idle.wake_one(), None);
}

#[test]
fn one_sleeper_is_woken_at_a_time() {
    let idle = Idle::new(4);
    for worker in 0..4 {
        assert!(idle.sleep(worker, false), "nobody searches, so everybody looks once more");
    }
    assert!(idle.could_help());
    let first = idle.wake_one().expect("all sleep");
    assert!(!idle.could_help());
    assert_eq!(idle.wake_one(), None, "the one that was woken searches already");
    assert!(idle.woke(first), "it counts as searching from then on");
    assert!(idle.rest(), "it was the only one");
    let second = idle.wake_one().expect("three sleep");
    assert_ne!(first, second);
    assert!(idle.woke(second));
}

#[test]
fn who_wakes_by_itself_does_not_search_and_is_not_woken_again() {
    let idle = Idle::new(2);
    assert!(idle.sleep(0, false) && idle.sleep(1, false));
    assert!(!idle.woke(1));
    assert_eq!(idle.wake_one(), Some(0));
    assert!(idle.woke(0));
    assert!(idle.rest());
    assert_eq!(idle.wake_one(), None, "nobody sleeps");
}

#[test]
fn half_of_the_workers_may_search() {
    for (workers, searchers) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (8, 4)] {
        let idle = Idle::new(workers);
        for _ in 0..searchers {
            assert!(idle.search(), "{workers} workers");
        }
        assert!(!idle.search(), "{workers} workers");
        assert_eq!(idle.rest(), searchers == 1, "{workers} workers");
        assert!(idle.search(), "{workers} workers");
    }
}

#[test]
fn the_last_searcher_looks_once_more_before_it_sleeps() {
    let idle = Idle::new(8);
    assert!(idle.search() && idle.search());
    assert!(!idle.sleep(0, true), "another one searches");
    assert!(!idle.sleep(1, false), "another one searches");
    assert!(idle.sleep(2, true), "it was the last");
    assert!(idle.sleep(3, false), "nobody searches");
    assert!(idle.could_help());
}

#[test]
fn searchers_and_sleepers_are_counted_through_a_day() {
    let idle = Idle::new(2);
    for _ in 0..100_000 {
        assert!(idle.search());
        assert!(idle.sleep(0, true));
        assert!(idle.sleep(1, false));
        let woken = idle.wake_one().expect("both sleep");
        assert!(!idle.woke(1 - woken), "the other wakes for an event");
        assert!(idle.woke(woken));
        assert!(idle.rest());
    }
    assert!(!idle.could_help());
    assert_eq!(idle.wake_one(), None);
}

// Spinning.

fn spin(limit: Duration, workers: usize) -> Spin {
    Spin::new(&Config { spin: limit, ..Config::default() }, workers)
}

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

#[test]
fn spins_that_find_nothing_become_shorter_until_there_are_none() {
    let spin = spin(micros(32), 1);
    assert_eq!(spin.budget(), 32_000);
    for expected in [16_000, 8_000, 4_000, 2_000, 0, 0, 0] {
        spin.wasted(1);
        assert_eq!(spin.budget(), expected);
    }
}

#[test]
fn spins_that_pay_become_longer_up_to_the_limit() {
    let spin = spin(micros(32), 1);
    (0..100).for_each(|_| spin.wasted(1));
    assert_eq!(spin.budget(), 0);
    for expected in [2_000, 4_000, 8_000, 16_000, 32_000, 32_000] {
        spin.paid();
        assert_eq!(spin.budget(), expected);
    }
}

#[test]
fn a_short_sleep_teaches_to_spin_again_and_a_long_one_does_not() {
    let spin = spin(micros(32), 1);
    (0..10).for_each(|_| spin.wasted(0));
    spin.slept(32_000);
    spin.slept(u64::MAX);
    assert_eq!(spin.budget(), 0);
    spin.slept(100);
    assert_eq!(spin.budget(), 2_000);
    spin.slept(7_000);
    assert_eq!(spin.budget(), 14_000, "the next one like it is caught");
    spin.slept(31_999);
    assert_eq!(spin.budget(), 32_000);
}

/// Work that comes after less than the longest spin is waited for, whatever the spin was cut to before.
#[test]
fn a_spin_grows_to_what_is_missed() {
    let spin = spin(micros(2_000), 1);
    (0..20).for_each(|_| spin.wasted(0));
    for _ in 0..3 {
        let spun = spin.budget().min(500_000);
        if spun < 500_000 {
            spin.wasted(spun);
            spin.slept(500_000 - spun);
        }
    }
    assert!(spin.budget() >= 500_000);
}

#[test]
fn nothing_teaches_a_spin_that_was_turned_off() {
    for spin in [spin(Duration::ZERO, 1), spin(micros(32), allowed_cpus() + 1)] {
        for _ in 0..10 {
            spin.paid();
            spin.slept(0);
            assert_eq!(spin.budget(), 0);
        }
    }
}

#[test]
fn a_spin_has_its_bounds() {
    assert_eq!(spin(Duration::MAX, 1).budget(), 1_000_000_000, "a second at most");
    assert_eq!(spin(micros(30), allowed_cpus()).budget(), 30_000, "as many workers as CPUs may spin");
    let tiny = spin(micros(1), 1);
    tiny.paid();
    assert_eq!(tiny.budget(), 0, "shorter than its clock reads are worth");
}

// Configuration.

#[test]
fn the_default_is_every_cpu_on_epoll() {
    let config = Config::default();
    assert_eq!((config.flavour, config.engine, config.workers), (Flavour::MultiThread, Engine::Auto, 0));
    assert!(config.poll_budget > 0 && config.event_interval > 0 && config.max_events > 0);
    assert!(allowed_cpus() >= 1);
}

fn refused(config: Config) -> Error {
    Runtime::new(config).expect_err("it cannot be had")
}

#[test]
fn what_cannot_be_had_is_refused_with_the_reason() {
    if let Err(uring) = Runtime::new(Config { engine: Engine::Uring, ..Config::default() }) {
        assert!(uring.to_string().contains("io_uring"), "{uring}");
    }
    let workers = refused(Config { workers: usize::MAX, ..Config::default() });
    assert_eq!((workers.errno(), workers.to_string().as_str()), (libc::EINVAL, "too many workers"));
    let stack = refused(Config { workers: 1, stack_size: usize::MAX, ..Config::default() });
    assert_eq!(stack.errno(), libc::EINVAL);
    assert!(stack.to_string().contains("stack"), "{stack}");
}

#[test]
fn every_configuration_runs_a_task() {
    let odd = [
        Config { workers: 1, ..Config::default() },
        Config { workers: 5, spin: Duration::ZERO, ..Config::default() },
        Config { workers: 2, lifo_limit: 0, event_interval: 1, max_events: 1, ..Config::default() },
        Config { flavour: Flavour::CurrentThread, workers: 9, ..Config::default() },
        Config { flavour: Flavour::CurrentThread, spin: Duration::MAX, poll_budget: 1, ..Config::default() },
    ];
    for config in odd {
        let runtime = Runtime::new(config.clone()).expect("valid");
        let inner = runtime.spawn(async { 2 }).expect("running");
        let sum = runtime.block_on(async { 1 + inner.await.expect("no panic") }).expect("running");
        assert_eq!(sum.expect("no panic"), 3, "{config:?}");
    }
}
