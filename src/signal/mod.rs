//! Signals as they are heard by tasks.
//!
//! A listener is a bell: the handler rings it, and a task takes the rings. The handler is the process's, and may run on any
//! thread, so it does nothing else. Handlers that the program had before are called by the registry that we share with
//! other Rust libraries of the process.

use crate::primitives::bell::Bell;
use crate::primitives::fork::is_forked;
use crate::primitives::handle::Kind;
use crate::primitives::shelf::Shelf;
use crate::primitives::sync::{Mutex, process_static};
use crate::readiness::Interest;
use crate::runtime::{Errno, Error, Io, IoPoll, PollContext, Runtime, RuntimeRef, errno_of};
use signal_hook_registry::{FORBIDDEN, SigId};
use std::collections::BTreeMap;
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
        let id = unsafe { register(signum, handler) }.map_err(errno_of)?;
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

process_static! {
    /// What the registry's handler was installed as for each signal that had a listener. One registration at a time, so that
    /// the first of a signal knows what was there before.
    static INSTALLED: Mutex<BTreeMap<i32, libc::sigaction>> = Mutex::new(BTreeMap::new());
}

/// What a handler of the program's was installed with, and is called with from now on.
const KEPT: i32 = libc::SA_RESTART | libc::SA_ONSTACK | libc::SA_NODEFER | libc::SA_NOCLDSTOP | libc::SA_NOCLDWAIT;

/// Registers a handler. The first one of a signal brings the registry's, which has neither the mask nor the flags of the one that
/// it takes the place of. The registry brings it once: what the program did since is ours to see.
///
/// # Safety
/// The handler is async-signal-safe.
unsafe fn register(signum: i32, handler: impl Fn() + Send + Sync + 'static) -> io::Result<SigId> {
    let mut installed = INSTALLED.lock();
    let before = action(signum, None)?;
    let was_handled = !matches!(before.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN);
    let ours = installed.get(&signum).filter(|ours| ours.sa_sigaction != before.sa_sigaction);
    if ours.is_some() && was_handled {
        // To call that one from ours would be without end where it calls the one that it took the place of.
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    // SAFETY: the caller says so.
    let id = unsafe { signal_hook_registry::register(signum, handler) }?;
    if let Some(ours) = ours {
        action(signum, Some(ours))?;
        return Ok(id);
    }
    let mut now = action(signum, None)?;
    if was_handled && now.sa_sigaction != before.sa_sigaction {
        (now.sa_flags, now.sa_mask) = (libc::SA_SIGINFO | before.sa_flags & KEPT, before.sa_mask);
        action(signum, Some(&now))?;
    }
    installed.entry(signum).or_insert(now);
    Ok(id)
}

/// What is done on a signal, and sets it.
fn action(signum: i32, set: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    // SAFETY: an all-zero structure is valid.
    let mut was = unsafe { std::mem::zeroed::<libc::sigaction>() };
    // SAFETY: what is set is null or what the kernel told before, maybe with other flags and another mask; the other is ours to write.
    match unsafe { libc::sigaction(signum, set.map_or(std::ptr::null(), std::ptr::from_ref), &mut was) } {
        0 => Ok(was),
        _ => Err(io::Error::last_os_error()),
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
