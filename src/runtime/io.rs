//! Registered descriptors: registering, asking for readiness, and the three ways to let go.

use super::context::{Current, PollContext};
use super::runtimes::RuntimeRef;
use super::shared::Shared;
use crate::primitives::guard::Left;
use crate::primitives::handle::{Handle, Kind};
use crate::primitives::sync::{Condvar, Mutex, Ordering::*, process_static};
use crate::readiness::{IOS, Interest, Polled, Ready, ReadyEvent, ScheduledIo, Waiting};
use crate::task::is_dead;
use std::cell::Cell;
use std::os::fd::RawFd;
use std::task::Poll;

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
    pub(in super::super) const INTEREST: u32 = 0xf;
    /// Never closed by us.
    pub(in super::super) const BORROWED: u32 = 1 << 4;
    pub(in super::super) const NONBLOCK: u32 = 1 << 5;
    pub(in super::super) const SOCKET: u32 = 1 << 6;
    /// A TCP stream: a short transfer means that the kernel's buffer was drained, or filled.
    pub(in super::super) const TCP: u32 = 1 << 7;
    /// In the driver's set. A socket that is not connected yet enters it late, for epoll calls such a socket hung up.
    pub(in super::super) const WATCHED: u32 = 1 << 8;
}

process_static! {
    /// Threads that wait in `deregister` for the calls of others to end.
    static LEAVING: Mutex<()> = Mutex::new(());
}
process_static! {
    static LEFT: Condvar = Condvar::new();
}

/// A descriptor by its handle. Keeps nothing alive and never dangles.
#[derive(Clone, Copy)]
pub(crate) struct IoName {
    pub(super) io: &'static ScheduledIo,
    pub(super) generation: u32,
    raw: u64,
}

/// The use of a descriptor: it is not closed while this exists.
pub(super) struct InUse(IoName);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl IoName {
    /// What a handle names, alive or not.
    pub(crate) fn parse(raw: u64) -> Option<Self> {
        let handle = Handle::parse(raw, Kind::Io)?;
        Some(Self { io: IOS.get(handle.index)?, generation: handle.generation, raw })
    }

    pub(crate) fn raw(self) -> u64 {
        self.raw
    }

    pub(super) fn fd(self) -> RawFd {
        self.io.fd.load(Relaxed) as RawFd
    }

    pub(super) fn has(self, bit: u32) -> bool {
        self.io.traits.load(Relaxed) & bit != 0
    }

    /// Becomes a user of the descriptor.
    pub(super) fn enter(self) -> Result<InUse, Errno> {
        if self.io.guard.enter(self.generation) { Ok(InUse(self)) } else { Err(libc::EBADF) }
    }

    /// The descriptor's number.
    pub(crate) fn number(self) -> Result<RawFd, Errno> {
        self.enter().map(|_in_use| self.fd())
    }

    fn leave(self) {
        match self.io.guard.leave() {
            Left::InUse => {}
            Left::WakeCloser => {
                drop(LEAVING.lock());
                LEFT.notify_all();
            }
            Left::Last => self.finish(),
        }
    }

    /// The last user closes what is ours, and gives the entry back.
    fn finish(self) {
        let (fd, owner) = (self.fd(), self.io.owner.load(Relaxed));
        let close = !self.has(traits::BORROWED);
        if self.io.guard.recycle(crate::readiness::LAST_GENERATION)
            && let Some(handle) = Handle::parse(self.raw, Kind::Io)
        {
            IOS.free(handle.index);
        }
        if close {
            // SAFETY: the descriptor was given to us at registration, and this was its last user. EINTR closes it too.
            unsafe { libc::close(fd) };
            if let Ok(runtime) = RuntimeRef::enter(owner) {
                runtime.shared().descriptor_freed();
            }
        }
    }

    // Readiness.

    /// What is ready now. Does not wait.
    pub(crate) fn try_ready(self, interest: Interest) -> Result<Option<ReadyEvent>, Errno> {
        match self.io.look(self.generation, interest) {
            Polled::Ready(event) => Ok(Some(event)),
            Polled::Pending => Ok(None),
            Polled::Shutdown => Err(libc::ESHUTDOWN),
            Polled::Stale => Err(libc::EBADF),
        }
    }

    /// What is ready of an interest, or a wake later.
    #[inline]
    pub(crate) fn poll_ready(self, cx: &PollContext, interest: Interest) -> IoPoll<ReadyEvent> {
        if !cx.can_spend() {
            return Poll::Pending;
        }
        match self.io.look(self.generation, interest) {
            Polled::Ready(event) => {
                cx.spend();
                Poll::Ready(Ok(event))
            }
            _ => self.wait_ready(cx, interest),
        }
    }

