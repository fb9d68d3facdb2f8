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
        group.add("asyncio", flavour.name(), |rounds| foreign_wake(&runtime, true).mul_f64(rounds as f64)).add(
            "tokio",
            flavour.name(),
            |rounds| peers_foreign_wake(&tokio).mul_f64(rounds as f64),
        )
    });
    Group::new(c, "wake of a spinning worker").both(|group, flavour| {
        let runtime = Runtime::spinning(flavour, 1_000_000_000);
        group.add("asyncio", flavour.name(), |rounds| foreign_wake(&runtime, false).mul_f64(rounds as f64))
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

/// How many wakes are measured, if there is time for so many.
const WAKES: usize = 1_000;
const LONGEST: Duration = Duration::from_millis(50);

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

    fn wait_for_poll(&self, before: u64) {
        while self.polls.load(Acquire) == before {
            spin_loop();
        }
    }

    /// The times from a wake to the poll that it causes, a clock's reading included.
    fn measure(&self, pause: Duration, wake: impl Fn()) -> Vec<Duration> {
        let (begun, mut times) = (Instant::now(), Vec::with_capacity(WAKES));
        while times.len() < WAKES && begun.elapsed() < LONGEST {
            let rest = Instant::now();
            while rest.elapsed() < pause {
                spin_loop();
            }
            let before = self.polls.load(Acquire);
            let woken = Instant::now();
            wake();
            self.wait_for_poll(before);
            times.push(woken.elapsed());
        }
        times
    }

    fn end(&self, wake: impl Fn()) {
        self.ends.store(true, Release);
        wake();
    }
}

/// The mean would say how busy the machine is, and how long threads wait for a CPU.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn foreign_wake(runtime: &Runtime, asleep: bool) -> Duration {
    let sleeper = Arc::new(Sleeper::default());
    let polled = sleeper.clone();
    let task = runtime.spawn(move |_| polled.poll());
    let measure = || {
        sleeper.wait_for_poll(0);
        let unparks = runtime.unparks();
        let times = sleeper.measure(if asleep { ASLEEP_AFTER } else { SPINS_AFTER }, || Cx::wake(task));
        let slept = runtime.unparks() - unparks;
        assert_eq!(2 * slept >= times.len() as u64, asleep, "woken from sleep {slept} of {} times", times.len());
        sleeper.end(|| Cx::wake(task));
        median(times)
    };
    thread::scope(|scope| {
        let waker = scope.spawn(measure);
        runtime.wait(task);
        waker.join().expect("no panic")
    })
}

fn peers_foreign_wake(tokio: &Tokio) -> Duration {
    let sleeper = Arc::new((Sleeper::default(), OnceLock::<Waker>::new()));
    let polled = sleeper.clone();
    let waker = thread::spawn(move || {
        let wake = || sleeper.1.get().expect("it was polled").wake_by_ref();
        sleeper.0.wait_for_poll(0);
        let times = sleeper.0.measure(ASLEEP_AFTER, wake);
        sleeper.0.end(wake);
        median(times)
    });
    tokio.run(poll_fn(move |cx| {
        polled.1.get_or_init(|| cx.waker().clone());
        polled.0.poll()
    }));
    waker.join().expect("no panic")
}
