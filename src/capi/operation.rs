//! The noun operation: what is submitted on a descriptor, and its outcome.

use super::context::rt_cx;
use super::io::{buffer_is_valid, parts_are_valid};
use super::readiness::rt_io;
use super::{Errno, check, context, guarded, io_name, not_null, polled};
use crate::runtime::{Address, CURRENT, IoName, MOST_BYTES, OpName, Request, Splice, poll_quiesce, submit};
use libc::{iovec, msghdr, sockaddr, socklen_t};
use std::ffi::{c_int, c_void};
use std::task::Poll;

/// An operation: work that a task submits and whose outcome it takes later. On io_uring the kernel does it (but not
/// connects, nor the sends of messages); elsewhere it is tried, waits for readiness, or blocks a thread of the library's.
/// Results, cancellation and the end of streams are the same.
///
/// An operation belongs to the task in whose poll it was submitted. The memory that it was given (buffers, messages and all
/// that they point to) is the library's until the outcome was taken, or until the task's drop function runs. Paths, socket
/// addresses and arrays of `struct iovec` are copied.
///
/// A task that ends with operations going on, however it ends, has them cancelled; its drop function runs after the last of
/// them, and its join is resolved after that. What they produced, a connection, an open file or descriptors that came with a
/// message, is closed. A task with operations stays on its worker.
///
/// Closing a descriptor cancels the operations on it; they keep it open until they have ended. `rt_deregister` gives
/// `-EBUSY` while there are any. Beside an operation that reads, `rt_poll_read` and its kin give `-EBUSY`; beside sends that
/// are queued, `rt_poll_write` and its kin do, and `rt_poll_try` for `RT_WRITABLE`. `rt_submit_splice` reads from its source.
///
/// 0 is never an operation. The handle is good until the outcome was taken.
///
/// Methods: `rt_poll_op`, `rt_cancel`, `rt_op_deadline`, `rt_op_forget`. Of the task's operations as a whole: `rt_poll_quiesce`.
#[allow(non_camel_case_types)]
pub type rt_op = u64;

/// Takes the outcome of an operation that its task let go of.
#[allow(non_camel_case_types)]
pub type rt_done_fn = Option<unsafe extern "C" fn(arg: *mut c_void, outcome: i64)>;

/// An offset: the file's own position, which the operation moves. The only one for what has no positions.
pub const RT_OFFSET_CURRENT: u64 = u64::MAX;

const _: () = assert!(RT_OFFSET_CURRENT == CURRENT);

/// Submits an operation and writes its handle.
///
/// # Safety
/// `cx` is the context of this poll; `out` is null or writable.
pub(super) unsafe fn begin(
    cx: *mut rt_cx,
    out: *mut rt_op,
    request: impl FnOnce() -> Result<(Request, [Option<IoName>; 2]), Errno>,
) -> i64 {
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so, and so below.
        unsafe { out.write(0) };
        // SAFETY: as above.
        let cx = unsafe { context(cx) }?;
        let (request, ios) = request()?;
        let op = submit(cx, request, ios)?;
        // SAFETY: as above.
        unsafe { out.write(op) };
        Ok(0)
    })
}

/// An operation on one descriptor.
pub(super) fn on(io: rt_io, request: Request) -> Result<(Request, [Option<IoName>; 2]), Errno> {
    Ok((request, [Some(io_name(io)?), None]))
}

/// Lengths beyond what one call moves are cut to that, as the system does.
fn most(n: usize) -> usize {
    n.min(MOST_BYTES)
}

fn offset_is_valid(offset: u64) -> Result<(), Errno> {
    if offset == CURRENT || offset <= i64::MAX as u64 { Ok(()) } else { Err(libc::EINVAL) }
}

/// What a single write may say of itself. The others are about waiting, which is not the program's to say here.
fn write_flags_are_valid(flags: c_int) -> Result<(), Errno> {
    if flags & !(libc::RWF_DSYNC | libc::RWF_SYNC | libc::RWF_APPEND) == 0 { Ok(()) } else { Err(libc::EINVAL) }
}

