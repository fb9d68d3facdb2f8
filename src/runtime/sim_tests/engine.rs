//! The drivers of the simulated world. Descriptors and epoll sets are the kernel's, so that edges are what they are; but
//! nobody sleeps in the kernel, and when who hears of what is left to the seed.

use crate::driver::fake::{Chaos, FakeRing, Kernel, Random, Sqe};
use crate::driver::{Completion, Driver, Entry, Event, Handle, Poller, Ring, Ticket, UNPARK};
use crate::primitives::sync::nature::now;
use crate::runtime::{NEVER, OpName};
use crate::sim::{Probe, Woken, block, point};
use io_uring::opcode;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};
use std::time::Duration;

fn deadline(timeout: Option<Duration>) -> u64 {
    timeout.map_or(NEVER, |timeout| now().saturating_add(timeout.as_nanos() as u64))
}

pub(super) fn is_ready(fd: RawFd, events: i16) -> i16 {
    let mut entry = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one writable entry.
    unsafe { libc::poll(&mut entry, 1, 0) };
    entry.revents
}

/// A driver, and its shared half. `embedded`: somebody else's loop waits on the set, and so must find there what is not told.
/// The ring's kernel goes on while that loop sleeps, if it asks for that.
pub(super) fn driver(
    random: &mut Random,
    max_events: usize,
    ring: bool,
    embedded: bool,
) -> ((Driver, Handle), Option<Signals>) {
    let ring = ring.then(|| SlowRing::new(random));
    let (has_ring, signals) = (ring.is_some(), ring.as_ref().map(|ring| ring.signals.clone()));
    let ring = ring.map(|ring| Box::new(ring) as Box<dyn Ring>);
    let (driver, handle) = Driver::new(max_events, ring).expect("descriptors");
    let mut some = |most: u64| if random.chance(300) { 0 } else { random.below(most) as u16 };
    let driver = driver.veiled(|inner, epfd| {
        let fickle = Fickle {
            inner,
            epfd,
            // Who sleeps in the ring hears of the set once, and then must be told all of it.
            max_events: if has_ring { usize::MAX } else { max_events },
            hold: if has_ring || embedded { 0 } else { some(600) },
            held: Vec::new(),
            holds: Arc::default(),
            old: Vec::new(),
            repeat: if embedded { 0 } else { some(300) },
            spurious: some(200),
            fail: some(10),
            random: Random::new(some(60_000).into()),
        };
        Box::new(fickle)
    });
    ((driver, handle), signals)
}

/// A poller that tells late, twice, in another order, or of what was, and returns for nothing.
struct Fickle {
    inner: Box<dyn Poller>,
    epfd: RawFd,
    max_events: usize,
    held: Vec<Event>,
    /// Whether there is something held.
    holds: Arc<AtomicBool>,
    /// What was told before, of descriptors that may be gone.
    old: Vec<Event>,
    hold: u16,
    repeat: u16,
    spurious: u16,
    fail: u16,
    random: Random,
}

impl Fickle {
    /// What there is, as the seed has it.
    fn take(&mut self) -> io::Result<Vec<Event>> {
        let mut there = std::mem::take(&mut self.held);
        let begun = there.len();
        self.inner.wait(Some(Duration::ZERO), &mut there)?;
        self.old.extend(there[begun..].iter().filter(|event| event.token != UNPARK));
        if self.old.len() > 16 {
            self.old.drain(..self.old.len() - 16);
        }
        if !self.old.is_empty() && self.random.chance(self.repeat) {
            there.push(self.old[self.random.below(self.old.len() as u64) as usize]);
        }
        let mut told = Vec::new();
        while !there.is_empty() {
            let event = there.swap_remove(self.random.below(there.len() as u64) as usize);
            if told.len() == self.max_events || self.random.chance(self.hold) {
                self.held.push(event);
            } else {
                told.push(event);
            }
        }
        self.holds.store(!self.held.is_empty(), Relaxed);
        Ok(told)
    }
}

