//! Models of leases that come back beside the owner. The entries' contents are loom's cells, so an access that is not
//! ordered after the one before it fails the model.

use super::*;
use crate::primitives::handle::{Handle, Kind};
use crate::primitives::sync::{Ordering::*, UnsafeCell};
use loom::thread::{self, JoinHandle};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// Stands for the buffers' memory, and counts the wakes. What is std's here is so that loom does not order by it.
struct Memory {
    wakes: AtomicU32,
    unmapped: UnsafeCell<bool>,
}

impl Memory {
    fn touch(&self) {
        // SAFETY: loom fails the model if the end is not ordered after this.
        self.unmapped.with(|unmapped| assert!(!unsafe { *unmapped }, "used after its end"));
    }

    fn is_unmapped(&self) -> bool {
        // SAFETY: as above.
        self.unmapped.with(|unmapped| unsafe { *unmapped })
    }

    fn wakes(&self) -> u32 {
        self.wakes.load(Relaxed)
    }
}

/// Is dropped with what a pool shares.
struct Owned(Arc<Memory>);

impl Owned {
    fn wake(&self) {
        self.0.touch();
        self.0.wakes.fetch_add(1, Relaxed);
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: loom fails the model if another access is not ordered before this.
        self.0.unmapped.with_mut(|unmapped| assert!(!unsafe { std::ptr::replace(unmapped, true) }, "ended twice"));
    }
}

// SAFETY: loom sees to it that accesses to the cell are ordered, which is what the models are for.
unsafe impl Sync for Memory {}
// SAFETY: as above.
unsafe impl Send for Memory {}

struct Pool {
    buffers: Buffers,
    memory: Arc<Memory>,
    /// How many wishes were granted.
    wishes: u32,
    /// The sum of the owners that came back.
    sum: u64,
}

impl Pool {
    fn new(count: u32) -> Self {
        let memory = Arc::new(Memory { wakes: AtomicU32::new(0), unmapped: UnsafeCell::new(false) });
        let owned = Owned(memory.clone());
        Self { buffers: Buffers::new(64, count, Box::new(move || owned.wake())), memory, wishes: 0, sum: 0 }
    }

    fn lease(&mut self, owner: u64) -> u64 {
        let taken = self.buffers.take().expect("a free one");
        self.buffers.keep(taken, 1, owner).hand_out().lease
    }

    fn collect(&mut self) {
        self.buffers.collect(|owner| self.sum += owner);
    }

    /// Collects, and sleeps whenever it may, until the owners sum up to that.
    fn collect_until(&mut self, sum: u64) {
        while self.sum != sum {
            self.collect();
            if self.sum != sum && self.buffers.want_release() {
                self.wishes += 1;
                // A wish stays until it is answered, however often the owner looks.
                self.collect();
                while self.memory.wakes() < self.wishes {
                    thread::yield_now();
                }
            }
        }
    }

    fn assert_each_wish_was_answered_once(&self) {
        assert_eq!(self.memory.wakes(), self.wishes);
    }
}

/// Releases in this order; which of them succeeded.
fn releaser<const N: usize>(leases: [u64; N]) -> JoinHandle<[bool; N]> {
    thread::spawn(move || leases.map(|lease| release(lease).is_ok()))
}

/// Uses the lease, which nobody else has, and releases it.
fn user(pool: &Pool, lease: u64) -> JoinHandle<()> {
    let memory = pool.memory.clone();
    thread::spawn(move || {
        memory.touch();
        assert!(release(lease).is_ok());
    })
}

fn joined<T>(thread: JoinHandle<T>) -> T {
    thread.join().expect("no panic")
}

