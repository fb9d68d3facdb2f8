//! What was read and not taken yet.
//!
//! The bytes are those of the reader's own memory, and after them those of a lease. A line within a lease is given in
//! place; one that goes beyond it is put together in the own memory. A reader that waits has no lease, so it never keeps
//! from others what it does not need.

use super::source::Source;
use super::{Errno, StreamOptions, is_final};
use crate::runtime::{IoName, IoPoll, Lease, PollContext};
use std::task::{Poll, ready};

/// See the module.
pub(super) struct Reader {
    own: Vec<u8>,
    /// How many bytes of `own` were taken.
    start: usize,
    lease: Option<Lease>,
    /// How many bytes of the lease were taken.
    at: usize,
    /// How many bytes at the front the program has as a line: they are taken by its next call.
    given: usize,
    /// How many bytes at the front are known not to have this delimiter.
    searched: usize,
    delimiter: u8,
    /// The end of the stream, or what broke it.
    end: Option<Result<(), Errno>>,
    /// What the writer was told that broke the connection, so what looks like its end is none.
    broken: Option<Errno>,
    source: Source,
    chunk: usize,
    limit: usize,
}

/// The bytes of a lease from `at` on.
fn rest_of(lease: &Option<Lease>, at: usize) -> &[u8] {
    let Some(lease) = lease else { return &[] };
    let (start, len) = lease.bytes();
    // SAFETY: the lease is its owner's, and its bytes stay where they are and as they are as long as it lives.
    let bytes = unsafe { std::slice::from_raw_parts(start, len as usize) };
    &bytes[at..]
}

impl Reader {
    pub(super) fn new(options: &StreamOptions) -> Self {
        Self {
            own: Vec::new(),
            start: 0,
            lease: None,
            at: 0,
            given: 0,
            searched: 0,
            delimiter: 0,
            end: None,
            broken: None,
            source: Source::Open,
            chunk: options.read_buffer.max(1),
            limit: options.limit,
        }
    }

    // What is there.

    fn own_rest(&self) -> &[u8] {
        &self.own[self.start..]
    }

    fn lease_rest(&self) -> &[u8] {
        rest_of(&self.lease, self.at)
    }

    fn available(&self) -> usize {
        self.own_rest().len() + self.lease_rest().len()
    }

    /// Bytes at the front, as many as are in one place.
    pub(super) fn front(&self) -> &[u8] {
        if self.own_rest().is_empty() { self.lease_rest() } else { self.own_rest() }
    }

    /// Takes bytes from the front, of which there are enough.
    fn take(&mut self, n: usize) {
        self.searched = self.searched.saturating_sub(n);
        let own = n.min(self.own_rest().len());
        self.start += own;
        if self.start == self.own.len() {
            self.own.clear();
            self.start = 0;
        }
        self.leave_lease(n - own);
    }

    /// Goes on in the lease, which is given back at its end.
    fn leave_lease(&mut self, n: usize) {
        self.at += n;
        if self.lease_rest().is_empty() {
            self.lease = None;
            self.at = 0;
        }
    }

    /// Brings the first `n` bytes, which are there, into one place.
    fn gather(&mut self, n: usize) -> Result<(), Errno> {
        let own = self.own_rest().len();
        if n <= own || own == 0 && self.lease.is_some() {
            return Ok(());
        }
        self.take_over(n - own)
    }

    /// Moves bytes of the lease behind the own ones.
    fn take_over(&mut self, n: usize) -> Result<(), Errno> {
        self.reserve(n)?;
        self.own.extend_from_slice(&rest_of(&self.lease, self.at)[..n]);
        self.leave_lease(n);
        Ok(())
    }

    /// Makes room behind the own bytes. What was taken is moved away first; beyond that the memory at least doubles.
    fn reserve(&mut self, n: usize) -> Result<(), Errno> {
        if self.own.capacity() - self.own.len() < n {
            self.own.drain(..self.start);
            self.start = 0;
            self.own.try_reserve(n).map_err(|_| libc::ENOMEM)?;
        }
        Ok(())
    }

    /// Ends what reads for it, so that others may.
    pub(super) fn poll_end(&mut self, cx: &PollContext) -> Poll<()> {
        self.source.poll_end(cx)
    }

    /// Before it waits: without bytes there is no memory.
    pub(super) fn rest(&mut self) {
        if self.own.is_empty() {
            self.own = Vec::new();
        }
    }

    // Getting more.

    /// Ends what the call before gave.
    fn begin(&mut self) {
        let given = std::mem::take(&mut self.given);
        self.take(given);
    }

