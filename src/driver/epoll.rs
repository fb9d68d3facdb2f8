//! epoll. mio makes the set and changes its members; waiting is ours, because mio hides the raw mask (EPOLLIN and EPOLLPRI
//! look alike in it), rounds timeouts to milliseconds, and hides its waker's descriptor.

use super::{Event, Poller, UNPARK};
use crate::readiness::{Interest, Ready};
use mio::unix::SourceFd;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// The shared half: membership of the set, and waking its owner.
#[derive(Debug)]
pub(super) struct Handle {
    poll: mio::Poll,
    eventfd: OwnedFd,
    /// Makes the set readable at a time, for an owner that sleeps in somebody else's loop.
    timerfd: OwnedFd,
}

/// The owner's half. It does not own the descriptor: the shared half outlives it.
pub(super) struct Epoll {
    epfd: RawFd,
    raw: Vec<libc::epoll_event>,
    nanosecond_waits: bool,
}

// SAFETY: `epoll_event` is plain data, and the vector is only a buffer for the kernel.
unsafe impl Send for Epoll {}

/// A set with an eventfd in it.
pub(super) fn new(max_events: usize) -> io::Result<(Epoll, Handle)> {
    let poll = mio::Poll::new()?;
    let eventfd = eventfd()?;
    // SAFETY: the call takes no pointers; a descriptor that it returns is ours.
    let timerfd =
        unsafe { owned(libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK))? };
    for fd in [&eventfd, &timerfd] {
        let token = mio::Token(UNPARK as usize);
        poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token, mio::Interest::READABLE)?;
    }
    let raw = Vec::with_capacity(max_events);
    let epoll = Epoll { epfd: poll.as_raw_fd(), raw, nanosecond_waits: true };
    Ok((epoll, Handle { poll, eventfd, timerfd }))
}

/// A new eventfd.
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers; a descriptor that it returns is ours.
    unsafe { owned(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)) }
}

/// Writes an eventfd, which is never read: every write is an event.
pub(super) fn ring(eventfd: RawFd) {
    let one = 1u64;
    // SAFETY: the buffer is eight readable bytes.
    while unsafe { libc::write(eventfd, (&raw const one).cast(), 8) } < 0 {
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EINTR) => {}
            // The counter is full after 2^64 - 2 wakes: empty it.
            Some(libc::EAGAIN) => {
                let mut count = 0u64;
                // SAFETY: eight writable bytes.
                unsafe { libc::read(eventfd, (&raw mut count).cast(), 8) };
            }
            // It was closed behind us. There is nobody to tell.
            _ => return,
        }
    }
}

/// # Safety
/// `fd` is the result of a call that returns a new descriptor or -1.
unsafe fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller says that it is new, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl Handle {
    /// Watches a descriptor, edge-triggered. The token is its handle.
    pub(super) fn register(&self, fd: RawFd, token: u64, interest: Interest) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), mio::Token(token as usize), to_mio(interest))
    }

    /// Watches a listener that is in the sets of several workers: news of it wakes as few of them as the kernel can, at least
    /// one that sleeps. (A set whose owner is awake gets the news as well, without a wake. A worker that sleeps in its ring
    /// looks asleep to nobody: all of those are woken.) Such a member may not watch for the end of a stream, and cannot be
    /// armed anew.
    pub(super) fn register_exclusive(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let events = (libc::EPOLLIN | libc::EPOLLET | libc::EPOLLEXCLUSIVE) as u32;
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: the event is readable for the length of the call.
        match unsafe { libc::epoll_ctl(self.poll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Arms a member anew: its present state is reported once more. Fails with ENOENT if the descriptor at this number
    /// is not the one that was registered.
    pub(super) fn rearm(&self, fd: RawFd, token: u64, interest: Interest) -> io::Result<()> {
        self.poll.registry().reregister(&mut SourceFd(&fd), mio::Token(token as usize), to_mio(interest))
    }

    /// Stops watching. Fails as `rearm` does.
    pub(super) fn deregister(&self, fd: RawFd) -> io::Result<()> {
        self.poll.registry().deregister(&mut SourceFd(&fd))
    }

    /// Makes the owner's wait return.
    pub(super) fn unpark(&self) {
        ring(self.eventfd.as_raw_fd());
    }

    pub(super) fn eventfd(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }

    /// The set's descriptor, for sleeping in somebody else's loop: poll(2) sees it readable when there are events.
    pub(super) fn event_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Makes the set readable at an absolute monotonic time; `None` takes that back.
    pub(super) fn alarm(&self, at: Option<u64>) {
        // A time of 0 would disarm the timer, so the past is 1 ns.
        let at = at.map_or(0, |at| at.clamp(1, i64::MAX as u64));
        let it_value = libc::timespec {
            tv_sec: (at / 1_000_000_000) as libc::time_t,
            tv_nsec: (at % 1_000_000_000) as libc::c_long,
        };
        let spec = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        // SAFETY: the structure is initialised and outlives the call. It cannot fail with valid arguments.
        unsafe {
            libc::timerfd_settime(self.timerfd.as_raw_fd(), libc::TFD_TIMER_ABSTIME, &spec, std::ptr::null_mut())
        };
    }
}

fn to_mio(interest: Interest) -> mio::Interest {
    // A set needs one interest at least; errors and hang-ups are reported whatever is asked.
    let mut wanted = mio::Interest::PRIORITY;
    if interest.contains(Interest::READABLE) {
        wanted |= mio::Interest::READABLE;
    }
    if interest.contains(Interest::WRITABLE) {
        wanted |= mio::Interest::WRITABLE;
    }
    wanted
}

impl Poller for Epoll {
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        let count = match self.wait_raw(timeout) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        };
        // SAFETY: the kernel initialised the first `count` events.
        unsafe { self.raw.set_len(count) };
        events.extend(self.raw.iter().map(|event| Event { token: event.u64, ready: Ready::from_epoll(event.events) }));
        Ok(())
    }
}

impl Epoll {
    fn wait_raw(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        self.raw.clear();
        let room = self.raw.capacity().min(i32::MAX as usize) as i32;
        if self.nanosecond_waits && timeout.is_some_and(|timeout| !timeout.is_zero()) {
            match self.pwait2(timeout, room) {
                // An old kernel, or a sandbox that has not heard of the call.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                    self.nanosecond_waits = false;
                }
                outcome => return outcome,
            }
        }
        let millis = timeout.map_or(-1, |timeout| {
            // Rounded up: a wait that ends early would make its caller spin.
            i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        // SAFETY: the kernel writes at most `room` events into the vector's spare capacity.
        count(unsafe { libc::epoll_wait(self.epfd, self.raw.as_mut_ptr(), room, millis) }.into())
    }

    /// By number: the C library's wrapper is younger than the kernels and libraries that we run on.
    fn pwait2(&mut self, timeout: Option<Duration>, room: i32) -> io::Result<usize> {
        let limit = timeout.map(|timeout| libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let no_mask = std::ptr::null::<libc::sigset_t>();
        let events = self.raw.as_mut_ptr();
        // SAFETY: as for epoll_wait; the timeout outlives the call.
        count(unsafe {
            libc::syscall(libc::SYS_epoll_pwait2, i64::from(self.epfd), events, i64::from(room), limit, no_mask, 8usize)
        })
    }
}

fn count(returned: libc::c_long) -> io::Result<usize> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}
