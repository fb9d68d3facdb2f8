//! Micro-benchmarks through the C ABI, beside tokio, async-task, atomic-waker and a bare epoll set.
//!
//! Each figure is the time of one operation, measured inside of a task that repeats it, so that entering the runtime does not
//! count. A group is one thing; in it `asyncio` is ours, and the last part of a name says in which surroundings.

mod calls;
mod channels;
mod peers;
mod readiness;
mod tasks;
mod timers;
mod wakes;

use asyncio_bench::{Flavour, Runtime};
use criterion::Criterion;
use std::time::Duration;

fn main() {
    // Whatever goes wrong, on any thread, is the end.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::exit(1);
    }));
    println!("{}", Runtime::new(Flavour::OneWorker).describe());
    let mut criterion = Criterion::default()
        .sample_size(15)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for benches in [calls::all, tasks::all, wakes::all, readiness::all, timers::all, channels::all] {
        benches(&mut criterion);
    }
    criterion.final_summary();
}
