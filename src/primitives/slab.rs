//! Process-wide slabs. Their pages are type-stable and never given back: the address of an entry stays an entry of that
//! type for ever, so looking at a stale handle is a comparison and never a read of freed memory.
//!
//! A slab only hands out entries. Whether an entry is alive, and for whom, is said by a word inside of it (`Guard`, or a
//! task's state word).

use super::handle::{INDEX_BITS, MAX_INDEX};
use super::pack::Field;
use super::sync::{
    AtomicPtr, AtomicU32, AtomicU64, FIRST_PAGE_BITS, Mutex, Ordering::*, alloc_entries, const_outside_loom,
    nature::fault, nulls,
};

/// Each page is twice as large as the one before.
const PAGES: usize = (INDEX_BITS - FIRST_PAGE_BITS) as usize;
const CAPACITY: u32 = MAX_INDEX + 1 - (1 << FIRST_PAGE_BITS);

/// What can live in a slab.
///
/// # Safety
/// All zero bytes must be a valid, free entry.
pub(crate) unsafe trait Entry: Default + Sync + 'static {
    /// The link of the free list. The slab owns it while the entry is free.
    fn next_free(&self) -> &AtomicU32;
}

/// The free list's head: `| tag 32 | index + 1, or 0: empty 32 |`. The tag changes with every pop, so a head that was
/// read before another thread popped and pushed the same entry does not compare equal.
const HEAD: Field = Field::low(32);
const TAG: Field = HEAD.above(32);

/// See the module.
pub(crate) struct Slab<T> {
    pages: [AtomicPtr<T>; PAGES],
    free: AtomicU64,
    /// How many entries were ever handed out. Written under `grow`.
    used: AtomicU32,
    grow: Mutex<()>,
}

impl<T: Entry> Slab<T> {
    const_outside_loom! {
        pub(crate) fn new() -> Self {
            Self {
                pages: nulls(),
                free: AtomicU64::new(0),
                used: AtomicU32::new(0),
                grow: Mutex::new(()),
            }
        }
    }

