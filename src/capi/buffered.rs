//! The noun stream: lines, whole messages and small writes through buffers.

use super::context::rt_cx;
use super::io::buffer_is_valid;
use super::readiness::rt_io;
use super::{Errno, check, context, guarded, init_sized, io_name, not_null, polled, sized};
use crate::runtime::{IoPoll, PollContext};
use crate::stream::{Channel, StreamOptions, StreamUse, free_stream, new_stream};
use std::ffi::{c_int, c_void};
use std::task::Poll;

/// A buffered reader and writer over an `rt_io`, which stays the caller's: a socket, a pipe, a terminal.
///
/// Writes are sent when the buffer is full, by `rt_poll_stream_flush`, and when a read of the same stream is about to wait:
/// requests that came together are answered together, and no answer is forgotten. A stream that waits to read, with
/// nothing half read and nothing written, holds no buffer.
///
/// 0 is never a stream. The handle is good until `rt_stream_free`, which may come before or after the `rt_close` of the `rt_io`.
///
/// Methods: `rt_poll_stream_read`, `rt_poll_read_exact`, `rt_poll_read_until`, `rt_poll_fill`, `rt_stream_consume`,
/// `rt_poll_stream_write`, `rt_poll_stream_flush`, `rt_stream_free`. Made by `rt_stream_new`.
///
/// Threads: a stream is used by one task, or context, at a time, from whatever thread; a call that meets another one gets
/// `-EBUSY`. It may pass from one task to another: nothing that was received is lost, also when the first task has ended. Of a message
/// that such a task had written in part the rest is missing, so nothing can be written after it: `-EPIPE`.
///
/// Others should not use the same `rt_io` in the same direction: whoever else reads, directly or by a second stream, gets
/// `-EBUSY` or some of the bytes, and direct writes go before what is buffered. While `rt_send` has something queued, writes that do
/// not fit into the buffer and flushes get `-EBUSY`; a read that waits waits for that as well, and sends what is buffered then. On
/// io_uring a stream reads by an operation of the task, for which `rt_poll_quiesce` and `rt_deregister` are not ready until the
/// stream was freed; the operation ends soon after that.
#[allow(non_camel_case_types)]
pub type rt_stream = u64;

/// How much a stream buffers. Zeros mean the defaults.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_stream_opts {
    /// The size of this struct, set by `rt_stream_opts_init`.
    pub size: u32,
    /// How much is read at a time. 0: 4096. What is received on io_uring comes in the buffers of `rt_config`.
    pub read_buffer: u32,
    /// The longest line with its delimiter, and the most that `rt_poll_fill` can be asked for. 0: 65536.
    pub limit: u32,
    /// How much may be written without being sent. 0: 16384. Memory is taken as it is used.
    pub write_buffer: u32,
}

/// Fills a struct of options with the defaults. `size` is the size of the program's struct.
///
/// Returns 0; `-EINVAL` for NULL and a size that cannot be. Any thread. Does not block.
///
/// # Safety
/// `opts` points to `size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_opts_init(opts: *mut rt_stream_opts, size: usize) -> i64 {
    // SAFETY: the caller says so.
    guarded(|| unsafe { init_sized(opts, size) })
}

/// # Safety
/// `opts` is null or points to a struct of the size that it says.
unsafe fn options(opts: *const rt_stream_opts) -> Result<StreamOptions, Errno> {
    let mut options = StreamOptions::default();
    if opts.is_null() {
        return Ok(options);
    }
    // SAFETY: the caller says so.
    let opts = unsafe { sized(opts) }?;
    let fields = [
        (&mut options.read_buffer, opts.read_buffer),
        (&mut options.limit, opts.limit),
        (&mut options.write_buffer, opts.write_buffer),
    ];
    for (field, given) in fields {
        if given != 0 {
            *field = given as usize;
        }
    }
    Ok(options)
}

/// Makes a stream over `io`, which must not block. `opts` may be NULL.
///
/// Returns 0, and the stream in `*out`. On failure `*out` is 0: `-EBADF` for a stale `io`; `-EINVAL` for NULL, options of a wrong size,
/// and a descriptor that blocks; `-ENOMEM`. Any thread. Does not block.
///
/// # Safety
/// `opts` is NULL or points to as many bytes as its size says; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_new(io: rt_io, opts: *const rt_stream_opts, out: *mut rt_stream) -> i64 {
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so, and so below.
        unsafe { out.write(0) };
        // SAFETY: as above.
        let stream = new_stream(io_name(io)?, &unsafe { options(opts) }?)?;
        // SAFETY: as above.
        unsafe { out.write(stream) };
        Ok(0)
    })
}

