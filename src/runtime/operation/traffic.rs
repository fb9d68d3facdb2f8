//! What goes on on one descriptor: the operations that are its users, and the baton of its sends.
//!
//! The baton is an inbox whose owner is whoever sends: parked means that nobody does. Who replaces PARKED has the baton and
//! is the only one who sends and who touches the queue; everybody else pushes. The holder gives it up by parking, which
//! fails if something was pushed. So a send is never passed by a later one, and never left behind.

use super::super::accepting::breaks_connection;
use super::super::io::{Errno, IoName, traits};
use super::flush::Flushers;
use super::parcel::Parcel;
use super::{News, OPS, OpName, Operation, Told, Woken};
use crate::primitives::inbox::Inbox;
use crate::primitives::slab::{Entry, Slab};
use crate::primitives::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering::*, UnsafeCell, process_static};
use std::collections::VecDeque;

process_static! {
    /// The traffic of all descriptors that have some.
    static TRAFFIC: Slab<Traffic> = Slab::new();
}

/// How many descriptors have traffic.
pub(in super::super) fn traffics() -> u64 {
    TRAFFIC.in_use()
}

/// An operation's neighbours in the list of a descriptor: each is its index, doubled, with its slot, and 1; 0: none.
#[derive(Default)]
pub(super) struct Links {
    prev: AtomicU32,
    next: AtomicU32,
}

/// See the module.
#[derive(Default)]
#[repr(C, align(64))]
pub(crate) struct Traffic {
    next_free: AtomicU32,
    /// Operations that read, beside which no direct call may.
    receiving: AtomicU32,
    /// The first of the operations.
    first: Mutex<u32>,
    pub(super) baton: Inbox<Parcel>,
    pub(super) queued: AtomicU64,
    /// Why nothing can be sent any more: an errno, or 0.
    pub(super) failed: AtomicU32,
    /// Why a connect failed, until that can be told: an errno, or 0.
    pub(super) untold: AtomicU32,
    /// Why there is no connection, as who received or wrote was told: an errno, or 0.
    pub(super) refusal: AtomicU32,
    /// What is sent arrives in its order: on a stream, and on a connection of packets. So all sends are queued, those of operations
    /// as well.
    in_order: AtomicBool,
    /// Whoever has the baton sends what is not in the queue: set for the length of that call.
    pub(super) at_once: AtomicBool,
    /// Our direction was shut down, or is about to be: from then on the connection may be gone in order.
    pub(super) ends: AtomicBool,
    pub(super) flushers: Mutex<Flushers>,
    /// How many of the queue were cancelled since the holder looked for all of them.
    pub(super) cancelled: AtomicU32,
    /// `| moves 31 | received 1 |`: how often bytes were moved, and whether any were received. Counted on served connections.
    moved: AtomicU32,
    /// Operations wait for more than the program registered for. Written under the lock of moves.
    pub(in super::super) wide: AtomicBool,
    /// The operation of the library's that sends for the holder, or that waits to close the descriptor.
    pub(super) pump: AtomicU64,
    pub(super) closer: AtomicU64,
    /// Parcels in their order. The holder's.
    queue: UnsafeCell<Queue>,
}

#[derive(Default)]
struct Queue {
    #[expect(clippy::box_collection, reason = "one word, and all zeros where there is none")]
    parcels: Option<Box<VecDeque<Box<Parcel>>>>,
}

// SAFETY: all zeros are null pointers, unlocked mutexes and an inbox; an entry is made anew before each life.
unsafe impl Entry for Traffic {
    fn next_free(&self) -> &AtomicU32 {
        &self.next_free
    }
}

// SAFETY: the queue is the baton's holder's, and everything in it may move between threads.
unsafe impl Sync for Traffic {}
// SAFETY: as above.
unsafe impl Send for Traffic {}

fn node(op: &Operation, slot: usize) -> u32 {
    op.index.load(Relaxed) * 2 + slot as u32 + 1
}

fn links(node: u32) -> Option<&'static Links> {
    let node = node.checked_sub(1)?;
    OPS.get(node / 2).map(|op| &op.links[node as usize % 2])
}