impl Poller for Fickle {
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        if self.random.chance(self.fail) {
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        let until = deadline(timeout);
        loop {
            point();
            let told = self.take()?;
            let nothing = told.is_empty();
            events.extend(told);
            if !nothing || timeout == Some(Duration::ZERO) || self.random.chance(self.spurious) {
                return Ok(());
            }
            let (epfd, holds) = (self.epfd, self.holds.clone());
            let probe: Probe = Arc::new(move || holds.load(Relaxed) || is_ready(epfd, libc::POLLIN) != 0);
            if block(0, until, Some(probe)) == Woken::Late {
                return Ok(());
            }
        }
    }
}

/// The kernel of a ring whose owner may sleep in somebody else's loop.
#[derive(Clone)]
pub(super) struct Signals {
    kernel: Kernel,
    /// What to ring, or -1.
    eventfd: Arc<AtomicI32>,
}

impl Signals {
    /// The kernel goes on, and rings for what is new, but not again for what was left behind.
    pub(super) fn go_on(&self) {
        let eventfd = self.eventfd.load(Relaxed);
        if eventfd >= 0 && self.kernel.progress() {
            // SAFETY: eight readable bytes; the runtime is alive, and so is its descriptor.
            unsafe { libc::write(eventfd, (&raw const ONE).cast(), 8) };
        }
    }
}

static ONE: u64 = 1;

/// A fake ring that does what it is asked for, and sleeps in the world.
struct SlowRing {
    inner: FakeRing,
    signals: Signals,
    /// What has ended, for completions that come once more.
    old: Vec<u64>,
    repeat: u16,
    random: Random,
}

impl SlowRing {
    /// Notes what ended, and has the kernel say so again of what is long over.
    fn repeat(&mut self, before: usize, out: &mut Vec<Completion>) {
        self.old.extend(out[before..].iter().filter(|last| !last.has_more()).map(|last| last.user_data));
        if self.old.len() > 16 {
            self.old.drain(..self.old.len() - 16);
        }
        if self.old.is_empty() || !self.random.chance(self.repeat) {
            return;
        }
        let user_data = self.old[self.random.below(self.old.len() as u64) as usize];
        // An entry that was queued anew under the same name could be told from the old one by nobody.
        if OpName::parse(user_data).is_some_and(|op| !op.is_live()) {
            let result = [-libc::ECANCELED, 0, 5][self.random.below(3) as usize];
            out.push(Completion { user_data, result, flags: 2 * self.random.below(2) as u32 });
        }
    }

    fn new(random: &mut Random) -> Self {
        let mut some = |most: u64| if random.chance(300) { 0 } else { random.below(most + 1) as u16 };
        let chaos = Chaos {
            delay: 1 + u64::from(some(5)),
            error: 0,
            short: some(400),
            early_end: some(300),
            repeat: 0,
            burst: some(150),
            no_buffers: some(100),
            lost_buffer: 0,
            refuse: [0, 10, 150][usize::from(some(2))],
            missed: some(300),
            most: some(4).into(),
        };
        let (inner, kernel) = FakeRing::new(random.next(), chaos);
        let mut work = Work::default();
        kernel.set_work(move |sqe| work.attempt(sqe));
        let repeat = if random.chance(500) { 0 } else { 100 };
        let random = Random::new(random.next());
        let signals = Signals { kernel, eventfd: Arc::new(AtomicI32::new(-1)) };
        Self { inner, signals, old: Vec::new(), repeat, random }
    }
}

impl Ring for SlowRing {
    fn start(&mut self) -> io::Result<()> {
        self.inner.start()
    }

    unsafe fn push(&mut self, entry: Entry) -> Ticket {
        // SAFETY: the caller says so.
        unsafe { self.inner.push(entry) }
    }

    fn revoke(&mut self, ticket: Ticket) -> bool {
        self.inner.revoke(ticket)
    }

    fn needs_enter(&self) -> bool {
        match self.signals.eventfd.load(Relaxed) {
            // What is tried at each enter would be news for ever.
            0.. => self.inner.has_staged() || self.signals.kernel.is_ready(),
            _ => self.inner.needs_enter(),
        }
    }