/// Frees a stream, and not its `rt_io`. What was written and not sent is lost, and what was received and not taken. Lines that
/// it gave are gone. A task that waits in a call of the stream is not woken. Where others are to read from the `rt_io` now, the task
/// that read waits by `rt_poll_quiesce` until they can.
///
/// Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_stream_free(stream: rt_stream) -> i64 {
    guarded(|| {
        if stream != 0 {
            free_stream(stream)?;
        }
        Ok(0)
    })
}

/// # Safety
/// `cx` is the context of this poll.
unsafe fn poll<T>(
    cx: *mut rt_cx,
    stream: rt_stream,
    call: impl FnOnce(&mut Channel, &PollContext) -> IoPoll<T>,
) -> IoPoll<T> {
    // SAFETY: the caller says so.
    let cx = check!(unsafe { context(cx) });
    let stream = check!(StreamUse::enter(stream));
    check!(stream.with(|channel| call(channel, cx)))
}

fn count(moved: IoPoll<usize>) -> IoPoll<i64> {
    moved.map(|moved| moved.map(|moved| moved as i64))
}

/// # Safety
/// `buf` is null or has `n` writable bytes.
unsafe fn room<'a>(buf: *mut c_void, n: usize) -> Result<&'a mut [u8], Errno> {
    buffer_is_valid(buf, n)?;
    // SAFETY: the caller says so.
    Ok(if n == 0 { &mut [] } else { unsafe { std::slice::from_raw_parts_mut(buf.cast::<u8>(), n) } })
}

/// Shows the program what is at the front of the stream.
///
/// # Safety
/// `at` and `len` are writable.
unsafe fn show(bytes: &[u8], at: *mut *const c_void, len: *mut usize) {
    // SAFETY: the caller says so.
    unsafe {
        at.write(if bytes.is_empty() { std::ptr::null() } else { bytes.as_ptr().cast() });
        len.write(bytes.len());
    }
}

/// Reads, in a poll, into `buf`: waits until there is something, then gives at most `n` bytes.
///
/// Returns how many bytes there are; 0 at the end of the stream, and for an `n` of 0; `RT_PENDING`. The end, and an error that
/// breaks the stream, such as `-ECONNRESET`, come after everything that was received before, and then each time; a
/// broken stream fails to write, too.
///
/// Errors of this and the other reading calls: the system's; `-EBADF` for a stale stream or `rt_io`; `-ESHUTDOWN`; `-EINVAL` for NULL,
/// and an `rt_io` that is not registered for `RT_READABLE`; `-EPERM` for the context; `-EBUSY`: another call has the stream, or
/// something else receives on the `rt_io`; `-ENOMEM`. If what was written cannot be sent, a call that would wait returns that error:
/// once, or, where it is for want of memory, each time that it tries. Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `buf` has `n` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_stream_read(cx: *mut rt_cx, stream: rt_stream, buf: *mut c_void, n: usize) -> i64 {
    polled(|| {
        // SAFETY: the caller says so, and so below.
        let buffer = check!(unsafe { room(buf, n) });
        // SAFETY: as above.
        count(unsafe { poll(cx, stream, |channel, cx| channel.poll_read(cx, buffer)) })
    })
}

/// Fills, in polls, all `n` bytes of `buf`.
///
/// Returns `n`; `RT_PENDING`; `-ENODATA`: the end came first. Until there are `n` bytes what came is in the stream still, for
/// the next reading call, whichever that is, and `buf` has nothing that counts. Other errors as for `rt_poll_stream_read`. Does not
/// block.
///
/// # Safety
/// `cx` is the context of this poll; `buf` has `n` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_read_exact(cx: *mut rt_cx, stream: rt_stream, buf: *mut c_void, n: usize) -> i64 {
    polled(|| {
        // SAFETY: the caller says so, and so below.
        let buffer = check!(unsafe { room(buf, n) });
        // SAFETY: as above.
        count(unsafe { poll(cx, stream, |channel, cx| channel.poll_exact(cx, buffer)) })
    })
}

