//! Ordered sends: operations of tasks, and what any thread gives to a stream, in one order.
//!
//! Who has the baton tries at once, and then sends what others queued meanwhile (`holder.rs`). When the socket is full, or others keep
//! sending, an operation of the library's, the pump, keeps the baton and goes on when there is room: by an entry on a ring, or by
//! readiness.

use super::super::buffers::Lease;
use super::super::io::{Errno, IoName, traits};
use super::super::runtimes::RuntimeRef;
use super::super::transfer::{Attempted, attempted};
use super::super::worker::Worker;
use super::holder::Holder;
use super::parcel::{Goods, Owed, Parcel, parcel_of};
use super::progress::errno_outcome;
use super::request::Request;
use super::*;
use crate::primitives::inbox::Pushed;
use crate::primitives::sync::Ordering::*;

impl IoName {
    /// Shuts the socket down, of which the caller is a user. Whoever sent last may still have the baton.
    pub(in super::super) fn shut_down(self, how: i32) -> Attempted {
        if let Some(traffic) = self.traffic_if_any().filter(|_| how != libc::SHUT_RD) {
            traffic.ends.store(true, Release);
        }
        // SAFETY: the caller says so.
        attempted(unsafe { libc::shutdown(self.fd(), how) } as isize)
    }

    fn stream(self) -> Result<&'static Traffic, Errno> {
        match (self.has(traits::SOCKET), self.has(traits::NONBLOCK)) {
            (false, _) => Err(libc::ENOTSOCK),
            (true, false) => Err(libc::EINVAL),
            (true, true) => self.traffic(),
        }
    }

    /// Sends what the library then owns, after everything that was given before. Any thread. On an error it is dropped,
    /// but for a lease, which is given back.
    pub(crate) fn send(self, goods: Goods<'_>) -> Result<usize, (Errno, Option<Lease>)> {
        let refused = |errno, goods| match goods {
            Goods::Lease(lease, ..) => Err((errno, Some(lease))),
            _ => Err((errno, None)),
        };
        let in_use = match self.enter() {
            Ok(in_use) => in_use,
            Err(errno) => return refused(errno, goods),
        };
        let traffic = match self.stream() {
            Ok(traffic) => traffic,
            Err(errno) => return refused(errno, goods),
        };
        if traffic.failed.load(Acquire) != 0 {
            return refused(libc::EPIPE, goods);
        }
        let len = goods.bytes().len();
        if traffic.baton.acquire() {
            let holder = Holder { io: self, traffic };
            let sent = match holder.send_now(goods.bytes()) {
                Ok(sent) => sent,
                Err(errno) => {
                    holder.missed(errno);
                    return refused(errno, goods);
                }
            };
            if sent != Some(len) {
                let gone = sent.unwrap_or(0);
                let parcel = match goods.into_parcel(gone) {
                    Ok(parcel) => parcel,
                    Err(errno) => {
                        holder.leaves(0);
                        match gone {
                            0 => holder.go(),
                            _ => holder.missed(errno),
                        }
                        return Err((errno, None));
                    }
                };
                holder.leaves(parcel.weight());
                holder.with_queue(|queue| queue.push_front(parcel));
                holder.start_pump();
            } else if !traffic.baton.park() {
                holder.go();
            }
            drop(in_use);
            return Ok(len);
        }
        match self.send_limit() {
            Ok(limit) if traffic.queued() <= limit => {}
            Ok(_) => return refused(libc::EAGAIN, goods),
            Err(errno) => return refused(errno, goods),
        }
        self.enqueue(traffic, goods.into_parcel(0).map_err(|errno| (errno, None))?);
        Ok(len)
    }

    /// How much may be queued on one stream of this runtime.
    fn send_limit(self) -> Result<u64, Errno> {
        Ok(RuntimeRef::enter(self.owner()?)?.shared().config.send_limit)
    }

    /// Puts a parcel behind the others; sends, if nobody does any more.
    fn enqueue(self, traffic: &'static Traffic, parcel: Box<Parcel>) {
        traffic.queue_grows(parcel.weight());
        let parcel = Box::into_raw(parcel);
        // SAFETY: a box is not null; the push gives it to the baton's holder.
        if traffic.baton.push(unsafe { std::ptr::NonNull::new_unchecked(parcel) }) == Pushed::Unpark {
            Holder { io: self, traffic }.go();
        }
    }
}

impl Holder {
    /// Tries to send, without the queue. `None`: the socket is full. What is left must be queued, or given up, by `leaves`.
    fn send_now(self, bytes: &[u8]) -> Result<Option<usize>, Errno> {
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        self.traffic.at_once.store(true, Release);
        let result = loop {
            // SAFETY: the bytes are the caller's, and the holder is a user of the descriptor.
            match attempted(unsafe { libc::send(self.io.fd(), bytes.as_ptr().cast(), bytes.len(), flags) }) {
                Err(libc::EINTR) => {}
                result => break result,
            }
        };
        if matches!(result, Ok(1..)) {
            self.io.note_moved(false);
        }
        match result {
            Err(libc::EAGAIN) => Ok(None),
            Ok(sent) if sent < bytes.len() => Ok(Some(sent)),
            whole => {
                self.leaves(0);
                whole.map(Some)
            }
        }
    }

    /// What was sent at once left so many bytes for the queue.
    fn leaves(self, bytes: usize) {
        if bytes > 0 {
            self.traffic.queue_grows(bytes);
        }
        self.traffic.at_once.store(false, Release);
    }
}

impl Worker {
    /// An operation enters the queue of its stream.
    pub(super) fn join_stream(&self, op: &'static Operation) {
        let body = op.body(self);
        let Some((io, traffic)) = body.stream().and_then(|io| io.traffic_if_any().map(|traffic| (io, traffic))) else {
            return self.settle(op, -i64::from(libc::EBADF));
        };
        match body.request {
            // Nothing that is queued has to do with reading.
            Request::Shutdown { how: libc::SHUT_RD } => {
                return self.settle(op, errno_outcome(io.shut_down(libc::SHUT_RD)));
            }
            Request::Shutdown { .. } => {}
            _ if traffic.failed.load(Acquire) != 0 => return self.settle(op, -i64::from(libc::EPIPE)),
            _ => {}
        }
        let of = Owed { op, life: op.word.generation() };
        if let Request::Send { buffer, len, flags: 0 } = body.request
            && traffic.baton.acquire()
        {
            let holder = Holder { io, traffic };
            // SAFETY: the memory is the program's until it takes the outcome.
            let bytes = if len == 0 { &[] } else { unsafe { std::slice::from_raw_parts(buffer, len) } };
            match holder.send_now(bytes) {
                Ok(Some(sent)) if sent == len => {
                    if !traffic.baton.park() {
                        holder.go();
                    }
                    return self.settle(op, len as i64);
                }
                Ok(sent) => {
                    let mut parcel = parcel_of(of, body);
                    parcel.sent = sent.unwrap_or(0);
                    self.wait_in_stream(op);
                    holder.leaves(parcel.weight());
                    holder.with_queue(|queue| queue.push_front(parcel));
                    return holder.start_pump();
                }
                Err(errno) => {
                    holder.missed(errno);
                    return self.settle(op, -i64::from(errno));
                }
            }
        }
        let parcel = parcel_of(of, body);
        self.wait_in_stream(op);
        io.enqueue(traffic, parcel);
    }

    fn wait_in_stream(&self, op: &'static Operation) {
        op.body(self).stage.set(Stage::Stream);
        op.turn.begin(op.word.generation());
    }
}