    fn wait_ready(self, cx: &PollContext, interest: Interest) -> IoPoll<ReadyEvent> {
        if let Err(errno) = self.watch(interest) {
            return Poll::Ready(Err(errno));
        }
        let waker = cx.waker();
        match self.io.poll(self.generation, interest, &Waiting { key: cx.key(), waker: &waker, dead: is_dead }) {
            Polled::Ready(event) => {
                cx.spend();
                Poll::Ready(Ok(event))
            }
            Polled::Pending => Poll::Pending,
            Polled::Shutdown => Poll::Ready(Err(libc::ESHUTDOWN)),
            Polled::Stale => Poll::Ready(Err(libc::EBADF)),
        }
    }

    /// Takes readiness back that was seen.
    pub(crate) fn clear_ready(self, seen: ReadyEvent) -> Result<(), Errno> {
        if self.io.clear(self.generation, seen) { Ok(()) } else { Err(libc::EBADF) }
    }

    /// After a call said EAGAIN: what was seen is no longer so. If a final state was among it, the kernel is asked, for
    /// a FIFO's next writer, or a connect, takes that state back, and believing it would spin.
    pub(super) fn drained(self, seen: ReadyEvent) {
        self.io.clear(self.generation, seen);
        if seen.ready.is_closed() && self.ask_kernel(seen.ready).is_empty() {
            self.io.clear_exactly(self.generation, seen.tick, seen.ready);
        }
    }

    /// What poll(2) says of the descriptor at this moment, of the given states.
    pub(super) fn ask_kernel(self, wanted: Ready) -> Ready {
        let Ok(_in_use) = self.enter() else {
            return Ready::EMPTY;
        };
        // The masks of poll(2) and of epoll are the same bits.
        let events = (libc::POLLIN | libc::POLLOUT | libc::POLLPRI | libc::POLLRDHUP) as libc::c_short;
        let mut entry = libc::pollfd { fd: self.fd(), events, revents: 0 };
        // SAFETY: one writable entry; the descriptor is kept open by our use.
        let found = unsafe { libc::poll(&mut entry, 1, 0) };
        if found <= 0 {
            return Ready::EMPTY;
        }
        Ready::from_epoll(entry.revents as u16 as u32) & wanted
    }

