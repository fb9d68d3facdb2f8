//! Results, and what they are called.

use std::ffi::{CStr, c_char, c_int};

/// What an `rt_poll_*` call returns when it is not ready: the task that called it will be woken. No other call returns it,
/// and no error has this value.
pub const RT_PENDING: i64 = -4096;

/// A deadline, or a timeout, that never comes.
pub const RT_NEVER: u64 = u64::MAX;

/// True for errors only: not for results, and not for `RT_PENDING`.
///
/// Any thread; also in signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn rt_failed(result: i64) -> bool {
    result < 0 && result != RT_PENDING
}

/// What a result means, in words that begin with the error's name. The text is constant and never freed.
///
/// Knows every value: results that are no errors, `RT_PENDING`, the library's own codes, and those of the system.
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn rt_strerror(result: i64) -> *const c_char {
    if result >= 0 {
        return c"success".as_ptr();
    }
    if result == RT_PENDING {
        return c"pending: the task will be woken".as_ptr();
    }
    let own: &CStr = match i32::try_from(-result).unwrap_or(0) {
        libc::EBADF => c"EBADF: the handle is stale or was never valid, or the descriptor is closed",
        libc::EINVAL => c"EINVAL: an argument is not valid",
        libc::ECANCELED => c"ECANCELED: the task was cancelled",
        libc::ESHUTDOWN => c"ESHUTDOWN: the runtime is shutting down, or has shut down",
        libc::ETIME => c"ETIME: the deadline came first",
        libc::EDEADLK => c"EDEADLK: the call would wait for its own caller",
        libc::EPERM => c"EPERM: not from this thread, context or process, or not for this kind of descriptor",
        libc::EBUSY => c"EBUSY: in use",
        libc::EEXIST => c"EEXIST: registered already",
        libc::ENOTRECOVERABLE => c"ENOTRECOVERABLE: a panic inside the library or a task",
        libc::ENOMEM => c"ENOMEM: out of memory",
        errno @ 1..=4095 => {
            unsafe extern "C" {
                fn strerror(errno: c_int) -> *mut c_char;
            }
            // SAFETY: takes any number; the texts of known numbers are constant in glibc (2.32 on) and musl.
            return unsafe { strerror(errno) };
        }
        _ => c"unknown result",
    };
    own.as_ptr()
}

/// The library's version, such as "0.1.0". The text is constant.
///
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn rt_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
