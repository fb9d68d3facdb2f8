//! The pump: an operation of the library's that has the baton of a stream which must wait, for room or for the ends of a splice, or which
//! others keep busy.
//! On a ring it is an entry with all that queued up; without one, or for messages that do not go there, it waits for readiness.

use super::super::context::Current;
use super::super::io::{Errno, IoName, traits};
use super::super::worker::Worker;
use super::holder::{Holder, MOST_IN_A_ROW, Next, Progress};
use super::life::make;
use super::parcel::Batch;
use super::request::Request;
use super::splice::Inflow;
use super::*;
use crate::driver::Completion;
use crate::primitives::sync::Ordering::*;
use crate::readiness::Interest;
use io_uring::{opcode, types};
use std::task::Poll;

/// IORING_RECVSEND_POLL_FIRST: the socket was full a moment ago, when the pump began. Later it is tried first, for a socket
/// takes more than poll(2) says: a Unix one counts as writable below a quarter of its buffer.
const POLL_FIRST: u16 = 1;

impl Holder {
    /// There is something to wait for: the pump takes the baton over.
    pub(super) fn start_pump(self) {
        // The descriptor was closed, memory is out, or the runtime goes.
        if let Err(errno) = self.hand_over() {
            let errno = if errno == libc::EBADF { libc::ECANCELED } else { errno };
            self.traffic.failed.store(errno as u32, Release);
            self.let_go(errno);
        }
    }

    /// Makes a pump, which has the baton from here on. On an error it is still the caller's.
    pub(super) fn hand_over(self) -> Result<(), Errno> {
        let owner = self.io.io.owner.load(Relaxed);
        let here = Current::with_worker(|worker| worker.filter(|w| w.shared().handle == owner).map(|w| w.index()));
        let home = here.unwrap_or_else(|| self.io.home());
        let pump = make(owner, home, None, Request::Pump, [Some(self.io), None], || None)?;
        self.traffic.pump.swap(pump.name(), AcqRel);
        // From here on it is its owner's, and the baton with it.
        if pump.mail() {
            return Ok(());
        }
        self.io.leave_traffic_of(pump, 0, false);
        pump.unmake();
        Err(libc::ECANCELED)
    }
}

impl Worker {
    /// Sends what a stream has queued: as far as that goes, then again when there is room, or something to splice.
    pub(super) fn pump(&self, op: &'static Operation) {
        let body = op.body(self);
        let Some((io, traffic)) = body.ios[0].and_then(|io| io.traffic_if_any().map(|traffic| (io, traffic))) else {
            return self.settle(op, 0);
        };
        let holder = Holder { io, traffic };
        let mut batch = body.batch.take().unwrap_or_default();
        batch.source.take().into_iter().for_each(|source| source.forget_waiter(std::ptr::from_ref(op).addr()));
        holder.unload(&mut batch, None);
        if body.cancelled.get() {
            traffic.failed.store(libc::ECANCELED as u32, Release);
            holder.let_go(libc::ECANCELED);
            return self.settle(op, 0);
        }
        // Somebody else was told that nothing can be sent: here the first of what is queued hears why.
        match traffic.failed.load(Acquire) as Errno {
            0 => {}
            errno => holder.fail(errno),
        }
        if io.has(traits::PAST_RING) || !self.driver.borrow().supports(opcode::SendMsg::CODE) {
            let (source, is_turn_of_others) = (Cell::new(None), Cell::new(false));
            let polled = self.as_operation(op, |cx| {
                let splice = |inflow: Inflow| {
                    let is_over = holder.poll_splice(inflow, cx);
                    source.set(Some(inflow.from).filter(|_| !is_over));
                    is_over
                };
                io.poll_call(cx, Interest::WRITABLE, |_fd| match holder.push_out(MOST_IN_A_ROW, splice) {
                    Progress::Idle | Progress::Splices => Ok(0),
                    Progress::Turn => {
                        is_turn_of_others.set(true);
                        Ok(0)
                    }
                    Progress::Full => Err(libc::EAGAIN),
                })
            });
            return match polled {
                _ if is_turn_of_others.get() => self.soon(op),
                _ if source.get().is_some() => self.pump_waits(op, batch, source.take()),
                Poll::Pending => body.stage.set(Stage::Ready),
                Poll::Ready(Ok(_)) => self.settle(op, 0),
                // Readiness cannot be waited for: the descriptor, or the runtime, goes.
                Poll::Ready(Err(errno)) => {
                    let closed = errno == libc::EBADF && !io.is_open();
                    let errno = if closed || errno == libc::ESHUTDOWN { libc::ECANCELED } else { errno };
                    traffic.failed.store(errno as u32, Release);
                    holder.let_go(errno);
                    self.settle(op, 0);
                }
            };
        }
        let mut left = MOST_IN_A_ROW;
        loop {
            match holder.load(&mut batch) {
                Next::Batch => break,
                Next::Nothing if traffic.baton.park() => return self.settle(op, 0),
                Next::Nothing => {}
                Next::Splice(inflow) if !self.as_operation(op, |cx| holder.poll_splice(inflow, cx)) => {
                    return self.pump_waits(op, batch, Some(inflow.from));
                }
                Next::Splice(_) if left == 0 => return self.soon(op),
                Next::Splice(_) => left -= 1,
            }
        }
        // Without MSG_WAITALL: what went is news, to who waits for that, and to who looks whether the connection moves.
        let flags = batch.flags | libc::MSG_NOSIGNAL;
        let entry = opcode::SendMsg::new(types::Fd(io.fd()), batch.message())
            .flags(flags as u32)
            .ioprio(if body.moved.replace(1) == 0 { POLL_FIRST } else { 0 })
            .build();
        body.batch.set(Some(batch));
        self.push(op, entry);
    }

    /// The pump waits for the ends of a splice.
    fn pump_waits(&self, op: &'static Operation, mut batch: Box<Batch>, source: Option<IoName>) {
        let body = op.body(self);
        batch.source = source;
        body.batch.set(Some(batch));
        // What is behind the splice may find room.
        body.moved.set(1);
        body.stage.set(Stage::Ready);
    }

    /// The kernel sent what the pump gave it, or a part.
    pub(super) fn pumped(&self, op: &'static Operation, completion: Completion) {
        let body = op.body(self);
        let Some((io, traffic)) = body.ios[0].and_then(|io| io.traffic_if_any().map(|traffic| (io, traffic))) else {
            return self.settle(op, 0);
        };
        let holder = Holder { io, traffic };
        let mut batch = body.batch.take().unwrap_or_default();
        match completion.result.checked_neg().unwrap_or(0) {
            sent if sent <= 0 => holder.unload(&mut batch, Some(sent.unsigned_abs() as usize)),
            libc::EAGAIN | libc::EINTR | libc::ECANCELED => holder.unload(&mut batch, None),
            errno => holder.failed(&mut batch, errno),
        }
        self.pump(op);
    }
}
