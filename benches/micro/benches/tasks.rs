//! Tasks through the C ABI beside tokio's: spawn and join, yielding, ping-pong, and asking for readiness.
//!
//! Each figure is the time of one operation, measured inside of a task that repeats it, so that entering the runtime does
//! not count.

use asyncio_bench::*;
use criterion::{Criterion, criterion_group, criterion_main};
use std::ffi::c_void;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// A root task: does `left` rounds, and notes when it began and ended.
struct Root {
    left: u64,
    child: u64,
    began: Option<Instant>,
    took: Duration,
    peers: Vec<u64>,
    io: u64,
}

impl Root {
    fn new(rounds: u64) -> Self {
        Self { left: rounds, child: 0, began: None, took: Duration::ZERO, peers: Vec::new(), io: 0 }
    }

    fn begin(&mut self) {
        self.began.get_or_insert_with(Instant::now);
    }

    fn end(&mut self) -> i64 {
        self.took = self.began.expect("begun").elapsed();
        0
    }
}

unsafe fn root<'a>(state: *mut c_void) -> &'a mut Root {
    // SAFETY: every poll function here is given a `Root` that outlives it.
    unsafe { &mut *state.cast() }
}

unsafe extern "C" fn child(_cx: *mut rt_cx, _state: *mut c_void) -> i64 {
    7
}

unsafe extern "C" fn spawn_join(cx: *mut rt_cx, state: *mut c_void) -> i64 {
    // SAFETY: `run` gave the state; the calls get this poll's context.
    unsafe {
        let root = root(state);
        root.begin();
        loop {
            if root.child == 0 {
                if root.left == 0 {
                    return root.end();
                }
                root.left -= 1;
                rt_spawn(rt_cx_runtime(cx), child, std::ptr::null_mut(), None, &mut root.child);
            }
            if rt_poll_join(cx, root.child, std::ptr::null_mut()) == RT_PENDING {
                return RT_PENDING;
            }
            root.child = 0;
        }
    }
}

unsafe extern "C" fn yielder(cx: *mut rt_cx, state: *mut c_void) -> i64 {
    // SAFETY: as above; the counter belongs to this task.
    unsafe {
        let left = &mut *state.cast::<u64>();
        if *left == 0 {
            return 0;
        }
        *left -= 1;
        rt_yield(cx)
    }
}

const YIELDERS: u64 = 200;

unsafe extern "C" fn yield_many(cx: *mut rt_cx, state: *mut c_void) -> i64 {
    // SAFETY: as above; the counters outlive their tasks, which are joined here.
    unsafe {
        let root = root(state);
        if root.peers.is_empty() {
            let counters = vec![root.left / YIELDERS; YIELDERS as usize].leak();
            for counter in counters {
                let mut task = 0;
                rt_spawn(rt_cx_runtime(cx), yielder, (&raw mut *counter).cast(), None, &mut task);
                root.peers.push(task);
            }
            root.begin();
        }
        while let Some(&task) = root.peers.last() {
            if rt_poll_join(cx, task, std::ptr::null_mut()) == RT_PENDING {
                return RT_PENDING;
            }
            root.peers.pop();
        }
        root.end()
    }
}

/// Two tasks that wake each other.
struct Pong {
    peer: u64,
    pings: u64,
    seen: u64,
}

unsafe extern "C" fn pong(_cx: *mut rt_cx, state: *mut c_void) -> i64 {
    // SAFETY: both tasks run on the same worker, one after the other.
    unsafe {
        let pong = &mut *state.cast::<Pong>();
        if pong.pings == u64::MAX {
            return 0;
        }
        if pong.seen != pong.pings {
            pong.seen = pong.pings;
            rt_task_wake(pong.peer);
        }
        RT_PENDING
    }
}

unsafe extern "C" fn ping_pong(cx: *mut rt_cx, state: *mut c_void) -> i64 {
    // SAFETY: as above.
    unsafe {
        let root = root(state);
        if root.io == 0 {
            let shared = Box::leak(Box::new(Pong { peer: rt_task_self(cx), pings: 0, seen: 0 }));
            root.io = std::ptr::from_mut(shared) as u64;
            rt_spawn(rt_cx_runtime(cx), pong, std::ptr::from_mut(shared).cast(), None, &mut root.child);
            root.begin();
        }
        let shared = &mut *(root.io as *mut Pong);
        if shared.seen == shared.pings {
            if root.left == 0 {
                shared.pings = u64::MAX;
                rt_task_wake(root.child);
                return root.end();
            }
            root.left -= 1;
            shared.pings += 1;
            rt_task_wake(root.child);
        }
        RT_PENDING
    }
}

