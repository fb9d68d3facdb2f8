//! Splices: between two descriptors, waiting for both; and into a stream, in the order of its sends.
//!
//! A splice into what keeps an order is queued like a send, and made by whoever has the baton (`holder.rs`). It is over with
//! the first bytes that move. Where nothing can be moved, the pump waits for its source as well, and those behind wait, too:
//! whoever gives the order up cancels the splice. Its turn is the holder's only for the length of a try.

use super::super::context::PollContext;
use super::super::io::{Errno, IoName, IoPoll, traits};
use super::super::sigpipe::without_sigpipe;
use super::super::transfer::{Attempted, attempted};
use super::holder::Holder;
use super::parcel::Owed;
use super::progress::told_by_closed;
use super::request::{CURRENT, Fds};
use crate::readiness::{Interest, Ready, ReadyEvent};
use std::cell::Cell;
use std::task::{Poll, ready};

/// No errno: the operation is to be done where it may block.
pub(super) const ON_A_THREAD: Errno = -1;

/// How often a splice is tried in a row.
const MOST_SPLICES: u32 = 4;

/// What splice(2) is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Splice {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) len: usize,
    pub(crate) flags: u32,
}

impl Splice {
    /// Moves bytes between descriptors, without waiting where one does not block.
    ///
    /// # Safety
    /// The descriptors stay open during the call.
    pub(super) unsafe fn call(&self, fds: Fds) -> Attempted {
        let (mut from_at, mut to_at) = (self.from as i64, self.to as i64);
        let place =
            |at: &mut i64, given: u64| if given == CURRENT { std::ptr::null_mut() } else { std::ptr::from_mut(at) };
        let (from_at, to_at) = (place(&mut from_at, self.from), place(&mut to_at, self.to));
        let flags = self.flags | libc::SPLICE_F_NONBLOCK;
        without_sigpipe(|| {
            // SAFETY: the caller says so; the offsets are on this stack.
            attempted(unsafe { libc::splice(fds.first, from_at, fds.second, to_at, self.len, flags) })
        })
    }

    /// Tries it without blocking, waiting for readiness; where it may wait for a disk, `ON_A_THREAD` says so.
    ///
    /// # Safety
    /// The descriptors stay open during the call.
    pub(super) unsafe fn poll(
        &self,
        from: IoName,
        to: Option<IoName>,
        cx: &PollContext,
        tried: &Cell<usize>,
    ) -> IoPoll<usize> {
        let Some(to) = to else { return Poll::Ready(Err(libc::EBADF)) };
        if !from.has(traits::FILE) && !to.has(traits::FILE) {
            // SAFETY: the caller says so.
            return unsafe { self.poll_between(from, to, cx) };
        }
        if tried.replace(1) != 0 {
            let ends = [(from, Interest::READABLE), (to, Interest::WRITABLE)];
            ready!(poll_ends(ends, ends.map(|(io, interest)| io.try_ready_for_op(interest)), cx))?;
        }
        Poll::Ready(Err(ON_A_THREAD))
    }

    /// The same where neither end is a file.
    ///
    /// # Safety
    /// The descriptors stay open during the call.
    unsafe fn poll_between(&self, from: IoName, to: IoName, cx: &PollContext) -> IoPoll<usize> {
        let fds = Fds { first: from.fd(), second: to.fd() };
        let ends = [(from, Interest::READABLE), (to, Interest::WRITABLE)];
        for _ in 0..MOST_SPLICES {
            // What comes after this look is news, and tried again.
            let seen = ends.map(|(io, interest)| io.try_ready_for_op(interest));
            // SAFETY: the caller says so.
            match unsafe { self.call(fds) } {
                Err(libc::EAGAIN) => {}
                Err(libc::EINTR) => continue,
                result => return Poll::Ready(result),
            }
            ready!(poll_ends(ends, seen, cx))?;
        }
        // Both ends say that they are ready, and nothing moves: others have their turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Waits until one end can be read and the other be written, or something came since they were `seen`. The kernel is asked, for
/// neither says EAGAIN by itself.
fn poll_ends(ends: [(IoName, Interest); 2], seen: [Option<ReadyEvent>; 2], cx: &PollContext) -> IoPoll<()> {
    for ((io, interest), seen) in ends.into_iter().zip(seen) {
        if io.has(traits::FILE) {
            continue;
        }
        // An error of a socket's was told by the call. What still looks like one waits in another queue, as long as it likes.
        let silent = if io.has(traits::SOCKET) { Ready::ERROR } else { Ready::EMPTY };
        if !io.ask_kernel(interest.ready().without(silent), seen).is_empty() {
            continue;
        }
        let in_vain = seen.and_then(|seen| io.drained(seen));
        if let Err(errno) = ready!(io.poll_ready_after(cx, interest, in_vain)) {
            return Poll::Ready(Err(errno));
        }
    }
    Poll::Ready(Ok(()))
}

/// A splice in a stream's queue.
#[derive(Clone, Copy)]
pub(super) struct Inflow {
    pub(super) of: Owed,
    pub(super) from: IoName,
    pub(super) splice: Splice,
}

impl Holder {
    /// Makes the first splice of what is queued, whose turn was taken. False: it must wait.
    pub(super) fn splice(self, inflow: Inflow) -> bool {
        loop {
            let fds = Fds { first: inflow.from.fd(), second: self.io.fd() };
            // SAFETY: as long as its turn is taken the operation is not over, and a user of both descriptors.
            match unsafe { inflow.splice.call(fds) } {
                Err(libc::EINTR) => {}
                Err(libc::EAGAIN) => return !self.keeps(inflow),
                done => return self.spliced(inflow, done),
            }
        }
    }

    /// The same for a pump, which waits for both ends then.
    pub(super) fn poll_splice(self, inflow: Inflow, cx: &PollContext) -> bool {
        // SAFETY: as above.
        match unsafe { inflow.splice.poll_between(inflow.from, self.io, cx) } {
            Poll::Ready(done) => self.spliced(inflow, done),
            Poll::Pending => !self.keeps(inflow),
        }
    }

    /// Puts the turn of a splice back that must wait. False: it was cancelled meanwhile, and is over.
    fn keeps(self, inflow: Inflow) -> bool {
        inflow.of.op.turn.put_back(inflow.of.life) || !self.spliced(inflow, Err(libc::ECANCELED))
    }

    /// The first of what is queued is over. One that failed moved nothing, so that those behind it may go; if it was told why the
    /// connection broke, they hear of it. True.
    fn spliced(self, inflow: Inflow, done: Attempted) -> bool {
        self.drop_first();
        done.err().into_iter().for_each(|errno| self.io.broke(errno));
        inflow.of.op.deliver_to(inflow.of.life, told_by_closed([Some(inflow.from), Some(self.io)], done));
        true
    }
}
