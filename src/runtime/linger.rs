//! The end of a conversation that the peer is to hear all of.

use super::context::PollContext;
use super::io::{IoName, IoPoll};
use super::registration::said_too_early;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::task::{Poll, ready};

/// How much is read at once, to be dropped.
const PIECE: usize = 16 * 1024;

impl IoName {
    /// Waits until what is queued was sent, tells the peer that nothing follows, and drops what it still sends, until its end
    /// or more than `left`, which counts down.
    ///
    /// Telling it again changes nothing, so that there is no need to know whether that was done.
    pub(crate) fn poll_linger(self, cx: &PollContext, left: &mut usize) -> IoPoll<()> {
        if let Err(errno) = self.can_poll(cx, false) {
            return Poll::Ready(Err(errno));
        }
        if let Err(errno) = ready!(self.poll_flushed(cx, 0)) {
            return Poll::Ready(Err(errno));
        }
        let told = self.with_fd(|fd| match self.shut_down(libc::SHUT_WR) {
            // A connection that is over says so, too: the read tells how it ended.
            Err(libc::ENOTCONN) if said_too_early(fd.as_raw_fd()).is_empty() => Ok(0),
            told => told,
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
        // Whether that was all is told by the end, or by one byte more, which stays where it is.
        // SAFETY: as above.
        match ready!(unsafe { self.poll_recv(cx, piece.as_mut_ptr().cast(), 1, libc::MSG_PEEK) }) {
            Ok(0) => Poll::Ready(Ok(())),
            Ok(_) => Poll::Ready(Err(libc::EMSGSIZE)),
            Err(errno) => Poll::Ready(Err(errno)),
        }
    }
}
