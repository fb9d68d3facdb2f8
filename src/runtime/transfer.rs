//! Direct I/O: system calls on a registered descriptor, tried when it is ready, repeated until they do not say EAGAIN.

use super::context::PollContext;
use super::io::{Errno, IoName, IoPoll, errno_of, traits};
use super::letting_go::Attempt;
use crate::primitives::prefetch::prefetch;
use crate::primitives::sync::nature::{fault, short};
use crate::readiness::{Interest, Ready, ReadyEvent};
use std::cell::Cell;
use std::io;
use std::os::fd::RawFd;
use std::task::{Poll, ready};

/// What read(2) and its kin move at most in one call.
pub(crate) const MOST_BYTES: usize = 0x7fff_f000;

/// What one system call did.
pub(crate) type Attempted = Result<usize, Errno>;

pub(super) fn attempted(returned: isize) -> Attempted {
    usize::try_from(returned).map_err(|_| errno_of(io::Error::last_os_error()))
}

/// A read that is due, of a descriptor that its caller keeps open.
pub(crate) struct Reading {
    fd: RawFd,
    socket: bool,
    len: usize,
}

impl Reading {
    /// # Safety
    /// `buffer` has as many writable bytes as are to be read.
    pub(crate) unsafe fn read(self, buffer: *mut u8) -> Attempted {
        // SAFETY: the caller says so.
        attempted(unsafe {
            match self.socket {
                true => libc::recv(self.fd, buffer.cast(), self.len, 0),
                false => libc::read(self.fd, buffer.cast(), self.len),
            }
        })
    }
}

/// A receive that is due, from a socket that its caller keeps open.
pub(super) struct Receiving {
    fd: RawFd,
    len: usize,
}

impl Receiving {
    /// Fails as the receive would if there is neither something nor the end.
    pub(super) fn look(&self) -> Result<(), Errno> {
        let mut byte = 0u8;
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        // SAFETY: one writable byte.
        attempted(unsafe { libc::recv(self.fd, (&raw mut byte).cast(), 1, flags) }).map(drop)
    }

    /// # Safety
    /// `buffer` has as many writable bytes as are to be received.
    pub(super) unsafe fn receive(&self, buffer: *mut u8) -> Attempted {
        // SAFETY: the caller says so.
        attempted(unsafe { libc::recv(self.fd, buffer.cast(), self.len, libc::MSG_DONTWAIT) })
    }
}

/// What a receive with these flags waits for: each queue has an event of its own, and an empty one says nothing of the
/// others.
fn interest_of(flags: i32) -> Interest {
    match flags {
        _ if flags & libc::MSG_OOB != 0 => Interest::PRIORITY,
        _ if flags & libc::MSG_ERRQUEUE != 0 => Interest::ERROR,
        _ => Interest::READABLE,
    }
}

/// Repeats a call that a signal interrupted.
pub(super) fn uninterrupted(mut call: impl FnMut() -> Attempted) -> Attempted {
    loop {
        match fault(&[libc::EINTR]).map_or_else(&mut call, Err) {
            Err(libc::EINTR) => {}
            result => return result,
        }
    }
}

