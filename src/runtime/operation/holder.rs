//! The holder of a descriptor's baton (`traffic.rs`): sends what is queued, in its order. What queues up leaves together, on what is
//! a stream.
//!
//! A send that was cut after some of its bytes went leaves a hole in the stream, so nothing can be sent after it.

use super::super::context::Current;
use super::super::io::{Errno, IoName, traits};
use super::super::transfer::attempted;
use super::parcel::{Batch, Content, MOST_PARTS, MOST_TOGETHER, Owed, Parcel};
use super::progress::errno_outcome;
use super::splice::Inflow;
use super::*;
use crate::primitives::sync::Ordering::*;

/// How much a worker sends in a row, be it for others: so many batches and splices. It has other things to do.
pub(super) const MOST_IN_A_ROW: u32 = 32;
/// The same for a thread that is none: the worker that would go on may be busy, or driven by nobody.
const MOST_ELSEWHERE: u32 = 1024;

/// How far the holder came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All went, and the baton was given up.
    Idle,
    /// The socket is full. The baton is still the caller's.
    Full,
    /// A splice must wait for one of its ends. The baton is still the caller's.
    Splices,
    /// There is more to send, as there is as long as others go on sending. The baton is still the caller's.
    Turn,
}

/// What is to leave next.
pub(super) enum Next {
    Nothing,
    /// The batch that was loaded.
    Batch,
    /// This alone. Its turn was taken.
    Splice(Inflow),
}

/// The holder of a descriptor's baton.
#[derive(Clone, Copy)]
pub(super) struct Holder {
    pub(super) io: IoName,
    pub(super) traffic: &'static Traffic,
}

impl Holder {
    pub(super) fn with_queue<R>(self, f: impl FnOnce(&mut VecDeque<Box<Parcel>>) -> R) -> R {
        // SAFETY: a `Holder` exists only where the baton was taken and not given up.
        unsafe { self.traffic.with_queue(f) }
    }

    /// Fills an empty batch with what is to leave next, if that is bytes.
    pub(super) fn load(self, batch: &mut Batch) -> Next {
        loop {
            // SAFETY: as in `with_queue`.
            unsafe { self.traffic.collect() };
            self.drop_cancelled();
            match self.traffic.failed.load(Acquire) as Errno {
                0 => {}
                libc::ECANCELED => self.drop_all(libc::ECANCELED),
                _ => self.drop_all(libc::EPIPE),
            }
            let Some(first) = self.with_queue(|queue| queue.front().map(|parcel| (parcel.owed(), parcel.sent))) else {
                // What a burst took is given back.
                self.with_queue(|queue| {
                    if queue.capacity() > MOST_PARTS {
                        *queue = VecDeque::new()
                    }
                });
                return Next::Nothing;
            };
            match first {
                (Some(of), sent) if !of.op.turn.take(of.life) => {
                    // It was cancelled. If a part of it went, the rest is missing now.
                    self.drop_first();
                    if sent > 0 {
                        self.fail(self.why_cut());
                    }
                }
                _ if self.shut_down_first() => {}
                _ => return self.with_queue(|queue| self.take_more(queue, batch)),
            }
        }
    }

    /// Loads the first parcel, whose turn was taken, and what may leave with it. A splice leaves by itself.
    fn take_more(self, queue: &VecDeque<Box<Parcel>>, batch: &mut Batch) -> Next {
        if let Some(Content::Splice(inflow)) = queue.front().map(|parcel| &parcel.content) {
            return Next::Splice(*inflow);
        }
        let together = self.io.has(traits::STREAM);
        // A message goes as one.
        let most = if together { MOST_PARTS } else { usize::MAX };
        let is_suspect = queue.front().is_some_and(|first| first.is_suspect);
        let mut bytes = 0;
        for parcel in queue {
            let is_first = batch.parcels == 0;
            let fits = batch.parts.len() < MOST_PARTS && batch.parcels < MOST_PARTS && bytes < MOST_TOGETHER;
            let joins = is_first || (together && fits && parcel.is_plain() && !is_suspect);
            if !joins || (!is_first && parcel.owed().is_some_and(|of| !of.op.turn.take(of.life))) {
                break;
            }
            bytes += parcel.append_to(&mut batch.parts, most);
            batch.parcels += 1;
            if let (true, Content::Send { message, flags, .. }) = (is_first && parcel.is_special(), &parcel.content) {
                batch.flags = *flags;
                // What is no data goes with the first byte.
                // SAFETY: the message is the program's, and the turn was taken.
                if let Some(message) = unsafe { message.as_ref() }.filter(|_| parcel.sent == 0) {
                    batch.header = *message;
                }
                break;
            }
        }
        Next::Batch
    }

