//! What a descriptor's word and its waiters must do, step by step. What threads may do to it is in `loom_tests.rs`.

mod sets;
mod waiters;
mod word;

use super::ready::{Interest, Ready, ReadyEvent};
use super::scheduled_io::{IOS, Polled, ScheduledIo, Waiting};
use super::waiters::Kinds;
use crate::primitives::{Wake, waker};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::task::Waker;

const READ: Interest = Interest::READABLE;
const WRITE: Interest = Interest::WRITABLE;
const NOBODY: Kinds = Kinds { reader: false, writer: false, list: false };

/// A registered descriptor of its own for each test, never given back.
fn registered() -> (u32, &'static ScheduledIo) {
    let (_, io) = IOS.alloc().expect("memory");
    // A runtime of another test may have had the entry, and its end must not reach this life.
    io.owner.store(0, Relaxed);
    let generation = io.guard.next_generation();
    io.begin(generation, Ready::EMPTY);
    io.guard.open();
    (generation, io)
}

/// Counts its wakes.
#[derive(Default)]
struct Probe(AtomicUsize);

impl Wake for Probe {
    fn wake_by_ref(this: &Arc<Self>) {
        this.0.fetch_add(1, Relaxed);
    }
}

impl Probe {
    fn new() -> (Arc<Self>, Waker) {
        let probe = Arc::<Self>::default();
        (probe.clone(), waker(probe))
    }

    fn wakes(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// For waiters that nobody sweeps out.
fn alive(_: &Waker) -> bool {
    false
}

fn poll(io: &ScheduledIo, generation: u32, key: usize, interest: Interest, waker: &Waker) -> Polled {
    io.poll(generation, interest, &Waiting { key, waker, dead: alive, in_vain: None })
}

fn event(polled: Polled) -> ReadyEvent {
    match polled {
        Polled::Ready(event) => event,
        other => panic!("not ready: {other:?}"),
    }
}

fn kinds(io: &ScheduledIo) -> Kinds {
    io.locked(|waiters| waiters.kinds())
}
