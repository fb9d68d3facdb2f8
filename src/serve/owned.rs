//! Servers for use in Rust.

use super::{Arrival, Options, Program, Stats};
use crate::runtime::{Error, Io, IoName, Runtime, in_task};
use crate::task::Plain;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A server, for use in Rust. Dropping it stops it, while its connections go on.
#[derive(Debug)]
pub struct Server(u64);

/// Serves what comes to a listener: each connection becomes a task, whose future `connection` makes. Where it panics the
/// connection is refused. It is called by several workers at once, unless the mode is [`Shared`](super::Mode::Shared).
///
/// On failure the listener is closed.
pub fn serve<C, F>(runtime: &Runtime, listener: Io, options: &Options, connection: C) -> Result<Server, Error>
where
    C: Fn(Io) -> F + Send + Sync + 'static,
    F: Future<Output: Send> + Send + 'static,
{
    let (name, mut server) = (listener.name()?, None);
    super::serve(&runtime.enter()?, name, *options, Each(connection), |raw| server = Some(Server(raw)))?;
    // It is the server's now.
    let _ = listener.into_raw();
    Ok(server.expect("named before it returned"))
}

impl Server {
    /// Stops accepting. What came before is still served, and connections go on.
    pub fn stop(&self) -> io::Result<()> {
        super::stop(self.0).map_err(io::Error::from_raw_os_error)
    }

    /// Waits for the server to be stopped.
    pub async fn draining(&self) -> io::Result<()> {
        in_task(|cx| super::poll_draining(self.0, cx)).await
    }

    /// Stops the server, and waits until all its connections have ended. Those that are left at the time `until` are
    /// aborted, of the nanoseconds of [`now`](crate::now()); with `u64::MAX` none are. Returns how many that were.
    pub async fn drain(&self, until: u64) -> io::Result<u64> {
        in_task(|cx| super::poll_drain(self.0, cx, until)).await
    }

    /// Counters, all at one time.
    pub fn stats(&self) -> io::Result<Stats> {
        super::stats(self.0).map_err(io::Error::from_raw_os_error)
    }
}

#[cfg(all(test, not(loom)))]
impl Server {
    pub(super) fn raw(&self) -> u64 {
        self.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Where the runtime was freed before, nothing is left to be stopped.
        let _ = super::free(self.0);
    }
}

/// A function that is called for each connection.
struct Each<C>(C);

impl<C, F> Program for Each<C>
where
    C: Fn(Io) -> F + Send + Sync + 'static,
    F: Future<Output: Send> + Send + 'static,
{
    type Task = Plain<F>;

    fn connect(&self, io: IoName) -> Option<Arrival<Plain<F>>> {
        // One that panics must not end the acceptor, and so the server.
        let future = catch_unwind(AssertUnwindSafe(|| (self.0)(Io::new(io)))).ok()?;
        Some(Arrival { future: Plain(future), home: None, label: None })
    }
}