    /// Does a shutdown whose turn has come. Its turn was taken.
    fn shut_down_first(self) -> bool {
        let Some((of, how)) = self.with_queue(|queue| match queue.front()?.content {
            Content::Shutdown { of, how } => Some((of, how)),
            _ => None,
        }) else {
            return false;
        };
        self.drop_first();
        // Of a connection that failed nothing is left to be shut down, and the socket may get another one.
        let is_gone = self.traffic.failed.load(Acquire) != 0 && self.io.is_connection_gone();
        let done = if is_gone { Err(libc::ENOTCONN) } else { self.io.shut_down(how) };
        of.op.deliver_to(of.life, errno_outcome(done));
        true
    }

    pub(super) fn drop_first(self) {
        if let Some(parcel) = self.with_queue(VecDeque::pop_front) {
            self.traffic.queue_shrinks(parcel.weight());
        }
    }

    /// So many bytes of the batch went; `None`: nothing was sent, not even nothing. Puts back what did not go.
    pub(super) fn unload(self, batch: &mut Batch, sent: Option<usize>) {
        if sent.is_some_and(|sent| sent > 0) {
            self.io.note_moved(false);
        }
        let (mut cut, parcels) = (false, std::mem::take(&mut batch.parcels));
        let (loaded, mut sent) = if let Some(sent) = sent { (parcels, sent) } else { (0, 0) };
        for _ in 0..loaded {
            let Some(whole) = self.with_queue(|queue| {
                let parcel = queue.front_mut()?;
                let (now, before) = (sent.min(parcel.len - parcel.sent), parcel.weight());
                parcel.sent += now;
                sent -= now;
                let whole = parcel.sent == parcel.len;
                self.traffic.queue_shrinks(if whole { before } else { before - parcel.weight() });
                Some(whole)
            }) else {
                break;
            };
            if !whole {
                break;
            }
            if let Some(parcel) = self.with_queue(VecDeque::pop_front)
                && let Some(of) = parcel.owed()
            {
                of.op.deliver_to(of.life, parcel.len as i64);
            }
        }
        // The turns of those behind were taken, too.
        let unwanted: Vec<_> = self.with_queue(|queue| {
            let left = batch_left(queue);
            left.filter(|(of, _)| !of.op.turn.put_back(of.life)).collect()
        });
        for (of, begun) in unwanted {
            cut |= begun;
            self.with_queue(|queue| {
                let at =
                    queue.iter().position(|parcel| parcel.owed().is_some_and(|other| std::ptr::eq(other.op, of.op)));
                if let Some(parcel) = at.and_then(|at| queue.remove(at)) {
                    self.traffic.queue_shrinks(parcel.weight());
                }
            });
            of.op.deliver_to(of.life, -i64::from(libc::ECANCELED));
        }
        batch.parts.clear();
        *batch = Batch { parts: std::mem::take(&mut batch.parts), ..Batch::default() };
        if cut {
            self.fail(self.why_cut());
        }
    }

    /// The batch could not be sent. On a stream nothing can be sent any more; elsewhere it was one message's own affair. The first
    /// of what is queued learns why: that message, as long as its turn was not put back. Unless it is the memory, and another one of
    /// the batch may be to blame: then they are tried one by one. Nothing else is, for what was wrong with the connection is
    /// told once.
    pub(super) fn failed(self, batch: &mut Batch, errno: Errno) {
        if self.io.has(traits::STREAM) {
            let is_one_of = batch.parcels > 1 && errno == libc::EFAULT;
            self.unload(batch, None);
            if !is_one_of {
                return self.fail(errno);
            }
            return self.with_queue(|queue| queue.front_mut().into_iter().for_each(|first| first.is_suspect = true));
        }
        self.tell_first(errno);
        self.unload(batch, None);
    }

    /// Nothing can be sent any more.
    pub(super) fn fail(self, errno: Errno) {
        let errno = self.io.why_in_full(errno);
        self.traffic.fails(errno);
        self.tell_first(errno);
        self.drop_all(if errno == libc::ECANCELED { errno } else { libc::EPIPE });
    }

