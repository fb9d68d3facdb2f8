//! A child by its pidfd, and how it ended.

use super::Exit;
use crate::runtime::{Errno, errno_of};
use parking_lot::Mutex;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// See the module. What became of a child that ended while nobody looked is looked at when this is dropped.
#[derive(Debug)]
pub(super) struct Child {
    pid: i32,
    pidfd: OwnedFd,
    /// The library spawned it, so the library reaps it.
    ours: bool,
    /// Held by who looks, so that one of them reaps it and the others find what it found.
    outcome: Mutex<Option<Result<Exit, Errno>>>,
}

impl Child {
    /// `ECHILD`: there is no such process, or it is no child of ours.
    pub(super) fn open(pid: i32, ours: bool) -> Result<Self, Errno> {
        // SAFETY: no pointers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, i64::from(pid), 0i64) } as RawFd;
        if fd < 0 {
            let errno = errno_of(io::Error::last_os_error());
            // A thread's number is no process's, which older kernels call EINVAL and newer ones ENOENT.
            let is_none = matches!(errno, libc::ESRCH | libc::EINVAL | libc::ENOENT);
            return Err(if is_none { libc::ECHILD } else { errno });
        }
        // SAFETY: the descriptor is fresh, and nobody else's. The kernel made it close-on-exec.
        let pidfd = unsafe { OwnedFd::from_raw_fd(fd) };
        let child = Self { pid, pidfd, ours, outcome: Mutex::new(None) };
        child.ask(libc::WNOWAIT)?;
        Ok(child)
    }

    pub(super) fn fd(&self) -> RawFd {
        self.pidfd.as_raw_fd()
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    pub(super) fn is_ours(&self) -> bool {
        self.ours
    }

    /// What it is known to have ended with.
    pub(super) fn known(&self) -> Option<Result<Exit, Errno>> {
        *self.outcome.lock()
    }

    /// What it ended with, if it has: then it is reaped.
    pub(super) fn look(&self) -> Option<Result<Exit, Errno>> {
        let mut outcome = self.outcome.lock();
        if outcome.is_none() {
            *outcome = self.ask(0).transpose();
        }
        *outcome
    }

    /// Asks the kernel. `None`: it goes on.
    fn ask(&self, flags: i32) -> Result<Option<Exit>, Errno> {
        // SAFETY: an all-zero structure is valid, and says that no child was found.
        let mut info = unsafe { std::mem::zeroed::<libc::siginfo_t>() };
        let flags = libc::WEXITED | libc::WNOHANG | flags;
        // SAFETY: the structure is writable.
        while unsafe { libc::waitid(libc::P_PIDFD, self.fd() as libc::id_t, &mut info, flags) } < 0 {
            match errno_of(io::Error::last_os_error()) {
                libc::EINTR => {}
                errno => return Err(errno),
            }
        }
        // SAFETY: waitid filled in these fields, or left their zeros.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        Ok((pid != 0).then_some(match info.si_code {
            libc::CLD_EXITED => Exit { code: status, signal: 0, core_dumped: false },
            how => Exit { code: 0, signal: status, core_dumped: how == libc::CLD_DUMPED },
        }))
    }

    /// `ESRCH`: it has ended, whether or not that was asked for.
    pub(super) fn signal(&self, signum: i32) -> Result<(), Errno> {
        if self.known().is_some() || !matches!(self.ask(libc::WNOWAIT), Ok(None)) {
            return Err(libc::ESRCH);
        }
        let (fd, signum) = (i64::from(self.fd()), i64::from(signum));
        // SAFETY: the information may be null.
        let sent = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, fd, signum, std::ptr::null::<libc::siginfo_t>(), 0i64)
        };
        if sent < 0 { Err(errno_of(io::Error::last_os_error())) } else { Ok(()) }
    }

    /// Kills it and reaps it, by the pidfd: it may have ended and been reaped already, and its number be another's.
    pub(super) fn destroy(&self) {
        if self.signal(libc::SIGKILL).is_err() {
            return;
        }
        let mut ended = libc::pollfd { fd: self.fd(), events: libc::POLLIN, revents: 0 };
        while self.look().is_none() {
            // SAFETY: one writable entry. A killed process ends at once.
            unsafe { libc::poll(&mut ended, 1, -1) };
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ours {
            self.look();
        }
    }
}
