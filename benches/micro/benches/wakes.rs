//! Wakes from a thread that is none of the runtime's, and the cell that they go through.

use crate::peers::{Group, Tokio};
use asyncio_bench::*;
use criterion::Criterion;
use std::future::poll_fn;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

pub fn all(c: &mut Criterion) {
    Group::new(c, "wake of a parked worker").both(|group, flavour| {
        let (runtime, tokio) = (Runtime::spinning(flavour, RT_SPIN_OFF), Tokio::new(flavour));
        group
            .add("asyncio", flavour.name(), |rounds| {
                let (took, unparks) = foreign_wakes(&runtime, rounds, ASLEEP_AFTER);
                assert!(2 * unparks >= rounds, "the worker was not asleep: {unparks} of {rounds}");
                took
            })
            .add("tokio", flavour.name(), |rounds| peers_foreign_wakes(&tokio, rounds, ASLEEP_AFTER))
    });
    Group::new(c, "wake of a spinning worker").both(|group, flavour| {
        let runtime = Runtime::spinning(flavour, 1_000_000_000);
        group.add("asyncio", flavour.name(), |rounds| {
            let (took, unparks) = foreign_wakes(&runtime, rounds, SPINS_AFTER);
            assert!(2 * unparks <= rounds, "the worker slept: {unparks} of {rounds}");
            took
        })
    });

    let (ours, theirs) = (AtomicWaker::new(), atomic_waker::AtomicWaker::new());
    Group::new(c, "AtomicWaker")
        .each("asyncio", "register and wake", || {
            ours.register_by_ref(Waker::noop());
            ours.wake();
        })
        .each("atomic-waker", "register and wake", || {
            theirs.register(Waker::noop());
            theirs.wake();
        })
        .each("asyncio", "wake when empty", || ours.wake())
        .each("atomic-waker", "wake when empty", || theirs.wake())
        .each("asyncio", "register again", || ours.register_by_ref(Waker::noop()))
        .each("atomic-waker", "register again", || theirs.register(Waker::noop()));
}

/// How long a worker takes, generously, from the end of a poll to its sleep, and to where it looks for work.
const ASLEEP_AFTER: Duration = Duration::from_micros(50);
const SPINS_AFTER: Duration = Duration::from_micros(2);

/// A task that another thread wakes.
#[derive(Default)]
struct Sleeper {
    polls: AtomicU64,
    ends: AtomicBool,
}

impl Sleeper {
    fn poll(&self) -> Poll<()> {
        self.polls.fetch_add(1, Release);
        if self.ends.load(Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The time from a wake to the poll that it causes, a clock's reading included.
    fn measure(&self, rounds: u64, pause: Duration, wake: impl Fn()) -> Duration {
        let wait = |before| {
            while self.polls.load(Acquire) == before {
                spin_loop();
            }
        };
        wait(0);
        let mut took = Duration::ZERO;
        for _ in 0..rounds {
            let rest = Instant::now();
            while rest.elapsed() < pause {
                spin_loop();
            }
            let before = self.polls.load(Acquire);
            let began = Instant::now();
            wake();
            wait(before);
            took += began.elapsed();
        }
        self.ends.store(true, Release);
        wake();
        took
    }
}

/// The time, and how often a worker had to be woken from its sleep.
fn foreign_wakes(runtime: &Runtime, rounds: u64, pause: Duration) -> (Duration, u64) {
    let sleeper = Arc::new(Sleeper::default());
    let unparks = runtime.unparks();
    let polled = sleeper.clone();
    let task = runtime.spawn(move |_| polled.poll());
    let waker = thread::spawn(move || sleeper.measure(rounds, pause, || Cx::wake(task)));
    runtime.wait(task);
    (waker.join().expect("no panic"), runtime.unparks() - unparks)
}

fn peers_foreign_wakes(tokio: &Tokio, rounds: u64, pause: Duration) -> Duration {
    let sleeper = Arc::new((Sleeper::default(), OnceLock::<Waker>::new()));
    let polled = sleeper.clone();
    let waker = thread::spawn(move || {
        sleeper.0.measure(rounds, pause, || sleeper.1.get().expect("it was polled").wake_by_ref())
    });
    tokio.run(poll_fn(move |cx| {
        polled.1.get_or_init(|| cx.waker().clone());
        polled.0.poll()
    }));
    waker.join().expect("no panic")
}
