//! The noun direct I/O.

use super::context::rt_cx;
use super::multishot::{hand_out, rt_buf};
use super::readiness::rt_io;
use super::{Errno, check, context, io_name, not_null, polled};
use crate::runtime::{IoName, IoPoll, PollContext, RuntimeRef};
use libc::{iovec, msghdr, sockaddr, socklen_t};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::task::{Poll, ready};

/// The checks that all of these calls begin with.
///
/// # Safety
/// `cx` is the context of this poll.
unsafe fn begin<'a>(cx: *mut rt_cx, io: rt_io) -> Result<(&'a PollContext, IoName), Errno> {
    // SAFETY: the caller says so.
    Ok((unsafe { context(cx) }?, io_name(io)?))
}

fn count(moved: IoPoll<usize>) -> IoPoll<i64> {
    moved.map(|moved| moved.map(|moved| moved as i64))
}

/// Buffers: a null one must be empty, and none may be longer than a result can say.
pub(super) fn buffer_is_valid(buffer: *const c_void, n: usize) -> Result<(), Errno> {
    if (buffer.is_null() && n > 0) || n > isize::MAX as usize { Err(libc::EINVAL) } else { Ok(()) }
}

pub(super) fn parts_are_valid(parts: *const iovec, n: c_int) -> Result<(), Errno> {
    if (parts.is_null() && n != 0) || !(0..=libc::UIO_MAXIOV).contains(&n) { Err(libc::EINVAL) } else { Ok(()) }
}

/// Reads, in a poll, into `buf`: waits until there is something, then reads at most `n` bytes.
///
/// Returns how many bytes were read; 0 at the end of the stream; `RT_PENDING`, after which `buf` is untouched and the call is to
/// be repeated. Errors: the system's, such as `-ECONNRESET`; `-EBADF`, `-ESHUTDOWN`; `-EINVAL` for NULL, for a descriptor that
/// blocks, or that is not registered for `RT_READABLE`; `-EPERM` for the context. `-EAGAIN` and `-EINTR` are never returned.
///
/// A short read on a TCP stream counts as having read everything. (With kernel TLS on it, use `rt_poll_try` instead, for
/// there a read ends with its record.) Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `buf` has `n` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_read(cx: *mut rt_cx, io: rt_io, buf: *mut c_void, n: usize) -> i64 {
    polled(|| {
        check!(buffer_is_valid(buf, n));
        // SAFETY: the caller says so, and so below.
        let (cx, name) = check!(unsafe { begin(cx, io) });
        // SAFETY: as above.
        count(unsafe { name.poll_read(cx, buf.cast(), n) })
    })
}

/// Writes, in a poll, from `buf`: waits until there is room, then writes at most `n` bytes.
///
/// Returns how many bytes were written, which may be fewer; `RT_PENDING`, after which nothing was written and the call is to be
/// repeated. Errors as for `rt_poll_read`, with `RT_WRITABLE`; `-EPIPE` never comes with a SIGPIPE.
///
/// # Safety
/// `cx` is the context of this poll; `buf` has `n` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_write(cx: *mut rt_cx, io: rt_io, buf: *const c_void, n: usize) -> i64 {
    polled(|| {
        check!(buffer_is_valid(buf, n));
        // SAFETY: the caller says so, and so below.
        let (cx, name) = check!(unsafe { begin(cx, io) });
        // SAFETY: as above.
        count(unsafe { name.poll_write(cx, buf.cast(), n) })
    })
}

/// Writes, in polls, all `n` bytes of `buf`. `*off`, which the caller keeps and sets to 0 before the first call, says how many
/// went.
///
/// Returns `n` when all went, and resets `*off` to 0; `RT_PENDING`. On an error `*off` says how much went before. Errors as for
/// `rt_poll_write`; `-EINVAL` also for an `*off` beyond `n`.
///
/// # Safety
/// `cx` is the context of this poll; `buf` has `n` readable bytes, the same in each call; `off` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_write_all(
    cx: *mut rt_cx,
    io: rt_io,
    buf: *const c_void,
    n: usize,
    off: *mut usize,
) -> i64 {
    polled(|| {
        check!(buffer_is_valid(buf, n));
        check!(not_null(off));
        // SAFETY: the caller says so, and so below.
        let (cx, name) = check!(unsafe { begin(cx, io) });
        // SAFETY: as above.
        let off = unsafe { &mut *off };
        if *off > n {
            return Poll::Ready(Err(libc::EINVAL));
        }
        if *off == n {
            // No write says what is wrong with it.
            check!(name.can_poll(cx, true));
        }
        while *off < n {
            // SAFETY: as above.
            let wrote = ready!(unsafe { name.poll_write(cx, buf.cast::<u8>().add(*off), n - *off) });
            *off += check!(wrote);
        }
        *off = 0;
        Poll::Ready(Ok(n as i64))
    })
}