    /// The first send of what is queued learns why, and is dropped. A shutdown is none: it is there if what failed before it
    /// was cancelled, and has its place all the same.
    fn tell_first(self, errno: Errno) {
        let first = |queue: &mut VecDeque<Box<Parcel>>| {
            queue.front().filter(|parcel| !parcel.is_shutdown()).map(|parcel| parcel.owed())
        };
        if let Some(owed) = self.with_queue(first) {
            self.drop_first();
            owed.into_iter().for_each(|of| self.end(of, errno));
        }
    }

    /// The same as `failed` of what was not queued, whose sender is told. Then those behind it have their turn.
    pub(super) fn missed(self, errno: Errno) {
        if self.io.has(traits::STREAM) {
            self.fail(errno);
        }
        self.go();
    }

    /// Why nothing follows a send that was cut: it is missing, or the descriptor is being closed, which ends all alike.
    fn why_cut(self) -> Errno {
        if self.io.is_open() { libc::EPIPE } else { libc::ECANCELED }
    }

    /// Drops what is queued. A shutdown still takes effect, unless the descriptor is being closed.
    fn drop_all(self, errno: Errno) {
        // SAFETY: as in `with_queue`.
        unsafe { self.traffic.collect() };
        while let Some(owed) = self.with_queue(|queue| queue.front().map(|parcel| parcel.owed())) {
            let is_wanted = errno != libc::ECANCELED && owed.is_some_and(|of| of.op.turn.take(of.life));
            if is_wanted && self.shut_down_first() {
                continue;
            }
            self.drop_first();
            owed.into_iter().for_each(|of| self.end(of, errno));
        }
        self.traffic.wake_flushers(0);
    }

    /// Ends an operation whose turn may or may not have been taken.
    fn end(self, of: Owed, errno: Errno) {
        if of.op.turn.take(of.life) || of.op.turn.is_taken(of.life) {
            of.op.deliver_to(of.life, -i64::from(errno));
        }
    }

    /// Sends until nothing is queued, and gives the baton up; or until the socket is full, or `splice` says that one must wait; or so
    /// much.
    pub(super) fn push_out(self, most: u32, splice: impl Fn(Inflow) -> bool) -> Progress {
        let (mut batch, mut left) = (Batch::default(), most);
        loop {
            match self.load(&mut batch) {
                Next::Nothing if self.traffic.baton.park() => return Progress::Idle,
                Next::Nothing => continue,
                Next::Splice(inflow) if !splice(inflow) => return Progress::Splices,
                Next::Splice(_) if left == 0 => return Progress::Turn,
                Next::Splice(_) => {
                    left -= 1;
                    continue;
                }
                Next::Batch if left == 0 => {
                    self.unload(&mut batch, None);
                    return Progress::Turn;
                }
                Next::Batch => left -= 1,
            }
            let flags = batch.flags | libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
            // SAFETY: the batch's memory is ours, or a program's whose turn was taken; the holder is a user of the descriptor.
            match attempted(unsafe { libc::sendmsg(self.io.fd(), batch.message(), flags) }) {
                Ok(sent) => self.unload(&mut batch, Some(sent)),
                Err(libc::EINTR) => self.unload(&mut batch, None),
                Err(libc::EAGAIN) => {
                    self.unload(&mut batch, None);
                    return Progress::Full;
                }
                Err(errno) => self.failed(&mut batch, errno),
            }
        }
    }

    /// Drops everything and gives the baton up.
    pub(super) fn let_go(self, errno: Errno) {
        self.drop_all(errno);
        while !self.traffic.baton.park() {
            self.drop_all(errno);
        }
    }

    /// Sends what can be sent now, and sees to the rest.
    pub(super) fn go(self) {
        let most = Current::with_worker(|worker| worker.map_or(MOST_ELSEWHERE, |_| MOST_IN_A_ROW));
        loop {
            match self.push_out(most, |inflow| self.splice(inflow)) {
                Progress::Idle => return,
                Progress::Full | Progress::Splices => return self.start_pump(),
                // As long as nobody can take over, nothing keeps us from going on.
                Progress::Turn if self.hand_over().is_ok() => return,
                Progress::Turn => {}
            }
        }
    }
}

/// The operations at the head of a queue whose turn is taken, and whether a part of them went.
fn batch_left(queue: &VecDeque<Box<Parcel>>) -> impl Iterator<Item = (Owed, bool)> {
    queue
        .iter()
        .take(MOST_PARTS)
        .filter_map(|parcel| parcel.owed().map(|of| (of, parcel.sent > 0)))
        .filter(|(of, _)| of.op.turn.is_taken(of.life))
}