/// Reads, in polls, the next line: everything up to and with the next byte `delimiter`.
///
/// Returns 1 and the line in `*line` and `*len`, the stream's own memory, which is good until the next reading call, or
/// `rt_stream_free`. What comes before the end of the stream without a delimiter is the last line. 0 at the end, with NULL
/// in `*line`; `RT_PENDING`.
///
/// `-EMSGSIZE`: the line is longer than the limit. It stays in the stream, for `rt_poll_stream_read` to take; this call would say the
/// same again. `-EINVAL` also for a `delimiter` that is no byte. Other errors as for `rt_poll_stream_read`. Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `line` and `len` are writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_read_until(
    cx: *mut rt_cx,
    stream: rt_stream,
    delimiter: c_int,
    line: *mut *const c_void,
    len: *mut usize,
) -> i64 {
    polled(|| {
        check!(not_null(line));
        check!(not_null(len));
        let delimiter = check!(u8::try_from(delimiter).map_err(|_| libc::EINVAL));
        let found = |channel: &mut Channel, cx: &PollContext| {
            channel.poll_until(cx, delimiter).map_ok(|n| {
                // SAFETY: the caller says so.
                unsafe { show(&channel.front()[..n], line, len) };
                i64::from(n > 0)
            })
        };
        // SAFETY: the caller says so.
        unsafe { poll(cx, stream, found) }
    })
}

/// Waits until at least `at_least` bytes can be looked at, in one piece; 0 counts as 1. `rt_stream_consume` takes some of them.
///
/// Returns how many there are, which may be more, and fewer only if the end of the stream comes after them; where they are in
/// `*at`, and their number in `*len`. They are the stream's own memory, good until the next reading call. 0 at the end, with NULL in
/// `*at`; `RT_PENDING`. `-EMSGSIZE` for more than the limit. Other errors as for `rt_poll_stream_read`. Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `at` and `len` are writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_fill(
    cx: *mut rt_cx,
    stream: rt_stream,
    at_least: usize,
    at: *mut *const c_void,
    len: *mut usize,
) -> i64 {
    polled(|| {
        check!(not_null(at));
        check!(not_null(len));
        let filled = |channel: &mut Channel, cx: &PollContext| {
            channel.poll_fill(cx, at_least).map_ok(|n| {
                // SAFETY: the caller says so.
                unsafe { show(channel.front(), at, len) };
                n as i64
            })
        };
        // SAFETY: the caller says so.
        unsafe { poll(cx, stream, filled) }
    })
}

/// Takes `n` bytes that `rt_poll_fill` showed. A reading call, in that bytes shown before are gone.
///
/// Returns 0; `-EINVAL`: there are not so many, and none was taken; `-EBADF`; `-EBUSY` as for `rt_poll_stream_read`. Any thread. Does
/// not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_stream_consume(stream: rt_stream, n: usize) -> i64 {
    guarded(|| StreamUse::enter(stream)?.with(|channel| channel.consume(n))?.map(|()| 0))
}

/// Writes, in polls, all `n` bytes of `buf`: copies them if the buffer has room, else sends what is buffered and as much of them as
/// must go, in one piece.
///
/// Returns `n` when all were taken; then `buf` is the caller's again. `RT_PENDING`: to be called again with the same `buf` and `n`; until
/// that is done other writes get `-EBUSY`, if some bytes went, and `-EPIPE` when the task, or the context, has ended without it.
///
/// Errors: the system's, such as `-ECONNRESET` and `-EPIPE`, which never comes with a SIGPIPE. They are the end of writing: what is
/// buffered is lost, and every later write and flush says the same. Also: `-EBADF`, `-ESHUTDOWN`; `-EINVAL` for NULL, and an `rt_io`
/// that is not registered for `RT_WRITABLE`; `-EPERM` for the context; `-EBUSY`, also for what must be sent while `rt_send` has something
/// queued; `-ENOMEM`.
/// Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `buf` has `n` readable bytes, the same in each call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_stream_write(cx: *mut rt_cx, stream: rt_stream, buf: *const c_void, n: usize) -> i64 {
    polled(|| {
        check!(buffer_is_valid(buf, n));
        // SAFETY: the caller says so, and so below.
        let data = if n == 0 { &[] } else { unsafe { std::slice::from_raw_parts(buf.cast::<u8>(), n) } };
        // SAFETY: as above.
        count(unsafe { poll(cx, stream, |channel, cx| channel.poll_write(cx, data)) })
    })
}

/// Sends, in polls, what was written and is buffered.
///
/// Returns 0 when the system has it all; `RT_PENDING`. Errors as for `rt_poll_stream_write`. Does not block.
///
/// # Safety
/// `cx` is the context of this poll.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_stream_flush(cx: *mut rt_cx, stream: rt_stream) -> i64 {
    polled(|| {
        // SAFETY: the caller says so.
        let flushed = unsafe { poll(cx, stream, |channel, cx| channel.poll_flush(cx)) };
        match flushed {
            Poll::Ready(done) => Poll::Ready(done.map(|()| 0)),
            Poll::Pending => Poll::Pending,
        }
    })
}
