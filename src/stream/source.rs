//! Where a reader gets its bytes from.

use super::Errno;
use crate::runtime::{Delivered, IoName, IoPoll, Lease, PollContext, Receiver};
use std::task::{Poll, ready};

/// Chosen by the first read of a connection, and again by the first after a receiver was over.
#[derive(Default)]
pub(super) enum Source {
    #[default]
    Open,
    /// Reads into the reader's own memory.
    Direct,
    /// Leases of what a ring received. The receiver is the task's that began it; when another task reads on, it is ended,
    /// what it left is read, and the next one is that task's.
    Leased(Receiver),
}

impl Source {
    /// True if the reader is to read directly.
    pub(super) fn is_direct(&mut self, cx: &PollContext, io: IoName) -> Result<bool, Errno> {
        if let Self::Open = self {
            io.can_poll(cx, false)?;
            if io.awaits_connection() {
                // A ring would say that there is none, where a read waits for it.
                return Ok(true);
            }
            *self = Receiver::begin(cx, io)?.map_or(Self::Direct, Self::Leased);
        }
        Ok(matches!(self, Self::Direct))
    }

    /// What was received next. `None`: the end.
    pub(super) fn poll_lease(&mut self, cx: &PollContext) -> IoPoll<Option<Lease>> {
        let Self::Leased(receiver) = self else { return Poll::Ready(Err(libc::ECANCELED)) };
        match ready!(receiver.poll(cx)) {
            Err(errno) => Poll::Ready(Err(errno)),
            Ok(Delivered::Data(lease)) => Poll::Ready(Ok(Some(lease))),
            Ok(Delivered::Last(outcome)) => {
                *self = Self::Open;
                Poll::Ready(if outcome < 0 { Err(outcome.unsigned_abs() as Errno) } else { Ok(None) })
            }
        }
    }

    /// Ends the receiver, and waits until others may read.
    pub(super) fn poll_end(&mut self, cx: &PollContext) -> Poll<()> {
        while let Self::Leased(receiver) = self {
            receiver.end();
            if ready!(self.poll_lease(cx)).is_err() && matches!(self, Self::Leased(_)) {
                break;
            }
        }
        Poll::Ready(())
    }

    /// What broke the connection, if the receiver was told and nobody asked yet.
    pub(super) fn broken_by(&self) -> Option<Errno> {
        let Self::Leased(receiver) = self else { return None };
        let outcome = receiver.outcome().filter(|&outcome| outcome < 0)?;
        Some(outcome.unsigned_abs() as Errno).filter(|&errno| errno != libc::ECANCELED)
    }
}