impl IoName {
    /// The descriptor's traffic, made if there is none. The caller is a user of the descriptor.
    pub(super) fn traffic(self) -> Result<&'static Traffic, Errno> {
        if let Some(traffic) = self.traffic_if_any() {
            return Ok(traffic);
        }
        let (index, traffic) = TRAFFIC.alloc().ok_or(libc::ENOMEM)?;
        traffic.begin();
        traffic.in_order.store(self.has(traits::STREAM) || self.is_sequenced(), Relaxed);
        match self.io.traffic.compare_exchange(0, index + 1, AcqRel, Acquire) {
            Ok(_) => Ok(traffic),
            Err(now) => {
                TRAFFIC.free(index);
                TRAFFIC.get(now - 1).ok_or(libc::ENOMEM)
            }
        }
    }

    /// The same, if there is some.
    pub(in super::super) fn traffic_if_any(self) -> Option<&'static Traffic> {
        TRAFFIC.get(self.io.traffic.load(Acquire).checked_sub(1)?)
    }

    /// True for a connection of packets.
    fn is_sequenced(self) -> bool {
        self.has(traits::SOCKET) && self.option(libc::SOL_SOCKET, libc::SO_TYPE) == Ok(libc::SOCK_SEQPACKET)
    }

    /// True if an operation that sends has a place among the others.
    pub(super) fn sends_in_order(self) -> bool {
        self.traffic_if_any().is_some_and(|traffic| traffic.in_order.load(Relaxed))
    }

    /// What nothing to read means. The kernel tells once why a connection broke; if it told those who send here what was queued,
    /// to those who receive it looks like an orderly end. What it told may not have been looked at yet: then the connection
    /// says it.
    pub(in super::super) fn end_of_stream(self) -> Result<usize, Errno> {
        let Some(traffic) = self.traffic_if_any() else { return Ok(0) };
        let cut = traffic.is_sending() && self.is_connection_gone() && !traffic.ends.load(Acquire);
        match traffic.failed.load(Acquire) as Errno {
            failed if breaks_connection(failed) => Err(failed),
            _ if cut => Err(libc::ECONNRESET),
            _ => Ok(0),
        }
    }

    /// Who received was told why the connection broke, and has something else to say: the next one hears of it.
    pub(super) fn broke(self, errno: Errno) {
        if breaks_connection(errno) {
            self.traffic_if_any().into_iter().for_each(|traffic| traffic.fails(errno));
        }
    }

    /// Why nothing can be sent: an errno, or 0.
    pub(in super::super) fn why_failed(self) -> Errno {
        self.traffic_if_any().map_or(0, |traffic| traffic.failed.load(Acquire) as Errno)
    }

    /// A connect was begun, and with it a stream of which nothing is missing: what had failed before that was sent without a connection,
    /// or on another one. As long as that is noted nothing is sent, so it is not about the new one.
    pub(in super::super) fn begins(self, failed: Errno) {
        if let Some(traffic) = self.traffic_if_any() {
            let _ = traffic.failed.compare_exchange(failed as u32, 0, AcqRel, Acquire);
            traffic.ends.store(false, Release);
        }
    }

    /// True for a TCP connection of which nothing is left. One that ended in order still waits for our own end, unless that was
    /// made.
    pub(super) fn is_connection_gone(self) -> bool {
        /// TCP_CLOSE.
        const GONE: u8 = 7;
        let (mut state, mut len) = (0u8, 1);
        // SAFETY: the kernel writes the first byte of its answer, which is the state, and the length.
        let told = unsafe {
            libc::getsockopt(self.fd(), libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut state).cast(), &mut len)
        };
        told == 0 && state == GONE
    }

    /// Enters an operation into the list. `EBADF`: the descriptor was closed since the caller became its user, and nobody
    /// would tell the operation.
    pub(super) fn join_traffic(self, op: &'static Operation, slot: usize, receives: bool) -> Result<(), Errno> {
        let traffic = self.traffic()?;
        let mut first = traffic.first.lock();
        if !self.is_open() {
            return Err(libc::EBADF);
        }
        let me = node(op, slot);
        op.links[slot].prev.store(0, Relaxed);
        op.links[slot].next.store(*first, Relaxed);
        if let Some(next) = links(*first) {
            next.prev.store(me, Relaxed);
        }
        *first = me;
        drop(first);
        // Reads of a file get in nobody's way.
        if receives && !self.has(traits::FILE) {
            traffic.receiving.fetch_add(1, Release);
        }
        Ok(())
    }

    /// Takes an operation out of the list.
    pub(super) fn leave_traffic_of(self, op: &'static Operation, slot: usize, receives: bool) {
        let Some(traffic) = self.traffic_if_any() else { return };
        let mut first = traffic.first.lock();
        let (prev, next) = (op.links[slot].prev.load(Relaxed), op.links[slot].next.load(Relaxed));
        if let Some(next) = links(next) {
            next.prev.store(prev, Relaxed);
        }
        match links(prev) {
            Some(prev) => prev.next.store(next, Relaxed),
            None => *first = next,
        }
        drop(first);
        if receives && !self.has(traits::FILE) {
            traffic.receiving.fetch_sub(1, Relaxed);
        }
    }

    /// Tells every operation on the descriptor, which has just been closed, to end. But for the one that closes it.
    pub(in super::super) fn cancel_traffic(self) {
        let Some(traffic) = self.traffic_if_any() else { return };
        let closer = traffic.closer.load(Acquire);
        // Told under the lock: an operation that is in the list is alive. Posted without, for what nobody hears of may end then.
        let told = Woken::default();
        let first = traffic.first.lock();
        let mut next = *first;
        while let Some(op) = next.checked_sub(1).and_then(|node| OPS.get(node / 2)) {
            if op.name() != closer && op.word.tell(None, News::CANCEL) == Told::Post {
                told.push(op);
            }
            next = links(next).map_or(0, |links| links.next.load(Relaxed));
        }
        drop(first);
        while let Some(op) = told.pop() {
            op.post();
        }
    }

    /// The operation that closes the descriptor when it is its last user.
    pub(in super::super) fn closer(self) -> Option<OpName> {
        OpName::parse(self.traffic_if_any()?.closer.load(Acquire))
    }

    /// False: another one was faster.
    pub(in super::super) fn set_closer(self, op: u64) -> bool {
        self.traffic_if_any().is_some_and(|traffic| traffic.closer.compare_exchange(0, op, AcqRel, Acquire).is_ok())
    }

    /// True if an operation is a user of the descriptor, or something is queued to be sent.
    pub(in super::super) fn has_traffic(self) -> bool {
        self.traffic_if_any().is_some_and(|traffic| *traffic.first.lock() != 0 || traffic.is_sending())
    }

    /// Makes the handle stale, as closing it does, for one who could not wait for an operation to end: it may be this thread's
    /// to run. Either the operation sees that the handle is stale, as it enters the list, or we see the operation. The caller
    /// is a user of the descriptor. `EBUSY`: there are operations.
    pub(in super::super) fn close_without_traffic(self) -> Result<(), Errno> {
        let traffic = self.traffic()?;
        let first = traffic.first.lock();
        match *first != 0 || traffic.is_sending() {
            true => Err(if self.is_open() { libc::EBUSY } else { libc::EBADF }),
            false if self.io.guard.close(self.generation) => Ok(()),
            false => Err(libc::EBADF),
        }
    }

    /// True if a direct call in this direction would come between operations, or into what is being sent or queued. Who has the
    /// baton and nothing more to send is in nobody's way: who waited until all went may write at once.
    pub(in super::super) fn is_busy(self, writes: bool) -> bool {
        match (self.io.traffic.load(Relaxed), writes) {
            (0, _) => false,
            (_, true) => {
                self.traffic_if_any().is_some_and(|traffic| traffic.at_once.load(Acquire) || traffic.queued() > 0)
            }
            (_, false) => self.traffic_if_any().is_some_and(|traffic| traffic.receiving.load(Acquire) > 0),
        }
    }
}

