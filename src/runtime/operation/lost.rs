//! What becomes of operations when the ring is given up.

use super::super::worker::Worker;
use super::holder::Holder;
use super::parcel::Batch;
use super::request::Request;
use super::*;
use crate::primitives::sync::Ordering::Relaxed;

impl Worker {
    /// The ring was given up, and all that will be heard of it was. What the kernel still has stays its own for good; others must not
    /// wait for it.
    pub(super) fn ring_is_lost(&self) {
        self.tell_pumps();
        if self.ops().provides.replace(Some(false)) == Some(true) {
            let mut buffers = self.ops().buffers.borrow_mut();
            match self.driver.borrow().has_ended_ring() {
                true => buffers.take_back(),
                false => buffers.leave_to_kernel(),
            }
        }
    }

    /// The ring was given up before the kernel got the operation, or all of what it has to do, and it goes the other way.
    pub(super) fn came_back(&self, op: &'static Operation) {
        let body = op.body(self);
        match &body.request {
            Request::AcceptMany | Request::RecvMany => self.go_on(op),
            Request::Pump => self.pump(op),
            _ if body.cancelled.get() => self.cancelled_on_the_way(op),
            _ => self.carry_out(op),
        }
    }

    /// The ring was given up: pumps are told, of which the kernel may have something. The library's own operations are no others.
    fn tell_pumps(&self) {
        for (op, life) in self.own_operations() {
            if op.task.load(Relaxed).is_null() && op.word.tell_life(life, News::TRY) == Told::Post {
                self.ops().woken.push(op);
            }
        }
    }

    /// The kernel has what the pump gave it, on a ring that is not entered any more, so nobody will hear what of it went: the connection
    /// is broken, also for the other end.
    pub(super) fn abandon_pump(&self, op: &'static Operation) {
        let body = op.body(self);
        if let Some((io, traffic)) = body.ios[0].and_then(|io| io.traffic_if_any().map(|traffic| (io, traffic))) {
            let _ = io.shut_down(libc::SHUT_RDWR);
            let errno = if body.cancelled.get() { libc::ECANCELED } else { libc::ECONNABORTED };
            Holder { io, traffic }.lose(body.batch.take().unwrap_or_default(), errno);
        }
        self.settle(op, 0);
    }
}

impl Holder {
    /// The kernel keeps the batch for good, and nothing can be sent after it. What it may still read stays where it is, unchanged, be it
    /// the library's memory or that of operations, which get no outcome. Gives the baton up.
    fn lose(self, batch: Box<Batch>, errno: Errno) {
        // Before the queue shrinks: whoever waits for that must not take it for sent.
        self.traffic.fails(errno);
        for _ in 0..batch.parcels {
            let Some(parcel) = self.with_queue(VecDeque::pop_front) else { break };
            self.traffic.queue_shrinks(parcel.weight());
            std::mem::forget(parcel);
        }
        std::mem::forget(batch);
        // SAFETY: as in `with_queue`.
        unsafe { self.traffic.collect() };
        self.fail(errno);
        self.let_go(errno);
    }
}
