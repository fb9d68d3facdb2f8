//! Timers: never early, fired or cancelled and never both, and whoever waits is woken.

use super::Outsiders;
use super::ledger::{Act, insist};
use crate::runtime::Missed;
use crate::runtime::now;
use crate::runtime::timer::{Start, TimerName, start};
use crate::sim::{point, stand_by, thread};
use crate::task::JoinHandle;
use crate::time::{Interval, Sleep, timeout_at};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

fn soon(act: &mut Act) -> u64 {
    let far = [0, 1_000, 20_000, 1_000_000, 2_000_000_000][act.random.below(5) as usize];
    now() + act.random.below(far + 1)
}

/// Sleeps, in a task of their own, moved and dropped half-way.
pub(super) fn sleeps(act: &mut Act, _outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    let mut waits = Vec::new();
    for _ in 0..1 + act.random.below(4) {
        let mut branch = act.branch();
        waits.extend(act.spawn(async move {
            for _ in 0..1 + branch.random.below(3) {
                match branch.random.below(4) {
                    0 => moved(&mut branch).await,
                    1 => cut_short(&mut branch).await,
                    2 => ticks(&mut branch).await,
                    _ => {
                        let at = soon(&mut branch);
                        Sleep::until(at).await;
                        assert!(now() >= at, "early by {}", at - now());
                    }
                }
            }
        }));
    }
    waits
}

/// A sleep that is put off and brought forward.
async fn moved(act: &mut Act) {
    let mut at = soon(act);
    let mut sleep = std::pin::pin!(Sleep::until(at));
    for _ in 0..act.random.below(4) {
        let polled = poll_fn(|context| std::task::Poll::Ready(sleep.as_mut().poll(context))).await;
        assert!(polled.is_pending() || now() >= at, "early");
        act.pause().await;
        at = soon(act);
        sleep.reset(at);
    }
    sleep.await;
    assert!(now() >= at, "early by {}", at - now());
}

async fn cut_short(act: &mut Act) {
    let (first, second) = (soon(act), soon(act));
    match timeout_at(first, Sleep::until(second)).await {
        Ok(()) => assert!(now() >= second),
        Err(_) => assert!(now() >= first),
    }
}

async fn ticks(act: &mut Act) {
    let (first, period) = (soon(act), 1 + act.random.below(1_000_000));
    let mut interval = Interval::new(first, period, Missed::Burst);
    for tick in 0..3 {
        interval.tick().await;
        assert!(now() >= first + tick * period, "a tick is early");
    }
}

/// Timers that tasks wait for while threads put them off, bring them forward, or end them.
pub(super) fn timers(act: &mut Act, outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    let mut waits = Vec::new();
    for _ in 0..1 + act.random.below(2) {
        let at = soon(act);
        let Ok(raw) = insist(|| start(act.ledger.runtime.load(Relaxed), Start::at(at))) else { continue };
        let timer = TimerName::parse(raw).expect("it was just started");
        // Not before that, once a reset said that it had not fired.
        let floor = Arc::new(AtomicU64::new(at));
        let cancelled = Arc::new(AtomicBool::new(false));
        for _ in 0..1 + act.random.below(2) {
            let (floor, cancelled, ledger) = (floor.clone(), cancelled.clone(), act.ledger.clone());
            waits.extend(act.spawn(async move {
                let key = std::ptr::from_ref(&floor).addr();
                // What held before the poll: afterwards one that fired may have been put off, or ended.
                let mut before = (0, false);
                let fired = poll_fn(|context| {
                    before = (floor.load(Relaxed), cancelled.load(Relaxed));
                    timer.poll_with(key, context.waker())
                });
                match fired.await {
                    Ok(_) => {
                        assert!(!before.1, "a timer fired that was ended in time");
                        assert!(now() >= before.0, "a timer is early");
                    }
                    Err(errno) => assert!(errno == libc::EBADF || ledger.is_ending(), "{errno}"),
                }
            }));
        }
        let mut branch = act.branch();
        outsiders.push(thread::spawn("times", move || {
            // Some come when the runtime goes, at any moment of that.
            for _ in 0..if branch.random.chance(400) { 30 } else { 0 } {
                if branch.ledger.is_ending() {
                    (0..branch.random.below(300)).for_each(|_| point());
                    break;
                }
                stand_by(3_000);
            }
            let mut last = at;
            for _ in 0..branch.random.below(4) {
                match branch.random.below(3) {
                    0 => stand_by(branch.random.below(50_000)),
                    1 => {
                        // Only ever later, so that no time before is late for the one that waits.
                        last += branch.random.below(2_000_000);
                        if timer.reset(last) == Ok(true) {
                            floor.fetch_max(last, Relaxed);
                        }
                    }
                    _ => {
                        if timer.cancel() == Ok(true) {
                            cancelled.store(true, Relaxed);
                        }
                    }
                }
            }
            // One that is left is not for ever.
            stand_by(branch.random.below(3_000_000_000));
            let _ = timer.cancel();
        }));
    }

    waits
}
