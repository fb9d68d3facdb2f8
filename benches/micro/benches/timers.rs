//! Timers: begun and given up among many, and begun and waited for.

use crate::peers::{Group, Tokio};
use asyncio_bench::*;
use criterion::Criterion;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

pub fn all(c: &mut Criterion) {
    Group::new(c, "timer, start and cancel among 100,000")
        .ours(|runtime, rounds| among_many(runtime, rounds, |cx, at| cx.cancel_timer(cx.start_timer(at))));
    Group::new(c, "sleep, begun and given up among 100,000")
        .ours(|runtime, rounds| {
            among_many(runtime, rounds, |cx, at| {
                let mut slot = 0;
                assert!(cx.sleep(&mut slot, at).is_pending());
                cx.cancel_timer(slot);
            })
        })
        .tokio(|tokio, rounds| tokio.run(peers_among_many(rounds)));
    // Spinning would be taken for work.
    Group::new(c, "sleep to its end, in CPU time").both(|group, flavour| {
        let (runtime, tokio) = (Runtime::spinning(flavour, RT_SPIN_OFF), Tokio::new(flavour));
        group
            .add("asyncio", flavour.name(), |rounds| batched(rounds, BATCH as u64, |batches| sleeps(&runtime, batches)))
            .add("tokio", flavour.name(), |rounds| {
                batched(rounds, BATCH as u64, |batches| tokio.run(peers_sleeps(batches)))
            })
    });
}

const LIVE: u64 = 100_000;

/// When the timers of a server end: all within a minute or so, none of them soon.
fn deadline(number: u64) -> Duration {
    Duration::from_secs(30) + Duration::from_micros(number % LIVE * 600)
}

/// The timers that are begun and given up end anywhere among the others.
const STRIDE: u64 = 7919;

fn among_many(runtime: &Runtime, rounds: u64, once: impl Fn(Cx, u64) + Sync) -> Duration {
    runtime.time(|cx, clock| {
        let base = cx.now();
        let at = |number| base + deadline(number).as_nanos() as u64;
        let live: Vec<u64> = (0..LIVE).map(|number| cx.start_timer(at(number))).collect();
        clock.start();
        (0..rounds).for_each(|round| once(cx, at(round * STRIDE)));
        clock.stop();
        live.into_iter().for_each(|timer| cx.cancel_timer(timer));
        Poll::Ready(())
    })
}

async fn peers_among_many(rounds: u64) -> Duration {
    let base = Instant::now();
    let sleep = |number| sleep_until(base + deadline(number));
    let mut live: Vec<_> = (0..LIVE).map(|number| Box::pin(sleep(number))).collect();
    poll_fn(|cx| {
        assert!(live.iter_mut().all(|sleep| sleep.as_mut().poll(cx).is_pending()));
        let mut clock = Clock::new(libc::CLOCK_MONOTONIC);
        clock.start();
        (0..rounds).for_each(|round| assert!(pin!(sleep(round * STRIDE)).poll(cx).is_pending()));
        Poll::Ready(clock.took())
    })
    .await
}

/// How many sleeps end at the same time.
const BATCH: usize = 10_000;
/// How long they are, so that they have begun before they end.
const NAP: Duration = Duration::from_millis(10);

fn sleeps(runtime: &Runtime, batches: u64) -> Duration {
    let (mut left, mut slots, mut ended, mut at) = (batches, vec![0; BATCH], BATCH, 0);
    runtime.cpu_time(|cx, clock| {
        clock.start();
        loop {
            while ended < BATCH {
                ready!(cx.sleep(&mut slots[ended], at));
                ended += 1;
            }
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            ended = 0;
            at = cx.now() + NAP.as_nanos() as u64;
            for slot in &mut slots {
                let _ = cx.sleep(slot, at);
            }
        }
    })
}

async fn peers_sleeps(batches: u64) -> Duration {
    let mut sleeps: Vec<_> = (0..BATCH).map(|_| Box::pin(sleep_until(Instant::now()))).collect();
    let mut clock = Clock::new(libc::CLOCK_THREAD_CPUTIME_ID);
    clock.start();
    for _ in 0..batches {
        let at = Instant::now() + NAP;
        poll_fn(|cx| {
            for sleep in &mut sleeps {
                sleep.set(sleep_until(at));
                let _ = sleep.as_mut().poll(cx);
            }
            Poll::Ready(())
        })
        .await;
        for sleep in &mut sleeps {
            sleep.await;
        }
    }
    clock.took()
}
