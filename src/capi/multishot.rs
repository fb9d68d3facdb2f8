//! The noun operation: those with many results, and leased buffers.

use super::context::rt_cx;
use super::operation::{begin, on, op_name, rt_op};
use super::readiness::rt_io;
use super::{check, context, guarded, not_null, polled};
use crate::runtime::{Delivered, Lease, Request, release_lease};
use std::ffi::c_void;
use std::task::{Poll, ready};

/// Received bytes in a buffer of the library's, leased until `rt_buf_release` or `rt_send_buf`. The memory is the program's to
/// read and write meanwhile. A lease may outlive its operation, its connection, its task and its runtime.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_buf {
    /// The lease's handle.
    pub lease: u64,
    /// The bytes.
    pub ptr: *mut c_void,
    /// How many there are.
    pub len: usize,
}

/// Submits: accept connections, one after the other, until an error or `rt_cancel` ends it. They are taken by
/// `rt_poll_accept_next`; those that nobody took are closed. Otherwise as `rt_submit_accept`.
///
/// # Safety
/// `cx` is the context of this poll; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_accept_multi(cx: *mut rt_cx, listener: rt_io, out: *mut rt_op) -> i64 {
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, || on(listener, Request::AcceptMany)) }
}

/// Takes the next connection of `rt_submit_accept_multi`.
///
/// Returns 0 and the connection in `*conn`, as `rt_poll_accept` gives it; `RT_PENDING`. `-EMFILE`, `-ENFILE`, `-ENOBUFS` and `-ENOMEM` are
/// told once each time; the operation goes on when the library closed a descriptor, or after 100 ms. Every other error is
/// the end, and the handle is stale: `-ECANCELED` after a cancel or a close, and the system's. Also: `-EBADF`, `-EPERM`, `-EINVAL` as
/// for `rt_poll_op`, after which nothing has changed. In a poll. Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `conn` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_accept_next(cx: *mut rt_cx, op: rt_op, conn: *mut rt_io) -> i64 {
    polled(|| {
        check!(not_null(conn));
        // SAFETY: the caller says so, and so below.
        let cx = check!(unsafe { context(cx) });
        let accepted = check!(ready!(check!(op_name(op)).poll_accepted(cx)));
        // SAFETY: as above.
        unsafe { conn.write(accepted.raw()) };
        Poll::Ready(Ok(0))
    })
}

/// Submits: receive into buffers of the library's, until the stream ends, an error comes, or `rt_cancel`. No buffer is held
/// while nothing comes. What came is taken by `rt_poll_recv_next`. Otherwise as `rt_submit_recv`.
///
/// A receiver has at most about 16 buffers that wait for its task or are leased from it, of what is no stream about 32 on io_uring;
/// then it pauses until fewer than 8 are left, or fewer than 16 and the task waits for more. When the worker has no buffer left its
/// receivers wait for one, in turn. If none comes back and the worker has nothing else to do, one of which nothing waits for its task
/// gets one from outside (mapped when there is something, unmapped with its lease), and the next when that came back or the worker has
/// some again; so who leaves what came on many connections stops none of the others. On sockets with message boundaries an empty
/// message ends the operation as the end of a stream does. Datagrams have no end: that their socket was shut down for reading does
/// not end it.
///
/// # Safety
/// `cx` is the context of this poll; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_recv_multi(cx: *mut rt_cx, io: rt_io, out: *mut rt_op) -> i64 {
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, || on(io, Request::RecvMany)) }
}

/// Takes what was received next.
///
/// Returns how many bytes there are, more than 0, and a lease on them in `*out`; `RT_PENDING`. 0 at the end of the stream, or an
/// error, is the end, and the handle is stale: `-ECANCELED` after a cancel or a close, and the system's. Also: `-EBADF`, `-EPERM`,
/// `-EINVAL` as for `rt_poll_op`, after which nothing has changed. In a poll. Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_recv_next(cx: *mut rt_cx, op: rt_op, out: *mut rt_buf) -> i64 {
    polled(|| {
        check!(not_null(out));
        // SAFETY: the caller says so, and so below.
        let cx = check!(unsafe { context(cx) });
        match check!(ready!(check!(op_name(op)).poll_received(cx))) {
            Delivered::Last(outcome) => Poll::Ready(Ok(outcome)),
            // SAFETY: as above.
            Delivered::Data(lease) => Poll::Ready(Ok(unsafe { hand_out(lease, out) })),
        }
    })
}

/// Gives the program a lease. Returns how many bytes it is of.
///
/// # Safety
/// `out` is writable.
pub(super) unsafe fn hand_out(lease: Lease, out: *mut rt_buf) -> i64 {
    let buf = lease.hand_out();
    // SAFETY: the caller says so.
    unsafe { out.write(rt_buf { lease: buf.lease, ptr: buf.ptr.cast(), len: buf.len as usize }) };
    i64::from(buf.len)
}

/// Gives a leased buffer back, whose memory is the library's from now on.
///
/// Returns 0, also for the handle 0; `-EBADF` if it was given back before, or never leased. Any thread, at any time. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_buf_release(lease: u64) -> i64 {
    guarded(|| {
        if lease != 0 {
            release_lease(lease)?;
        }
        Ok(0)
    })
}