/// # Safety
/// `parts` has `count` entries.
unsafe fn copy_parts(parts: *const iovec, count: c_int) -> Result<Box<[iovec]>, Errno> {
    parts_are_valid(parts, count)?;
    if count == 0 {
        return Ok(Box::default());
    }
    // SAFETY: the caller says so.
    let parts = unsafe { std::slice::from_raw_parts(parts, count as usize) };
    lengths_are_valid(parts)?;
    Ok(parts.into())
}

/// As the system says: no part, nor all together, may be longer than a result can tell.
fn lengths_are_valid(parts: &[iovec]) -> Result<(), Errno> {
    let total = parts.iter().try_fold(0usize, |total, part| total.checked_add(part.iov_len));
    if total.is_some_and(|total| total <= isize::MAX as usize) { Ok(()) } else { Err(libc::EINVAL) }
}

/// What is sent in its order is copied part by part before the system looks at it.
///
/// # Safety
/// `message` is NULL, or a message to send.
unsafe fn message_is_valid(message: *const msghdr) -> Result<(), Errno> {
    // SAFETY: the caller says so.
    let header = unsafe { message.as_ref() }.ok_or(libc::EINVAL)?;
    match header.msg_iovlen {
        0 => Ok(()),
        _ if header.msg_iov.is_null() => Err(libc::EINVAL),
        n if n > libc::UIO_MAXIOV as usize => Err(libc::EMSGSIZE),
        // SAFETY: as above: there are as many parts.
        n => lengths_are_valid(unsafe { std::slice::from_raw_parts(header.msg_iov, n) }),
    }
}

/// Submits: accept one connection. Outcome: the connection, an `rt_io` (which is never negative as an `int64_t`): non-blocking,
/// close-on-exec, for `RT_READABLE | RT_WRITABLE`, owned. Errors as for `rt_poll_accept`, but that each `-EMFILE` is one.
///
/// Returns 0, and the operation in `*out`. On failure nothing was submitted, and `*out` is 0: `-EBADF`; `-EINVAL` for NULL, or
/// for a descriptor that blocks; `-EPERM` outside of a task's poll, or for another runtime's descriptor; `-ESHUTDOWN`;
/// `-ENOMEM`. In a poll. Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_accept(cx: *mut rt_cx, listener: rt_io, out: *mut rt_op) -> i64 {
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, || on(listener, Request::Accept)) }
}

/// Submits: connect. Outcome: 0, or the system's error, which is `-EAGAIN` where the queue of a Unix listener is full
/// (`rt_poll_unix_connect` waits for that). Otherwise as `rt_submit_accept`.
///
/// It has begun when this returns: what is sent after that, by whomever, goes when there is a connection. What waits to be
/// sent on one that fails fails with it, before that is told, and a stream to which something was sent before, in vain, begins anew.
/// One that was ended on the way, by a cancel or its deadline, goes on in the socket: the next one there waits for it.
///
/// # Safety
/// `cx` is the context of this poll; `addr` has `len` readable bytes; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_connect(
    cx: *mut rt_cx,
    io: rt_io,
    addr: *const sockaddr,
    len: socklen_t,
    out: *mut rt_op,
) -> i64 {
    let request = || {
        not_null(addr)?;
        // SAFETY: all zeros are a valid address, if not one to connect to.
        let mut address = Box::new(Address { storage: unsafe { std::mem::zeroed() }, len });
        if len as usize > size_of_val(&address.storage) {
            return Err(libc::EINVAL);
        }
        // SAFETY: the caller says so, and the length was checked.
        unsafe { std::ptr::copy_nonoverlapping(addr.cast::<u8>(), (&raw mut address.storage).cast(), len as usize) };
        on(io, Request::Connect(address))
    };
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, request) }
}