impl IoName {
    /// Waits until the interest is satisfied, then tries; EAGAIN takes the readiness back and waits again. `whole` is how
    /// many bytes the call is asked for: fewer, on a TCP stream, mean that the kernel's buffer is drained or full, and
    /// the next event will say so when that changes. (Not where an urgent mark may be about, at which a read stops early.)
    pub(super) fn transfer(
        self,
        cx: &PollContext,
        interest: Interest,
        whole: usize,
        mut call: impl FnMut(RawFd) -> Attempted,
    ) -> IoPoll<usize> {
        // A call that moves as much as any can was not short. That is a few pages less than 2 GiB, and a page is 64 KiB at most.
        let whole = whole.min(MOST_BYTES & !0xffff);
        let mut in_vain = None;
        // An operation is tried before anybody asks whether it is ready: what is wrong with it is said at once, and a
        // descriptor need not enter the driver's set before it must be waited for. Unless an event is known to tell.
        let mut untried = cx.is_operation() && !(interest == Interest::READABLE && self.has(traits::TOLD));
        loop {
            let seen = if std::mem::take(&mut untried) {
                self.try_ready_for_op(interest)
            } else {
                match ready!(self.poll_ready_after(cx, interest, in_vain)) {
                    Ok(seen) => Some(seen),
                    Err(errno) => return Poll::Ready(Err(errno)),
                }
            };
            // What is noted of the descriptor below is noted of this one, and not of the next with its place.
            let _in_use = match self.enter() {
                Ok(in_use) => in_use,
                Err(errno) => return Poll::Ready(Err(errno)),
            };
            // Who finds nothing more will look at the waiters. They come while the call goes on.
            prefetch(self.io, 1);
            let result = uninterrupted(|| call(self.fd()));
            if matches!(result, Ok(1..)) && interest != Interest::ERROR {
                self.note_moved(interest != Interest::WRITABLE);
            }
            result.err().into_iter().for_each(|errno| self.was_told(errno));
            match result {
                Err(libc::EAGAIN) => in_vain = seen.and_then(|seen| self.drained(seen)),
                Ok(moved) if moved > 0 && moved < whole && self.has(traits::TCP) => {
                    if let Some(seen) = seen.filter(|_| !self.io.had_urgent()) {
                        self.io.clear_exactly(self.generation, seen.tick, seen.ready.without(Ready::LASTING));
                        if seen.ready.intersects(Ready::READABLE) && !self.has(traits::TOLD) {
                            self.add_trait(traits::TOLD);
                        }
                    }
                    return Poll::Ready(Ok(moved));
                }
                result => return Poll::Ready(result),
            }
        }
    }

    /// The same for a call that receives bytes, of which none mean the end. A socket of datagrams has one as well, when it was shut
    /// down for reading: a call that may block is told so, as is a ring, and one that may not is told to wait.
    fn receive(
        self,
        cx: &PollContext,
        interest: Interest,
        whole: usize,
        mut call: impl FnMut(RawFd) -> Attempted,
    ) -> IoPoll<usize> {
        self.receive_next(cx, interest, whole, |fd| match call(fd) {
            Err(libc::EAGAIN) if interest == Interest::READABLE && self.is_shut_for_reading() => match call(fd) {
                Err(libc::EAGAIN) => Ok(0),
                // It may have come before the shutdown.
                result => result,
            },
            result => result,
        })
    }

    /// The same for one of many receives, to which datagrams have no end: a ring tells such a one of none.
    fn receive_next(
        self,
        cx: &PollContext,
        interest: Interest,
        whole: usize,
        mut call: impl FnMut(RawFd) -> Attempted,
    ) -> IoPoll<usize> {
        let call = |fd| match call(fd) {
            Err(libc::EINVAL) if interest == Interest::PRIORITY => match self.awaits_urgent() {
                true => Err(libc::EAGAIN),
                // It may have come in between.
                false => call(fd),
            },
            result => result,
        };
        Poll::Ready(match ready!(self.transfer(cx, interest, whole, call)) {
            Ok(0) if interest == Interest::READABLE => self.end_of_stream(),
            result => result,
        })
    }

    /// True if there is no urgent byte, but one may come. The kernel calls a receive of one invalid then, as it does where there
    /// is one that cannot be had so (it is among the data), or the stream has ended.
    fn awaits_urgent(self) -> bool {
        self.has(traits::STREAM) && self.ask_kernel(Ready::PRIORITY | Ready::CLOSED, None).is_empty()
    }

