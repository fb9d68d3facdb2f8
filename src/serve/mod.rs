//! Servers: listeners whose connections become tasks.
//!
//! A server is an object on a shelf. Its acceptors, a task for each listener, are pinned to the workers that watch the
//! listeners. Everything that is decided about a server, from letting a connection in to the end of its drain, is decided
//! under the lock of its `State`; whoever is to hear of it is called after that lock was released, as is the program.

mod accept;
mod connection;
mod deadlines;
mod drain;
mod listeners;
pub(crate) mod owned;
mod state;
#[cfg(all(test, not(loom)))]
mod tests;

use crate::primitives::handle::Kind;
use crate::primitives::shelf::{Shelf, Use};
use crate::primitives::sync::{AtomicU64, Mutex, Ordering::Relaxed, process_static};
use crate::runtime::{Errno, Io, IoName, IoPoll, PollContext, RuntimeRef};
use crate::task::Runs;
use accept::Acceptor;
use deadlines::Limits;
use state::State;
use std::ffi::CString;
use std::sync::Arc;
use std::task::Poll;

pub use state::Stats;

process_static! {
    static SERVERS: Shelf<Server> = Shelf::new(Kind::Server);
}

/// Who accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// One worker, which gives the connections to all in turn.
    #[default]
    Shared,
    /// Every worker, from one queue of connections.
    Exclusive,
    /// Every worker, from a queue of its own: the listener was bound with SO_REUSEPORT.
    ReusePort,
}

/// How a server is to behave. 0 means no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Who accepts.
    pub mode: Mode,
    /// How many connections may be live at once. With so many, nothing is accepted.
    pub max_connections: u64,
    /// A connection is cut if no byte came for so many nanoseconds after it was accepted.
    pub first_byte: u64,
    /// A connection is cut if nothing moved for so many nanoseconds, or up to a quarter more.
    pub idle: u64,
    /// A connection is cut so many nanoseconds after it was accepted.
    pub total: u64,
}

/// What a server is for: it makes connections into tasks.
pub(crate) trait Program: Send + Sync + 'static {
    type Task: Runs<Output: Send> + Send + 'static;

    /// The task for a connection, whose it is from then on. `None`: the connection is refused, and closed. Called with no lock
    /// held, by the acceptor's worker.
    fn connect(&self, io: IoName) -> Option<Arrival<Self::Task>>;
}

/// A connection's task that is to be spawned.
pub(crate) struct Arrival<F> {
    pub(crate) future: F,
    /// The worker that it must be on, if not the one that was chosen for the connection.
    pub(crate) home: Option<u32>,
    pub(crate) label: Option<CString>,
}

/// See the module.
pub(crate) struct Server {
    runtime: u64,
    options: Options,
    /// Whose turn it is to get a connection.
    turn: AtomicU64,
    state: Mutex<State>,
}

impl Server {
    fn limits(&self) -> Option<Limits> {
        let Options { first_byte, idle, total, .. } = self.options;
        (first_byte | idle | total != 0).then_some(Limits { first_byte, idle, total })
    }

    /// The worker for the next connection that an acceptor on `here` got.
    fn next_home(&self, runtime: &RuntimeRef, here: u32) -> u32 {
        match self.options.mode {
            Mode::Shared => (self.turn.fetch_add(1, Relaxed) % u64::from(runtime.workers())) as u32,
            Mode::Exclusive | Mode::ReusePort => here,
        }
    }

    /// The server that a handle names.
    fn enter(raw: u64) -> Result<Use<Server>, Errno> {
        SERVERS.enter(raw).ok_or(libc::EBADF)
    }
}

/// Serves what comes to a listener, which is the server's on success. `named` is called with the server's handle before the
/// program hears of the first connection.
pub(crate) fn serve<P: Program>(
    runtime: &RuntimeRef,
    listener: IoName,
    options: Options,
    program: P,
    named: impl FnOnce(u64),
) -> Result<(), Errno> {
    listener.check_listener(runtime)?;
    let others = listeners::open(runtime, listener, options.mode)?;
    let is_shared = options.mode == Mode::Exclusive && !others.is_empty();
    let server = Arc::new(Server {
        runtime: runtime.handle(),
        options,
        turn: AtomicU64::new(0),
        state: Mutex::new(State::new()),
    });
    let raw = SERVERS.put(server.clone()).ok_or(libc::ENOMEM)?;
    let program = Arc::new(program);
    let acceptor = |io, name, home| Acceptor::new(&server, &program, io, name, home);
    let mut begun = Ok(());
    for (io, name, home) in others {
        begun = begun.and_then(|()| acceptor(io, name, home).begin(runtime).map_err(|(errno, _acceptor)| errno));
    }
    // The caller's until nothing can fail any more.
    begun = begun.and_then(|()| {
        let first = acceptor(Io::new(listener), listener, listener.home()).begin(runtime);
        first.map_err(|(errno, acceptor)| {
            acceptor.give_back();
            errno
        })
    });
    if let Err(errno) = begun {
        drop(SERVERS.remove(raw));
        server.cut_all();
        return Err(errno);
    }
    if is_shared {
        // Who closed it meanwhile has stopped the server.
        let _ = listener.watch_with_others();
    }
    runtime.takes_along(raw, let_go);
    named(raw);
    server.open();
    Ok(())
}

/// Stops accepting.
pub(crate) fn stop(raw: u64) -> Result<(), Errno> {
    Server::enter(raw)?.stop();
    Ok(())
}

/// The handle is stale from now on, and the server stops.
pub(crate) fn free(raw: u64) -> Result<(), Errno> {
    let server = SERVERS.remove(raw).ok_or(libc::EBADF)?;
    if let Ok(runtime) = RuntimeRef::enter(server.runtime) {
        runtime.leaves_behind(raw);
    }
    server.leave();
    Ok(())
}

/// The same when its runtime is freed.
fn let_go(raw: u64) {
    if let Some(server) = SERVERS.remove(raw) {
        server.leave();
    }
}

/// Waits for a server to drain.
pub(crate) fn poll_draining(raw: u64, cx: &PollContext) -> IoPoll<()> {
    Server::enter(raw).map_or_else(|errno| Poll::Ready(Err(errno)), |server| server.poll_draining(cx).map(Ok))
}

/// Drains a server. Returns how many connections were cut.
pub(crate) fn poll_drain(raw: u64, cx: &PollContext, at: u64) -> IoPoll<u64> {
    Server::enter(raw).map_or_else(|errno| Poll::Ready(Err(errno)), |server| Server::poll_drain(&server, cx, at))
}

/// What a server has done.
pub(crate) fn stats(raw: u64) -> Result<Stats, Errno> {
    Ok(Server::enter(raw)?.stats())
}
