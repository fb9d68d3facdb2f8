//! Writing without SIGPIPE, which is the program's.

use super::io::{IoName, errno_of, traits};
use super::transfer::{Attempted, attempted};
use crate::primitives::sync::Ordering::Relaxed;
use std::io;
use std::os::fd::RawFd;

/// The flag of pwritev2 that keeps it from raising SIGPIPE (Linux 6.18).
pub(super) const RWF_NOSIGNAL: i32 = 0x100;

impl IoName {
    /// Writes to what is no socket, without SIGPIPE.
    ///
    /// # Safety
    /// `parts` has `count` entries, each of readable memory.
    pub(super) unsafe fn write_silently(self, fd: RawFd, parts: *const libc::iovec, count: i32) -> Attempted {
        if !self.has(traits::PAST_RING) {
            let (number, n) = (i64::from(fd), i64::from(count));
            // SAFETY: the caller says so. An offset of -1 writes at the descriptor's own position.
            let wrote =
                unsafe { libc::syscall(libc::SYS_pwritev2, number, parts, n, -1i64, -1i64, i64::from(RWF_NOSIGNAL)) };
            match attempted(wrote as isize) {
                // An older kernel, a kind of descriptor that takes no flags, or a sandbox that has not heard of the call.
                Err(libc::EOPNOTSUPP | libc::ENOSYS | libc::EPERM) => {
                    self.io.traits.fetch_or(traits::PAST_RING, Relaxed)
                }
                result => return result,
            };
        }
        // SAFETY: as above.
        unsafe { write_masked(fd, parts, count) }
    }
}

/// Writes with SIGPIPE blocked on this thread.
///
/// # Safety
/// As for `IoName::write_silently`.
unsafe fn write_masked(fd: RawFd, parts: *const libc::iovec, count: i32) -> Attempted {
    // SAFETY: the caller says so.
    without_sigpipe(|| attempted(unsafe { libc::writev(fd, parts, count) }))
}

/// Makes a call with SIGPIPE blocked on this thread, and takes back the one that it raised.
pub(super) fn without_sigpipe(call: impl FnOnce() -> Attempted) -> Attempted {
    // SAFETY: the sets are plain data, initialised by sigemptyset; the thread's own mask is put back in the end.
    unsafe {
        let (mut pipe, mut mask, mut pending) = std::mem::zeroed::<(libc::sigset_t, libc::sigset_t, libc::sigset_t)>();
        libc::sigemptyset(&mut pipe);
        libc::sigaddset(&mut pipe, libc::SIGPIPE);
        libc::pthread_sigmask(libc::SIG_BLOCK, &pipe, &mut mask);
        // One that was pending before is the program's, and stays.
        libc::sigpending(&mut pending);
        let result = call();
        if result == Err(libc::EPIPE) && libc::sigismember(&pending, libc::SIGPIPE) == 0 {
            let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            while libc::sigtimedwait(&pipe, std::ptr::null_mut(), &at_once) < 0
                && errno_of(io::Error::last_os_error()) == libc::EINTR
            {}
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &mask, std::ptr::null_mut());
        result
    }
}