    /// Gets more, behind what is there. False: there will never be more.
    fn poll_more(&mut self, cx: &PollContext, io: IoName) -> IoPoll<bool> {
        if let Some(end) = self.end {
            return Poll::Ready(end.map(|()| false));
        }
        let got = match ready!(self.poll_source(cx, io)) {
            // The receiver was the task's before, or the descriptor was closed: the next one tells.
            Err(libc::ECANCELED) => ready!(self.poll_source(cx, io)),
            got => got,
        };
        Poll::Ready(self.note_end(got, false))
    }

    /// Keeps an end, which reads as `end`, or what broke the stream.
    fn note_end<T: PartialEq>(&mut self, got: Result<T, Errno>, end: T) -> Result<T, Errno> {
        let got = got.and_then(|got| self.broken.filter(|_| got == end).map_or(Ok(got), Err));
        match &got {
            Ok(got) if *got == end => self.end = Some(Ok(())),
            Err(errno) if is_final(*errno) => self.end = Some(Err(*errno)),
            _ => {}
        }
        got
    }

    /// The writer was told why the connection broke.
    pub(super) fn was_broken(&mut self, errno: Errno) {
        self.broken = Some(errno);
    }

    fn poll_source(&mut self, cx: &PollContext, io: IoName) -> IoPoll<bool> {
        match self.source.is_direct(cx, io) {
            Err(errno) => Poll::Ready(Err(errno)),
            Ok(true) => self.poll_direct(cx, io),
            Ok(false) => {
                let rest = self.lease_rest().len();
                if rest > 0
                    && let Err(errno) = self.take_over(rest)
                {
                    return Poll::Ready(Err(errno));
                }
                let leased = ready!(self.source.poll_lease(cx));
                Poll::Ready(leased.map(|lease| {
                    self.lease = lease;
                    self.lease.is_some()
                }))
            }
        }
    }

    fn poll_direct(&mut self, cx: &PollContext, io: IoName) -> IoPoll<bool> {
        let len = if self.own.capacity() == 0 {
            self.chunk
        } else {
            if let Err(errno) = self.reserve(self.chunk.div_ceil(2)) {
                return Poll::Ready(Err(errno));
            }
            self.own.spare_capacity_mut().len()
        };
        let read = ready!(io.poll_read_by(cx, len, |reading| {
            // The memory is made when there is something to read.
            self.reserve(len)?;
            // SAFETY: the room is ours, and as long.
            unsafe { reading.read(self.own.spare_capacity_mut().as_mut_ptr().cast()) }
        }));
        Poll::Ready(read.map(|n| {
            // SAFETY: the kernel wrote so many bytes there.
            unsafe { self.own.set_len(self.own.len() + n) };
            n > 0
        }))
    }

    /// Moves bytes into a buffer: what is there, or else what comes next; much is read there at once. 0: the end.
    fn poll_into(&mut self, cx: &PollContext, io: IoName, buffer: &mut [u8]) -> IoPoll<usize> {
        if self.available() == 0 && self.end.is_none() && buffer.len() >= self.chunk {
            match self.source.is_direct(cx, io) {
                Err(errno) => return Poll::Ready(Err(errno)),
                Ok(false) => {}
                Ok(true) => {
                    // SAFETY: the buffer is the caller's, to be written.
                    let read = ready!(unsafe { io.poll_read(cx, buffer.as_mut_ptr(), buffer.len()) });
                    return Poll::Ready(self.note_end(read, 0));
                }
            }
        }
        if self.available() == 0 {
            match ready!(self.poll_more(cx, io)) {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(Ok(0)),
                Err(errno) => return Poll::Ready(Err(errno)),
            }
        } else {
            cx.spend();
        }
        let mut moved = 0;
        while moved < buffer.len() && self.available() > 0 {
            let part = self.front();
            let n = part.len().min(buffer.len() - moved);
            buffer[moved..moved + n].copy_from_slice(&part[..n]);
            self.take(n);
            moved += n;
        }
        Poll::Ready(Ok(moved))
    }

    // The calls.

    pub(super) fn poll_read(&mut self, cx: &PollContext, io: IoName, buffer: &mut [u8]) -> IoPoll<usize> {
        self.begin();
        if buffer.is_empty() { Poll::Ready(Ok(0)) } else { self.poll_into(cx, io, buffer) }
    }

    /// Between two polls the buffer is the caller's, which may have ended: what came is kept here until all of it has, and is
    /// whose call comes next.
    pub(super) fn poll_exact(&mut self, cx: &PollContext, io: IoName, buffer: &mut [u8]) -> IoPoll<usize> {
        self.begin();
        let kept = match self.available() {
            there if there < buffer.len() => match self.set_aside() {
                Ok(kept) => kept,
                Err(errno) => return Poll::Ready(Err(errno)),
            },
            _ => Vec::new(),
        };
        let mut filled = kept.len();
        while filled < buffer.len() {
            let stopped = match self.poll_into(cx, io, &mut buffer[filled..]) {
                Poll::Ready(Ok(0)) => Poll::Ready(Err(libc::ENODATA)),
                Poll::Ready(Ok(n)) => {
                    filled += n;
                    continue;
                }
                stopped => stopped,
            };
            return self.put_back(kept, &buffer[..filled]).map_or_else(|errno| Poll::Ready(Err(errno)), |()| stopped);
        }
        buffer[..kept.len()].copy_from_slice(&kept);
        Poll::Ready(Ok(filled))
    }