/// As `rt_poll_read`, into a buffer of the library's, which is taken when there is something to read: while nothing comes the
/// descriptor holds none.
///
/// Returns how many bytes were read, at most `buffer_size` (see `rt_config`), and a lease on them in `*out`, to be given back by
/// `rt_buf_release` or `rt_send_buf`; 0 at the end of the stream, without a lease; `RT_PENDING`. Errors as for `rt_poll_read`;
/// `-EPERM` also for a context that is no task's, and `-ENOMEM`.
///
/// It does not wait for buffers. They are the worker's (`buffer_count`); if half of these are in use, the rest is left to
/// operations that receive, and memory is mapped for one more, and unmapped with its lease, which costs three system calls. So
/// there are as many as the program keeps.
///
/// # Safety
/// `cx` is the context of this poll; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_read_buf(cx: *mut rt_cx, io: rt_io, out: *mut rt_buf) -> i64 {
    polled(|| {
        check!(not_null(out));
        // SAFETY: the caller says so, and so below.
        let (cx, name) = check!(unsafe { begin(cx, io) });
        let read = check!(ready!(name.poll_read_pooled(cx)));
        // SAFETY: as above.
        Poll::Ready(Ok(read.map_or(0, |lease| unsafe { hand_out(lease, out) })))
    })
}

/// As `rt_poll_read`, into several buffers.
///
/// # Safety
/// `cx` is the context of this poll; `iov` has `iovcnt` entries of writable memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_readv(cx: *mut rt_cx, io: rt_io, iov: *const iovec, iovcnt: c_int) -> i64 {
    polled(|| {
        check!(parts_are_valid(iov, iovcnt));
        // SAFETY: the caller says so, and so below.
        let (cx, name) = check!(unsafe { begin(cx, io) });
        // SAFETY: as above.
        count(unsafe { name.poll_readv(cx, iov, iovcnt) })
    })
}

/// As `rt_poll_write`, from several buffers.
///
/// # Safety
/// `cx` is the context of this poll; `iov` has `iovcnt` entries of readable memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_writev(cx: *mut rt_cx, io: rt_io, iov: *const iovec, iovcnt: c_int) -> i64 {
    polled(|| {
        check!(parts_are_valid(iov, iovcnt));
        // SAFETY: the caller says so, and so below.
        let (cx, name) = check!(unsafe { begin(cx, io) });
        // SAFETY: as above.
        count(unsafe { name.poll_writev(cx, iov, iovcnt) })
    })
}

/// recvmsg(2) in a poll, with its `flags`; `MSG_OOB` waits for `RT_PRIORITY`, and `MSG_ERRQUEUE` for `RT_ERROR`. The call never blocks,
/// whatever the descriptor does.
///
/// Returns how many bytes came, with `msg` filled in; `RT_PENDING`. Errors as for `rt_poll_read`; with `MSG_OOB` `-EINVAL` also when no
/// urgent byte will come any more, and for one that is among the data (SO_OOBINLINE).
///
/// # Safety
/// `cx` is the context of this poll; `msg` is a message to receive into.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_recvmsg(cx: *mut rt_cx, io: rt_io, msg: *mut msghdr, flags: c_int) -> i64 {
    polled(|| {
        check!(not_null(msg));
        // SAFETY: the caller says so, and so below.
        let (cx, name) = check!(unsafe { begin(cx, io) });
        // SAFETY: as above.
        count(unsafe { name.poll_recvmsg(cx, msg, flags) })
    })
}