    /// Asks the kernel again, for callers that did not read until EAGAIN.
    pub(crate) fn poll_level(self, cx: &PollContext, interest: Interest) -> IoPoll<ReadyEvent> {
        loop {
            let seen = match self.try_ready(interest) {
                Ok(seen) => seen,
                Err(errno) => return Poll::Ready(Err(errno)),
            };
            if !cx.can_spend() {
                return Poll::Pending;
            }
            let ready = self.ask_kernel(interest.ready());
            if !ready.is_empty() {
                cx.spend();
                return Poll::Ready(Ok(ReadyEvent { ready, tick: seen.map_or(0, |seen| seen.tick) }));
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

    // The driver's set.

    /// Enters a late socket into its driver's set.
    pub(super) fn watch(self, interest: Interest) -> Result<(), Errno> {
        let known = self.io.traits.load(Acquire);
        // Errors are reported to everybody who registered for anything.
        let wanted = u32::from(interest.bits() & !Interest::ERROR.bits());
        if known & wanted != wanted || known & traits::INTEREST == 0 {
            return Err(if self.io.guard.is_open(self.generation) { libc::EINVAL } else { libc::EBADF });
        }
        if known & traits::WATCHED != 0 {
            return Ok(());
        }
        let _in_use = self.enter()?;
        if self.io.traits.fetch_or(traits::WATCHED, AcqRel) & traits::WATCHED != 0 {
            return Ok(());
        }
        let runtime = RuntimeRef::enter(self.io.owner.load(Relaxed))?;
        self.add_to_set(runtime.shared(), self.io.home.load(Relaxed))
    }

    fn add_to_set(self, shared: &Shared, home: u32) -> Result<(), Errno> {
        let Some(interest) = self.interest() else {
            return Ok(());
        };
        shared.remote(home).driver.register(self.fd(), self.raw, interest).map_err(errno_of)
    }

    fn interest(self) -> Option<Interest> {
        Interest::from_bits((self.io.traits.load(Relaxed) & traits::INTEREST) as u8)
    }

    /// The runtime that it is registered with.
    pub(crate) fn owner(self) -> Result<u64, Errno> {
        let owner = self.io.owner.load(Relaxed);
        if self.io.guard.is_open(self.generation) { Ok(owner) } else { Err(libc::EBADF) }
    }

    /// Moves the descriptor to another driver of its runtime. Its present state is reported there once more.
    pub(crate) fn rehome(self, runtime: u64, worker: u32) -> Result<(), Errno> {
        let _in_use = self.enter()?;
        if self.owner()? != runtime {
            return Err(libc::EPERM);
        }
        let runtime = RuntimeRef::enter(runtime)?;
        let shared = runtime.shared();
        if !self.has(traits::WATCHED) || self.interest().is_none() {
            self.io.home.store(worker, Relaxed);
            return Ok(());
        }
        // Two movers at once: the loser finds the descriptor gone from the old set.
        let _moving = shared.fds.moving.lock();
        let old = self.io.home.load(Relaxed);
        if old == worker {
            return Ok(());
        }
        shared.remote(old).driver.deregister(self.fd()).map_err(errno_of)?;
        if let Err(errno) = self.add_to_set(shared, worker) {
            // Back to where it was heard of: nothing is lost.
            self.add_to_set(shared, old)?;
            return Err(errno);
        }
        self.io.home.store(worker, Relaxed);
        Ok(())
    }

    // Letting go.

    /// Makes the handle stale and wakes its waiters. The caller is the last but for direct calls of others.
    fn retire(self) -> Result<InUse, Errno> {
        if !self.io.guard.close(self.generation) {
            return Err(libc::EBADF);
        }
        let in_use = InUse(self);
        self.io.end(self.generation);
        Ok(in_use)
    }

    /// Takes the descriptor out of its driver's set and its runtime's table. False: the number is not ours any more.
    fn unwatch(self) -> bool {
        match RuntimeRef::enter(self.io.owner.load(Relaxed)) {
            Ok(runtime) => self.unwatch_in(runtime.shared()),
            // The runtime is being freed, and its sets with it.
            Err(_) => true,
        }
    }

    fn unwatch_in(self, shared: &Shared) -> bool {
        shared.fds.remove(self.fd(), self.raw);
        if self.interest().is_none() || !self.has(traits::WATCHED) {
            return true;
        }
        shared.remote(self.io.home.load(Relaxed)).driver.deregister(self.fd()).is_ok()
    }

    /// Leaves the number alone from now on.
    fn disown(self) {
        self.io.traits.fetch_or(traits::BORROWED, Relaxed);
    }

    /// The handle is stale at once; the descriptor is closed by its last user, unless it was borrowed. If it was closed
    /// behind us, the number may be a stranger's: it is left alone, and that is an error.
    pub(crate) fn close(self) -> Result<(), Errno> {
        let _in_use = self.retire()?;
        self.closed(self.unwatch())
    }

    /// As `close`, for the one who frees the runtime.
    pub(super) fn close_in(self, shared: &Shared) -> Result<(), Errno> {
        let _in_use = self.retire()?;
        self.closed(self.unwatch_in(shared))
    }

    fn closed(self, ours: bool) -> Result<(), Errno> {
        if ours {
            return Ok(());
        }
        self.disown();
        Err(libc::EBADF)
    }

    /// The descriptor was closed behind us: it is not touched.
    pub(crate) fn forget(self) -> Result<(), Errno> {
        let _in_use = self.retire()?;
        self.disown();
        if let Ok(runtime) = RuntimeRef::enter(self.io.owner.load(Relaxed)) {
            runtime.shared().fds.remove(self.fd(), self.raw);
        }
        Ok(())
    }

    /// The descriptor is the caller's again. Waits for the direct calls of other threads.
    pub(crate) fn deregister(self) -> Result<(), Errno> {
        if Attempt::is_within(self.raw) {
            return Err(if self.io.guard.is_open(self.generation) { libc::EDEADLK } else { libc::EBADF });
        }
        let _in_use = self.retire()?;
        self.disown();
        let ours = self.unwatch();
        let mut leaving = LEAVING.lock();
        while !self.io.guard.await_others() {
            LEFT.wait(&mut leaving);
        }
        drop(leaving);
        if ours { Ok(()) } else { Err(libc::EBADF) }
    }
}

/// Every descriptor that is registered with this runtime.
pub(super) fn owned_by(runtime: u64) -> impl Iterator<Item = IoName> {
    IOS.iter().filter_map(move |(index, io)| {
        let generation = io.guard.current()?;
        (io.owner.load(Relaxed) == runtime).then(|| {
            let raw = Handle { generation, index }.pack(Kind::Io);
            IoName { io, generation, raw }
        })
    })
}

/// A call of the user's own code on a descriptor, on this thread's stack.
pub(super) struct Attempt {
    raw: u64,
    outer: *const Attempt,
}

thread_local! {
    static ATTEMPT: Cell<*const Attempt> = const { Cell::new(std::ptr::null()) };
}

impl Attempt {
    /// Runs `f` with the mark that this thread is within an attempt on the descriptor.
    pub(super) fn on<R>(io: IoName, f: impl FnOnce() -> R) -> R {
        let attempt = Self { raw: io.raw, outer: ATTEMPT.get() };
        ATTEMPT.set(&raw const attempt);
        let result = f();
        ATTEMPT.set(attempt.outer);
        result
    }

    fn is_within(raw: u64) -> bool {
        let mut cursor = ATTEMPT.get();
        // SAFETY: attempts are on this thread's stack, further up than we are.
        while let Some(attempt) = unsafe { cursor.as_ref() } {
            if attempt.raw == raw {
                return true;
            }
            cursor = attempt.outer;
        }
        false
    }
}

pub(super) fn errno_of(error: std::io::Error) -> Errno {
    error.raw_os_error().unwrap_or(libc::EIO)
}

impl Shared {
    /// Registers a descriptor. On failure it is the caller's, unchanged but for O_NONBLOCK.
    pub(crate) fn register(&self, fd: RawFd, flags: IoFlags) -> Result<IoName, Errno> {
        let known = inspect(fd, flags)?;
        let identity = if known & traits::WATCHED == 0 { socket_cookie(fd) } else { 0 };
        self.register_known(fd, known, identity, Ready::EMPTY)
    }

    /// Registers a descriptor of which everything is known.
    pub(super) fn register_known(&self, fd: RawFd, known: u32, identity: u64, ready: Ready) -> Result<IoName, Errno> {
        let watched = known & traits::INTEREST != 0;
        let replaces = if watched { self.displaced(fd)? } else { None };
        let (index, io) = IOS.alloc().ok_or(libc::ENOMEM)?;
        let generation = io.guard.next_generation();
        let name = IoName { io, generation, raw: Handle { generation, index }.pack(Kind::Io) };
        io.fd.store(fd as u32, Relaxed);
        io.owner.store(self.handle, Relaxed);
        io.home.store(self.pick_home(), Relaxed);
        io.traits.store(known, Relaxed);
        io.identity.store(identity, Relaxed);
        io.begin(generation, ready);
        io.guard.open();
        if let Err(errno) = self.introduce(name, watched, replaces) {
            // Nobody else knows the handle: letting go of it closes nothing.
            let _ = name.forget();
            return Err(errno);
        }
        if self.is_closed() {
            io.shut_down(generation);
        }
        Ok(name)
    }

    fn introduce(&self, name: IoName, watched: bool, replaces: Option<u64>) -> Result<(), Errno> {
        if watched && !self.fds.insert(name.fd(), name.raw, replaces) {
            return Err(libc::EEXIST);
        }
        if name.has(traits::WATCHED) {
            name.add_to_set(self, name.io.home.load(Relaxed))?;
        }
        Ok(())
    }

    /// What stands in the table for this number. Nothing, or a registration whose descriptor was closed behind us, which
    /// is let go; one that is still good is an error.
    fn displaced(&self, fd: RawFd) -> Result<Option<u64>, Errno> {
        let Some(old) = self.fds.get(fd).and_then(IoName::parse) else {
            return Ok(None);
        };
        let same = match old.interest() {
            // Arming anew succeeds only for the very descriptor that was added; it also reports its state once more, which
            // does no harm.
            Some(interest) if old.has(traits::WATCHED) => {
                self.remote(old.io.home.load(Relaxed)).driver.rearm(fd, old.raw, interest).is_ok()
            }
            _ => old.io.identity.load(Relaxed) == socket_cookie(fd),
        };
        if same {
            return Err(libc::EEXIST);
        }
        let _ = old.forget();
        Ok(self.fds.get(fd))
    }

    /// A descriptor became free: listeners that starve may try again.
    fn descriptor_freed(&self) {
        self.feed(true);
    }

    /// Listeners that starve may try again when their time has come.
    pub(super) fn retry_starved(&self) {
        self.feed(false);
    }

    fn feed(&self, freed: bool) {
        for listener in self.fds.take_starved(freed).into_iter().filter_map(IoName::parse) {
            listener.io.deliver(listener.generation, Ready::READABLE);
        }
    }

    /// The worker of this thread, if it is one of this runtime's.
    pub(crate) fn here(&self) -> Option<u32> {
        Current::worker_of(self).map(|worker| worker.index())
    }
}

/// Finds out what must be known of a descriptor, and makes it non-blocking if asked.
fn inspect(fd: RawFd, flags: IoFlags) -> Result<u32, Errno> {
    // SAFETY: fcntl with these commands takes no pointers; fstat writes the structure.
    let (mode, mut status) = unsafe {
        let status = libc::fcntl(fd, libc::F_GETFL);
        let mut stat = std::mem::zeroed::<libc::stat>();
        if status < 0 || libc::fstat(fd, &mut stat) < 0 {
            return Err(errno_of(std::io::Error::last_os_error()));
        }
        (stat.st_mode & libc::S_IFMT, status)
    };
    if flags.interest.is_some() && matches!(mode, libc::S_IFREG | libc::S_IFDIR) {
        return Err(libc::EPERM);
    }
    if flags.set_nonblock && status & libc::O_NONBLOCK == 0 {
        // SAFETY: as above.
        if unsafe { libc::fcntl(fd, libc::F_SETFL, status | libc::O_NONBLOCK) } < 0 {
            return Err(errno_of(std::io::Error::last_os_error()));
        }
        status |= libc::O_NONBLOCK;
    }
    let mut known = flags.interest.map_or(0, |interest| interest.bits().into());
    known |= if flags.borrowed { traits::BORROWED } else { 0 };
    known |= if status & libc::O_NONBLOCK != 0 { traits::NONBLOCK } else { 0 };
    Ok(known | if mode == libc::S_IFSOCK { inspect_socket(fd) } else { traits::WATCHED })
}

fn inspect_socket(fd: RawFd) -> u32 {
    let option = |name| {
        let (mut value, mut len) = (0i32, 4 as libc::socklen_t);
        // SAFETY: four writable bytes, as `len` says.
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &mut len) };
        value
    };
    let kind = option(libc::SO_TYPE);
    let (mut address, mut len) = ([0u64; 16], size_of::<[u64; 16]>() as libc::socklen_t);
    // SAFETY: the address is as large as `len` says.
    let connected = unsafe { libc::getpeername(fd, address.as_mut_ptr().cast(), &mut len) } == 0;
    let stream = matches!(kind, libc::SOCK_STREAM | libc::SOCK_SEQPACKET);
    let late = stream && !connected && option(libc::SO_ACCEPTCONN) == 0;
    let tcp = option(libc::SO_PROTOCOL) == libc::IPPROTO_TCP;
    traits::SOCKET | if tcp { traits::TCP } else { 0 } | if late { 0 } else { traits::WATCHED }
}

/// A number that no other socket has or had; 0 for what is no socket.
fn socket_cookie(fd: RawFd) -> u64 {
    let (mut cookie, mut len) = (0u64, 8 as libc::socklen_t);
    // SAFETY: eight writable bytes, as `len` says.
    unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_COOKIE, (&raw mut cookie).cast(), &mut len) };
    cookie
}

