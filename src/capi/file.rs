//! The noun operation: what is submitted on files and paths.

use super::context::rt_cx;
use super::operation::{begin, on, rt_op};
use super::readiness::rt_io;
use super::{Errno, io_name, not_null};
use crate::runtime::{IoName, Request};
use libc::{mode_t, statx};
use std::ffi::{CStr, CString, c_char, c_int, c_uint};

/// # Safety
/// `path` is null or a C string.
unsafe fn copy_path(path: *const c_char) -> Result<CString, Errno> {
    not_null(path)?;
    // SAFETY: the caller says so.
    Ok(unsafe { CStr::from_ptr(path) }.into())
}

/// A registered directory; 0: the current one.
fn directory(dir: rt_io) -> Result<Option<IoName>, Errno> {
    if dir == 0 { Ok(None) } else { io_name(dir).map(Some) }
}

/// Submits: fsync(2). Outcome: 0, or the system's error. Otherwise as `rt_submit_accept`.
///
/// # Safety
/// `cx` is the context of this poll; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_fsync(cx: *mut rt_cx, io: rt_io, out: *mut rt_op) -> i64 {
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, || on(io, Request::Sync { data_only: false })) }
}

/// Submits: fdatasync(2). Outcome: 0, or the system's error. Otherwise as `rt_submit_accept`.
///
/// # Safety
/// `cx` is the context of this poll; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_fdatasync(cx: *mut rt_cx, io: rt_io, out: *mut rt_op) -> i64 {
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, || on(io, Request::Sync { data_only: true })) }
}

/// Submits: fallocate(2). Outcome: 0, or the system's error. Otherwise as `rt_submit_accept`.
///
/// # Safety
/// `cx` is the context of this poll; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_fallocate(
    cx: *mut rt_cx,
    io: rt_io,
    mode: c_int,
    offset: u64,
    len: u64,
    out: *mut rt_op,
) -> i64 {
    // What ends beyond all files is the system's to refuse.
    let is_number = |n: u64| n <= i64::MAX as u64;
    let request = || match len {
        1.. if is_number(offset) && is_number(len) => on(io, Request::Allocate { mode, offset, len }),
        _ => Err(libc::EINVAL),
    };
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, request) }
}

/// Submits: ftruncate(2). Outcome: 0, or the system's error. Otherwise as `rt_submit_accept`.
///
/// # Safety
/// `cx` is the context of this poll; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_ftruncate(cx: *mut rt_cx, io: rt_io, len: u64, out: *mut rt_op) -> i64 {
    let request = || match len {
        len if len <= i64::MAX as u64 => on(io, Request::Truncate { len }),
        _ => Err(libc::EINVAL),
    };
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, request) }
}

/// Submits: openat(2), with O_CLOEXEC. `dir` is a registered directory, or 0 for the current one. Outcome: the file, an `rt_io`
/// without readiness, owned; or the system's error. The open of a FIFO without O_NONBLOCK waits for the other end, on a thread that
/// nobody may be able to call back: use O_NONBLOCK. Otherwise as `rt_submit_accept`.
///
/// # Safety
/// `cx` is the context of this poll; `path` is a C string; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_openat(
    cx: *mut rt_cx,
    dir: rt_io,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
    out: *mut rt_op,
) -> i64 {
    let request = || {
        // SAFETY: the caller says so.
        Ok((Request::Open { path: unsafe { copy_path(path) }?, flags, mode }, [directory(dir)?, None]))
    };
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, request) }
}

/// Submits: statx(2) into `*into`. Outcome: 0, or the system's error. Otherwise as `rt_submit_openat`.
///
/// # Safety
/// `cx` is the context of this poll; `path` is a C string; `into` is writable until the operation is over; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_statx(
    cx: *mut rt_cx,
    dir: rt_io,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    into: *mut statx,
    out: *mut rt_op,
) -> i64 {
    let request = || {
        not_null(into)?;
        // SAFETY: the caller says so.
        Ok((Request::Stat { path: unsafe { copy_path(path) }?, flags, mask, into }, [directory(dir)?, None]))
    };
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, request) }
}

/// Submits: unlinkat(2). Outcome: 0, or the system's error. Otherwise as `rt_submit_openat`.
///
/// # Safety
/// `cx` is the context of this poll; `path` is a C string; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_unlinkat(
    cx: *mut rt_cx,
    dir: rt_io,
    path: *const c_char,
    flags: c_int,
    out: *mut rt_op,
) -> i64 {
    let request = || {
        // SAFETY: the caller says so.
        Ok((Request::Unlink { path: unsafe { copy_path(path) }?, flags }, [directory(dir)?, None]))
    };
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, request) }
}

/// Submits: renameat2(2). Outcome: 0, or the system's error. Otherwise as `rt_submit_openat`.
///
/// # Safety
/// `cx` is the context of this poll; the paths are C strings; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_renameat(
    cx: *mut rt_cx,
    from_dir: rt_io,
    from: *const c_char,
    to_dir: rt_io,
    to: *const c_char,
    flags: c_uint,
    out: *mut rt_op,
) -> i64 {
    let request = || {
        // SAFETY: the caller says so.
        let (from, to) = unsafe { (copy_path(from)?, copy_path(to)?) };
        Ok((Request::Rename { from, to, flags }, [directory(from_dir)?, directory(to_dir)?]))
    };
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, request) }
}

/// Submits: mkdirat(2). Outcome: 0, or the system's error. Otherwise as `rt_submit_openat`.
///
/// # Safety
/// `cx` is the context of this poll; `path` is a C string; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_mkdirat(
    cx: *mut rt_cx,
    dir: rt_io,
    path: *const c_char,
    mode: mode_t,
    out: *mut rt_op,
) -> i64 {
    let request = || {
        // SAFETY: the caller says so.
        Ok((Request::MakeDir { path: unsafe { copy_path(path) }?, mode }, [directory(dir)?, None]))
    };
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, request) }
}