unsafe extern "C" fn poll_ready(cx: *mut rt_cx, state: *mut c_void) -> i64 {
    const WRITABLE: u32 = 2;
    // SAFETY: as above; the pipe's descriptors belong to this function.
    unsafe {
        let root = root(state);
        let mut seen = rt_ready { bits: 0, tick: 0 };
        if root.io == 0 {
            let fd = libc::eventfd(0, libc::EFD_NONBLOCK);
            rt_register_fd(rt_cx_runtime(cx), fd, WRITABLE, &mut root.io);
        }
        if rt_poll_ready(cx, root.io, WRITABLE, &mut seen) == RT_PENDING {
            return RT_PENDING;
        }
        root.begin();
        while root.left > 0 {
            // The budget ends a poll now and then, as in a real task.
            if rt_poll_ready(cx, root.io, WRITABLE, black_box(&mut seen)) == RT_PENDING {
                return RT_PENDING;
            }
            root.left -= 1;
        }
        rt_close(root.io);
        root.end()
    }
}

fn ours(c: &mut Criterion) {
    let cases: [(&str, rt_poll_fn); 4] = [
        ("spawn and join", spawn_join),
        ("yield among 200", yield_many),
        ("ping-pong", ping_pong),
        ("ready poll", poll_ready),
    ];
    for (flavour, current_thread) in [("pinned", true), ("stealable", false)] {
        let runtime = Runtime::new(current_thread);
        for (name, poll) in cases {
            c.bench_function(&format!("{name}/asyncio {flavour}"), |b| {
                b.iter_custom(|rounds| {
                    let mut root = Root::new(rounds.max(YIELDERS));
                    let wanted = root.left;
                    // A task of its own, because `rt_block_on` pins the one that it runs.
                    assert_eq!(runtime.run(poll, &mut root), 0);
                    root.took.mul_f64(rounds as f64 / wanted as f64)
                });
            });
        }
    }
}

fn tokio_peer(c: &mut Criterion) {
    let flavours = [
        ("current-thread", tokio::runtime::Builder::new_current_thread().build()),
        ("one worker", tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()),
    ];
    for (flavour, runtime) in flavours {
        let runtime = runtime.expect("a runtime");
        let in_task = |future: std::pin::Pin<Box<dyn Future<Output = Duration> + Send>>| {
            runtime.block_on(async { tokio::spawn(future).await.expect("no panic") })
        };
        c.bench_function(&format!("spawn and join/tokio {flavour}"), |b| {
            b.iter_custom(|rounds| {
                in_task(Box::pin(async move {
                    let began = Instant::now();
                    for _ in 0..rounds {
                        black_box(tokio::spawn(async { 7 }).await.expect("no panic"));
                    }
                    began.elapsed()
                }))
            });
        });
        c.bench_function(&format!("yield among 200/tokio {flavour}"), |b| {
            b.iter_custom(|rounds| {
                let each = rounds.max(YIELDERS) / YIELDERS;
                let took = in_task(Box::pin(async move {
                    let yields = || async move {
                        for _ in 0..each {
                            tokio::task::yield_now().await;
                        }
                    };
                    let tasks: Vec<_> = (0..YIELDERS).map(|_| tokio::spawn(yields())).collect();
                    let began = Instant::now();
                    for task in tasks {
                        task.await.expect("no panic");
                    }
                    began.elapsed()
                }));
                took.mul_f64(rounds as f64 / (each * YIELDERS) as f64)
            });
        });
        c.bench_function(&format!("ping-pong/tokio {flavour}"), |b| {
            b.iter_custom(|rounds| {
                in_task(Box::pin(async move {
                    let (ping, pong) = (
                        std::sync::Arc::new(tokio::sync::Notify::new()),
                        std::sync::Arc::new(tokio::sync::Notify::new()),
                    );
                    let (heard, answer) = (ping.clone(), pong.clone());
                    let peer = tokio::spawn(async move {
                        for _ in 0..rounds {
                            heard.notified().await;
                            answer.notify_one();
                        }
                    });
                    let began = Instant::now();
                    for _ in 0..rounds {
                        ping.notify_one();
                        pong.notified().await;
                    }
                    let took = began.elapsed();
                    peer.await.expect("no panic");
                    took
                }))
            });
        });
    }
}

fn the_call_itself(c: &mut Criterion) {
    // SAFETY: takes any value.
    c.bench_function("a C call/rt_strerror", |b| b.iter(|| unsafe { rt_strerror(black_box(0)) }));
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    targets = ours, tokio_peer, the_call_itself
}
criterion_main!(benches);