/// A registered descriptor, for use in Rust. Dropping it closes the descriptor.
#[derive(Debug)]
pub struct Io(u64);

impl Io {
    pub(super) fn new(name: IoName) -> Self {
        Self(name.raw)
    }

    /// Waits until the interest is satisfied.
    pub async fn ready(&self, interest: Interest) -> std::io::Result<ReadyEvent> {
        let name = IoName::parse(self.0).ok_or(std::io::ErrorKind::NotFound)?;
        name.watch(interest).map_err(std::io::Error::from_raw_os_error)?;
        let gone = |_| std::io::Error::from_raw_os_error(libc::ESHUTDOWN);
        crate::readiness::Readiness::new(name.io, name.generation, interest).await.map_err(gone)
    }

    /// Takes readiness back that was seen, because a call said that there is none.
    pub fn clear(&self, seen: ReadyEvent) {
        if let Some(name) = IoName::parse(self.0) {
            name.drained(seen);
        }
    }

    /// The descriptor, and the duty to close it.
    pub fn into_fd(self) -> std::io::Result<std::os::fd::OwnedFd> {
        let name = IoName::parse(std::mem::ManuallyDrop::new(self).0).ok_or(std::io::ErrorKind::NotFound)?;
        let fd = name.fd();
        name.deregister().map_err(std::io::Error::from_raw_os_error)?;
        // SAFETY: the registration gave the descriptor back, and it had been given to us.
        Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) })
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if let Some(name) = IoName::parse(self.0) {
            let _ = name.close();
        }
    }
}
