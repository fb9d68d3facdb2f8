//! What a worker sleeps in, and what turns events into readiness.
//!
//! The contract of a backend (`Poller`), kept by `epoll.rs`:
//! - One worker owns it and is the only one that waits in it. Registering, changing and removing descriptors goes through
//!   its shared half (`Handle`), from any thread, also during a wait.
//! - `wait` returns after the timeout, or earlier with events, or earlier with none (a spurious return is allowed; EINTR is
//!   one). It never returns before the timeout for a reason that would make its caller spin.
//! - Readiness is edge-triggered and merged: after an event, the next one for the same descriptor comes when something
//!   changed. An event may arrive for a descriptor that is gone; its token says so by its generation.
//! - `unpark` makes the current wait, or the next one, return.
//! - A descriptor that was closed elsewhere costs an error at most, never a panic.
//!
//! Beside its backend for readiness a driver may have a ring (`uring/`), which takes operations and gives completions.
//! Both share one sleep: with nothing on the ring the worker sleeps in epoll; else it sleeps in the ring, where a
//! one-shot poll of the epoll set is armed (a multishot one would lose what a partial drain leaves behind), and a multishot
//! poll of an eventfd that is never read. As long as the one-shot poll is armed and has not fired, the set has no news, so
//! that looking at it costs no system call.
//!
//! A ring that the system refuses to enter, as in a program that put itself into a sandbox, is given up, and so is one that the set is
//! not to hear of, where the owner sleeps in somebody else's loop. What the kernel has not
//! got comes back, and from then on all goes as without a ring. What it has stays its own, for nobody could tell when it lets go
//! of it, and in the end the ring is left to it.

mod epoll;
mod uring;

#[cfg(all(test, not(loom)))]
pub(crate) use uring::fake;
pub(crate) use uring::{Completion, Entry, Ring, Ticket, make, prove};

use crate::primitives::handle::{Handle as RawHandle, Kind};
use crate::primitives::prefetch::{MANY, prefetch};
use crate::primitives::sync::{Arc, AtomicBool, AtomicU32, Ordering::*};
use crate::primitives::wake_list::WakeList;
use crate::readiness::{IOS, Interest, Ready, ScheduledIo};
use io_uring::{opcode, types};
use parking_lot::RwLock;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// An event as a backend reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The handle of the descriptor, or `UNPARK`.
    pub(crate) token: u64,
    pub(crate) ready: Ready,
}

/// The token of the backend's own wake-ups. No handle is 0.
pub(crate) const UNPARK: u64 = 0;

/// What the driver's own entries on the ring are called. No handle has the kind 0.
const POLL_SET: u64 = 1;
const POLL_BELL: u64 = 2;
/// What the last completion is called that is heard of from a ring: it is not entered any more, and keeps what it has.
pub(crate) const GIVEN_UP: u64 = 3;

/// The owner's half of a backend. See the module for its contract.
pub(crate) trait Poller: Send {
    /// Waits, and appends at most as many events as it was made for. `None` waits without end.
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()>;
}

/// The shared half of a driver.
#[derive(Debug)]
pub(crate) struct Handle {
    /// Nothing once it was closed. Under the lock there is nothing but a system call.
    open: RwLock<Option<Open>>,
    told: Arc<Told>,
}

/// What the owner tells others of its ring.
#[derive(Debug)]
struct Told {
    /// The owner sleeps in the ring, or is about to. Written before the owner parks its inbox and read by who finds it
    /// parked, which orders the two. Who reads it late writes for nothing, since its message was taken before.
    in_ring: AtomicBool,
    /// Why the ring was given up; 0: it was not.
    lost: AtomicU32,
}

/// The descriptors of a driver, but for the ring's own.
#[derive(Debug)]
struct Open {
    epoll: epoll::Handle,
    /// What wakes an owner that sleeps in its ring.
    bell: Option<OwnedFd>,
}