/// Submits: receive into `buf`, with the `flags` of recv(2). Outcome: how many bytes came, 0 at the end of the stream, or the
/// system's error. Otherwise as `rt_submit_accept`. A socket of datagrams that was shut down for reading gives 0 as well, if none is
/// queued.
///
/// `MSG_WAITALL` on a stream waits for all `n` bytes: if there are fewer, the end, an error or a cancel came after them. With
/// `MSG_PEEK` or `MSG_TRUNC` it is `-EINVAL` there. As in recv(2), it does nothing for messages. `MSG_DONTWAIT` does nothing at all.
///
/// # Safety
/// `cx` is the context of this poll; `buf` has `n` writable bytes until the operation is over; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_recv(
    cx: *mut rt_cx,
    io: rt_io,
    buf: *mut c_void,
    n: usize,
    flags: c_int,
    out: *mut rt_op,
) -> i64 {
    let request = || {
        buffer_is_valid(buf, n)?;
        // Not cut: what must be whole may take several calls, of which the system cuts each.
        on(io, Request::Recv { buffer: buf.cast(), len: n, flags })
    };
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, request) }
}

/// Submits: send all of `buf`, with the `flags` of send(2), of which `MSG_DONTWAIT` does nothing. Outcome: `n`, or an error. Otherwise
/// as `rt_submit_accept`.
///
/// On a stream, and on a connection of packets (SOCK_SEQPACKET), it goes after everything that was submitted or given to `rt_send`
/// before, by whomever. One that is cancelled before any of it went leaves no trace, but that its bytes may count as queued for a
/// while where more than 64 sends are; one that was cut short makes later sends fail with `-EPIPE`. A packet goes whole or not at all,
/// and harms no other. No SIGPIPE is raised.
///
/// # Safety
/// `cx` is the context of this poll; `buf` has `n` readable bytes until the operation is over; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_send(
    cx: *mut rt_cx,
    io: rt_io,
    buf: *const c_void,
    n: usize,
    flags: c_int,
    out: *mut rt_op,
) -> i64 {
    let request = || {
        buffer_is_valid(buf, n)?;
        on(io, Request::Send { buffer: buf.cast(), len: n, flags })
    };
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, request) }
}

/// Submits: recvmsg(2) with its `flags`. Outcome: how many bytes came, with `msg` filled in. Otherwise as `rt_submit_recv`, but that
/// `MSG_WAITALL` is `-EINVAL` on a stream. If nobody takes the outcome, descriptors that came are closed, and `msg_controllen` is 0.
///
/// # Safety
/// `cx` is the context of this poll; `msg` is a message to receive into until the operation is over; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_recvmsg(
    cx: *mut rt_cx,
    io: rt_io,
    msg: *mut msghdr,
    flags: c_int,
    out: *mut rt_op,
) -> i64 {
    let request = || {
        not_null(msg)?;
        on(io, Request::RecvMsg { message: msg, flags })
    };
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, request) }
}

/// Submits: sendmsg(2) with its `flags`. Outcome: all bytes of the message, or an error. Otherwise as `rt_submit_send`; also
/// `-EMSGSIZE` for more than 1,024 parts, and `-EINVAL` for lengths that no result can tell. Control data goes with the first byte. For a Unix datagram socket whose peer may be slow see `rt_poll_sendmsg`.
///
/// # Safety
/// `cx` is the context of this poll; `msg` is a message to send until the operation is over; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_sendmsg(
    cx: *mut rt_cx,
    io: rt_io,
    msg: *const msghdr,
    flags: c_int,
    out: *mut rt_op,
) -> i64 {
    let request = || {
        // SAFETY: the caller says so.
        unsafe { message_is_valid(msg) }?;
        on(io, Request::SendMsg { message: msg, flags })
    };
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, request) }
}

/// Submits: read into `buf` at `offset` (`RT_OFFSET_CURRENT`: where the file stands). Outcome: how many bytes were read, 0 at
/// the end, or the system's error. Otherwise as `rt_submit_accept`; also `-EINVAL` for an offset that no file has, and `-ESPIPE`
/// for any but `RT_OFFSET_CURRENT` on what has no positions.
///
/// # Safety
/// `cx` is the context of this poll; `buf` has `n` writable bytes until the operation is over; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_read(
    cx: *mut rt_cx,
    io: rt_io,
    buf: *mut c_void,
    n: usize,
    offset: u64,
    out: *mut rt_op,
) -> i64 {
    let request = || {
        buffer_is_valid(buf, n)?;
        offset_is_valid(offset)?;
        on(io, Request::Read { buffer: buf.cast(), len: most(n), offset })
    };
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, request) }
}

