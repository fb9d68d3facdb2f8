//! What tasks and threads share: nothing that was given is lost, and nothing is given twice.

use super::Outsiders;
use super::ledger::Act;
use crate::runtime::{NEVER, now};
use crate::sim::thread;
use crate::sync::{Channel, Notify, Oneshot, Semaphore};
use crate::task::JoinHandle;
use crate::time::timeout_at;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Items through a channel: every one that was sent is received, once.
pub(super) fn channel(act: &mut Act, _outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    let channel = Arc::new(Channel::<u64>::new(1 + act.random.below(3) as usize).expect("memory"));
    let (senders, receivers) = (1 + act.random.below(3), 1 + act.random.below(3));
    let each = 1 + act.random.below(6);
    let (sent, got) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
    let done = Arc::new(AtomicU64::new(0));
    let mut waits = Vec::new();
    for sender in 0..senders {
        let (channel, sent, done, mut branch) = (channel.clone(), sent.clone(), done.clone(), act.branch());
        waits.extend(act.spawn(async move {
            for item in 0..each {
                branch.pause().await;
                if channel.send(sender * 100 + item).await.is_err() {
                    assert!(branch.ledger.is_ending(), "nobody closed the channel");
                    return;
                }
                sent.fetch_add(1, Relaxed);
            }
            if done.fetch_add(1, Relaxed) + 1 == senders {
                channel.close();
            }
        }));
    }
    let mut ends = Vec::new();
    for _ in 0..receivers {
        let (channel, got, mut branch) = (channel.clone(), got.clone(), act.branch());
        ends.extend(act.spawn(async move {
            while let Ok(item) = channel.receive().await {
                got.lock().push(item);
                branch.pause().await;
            }
        }));
    }
    // Some that give up while they wait: what they would have got goes to others.
    let mut aborted = Vec::new();
    for _ in 0..act.random.below(2) {
        let (channel, got) = (channel.clone(), got.clone());
        aborted.extend(act.spawn(async move {
            if let Ok(item) = channel.receive().await {
                got.lock().push(item);
            }
        }));
    }
    let mut branch = act.branch();
    waits.extend(act.spawn(async move {
        branch.pause().await;
        for task in aborted {
            task.abort();
            let _ = task.await;
        }
        for end in ends {
            assert!(end.await.is_ok() || branch.ledger.is_ending());
        }
        if branch.ledger.is_ending() {
            return;
        }
        let mut got = got.lock().clone();
        got.sort_unstable();
        let all: Vec<_> = (0..senders).flat_map(|sender| (0..each).map(move |item| sender * 100 + item)).collect();
        assert!(got == all, "{got:?} of {all:?}");
    }));
    waits
}

/// Permits: never more out than there are, and all come back.
pub(super) fn semaphore(act: &mut Act, outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    let all = 1 + act.random.below(3);
    let semaphore = Arc::new(Semaphore::new(all).expect("memory"));
    let out = Arc::new(AtomicU64::new(0));
    let mut waits = Vec::new();
    for _ in 0..2 + act.random.below(4) {
        let (semaphore, out, mut branch) = (semaphore.clone(), out.clone(), act.branch());
        waits.extend(act.spawn(async move {
            for _ in 0..1 + branch.random.below(3) {
                let n = 1 + branch.random.below(all);
                // Some wait for a while only.
                let patience = if branch.random.chance(400) { branch.random.below(20_000) } else { NEVER };
                match timeout_at(now().saturating_add(patience), semaphore.acquire(n)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return,
                    Err(_) => continue,
                }
                let now = out.fetch_add(n, Relaxed) + n;
                assert!(now <= all, "{now} permits of {all}");
                branch.pause().await;
                out.fetch_sub(n, Relaxed);
                semaphore.release(n).expect("they are ours");
            }
        }));
    }
    waits.extend(signals(act, outsiders));
    waits
}

/// Notifications and single values from threads.
fn signals(act: &mut Act, outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    let (notify, value) = (Arc::new(Notify::default()), Arc::new(Oneshot::<u64>::default()));
    let mut waits = Vec::new();
    let ledger = act.ledger.clone();
    let of_value = value.clone();
    waits.extend(act.spawn(async move {
        assert!(of_value.receive().await == Ok(7) || ledger.is_ending());
    }));
    let waiters = 1 + act.random.below(3);
    let heard = Arc::new(AtomicU64::new(0));
    for _ in 0..waiters {
        let (notify, heard) = (notify.clone(), heard.clone());
        waits.extend(act.spawn(async move {
            notify.notified().await;
            heard.fetch_add(1, Relaxed);
        }));
    }
    let ledger = act.ledger.clone();
    outsiders.push(thread::spawn("notifies", move || {
        assert!(value.send(7).is_ok() || ledger.is_ending());
        // A notification is kept for one who comes later, but not several: each is taken before the next.
        while heard.load(Relaxed) < waiters && !ledger.is_ending() {
            notify.notify_one();
            thread::yield_now();
        }
    }));
    waits
}
