//! Tasks that make, join, abort, leave and wake each other.

use super::Outsiders;
use super::ledger::{Act, Ledger, pause};
use crate::primitives::AtomicWaker;
use crate::sim::thread;
use crate::task::{JoinError, JoinHandle};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::Poll;

/// A tree of tasks, each of which makes some and joins, aborts or leaves them.
pub(super) fn tree(act: &mut Act, _outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    let mut branch = act.branch();
    let depth = 1 + branch.random.below(3);
    let root = async move {
        grow(&mut branch, depth).await;
    };
    act.spawn(root).into_iter().collect()
}

/// Yields how many tasks it made.
fn grow(act: &mut Act, depth: u64) -> Pin<Box<dyn Future<Output = u64> + Send + '_>> {
    Box::pin(async move {
        let mut made = 0;
        for _ in 0..if depth > 0 { act.random.below(5) } else { 0 } {
            act.pause().await;
            let mut branch = act.branch();
            let Some(child) = act.spawn(async move { grow(&mut branch, depth - 1).await + 1 }) else { continue };
            act.pause().await;
            match act.random.below(4) {
                0 => {
                    child.abort();
                    match child.await {
                        Ok(more) => made += more,
                        Err(JoinError::Cancelled) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                1 => drop(child),
                _ => match child.await {
                    Ok(more) => made += more,
                    Err(error) => assert!(act.ledger.is_ending(), "{error}, though nobody aborted it"),
                },
            }
        }
        act.pause().await;
        made
    })
}

/// What wakers promise: a poll follows each wake, and sees what was done before it.
#[derive(Default)]
pub(super) struct Doorbell {
    rings: AtomicU64,
    waker: AtomicWaker,
}

impl Doorbell {
    pub(super) fn ring(&self) {
        self.rings.fetch_add(1, Relaxed);
        self.waker.wake();
    }

    pub(super) async fn hear(&self, rings: u64) {
        poll_fn(|context| {
            self.waker.register_by_ref(context.waker());
            if self.rings.load(Relaxed) >= rings { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Rings in a circle of tasks, rings from threads, and wakes by the task's handle.
pub(super) fn wakes(act: &mut Act, outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    let (tasks, rounds) = (1 + act.random.below(4) as usize, 1 + act.random.below(6));
    let bells: Arc<Vec<Doorbell>> = Arc::new((0..tasks).map(|_| Doorbell::default()).collect());
    let mut waits = Vec::new();
    for at in 0..tasks {
        let (bells, mut branch) = (bells.clone(), act.branch());
        waits.extend(act.spawn(async move {
            let mut heard = 0;
            while heard < rounds {
                let more = 1 + branch.random.below(rounds - heard);
                heard += more;
                bells[at].hear(heard).await;
                branch.pause().await;
                if let Some(bell) = bells.get(at + 1) {
                    (0..more).for_each(|_| bell.ring());
                }
            }
        }));
    }
    let yields = act.random.below(3);
    outsiders.push(thread::spawn("rings", move || {
        for _ in 0..rounds {
            for _ in 0..yields {
                thread::yield_now();
            }
            bells[0].ring();
        }
    }));
    waits.extend(by_handle(act, outsiders));
    waits
}

/// A task that only its handle wakes.
fn by_handle(act: &mut Act, outsiders: &mut Outsiders) -> Option<JoinHandle<()>> {
    let (flag, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let sleeper = {
        let (flag, seen) = (flag.clone(), seen.clone());
        act.spawn(poll_fn(move |_| {
            if !flag.load(Relaxed) {
                return Poll::Pending;
            }
            seen.store(true, Relaxed);
            Poll::Ready(())
        }))?
    };
    let ledger: Arc<Ledger> = act.ledger.clone();
    let sleeper = Arc::new(sleeper);
    let waking = sleeper.clone();
    outsiders.push(thread::spawn("wakes", move || {
        flag.store(true, Relaxed);
        waking.wake();
        drop(waking);
    }));
    act.spawn(async move {
        while Arc::strong_count(&sleeper) > 1 {
            pause().await;
        }
        let sleeper = Arc::into_inner(sleeper).expect("the only one");
        let ended = sleeper.await;
        assert!(ledger.is_ending() || ended.is_ok() && seen.load(Relaxed));
    })
}

/// One long poll in a runtime with several workers: what it woke, or what came from elsewhere, is run by another one.
pub(super) fn hog(act: &mut Act, outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    let ledger = act.ledger.clone();
    if ledger.workers() < 2 || ledger.hogged.swap(true, Relaxed) {
        return strangers(act, outsiders);
    }
    let (go, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let other = {
        let (go, done) = (go.clone(), done.clone());
        poll_fn(move |_| {
            if !go.load(Relaxed) {
                return Poll::Pending;
            }
            done.store(true, Relaxed);
            Poll::Ready(())
        })
    };
    let wait = {
        let ledger = ledger.clone();
        move || {
            while !done.load(Relaxed) && !ledger.is_ending() {
                thread::yield_now();
            }
        }
    };
    if act.random.chance(300) {
        let Some(other) = ledger.spawn(act.part, false, other) else { return Vec::new() };
        let mut branch = act.branch();
        let hog = async move {
            branch.pause().await;
            go.store(true, Relaxed);
            other.wake();
            wait();
        };
        return ledger.spawn(act.part, false, hog).into_iter().collect();
    }
    // Both from outside, in either order.
    let (part, first) = (act.part, act.random.chance(500));
    outsiders.push(thread::spawn("hogs", move || {
        go.store(true, Relaxed);
        let waits = wait.clone();
        let hog = async move { waits() };
        if first {
            ledger.spawn(part, false, other);
            ledger.spawn(part, false, hog);
        } else {
            ledger.spawn(part, false, hog);
            ledger.spawn(part, false, other);
        }
        wait();
    }));
    Vec::new()
}

/// Tasks that a thread makes, until it is told that there may be no more.
pub(super) fn strangers(act: &mut Act, outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    let (tasks, mut branch) = (1 + act.random.below(12), act.branch());
    outsiders.push(thread::spawn("spawns", move || {
        for _ in 0..tasks {
            let mut task = branch.branch();
            // Some are there until they are aborted with all others.
            let for_ever = branch.random.chance(500);
            let made = branch.spawn(async move {
                task.pause().await;
                if for_ever {
                    std::future::pending().await
                }
            });
            if made.is_none() {
                return;
            }
        }
    }));
    Vec::new()
}
