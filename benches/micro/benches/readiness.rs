//! Asking for readiness, and the way of an event to its task. All descriptors are eventfds.

use crate::peers::{Group, timed};
use asyncio_bench::*;
use criterion::Criterion;
use std::future::poll_fn;
use std::hint::black_box;
use std::io::Error;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker, ready};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub fn all(c: &mut Criterion) {
    Group::new(c, "poll of a ready descriptor")
        .ours(ready_polls)
        .tokio(|tokio, rounds| tokio.run(peers_ready_polls(rounds)));
    Group::new(c, "poll of a descriptor that is not ready")
        .ours(vain_polls)
        .tokio(|tokio, rounds| tokio.run(peers_vain_polls(rounds)));
    Group::new(c, "a look at a ready descriptor").ours(looks).tokio(|tokio, rounds| tokio.run(peers_looks(rounds)));
    Group::new(c, "event to its task")
        .ours(|runtime, rounds| batched(rounds, EVENTS as u64, |batches| events(runtime, batches)))
        .tokio(|tokio, rounds| batched(rounds, EVENTS as u64, |batches| tokio.run(peers_events(batches))))
        .add("epoll alone", Flavour::CurrentThread.name(), |rounds| batched(rounds, EVENTS as u64, epolls_events));
}

/// It can be written, and read once somebody has.
fn eventfd() -> OwnedFd {
    // SAFETY: a new descriptor, which nobody else has.
    let fd = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)) };
    assert!(fd.as_raw_fd() >= 0, "{}", Error::last_os_error());
    fd
}

fn notify(fd: i32) {
    let one = 1u64;
    // SAFETY: eight bytes.
    let written = unsafe { libc::write(fd, (&raw const one).cast(), 8) };
    assert_eq!(written, 8, "{}", Error::last_os_error());
}

/// Registers an eventfd, and runs `body` with it once it is ready to be written.
fn with_ready(runtime: &Runtime, mut body: impl FnMut(Cx, &mut Clock, u64) -> Poll<()> + Send) -> Duration {
    let mut io = 0;
    runtime.time(|cx, clock| {
        if io == 0 {
            io = cx.register(eventfd().into_raw_fd(), RT_READABLE | RT_WRITABLE);
        }
        ready!(cx.ready(io, RT_WRITABLE));
        clock.start();
        ready!(body(cx, clock, io));
        clock.stop();
        cx.close(io);
        Poll::Ready(())
    })
}

fn async_fd() -> AsyncFd<OwnedFd> {
    // SAFETY: an `OwnedFd` is open, and the same, as long as it lives.
    unsafe { AsyncFd::register(eventfd()) }.expect("registered")
}

async fn ready_fd() -> AsyncFd<OwnedFd> {
    let fd = async_fd();
    let _ = fd.writable().await.expect("no error");
    fd
}

/// The budget ends a poll now and then, as in a real task.
fn ready_polls(runtime: &Runtime, rounds: u64) -> Duration {
    let mut left = rounds;
    with_ready(runtime, |cx, _, io| {
        while left > 0 {
            black_box(ready!(cx.ready(io, RT_WRITABLE)));
            left -= 1;
        }
        Poll::Ready(())
    })
}

async fn peers_ready_polls(rounds: u64) -> Duration {
    let fd = ready_fd().await;
    let mut left = rounds;
    timed(poll_fn(|cx| {
        while left > 0 {
            let _ = black_box(ready!(fd.poll_write_ready(cx)).expect("no error"));
            left -= 1;
        }
        Poll::Ready(())
    }))
    .await
}

fn vain_polls(runtime: &Runtime, rounds: u64) -> Duration {
    with_ready(runtime, |cx, _, io| {
        for _ in 0..rounds {
            assert!(cx.ready(io, RT_READABLE).is_pending());
        }
        Poll::Ready(())
    })
}

async fn peers_vain_polls(rounds: u64) -> Duration {
    let fd = ready_fd().await;
    timed(poll_fn(|cx| {
        for _ in 0..rounds {
            assert!(fd.poll_read_ready(cx).is_pending());
        }
        Poll::Ready(())
    }))
    .await
}

fn looks(runtime: &Runtime, rounds: u64) -> Duration {
    with_ready(runtime, |cx, _, io| {
        for _ in 0..rounds {
            assert_eq!(cx.try_ready(io, RT_WRITABLE), RT_WRITABLE);
        }
        Poll::Ready(())
    })
}

