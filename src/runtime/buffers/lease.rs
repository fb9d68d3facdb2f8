//! Leases: the right to use a filled buffer, as a value inside of the library and as a handle outside.
//!
//! An entry's word: `| generation 32 | OUT 32 |`, where OUT is 0 or 1.
//! - OUT is 0: no handle opens the entry. The lease is one `Lease`'s, or there is none, and the entry is its pool's.
//! - OUT is 1: the program has the lease. Who clears OUT, by a CAS that also compares the generation, owns the lease then;
//!   so of two releases one fails, and so does any with a handle of an earlier life.
//!
//! A pool binds one entry to each of its buffers. An entry that outlives its pool is given back by its last owner.

use super::returned::Shared;
use crate::primitives::handle::{Handle, Kind};
use crate::primitives::pack::Field;
use crate::primitives::slab::{Entry, Slab};
use crate::primitives::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering::*, UnsafeCell, process_static};
use crate::runtime::io::Errno;
use std::ptr::{self, NonNull};

const OUT: Field = Field::low(32);
const GENERATION: Field = OUT.above(32);

process_static! {
    /// The leases of all pools of the process.
    static LEASES: Slab<LeaseEntry> = Slab::new();
}

/// A lease's place in the slab.
#[derive(Default)]
#[repr(C, align(64))]
pub(crate) struct LeaseEntry {
    word: AtomicU64,
    /// The next in a `LeaseQueue`, or among the returned: a lease is never in both.
    link: AtomicPtr<LeaseEntry>,
    next_free: AtomicU32,
    content: UnsafeCell<Content>,
}

/// What a lease is of. Written by the pool's owner while there is no lease; the lease's owner may read it.
struct Content {
    // The same as long as the entry is bound.
    pool: *const Shared,
    buffer: *mut u8,
    index: u32,
    number: u16,
    // Of one lease.
    len: u32,
    owner: u64,
}

impl Default for Content {
    fn default() -> Self {
        Self { pool: ptr::null(), buffer: ptr::null_mut(), index: 0, number: 0, len: 0, owner: 0 }
    }
}

// SAFETY: all zeros are a generation that no handle has, null pointers and zeros.
unsafe impl Entry for LeaseEntry {
    fn next_free(&self) -> &AtomicU32 {
        &self.next_free
    }
}

// SAFETY: the content passes from the pool's owner to the lease's and back through the word, or the returned.
unsafe impl Sync for LeaseEntry {}
// SAFETY: as above; an entry is never moved, references to it are.
unsafe impl Send for LeaseEntry {}

impl LeaseEntry {
    /// An entry for a buffer of a pool. `None` when memory is out.
    pub(super) fn bind(pool: NonNull<Shared>, buffer: *mut u8, number: u16) -> Option<&'static Self> {
        let (index, entry) = LEASES.alloc()?;
        let bound = Content { pool: pool.as_ptr(), buffer, index, number, len: 0, owner: 0 };
        // SAFETY: the entry came out of the slab, so it is ours alone.
        entry.content.with_mut(|content| unsafe { *content = bound });
        Some(entry)
    }

    /// The owner of the pool, of a buffer that is not leased: false if the entry lived all its lives.
    pub(super) fn can_live(&self) -> bool {
        self.word.load(Relaxed) < GENERATION.mask()
    }

    /// The buffer has other memory from now on.
    ///
    /// # Safety
    /// The caller is the owner of the pool, and there is no lease of this buffer.
    pub(super) unsafe fn move_to(&self, buffer: *mut u8) {
        // SAFETY: without a lease the content is the pool's owner's alone.
        self.content.with_mut(|content| unsafe { (*content).buffer = buffer });
    }

    /// Makes the lease. `can_live` was true.
    ///
    /// # Safety
    /// The caller is the owner of the pool, and there is no lease of this buffer.
    pub(super) unsafe fn lease(&'static self, len: u32, owner: u64) -> Lease {
        // SAFETY: without a lease the content is the pool's owner's alone.
        self.content.with_mut(|content| unsafe {
            (*content).len = len;
            (*content).owner = owner;
        });
        // Nobody else looks at the word before it is OUT, but to find that it is not.
        self.word.store(self.word.load(Relaxed) + GENERATION.one(), Relaxed);
        Lease { entry: self }
    }

    /// The buffer's number and whose lease it was.
    ///
    /// # Safety
    /// The caller owns the lease, or the pool to which it was returned.
    pub(super) unsafe fn ended(&self) -> (u16, u64) {
        // SAFETY: the caller's word: nobody writes it now.
        self.content.with(|content| unsafe { ((*content).number, (*content).owner) })
    }

    pub(super) fn link(&self) -> &AtomicPtr<Self> {
        &self.link
    }

    /// Gives the entry back, if it has lives left.
    ///
    /// # Safety
    /// The caller owns the lease and the pool is gone, or owns the pool and there is no lease.
    pub(super) unsafe fn unbind(&self) {
        if self.can_live() {
            // SAFETY: the caller's word: nobody writes it now.
            LEASES.free(self.content.with(|content| unsafe { (*content).index }));
        }
    }

    /// For tests that begin near the end of an entry's lives.
    #[cfg(all(test, not(loom)))]
    pub(super) fn age_to(&self, generation: u32) {
        self.word.store(GENERATION.set(0, generation.into()), Relaxed);
    }
}

