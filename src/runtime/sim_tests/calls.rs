//! Functions that block: each runs once, or not at all.

use super::Outsiders;
use super::ledger::Act;
use crate::runtime::owned::Runtime;
use crate::sim::nature::TROUBLE;
use crate::sim::stand_by;
use crate::task::{JoinError, JoinHandle};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub(super) fn blocking(act: &mut Act, _outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    // Borrowed: it is the scenario's.
    let runtime = ManuallyDrop::new(Runtime(act.ledger.runtime.load(Relaxed)));
    let mut waits = Vec::new();
    let threads = runtime.enter().map_or(0, |runtime| runtime.shared().config.blocking_threads);
    // With threads to be had there is one for each, so that they may wait for each other.
    if threads > 1 && TROUBLE.load(Relaxed) == 0 && !act.ledger.met.swap(true, Relaxed) {
        let here = Arc::new(AtomicU64::new(0));
        for _ in 0..2 {
            let (here, ledger) = (here.clone(), act.ledger.clone());
            let meet = runtime.spawn_blocking(move || {
                here.fetch_add(1, Relaxed);
                while here.load(Relaxed) < 2 && !ledger.is_ending() {
                    stand_by(1_000);
                }
            });
            let Ok(meet) = meet else { continue };
            let ledger = act.ledger.clone();
            waits.extend(
                act.spawn(async move { assert!(meet.await.is_ok_and(|met| met.is_ok()) || ledger.is_ending()) }),
            );
        }
    }
    for _ in 0..1 + act.random.below(5) {
        let (ran, time) = (Arc::new(AtomicU64::new(0)), act.random.below(200_000));
        let running = ran.clone();
        let call = runtime.spawn_blocking(move || {
            stand_by(time);
            running.fetch_add(1, Relaxed) + 1
        });
        let Ok(call) = call else { continue };
        let mut branch = act.branch();
        waits.extend(act.spawn(async move {
            let aborts = branch.random.chance(400);
            if aborts {
                branch.pause().await;
                call.abort();
            }
            match call.await {
                Ok(Ok(times)) => assert_eq!((times, ran.load(Relaxed)), (1, 1), "a function runs once"),
                Ok(Err(error)) => {
                    assert_eq!(ran.load(Relaxed), 0, "{error}, though it ran");
                    // No thread or no memory could be had, or somebody asked.
                    let refused = [libc::EAGAIN, libc::ENOMEM].contains(&error.errno());
                    assert!(aborts || refused || branch.ledger.is_ending(), "{error}");
                }
                Err(JoinError::Cancelled) => assert!(branch.ledger.is_ending()),
                Err(error) => panic!("{error}"),
            }
        }));
    }
    waits
}
