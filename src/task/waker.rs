//! Wakers of tasks: one static table, the cell's address as data.

use super::cell::Header;
use super::life::dealloc;
use super::raw::submit;
use super::state::Wake;
use crate::primitives::WakerRef;
use std::task::{RawWaker, RawWakerVTable, Waker};

/// The table of every task's waker.
pub(crate) static WAKER_VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// A waker that borrows the reference of whoever runs the task: a poll costs no count.
pub(super) fn waker_ref(cell: &Header) -> WakerRef<'_> {
    let data = std::ptr::from_ref(cell).cast::<()>();
    // SAFETY: the runner's reference outlives the poll, and with it this borrow.
    unsafe { WakerRef::new(RawWaker::new(data, &WAKER_VTABLE)) }
}

/// The task behind a waker, if it is a task's.
pub(crate) fn header_of(waker: &Waker) -> Option<&'static Header> {
    // SAFETY: the table says that the data is a cell, and cells are never unmapped.
    std::ptr::eq(waker.vtable(), &WAKER_VTABLE).then(|| unsafe { cell(waker.data()) })
}

/// True if the waker is a task's that is over: calling it would do nothing.
pub(crate) fn is_dead(waker: &Waker) -> bool {
    header_of(waker).is_some_and(|cell| cell.state.is_over())
}

/// # Safety
/// `data` is a task waker's, which holds a reference (or borrows the runner's).
unsafe fn cell(data: *const ()) -> &'static Header {
    // SAFETY: cells are type-stable and never unmapped.
    unsafe { &*data.cast::<Header>() }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the waker that is cloned holds a reference.
    let cell = unsafe { cell(data) };
    trace("clone", cell);
    cell.state.ref_inc();
    RawWaker::new(data, &WAKER_VTABLE)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: the waker is consumed; its reference is ours.
    let cell = unsafe { cell(data) };
    trace("wake", cell);
    let local = cell.is_local();
    if local && cell.state.wake_by_val() == Wake::Submit {
        // SAFETY: our reference became the queue's, and on this thread the scheduler outlives the call.
        return unsafe { submit(cell) };
    }
    if !local && cell.state.wake_by_ref() == Wake::Submit {
        // SAFETY: the queue got a reference of its own, and ours keeps the scheduler until the submit is over.
        unsafe { submit(cell) };
    }
    release(cell);
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: the waker keeps its reference.
    let cell = unsafe { cell(data) };
    trace("wake_by_ref", cell);
    if cell.state.wake_by_ref() == Wake::Submit {
        // SAFETY: the queue got a reference of its own, and the waker's keeps the scheduler until the submit is over.
        unsafe { submit(cell) };
    }
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: the waker is dropped; its reference is ours.
    let cell = unsafe { cell(data) };
    trace("drop", cell);
    release(cell);
}

/// Gives up a reference that the caller owns.
pub(super) fn release(cell: &'static Header) {
    if cell.state.ref_dec(1) {
        dealloc(cell);
    }
}

#[cfg(feature = "tracing")]
fn trace(op: &'static str, cell: &Header) {
    tracing::trace!(target: "asyncio::waker", op, task = cell.name());
}

#[cfg(not(feature = "tracing"))]
#[inline(always)]
fn trace(_op: &'static str, _cell: &Header) {}