impl Handle {
    /// Uses the set, which is there unless the owner has ended, and the runtime after it.
    fn with_set<R>(&self, f: impl FnOnce(&epoll::Handle) -> io::Result<R>) -> io::Result<R> {
        match &*self.open.read() {
            Some(open) => f(&open.epoll),
            None => Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
    }

    /// Closes the descriptors, when the owner is gone. Who holds this for a wake that may still come needs none of them.
    pub(crate) fn close(&self) {
        let open = self.open.write().take();
        drop(open);
    }

    /// Watches a descriptor, edge-triggered. The token is its handle.
    pub(crate) fn register(&self, fd: RawFd, token: u64, interest: Interest) -> io::Result<()> {
        self.with_set(|set| set.register(fd, token, interest))
    }

    /// Watches a listener that other workers watch, too, by descriptors of their own: who sleeps is woken one at a time.
    pub(crate) fn register_exclusive(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.with_set(|set| set.register_exclusive(fd, token))
    }

    /// Arms a member anew: its present state is reported once more. Fails with ENOENT if the descriptor at this number
    /// is not the one that was registered.
    pub(crate) fn rearm(&self, fd: RawFd, token: u64, interest: Interest) -> io::Result<()> {
        self.with_set(|set| set.rearm(fd, token, interest))
    }

    /// Stops watching. Fails as `rearm` does.
    pub(crate) fn deregister(&self, fd: RawFd) -> io::Result<()> {
        self.with_set(|set| set.deregister(fd))
    }

    /// Makes the owner's wait return. It may be gone: a wake that began before it went comes late, and finds nothing.
    pub(crate) fn unpark(&self) {
        let in_ring = self.told.in_ring.load(Relaxed);
        match &*self.open.read() {
            Some(Open { bell: Some(bell), .. }) if in_ring => epoll::ring(bell.as_raw_fd()),
            Some(open) => open.epoll.unpark(),
            None => {}
        }
    }

    /// The same by who has not found the inbox parked, and so knows nothing of the sleep: the set is heard of in either.
    pub(crate) fn ring_set(&self) {
        if let Some(open) = &*self.open.read() {
            open.epoll.unpark();
        }
    }

    /// Why the owner has no ring any more, if it had one.
    pub(crate) fn lost_ring(&self) -> Option<i32> {
        Some(self.told.lost.load(Relaxed) as i32).filter(|&errno| errno != 0)
    }

    /// The descriptor for sleeping in somebody else's loop: poll(2) sees it readable when there are events.
    pub(crate) fn event_fd(&self) -> io::Result<RawFd> {
        self.with_set(|set| Ok(set.event_fd()))
    }

    /// Makes that descriptor readable at an absolute monotonic time; `None` takes that back.
    pub(crate) fn alarm(&self, at: Option<u64>) {
        let _ = self.with_set(|set| {
            set.alarm(at);
            Ok(())
        });
    }
}

/// A ring, and what the driver itself has on it.
struct Side {
    ring: Box<dyn Ring>,
    /// The shared half's, which outlives this one.
    bell: RawFd,
    told: Arc<Told>,
    /// Entries that were handed over, or are about to be, and have not ended. Without our own, and without those that are
    /// only there to end others.
    in_flight: usize,
    /// A one-shot poll of the epoll set is armed.
    set_armed: bool,
    bell_armed: bool,
    started: bool,
    /// Somebody else's loop waits on the epoll set, which hears of the ring through the set's eventfd.
    signals: bool,
    given_up: bool,
}

/// A worker's driver.
pub(crate) struct Driver {
    poller: Box<dyn Poller>,
    events: Vec<Event>,
    epfd: RawFd,
    side: Option<Side>,
}

impl Driver {
    /// A driver on epoll, with a ring if one is given, and its shared half.
    pub(crate) fn new(max_events: usize, ring: Option<Box<dyn Ring>>) -> io::Result<(Self, Handle)> {
        let (poller, epoll) = epoll::new(max_events)?;
        let epfd = epoll.event_fd();
        let told = Arc::new(Told { in_ring: AtomicBool::new(false), lost: AtomicU32::new(0) });
        let bell = ring.is_some().then(epoll::eventfd).transpose()?;
        let side = ring.zip(bell.as_ref()).map(|(ring, bell)| Side {
            ring,
            bell: bell.as_raw_fd(),
            told: told.clone(),
            in_flight: 0,
            set_armed: false,
            bell_armed: false,
            started: false,
            signals: false,
            given_up: false,
        });
        let handle = Handle { open: RwLock::new(Some(Open { epoll, bell })), told };
        Ok((Self { poller: Box::new(poller), events: Vec::with_capacity(max_events), epfd, side }, handle))
    }