const RECEIVED: u32 = 1;
const ONE_MOVE: u32 = 2;

/// What a connection has done: it changes with every move of bytes, and with every event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Activity {
    tick: u32,
    moved: u32,
}

impl Activity {
    pub(crate) fn has_received(self) -> bool {
        self.moved & RECEIVED != 0
    }
}

impl IoName {
    /// From now on the descriptor's activity is noted.
    pub(crate) fn note_activity(self) -> Result<(), Errno> {
        let _in_use = self.enter()?;
        self.traffic()?;
        self.add_trait(traits::NOTED);
        Ok(())
    }

    /// Bytes were moved on a descriptor of which the caller is a user. Costs a look where nobody wants to know.
    #[inline]
    pub(in super::super) fn note_moved(self, received: bool) {
        if !self.has(traits::NOTED) {
            return;
        }
        let Some(traffic) = self.traffic_if_any() else { return };
        if received && traffic.moved.load(Relaxed) & RECEIVED == 0 {
            traffic.moved.fetch_or(RECEIVED, Relaxed);
        }
        traffic.moved.fetch_add(ONE_MOVE, Relaxed);
    }

    /// What was noted. `None`: the descriptor was closed.
    pub(crate) fn activity(self) -> Option<Activity> {
        let _in_use = self.enter().ok()?;
        let moved = self.traffic_if_any()?.moved.load(Relaxed);
        Some(Activity { tick: self.io.tick(), moved })
    }
}