    /// True for a socket of datagrams that was shut down for reading.
    fn is_shut_for_reading(self) -> bool {
        let was = |seen: ReadyEvent| seen.ready.intersects(Ready::READ_CLOSED);
        self.has(traits::SOCKET)
            && !self.has(traits::STREAM)
            && self.try_ready_for_op(Interest::READABLE).is_some_and(was)
            && !self.ask_kernel(Ready::READ_CLOSED, None).is_empty()
    }

    /// Direct I/O needs a descriptor that does not block the worker.
    pub(crate) fn check_direct(self) -> Result<(), Errno> {
        match (self.is_open(), self.has(traits::NONBLOCK)) {
            (false, _) => Err(libc::EBADF),
            (true, false) => Err(libc::EINVAL),
            (true, true) => Ok(()),
        }
    }

    /// The same, and no operation may be at work in this direction, for the two would get each other's bytes. An operation was
    /// looked at when it was submitted: what it tries on a file, the system refuses.
    fn check_apart(self, cx: &PollContext, writes: bool) -> Result<(), Errno> {
        if cx.is_operation() {
            return Ok(());
        }
        self.check_direct()?;
        self.check_free(writes)
    }

    /// No operation may be at work in this direction.
    pub(super) fn check_free(self, writes: bool) -> Result<(), Errno> {
        match self.is_busy(writes) {
            false => Ok(()),
            // Asked in this order: what is at work may be on a later descriptor that has the place of this one.
            true => Err(if self.is_open() { libc::EBUSY } else { libc::EBADF }),
        }
    }

    /// Whether a direct call in this direction could be made, now or after a wait.
    pub(crate) fn can_poll(self, cx: &PollContext, writes: bool) -> Result<(), Errno> {
        self.check_apart(cx, writes)?;
        self.check_interest(if writes { Interest::WRITABLE } else { Interest::READABLE })
    }

    /// # Safety
    /// `buffer` has `len` writable bytes.
    pub(crate) unsafe fn poll_read(self, cx: &PollContext, buffer: *mut u8, len: usize) -> IoPoll<usize> {
        // SAFETY: the caller says so.
        self.poll_read_by(cx, len, |by| unsafe { by.read(buffer) })
    }

    /// The same into a buffer that is there by the time that there is something to read.
    pub(crate) fn poll_read_by(
        self,
        cx: &PollContext,
        len: usize,
        mut call: impl FnMut(Reading) -> Attempted,
    ) -> IoPoll<usize> {
        if let Err(errno) = self.check_apart(cx, false) {
            return Poll::Ready(Err(errno));
        }
        let len = short(len);
        // A recv takes a shorter way in the kernel. Only a read of nothing leaves a datagram where it is.
        let socket = self.has(traits::SOCKET) && len > 0;
        self.receive(cx, Interest::READABLE, len, |fd| call(Reading { fd, socket, len }))
    }

    /// # Safety
    /// `buffer` has `len` readable bytes.
    pub(crate) unsafe fn poll_write(self, cx: &PollContext, buffer: *const u8, len: usize) -> IoPoll<usize> {
        if let Err(errno) = self.check_apart(cx, true) {
            return Poll::Ready(Err(errno));
        }
        let (socket, len) = (self.has(traits::SOCKET), short(len));
        self.transfer(cx, Interest::WRITABLE, len, |fd| {
            if socket {
                // SAFETY: the caller says so; the descriptor is kept open by our use.
                return attempted(unsafe { libc::send(fd, buffer.cast(), len, libc::MSG_NOSIGNAL) });
            }
            let part = libc::iovec { iov_base: buffer.cast_mut().cast(), iov_len: len };
            // SAFETY: as above.
            unsafe { self.write_silently(fd, &part, 1) }
        })
    }

