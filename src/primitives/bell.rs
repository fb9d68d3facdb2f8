//! An eventfd that is rung from anywhere, signal handlers too.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// See the module.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        // SAFETY: the descriptor is fresh, and nobody else's.
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) })) }
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Rings. Who watches the descriptor gets an edge each time, also while older rings were not taken. Async-signal-safe.
    pub(crate) fn ring(&self) {
        keeping_errno(|| {
            let one = 1u64;
            // SAFETY: eight readable bytes; the descriptor is ours.
            while unsafe { libc::write(self.fd(), (&raw const one).cast(), 8) } < 0 {
                // Or the counter is full, which wakes as well.
                if io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                    break;
                }
            }
        });
    }

    /// Takes the rings that were not taken. `None`: there are none.
    pub(crate) fn take(&self) -> Option<u64> {
        let mut rings = 0u64;
        // SAFETY: eight writable bytes; the descriptor is ours.
        let read = unsafe { libc::read(self.fd(), (&raw mut rings).cast(), 8) };
        (read == 8).then_some(rings)
    }
}

/// Does what a signal handler may do, which must not change what the code that it interrupted sees.
pub(crate) fn keeping_errno<R>(call: impl FnOnce() -> R) -> R {
    // SAFETY: this thread's errno, which lives as long as the thread.
    let errno = unsafe { &mut *libc::__errno_location() };
    let before = *errno;
    let result = call();
    *errno = before;
    result
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn rings_are_counted_and_taken_once() {
        let bell = Bell::new().expect("a descriptor");
        assert_eq!(bell.take(), None);
        bell.ring();
        bell.ring();
        assert_eq!(bell.take(), Some(2));
        assert_eq!(bell.take(), None);
    }
}
