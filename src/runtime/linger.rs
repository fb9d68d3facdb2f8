//! The end of a conversation that the peer is to hear all of.

use super::context::PollContext;
use super::io::{IoName, IoPoll};
use super::registration::is_fresh;
use super::transfer::attempted;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::task::{Poll, ready};

/// How much is read at once, to be dropped.
const PIECE: usize = 16 * 1024;

impl IoName {
    /// Waits until what is queued was sent, tells the peer that nothing follows, and drops what it still sends, until its end
    /// or that of `left`, which counts down.
    ///
    /// Telling it again changes nothing, so that there is no need to know whether that was done.
    pub(crate) fn poll_linger(self, cx: &PollContext, left: &mut usize) -> IoPoll<()> {
        if let Err(errno) = self.can_poll(cx, false) {
            return Poll::Ready(Err(errno));
        }
        if let Err(errno) = ready!(self.poll_flush(cx, 0)) {
            return Poll::Ready(Err(errno));
        }
        let told = self.with_fd(|fd| {
            // Who sent the last of what was queued may not have looked up yet.
            self.will_end();
            // SAFETY: a descriptor that is in use may be shut down.
            match attempted(unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_WR) } as isize) {
                // A connection that is over says so, too: the read tells how it ended.
                Err(libc::ENOTCONN) if !is_fresh(fd.as_raw_fd()) => Ok(0),
                told => told,
            }
        });
        if let Ok(Err(errno)) | Err(errno) = told {
            return Poll::Ready(Err(errno));
        }
        let mut piece = [const { MaybeUninit::<u8>::uninit() }; PIECE];
        while *left > 0 {
            // SAFETY: as many bytes are writable.
            match ready!(unsafe { self.poll_read(cx, piece.as_mut_ptr().cast(), PIECE.min(*left)) }) {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(read) => *left -= read,
                Err(errno) => return Poll::Ready(Err(errno)),
            }
        }
        Poll::Ready(Err(libc::EMSGSIZE))
    }
}
