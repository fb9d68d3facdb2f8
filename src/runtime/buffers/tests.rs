//! Buffers on one thread, with a kernel that is played by the test, and once with the real one. What threads may do to them
//! is in `loom_tests.rs`.

use super::lease::Buf;
use super::*;
use crate::primitives::handle::{Handle, Kind};
use io_uring::types::BufRingEntry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering::*};

mod kernel;
mod walk;

const SIZE: u32 = 100;

/// A pool, how often it woke, and the kernel's side of its ring.
struct Pool {
    buffers: Buffers,
    wakes: Arc<AtomicU32>,
    /// How many buffers the kernel took out of the ring.
    head: u16,
}

impl Pool {
    fn new(count: u32) -> Self {
        Self::with_size(SIZE, count)
    }

    fn with_size(size: u32, count: u32) -> Self {
        let wakes = Arc::new(AtomicU32::new(0));
        let counted = wakes.clone();
        let wake = Box::new(move || {
            counted.fetch_add(1, AcqRel);
        });
        Self { buffers: Buffers::new(size, count, wake), wakes, head: 0 }
    }

    fn wakes(&self) -> u32 {
        self.wakes.load(Acquire)
    }

    /// How many buffers are in the ring.
    fn in_ring(&mut self) -> u16 {
        let (base, _) = self.buffers.ring_memory().expect("memory");
        // SAFETY: the ring's memory, which starts with its first entry.
        let tail = unsafe { AtomicU16::from_ptr(base.add(14).cast()) };
        tail.load(Acquire).wrapping_sub(self.head)
    }

    /// The kernel takes the oldest buffer out of the ring: its number, place and size.
    fn consume(&mut self) -> Option<(u16, *mut u8, u32)> {
        if self.in_ring() == 0 {
            return None;
        }
        let (base, entries) = self.buffers.ring_memory().expect("memory");
        assert!(entries.is_power_of_two() && base.addr() % 4096 == 0);
        // SAFETY: an entry that was published.
        let entry = unsafe { &*base.cast::<BufRingEntry>().add((self.head % entries).into()) };
        self.head = self.head.wrapping_add(1);
        Some((entry.bid(), entry.addr() as *mut u8, entry.len()))
    }

    /// A lease of one byte.
    fn taken(&mut self, owner: u64) -> Lease {
        let taken = self.buffers.take().expect("a free one");
        self.buffers.keep(taken, 1, owner)
    }

    fn collected(&mut self) -> Vec<u64> {
        let mut owners = Vec::new();
        let any = self.buffers.collect(|owner| owners.push(owner));
        assert_eq!(any, !owners.is_empty());
        owners
    }

    /// Each buffer is in one place, and what the pool counts is so.
    fn census(&mut self) {
        let in_ring = u32::from(self.in_ring());
        let buffers = &self.buffers;
        let at = |place| buffers.used.iter().filter(|buffer| buffer.place == place).count() as u32;
        let free: HashSet<u16> = buffers.free.iter().copied().collect();
        assert_eq!(free.len(), buffers.free.len(), "free twice");
        assert!(free.iter().all(|&number| buffers.used[usize::from(number)].place == Place::Free));
        assert_eq!(at(Place::Free), free.len() as u32);
        assert_eq!(at(Place::Kernel), buffers.with_kernel);
        assert!(in_ring <= buffers.with_kernel && buffers.with_kernel <= WINDOW);
        assert_eq!(at(Place::Leased), buffers.leased());
        assert_eq!(buffers.free() + at(Place::Kernel) + at(Place::Taken) + at(Place::Leased), buffers.count);
        assert_eq!(buffers.at_hand(), buffers.free() + at(Place::Kernel));
    }
}

/// Whether a page is mapped.
fn is_mapped(page: *mut u8) -> bool {
    // SAFETY: asks, and changes nothing, whatever is there.
    let found = unsafe { libc::msync(page.cast(), 4096, libc::MS_ASYNC) };
    found == 0
}

#[test]
fn nothing_is_mapped_before_the_first_use() {
    let mut pool = Pool::new(8);
    assert!(pool.buffers.base.is_null() && pool.buffers.ring.is_none() && pool.buffers.used.is_empty());
    assert!(!pool.buffers.refill(), "there is no ring");
    assert!(pool.buffers.base.is_null());
    assert_eq!((pool.buffers.free(), pool.buffers.at_hand()), (8, 8));
    let taken = pool.buffers.take().expect("a free one");
    assert_eq!(taken.ptr().addr() % LINE, 0);
    assert!(is_mapped(pool.buffers.base));
    pool.buffers.put_back(taken);
    assert_eq!(pool.buffers.used.len(), 1, "the others were not touched");
}

