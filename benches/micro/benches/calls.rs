//! What a call costs that does next to nothing.

use crate::peers::Group;
use asyncio_bench::*;
use criterion::Criterion;
use std::hint::black_box;
use std::task::Poll;
use std::time::{Duration, Instant};

pub fn all(c: &mut Criterion) {
    let runtime = Runtime::new(Flavour::CurrentThread);
    // SAFETY: the context is this poll's.
    Group::new(c, "a call")
        .add("asyncio", "rt_task_self", |rounds| repeat(&runtime, rounds, |cx| unsafe { rt_task_self(cx.0) }))
        .add("asyncio", "rt_cx_runtime", |rounds| repeat(&runtime, rounds, |cx| unsafe { rt_cx_runtime(cx.0) }))
        .add("asyncio", "rt_cx_current", |rounds| repeat(&runtime, rounds, |_| unsafe { rt_cx_current() }));
    Group::new(c, "the time").add("asyncio", "rt_now", |rounds| repeat(&runtime, rounds, |_| unsafe { rt_now() })).add(
        "std",
        "rt_now",
        |rounds| repeat(&runtime, rounds, |_| Instant::now()),
    );
}

fn repeat<T>(runtime: &Runtime, rounds: u64, call: impl Fn(Cx) -> T + Sync) -> Duration {
    runtime.time(|cx, clock| {
        clock.start();
        for _ in 0..rounds {
            black_box(call(black_box(cx)));
        }
        Poll::Ready(())
    })
}
