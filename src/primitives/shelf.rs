//! Objects that a program names by handles: a slab of counted references.
//!
//! A shelf holds one count of an object as long as its handle is good. Whoever uses the object by its handle is a user of
//! the place, so removing the object makes the handle stale at once and drops the shelf's count after the last user left.

use super::guard::{Guard, Left};
use super::handle::{Handle, Kind};
use super::slab::{Entry, Slab};
use super::sync::{AtomicU32, AtomicU64, Ordering::*, UnsafeCell, const_outside_loom, process_static};
use super::thread::Moment;
use std::ops::Deref;
use std::sync::Arc;

process_static! {
    /// Places that are taken, of all shelves.
    static TAKEN: AtomicU64 = AtomicU64::new(0);
}

/// How many objects there are, of all kinds.
pub(crate) fn objects() -> u64 {
    TAKEN.load(Relaxed)
}

/// A place on a shelf.
#[repr(C)]
struct Place<T> {
    guard: Guard,
    next_free: AtomicU32,
    /// Written before the guard is opened, and constant until its last user left.
    object: UnsafeCell<Option<Arc<T>>>,
}

impl<T> Default for Place<T> {
    fn default() -> Self {
        Self { guard: Guard::default(), next_free: AtomicU32::default(), object: UnsafeCell::new(None) }
    }
}

// SAFETY: all zeros are a free guard, and no object.
unsafe impl<T: Send + Sync + 'static> Entry for Place<T> {
    fn next_free(&self) -> &AtomicU32 {
        &self.next_free
    }
}

// SAFETY: the object is constant while there are users, and may be used from any thread.
unsafe impl<T: Send + Sync> Sync for Place<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for Place<T> {}

/// See the module.
pub(crate) struct Shelf<T> {
    kind: Kind,
    places: Slab<Place<T>>,
}

/// The use of an object, which keeps its place on the shelf as long as this lives.
pub(crate) struct Use<T: Send + Sync + 'static> {
    shelf: &'static Shelf<T>,
    place: &'static Place<T>,
    index: u32,
}

impl<T: Send + Sync + 'static> Shelf<T> {
    const_outside_loom! {
        pub(crate) fn new(kind: Kind) -> Self {
            Self { kind, places: Slab::new() }
        }
    }

    /// Puts an object on the shelf and returns its handle. `None`: memory is out, and the object was dropped.
    pub(crate) fn put(&'static self, object: Arc<T>) -> Option<u64> {
        let (index, place) = self.places.alloc()?;
        let generation = place.guard.next_generation();
        // SAFETY: a free place is the caller's alone.
        place.object.with_mut(|slot| unsafe { *slot = Some(object) });
        place.guard.open();
        TAKEN.fetch_add(1, Relaxed);
        Some(Handle { generation, index }.pack(self.kind))
    }

    /// Becomes a user. `None` for a stale handle, or one of another kind.
    pub(crate) fn enter(&'static self, raw: u64) -> Option<Use<T>> {
        let (handle, place) = self.find(raw)?;
        place.guard.enter(handle.generation).then(|| Use { shelf: self, place, index: handle.index })
    }

    /// Makes the handle stale, and returns the object. `None` where `enter` says so, and for all callers but one.
    pub(crate) fn remove(&'static self, raw: u64) -> Option<Arc<T>> {
        let (handle, place) = self.find(raw)?;
        place.guard.close(handle.generation).then(|| {
            let last = Use { shelf: self, place, index: handle.index };
            Arc::clone(&last)
        })
    }

    /// The same, when all other users have left, so that none of them drops the shelf's count: for objects whose users may be
    /// signal handlers. No caller may be a user itself, and none may wait for anything meanwhile.
    pub(crate) fn remove_from_all(&'static self, raw: u64) -> Option<Arc<T>> {
        let (handle, place) = self.find(raw)?;
        place.guard.close(handle.generation).then(|| {
            let last = Use { shelf: self, place, index: handle.index };
            let mut moment = Moment::default();
            while !place.guard.await_others() {
                moment.pass();
            }
            Arc::clone(&last)
        })
    }

    fn find(&self, raw: u64) -> Option<(Handle, &'static Place<T>)> {
        let handle = Handle::parse(raw, self.kind)?;
        Some((handle, self.places.get(handle.index)?))
    }
}

impl<T: Send + Sync + 'static> Deref for Use<T> {
    type Target = Arc<T>;

    fn deref(&self) -> &Arc<T> {
        // SAFETY: we are a user, so the object is there and constant.
        self.place.object.with(|object| unsafe { (*object).as_ref() }).expect("put there before the guard was opened")
    }
}

impl<T: Send + Sync + 'static> Drop for Use<T> {
    fn drop(&mut self) {
        if self.place.guard.leave() == Left::Last {
            // SAFETY: the last user left, so nobody else looks at it.
            let object = self.place.object.with_mut(|object| unsafe { (*object).take() });
            TAKEN.fetch_sub(1, Relaxed);
            if self.place.guard.recycle(u32::MAX) {
                self.shelf.places.free(self.index);
            }
            drop(object);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    static SHELF: Shelf<u64> = Shelf::new(Kind::Set);

    #[test]
    fn an_object_goes_after_its_last_user() {
        let object = Arc::new(7);
        let raw = SHELF.put(object.clone()).expect("memory");
        let used = SHELF.enter(raw).expect("good");
        assert_eq!(**used, 7);
        drop(SHELF.remove(raw).expect("the first"));
        assert!(SHELF.remove(raw).is_none(), "removed once");
        assert!(SHELF.enter(raw).is_none(), "stale at once");
        assert_eq!(Arc::strong_count(&object), 2, "the user keeps it");
        drop(used);
        assert_eq!(Arc::strong_count(&object), 1);
        let next = SHELF.put(object.clone()).expect("memory");
        assert_ne!(raw, next, "the place is used again, the handle is not");
        assert!(SHELF.enter(raw).is_none());
        assert!(SHELF.remove(next).is_some());
    }
}