/// All entries come out of the slab again, once and before any new one.
fn assert_entries_are_free(used: usize) {
    let mut pool = Pool::new(used as u32 + 1);
    let leases: Vec<u64> = (0..=used).map(|_| pool.lease(0)).collect();
    let indices: HashSet<u32> =
        leases.iter().filter_map(|&lease| Handle::parse(lease, Kind::Lease)).map(|handle| handle.index).collect();
    assert_eq!(indices, (0..=used as u32).collect(), "lost, or freed twice");
    leases.into_iter().for_each(|lease| assert!(release(lease).is_ok()));
}

/// Two threads release, one of them a lease that the other releases as well; the owner sleeps in between. Each buffer comes
/// back once, and each sleep ends by one wake.
#[test]
fn loom_buffers_each_comes_back_once_and_each_wish_is_answered_once() {
    loom::model(|| {
        let mut pool = Pool::new(2);
        let [one, ten] = [1, 10].map(|owner| pool.lease(owner));
        let first = releaser([one]);
        let second = releaser([one, ten]);
        pool.collect_until(11);
        let ([a], [b, c]) = (joined(first), joined(second));
        assert!(a != b && c, "released twice, or not at all");
        pool.collect();
        assert_eq!((pool.sum, pool.buffers.free(), pool.buffers.leased()), (11, 2, 0));
        pool.assert_each_wish_was_answered_once();
    });
}

/// The pool ends beside the releases, with a wish that may be answered: the entries are free afterwards, and what was
/// shared ends with its last holder.
#[test]
fn loom_buffers_of_a_pool_that_ends_are_given_up_once() {
    loom::model(|| {
        let mut pool = Pool::new(2);
        let leases = [1, 10].map(|owner| pool.lease(owner));
        let users = leases.map(|lease| user(&pool, lease));
        pool.collect();
        let wishes = u32::from(pool.buffers.want_release());
        let memory = pool.memory.clone();
        drop(pool);
        users.into_iter().for_each(joined);
        assert!(memory.wakes() <= wishes, "woken by two, or for no wish");
        assert!(memory.is_unmapped(), "left behind");
        assert!(leases.iter().all(|&lease| release(lease).is_err()));
        assert_entries_are_free(2);
    });
}

/// A buffer is leased again beside a second release of its first lease, which never ends the second. A stranger guesses
/// the second's handle, ordered by nothing: if it is right, it releases what it names.
#[test]
fn loom_buffers_leased_again_are_safe_from_old_handles() {
    loom::model(|| {
        let mut pool = Pool::new(1);
        let first = pool.lease(1);
        let guess = first + (1 << 32);
        let releasers = [releaser([first, first]), releaser([guess, first])];
        pool.collect_until(1);
        let second = pool.lease(10);
        assert_eq!(second, guess);
        let [[a, b], [guessed, c]] = releasers.map(joined);
        assert_eq!(u32::from(a) + u32::from(b) + u32::from(c), 1);
        assert_eq!(release(second).is_err(), guessed, "ended by an old handle, or twice");
        pool.collect_until(11);
        pool.assert_each_wish_was_answered_once();
    });
}

/// A lease is claimed, queued and handed out again beside releases by its handle: the buffer comes back once, and who
/// claims it sees what it is.
#[test]
fn loom_buffers_claimed_are_not_released_meanwhile() {
    loom::model(|| {
        let mut pool = Pool::new(1);
        let lease = pool.lease(1);
        let claimer = thread::spawn(move || {
            let Ok(claimed) = claim(lease) else { return false };
            assert_eq!(claimed.bytes().1, 1);
            let mut queue = LeaseQueue::default();
            queue.push(claimed);
            assert_eq!(queue.pop().expect("pushed").hand_out().lease, lease);
            release(lease).is_ok()
        });
        let other = releaser([lease, lease]);
        let by_claimer = joined(claimer);
        let [first, second] = joined(other);
        let left = release(lease).is_ok();
        assert_eq!([by_claimer, first, second, left].iter().filter(|&&won| won).count(), 1);
        pool.collect();
        assert_eq!((pool.sum, pool.buffers.free()), (1, 1));
    });
}