/// Submits: write from `buf` at `offset`. Outcome: how many bytes were written, which may be fewer, or the system's error. On a
/// socket it is `rt_submit_send`. Otherwise as `rt_submit_read`. No SIGPIPE is raised, nor SIGXFSZ on files: beyond RLIMIT_FSIZE there is
/// `-EFBIG`, unless the limit was none and is set between the submission and the write.
///
/// `flags`, for files, are those of pwritev2(2) that <sys/uio.h> has: with `RWF_DSYNC` the outcome comes when the disk has these bytes
/// and what it takes to find them, as after `rt_submit_fdatasync`; with `RWF_SYNC`, as after `rt_submit_fsync`; but of these bytes
/// alone, so that it says nothing of what was written before. With `RWF_APPEND` they go to the end of the file, wherever that is
/// then, and `offset` only says by `RT_OFFSET_CURRENT` that the file's position moves there. `-EINVAL` for others, and for any on
/// what is no file.
///
/// # Safety
/// `cx` is the context of this poll; `buf` has `n` readable bytes until the operation is over; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_write(
    cx: *mut rt_cx,
    io: rt_io,
    buf: *const c_void,
    n: usize,
    offset: u64,
    flags: c_int,
    out: *mut rt_op,
) -> i64 {
    let request = || {
        buffer_is_valid(buf, n)?;
        offset_is_valid(offset)?;
        write_flags_are_valid(flags)?;
        // Not cut: to a socket it is sent whole, and elsewhere the system cuts it.
        on(io, Request::Write { buffer: buf.cast(), len: n, offset, flags })
    };
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, request) }
}

/// As `rt_submit_read`, into several buffers.
///
/// # Safety
/// `cx` is the context of this poll; `iov` has `iovcnt` entries, of memory that is writable until the operation is over; `out` is
/// writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_readv(
    cx: *mut rt_cx,
    io: rt_io,
    iov: *const iovec,
    iovcnt: c_int,
    offset: u64,
    out: *mut rt_op,
) -> i64 {
    let request = || {
        offset_is_valid(offset)?;
        // SAFETY: the caller says so.
        on(io, Request::Readv { parts: unsafe { copy_parts(iov, iovcnt) }?, offset })
    };
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, request) }
}

/// As `rt_submit_write`, from several buffers.
///
/// # Safety
/// `cx` is the context of this poll; `iov` has `iovcnt` entries, of memory that is readable until the operation is over; `out` is
/// writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_writev(
    cx: *mut rt_cx,
    io: rt_io,
    iov: *const iovec,
    iovcnt: c_int,
    offset: u64,
    flags: c_int,
    out: *mut rt_op,
) -> i64 {
    let request = || {
        offset_is_valid(offset)?;
        write_flags_are_valid(flags)?;
        // SAFETY: the caller says so.
        on(io, Request::Writev { parts: unsafe { copy_parts(iov, iovcnt) }?, offset, flags })
    };
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, request) }
}

/// Submits: splice(2), `n` bytes from one descriptor to another, one of which is a pipe. Outcome: how many bytes moved, 0 at the
/// end, or the system's error. It waits until something can be moved. Offsets as for `rt_submit_read`. Otherwise as
/// `rt_submit_accept`.
///
/// Into a stream, or a connection of packets, it has its place in the order of `rt_submit_send`. While it waits, be it for something
/// to read, all that was submitted or given to `rt_send` after it waits as well; cancelling it lets them go. One that fails leaves no
/// trace. For `rt_poll_flush` it is one byte.
///
/// # Safety
/// `cx` is the context of this poll; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_splice(
    cx: *mut rt_cx,
    from: rt_io,
    from_offset: u64,
    to: rt_io,
    to_offset: u64,
    n: usize,
    flags: u32,
    out: *mut rt_op,
) -> i64 {
    let request = || {
        offset_is_valid(from_offset)?;
        offset_is_valid(to_offset)?;
        let splice = Splice { from: from_offset, to: to_offset, len: most(n), flags };
        Ok((Request::Splice(splice), [Some(io_name(from)?), Some(io_name(to)?)]))
    };
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, request) }
}

