//! Whole runtimes in a simulated world (`src/sim/`): random programs, on each engine and flavour, each from a seed. Nothing
//! may be lost, nothing may come twice, everybody who waits is woken, and at the end nothing is left.

mod bytes;
mod c_tasks;
mod calls;
mod engine;
mod ledger;
mod lines;
mod servers;
mod sets;
mod sharing;
mod tasks;
mod times;
mod waits;
mod watches;

use super::config::{Config, Flavour};
use super::create::Choice;
use super::owned::Runtime;
use super::runtimes::establish;
use crate::driver::fake::Random;
use crate::primitives::fork::plant_cookie;
use crate::sim::nature::TROUBLE;
use crate::sim::{block, run, stand_by, thread};
use ledger::{Act, Ledger, insist};
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// What a scenario waits for beside its tasks: threads of the program's own.
type Outsiders = Vec<thread::JoinHandle<()>>;

/// A part of a program: makes tasks and threads, and returns what must end if nobody is aborted.
type Part = fn(&mut Act, &mut Outsiders) -> Vec<crate::task::JoinHandle<()>>;

const PARTS: &[(&str, Part)] = &[
    ("tree", tasks::tree),
    ("wakes", tasks::wakes),
    ("hog", tasks::hog),
    ("hog", tasks::hog),
    ("strangers", tasks::strangers),
    ("channel", sharing::channel),
    ("semaphore", sharing::semaphore),
    ("sleeps", times::sleeps),
    ("timers", times::timers),
    ("stream", bytes::stream),
    ("accepts", waits::accepts),
    ("ended", waits::ended),
    ("echo", bytes::echo),
    ("set", sets::set),
    ("server", servers::server),
    ("blocking", calls::blocking),
    ("lines", lines::lines),
    ("watches", watches::watches),
    ("connects", watches::connects),
    ("c tasks", c_tasks::c_tasks),
    ("c tasks", c_tasks::c_tasks),
];

fn config(random: &mut Random) -> Config {
    Config {
        flavour: [Flavour::MultiThread, Flavour::MultiThread, Flavour::CurrentThread][random.below(3) as usize],
        spin: Duration::ZERO,
        poll_budget: [2, 128][random.below(2) as usize],
        event_interval: [1, 3, 61][random.below(3) as usize],
        lifo_limit: random.below(4) as u32,
        max_events: 1 + random.below(4) as usize,
        stack_size: 256 << 10,
        buffer_size: 64,
        buffer_count: [8, 16][random.below(2) as usize],
        blocking_threads: 1 + random.below(3) as usize,
        send_limit: 4096,
        ..Config::default()
    }
}

/// A runtime on simulated drivers. If it is to be driven from a loop of the program's own, what else goes on while that sleeps.
fn runtime(random: &mut Random) -> (Runtime, Option<Vec<engine::Signals>>) {
    let config = config(random);
    let workers = match config.flavour {
        Flavour::CurrentThread => 1,
        Flavour::MultiThread => [1, 2, 3, 3][random.below(4) as usize],
    };
    let ring = random.chance(400);
    let embedded = config.flavour == Flavour::CurrentThread && random.chance(400);
    let (mut drivers, mut signals) = (Vec::new(), Vec::new());
    for _ in 0..workers {
        let (driver, its) = engine::driver(random, config.max_events, ring, embedded);
        drivers.push(driver);
        signals.extend(its);
    }
    plant_cookie().expect("a page");
    let runtime = establish(config, drivers, &Choice { ring, why: "simulated".into() }).expect("a runtime");
    (Runtime(runtime), embedded.then_some(signals))
}

/// Runs a future to its end, as a loop of the program's own does that has other things to wait for.
fn embed(runtime: &Runtime, signals: Vec<engine::Signals>, future: impl Future<Output = ()> + Send + 'static) {
    let over = Arc::new(AtomicBool::new(false));
    let (tell, future) = (over.clone(), again(future));
    let ends = || {
        let (tell, future) = (tell.clone(), future());
        async move {
            future.await;
            tell.store(true, Relaxed);
        }
    };
    let task = insist(|| runtime.spawn(ends()).map_err(|error| error.errno())).expect("it is alive");
    let inner = runtime.enter().expect("alive");
    let fd = inner.event_fd().expect("it has no threads");
    while !over.load(Relaxed) {
        inner.turn(0).expect("not inside");
        if !over.load(Relaxed) {
            let signals = signals.clone();
            let probe = move || {
                signals.iter().for_each(engine::Signals::go_on);
                engine::is_ready(fd, libc::POLLIN) != 0
            };
            block(0, inner.next_deadline(), Some(Arc::new(probe)));
        }
    }
    drop(task);
}

