//! Wakers made of an `Arc`, owned and borrowed.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;
use std::task::{RawWaker, RawWakerVTable, Waker};

/// Something that can be woken through an `Arc`.
pub trait Wake: Send + Sync + 'static {
    /// Wakes without giving up the reference.
    fn wake_by_ref(this: &Arc<Self>);

    /// Wakes and gives up the reference.
    fn wake(this: Arc<Self>) {
        Self::wake_by_ref(&this);
    }
}

/// A waker that owns a count of the `Arc`.
pub fn waker<W: Wake>(target: Arc<W>) -> Waker {
    let data = Arc::into_raw(target).cast::<()>();
    // SAFETY: the table's functions take `data` back as the `Arc<W>` that it was made of.
    unsafe { Waker::from_raw(RawWaker::new(data, table::<W>())) }
}

/// A waker that borrows the `Arc`: making and dropping it costs no count, cloning it does.
pub fn waker_ref<W: Wake>(target: &Arc<W>) -> WakerRef<'_> {
    let data = Arc::as_ptr(target).cast::<()>();
    // SAFETY: the count that stands behind this waker is `target`'s, which outlives the borrow; `WakerRef` never drops it.
    unsafe { WakerRef::new(RawWaker::new(data, table::<W>())) }
}

/// A waker whose reference is somebody else's.
#[derive(Debug)]
pub struct WakerRef<'a> {
    waker: ManuallyDrop<Waker>,
    owner: PhantomData<&'a ()>,
}

impl WakerRef<'_> {
    /// # Safety
    /// The reference behind `raw` must stay alive for the lifetime that the caller gives to the result.
    pub(crate) unsafe fn new(raw: RawWaker) -> Self {
        // SAFETY: the caller keeps the reference; `ManuallyDrop` keeps us from giving it up.
        let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw) });
        Self { waker, owner: PhantomData }
    }
}

impl Deref for WakerRef<'_> {
    type Target = Waker;

    fn deref(&self) -> &Waker {
        &self.waker
    }
}

fn table<W: Wake>() -> &'static RawWakerVTable {
    &const { RawWakerVTable::new(clone::<W>, wake::<W>, wake_by_ref::<W>, drop_count::<W>) }
}

unsafe fn clone<W: Wake>(data: *const ()) -> RawWaker {
    // SAFETY: `data` came from an `Arc<W>` whose count the waker holds.
    unsafe { Arc::increment_strong_count(data.cast::<W>()) };
    RawWaker::new(data, table::<W>())
}

unsafe fn wake<W: Wake>(data: *const ()) {
    // SAFETY: the waker is consumed, so its count is taken over.
    W::wake(unsafe { Arc::from_raw(data.cast::<W>()) });
}

unsafe fn wake_by_ref<W: Wake>(data: *const ()) {
    // SAFETY: the waker keeps its count; `ManuallyDrop` gives none up.
    let target = ManuallyDrop::new(unsafe { Arc::from_raw(data.cast::<W>()) });
    W::wake_by_ref(&target);
}

unsafe fn drop_count<W: Wake>(data: *const ()) {
    // SAFETY: the waker is dropped, so its count is given up here.
    unsafe { Arc::decrement_strong_count(data.cast::<W>()) };
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake_by_ref(this: &Arc<Self>) {
            this.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn owned_wakers_hold_a_count_and_borrowed_ones_do_not() {
        let target = Arc::new(Count::default());
        let owned = waker(target.clone());
        assert_eq!(Arc::strong_count(&target), 2);
        let borrowed = waker_ref(&target);
        assert_eq!(Arc::strong_count(&target), 2);
        assert!(borrowed.will_wake(&owned));
        let cloned = borrowed.clone();
        assert_eq!(Arc::strong_count(&target), 3);
        owned.wake();
        cloned.wake_by_ref();
        drop(cloned);
        assert_eq!(target.0.load(Relaxed), 2);
        assert_eq!(Arc::strong_count(&target), 1);
    }
}
