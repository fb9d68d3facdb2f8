//! The noun stream: sends that belong to a connection and not to a task.

use super::context::rt_cx;
use super::io::buffer_is_valid;
use super::multishot::rt_buf;
use super::readiness::rt_io;
use super::{check, context, guarded, io_name, not_null, polled};
use crate::runtime::{BlobUse, Goods, Lease, claim_lease, free_blob, new_blob};
use std::ffi::c_void;
use std::task::Poll;

/// Constant bytes that are counted by reference, to be sent to many. 0 is never one.
///
/// Methods: `rt_blob_new`, `rt_blob_free`, `rt_send_blob`.
#[allow(non_camel_case_types)]
pub type rt_blob = u64;

fn give(io: rt_io, goods: Goods<'_>) -> Result<i64, (i32, Option<Lease>)> {
    match (io_name(io), goods) {
        (Ok(name), goods) => name.send(goods).map(|sent| sent as i64),
        (Err(errno), Goods::Lease(lease, ..)) => Err((errno, Some(lease))),
        (Err(errno), _) => Err((errno, None)),
    }
}

/// Sends `n` bytes after everything that was submitted or given to be sent on this stream before. What does not go at once is
/// copied and sent when there is room; what has queued up leaves together. On sockets with message boundaries each call is one
/// message; one that the system refuses when its turn comes, as it does one that is too long, is lost, which is told to those who
/// submit a send instead.
///
/// Returns `n`. On failure nothing was taken: `-EAGAIN` when more is queued than the limit of `rt_config`: `rt_poll_flush` waits for
/// that; `-EPIPE` after an earlier send failed or was cut short, and without SIGPIPE; the system's errors; `-EBADF`; `-ENOTSOCK`;
/// `-EINVAL` for NULL with a length, and for a socket that blocks; `-ENOMEM`: if a part had gone by then, it was cut short. Any thread.
/// Does not block.
///
/// # Safety
/// `buf` has `n` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_send(io: rt_io, buf: *const c_void, n: usize) -> i64 {
    guarded(|| {
        buffer_is_valid(buf, n)?;
        // SAFETY: the caller says so.
        let bytes = if n == 0 { &[] } else { unsafe { std::slice::from_raw_parts(buf.cast::<u8>(), n) } };
        give(io, Goods::Copy(bytes)).map_err(|(errno, _)| errno)
    })
}

/// Makes a blob of a copy of `n` bytes.
///
/// Returns 0 and the blob in `*out`, which the caller must give to `rt_blob_free` once; `-EINVAL`, `-ENOMEM`. Any thread.
///
/// # Safety
/// `buf` has `n` readable bytes; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_blob_new(buf: *const c_void, n: usize, out: *mut rt_blob) -> i64 {
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so, and so below.
        unsafe { out.write(0) };
        buffer_is_valid(buf, n)?;
        // SAFETY: as above.
        let bytes = if n == 0 { &[] } else { unsafe { std::slice::from_raw_parts(buf.cast::<u8>(), n) } };
        let blob = new_blob(bytes)?;
        // SAFETY: as above.
        unsafe { out.write(blob) };
        Ok(0)
    })
}

/// Gives up the caller's reference to a blob. Sends that are queued keep theirs.
///
/// Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_blob_free(blob: rt_blob) -> i64 {
    guarded(|| {
        if blob != 0 {
            free_blob(blob)?;
        }
        Ok(0)
    })
}

/// As `rt_send`, without a copy. The caller keeps its reference. `-EBADF` also for a stale blob.
#[unsafe(no_mangle)]
pub extern "C" fn rt_send_blob(io: rt_io, blob: rt_blob) -> i64 {
    guarded(|| give(io, Goods::Blob(BlobUse::enter(blob)?)).map_err(|(errno, _)| errno))
}

/// As `rt_send`, without a copy: the bytes from `buf->ptr` on, `buf->len` of them, all of which must lie within the buffer that was
/// leased. On success the lease is the library's; on failure it stays the caller's. `-EBADF` also for a stale lease, `-EINVAL` for
/// bytes outside of it.
///
/// # Safety
/// `buf` is readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_send_buf(io: rt_io, buf: *const rt_buf) -> i64 {
    guarded(|| {
        not_null(buf)?;
        // SAFETY: the caller says so.
        let buf = unsafe { *buf };
        let lease = claim_lease(buf.lease)?;
        let (start, len) = lease.bytes();
        let (first, end) = (start.addr(), start.addr() + len as usize);
        let given = buf.ptr.cast::<u8>();
        let within =
            given.addr() >= first && given.addr().checked_add(buf.len).is_some_and(|given_end| given_end <= end);
        let sent = match within {
            true => give(io, Goods::Lease(lease, given, buf.len)),
            false => Err((libc::EINVAL, Some(lease))),
        };
        sent.map_err(|(errno, lease)| {
            // The caller's handle is good again.
            let _ = lease.map(Lease::hand_out);
            errno
        })
    })
}

/// Waits until at most `low_water` bytes are queued to be sent on a stream, counted as for the limit of `rt_config`.
///
/// Returns 0; `RT_PENDING`; the error that ended the stream's sends; `-EBADF`; `-EINVAL`, `-EPERM` for the context. In a poll. Does not block.
///
/// # Safety
/// `cx` is the context of this poll.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_flush(cx: *mut rt_cx, io: rt_io, low_water: usize) -> i64 {
    polled(|| {
        // SAFETY: the caller says so.
        let cx = check!(unsafe { context(cx) });
        check!(io_name(io)).poll_flush(cx, low_water as u64).map(|flushed| flushed.map(|()| 0))
    })
}
