//! Models of one descriptor: waiting, delivering, clearing, shutting down, and closing with a new owner of the entry.
//!
//! What every model asks: whoever was told to wait is woken if what it waits for came, and what came is still there for
//! whoever did not take it.

mod closing;
mod waiting;

use super::future::Readiness;
use super::ready::{Interest, Ready};
use super::scheduled_io::{IOS, Polled, ScheduledIo, Waiting};
use crate::primitives::{Wake, waker_ref};
use loom::thread;
use std::future::Future;
use std::pin::Pin;
// Not loom's: the counts are read after the threads were joined, so there is nothing to explore in them.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::task::Context;

/// The generation of a fresh entry's first life.
const FIRST: u32 = 1;

/// Counts its wakes.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake_by_ref(this: &Arc<Self>) {
        this.0.fetch_add(1, Relaxed);
    }
}

/// A registered descriptor.
fn registered() -> (u32, &'static ScheduledIo) {
    let (index, io) = IOS.alloc().expect("memory");
    assert_eq!(io.guard.next_generation(), FIRST);
    io.begin(FIRST, Ready::EMPTY);
    io.guard.open();
    (index, io)
}

/// A waiter that is told apart by its key.
#[derive(Default)]
struct Keyed {
    key: usize,
    wakes: Arc<Wakes>,
}

impl Keyed {
    fn new(key: usize) -> Self {
        Self { key, wakes: Arc::default() }
    }

    fn poll(&self, io: &ScheduledIo, generation: u32, interest: Interest) -> Polled {
        let waker = waker_ref(&self.wakes);
        io.poll(generation, interest, &Waiting { key: self.key, waker: &waker, dead: |_| false, in_vain: None })
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(Relaxed)
    }

    /// It was not left asleep.
    fn served(&self, seen: Polled) -> bool {
        seen != Polled::Pending || self.wakes() > 0
    }
}

/// A waiter that is a future.
struct Waiter {
    future: Pin<Box<Readiness>>,
    wakes: Arc<Wakes>,
}

impl Waiter {
    fn new(io: &'static ScheduledIo, interest: Interest) -> Self {
        Self { future: Box::pin(Readiness::new(io, FIRST, interest)), wakes: Arc::default() }
    }

    /// Polls with its own waker. True: it waits.
    fn waits(&mut self) -> bool {
        self.future.as_mut().poll(&mut Context::from_waker(&waker_ref(&self.wakes))).is_pending()
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(Relaxed)
    }
}

fn spawn<R: 'static>(f: impl FnOnce() -> R + Send + 'static) -> thread::JoinHandle<R> {
    thread::spawn(f)
}

fn is_ready(polled: Polled, wanted: Ready) -> bool {
    matches!(polled, Polled::Ready(event) if event.ready.intersects(wanted))
}
