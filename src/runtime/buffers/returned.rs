//! What a pool shares with its leases: the way back, and the memory.
//!
//! The word is EMPTY, WANTED, CLOSED, or the newest of a list of returned leases. So the wish to hear of the next return
//! and the returns are read-modify-writes of the same word:
//! - the owner wishes by a CAS from EMPTY, which fails if anything was returned before;
//! - who replaces WANTED by its lease, and only that one, wakes the owner;
//! - a pool that ends leaves CLOSED, and whoever finds that gives entry and memory back itself.
//!
//! Leases do not count while the pool lives, because that would be two read-modify-writes a message. Each of them ends in
//! the word, so the pool knows how many are left when it ends, and counts them then.

use super::lease::LeaseEntry;
use super::memory::Mapping;
use crate::primitives::sync::{AtomicPtr, AtomicU32, Ordering::*, UnsafeCell};
use std::ptr::{self, NonNull};

const EMPTY: usize = 0;
const WANTED: usize = 1;
const CLOSED: usize = 2;

/// See the module.
pub(super) struct Shared {
    returned: AtomicPtr<LeaseEntry>,
    /// 1 for the pool; from its end on, 1 for each lease; and 1 for each thread that is about to wake the owner.
    holders: AtomicU32,
    /// Written by the pool's owner before the first lease, unmapped by the last holder.
    memory: UnsafeCell<Option<Mapping>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

fn word(value: usize) -> *mut LeaseEntry {
    ptr::without_provenance_mut(value)
}

fn is_lease(pointer: *mut LeaseEntry) -> bool {
    pointer.addr() > CLOSED
}

impl Shared {
    /// For a pool, which is its first holder.
    pub(super) fn new(wake: Box<dyn Fn() + Send + Sync>) -> NonNull<Self> {
        let shared = Self {
            returned: AtomicPtr::new(word(EMPTY)),
            holders: AtomicU32::new(1),
            memory: UnsafeCell::new(None),
            wake,
        };
        NonNull::from(Box::leak(Box::new(shared)))
    }

    /// Keeps the buffers' memory until nobody holds this any more.
    ///
    /// # Safety
    /// The caller is the owner of the pool, which has made no lease yet.
    pub(super) unsafe fn keep(&self, mapping: Mapping) {
        // SAFETY: without leases the pool's owner is alone.
        self.memory.with_mut(|memory| unsafe { *memory = Some(mapping) });
    }

    /// The owner: the next return wakes. False: something was returned already.
    pub(super) fn want(&self) -> bool {
        match self.returned.compare_exchange(word(EMPTY), word(WANTED), Relaxed, Relaxed) {
            Ok(_) => true,
            Err(now) => now.addr() == WANTED,
        }
    }

    /// The owner: everything that was returned, newest first. A wish that nobody answered yet stays.
    pub(super) fn take(&self) -> impl Iterator<Item = &'static LeaseEntry> + use<> {
        let taken = match self.returned.load(Relaxed) {
            newest if is_lease(newest) => self.returned.swap(word(EMPTY), Acquire),
            _ => word(EMPTY),
        };
        Self::list(taken)
    }

    /// A list that was swapped out, whose entries are the caller's.
    fn list(newest: *mut LeaseEntry) -> impl Iterator<Item = &'static LeaseEntry> + use<> {
        // SAFETY: the words are no leases; other than those the list holds entries, which are never freed, or null.
        let entry = |pointer: *mut LeaseEntry| is_lease(pointer).then(|| unsafe { &*pointer });
        std::iter::successors(entry(newest), move |newer| entry(newer.link().load(Relaxed)))
    }

    /// Any thread: returns a lease.
    ///
    /// # Safety
    /// The caller owns the lease, which is of this pool.
    pub(super) unsafe fn give_back(pool: *const Self, lease: &'static LeaseEntry) {
        // SAFETY: the pool lives, or else our lease counts as a holder.
        let shared = unsafe { &*pool };
        let mut holds = false;
        let mut current = shared.returned.load(Acquire);
        let returned = loop {
            match current.addr() {
                CLOSED => break false,
                // Once the lease is returned the pool may end, so who may have to wake must hold it before.
                WANTED if !holds => {
                    shared.holders.fetch_add(1, Relaxed);
                    holds = true;
                }
                _ => {}
            }
            let next = if is_lease(current) { current } else { ptr::null_mut() };
            lease.link().store(next, Relaxed);
            match shared.returned.compare_exchange_weak(current, ptr::from_ref(lease).cast_mut(), Release, Acquire) {
                Ok(_) => break true,
                Err(now) => current = now,
            }
        };
        if returned && current.addr() == WANTED {
            (shared.wake)();
        }
        if !returned {
            // SAFETY: we own the lease, and the pool is gone.
            unsafe { lease.unbind() };
        }
        let ours = u32::from(holds) + u32::from(!returned);
        if ours > 0 {
            // SAFETY: our hold, and that of the lease if it outlived the pool.
            unsafe { Self::let_go(pool, ours) };
        }
    }

    /// The owner, for good. `leased` leases did not come back by `take`; the result are those that did since.
    ///
    /// # Safety
    /// The caller is the pool, whose own hold ends, and which is told of each result.
    pub(super) unsafe fn close(pool: NonNull<Self>, leased: u32) -> Vec<&'static LeaseEntry> {
        // SAFETY: the pool holds it until below.
        let shared = unsafe { pool.as_ref() };
        // Each lease must count before its owner can see CLOSED and take itself off, which is what CLOSED releases and the
        // acquiring loads of `give_back` are for. (Models cannot show it: theirs never reorder two such counts.)
        shared.holders.fetch_add(leased, Relaxed);
        let returned: Vec<_> = Self::list(shared.returned.swap(word(CLOSED), AcqRel)).collect();
        // SAFETY: the pool's hold, and those of the leases that it has now.
        unsafe { Self::let_go(pool.as_ptr(), 1 + returned.len() as u32) };
        returned
    }

    /// # Safety
    /// The caller has that many holds, and uses none of them afterwards.
    unsafe fn let_go(pool: *const Self, holds: u32) {
        // SAFETY: the caller's holds keep it until the subtraction.
        if unsafe { &*pool }.holders.fetch_sub(holds, AcqRel) == holds {
            // SAFETY: leaked by `new`; these were the last holds, and the subtractions ordered all others before.
            drop(unsafe { Box::from_raw(pool.cast_mut()) });
        }
    }
}
