//! Tasks: spawn and join, yielding, and two tasks that wake each other.

use crate::peers::{AsyncTask, Group, Peer, Tokio, timed};
use asyncio_bench::*;
use criterion::Criterion;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker, ready};
use std::time::Duration;

pub fn all(c: &mut Criterion) {
    Group::new(c, "spawn and join")
        .ours(spawn_and_join)
        .tokio(|tokio, rounds| tokio.run(peers_spawn_and_join::<Tokio>(rounds)))
        .async_task(|rounds| AsyncTask::run(peers_spawn_and_join::<AsyncTask>(rounds)));
    for tasks in [1, 200] {
        Group::new(c, &format!("yield among {tasks}"))
            .ours(|runtime, rounds| batched(rounds, tasks, |each| yields(runtime, tasks, each)))
            .tokio(|tokio, rounds| batched(rounds, tasks, |each| tokio.run(peers_yields::<Tokio>(tasks, each))))
            .async_task(|rounds| batched(rounds, tasks, |each| AsyncTask::run(peers_yields::<AsyncTask>(tasks, each))));
    }
    let both = Runtime::new(Flavour::TwoWorkers);
    // On one multi-thread runtime tokio runs a task where its waker is, so here are two.
    let [here, there] = [(); 2].map(|()| Tokio::new(Flavour::OneWorker));
    Group::new(c, "ping-pong")
        .ours(ping_pong)
        .tokio(|tokio, rounds| tokio.run(peers_ping_pong(rounds, |pong| drop(tokio::spawn(pong)))))
        .async_task(|rounds| AsyncTask::run(peers_ping_pong(rounds, AsyncTask::detach)))
        .add("asyncio", Flavour::TwoWorkers.name(), |rounds| ping_pong(&both, rounds))
        .add("tokio", Flavour::TwoWorkers.name(), |rounds| {
            let there = there.0.handle().clone();
            here.run(peers_ping_pong(rounds, move |pong| drop(there.spawn(pong))))
        });
}

fn spawn_and_join(runtime: &Runtime, rounds: u64) -> Duration {
    let (mut left, mut child) = (rounds, None);
    runtime.time(|cx, clock| {
        clock.start();
        while left > 0 {
            ready!(cx.join(*child.get_or_insert_with(|| cx.spawn(|_| Poll::Ready(())))));
            child = None;
            left -= 1;
        }
        Poll::Ready(())
    })
}

async fn peers_spawn_and_join<P: Peer>(rounds: u64) -> Duration {
    timed(async {
        for _ in 0..rounds {
            P::spawn(async {}).await;
        }
    })
    .await
}

/// Some tasks, each of which yields `each` times.
fn yields(runtime: &Runtime, count: u64, each: u64) -> Duration {
    let mut tasks = Vec::new();
    runtime.time(|cx, clock| {
        if tasks.is_empty() {
            tasks.extend((0..count).map(|_| {
                let mut left = each;
                cx.spawn(move |cx| match left {
                    0 => Poll::Ready(()),
                    _ => {
                        left -= 1;
                        cx.yield_now()
                    }
                })
            }));
        }
        clock.start();
        while let Some(&task) = tasks.last() {
            ready!(cx.join(task));
            tasks.pop();
        }
        Poll::Ready(())
    })
}

async fn peers_yields<P: Peer>(count: u64, each: u64) -> Duration {
    let one = || async move {
        for _ in 0..each {
            P::yield_now().await;
        }
    };
    let tasks: Vec<_> = (0..count).map(|_| P::spawn(one())).collect();
    timed(async {
        for task in tasks {
            task.await;
        }
    })
    .await
}

/// Whose turn it is of two players: the even turns are player 0's.
struct Rally {
    turn: AtomicU64,
    end: u64,
}

impl Rally {
    fn new(first: u64, rounds: u64) -> Self {
        Self { turn: AtomicU64::new(first), end: first + 2 * rounds }
    }

    /// Plays if it is this player's turn, and then calls the other one.
    #[inline]
    fn play(&self, player: u64, call: impl FnOnce()) -> Poll<()> {
        let turn = self.turn.load(Acquire);
        if turn >= self.end {
            return Poll::Ready(());
        }
        if turn % 2 != player {
            return Poll::Pending;
        }
        self.turn.store(turn + 1, Release);
        call();
        if turn + 1 == self.end { Poll::Ready(()) } else { Poll::Pending }
    }
}

fn ping_pong(runtime: &Runtime, rounds: u64) -> Duration {
    let rally = Arc::new((Rally::new(0, rounds), AtomicU64::new(0)));
    let theirs = rally.clone();
    let pong = runtime.spawn(move |_| theirs.0.play(1, || Cx::wake(theirs.1.load(Relaxed))));
    runtime.time(|cx, clock| {
        if rally.1.load(Relaxed) == 0 {
            rally.1.store(cx.me(), Relaxed);
            clock.start();
        }
        ready!(rally.0.play(0, || Cx::wake(pong)));
        clock.stop();
        cx.join(pong)
    })
}

/// A waker is there before its player is called: ping's before it spawns pong, whose turn is the first.
async fn peers_ping_pong(rounds: u64, spawn: impl FnOnce(Pin<Box<dyn Future<Output = ()> + Send>>)) -> Duration {
    let rally = Arc::new((Rally::new(1, rounds), [const { OnceLock::<Waker>::new() }; 2]));
    let player = |me: usize| {
        let rally = rally.clone();
        poll_fn(move |cx| {
            rally.1[me].get_or_init(|| cx.waker().clone());
            rally.0.play(me as u64, || rally.1[1 - me].get().expect("it has begun").wake_by_ref())
        })
    };
    let mut ping = player(0);
    let early = poll_fn(|cx| Poll::Ready(Pin::new(&mut ping).poll(cx))).await;
    assert!(early.is_pending());
    spawn(Box::pin(player(1)));
    timed(ping).await
}