/// Submits: shutdown(2) with its `how`, after what was queued to be sent before. Outcome: 0, or the system's error. Otherwise as
/// `rt_submit_accept`. Of datagrams, those that found room go before it, and those that were given to `rt_send`; an operation that
/// still waits for room does not.
///
/// # Safety
/// `cx` is the context of this poll; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_shutdown(cx: *mut rt_cx, io: rt_io, how: c_int, out: *mut rt_op) -> i64 {
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, || on(io, Request::Shutdown { how })) }
}

/// Submits: close, as `rt_close` does. The handle is stale at once. Outcome: what close(2) said, after the descriptor's last user
/// had gone; `-ECANCELED` if the operation was cancelled: then that user closes it. 0 for a borrowed descriptor, which is not
/// closed. Otherwise as `rt_submit_accept`.
///
/// # Safety
/// `cx` is the context of this poll; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_close(cx: *mut rt_cx, io: rt_io, out: *mut rt_op) -> i64 {
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, || on(io, Request::Close)) }
}

/// Takes the outcome of an operation: a number, a new `rt_io`, or an error of the operation. It is given once; then the handle is
/// stale.
///
/// `RT_PENDING`: the task will be woken. Also: `-EBADF` for a stale handle; `-EPERM` for another task's operation, and outside of
/// tasks; `-EINVAL` for one with many results. `-ECANCELED`: it was cancelled, or its descriptor was closed. `-ETIME`: its
/// deadline came first. In a poll. Does not block.
///
/// # Safety
/// `cx` is the context of this poll.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_op(cx: *mut rt_cx, op: rt_op) -> i64 {
    polled(|| {
        // SAFETY: the caller says so.
        let cx = check!(unsafe { context(cx) });
        check!(op_name(op)).poll(cx)
    })
}

pub(super) fn op_name(op: rt_op) -> Result<OpName, Errno> {
    OpName::parse(op).ok_or(libc::EBADF)
}

/// Asks an operation to end. Its outcome is still to be taken: `-ECANCELED`, or what came first.
///
/// Returns 0, also if it is over; `-EBADF`. Any thread. Does not block, and does not wait.
#[unsafe(no_mangle)]
pub extern "C" fn rt_cancel(op: rt_op) -> i64 {
    guarded(|| {
        op_name(op)?.cancel()?;
        Ok(0)
    })
}

/// Sets the time, on the clock of `rt_now`, at which an operation is ended with the outcome `-ETIME`. `RT_NEVER` takes it back.
///
/// Returns 0, also if the operation is over; `-EBADF`; `-EPERM` for another task's, and outside of tasks. In a poll of the task that
/// owns the operation. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_op_deadline(op: rt_op, at: u64) -> i64 {
    guarded(|| {
        op_name(op)?.set_deadline(at)?;
        Ok(0)
    })
}

/// Lets go of an operation, whose handle is stale from now on. When it is over `done` (which may be NULL) is called with its
/// outcome, once, on the task's worker, outside of polls and before the task's drop function; what it names is the program's
/// then. Without `done` a connection or file that it yields is closed, as are descriptors that come with a message; memory that it
/// was given is the library's until `rt_poll_quiesce` returns 0, or the task's drop function runs.
///
/// Returns 0; `-EBADF`; `-EPERM` for another task's, and outside of tasks; `-EINVAL` for one with many results. On failure
/// `done` is not called. In a poll of the task that owns the operation. Does not block.
///
/// # Safety
/// `done` may be called with `arg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_op_forget(op: rt_op, done: rt_done_fn, arg: *mut c_void) -> i64 {
    guarded(|| {
        op_name(op)?.forget(done, arg)?;
        Ok(0)
    })
}

/// Waits until none of the task's operations goes on any more, forgotten ones included, and their functions were called: then the
/// library holds none of the task's memory. Outcomes that were not taken stay.
///
/// Returns 0; `RT_PENDING`; `-EPERM` outside of tasks. In a poll. Does not block.
///
/// # Safety
/// `cx` is the context of this poll.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_quiesce(cx: *mut rt_cx) -> i64 {
    polled(|| {
        // SAFETY: the caller says so.
        let cx = check!(unsafe { context(cx) });
        poll_quiesce(cx).map(|quiet| quiet.map(|()| 0))
    })
}