    /// The same with a poller of a simulator's around the real one.
    #[cfg(all(sim, test))]
    pub(crate) fn veiled(self, veil: impl FnOnce(Box<dyn Poller>, RawFd) -> Box<dyn Poller>) -> Self {
        Self { poller: veil(self.poller, self.epfd), ..self }
    }

    /// On the owner's thread, before the first turn. A ring that cannot be enabled is given up: operations then run as
    /// they do without one.
    pub(crate) fn start(&mut self) {
        if let Some(side) = self.side.as_mut().filter(|side| !side.started) {
            side.started = true;
            if let Err(error) = side.ring.start() {
                side.lose(&error);
                self.side = None;
            }
        }
    }

    /// The ring, if there is one that can be entered.
    pub(crate) fn has_ring(&self) -> bool {
        self.side.as_ref().is_some_and(|side| !side.given_up)
    }

    /// True if there is a ring that is not entered any more.
    pub(crate) fn has_given_up(&self) -> bool {
        self.side.as_ref().is_some_and(|side| side.given_up)
    }

    /// True if there is no ring, or none any more, that the kernel may still be at work for.
    pub(crate) fn has_ended_ring(&self) -> bool {
        self.side.as_ref().is_none_or(|side| side.given_up && side.in_flight == 0)
    }

    pub(crate) fn supports(&self, opcode: u8) -> bool {
        self.side.as_ref().is_some_and(|side| !side.given_up && side.ring.supports(opcode))
    }

    /// Queues an entry for the next turn. Only with a ring.
    ///
    /// # Safety
    /// As for `Ring::push`.
    pub(crate) unsafe fn push(&mut self, entry: Entry) -> Ticket {
        let side = self.side.as_mut().expect("the caller asked for a ring");
        side.in_flight += 1;
        // SAFETY: the caller says so.
        unsafe { side.ring.push(entry) }
    }

    /// The same for an entry that ends another: as long as that one is there, it is waited for.
    ///
    /// # Safety
    /// As for `Ring::push`.
    pub(crate) unsafe fn push_cancel(&mut self, entry: Entry) {
        let side = self.side.as_mut().expect("the caller asked for a ring");
        // SAFETY: the caller says so.
        unsafe { side.ring.push(entry) };
    }

    /// Takes an entry back that the kernel has not got. No completion will come of it then.
    pub(crate) fn revoke(&mut self, ticket: Ticket) -> bool {
        let Some(side) = self.side.as_mut() else { return false };
        let revoked = side.ring.revoke(ticket);
        side.in_flight = side.in_flight.saturating_sub(usize::from(revoked));
        revoked
    }

    /// An entry had its last completion, and did not just come back. The owner says so, who knows a completion that is one too many.
    pub(crate) fn ended(&mut self) {
        if let Some(side) = &mut self.side {
            side.in_flight = side.in_flight.saturating_sub(1);
        }
    }

    /// # Safety
    /// As for `Ring::register_buffers`.
    pub(crate) unsafe fn register_buffers(&mut self, memory: *mut u8, entries: u16, group: u16) -> io::Result<()> {
        let side = self.side.as_mut().ok_or(io::ErrorKind::Unsupported)?;
        // SAFETY: the caller says so.
        unsafe { side.ring.register_buffers(memory, entries, group) }
    }

    /// From now on somebody else's loop waits on the epoll set. A ring that cannot be heard of there is given up.
    pub(crate) fn embed(&mut self, handle: &Handle, completions: &mut Vec<Completion>) {
        let Some(side) = self.side.as_mut().filter(|side| side.is_entered() && !side.signals) else { return };
        match handle.with_set(|set| side.ring.signal_through(set.eventfd())) {
            Ok(()) => side.signals = true,
            Err(error) => side.give_up(&error, completions),
        }
    }