/// sendmsg(2) in a poll, with its `flags`. The call never blocks, whatever the descriptor does, and raises no SIGPIPE.
///
/// Returns how many bytes went, which may be fewer; `RT_PENDING`. Errors as for `rt_poll_write`.
///
/// Connect a Unix datagram socket (`rt_poll_connect`) whose peer may be slow: for one that is only named in `msg` the kernel does not tell when
/// its queue has room. While it is full, the task is then polled again and again, between others, which costs the time that they leave.
///
/// # Safety
/// `cx` is the context of this poll; `msg` is a message to send.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_sendmsg(cx: *mut rt_cx, io: rt_io, msg: *const msghdr, flags: c_int) -> i64 {
    polled(|| {
        check!(not_null(msg));
        // SAFETY: the caller says so, and so below.
        let (cx, name) = check!(unsafe { begin(cx, io) });
        // SAFETY: as above.
        count(unsafe { name.poll_sendmsg(cx, msg, flags) })
    })
}

/// Accepts, in a poll, one connection, and registers it: non-blocking, close-on-exec, for `RT_READABLE | RT_WRITABLE`, owned, with
/// the listener's runtime, on the worker that polls.
///
/// Returns 0 and the connection in `*out`, which the caller must close; `RT_PENDING`. A connection that its peer gave up while it
/// was queued is passed over.
///
/// Errors as for `rt_poll_read`. `-EMFILE`, `-ENFILE`, `-ENOBUFS`, `-ENOMEM` are reported once; the next call is pending until
/// the library closed a descriptor, another connection arrived, or 100 ms went by, so that a caller which just tries again
/// does not spin.
///
/// # Safety
/// `cx` is the context of this poll; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_accept(cx: *mut rt_cx, listener: rt_io, out: *mut rt_io) -> i64 {
    polled(|| {
        check!(not_null(out));
        // SAFETY: the caller says so, and so below.
        let (cx, name) = check!(unsafe { begin(cx, listener) });
        let runtime = check!(name.owner().and_then(RuntimeRef::enter));
        let accepted = check!(ready!(name.poll_accept(cx, runtime.shared())));
        // SAFETY: as above.
        unsafe { out.write(accepted.raw()) };
        Poll::Ready(Ok(0))
    })
}

/// Connects a socket, in polls with the same address until one is ready.
///
/// Returns 0 when it is connected; `RT_PENDING`. Errors: the system's, such as `-ECONNREFUSED` and `-ETIMEDOUT`, and `-EISCONN` for one
/// that listens; `-EAGAIN` for a Unix socket whose listener's queue is full, for which there is no event; else as for `rt_poll_write`.
/// A close in the middle ends the attempt: `-EBADF`. What waits to be sent on a connection that fails fails with it, before that is
/// told.
///
/// # Safety
/// `cx` is the context of this poll; `addr` has `len` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_connect(cx: *mut rt_cx, io: rt_io, addr: *const sockaddr, len: socklen_t) -> i64 {
    polled(|| {
        check!(not_null(addr));
        // SAFETY: the caller says so, and so below.
        let (cx, name) = check!(unsafe { begin(cx, io) });
        // SAFETY: as above.
        unsafe { name.poll_connect(cx, addr, len, &Cell::new(1)) }.map(|done| done.map(|()| 0))
    })
}

/// Ends a conversation, in polls, so that the peer hears all of it: waits until what is queued was sent, shuts the sending side down,
/// and drops what the peer still sends, until its end. Closing a socket that has something unread resets the connection instead,
/// and the peer may lose what it has not read. Then close it, whatever this returned.
///
/// `*left`, which the caller keeps and sets before the first call, says how many bytes may be dropped; it counts down. At 0, too, the
/// end is waited for, or the one byte that is too many. How long a peer may take is said by
/// `rt_poll_deadline(cx, &slot, at, rt_poll_linger(cx, io, &left))`.
///
/// Returns 0 at the peer's end, at once if that was seen before; `RT_PENDING`. `-EMSGSIZE`: more came, and was not read. `-ECONNRESET`
/// and other errors of the system's: the peer hears nothing any more. `-EBUSY` while an operation receives, `-EINVAL` for NULL, for a
/// descriptor that blocks or that is not registered for `RT_READABLE`: the peer was told nothing. `-ENOTSOCK`; `-ENOTCONN`; `-EBADF`,
/// `-ESHUTDOWN`; `-EPERM` for the context. In a poll, or with a context of the program's own. Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `left` is readable and writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_linger(cx: *mut rt_cx, io: rt_io, left: *mut usize) -> i64 {
    polled(|| {
        check!(not_null(left));
        // SAFETY: the caller says so, and so below.
        let (cx, name) = check!(unsafe { begin(cx, io) });
        // SAFETY: as above.
        name.poll_linger(cx, unsafe { &mut *left }).map(|over| over.map(|()| 0))
    })
}