    fn in_kernel(&self) -> usize {
        self.inner.in_kernel()
    }

    fn enter(&mut self, wait: bool, timeout: Option<Duration>, out: &mut Vec<Completion>) -> io::Result<()> {
        let (until, before) = (deadline(timeout), out.len());
        loop {
            point();
            self.inner.enter(false, None, out)?;
            self.repeat(before, out);
            if !wait || out.len() > before || timeout == Some(Duration::ZERO) || self.inner.has_staged() {
                return Ok(());
            }
            let kernel = self.signals.kernel.clone();
            if block(0, until, Some(Arc::new(move || kernel.is_ready() || kernel.progress()))) == Woken::Late {
                return Ok(());
            }
        }
    }

    fn take_back(&mut self, out: &mut Vec<Completion>) {
        self.inner.take_back(out);
    }

    fn supports(&self, opcode: u8) -> bool {
        self.inner.supports(opcode)
    }

    unsafe fn register_buffers(&mut self, memory: *mut u8, entries: u16, group: u16) -> io::Result<()> {
        // SAFETY: the caller says so.
        unsafe { self.inner.register_buffers(memory, entries, group) }
    }

    fn signal_through(&mut self, eventfd: RawFd) -> io::Result<()> {
        self.signals.eventfd.store(eventfd, Relaxed);
        Ok(())
    }

    fn drain(&mut self, limit: Option<Duration>, out: &mut Vec<Completion>) -> bool {
        self.inner.drain(limit, out)
    }
}

/// Does what entries ask for, without waiting.
#[derive(Default)]
struct Work {
    /// A multishot poll hears of edges: each has a set of its own.
    edges: HashMap<u64, OwnedFd>,
}

impl Work {
    fn attempt(&mut self, sqe: &Sqe) -> i32 {
        let (memory, len, flags) = (sqe.addr as *mut libc::c_void, sqe.len as usize, sqe.op_flags as i32);
        // SAFETY: the entry's memory is there until its last completion; that is what is tested.
        let done = unsafe {
            match sqe.opcode {
                opcode::PollAdd::CODE if sqe.is_multishot() => return self.edge(sqe),
                opcode::PollAdd::CODE => match is_ready(sqe.fd, sqe.op_flags as i16) {
                    0 => return -libc::EAGAIN,
                    ready => return ready.into(),
                },
                opcode::Accept::CODE => {
                    libc::accept4(sqe.fd, std::ptr::null_mut(), std::ptr::null_mut(), flags) as isize
                }
                opcode::Recv::CODE => libc::recv(sqe.fd, memory, len, flags | libc::MSG_DONTWAIT),
                opcode::Send::CODE => libc::send(sqe.fd, memory, len, flags | libc::MSG_DONTWAIT),
                opcode::RecvMsg::CODE => libc::recvmsg(sqe.fd, memory.cast(), flags | libc::MSG_DONTWAIT),
                opcode::SendMsg::CODE => libc::sendmsg(sqe.fd, memory.cast(), flags | libc::MSG_DONTWAIT),
                opcode::Read::CODE if sqe.off == u64::MAX => libc::read(sqe.fd, memory, len),
                opcode::Write::CODE if sqe.off == u64::MAX => libc::write(sqe.fd, memory, len),
                opcode::Close::CODE => libc::close(sqe.fd) as isize,
                _ => return -libc::EINVAL,
            }
        };
        if done < 0 { -io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) } else { done as i32 }
    }

    fn edge(&mut self, sqe: &Sqe) -> i32 {
        let set = self.edges.entry(sqe.user_data).or_insert_with(|| {
            let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: 0 };
            // SAFETY: a new descriptor, which is ours; the event is readable.
            unsafe {
                let set = OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC));
                libc::epoll_ctl(set.as_raw_fd(), libc::EPOLL_CTL_ADD, sqe.fd, &mut event);
                set
            }
        });
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: room for one event.
        match unsafe { libc::epoll_wait(set.as_raw_fd(), &mut event, 1, 0) } {
            1 => event.events as i32,
            _ => -libc::EAGAIN,
        }
    }
}
