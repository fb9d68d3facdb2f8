//! Registered descriptors by their handles, and asking whether they are ready.

use super::context::PollContext;
use super::registration::{is_connected, said_too_early};
use crate::primitives::handle::{Handle, Kind};
use crate::primitives::sync::Ordering::*;
use crate::readiness::{IOS, Interest, Polled, Ready, ReadyEvent, ScheduledIo, Waiting};
use crate::task::is_dead;
use std::os::fd::{BorrowedFd, RawFd};
use std::task::{Poll, Waker};

/// A positive errno value.
pub(crate) type Errno = i32;

/// The result of a poll on a descriptor.
pub(crate) type IoPoll<T> = Poll<Result<T, Errno>>;

/// How a descriptor is registered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IoFlags {
    /// `None`: operations only.
    pub(crate) interest: Option<Interest>,
    pub(crate) set_nonblock: bool,
    /// Never closed by us.
    pub(crate) borrowed: bool,
}

/// What is known of a descriptor, in `ScheduledIo::traits`. The low four bits are the interest.
pub(super) mod traits {
    pub(in super::super) const INTEREST: u16 = 0xf;
    /// Never closed by us.
    pub(in super::super) const BORROWED: u16 = 1 << 4;
    pub(in super::super) const NONBLOCK: u16 = 1 << 5;
    pub(in super::super) const SOCKET: u16 = 1 << 6;
    /// A TCP stream: a short transfer means that the kernel's buffer was drained, or filled.
    pub(in super::super) const TCP: u16 = 1 << 7;
    /// In the driver's set. A socket that is not connected yet enters it when somebody waits.
    pub(in super::super) const WATCHED: u16 = 1 << 8;
    /// Was not connected when it was last looked at: epoll and poll(2) call such a socket hung up.
    pub(in super::super) const LATE: u16 = 1 << 9;
    /// Writes do not go the ring's way. What is no socket refuses them with flags, so SIGPIPE must be kept off by other means; and
    /// messages are tried at once.
    pub(in super::super) const PAST_RING: u16 = 1 << 10;
    /// A file, a directory or a disk: always ready, and a call may wait for the disk.
    pub(in super::super) const FILE: u16 = 1 << 11;
    /// Of a file, which has no use for `PAST_RING`: the ring thinks that it can tell when a call would wait, and it cannot.
    pub(in super::super) const DECEPTIVE: u16 = PAST_RING;
    /// A socket without message boundaries.
    pub(in super::super) const STREAM: u16 = 1 << 12;
    /// A listener that several workers watch, of which one is enough for a connection.
    pub(in super::super) const EXCLUSIVE: u16 = 1 << 13;
    /// Whoever moves bytes leaves a note of that.
    pub(in super::super) const NOTED: u16 = 1 << 14;
    /// A TCP stream of which an event told that there was something to read, and a read took all of it: an event will tell of
    /// more. (A listener, an end that cannot be read, or what is watched for writing alone is none.)
    pub(in super::super) const TOLD: u16 = 1 << 15;
}

/// A descriptor by its handle. Keeps nothing alive and never dangles.
#[derive(Clone, Copy)]
pub(crate) struct IoName {
    pub(super) io: &'static ScheduledIo,
    pub(super) generation: u32,
    pub(super) index: u32,
}

impl IoName {
    pub(super) fn new(io: &'static ScheduledIo, generation: u32, index: u32) -> Self {
        Self { io, generation, index }
    }

    /// What a handle names, alive or not.
    pub(crate) fn parse(raw: u64) -> Option<Self> {
        let handle = Handle::parse(raw, Kind::Io)?;
        Some(Self { io: IOS.get(handle.index)?, generation: handle.generation, index: handle.index })
    }

    pub(crate) fn raw(self) -> u64 {
        Handle { generation: self.generation, index: self.index }.pack(Kind::Io)
    }

    pub(super) fn fd(self) -> RawFd {
        self.io.fd.load(Relaxed) as RawFd
    }

    /// The worker whose driver watches it.
    pub(crate) fn home(self) -> u32 {
        self.io.home.load(Relaxed).into()
    }

    pub(super) fn add_trait(self, bit: u16) {
        self.io.traits.fetch_or(bit, AcqRel);
    }

    /// What connections that it accepts are as well.
    pub(super) fn family(self) -> u16 {
        self.io.traits.load(Relaxed) & (traits::SOCKET | traits::TCP | traits::STREAM | traits::PAST_RING)
    }

    pub(crate) fn is_open(self) -> bool {
        self.io.guard.is_open(self.generation)
    }

    /// Takes a waiter out that waits no more.
    pub(super) fn forget_waiter(self, key: usize) {
        self.io.forget(key);
    }

    pub(super) fn has(self, bit: u16) -> bool {
        self.io.traits.load(Relaxed) & bit != 0
    }

    /// True for a file whose operations a ring must leave to a thread of the kernel's.
    pub(super) fn is_deceptive(self) -> bool {
        let both = traits::FILE | traits::DECEPTIVE;
        self.io.traits.load(Relaxed) & both == both
    }

