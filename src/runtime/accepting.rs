//! Accepting connections: whose trouble is passed over, and what is done when no descriptor can be had.

use super::context::PollContext;
use super::io::{Errno, IoName, IoPoll, traits};
use super::shared::Shared;
use super::transfer::{Attempted, attempted, uninterrupted};
use crate::primitives::sync::nature::fault;
use crate::readiness::{Interest, Ready};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::task::{Poll, ready};

/// How many broken connections one accept passes over.
pub(super) const MOST_PASSED_OVER: usize = 128;

/// A connection that its peer gave up while it was queued, or its network did: the next one counts.
pub(super) fn is_passed_over(errno: Errno) -> bool {
    matches!(
        errno,
        libc::ECONNABORTED
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
    )
}

/// What broke a connection, or kept it from being made. The kernel tells of it once, to whoever asks first: all others see an end, or
/// EPIPE.
pub(crate) fn breaks_connection(errno: Errno) -> bool {
    matches!(errno, libc::ECONNRESET | libc::ETIMEDOUT | libc::ECONNREFUSED | libc::EACCES) || is_passed_over(errno)
}

/// A call that accepts one connection.
fn accepting() -> impl FnMut(RawFd) -> Attempted {
    let mut passed_over = 0;
    move |fd| {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let trouble = fault(&[libc::EMFILE, libc::ENOBUFS, libc::ENOMEM, libc::ECONNABORTED]);
        let result = trouble.map_or_else(
            // SAFETY: accept4 may be asked for no address.
            || attempted(unsafe { libc::accept4(fd, std::ptr::null_mut(), std::ptr::null_mut(), flags) } as isize),
            Err,
        );
        match result {
            // Not without end, for these may also be this system's own doing.
            Err(errno) if is_passed_over(errno) && passed_over < MOST_PASSED_OVER => {
                passed_over += 1;
                Err(libc::EINTR)
            }
            result => result,
        }
    }
}

/// No descriptor, or no memory for one, could be had: trying again at once is no use.
pub(super) fn is_starvation(errno: Errno) -> bool {
    matches!(errno, libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
}

impl IoName {
    /// Accepts one connection and registers it with the same runtime, on the worker that polls.
    pub(crate) fn poll_accept(self, cx: &PollContext, shared: &Shared) -> IoPoll<IoName> {
        if let Err(errno) = self.check_direct() {
            return Poll::Ready(Err(errno));
        }
        match ready!(self.poll_accept_fd(cx)) {
            Ok(fd) => Poll::Ready(self.adopt(fd, shared)),
            Err(errno) => {
                if is_starvation(errno) {
                    self.starve(shared);
                }
                Poll::Ready(Err(errno))
            }
        }
    }

    /// Accepts one connection.
    pub(super) fn poll_accept_fd(self, cx: &PollContext) -> IoPoll<RawFd> {
        let accepted = self.transfer(cx, Interest::READABLE, 0, accepting());
        accepted.map(|accepted| accepted.map(|fd| fd as RawFd))
    }

    /// Accepts one connection for a server, whose it is.
    pub(crate) fn poll_accept_owned(self, cx: &PollContext) -> IoPoll<OwnedFd> {
        // SAFETY: the call returned a new descriptor.
        self.poll_accept_fd(cx).map(|accepted| accepted.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The same without waiting: EAGAIN if there is none.
    pub(crate) fn accept_now(self) -> Result<OwnedFd, Errno> {
        let _in_use = self.enter()?;
        let mut call = accepting();
        // SAFETY: the call returned a new descriptor.
        uninterrupted(|| call(self.fd())).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    }

    /// No descriptor could be had: the next try waits until one is free, or for a while.
    pub(crate) fn starve(self, shared: &Shared) {
        if let Ok(Some(seen)) = self.try_ready(Interest::READABLE) {
            self.io.clear(self.generation, seen);
        }
        shared.fds.starve(self.raw());
        // This worker may stay busy, and the others sleep without knowing of the time to try again.
        match shared.is_current_thread() {
            true => shared.remote(0).nudge(),
            false => shared.wake_one(),
        }
    }

    /// Registers a connection that this listener gave. It is connected, so it is writable.
    fn adopt(self, fd: RawFd, shared: &Shared) -> Result<IoName, Errno> {
        let both = Interest::READABLE | Interest::WRITABLE;
        let known = u16::from(both.bits()) | self.family() | traits::NONBLOCK | traits::WATCHED;
        shared.register_known(fd, known, 0, Ready::WRITABLE, shared.pick_home()).inspect_err(|_| {
            // SAFETY: the connection is ours, and nobody else has heard of it.
            unsafe { libc::close(fd) };
        })
    }
}