    /// # Safety
    /// `parts` has `count` entries, each of writable memory.
    pub(crate) unsafe fn poll_readv(self, cx: &PollContext, parts: *const libc::iovec, count: i32) -> IoPoll<usize> {
        if let Err(errno) = self.check_apart(cx, false) {
            return Poll::Ready(Err(errno));
        }
        // SAFETY: the caller says so.
        let whole = unsafe { total(parts, count) };
        // SAFETY: as above.
        self.receive(cx, Interest::READABLE, whole, |fd| attempted(unsafe { libc::readv(fd, parts, count) }))
    }

    /// # Safety
    /// `parts` has `count` entries, each of readable memory.
    pub(crate) unsafe fn poll_writev(self, cx: &PollContext, parts: *const libc::iovec, count: i32) -> IoPoll<usize> {
        if let Err(errno) = self.check_apart(cx, true) {
            return Poll::Ready(Err(errno));
        }
        let socket = self.has(traits::SOCKET);
        // SAFETY: the caller says so.
        let whole = unsafe { total(parts, count) };
        self.transfer(cx, Interest::WRITABLE, whole, |fd| {
            if !socket {
                // SAFETY: as above.
                return unsafe { self.write_silently(fd, parts, count) };
            }
            // SAFETY: an all-zero message is empty; the parts are the caller's.
            let mut message = unsafe { std::mem::zeroed::<libc::msghdr>() };
            (message.msg_iov, message.msg_iovlen) = (parts.cast_mut(), count as usize);
            // SAFETY: as above.
            attempted(unsafe { libc::sendmsg(fd, &message, libc::MSG_NOSIGNAL) })
        })
    }

    /// # Safety
    /// `message` is a valid message to receive into.
    pub(crate) unsafe fn poll_recvmsg(self, cx: &PollContext, message: *mut libc::msghdr, flags: i32) -> IoPoll<usize> {
        if let Err(errno) = self.check_apart(cx, false) {
            return Poll::Ready(Err(errno));
        }
        let interest = interest_of(flags);
        let flags = flags | libc::MSG_DONTWAIT;
        let filled = Cell::new(false);
        let polled = self.receive(cx, interest, 0, |fd| {
            // SAFETY: the caller says so.
            let result = attempted(unsafe { libc::recvmsg(fd, message, flags) });
            filled.set(result.is_ok());
            result
        });
        // The kernel did not say that datagrams are over, and so not what came with nothing.
        if !filled.get() && matches!(polled, Poll::Ready(Ok(_))) {
            // SAFETY: as above.
            unsafe { ((*message).msg_namelen, (*message).msg_controllen, (*message).msg_flags) = (0, 0, 0) };
        }
        polled
    }

    /// # Safety
    /// `message` is a valid message to send.
    pub(crate) unsafe fn poll_sendmsg(
        self,
        cx: &PollContext,
        message: *const libc::msghdr,
        flags: i32,
    ) -> IoPoll<usize> {
        if let Err(errno) = self.check_apart(cx, true) {
            return Poll::Ready(Err(errno));
        }
        let flags = flags | libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        // SAFETY: the caller says so.
        self.transfer(cx, Interest::WRITABLE, 0, |fd| attempted(unsafe { libc::sendmsg(fd, message, flags) }))
    }

    /// Receives into the first of the messages, as many as are there. Returns how many.
    ///
    /// # Safety
    /// `messages` are `count` valid messages to receive into.
    pub(crate) unsafe fn poll_recvmmsg(
        self,
        cx: &PollContext,
        messages: *mut libc::mmsghdr,
        count: u32,
    ) -> IoPoll<usize> {
        if let Err(errno) = self.check_apart(cx, false) {
            return Poll::Ready(Err(errno));
        }
        let (flags, no_timeout) = (libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC, std::ptr::null_mut());
        self.transfer(cx, Interest::READABLE, 0, |fd| {
            // SAFETY: the caller says so.
            attempted(unsafe { libc::recvmmsg(fd, messages, count, flags, no_timeout) } as isize)
        })
    }

