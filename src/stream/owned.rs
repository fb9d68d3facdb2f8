//! Streams for use in Rust.

use super::{Channel, Errno, StreamOptions};
use crate::runtime::{Io, IoPoll, PollContext};
use std::future::poll_fn;
use std::io;
use std::ops::{Deref, DerefMut};
use std::task::{Context, Poll};

/// A buffered reader and writer over a descriptor that it owns. What is written is sent when the buffer is full, by
/// [`flush`](Self::flush), and before a read waits.
///
/// Its futures are for tasks of a runtime, and are polled by the task itself: with another waker than the task's they fail.
pub struct Stream {
    // Dropped before the descriptor.
    pub(super) channel: Channel,
    io: Io,
}

impl Stream {
    /// Makes a stream. On failure the descriptor is closed.
    pub fn new(io: Io, options: &StreamOptions) -> io::Result<Self> {
        let name = io.name().map_err(io::Error::from_raw_os_error)?;
        let channel = Channel::new(name, options).map_err(io::Error::from_raw_os_error)?;
        Ok(Self { channel, io })
    }

    /// The descriptor, when nothing reads from it any more. What was read and not taken, or written and not sent, is lost.
    pub async fn into_io(mut self) -> Io {
        // Outside of tasks nothing reads by itself.
        let _ = poll_fn(|context| in_task(context, |cx| self.channel.reader.poll_end(cx).map(Ok))).await;
        self.io
    }

    /// Reads some bytes, at least one; 0 is the end.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|context| in_task(context, |cx| self.channel.poll_read(cx, buffer))).await
    }

    /// Reads the next line with its delimiter, which the last one may lack; an empty one is the end.
    pub async fn read_until(&mut self, delimiter: u8) -> io::Result<&[u8]> {
        let len = poll_fn(|context| in_task(context, |cx| self.channel.poll_until(cx, delimiter))).await?;
        Ok(&self.channel.front()[..len])
    }

    /// Waits until so many bytes, or all that come before the end, can be looked at.
    pub async fn fill(&mut self, at_least: usize) -> io::Result<&[u8]> {
        poll_fn(|context| in_task(context, |cx| self.channel.poll_fill(cx, at_least))).await?;
        Ok(self.channel.front())
    }

    /// Takes bytes that were looked at. There must be so many.
    pub fn consume(&mut self, n: usize) -> io::Result<()> {
        self.channel.consume(n).map_err(io::Error::from_raw_os_error)
    }

    /// Fills the buffer. If the end comes first, or the future is dropped, what was read is read again by the next call.
    pub async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        poll_fn(|context| in_task(context, |cx| self.channel.poll_exact(cx, buffer))).await.map(drop)
    }

    /// Writes all bytes. If the future is dropped before its end some of them were written.
    pub async fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        let mut writing = Writing(self);
        poll_fn(|context| in_task(context, |cx| writing.channel.poll_write(cx, data))).await.map(drop)
    }

    /// Sends what was written.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|context| in_task(context, |cx| self.channel.poll_flush(cx))).await
    }
}

/// Runs one poll in the context of the task that it is of.
fn in_task<T>(context: &Context<'_>, poll: impl FnOnce(&PollContext) -> IoPoll<T>) -> Poll<io::Result<T>> {
    let polled = PollContext::within(context, poll);
    polled.unwrap_or(Poll::Ready(Err(libc::EPERM))).map(|result| result.map_err(io_error))
}

fn io_error(errno: Errno) -> io::Error {
    match errno {
        libc::ENODATA => io::ErrorKind::UnexpectedEof.into(),
        errno => io::Error::from_raw_os_error(errno),
    }
}

/// A write that is over when it is dropped.
struct Writing<'a>(&'a mut Stream);

impl Deref for Writing<'_> {
    type Target = Stream;

    fn deref(&self) -> &Stream {
        self.0
    }
}

impl DerefMut for Writing<'_> {
    fn deref_mut(&mut self) -> &mut Stream {
        self.0
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.channel.writer.give_up();
    }
}