/// Makes futures of one that is dropped with none of them: the first that is polled runs it.
fn again<F: Future + Send + 'static>(future: F) -> impl Fn() -> Pin<Box<dyn Future<Output = F::Output> + Send>> {
    let kept = Arc::new(Mutex::new(Some(future)));
    move || {
        let kept = kept.clone();
        Box::pin(async move {
            let future = kept.lock().take().expect("it runs once");
            future.await
        })
    }
}

/// What is open.
fn descriptors() -> Vec<String> {
    let names = (0..200).filter_map(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

fn scenario(seed: u64) {
    play(seed, PARTS, [0, 0, 20, 100]);
}

/// A program of these parts, where so much goes wrong.
fn play(seed: u64, parts: &[(&'static str, Part)], trouble: [u64; 4]) {
    let before = descriptors();
    let mut random = Random::new(seed);
    let (runtime, embedded) = runtime(&mut random);
    TROUBLE.store(trouble[random.below(4) as usize], Relaxed);
    let ledger = Arc::new(Ledger::default());
    ledger.runtime.store(runtime.0, Relaxed);
    let (described, known) = (runtime.enter().expect("alive").describe(), ledger.clone());
    run::explain(move || format!("  {described}\n{}", known.story()));
    let mut act = Act { ledger: ledger.clone(), random: Random::new(random.next()), part: "" };
    let (mut waits, mut outsiders) = (Vec::new(), Vec::new());
    for _ in 0..1 + random.below(3) {
        let (name, part) = parts[random.below(parts.len() as u64) as usize];
        act.part = name;
        waits.extend(part(&mut act.branch(), &mut outsiders));
    }
    let cut = random.chance(300);
    if cut {
        drop(embedded);
        let while_it_runs = [0, 1_000, 100_000, 10_000_000][random.below(4) as usize];
        match runtime.enter().expect("alive").shared().is_current_thread() {
            true => drop(runtime.enter().expect("alive").turn(while_it_runs)),
            false => stand_by(while_it_runs),
        }
        ledger.ending.store(true, Relaxed);
    } else {
        let all = async move {
            for wait in waits {
                wait.await.expect("nobody aborts it");
            }
        };
        match embedded {
            Some(signals) => embed(&runtime, signals, all),
            None => {
                let all = again(all);
                let ended = insist(|| runtime.block_on(all()).map_err(|error| error.errno()));
                ended.expect("not inside").expect("no panic");
            }
        }
        outsiders.drain(..).for_each(|outsider| outsider.join().expect("no panic"));
        ledger.ending.store(true, Relaxed);
    }
    assert_eq!(runtime.shutdown(None).expect("not inside"), 0, "tasks were given up");
    outsiders.drain(..).for_each(|outsider| outsider.join().expect("no panic"));
    let metrics = runtime.enter().expect("alive").shared().metrics();
    assert_eq!((metrics.tasks_live, metrics.tasks_abandoned, metrics.ops_live), (0, 0, 0), "tasks and operations left");
    assert_eq!((metrics.timers_live, metrics.ios_live), (0, 0), "timers and descriptors left");
    drop(runtime);
    ledger.check();
    assert_eq!(super::buffers::live_leases(), 0, "leases left");
    assert_eq!(descriptors(), before, "descriptors left open");
}

#[test]
fn sim_seeds() {
    run::seeds(scenario);
}

#[test]
fn sim_replays() {
    run::replays(scenario, 0..20);
}

/// A server that had no descriptors, and then found nobody to accept, is drained all the same.
#[test]
fn sim_servers_without_descriptors() {
    run::some(|seed| play(seed, &[("server", servers::server)], [300; 4]), 0..150);
}