    /// Hands queued entries to the kernel, for an owner who leaves without a sleep.
    pub(crate) fn flush(&mut self, completions: &mut Vec<Completion>) {
        if let Some(side) = self.side.as_mut().filter(|side| side.is_entered()) {
            // What could not be handed over stays queued, for the next turn.
            let _ = side.enter(false, None, completions);
        }
    }

    /// True if a turn would find something at once.
    pub(crate) fn has_news(&self) -> bool {
        self.side.as_ref().is_some_and(|side| side.is_entered() && side.ring.needs_enter())
    }

    /// Says where the next wait will sleep. Called before the owner parks its inbox.
    pub(crate) fn prepare_sleep(&mut self) {
        if let Some(side) = &self.side {
            side.told.in_ring.store(side.is_entered() && side.is_busy(), Relaxed);
        }
    }

    /// The owner does not sleep after all, or sleeps in somebody else's loop: it hears of its inbox through the epoll set.
    pub(crate) fn stay_awake(&self) {
        if let Some(side) = &self.side {
            side.told.in_ring.store(false, Relaxed);
        }
    }

    /// Waits for events, for `deliver` to give out; appends what the ring completed. True if there are events, wake-ups not
    /// counted.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>, completions: &mut Vec<Completion>) -> io::Result<bool> {
        self.events.clear();
        let Some(side) = self.side.as_mut().filter(|side| side.is_entered()) else {
            return self.wait_in_set(timeout);
        };
        if timeout == Some(Duration::ZERO) || !side.is_busy() {
            if let Err(error) = side.enter(false, None, completions) {
                return self.wait_without_ring(error, completions);
            }
            return match timeout {
                Some(Duration::ZERO) if side.set_armed => Ok(false),
                // Something came by the way.
                _ if !completions.is_empty() => self.wait_in_set(Some(Duration::ZERO)),
                timeout => self.wait_in_set(timeout),
            };
        }
        side.arm(self.epfd);
        let result = side.enter(true, timeout, completions);
        side.told.in_ring.store(false, Relaxed);
        if let Err(error) = result {
            return self.wait_without_ring(error, completions);
        }
        if side.set_armed { Ok(false) } else { self.wait_in_set(Some(Duration::ZERO)) }
    }

    /// The ring could not be entered. What the set has is heard of all the same, and nothing else is a reason to fail. Who is
    /// refused goes on without the ring.
    fn wait_without_ring(&mut self, error: io::Error, completions: &mut Vec<Completion>) -> io::Result<bool> {
        if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS | libc::EACCES)) {
            self.side.as_mut().into_iter().for_each(|side| side.give_up(&error, completions));
            return self.wait_in_set(Some(Duration::ZERO));
        }
        if self.wait_in_set(Some(Duration::ZERO))? { Ok(true) } else { Err(error) }
    }

    fn wait_in_set(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.poller.wait(timeout, &mut self.events)?;
        Ok(self.events.iter().any(|event| target(event).is_some()))
    }

    /// Gives the events of the last wait to their descriptors, and wakes who waits for them. Returns how many were news.
    pub(crate) fn deliver(&mut self) -> usize {
        if self.events.len() >= MANY {
            self.events.iter().filter_map(target).for_each(|(io, _)| {
                prefetch(io, 0);
                prefetch(io, 1);
            });
        }
        let (mut wakers, mut delivered) = (WakeList::new(), 0);
        for event in self.events.drain(..) {
            if wakers.is_full() {
                wakers.wake_all();
            }
            delivered += usize::from(deliver(event, &mut wakers));
        }
        wakers.wake_all();
        delivered
    }

    /// Ends whatever is on the ring, for so long at most. What would not end is counted, and the ring leaked with it, for
    /// the kernel goes on writing into memory that is leaked as well.
    pub(crate) fn end(&mut self, patience: Duration, completions: &mut Vec<Completion>) -> Result<(), usize> {
        let Some(mut side) = self.side.take() else { return Ok(()) };
        if side.given_up {
            if side.in_flight == 0 {
                return Ok(());
            }
            side.ring.forget();
            return Err(side.in_flight);
        }
        if !side.started || side.ring.drain(Some(patience), completions) {
            return Ok(());
        }
        let left = side.ring.in_kernel();
        side.ring.forget();
        Err(left)
    }
}

