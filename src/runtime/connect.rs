//! Connecting: begun by the first call, whatever the engine, so that what is sent after it finds a connection, or waits for one.

use super::context::PollContext;
use super::io::{Errno, IoName, IoPoll, traits};
use super::transfer::{Attempted, attempted};
use crate::readiness::Interest;
use std::task::{Poll, ready};

impl IoName {
    /// Connects. May be called again with the same address until it is ready. `is_first`: the caller knows that it was not
    /// called before, so a socket that is connected already is an error.
    ///
    /// # Safety
    /// `address` has `len` readable bytes.
    pub(crate) unsafe fn poll_connect(
        self,
        cx: &PollContext,
        address: *const libc::sockaddr,
        len: libc::socklen_t,
        mut is_first: bool,
    ) -> IoPoll<()> {
        if let Err(errno) = self.check_direct() {
            return Poll::Ready(Err(errno));
        }
        loop {
            // What is seen before the call cannot be the answer to it. An operation waits for more than was registered.
            let before = match cx.is_operation() {
                true => Ok(self.try_ready_for_op(Interest::WRITABLE)),
                false => self.try_ready(Interest::WRITABLE),
            };
            // SAFETY: the caller says so.
            match unsafe { self.connect_now(address, len) } {
                Err(libc::EISCONN) if std::mem::take(&mut is_first) || self.listens() => {
                    return Poll::Ready(Err(libc::EISCONN));
                }
                Ok(_) | Err(libc::EISCONN) => return Poll::Ready(self.watch_now()),
                Err(libc::EINPROGRESS | libc::EALREADY | libc::EINTR) => {}
                Err(errno) => return Poll::Ready(Err(self.why_not_connected(errno))),
            }
            if let Err(errno) = self.watch_now() {
                return Poll::Ready(Err(errno));
            }
            is_first = false;
            let in_vain = match before {
                Ok(seen) => seen.and_then(|seen| self.drained(seen)),
                Err(errno) => return Poll::Ready(Err(errno)),
            };
            match ready!(self.poll_ready_after(cx, Interest::WRITABLE, in_vain)) {
                Ok(_) => {}
                Err(errno) => return Poll::Ready(Err(errno)),
            }
        }
    }

    /// # Safety
    /// `address` has `len` readable bytes.
    unsafe fn connect_now(self, address: *const libc::sockaddr, len: libc::socklen_t) -> Attempted {
        let _in_use = self.enter()?;
        let failed = self.why_failed();
        // SAFETY: the caller says so; the descriptor is kept open by our use.
        let result = attempted(unsafe { libc::connect(self.fd(), address, len) } as isize);
        // With TCP, 0 is said to who asks again and finds it connected.
        if result == Err(libc::EINPROGRESS) || result.is_ok() && !self.has(traits::TCP) {
            self.begins(failed);
        }
        result
    }

    /// True for a listener, which the kernel calls connected as well.
    fn listens(self) -> bool {
        self.option(libc::SOL_SOCKET, libc::SO_ACCEPTCONN) == Ok(1)
    }

    /// Why a connect failed. The kernel tells of it once, and may have told a send that waited for the connection.
    fn why_not_connected(self, errno: Errno) -> Errno {
        match (errno, self.why_failed()) {
            (libc::ECONNABORTED, failed) if !matches!(failed, 0 | libc::EPIPE | libc::ECANCELED) => failed,
            _ => errno,
        }
    }
}