async fn peers_looks(rounds: u64) -> Duration {
    let fd = ready_fd().await;
    timed(async {
        for _ in 0..rounds {
            fd.try_io(Interest::WRITABLE, |_| Ok(())).expect("ready");
        }
    })
    .await
}

/// How many descriptors become ready at once, so that the wait for them is shared by all, and measured with them. The writes
/// are not.
const EVENTS: usize = 128;

fn events(runtime: &Runtime, batches: u64) -> Duration {
    let fds: Vec<i32> = (0..EVENTS).map(|_| eventfd().into_raw_fd()).collect();
    let arrived = Arc::new(AtomicUsize::new(EVENTS));
    let (mut left, mut ios, mut tasks) = (batches, Vec::new(), Vec::new());
    runtime.time(|cx, clock| {
        if tasks.is_empty() {
            let root = cx.me();
            for &fd in &fds {
                let (io, arrived) = (cx.register(fd, RT_READABLE), arrived.clone());
                ios.push(io);
                tasks.push(cx.spawn(move |cx| {
                    loop {
                        let seen = ready!(cx.ready(io, RT_READABLE));
                        cx.clear(io, seen);
                        if arrived.fetch_add(1, Relaxed) + 1 == EVENTS {
                            Cx::wake(root);
                        }
                    }
                }));
            }
            // They wait before the first event comes.
            return cx.yield_now();
        }
        if arrived.load(Relaxed) < EVENTS {
            return Poll::Pending;
        }
        clock.stop();
        if left > 0 {
            left -= 1;
            arrived.store(0, Relaxed);
            fds.iter().for_each(|&fd| notify(fd));
            clock.start();
            return Poll::Pending;
        }
        tasks.iter().for_each(|&task| cx.abort(task));
        while let Some(&task) = tasks.last() {
            ready!(cx.join(task));
            tasks.pop();
        }
        ios.iter().for_each(|&io| cx.close(io));
        Poll::Ready(())
    })
}

async fn peers_events(batches: u64) -> Duration {
    let fds: Vec<_> = (0..EVENTS).map(|_| Arc::new(async_fd())).collect();
    let shared = Arc::new((AtomicUsize::new(EVENTS), OnceLock::<Waker>::new()));
    let tasks: Vec<_> = fds.iter().map(|fd| tokio::spawn(peers_reader(fd.clone(), shared.clone()))).collect();
    tokio::task::yield_now().await;
    let (mut left, mut clock) = (batches, Clock::new(libc::CLOCK_MONOTONIC));
    poll_fn(|cx| {
        shared.1.get_or_init(|| cx.waker().clone());
        if shared.0.load(Relaxed) < EVENTS {
            return Poll::Pending;
        }
        clock.stop();
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        shared.0.store(0, Relaxed);
        fds.iter().for_each(|fd| notify(fd.as_raw_fd()));
        clock.start();
        Poll::Pending
    })
    .await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    clock.took()
}

async fn peers_reader(fd: Arc<AsyncFd<OwnedFd>>, shared: Arc<(AtomicUsize, OnceLock<Waker>)>) {
    loop {
        fd.readable().await.expect("no error").clear_ready();
        if shared.0.fetch_add(1, Relaxed) + 1 == EVENTS {
            shared.1.get().expect("it writes").wake_by_ref();
        }
    }
}

/// What the kernel takes of it.
fn epolls_events(batches: u64) -> Duration {
    let fds: Vec<_> = (0..EVENTS).map(|_| eventfd()).collect();
    // SAFETY: here and below: the arrays are as long as the calls are told, and the descriptor is nobody else's.
    let set = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
    let mut found = [libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: 0 }; 2 * EVENTS];
    for fd in &fds {
        let added = unsafe { libc::epoll_ctl(set.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &mut found[0]) };
        assert_eq!(added, 0, "{}", Error::last_os_error());
    }
    let mut clock = Clock::new(libc::CLOCK_MONOTONIC);
    for _ in 0..batches {
        fds.iter().for_each(|fd| notify(fd.as_raw_fd()));
        clock.start();
        let mut arrived = 0;
        while arrived < EVENTS {
            let n = unsafe { libc::epoll_wait(set.as_raw_fd(), found.as_mut_ptr(), found.len() as i32, -1) };
            assert!(n > 0, "{}", Error::last_os_error());
            arrived += n as usize;
        }
        clock.stop();
    }
    clock.took()
}
