//! Sleeping, intervals and deadlines in futures.

use super::{Elapsed, Interval, Sleep, now, timeout_at};
use crate::{AtomicWaker, Config, Flavour, Missed, Runtime};
use std::future::{Future, pending, poll_fn, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::task::Poll;

const MS: u64 = 1_000_000;
const MINUTE: u64 = 60_000 * MS;

/// Runs a future as a task, in each flavour.
fn in_both<F: Future<Output = ()> + Send + 'static>(test: impl Fn() -> F) {
    for flavour in [Flavour::MultiThread, Flavour::CurrentThread] {
        let runtime = Runtime::new(Config { flavour, workers: 2, ..Config::default() }).expect("a runtime");
        runtime.block_on(test()).expect("a running runtime").expect("no panic");
    }
}

/// Polls a future once.
async fn is_ready(future: &mut (impl Future + Unpin)) -> bool {
    poll_fn(|context| Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_ready())).await
}

/// Says that it was dropped.
#[derive(Clone, Default)]
struct Drops(Arc<AtomicUsize>);

impl Drop for Drops {
    fn drop(&mut self) {
        self.0.fetch_add(1, AcqRel);
    }
}

#[test]
fn a_sleep_is_never_early_and_stays_ready() {
    in_both(|| async {
        for late in [0, 1, 16_383, 16_384, 16_385, MS, 3 * MS] {
            let at = now() + late;
            let mut sleep = Sleep::until(at);
            (&mut sleep).await;
            assert!(now() >= at);
            assert!(is_ready(&mut sleep).await);
        }
        for past in [0, 1, now() - 1] {
            Sleep::until(past).await;
        }
    });
}

#[test]
fn a_sleep_can_be_moved_before_during_and_after() {
    in_both(|| async {
        let mut sleep = Sleep::until(u64::MAX);
        sleep.reset(now() + MINUTE);
        assert!(!is_ready(&mut sleep).await);
        sleep.reset(u64::MAX);
        assert!(!is_ready(&mut sleep).await);
        for _ in 0..3 {
            let at = now() + MS;
            sleep.reset(at);
            (&mut sleep).await;
            assert!(now() >= at);
        }
        sleep.reset(now() + MINUTE);
        assert!(!is_ready(&mut sleep).await);
    });
}

#[test]
fn sleeps_can_be_dropped_at_any_time() {
    in_both(|| async {
        for polled in [false, true] {
            for at in [0, now() + MINUTE, u64::MAX] {
                let mut sleep = Sleep::until(at);
                if polled {
                    is_ready(&mut sleep).await;
                }
            }
        }
    });
}

/// The timer of a sleep belongs to the worker, or the runtime, where it was polled first.
#[test]
fn a_sleep_can_be_polled_by_another_runtime() {
    let [first, second] =
        [(); 2].map(|()| Runtime::new(Config { workers: 2, ..Config::default() }).expect("a runtime"));
    let at = now() + 5 * MS;
    let sleep = first.block_on(async move {
        let mut sleep = Sleep::until(at);
        is_ready(&mut sleep).await;
        Some(sleep)
    });
    let sleep = sleep.expect("a running runtime").expect("no panic").expect("as above");
    second.block_on(sleep).expect("a running runtime").expect("no panic");
    assert!(now() >= at);
}

#[test]
fn ticks_come_one_by_one_or_at_once() {
    in_both(|| async {
        for missed in [Missed::Burst, Missed::Skip, Missed::Delay] {
            let first = now() + MS;
            let mut interval = Interval::new(first, MS, missed);
            let mut ticks = interval.tick().await;
            while now() < first + 10 * MS {
                std::hint::spin_loop();
            }
            let taken = interval.tick().await;
            ticks += taken;
            match missed {
                Missed::Skip => assert!(ticks >= 11 && ticks <= (now() - first) / MS + 1),
                Missed::Burst | Missed::Delay => assert_eq!(taken, 1),
            }
            if missed == Missed::Burst {
                for tick in ticks..15 {
                    assert_eq!(interval.tick().await, 1);
                    assert!(now() >= first + tick * MS);
                }
            }
        }
    });
}

#[test]
fn a_period_of_nothing_is_one_of_a_nanosecond() {
    in_both(|| async {
        let mut interval = Interval::new(0, 0, Missed::Skip);
        for _ in 0..10 {
            assert!(interval.tick().await >= 1);
        }
    });
}

#[test]
fn what_is_ready_comes_before_the_deadline_that_passed() {
    in_both(|| async {
        assert_eq!(timeout_at(0, ready(5)).await, Ok(5));
        assert_eq!(timeout_at(now() + MINUTE, ready(5)).await, Ok(5));
    });
}

#[test]
fn what_is_late_is_dropped() {
    in_both(|| async {
        let drops = Drops::default();
        let count = drops.0.clone();
        let at = now() + MS;
        let late = async move {
            let _drops = drops;
            pending::<()>().await;
        };
        assert_eq!(timeout_at(at, late).await, Err(Elapsed));
        assert!(now() >= at);
        assert_eq!(count.load(Acquire), 1);
        assert_eq!(Elapsed.to_string(), "the deadline came first");
    });
}

#[test]
fn deadlines_nest() {
    in_both(|| async {
        let near = now() + MS;
        let inner = timeout_at(u64::MAX, Sleep::until(near));
        assert_eq!(timeout_at(now() + MINUTE, inner).await, Ok(Ok(())));
        let inner = timeout_at(now() + MS, pending::<()>());
        assert_eq!(timeout_at(now() + MINUTE, inner).await, Ok(Err(Elapsed)));
        let inner = timeout_at(now() + MINUTE, pending::<()>());
        assert_eq!(timeout_at(now() + MS, inner).await, Err(Elapsed));
    });
}

/// Tasks that wait for each other with deadlines leave none behind that wakes them.
#[test]
fn a_wait_that_is_over_in_time_takes_its_timer_back() {
    in_both(|| async {
        let gate = Arc::new((AtomicUsize::new(0), AtomicWaker::default()));
        for round in 1..=100 {
            gate.0.store(round, Release);
            gate.1.wake();
            let passed = poll_fn(|context| {
                gate.1.register_by_ref(context.waker());
                if gate.0.load(Acquire) == round { Poll::Ready(round) } else { Poll::Pending }
            });
            assert_eq!(timeout_at(now() + MINUTE, passed).await, Ok(round));
        }
    });
}

#[test]
fn a_runtime_ends_while_its_tasks_sleep() {
    for flavour in [Flavour::MultiThread, Flavour::CurrentThread] {
        let runtime = Runtime::new(Config { flavour, workers: 2, ..Config::default() }).expect("a runtime");
        let drops = Drops::default();
        for at in [u64::MAX, now() + MINUTE, now() + MS] {
            let drops = drops.clone();
            let task = runtime.spawn(async move {
                Sleep::until(at).await;
                pending::<()>().await;
                drop(drops);
            });
            drop(task.expect("a running runtime"));
        }
        drop(runtime);
        assert_eq!(drops.0.load(Acquire), 3);
    }
}
