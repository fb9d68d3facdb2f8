//! What was written and not sent yet.

use super::{Errno, StreamOptions, is_final};
use crate::runtime::{IoName, IoPoll, PollContext, Poller};
use std::task::{Poll, ready};

/// See the module.
pub(super) struct Writer {
    buffered: Vec<u8>,
    /// How many bytes of `buffered` were sent.
    sent: usize,
    large: Option<Large>,
    /// Why nothing can be sent any more.
    failed: Option<Errno>,
    size: usize,
}

/// A call of which a part was sent. What was buffered before it is gone by then.
struct Large {
    by: Poller,
    data: (usize, usize),
    sent: usize,
}

impl Writer {
    pub(super) fn new(options: &StreamOptions) -> Self {
        Self { buffered: Vec::new(), sent: 0, large: None, failed: None, size: options.write_buffer }
    }

    /// Takes all bytes: keeps them, or, when there is no room, sends them behind those that were kept.
    pub(super) fn poll_write(&mut self, cx: &PollContext, io: IoName, data: &[u8]) -> IoPoll<usize> {
        if let Err(errno) = self.check_whole().and_then(|()| self.check_direction(cx, io)) {
            return Poll::Ready(Err(errno));
        }
        let identity = (data.as_ptr().addr(), data.len());
        let mut done = match &self.large {
            Some(large) if large.data == identity && large.by == cx.poller() => large.sent,
            Some(_) => return Poll::Ready(Err(libc::EBUSY)),
            None => 0,
        };
        loop {
            let (held, rest) = (&self.buffered[self.sent..], &data[done..]);
            if held.len() + rest.len() <= self.size {
                let kept = self.keep(rest);
                self.large = None;
                return Poll::Ready(kept.map(|()| data.len()));
            }
            let held = held.len();
            match ready!(self.poll_send(cx, io, rest)) {
                Ok(n) if n > held => {
                    done += n - held;
                    self.large = Some(Large { by: cx.poller(), data: identity, sent: done });
                }
                Ok(_) => {}
                Err(errno) => return Poll::Ready(Err(errno)),
            }
        }
    }

    /// Why nothing can follow what was sent. If a call was cut, and whoever made it has ended, its rest never comes.
    fn check_whole(&mut self) -> Result<(), Errno> {
        if self.large.as_ref().is_some_and(|large| large.by.is_over()) {
            self.fail(libc::EPIPE);
        }
        self.failed.map_or(Ok(()), Err)
    }

    /// Nothing is kept that can never be sent. What is queued before it is only a matter of time.
    fn check_direction(&mut self, cx: &PollContext, io: IoName) -> Result<(), Errno> {
        match io.can_poll(cx, true) {
            Ok(()) | Err(libc::EBUSY) => Ok(()),
            Err(errno) => Err(self.fail(errno)),
        }
    }

    /// True if something was kept.
    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.buffered.len()
    }

    /// Sends everything that was kept.
    pub(super) fn poll_flush(&mut self, cx: &PollContext, io: IoName) -> IoPoll<()> {
        if let Err(errno) = self.check_whole() {
            return Poll::Ready(Err(errno));
        }
        while self.has_unsent() {
            if let Err(errno) = ready!(self.poll_send(cx, io, &[])) {
                return Poll::Ready(Err(errno));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends some of what was kept and of what comes after it, one of which is not empty.
    fn poll_send(&mut self, cx: &PollContext, io: IoName, next: &[u8]) -> IoPoll<usize> {
        if let Err(errno) = io.can_poll(cx, true) {
            return Poll::Ready(Err(self.fail(errno)));
        }
        let held = &self.buffered[self.sent..];
        let sent = if held.is_empty() || next.is_empty() {
            let all = if held.is_empty() { next } else { held };
            // SAFETY: the bytes are ours, or the caller's, to be read.
            unsafe { io.poll_write(cx, all.as_ptr(), all.len()) }
        } else {
            let part = |bytes: &[u8]| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            let parts = [part(held), part(next)];
            // SAFETY: as above.
            unsafe { io.poll_writev(cx, parts.as_ptr(), 2) }
        };
        let held = held.len();
        match ready!(sent) {
            // No descriptor does that; going on would be for ever.
            Ok(0) => Poll::Ready(Err(self.fail(libc::EIO))),
            Err(errno) => Poll::Ready(Err(self.fail(errno))),
            Ok(n) => {
                self.sent += n.min(held);
                if self.sent == self.buffered.len() {
                    // Empty, it holds no memory.
                    self.buffered = Vec::new();
                    self.sent = 0;
                }
                Poll::Ready(Ok(n))
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        if self.buffered.capacity() - self.buffered.len() < bytes.len() {
            self.buffered.drain(..self.sent);
            self.sent = 0;
            self.buffered.try_reserve(bytes.len()).map_err(|_| libc::ENOMEM)?;
        }
        self.buffered.extend_from_slice(bytes);
        Ok(())
    }

    /// Notes an error after which nothing can be sent, and returns it.
    pub(super) fn fail(&mut self, errno: Errno) -> Errno {
        if is_final(errno) {
            self.failed = Some(errno);
            (self.buffered, self.sent, self.large) = (Vec::new(), 0, None);
        }
        errno
    }

    /// Ends a call that is not made again: the rest of its bytes is not sent.
    pub(super) fn give_up(&mut self) {
        self.large = None;
    }
}

#[cfg(all(test, not(loom)))]
impl Writer {
    /// How many bytes of memory it has.
    pub(super) fn held(&self) -> usize {
        self.buffered.capacity()
    }
}
