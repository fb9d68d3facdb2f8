//! Sets: each member is told once, to one of those who wait.

use super::Outsiders;
use super::ledger::{Act, insist};
use crate::runtime::operation::{SetUse, free_set, new_set};
use crate::runtime::owned::in_task;
use crate::runtime::timer::{Start, TimerName, start};
use crate::runtime::{RuntimeRef, now};
use crate::sim::{stand_by, thread};
use crate::task::JoinHandle;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

/// A set and its timers, which end with it.
struct Members {
    set: u64,
    timers: Mutex<Vec<u64>>,
}

impl Drop for Members {
    fn drop(&mut self) {
        for &timer in self.timers.get_mut().iter() {
            let _ = TimerName::parse(timer).expect("a timer").cancel();
        }
        let _ = free_set(self.set);
    }
}

/// Timers in a set, some of which a thread ends or puts off.
pub(super) fn set(act: &mut Act, outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    let runtime = act.ledger.runtime.load(Relaxed);
    let Some(set) = RuntimeRef::enter(runtime).ok().and_then(|runtime| insist(|| new_set(&runtime)).ok()) else {
        return Vec::new();
    };
    let members = Arc::new(Members { set, timers: Mutex::default() });
    let (shared, mut branch) = (members.clone(), act.branch());
    outsiders.push(thread::spawn("ends", move || {
        for _ in 0..branch.random.below(6) {
            stand_by(branch.random.below(50_000));
            let timers = shared.timers.lock().clone();
            let Some(&timer) = timers.get(branch.random.below(6) as usize) else { continue };
            let timer = TimerName::parse(timer).expect("a timer");
            let _ = match branch.random.below(2) {
                0 => timer.cancel(),
                _ => timer.reset(now() + branch.random.below(1_000_000)),
            };
        }
    }));
    let mut branch = act.branch();
    let task = act.spawn(async move {
        let mut expected = Vec::new();
        for key in 0..1 + branch.random.below(5) {
            let at = Start::at(now() + branch.random.below(1_000_000));
            let Ok(timer) = insist(|| start(runtime, at)) else { return };
            members.timers.lock().push(timer);
            branch.pause().await;
            // One that was ended before cannot be added.
            let add = in_task(|cx| Poll::Ready(SetUse::enter(set).and_then(|set| set.add(cx, timer, key))));
            if add.await.is_ok() {
                expected.push(key);
            }
        }
        let (told, mut waiters) = (Arc::new(Mutex::new(Vec::new())), Vec::new());
        for _ in 0..1 + branch.random.below(3) {
            let told = told.clone();
            waiters.extend(branch.spawn(async move {
                loop {
                    let polled =
                        in_task(|cx| SetUse::enter(set).map_or_else(|e| Poll::Ready(Err(e)), |set| set.poll(cx)));
                    match polled.await {
                        Ok(key) => told.lock().push(key),
                        Err(_) => return,
                    }
                }
            }));
        }
        for waiter in waiters {
            let _ = waiter.await;
        }
        let mut told = std::mem::take(&mut *told.lock());
        told.sort_unstable();
        assert!(told == expected || branch.ledger.is_ending(), "{told:?} of {expected:?}");
    });
    task.into_iter().collect()
}