/// Gives back the traffic of a descriptor whose last user has gone.
pub(in super::super) fn leave_traffic(index: &AtomicU32) {
    let Some(index) = index.swap(0, AcqRel).checked_sub(1) else { return };
    if let Some(traffic) = TRAFFIC.get(index) {
        drop(traffic.take_queue());
        drop(traffic.flushers.lock().take());
        TRAFFIC.free(index);
    }
}

impl Traffic {
    /// Makes a free entry ready for a descriptor.
    fn begin(&self) {
        // What the life before left pushed was dropped with it.
        let _ = self.baton.take();
        let _ = self.baton.park();
        self.receiving.store(0, Relaxed);
        self.queued.store(0, Relaxed);
        self.failed.store(0, Relaxed);
        self.untold.store(0, Relaxed);
        self.refusal.store(0, Relaxed);
        self.cancelled.store(0, Relaxed);
        self.ends.store(false, Relaxed);
        self.moved.store(0, Relaxed);
        self.wide.store(false, Relaxed);
        self.pump.store(0, Relaxed);
        self.closer.store(0, Relaxed);
    }

    pub(super) fn is_sending(&self) -> bool {
        !self.baton.is_parked()
    }

    /// Nothing can be sent any more. Why a connection broke is told once: EPIPE, as others see it, is no news.
    pub(super) fn fails(&self, errno: Errno) {
        match errno {
            libc::EPIPE => drop(self.failed.compare_exchange(0, errno as u32, AcqRel, Acquire)),
            _ => self.failed.store(errno as u32, Release),
        }
    }

    // The queue. Only for the holder of the baton.

    /// Runs `f` with the queue.
    ///
    /// # Safety
    /// The caller has the baton.
    pub(super) unsafe fn with_queue<R>(&self, f: impl FnOnce(&mut VecDeque<Box<Parcel>>) -> R) -> R {
        // SAFETY: the baton makes the queue the caller's.
        self.queue.with_mut(|queue| f(unsafe { (*queue).parcels.get_or_insert_default() }))
    }

    /// Everything that was pushed goes behind what is queued.
    ///
    /// # Safety
    /// The caller has the baton.
    pub(super) unsafe fn collect(&self) {
        for parcel in self.baton.take() {
            // SAFETY: a push gave the parcel away; the baton is the caller's.
            unsafe { self.with_queue(|queue| queue.push_back(Box::from_raw(parcel.as_ptr()))) };
        }
    }

    /// What is left after the last user.
    fn take_queue(&self) -> Queue {
        // SAFETY: no user is left, so nobody has the baton, nor pushes.
        unsafe {
            self.collect();
            self.queue.with_mut(|queue| std::mem::take(&mut *queue))
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Who looked before the connection broke may send after that, and is told EPIPE.
    #[test]
    fn why_a_connection_broke_is_remembered() {
        let traffic = Traffic::default();
        traffic.begin();
        traffic.fails(libc::ECONNRESET);
        traffic.fails(libc::EPIPE);
        assert_eq!(traffic.failed.load(Acquire), libc::ECONNRESET as u32);
        traffic.begin();
        traffic.fails(libc::EPIPE);
        traffic.fails(libc::ECONNRESET);
        assert_eq!(traffic.failed.load(Acquire), libc::ECONNRESET as u32);
    }
}
