//! What a worker sleeps in, and what turns events into readiness.
//!
//! The contract of a backend (`Poller`), kept by `epoll.rs`:
//! - One worker owns it and is the only one that waits in it. Registering, changing and removing descriptors goes through
//!   its shared half (`Handle`), from any thread, also during a wait.
//! - `wait` returns after the timeout, or earlier with events, or earlier with none (a spurious return is allowed; EINTR is
//!   one). It never returns before the timeout for a reason that would make its caller spin.
//! - Readiness is edge-triggered and merged: after an event, the next one for the same descriptor comes when something
//!   changed. An event may arrive for a descriptor that is gone; its token says so by its generation.
//! - `unpark` makes the current wait, or the next one, return.
//! - A descriptor that was closed elsewhere costs an error at most, never a panic.

mod epoll;

pub(crate) use epoll::Handle;

use crate::primitives::handle::{Handle as RawHandle, Kind};
use crate::readiness::{IOS, Ready};
use std::io;
use std::time::Duration;

/// An event as a backend reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The handle of the descriptor, or `UNPARK`.
    pub(crate) token: u64,
    pub(crate) ready: Ready,
}

/// The token of the backend's own wake-ups. No handle is 0.
pub(crate) const UNPARK: u64 = 0;

/// The owner's half of a backend. See the module for its contract.
pub(crate) trait Poller: Send {
    /// Waits, and appends at most as many events as it was made for. `None` waits without end.
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()>;
}

/// A worker's driver.
pub(crate) struct Driver {
    poller: Box<dyn Poller>,
    events: Vec<Event>,
}

impl Driver {
    /// A driver on epoll, and its shared half.
    pub(crate) fn epoll(max_events: usize) -> io::Result<(Self, Handle)> {
        let (poller, handle) = epoll::new(max_events)?;
        Ok((Self { poller: Box::new(poller), events: Vec::with_capacity(max_events) }, handle))
    }

    /// Waits for events and delivers them. Returns how many there were, wake-ups not counted.
    pub(crate) fn turn(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        self.events.clear();
        self.poller.wait(timeout, &mut self.events)?;
        let mut delivered = 0;
        for event in self.events.drain(..) {
            delivered += usize::from(event.token != UNPARK && deliver(event));
        }
        Ok(delivered)
    }
}

/// Gives an event to its descriptor, or drops it if that is gone.
fn deliver(event: Event) -> bool {
    let Some(handle) = RawHandle::parse(event.token, Kind::Io) else {
        return false;
    };
    IOS.get(handle.index).is_some_and(|io| io.deliver(handle.generation, event.ready))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_strangers_are_dropped() {
        for token in [1, u64::MAX, 0x2fff_ffff, Kind::Io as u64, 7 << 32 | (Kind::Io as u64) << 28 | 0x0fff_ffff] {
            assert!(!deliver(Event { token, ready: Ready::ALL }), "{token:#x}");
        }
    }
}