impl Side {
    /// It was enabled, and not given up.
    fn is_entered(&self) -> bool {
        self.started && !self.given_up
    }

    /// Tells why there is no ring any more.
    fn lose(&self, why: &io::Error) {
        self.told.lost.store(why.raw_os_error().unwrap_or(libc::EIO) as u32, Relaxed);
        self.told.in_ring.store(false, Relaxed);
    }

    /// Does without the ring from now on. What the kernel has not got comes back, and the last completion says so.
    fn give_up(&mut self, why: &io::Error, completions: &mut Vec<Completion>) {
        self.lose(why);
        self.given_up = true;
        let before = completions.len();
        self.ring.take_back(completions);
        let counted = completions[before..].iter().filter(|completion| is_operation(completion.user_data)).count();
        self.in_flight = self.in_flight.saturating_sub(counted);
        completions.push(Completion { user_data: GIVEN_UP, result: 0, flags: 0 });
    }

    /// True if there is something on the ring, or for it, that a sleep in epoll would not hear of.
    fn is_busy(&self) -> bool {
        self.in_flight > 0 || self.ring.needs_enter()
    }

    /// Arms the driver's own polls, before a sleep in the ring.
    fn arm(&mut self, epfd: RawFd) {
        if !self.set_armed {
            let poll = opcode::PollAdd::new(types::Fd(epfd), libc::POLLIN as u32).build();
            // SAFETY: the entry names no memory. The set outlives the ring: the worker, whose driver this is, ends first.
            unsafe { self.ring.push(poll.user_data(POLL_SET)) };
            self.set_armed = true;
        }
        if !self.bell_armed {
            let poll = opcode::PollAdd::new(types::Fd(self.bell), libc::POLLIN as u32).multi(true);
            // SAFETY: as above, and so does the bell.
            unsafe { self.ring.push(poll.build().user_data(POLL_BELL)) };
            self.bell_armed = true;
        }
    }

    /// Enters the ring if there is a reason to, and keeps the driver's own completions back.
    fn enter(&mut self, wait: bool, timeout: Option<Duration>, completions: &mut Vec<Completion>) -> io::Result<()> {
        if !wait && !self.ring.needs_enter() {
            return Ok(());
        }
        let before = completions.len();
        let result = self.ring.enter(wait, timeout, completions);
        let mut at = before;
        for read in before..completions.len() {
            let completion = completions[read];
            match completion.user_data {
                POLL_SET => self.set_armed = false,
                POLL_BELL => self.bell_armed &= completion.has_more(),
                _ => {
                    completions[at] = completion;
                    at += 1;
                }
            }
        }
        completions.truncate(at);
        result
    }
}

/// True for an entry of an operation's. Those that only end others, and the driver's own, are not counted.
fn is_operation(user_data: u64) -> bool {
    RawHandle::parse(user_data, Kind::Op).is_some()
}

/// Whom an event is for, and in which of its lives; the driver's own are for nobody.
fn target(event: &Event) -> Option<(&'static ScheduledIo, u32)> {
    let handle = RawHandle::parse(event.token, Kind::Io)?;
    Some((IOS.get(handle.index)?, handle.generation))
}

/// Gives an event to its descriptor, or drops it if that is gone.
fn deliver(event: Event, wakers: &mut WakeList) -> bool {
    target(&event).is_some_and(|(io, generation)| io.deliver_into(generation, event.ready, wakers))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_strangers_are_dropped() {
        for token in
            [UNPARK, 1, u64::MAX, 0x2fff_ffff, Kind::Io as u64, 7 << 32 | (Kind::Io as u64) << 28 | 0x0fff_ffff]
        {
            assert!(!deliver(Event { token, ready: Ready::ALL }, &mut WakeList::new()), "{token:#x}");
        }
    }
}
