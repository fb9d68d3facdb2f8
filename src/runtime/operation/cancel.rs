//! Ending an operation before it is done: because its task, its deadline or its descriptor says so.

use super::super::io::Errno;
use super::super::worker::Worker;
use super::request::Request;
use super::*;
use crate::driver::Entry;
use io_uring::opcode;

impl Worker {
    /// A cancel came back. What it did not find may have been on its way between two places in the kernel: if it is still
    /// there, it is looked for again.
    pub(super) fn cancel_returned(&self, handle: Handle, result: i32) {
        let Some(op) = OPS.get(handle.index).filter(|op| self.owns(op, handle.generation)) else { return };
        let body = op.body(self);
        if result == -libc::ENOENT && matches!(body.stage.get(), Stage::Ring(_)) && body.cancels.get() {
            self.push_cancel(op);
        }
    }

    /// Ends an operation as soon as that can be done.
    pub(super) fn cancel(&self, op: &'static Operation) {
        let body = op.body(self);
        if body.stage.get() == Stage::Done {
            return;
        }
        body.cancelled.set(true);
        let cancelled = -i64::from(libc::ECANCELED);
        match body.stage.get() {
            Stage::Ring(_) if self.stop_in_ring(op) => self.cancelled_on_the_way(op),
            Stage::Ring(_) | Stage::Done => {}
            Stage::Ready => {
                for io in body.ios.into_iter().flatten() {
                    io.forget_waiter(std::ptr::from_ref(op).addr());
                }
                self.cancelled_on_the_way(op);
            }
            Stage::Pool(place) if self.revoke(op, place) => self.cancelled_on_the_way(op),
            Stage::Pool(_) => {}
            Stage::Stream => self.cancel_send(op),
            Stage::Paused => self.settle(op, cancelled),
        }
    }

    /// The kernel has, and will have, nothing of a cancelled operation.
    pub(super) fn cancelled_on_the_way(&self, op: &'static Operation) {
        let body = op.body(self);
        match &body.request {
            Request::Pump => self.pump(op),
            Request::Close => self.give_up_close(op),
            _ => self.end_whole(op, -i64::from(libc::ECANCELED)),
        }
    }

    /// Takes an entry back, which is true, or asks the kernel to end what it has.
    pub(super) fn stop_in_ring(&self, op: &'static Operation) -> bool {
        let body = op.body(self);
        let Stage::Ring(ticket) = body.stage.get() else { return false };
        if body.cancels.get() {
            return false;
        }
        if self.driver.borrow_mut().revoke(ticket) {
            return true;
        }
        self.push_cancel(op);
        false
    }

    fn push_cancel(&self, op: &'static Operation) {
        // A ring that was left to the kernel takes nothing any more.
        if !self.driver.borrow().has_ring() {
            return;
        }
        op.body(self).cancels.set(true);
        let token = Handle { generation: op.word.generation(), index: op.index.load(Relaxed) }.pack(Kind::Cancel);
        let entry: Entry = opcode::AsyncCancel::new(op.name()).build().user_data(token);
        // SAFETY: the entry names no memory and no descriptor.
        unsafe { self.driver.borrow_mut().push_cancel(entry) };
    }

    // Deadlines.

    /// Sets the time at which an operation is ended. `ENOMEM`: it has none.
    pub(super) fn set_deadline(&self, op: &'static Operation, at: u64) -> Result<(), Errno> {
        let deadline = &op.body(self).deadline;
        match deadline.get() {
            None => deadline.set(Some(self.desk().start_for(op.name(), at).ok_or(libc::ENOMEM)?)),
            Some(timer) => drop(timer.reset(at)),
        }
        Ok(())
    }

    pub(super) fn end_deadline(&self, body: &Body) {
        if let Some(timer) = body.deadline.take() {
            let _ = self.desk().cancel(timer);
        }
    }

    /// The deadline of the operation with this handle has come.
    pub(in super::super) fn op_timed_out(&self, op: u64) {
        // It holds for one that was forgotten, too.
        let Some(OpName { op, .. }) = OpName::parse(op).filter(|name| name.op.word.lives(name.generation)) else {
            return;
        };
        let body = op.body(self);
        self.end_deadline(body);
        body.timed_out.set(true);
        self.cancel(op);
    }
}