#[test]
fn the_most_recent_is_used_again_first() {
    let mut pool = Pool::new(8);
    let bufs: Vec<Buf> = (0..4).map(|owner| pool.taken(owner).hand_out()).collect();
    for n in [2, 0, 3] {
        assert_eq!(release(bufs[n].lease), Ok(()));
    }
    assert_eq!(pool.collected(), [3, 0, 2], "newest first");
    for n in [3, 0, 2] {
        let taken = pool.buffers.take().expect("a free one");
        assert_eq!(taken.ptr(), bufs[n].ptr);
    }
    assert_eq!(pool.buffers.used.len(), 4);
}

#[test]
fn a_handle_is_released_once() {
    let mut pool = Pool::new(1);
    let first = pool.taken(1).hand_out();
    assert_eq!(release(first.lease), Ok(()));
    assert_eq!(release(first.lease), Err(libc::EBADF), "before it was collected");
    assert_eq!(pool.collected(), [1]);
    assert_eq!(release(first.lease), Err(libc::EBADF), "after");
    let second = pool.taken(2).hand_out();
    assert_eq!(second.ptr, first.ptr);
    assert_ne!(second.lease, first.lease);
    assert_eq!(release(first.lease), Err(libc::EBADF), "the buffer's next lease is another");
    assert_eq!(pool.collected(), []);
    assert_eq!(release(second.lease), Ok(()));
    assert_eq!(pool.collected(), [2]);
}

#[test]
fn what_is_no_lease_is_refused() {
    let mut pool = Pool::new(2);
    let (lease, held) = (pool.taken(1).hand_out().lease, pool.taken(2));
    let Handle { generation, index } = Handle::parse(lease, Kind::Lease).expect("a lease");
    let of = |generation, index| Handle { generation, index }.pack(Kind::Lease);
    let forged = [
        0,
        u64::MAX,
        of(generation + 1, index),
        of(generation - 1, index),
        of(u32::MAX, index),
        of(generation, crate::primitives::handle::MAX_INDEX),
        Handle { generation, index }.pack(Kind::Io),
    ];
    for handle in forged {
        assert_eq!(release(handle), Err(libc::EBADF), "{handle:#x}");
        assert!(claim(handle).is_err());
    }
    let guessed = held.hand_out().lease;
    let held = claim(guessed).expect("handed out");
    assert_eq!(release(guessed), Err(libc::EBADF), "the right handle of a lease that the program does not have");
    assert_eq!(pool.collected(), []);
    drop(held);
    assert_eq!(release(lease), Ok(()));
    assert_eq!(pool.collected(), [1, 2], "newest first");
}

#[test]
fn a_claimed_lease_is_nobody_elses_until_it_is_handed_out_again() {
    let mut pool = Pool::new(1);
    let buf = pool.taken(7).hand_out();
    let live = live_leases();
    assert!(live >= 1);
    let claimed = claim(buf.lease).expect("a live lease");
    assert_eq!(claimed.bytes(), (buf.ptr, 1));
    assert_eq!(release(buf.lease), Err(libc::EBADF));
    assert!(claim(buf.lease).is_err());
    let again = claimed.hand_out();
    assert_eq!((again.lease, again.ptr, again.len), (buf.lease, buf.ptr, 1));
    drop(claim(buf.lease));
    assert_eq!(pool.collected(), [7]);
    assert_eq!(release(buf.lease), Err(libc::EBADF));
}

#[test]
fn a_queue_keeps_order_and_returns_what_is_left() {
    let mut pool = Pool::new(8);
    let mut queue = LeaseQueue::default();
    assert!(queue.pop().is_none());
    for round in 0..3 {
        (0..4).for_each(|owner| queue.push(pool.taken(round * 10 + owner)));
        assert_eq!(queue.len(), 4);
        drop(queue.pop());
        queue.push(pool.taken(round * 10 + 4));
        drop((queue.pop(), queue.pop()));
        assert_eq!(pool.collected(), [2, 1, 0].map(|n| round * 10 + n), "newest first");
        match round {
            0 => queue.clear(),
            1 => while queue.pop().is_some() {},
            _ => drop(std::mem::take(&mut queue)),
        }
        assert_eq!(queue.len(), 0);
        assert_eq!(pool.collected(), [4, 3].map(|n| round * 10 + n));
    }
    pool.census();
}

#[test]
fn the_wish_is_answered_once_and_fails_where_something_came_before() {
    let mut pool = Pool::new(4);
    let leases: Vec<u64> = (0..4).map(|owner| pool.taken(owner).hand_out().lease).collect();
    assert_eq!((release(leases[0]), pool.wakes()), (Ok(()), 0));
    assert!(!pool.buffers.want_release(), "there is something to collect");
    assert_eq!(pool.collected(), [0]);
    assert!(pool.buffers.want_release() && pool.buffers.want_release());
    assert_eq!(pool.collected(), [], "nothing came, and the wish stays");
    assert_eq!((release(leases[1]), pool.wakes()), (Ok(()), 1));
    assert_eq!((release(leases[2]), pool.wakes()), (Ok(()), 1));
    assert!(!pool.buffers.want_release());
    assert_eq!(pool.collected(), [2, 1]);
    assert_eq!((release(leases[3]), pool.wakes()), (Ok(()), 1), "nobody wished");
}