    /// The entry with this index, alive or not. `None` for an index that was never handed out.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&'static T> {
        let (page, offset) = locate(index)?;
        let base = self.pages[page].load(Acquire);
        if base.is_null() {
            return None;
        }
        // SAFETY: the page holds `1 << (FIRST_PAGE_BITS + page)` entries, more than `offset`; the slab owns it and never frees it.
        Some(unsafe { &*base.add(offset) })
    }

    /// A free entry, now owned by the caller. `None` when memory or indices are out.
    pub(crate) fn alloc(&self) -> Option<(u32, &'static T)> {
        if fault(&[libc::ENOMEM]).is_some() {
            return None;
        }
        let mut head = self.free.load(Acquire);
        while let Some(index) = (HEAD.get(head) as u32).checked_sub(1) {
            let entry = self.get(index).expect("an entry of the free list was handed out before");
            let next = entry.next_free().load(Relaxed);
            let popped = TAG.set(HEAD.set(0, next.into()), TAG.get(head).wrapping_add(1));
            match self.free.compare_exchange_weak(head, popped, AcqRel, Acquire) {
                Ok(_) => return Some((index, entry)),
                Err(now) => head = now,
            }
        }
        self.extend()
    }

    fn extend(&self) -> Option<(u32, &'static T)> {
        let _growing = self.grow.lock();
        let index = self.used.load(Relaxed);
        if index >= CAPACITY {
            return None;
        }
        let (page, _) = locate(index)?;
        if self.pages[page].load(Relaxed).is_null() {
            // SAFETY: `Entry` promises that all zeros are a free entry.
            let base = unsafe { alloc_entries::<T>(1 << (FIRST_PAGE_BITS as usize + page)) };
            if base.is_null() {
                return None;
            }
            self.pages[page].store(base, Release);
        }
        self.used.store(index + 1, Release);
        self.get(index).map(|entry| (index, entry))
    }

    /// Gives an entry back. The caller must own it, and its own word must say that it is free.
    pub(crate) fn free(&self, index: u32) {
        let Some(entry) = self.get(index) else { return };
        let mut head = self.free.load(Relaxed);
        loop {
            entry.next_free().store(HEAD.get(head) as u32, Relaxed);
            let pushed = HEAD.set(head, u64::from(index) + 1);
            match self.free.compare_exchange_weak(head, pushed, AcqRel, Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// How many entries are handed out. Exact when nobody takes or gives meanwhile, else a guess.
    pub(crate) fn in_use(&self) -> u64 {
        let used = self.used.load(Acquire);
        let (mut free, mut next) = (0, HEAD.get(self.free.load(Acquire)) as u32);
        while let Some(entry) = next.checked_sub(1).and_then(|index| self.get(index)) {
            // Who follows links that change may go in circles.
            if free == used {
                break;
            }
            free += 1;
            next = entry.next_free().load(Relaxed);
        }
        u64::from(used - free)
    }

    /// Every entry that was ever handed out, alive or not.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &'static T)> + '_ {
        (0..self.used.load(Acquire)).filter_map(|index| self.get(index).map(|entry| (index, entry)))
    }
}

/// Page and offset of an index.
fn locate(index: u32) -> Option<(usize, usize)> {
    if index >= CAPACITY {
        return None;
    }
    let position = index + (1 << FIRST_PAGE_BITS);
    let bits = position.ilog2();
    Some(((bits - FIRST_PAGE_BITS) as usize, (position - (1 << bits)) as usize))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[derive(Default)]
    struct Plain {
        next: AtomicU32,
    }

    // SAFETY: an all-zero `Plain` is what `default` makes.
    unsafe impl Entry for Plain {
        fn next_free(&self) -> &AtomicU32 {
            &self.next
        }
    }

    #[test]
    fn indices_map_to_distinct_places_without_gaps() {
        assert_eq!(locate(0), Some((0, 0)));
        assert_eq!(locate(63), Some((0, 63)));
        assert_eq!(locate(64), Some((1, 0)));
        assert_eq!(locate(191), Some((1, 127)));
        assert_eq!(locate(192), Some((2, 0)));
        assert_eq!(locate(CAPACITY - 1).map(|(page, _)| page), Some(PAGES - 1));
        assert_eq!(locate(CAPACITY), None);
        assert_eq!(locate(u32::MAX), None);
    }

    #[test]
    fn what_was_never_handed_out_is_not_found() {
        let slab = Slab::<Plain>::new();
        assert!(slab.get(0).is_none());
        assert!(slab.get(MAX_INDEX).is_none());
        assert!(slab.get(u32::MAX).is_none());
    }

    #[test]
    fn a_large_page_takes_no_memory_before_it_is_used() {
        #[derive(Default)]
        #[repr(align(128))]
        struct Line([u64; 16]);

        // SAFETY: all-zero bytes are what `default` makes.
        let page = unsafe { alloc_entries::<Line>(8192) };
        let (middle, mut resident) = (page.wrapping_add(4096).expose_provenance().next_multiple_of(4096), [1]);
        // SAFETY: the address starts a page of our own memory, and one byte tells of it.
        let asked =
            unsafe { libc::mincore(std::ptr::with_exposed_provenance_mut(middle), 4096, resident.as_mut_ptr()) };
        assert_eq!((asked, resident[0] & 1), (0, 0));
        // SAFETY: the page is ours, and never given back.
        assert_eq!(unsafe { &*page }.0, [0; 16]);
    }

    #[test]
    fn a_random_walk_agrees_with_a_set() {
        let slab = Slab::<Plain>::new();
        let (mut live, mut seed) = (Vec::new(), 1u64);
        let mut addresses = HashSet::new();
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            if (seed >> 33) % 5 < 3 || live.is_empty() {
                let (index, entry) = slab.alloc().expect("memory");
                assert!(!live.contains(&index), "handed out twice");
                assert!(std::ptr::eq(slab.get(index).expect("found"), entry), "the address of an index never changes");
                addresses.insert(std::ptr::from_ref(entry) as usize);
                live.push(index);
            } else {
                let index = live.swap_remove((seed >> 35) as usize % live.len());
                slab.free(index);
            }
            assert_eq!(slab.in_use(), live.len() as u64);
        }
        assert_eq!(slab.iter().count(), addresses.len(), "freed entries are used again before new ones");
    }
}