    /// Sends messages in their order, as many as there is room for. Returns how many.
    ///
    /// # Safety
    /// `messages` are `count` valid messages to send; how much went is written to them.
    pub(crate) unsafe fn poll_sendmmsg(
        self,
        cx: &PollContext,
        messages: *mut libc::mmsghdr,
        count: u32,
    ) -> IoPoll<usize> {
        if let Err(errno) = self.check_apart(cx, true) {
            return Poll::Ready(Err(errno));
        }
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        self.transfer(cx, Interest::WRITABLE, 0, |fd| {
            // SAFETY: the caller says so.
            attempted(unsafe { libc::sendmmsg(fd, messages, count, flags) } as isize)
        })
    }

    /// Any call that does not block, by the caller's own function, which returns a negative errno on failure.
    pub(crate) fn poll_try(
        self,
        cx: &PollContext,
        interest: Interest,
        mut attempt: impl FnMut(RawFd) -> i64,
    ) -> IoPoll<i64> {
        // It may be bytes that it writes. What it reads from a stream beside others is its own affair.
        if interest.contains(Interest::WRITABLE) {
            self.check_free(true)?;
        }
        let mut value = 0;
        let done = self.transfer(cx, interest, 0, |fd| {
            value = Attempt::on(self, || attempt(fd));
            if value > 0 {
                self.note_moved(interest != Interest::WRITABLE);
            }
            match i32::try_from(value.saturating_neg()) {
                _ if value >= 0 => Ok(0),
                Ok(errno @ 1..=4095) => Err(errno),
                // No errno, and not to be taken for RT_PENDING.
                _ => Err(libc::EINVAL),
            }
        });
        done.map(|result| result.map(|_| value))
    }

    /// Any call that does not block, for the library's own operations.
    pub(super) fn poll_call(
        self,
        cx: &PollContext,
        interest: Interest,
        call: impl FnMut(RawFd) -> Attempted,
    ) -> IoPoll<usize> {
        self.transfer(cx, interest, 0, call)
    }

    /// Receives from a socket.
    ///
    /// # Safety
    /// `buffer` has `len` writable bytes.
    pub(super) unsafe fn poll_recv(self, cx: &PollContext, buffer: *mut u8, len: usize, flags: i32) -> IoPoll<usize> {
        let len = short(len);
        let (interest, whole) = match flags {
            0 => (Interest::READABLE, len),
            flags => (interest_of(flags), 0),
        };
        let flags = flags | libc::MSG_DONTWAIT;
        // SAFETY: the caller says so; the descriptor is kept open by our use.
        self.receive(cx, interest, whole, |fd| attempted(unsafe { libc::recv(fd, buffer.cast(), len, flags) }))
    }

    /// The same for a receiver of many, into a buffer that is there by the time that there is something.
    pub(super) fn poll_recv_next(
        self,
        cx: &PollContext,
        len: usize,
        mut call: impl FnMut(Receiving) -> Attempted,
    ) -> IoPoll<usize> {
        let len = short(len);
        self.receive_next(cx, Interest::READABLE, len, |fd| call(Receiving { fd, len }))
    }

    /// Sends one datagram.
    ///
    /// # Safety
    /// `buffer` has `len` readable bytes.
    pub(super) unsafe fn poll_send(self, cx: &PollContext, buffer: *const u8, len: usize, flags: i32) -> IoPoll<usize> {
        let flags = flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the caller says so; the descriptor is kept open by our use.
        self.transfer(cx, Interest::WRITABLE, 0, |fd| attempted(unsafe { libc::send(fd, buffer.cast(), len, flags) }))
    }
}

/// The bytes of all parts.
///
/// # Safety
/// `parts` has `count` entries.
unsafe fn total(parts: *const libc::iovec, count: i32) -> usize {
    (0..usize::try_from(count).unwrap_or(0))
        // SAFETY: the caller says so.
        .map(|at| unsafe { (*parts.add(at)).iov_len })
        .fold(0, usize::saturating_add)
}
