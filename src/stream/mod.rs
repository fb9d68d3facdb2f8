//! Buffered streams: lines, whole messages and small writes over any descriptor.
//!
//! - `reader.rs`: what was read and not taken yet, and the calls that take it.
//! - `source.rs`: where it comes from: direct reads, or leased buffers of a ring.
//! - `writer.rs`: what was written and not sent yet.
//! - `owned.rs`: the same for Rust.
//!
//! A stream is one task's at a time. A call takes it for its length by a lock that nobody waits for, so that a second call
//! at the same time is an error, also from a waker that a call makes run.
//!
//! A read that is about to wait sends first what was written, so answers that belong together leave together, and none is
//! forgotten. While it waits, with nothing half read, it holds no buffer.

mod owned;
mod reader;
mod source;
#[cfg(all(test, not(loom)))]
mod tests;
mod writer;

pub use owned::Stream;

use crate::primitives::handle::Kind;
use crate::primitives::shelf::{Shelf, Use};
use crate::primitives::sync::{Mutex, process_static};
use crate::runtime::{IoName, IoPoll, PollContext, breaks_connection};
use reader::Reader;
use std::sync::Arc;
use std::task::Poll;
use writer::Writer;

/// A positive errno value.
type Errno = i32;

process_static! {
    static STREAMS: Shelf<Mutex<Channel>> = Shelf::new(Kind::Stream);
}

/// How much a stream buffers.
#[derive(Clone, Copy, Debug)]
pub struct StreamOptions {
    /// How much is read at a time.
    pub read_buffer: usize,
    /// The longest line, and the most that can be looked at.
    pub limit: usize,
    /// How much may be written without being sent.
    pub write_buffer: usize,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self { read_buffer: 4 << 10, limit: 64 << 10, write_buffer: 16 << 10 }
    }
}

/// Both directions of a stream.
pub(crate) struct Channel {
    io: IoName,
    reader: Reader,
    writer: Writer,
}

impl Channel {
    fn new(io: IoName, options: &StreamOptions) -> Result<Self, Errno> {
        io.check_direct()?;
        Ok(Self { io, reader: Reader::new(options), writer: Writer::new(options) })
    }

    /// Reads at least one byte, if the buffer has room for one. 0: the end.
    pub(crate) fn poll_read(&mut self, cx: &PollContext, buffer: &mut [u8]) -> IoPoll<usize> {
        self.read(cx, |reader, io| reader.poll_read(cx, io, buffer))
    }

    /// Fills the buffer, over as many polls as that takes.
    pub(crate) fn poll_exact(&mut self, cx: &PollContext, buffer: &mut [u8]) -> IoPoll<usize> {
        self.read(cx, |reader, io| reader.poll_exact(cx, io, buffer))
    }

    /// The length of the next line, which `given` shows then. 0: the end.
    pub(crate) fn poll_until(&mut self, cx: &PollContext, delimiter: u8) -> IoPoll<usize> {
        self.read(cx, |reader, io| reader.poll_until(cx, io, delimiter))
    }

    /// Sees to it that so many bytes can be looked at. Fewer: the end.
    pub(crate) fn poll_fill(&mut self, cx: &PollContext, at_least: usize) -> IoPoll<usize> {
        self.read(cx, |reader, io| reader.poll_fill(cx, io, at_least))
    }

    /// Bytes at the front, in place: a line, or what can be looked at.
    pub(crate) fn front(&self) -> &[u8] {
        self.reader.front()
    }

    /// Takes bytes that were looked at.
    pub(crate) fn consume(&mut self, n: usize) -> Result<(), Errno> {
        self.reader.take_front(n)
    }

    /// Takes all bytes, over as many polls as that takes.
    pub(crate) fn poll_write(&mut self, cx: &PollContext, data: &[u8]) -> IoPoll<usize> {
        let written = self.writer.poll_write(cx, self.io, data);
        self.explain(written)
    }

    /// Sends what was written.
    pub(crate) fn poll_flush(&mut self, cx: &PollContext) -> IoPoll<()> {
        let flushed = self.writer.poll_flush(cx, self.io);
        self.explain(flushed)
    }

    fn read(&mut self, cx: &PollContext, call: impl FnOnce(&mut Reader, IoName) -> IoPoll<usize>) -> IoPoll<usize> {
        // What waits for its turn need not be sent now.
        if !cx.can_spend() {
            return Poll::Pending;
        }
        let polled = call(&mut self.reader, self.io);
        match polled {
            Poll::Pending => {
                self.reader.rest();
                // What could not be sent is gone, so this is told once.
                match self.writer.has_unsent().then(|| self.poll_flush(cx)) {
                    Some(Poll::Ready(Err(libc::EBUSY))) if self.io.waits_for_queue(cx) => Poll::Pending,
                    Some(Poll::Ready(Err(errno))) => Poll::Ready(Err(errno)),
                    _ => Poll::Pending,
                }
            }
            Poll::Ready(Err(errno)) => {
                // A connection that broke is broken for both directions.
                if self.reader.broken_by() == Some(errno) {
                    self.writer.fail(errno);
                }
                polled
            }
            ready => ready,
        }
    }

    /// Why a connection broke is told by the kernel once. If the reader was told, the writer sees no more than that.
    /// If the writer was told, the reader sees an end.
    fn explain<T>(&mut self, polled: IoPoll<T>) -> IoPoll<T> {
        match polled {
            Poll::Ready(Err(libc::EPIPE)) => {
                Poll::Ready(Err(self.writer.fail(self.reader.broken_by().unwrap_or(libc::EPIPE))))
            }
            Poll::Ready(Err(errno)) if breaks_connection(errno) => {
                self.reader.was_broken(errno);
                polled
            }
            polled => polled,
        }
    }
}

/// True for an error after which the stream is no more, as opposed to one of the call.
fn is_final(errno: Errno) -> bool {
    !matches!(errno, libc::EINVAL | libc::EPERM | libc::EBUSY | libc::ENOMEM | libc::ENOBUFS)
}

/// The use of a stream, which lives as long as this.
pub(crate) struct StreamUse(Use<Mutex<Channel>>);

/// Makes a stream over a descriptor, which stays the caller's.
pub(crate) fn new_stream(io: IoName, options: &StreamOptions) -> Result<u64, Errno> {
    STREAMS.put(Arc::new(Mutex::new(Channel::new(io, options)?))).ok_or(libc::ENOMEM)
}

/// Gives up the program's reference. What was read and not taken, or written and not sent, is lost.
pub(crate) fn free_stream(raw: u64) -> Result<(), Errno> {
    STREAMS.remove(raw).map(drop).ok_or(libc::EBADF)
}

impl StreamUse {
    /// Becomes a user of the stream.
    pub(crate) fn enter(raw: u64) -> Result<Self, Errno> {
        STREAMS.enter(raw).map(Self).ok_or(libc::EBADF)
    }

    /// Runs `f` with the stream. `EBUSY`: another call has it.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Channel) -> R) -> Result<R, Errno> {
        let mut channel = self.0.try_lock().ok_or(libc::EBUSY)?;
        Ok(f(&mut channel))
    }
}