#[test]
fn leases_outlive_the_pool() {
    let mut pool = Pool::new(4);
    let [kept, claimed, early]: [Buf; 3] = std::array::from_fn(|owner| pool.taken(owner as u64).hand_out());
    let lease = claim(claimed.lease).expect("a live lease");
    assert_eq!(release(early.lease), Ok(()));
    assert_eq!(pool.collected(), [2]);
    assert!(pool.buffers.want_release());
    let (base, wakes) = (pool.buffers.base, pool.wakes.clone());
    drop(pool);
    // SAFETY: a lease keeps its buffer.
    unsafe { kept.ptr.write_bytes(1, SIZE as usize) };
    assert_eq!(release(kept.lease), Ok(()));
    assert_eq!(release(kept.lease), Err(libc::EBADF));
    assert!(is_mapped(base));
    assert_eq!(Arc::strong_count(&wakes), 2);
    let again = lease.hand_out();
    assert_eq!(std::thread::spawn(move || release(again.lease)).join().expect("no panic"), Ok(()));
    assert_eq!(Arc::strong_count(&wakes), 1, "the last lease ends what was shared, memory and all");
    assert_eq!(wakes.load(Acquire), 0, "nobody wishes any more");
    assert_eq!(release(early.lease), Err(libc::EBADF));
}

#[test]
fn a_pool_without_leases_ends_with_its_memory() {
    let mut pool = Pool::new(4);
    drop(pool.taken(1));
    assert!(pool.buffers.ring_memory().is_ok() && pool.buffers.refill());
    let wakes = pool.wakes.clone();
    drop(pool);
    assert_eq!(Arc::strong_count(&wakes), 1);
}

#[test]
fn what_is_left_to_the_kernel_is_used_by_nobody_else() {
    let mut pool = Pool::new(8);
    let leased = pool.taken(1);
    pool.buffers.ring_memory().expect("memory");
    assert!(pool.buffers.refill());
    let kernels: HashMap<_, _> = std::iter::from_fn(|| pool.consume()).map(|(number, at, _)| (at, number)).collect();
    assert_eq!((kernels.len(), pool.buffers.free()), (7, 0));
    pool.buffers.leave_to_kernel();
    pool.census();
    assert_eq!(pool.buffers.free(), 7);
    for &number in kernels.values() {
        assert!(pool.buffers.filled(number, 1, 1).is_none(), "what comes late is nobody's");
    }
    let later: Vec<_> = (0..7).map(|_| pool.taken(2)).collect();
    let mut places: HashSet<_> = later.iter().map(|lease| lease.bytes().0).collect();
    places.insert(leased.bytes().0);
    assert_eq!(places.len(), 8, "shared");
    assert!(places.iter().all(|place| !kernels.contains_key(place)), "what the kernel may still fill");
    drop((leased, later));
    assert_eq!(pool.collected().len(), 8);
    pool.census();
}

/// A fourth of all addresses a pool, so the fifth is only there if the first was given back.
#[test]
fn addresses_are_given_back() {
    for round in 0..8 {
        let mut pool = Pool::with_size(1 << 30, MAX_COUNT);
        let Some(taken) = pool.buffers.take() else {
            assert_eq!(round, 0, "memory is left behind");
            return println!("skipped: no 32 TiB to be had here");
        };
        let lease = pool.buffers.keep(taken, 1, 0).hand_out().lease;
        if round % 2 == 0 {
            assert_eq!(release(lease), Ok(()));
            drop(pool);
        } else {
            drop(pool);
            assert_eq!(release(lease), Ok(()));
        }
    }
}

#[test]
fn an_entry_retires_before_its_generation_wraps() {
    let mut pool = Pool::new(1);
    drop(pool.taken(0));
    assert_eq!(pool.collected(), [0]);
    pool.buffers.used[0].entry.age_to(u32::MAX - 1);
    let last = pool.taken(1).hand_out();
    assert_eq!(release(last.lease), Ok(()));
    assert_eq!(pool.collected(), [1]);
    let next = pool.taken(2).hand_out();
    assert_eq!(next.ptr, last.ptr);
    let index = |buf: Buf| Handle::parse(buf.lease, Kind::Lease).expect("a lease").index;
    assert_ne!(index(next), index(last));
    assert_eq!(release(last.lease), Err(libc::EBADF));
    assert_eq!(release(next.lease), Ok(()));
    assert_eq!(pool.collected(), [2]);
}

#[test]
fn without_memory_there_are_no_buffers_and_no_harm() {
    let mut pool = Pool::with_size(u32::MAX, u32::MAX);
    assert_eq!(pool.buffers.free(), MAX_COUNT);
    assert!(pool.buffers.ring_memory().is_ok());
    assert!(pool.buffers.take().is_none());
    assert!(!pool.buffers.refill());
    assert_eq!(pool.buffers.at_hand(), MAX_COUNT);
    assert_eq!(pool.buffers.free(), MAX_COUNT);
}