/// The right to use a buffer, owned inside of the library. Any thread may hold it; a drop returns the buffer to its pool.
#[must_use]
pub(crate) struct Lease {
    entry: &'static LeaseEntry,
}

/// What the program gets of a lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buf {
    pub(crate) lease: u64,
    pub(crate) ptr: *mut u8,
    pub(crate) len: u32,
}

impl Lease {
    /// Where the bytes are, and how many. They stay there as long as the lease lives, in whatever form.
    pub(crate) fn bytes(&self) -> (*mut u8, u32) {
        // SAFETY: we own the lease.
        self.entry.content.with(|content| unsafe { ((*content).buffer, (*content).len) })
    }

    /// Gives the lease to the program. A claimed lease that is handed out again has the handle that it had.
    pub(crate) fn hand_out(self) -> Buf {
        let Self { entry } = self;
        std::mem::forget(self);
        // SAFETY: the lease is still ours: nobody can claim it before the store below.
        let (ptr, len, index) =
            entry.content.with(|content| unsafe { ((*content).buffer, (*content).len, (*content).index) });
        let word = entry.word.load(Relaxed);
        let handle = Handle { generation: GENERATION.get(word) as u32, index };
        entry.word.store(OUT.set(word, 1), Release);
        Buf { lease: handle.pack(Kind::Lease), ptr, len }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // SAFETY: we own the lease, and with it a share of the pool.
        unsafe { Shared::give_back(self.entry.content.with(|content| (*content).pool), self.entry) };
    }
}

/// Any thread: takes a lease back from the program, whose handle is stale from now on, unless the lease is handed out
/// again. EBADF for what is no lease that the program has.
pub(crate) fn claim(lease: u64) -> Result<Lease, Errno> {
    let handle = Handle::parse(lease, Kind::Lease).ok_or(libc::EBADF)?;
    let entry = LEASES.get(handle.index).ok_or(libc::EBADF)?;
    let held = GENERATION.set(0, handle.generation.into());
    let claimed = entry.word.compare_exchange(OUT.set(held, 1), held, Acquire, Relaxed);
    claimed.map(|_| Lease { entry }).map_err(|_| libc::EBADF)
}

/// Any thread: the program is done with a lease. EBADF as for `claim`.
pub(crate) fn release(lease: u64) -> Result<(), Errno> {
    claim(lease).map(drop)
}

/// How many leases the program has, of all pools.
pub(crate) fn live_leases() -> u64 {
    LEASES.iter().filter(|(_, entry)| OUT.get(entry.word.load(Relaxed)) == 1).count() as u64
}

/// How many buffers the pools have, those included that outlive theirs.
pub(crate) fn all_buffers() -> u64 {
    LEASES.in_use()
}

/// Leases that wait to be handed out, first in, first out. What is left at the drop is returned.
#[derive(Default)]
pub(crate) struct LeaseQueue {
    first: Option<&'static LeaseEntry>,
    last: Option<&'static LeaseEntry>,
    len: u32,
}

impl LeaseQueue {
    pub(crate) fn push(&mut self, lease: Lease) {
        let Lease { entry } = lease;
        std::mem::forget(lease);
        entry.link.store(ptr::null_mut(), Relaxed);
        match self.last.replace(entry) {
            Some(last) => last.link.store(ptr::from_ref(entry).cast_mut(), Relaxed),
            None => self.first = Some(entry),
        }
        self.len += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<Lease> {
        let entry = self.first?;
        // SAFETY: null, or an entry of this queue; entries are never freed.
        self.first = unsafe { entry.link.load(Relaxed).as_ref() };
        if self.first.is_none() {
            self.last = None;
        }
        self.len -= 1;
        Some(Lease { entry })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many wait.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Returns every lease to its pool.
    pub(crate) fn clear(&mut self) {
        while let Some(lease) = self.pop() {
            drop(lease);
        }
    }
}

impl Drop for LeaseQueue {
    fn drop(&mut self) {
        self.clear();
    }
}
