//! Connecting: begun by the first call, whatever the engine, so that what is sent after it finds a connection, or waits for one.

use super::context::PollContext;
use super::io::{IoName, IoPoll, traits};
use super::transfer::{Attempted, attempted};
use crate::readiness::Interest;
use std::cell::Cell;
use std::task::{Poll, ready};

impl IoName {
    /// Connects. May be called again with the same address until it is ready. `asked` is 0 where the caller knows that the system was
    /// not asked before, so that a socket which is connected already is an error; it is set when it is.
    ///
    /// # Safety
    /// `address` has `len` readable bytes.
    pub(crate) unsafe fn poll_connect(
        self,
        cx: &PollContext,
        address: *const libc::sockaddr,
        len: libc::socklen_t,
        asked: &Cell<usize>,
    ) -> IoPoll<()> {
        if let Err(errno) = self.check_direct() {
            return Poll::Ready(Err(errno));
        }
        loop {
            if let Some(errno) = ready!(self.poll_dropped(cx)) {
                return Poll::Ready(Err(self.why_in_full(errno)));
            }
            let is_first = asked.replace(1) == 0;
            // What is seen before the call cannot be the answer to it. An operation waits for more than was registered.
            let before = match cx.is_operation() {
                true => Ok(self.try_ready_for_op(Interest::WRITABLE)),
                false => self.try_ready(Interest::WRITABLE),
            };
            // SAFETY: the caller says so.
            match unsafe { self.connect_now(address, len) } {
                Err(libc::EISCONN) if is_first || self.listens() => {
                    return Poll::Ready(Err(libc::EISCONN));
                }
                Ok(_) | Err(libc::EISCONN) => return Poll::Ready(self.watch_now()),
                Err(libc::EINPROGRESS | libc::EALREADY | libc::EINTR) => {}
                Err(errno) => match self.why_in_full(errno) {
                    errno if self.drops_waiting(errno) => continue,
                    errno => return Poll::Ready(Err(errno)),
                },
            }
            if let Err(errno) = self.watch_now() {
                return Poll::Ready(Err(errno));
            }
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
        let (failed, noted) = (self.why_failed(), self.take_refusal());
        // SAFETY: the caller says so; the descriptor is kept open by our use.
        let result = attempted(unsafe { libc::connect(self.fd(), address, len) } as isize);
        // With TCP, 0 is said to who asks again and finds it connected.
        if result == Err(libc::EINPROGRESS) || result.is_ok() && !self.has(traits::TCP) {
            self.begins(failed);
        } else {
            self.put_refusal_back(noted);
        }
        result
    }

    /// True for a listener, which the kernel calls connected as well.
    fn listens(self) -> bool {
        self.option(libc::SOL_SOCKET, libc::SO_ACCEPTCONN) == Ok(1)
    }
}