    /// Takes all bytes out that there are.
    fn set_aside(&mut self) -> Result<Vec<u8>, Errno> {
        self.take_over(self.lease_rest().len())?;
        let mut bytes = std::mem::take(&mut self.own);
        bytes.drain(..std::mem::take(&mut self.start));
        self.searched = 0;
        Ok(bytes)
    }

    /// Makes bytes the next ones again, after the last that there was: those that were set aside, and all that came since.
    fn put_back(&mut self, mut aside: Vec<u8>, all: &[u8]) -> Result<(), Errno> {
        let since = &all[aside.len()..];
        let room = aside.try_reserve(since.len());
        if room.is_ok() {
            aside.extend_from_slice(since);
        } else {
            // What came since is lost, and nothing may seem to follow what came before.
            self.end = Some(Err(libc::ENOMEM));
        }
        self.own = aside;
        room.map_err(|_| libc::ENOMEM)
    }

    pub(super) fn poll_until(&mut self, cx: &PollContext, io: IoName, delimiter: u8) -> IoPoll<usize> {
        self.begin();
        if self.delimiter != delimiter {
            (self.delimiter, self.searched) = (delimiter, 0);
        }
        let mut waited = false;
        loop {
            let found = self.search();
            let line = found.unwrap_or(self.available());
            if line > self.limit {
                return Poll::Ready(Err(libc::EMSGSIZE));
            }
            let more = match found {
                Some(_) => false,
                None => match ready!(self.poll_more(cx, io)) {
                    Ok(more) => more,
                    Err(errno) => return Poll::Ready(Err(errno)),
                },
            };
            if !more {
                if !waited {
                    cx.spend();
                }
                return Poll::Ready(self.give(line));
            }
            waited = true;
        }
    }

    /// Gives the first bytes to the program, which has them until its next call.
    fn give(&mut self, line: usize) -> Result<usize, Errno> {
        self.gather(line)?;
        self.given = line;
        Ok(line)
    }

    /// The length of the first line, its delimiter included. Looks only at what is new.
    fn search(&mut self) -> Option<usize> {
        let own = self.own_rest().len();
        let found = if self.searched < own {
            find(self.delimiter, &self.own_rest()[self.searched..]).map(|at| self.searched + at)
        } else {
            None
        };
        let found = found.or_else(|| {
            let skipped = self.searched.saturating_sub(own);
            find(self.delimiter, &self.lease_rest()[skipped..]).map(|at| own + skipped + at)
        });
        self.searched = found.unwrap_or(self.available());
        found.map(|at| at + 1)
    }

    pub(super) fn poll_fill(&mut self, cx: &PollContext, io: IoName, at_least: usize) -> IoPoll<usize> {
        self.begin();
        if at_least > self.limit {
            return Poll::Ready(Err(libc::EMSGSIZE));
        }
        let mut waited = false;
        while self.available() < at_least.max(1) {
            waited = true;
            match ready!(self.poll_more(cx, io)) {
                Ok(true) => {}
                Ok(false) => break,
                Err(errno) => return Poll::Ready(Err(errno)),
            }
        }
        if !waited {
            cx.spend();
        }
        let wanted = at_least.min(self.available());
        Poll::Ready(self.gather(wanted).map(|()| self.front().len()))
    }

    /// Takes bytes that the program looked at.
    pub(super) fn take_front(&mut self, n: usize) -> Result<(), Errno> {
        self.begin();
        if n > self.available() {
            return Err(libc::EINVAL);
        }
        self.take(n);
        Ok(())
    }

    /// What broke the connection, as far as the reader knows.
    pub(super) fn broken_by(&self) -> Option<Errno> {
        match self.end {
            Some(end) => end.err(),
            None => self.source.broken_by(),
        }
    }
}

#[cfg(all(test, not(loom)))]
impl Reader {
    /// How many bytes of memory it has, leased or its own.
    pub(super) fn held(&self) -> usize {
        self.own.capacity() + self.lease_rest().len()
    }

    pub(super) fn searched(&self) -> usize {
        self.searched
    }
}

/// Where a byte is.
fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    // SAFETY: the slice is readable.
    let found = unsafe { libc::memchr(bytes.as_ptr().cast(), byte.into(), bytes.len()) };
    (!found.is_null()).then(|| found.addr() - bytes.as_ptr().addr())
}
