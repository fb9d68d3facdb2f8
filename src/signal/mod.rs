//! Signals as they are heard by tasks.
//!
//! A listener is a bell: the handler rings it, and a task takes the rings. The handler is the process's, and may run on any
//! thread, so it does nothing else. Handlers that the program had before are called by the registry that we share with
//! other Rust libraries of the process.

use crate::primitives::bell::Bell;
use crate::primitives::handle::Kind;
use crate::primitives::shelf::Shelf;
use crate::primitives::sync::process_static;
use crate::readiness::Interest;
use crate::runtime::{Errno, Error, Io, IoPoll, PollContext, Runtime, RuntimeRef, errno_of, is_forked};
use signal_hook_registry::{FORBIDDEN, SigId};
use std::io;
use std::sync::Arc;
use std::task::Poll;

process_static! {
    static SIGNALS: Shelf<Signal> = Shelf::new(Kind::Signal);
}

/// A listener for one signal: it counts deliveries from its making on. Dropping it ends that; others go on.
#[derive(Debug)]
pub struct Signal {
    id: SigId,
    /// Ends before the bell's descriptor is closed.
    io: Io,
    bell: Arc<Bell>,
}

impl Signal {
    /// Makes a listener for a signal.
    pub fn open(runtime: &Runtime, signum: i32) -> Result<Self, Error> {
        Ok(Self::open_in(&runtime.enter()?, signum)?)
    }

    fn open_in(runtime: &RuntimeRef, signum: i32) -> Result<Self, Errno> {
        // A fault comes again as soon as its handler returns, so a listener would only hide it.
        if FORBIDDEN.contains(&signum) || signum == libc::SIGBUS {
            return Err(libc::EINVAL);
        }
        let bell = Arc::new(Bell::new().map_err(errno_of)?);
        let io = Io::borrowing(runtime, bell.fd(), Interest::READABLE)?;
        let rung = bell.clone();
        let handler = move || {
            // The bell is shared with the parent, which got no signal.
            if !is_forked() {
                rung.ring();
            }
        };
        // SAFETY: the handler is async-signal-safe: it reads a page and writes to a descriptor, which it owns a count of.
        let id = unsafe { signal_hook_registry::register(signum, handler) }.map_err(errno_of)?;
        Ok(Self { id, io, bell })
    }

    /// Waits for deliveries. Returns how many there were since the last time.
    pub async fn recv(&self) -> io::Result<u64> {
        loop {
            let seen = self.io.ready(Interest::READABLE).await?;
            if let Some(deliveries) = self.bell.take() {
                return Ok(deliveries);
            }
            self.io.clear(seen);
        }
    }

    /// The same, in a poll.
    pub(crate) fn poll(&self, cx: &PollContext) -> IoPoll<u64> {
        let mut deliveries = 0u64;
        let name = match self.io.name() {
            Ok(name) => name,
            Err(errno) => return Poll::Ready(Err(errno)),
        };
        // SAFETY: eight writable bytes. The bell lives as long as we do, whoever ends the registration.
        let read = unsafe { name.poll_read(cx, (&raw mut deliveries).cast(), 8) };
        read.map(|read| read.map(|_| deliveries))
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        // When it returns no handler uses the bell any more.
        signal_hook_registry::unregister(self.id);
    }
}

/// Makes a listener with a handle.
pub(crate) fn open(runtime: &RuntimeRef, signum: i32) -> Result<u64, Errno> {
    SIGNALS.put(Arc::new(Signal::open_in(runtime, signum)?)).ok_or(libc::ENOMEM)
}

/// The listener that a handle names.
pub(crate) fn find(raw: u64) -> Result<Arc<Signal>, Errno> {
    Ok(SIGNALS.enter(raw).ok_or(libc::EBADF)?.clone())
}

/// Makes the handle stale, and wakes who waits.
pub(crate) fn close(raw: u64) -> Result<(), Errno> {
    SIGNALS.remove(raw).ok_or(libc::EBADF)?.io.close();
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::runtime::Config;

    #[test]
    fn deliveries_reach_a_task() {
        let runtime = Runtime::new(Config::default()).expect("a runtime");
        let signal = Signal::open(&runtime, libc::SIGURG).expect("a listener");
        assert_eq!(Signal::open(&runtime, libc::SIGKILL).expect_err("not this one").errno(), libc::EINVAL);
        // SAFETY: no pointers; the signal is handled.
        unsafe { libc::raise(libc::SIGURG) };
        let heard = runtime.block_on(async move { signal.recv().await.expect("a delivery") });
        assert_eq!(heard.expect("runs").expect("ends"), 1);
    }
}