    /// The descriptor's number.
    pub(crate) fn number(self) -> Result<RawFd, Errno> {
        self.enter().map(|_in_use| self.fd())
    }

    /// Calls `f` with the descriptor, which is not closed before that ended.
    pub(crate) fn with_fd<R>(self, f: impl FnOnce(BorrowedFd<'_>) -> R) -> Result<R, Errno> {
        let _in_use = self.enter()?;
        // SAFETY: our use keeps it open.
        Ok(f(unsafe { BorrowedFd::borrow_raw(self.fd()) }))
    }

    // Readiness.

    /// What is ready now. Does not wait.
    pub(crate) fn try_ready(self, interest: Interest) -> Result<Option<ReadyEvent>, Errno> {
        // What was not registered for is never ready, whatever the driver hears of by the way.
        let registered = self.io.traits.load(Acquire) as u8 | Interest::ERROR.bits();
        let Some(interest) = Interest::from_bits(interest.bits() & registered) else {
            return if self.io.guard.is_open(self.generation) { Ok(None) } else { Err(libc::EBADF) };
        };
        loop {
            match self.io.look(self.generation, interest) {
                Polled::Ready(event) if self.believed(event) != event.ready => {}
                Polled::Ready(event) => return Ok(Some(event)),
                Polled::Pending => return Ok(None),
                Polled::Shutdown => return Err(libc::ESHUTDOWN),
                Polled::Stale => return Err(libc::EBADF),
            }
        }
    }

    /// What is ready of an interest, where nothing more need be known to say so.
    #[inline(always)]
    pub(crate) fn take_ready(self, cx: &PollContext, interest: Interest) -> Option<ReadyEvent> {
        match self.io.look(self.generation, interest) {
            Polled::Ready(event) if !event.ready.is_closed() && cx.has_budget() && self.allows(interest) => {
                cx.spend();
                Some(event)
            }
            _ => None,
        }
    }

    /// What is ready of an interest, or a wake later.
    #[inline(always)]
    pub(crate) fn poll_ready(self, cx: &PollContext, interest: Interest) -> IoPoll<ReadyEvent> {
        match self.take_ready(cx, interest) {
            Some(event) => Poll::Ready(Ok(event)),
            None => self.wait_ready(cx, interest, None),
        }
    }

    /// The same, for a caller that tried something in vain.
    #[inline(always)]
    pub(super) fn poll_ready_after(
        self,
        cx: &PollContext,
        interest: Interest,
        in_vain: Option<ReadyEvent>,
    ) -> IoPoll<ReadyEvent> {
        if in_vain.is_some() { self.wait_ready(cx, interest, in_vain) } else { self.poll_ready(cx, interest) }
    }

    /// What is ready, whatever was registered: for operations.
    pub(super) fn try_ready_for_op(self, interest: Interest) -> Option<ReadyEvent> {
        match self.io.look(self.generation, interest) {
            Polled::Ready(event) => Some(event),
            _ => None,
        }
    }

    /// What `take_ready` does not say.
    #[inline(never)]
    fn wait_ready(self, cx: &PollContext, interest: Interest, in_vain: Option<ReadyEvent>) -> IoPoll<ReadyEvent> {
        if !cx.can_spend() {
            // That the handle is stale is told without a budget.
            return if self.is_open() { Poll::Pending } else { Poll::Ready(Err(libc::EBADF)) };
        }
        if let Err(errno) = if cx.is_operation() { self.watch_for_op(interest) } else { self.watch(interest) } {
            return Poll::Ready(Err(errno));
        }
        let waker = cx.waker();
        let waiting = Waiting { key: cx.key(), waker: &waker, dead: is_dead, in_vain };
        loop {
            match self.io.poll(self.generation, interest, &waiting) {
                Polled::Ready(event) if self.believed(event) != event.ready => {}
                Polled::Ready(event) => {
                    cx.spend();
                    return Poll::Ready(Ok(event));
                }
                Polled::Pending => return Poll::Pending,
                Polled::Shutdown => return Poll::Ready(Err(libc::ESHUTDOWN)),
                Polled::Stale => return Poll::Ready(Err(libc::EBADF)),
            }
        }
    }

    /// True if the interest was registered. Errors are reported to everybody who registered for anything.
    #[inline]
    pub(super) fn allows(self, interest: Interest) -> bool {
        let known = self.io.traits.load(Acquire);
        let wanted = u16::from(interest.bits() & !Interest::ERROR.bits());
        known & wanted == wanted && known & traits::INTEREST != 0
    }

    /// `EINVAL` for an interest that was not registered.
    pub(super) fn check_interest(self, interest: Interest) -> Result<(), Errno> {
        if self.allows(interest) { Ok(()) } else { Err(self.refusal()) }
    }

    /// Why an interest that was not registered is refused.
    pub(super) fn refusal(self) -> Errno {
        if self.io.guard.is_open(self.generation) { libc::EINVAL } else { libc::EBADF }
    }

    /// True for a stream socket that has no peer and may get one.
    pub(crate) fn awaits_connection(self) -> bool {
        self.has(traits::LATE) && self.enter().is_ok_and(|_in_use| !is_connected(self.fd()))
    }

    /// What of an event is so; the rest is taken back. It matters where a stream may not have begun: epoll calls a socket hung up
    /// before its connect, and may have said so before a connect of which it says nothing.
    fn believed(self, event: ReadyEvent) -> Ready {
        if !event.ready.is_closed() || !self.has(traits::LATE) {
            return event.ready;
        }
        let Ok(_in_use) = self.enter() else { return event.ready };
        // In this order: what is said of a stream that has begun is not about the time before.
        let early = said_too_early(self.fd());
        let said = self.ask_kernel(event.ready, Some(event));
        let untrue = event.ready.without(if said.is_closed() { said.without(early) } else { said });
        if !untrue.is_empty() {
            self.io.clear_exactly(self.generation, event.tick, untrue);
        } else {
            self.io.traits.fetch_and(!traits::LATE, AcqRel);
        }
        event.ready.without(untrue)
    }

    /// What is ready, or a call of this waker later: for who is neither a task nor a context. The key tells it apart.
    pub(crate) fn poll_by(self, key: usize, waker: &Waker, interest: Interest) -> Polled {
        self.io.poll(self.generation, interest, &Waiting { key, waker, dead: is_dead, in_vain: None })
    }

    /// Takes readiness back that was seen.
    pub(crate) fn clear_ready(self, seen: ReadyEvent) -> Result<(), Errno> {
        if self.io.clear(self.generation, seen) { Ok(()) } else { Err(libc::EBADF) }
    }

    /// After a call said EAGAIN: what was seen is no longer so. If a final state was among it, or an error, the kernel is asked,
    /// for a FIFO's next writer, or a connect, takes that state back, and an error is not the caller's alone. If it holds, it is
    /// returned: the call was in vain all the same (one direction is closed, and the other is full; or the error is that of a
    /// queue that somebody else reads), and trying again before something else comes would spin.
    pub(super) fn drained(self, seen: ReadyEvent) -> Option<ReadyEvent> {
        let lasting = seen.ready & Ready::LASTING;
        let holds = if lasting.is_empty() { lasting } else { self.ask_kernel(lasting, Some(seen)) };
        self.io.clear_exactly(self.generation, seen.tick, seen.ready.without(holds));
        (!holds.is_empty()).then_some(seen)
    }

    /// What poll(2) says of the descriptor at this moment, of the given states. Where it does not say, what was heard
    /// of stands: nobody would tell it again.
    pub(super) fn ask_kernel(self, wanted: Ready, heard: Option<ReadyEvent>) -> Ready {
        let Ok(_in_use) = self.enter() else {
            return Ready::EMPTY;
        };
        // The masks of poll(2) and of epoll are the same bits.
        let events = (libc::POLLIN | libc::POLLOUT | libc::POLLPRI | libc::POLLRDHUP) as libc::c_short;
        let mut entry = libc::pollfd { fd: self.fd(), events, revents: 0 };
        // SAFETY: one writable entry; the descriptor is kept open by our use.
        let found = unsafe { libc::poll(&mut entry, 1, 0) };
        let says = if found >= 0 {
            Ready::from_epoll(entry.revents as u16 as u32)
        } else {
            heard.map_or(Ready::EMPTY, |seen| seen.ready)
        };
        says & wanted
    }

    /// Asks the kernel again, for callers that did not read until EAGAIN.
    pub(crate) fn poll_level(self, cx: &PollContext, interest: Interest) -> IoPoll<ReadyEvent> {
        if let Err(errno) = self.watch(interest) {
            return Poll::Ready(Err(errno));
        }
        loop {
            let seen = match self.try_ready(interest) {
                Ok(seen) => seen,
                Err(errno) => return Poll::Ready(Err(errno)),
            };
            if !cx.can_spend() {
                return Poll::Pending;
            }
            let ready = self.ask_kernel(interest.ready(), seen);
            let event = ReadyEvent { ready, tick: seen.map_or(0, |seen| seen.tick) };
            let ready = self.believed(event);
            if !ready.is_empty() {
                cx.spend();
                return Poll::Ready(Ok(ReadyEvent { ready, ..event }));
            }
            if let Some(seen) = seen {
                // A delivery since then moved the tick, and the wait below sees it.
                self.io.clear_exactly(self.generation, seen.tick, seen.ready);
            }
            match self.poll_ready(cx, interest) {
                Poll::Ready(Ok(_)) => {}
                other => return other,
            }
        }
    }

    /// The runtime that it is registered with.
    pub(crate) fn owner(self) -> Result<u64, Errno> {
        // A later life's is read with what made the handle stale.
        let owner = self.io.owner.load(Acquire);
        if self.io.guard.is_open(self.generation) { Ok(owner) } else { Err(libc::EBADF) }
    }
}

pub(crate) fn errno_of(error: std::io::Error) -> Errno {
    error.raw_os_error().unwrap_or(libc::EIO)
}
