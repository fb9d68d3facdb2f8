//! Wakers that were collected under a lock, to be called after it was released.

use super::prefetch::prefetch;
use std::mem::{MaybeUninit, forget, take};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

const CAPACITY: usize = 32;

/// Wakers in the order in which they came, 32 of them in place. Dropping the list wakes what is left in it.
pub(crate) struct WakeList {
    wakers: [MaybeUninit<Waker>; CAPACITY],
    /// The wakers of `start..end` are initialised.
    start: usize,
    end: usize,
    /// Those for whom there was no room.
    more: Vec<Waker>,
}

impl WakeList {
    pub(crate) fn new() -> Self {
        Self { wakers: [const { MaybeUninit::uninit() }; CAPACITY], start: 0, end: 0, more: Vec::new() }
    }

    /// True if another would need memory.
    pub(crate) fn is_full(&self) -> bool {
        self.end == CAPACITY
    }

    /// What the waker's call will look at is asked for: of many, one comes from memory while the next is pushed.
    pub(crate) fn push(&mut self, waker: Waker) {
        prefetch(waker.data(), 0);
        if self.is_full() {
            return self.more.push(waker);
        }
        self.wakers[self.end].write(waker);
        self.end += 1;
    }

    /// Calls every waker. No lock may be held. Whoever waits anew meanwhile, as a waker of the program's own may do on the
    /// spot, is none of them.
    pub(crate) fn wake_all(&mut self) {
        let more = take(&mut self.more);
        let placed = std::iter::from_fn(|| {
            if self.start == self.end {
                (self.start, self.end) = (0, 0);
                return None;
            }
            self.start += 1;
            // SAFETY: `start..end` is initialised; the waker has left that range, so it is taken once.
            Some(unsafe { self.wakers[self.start - 1].assume_init_read() })
        });
        placed.chain(more).for_each(wake);
    }
}

/// Calls a waker. Its panic is nothing to whoever wakes, least of all to a worker: the panic's hook was told, and that is all.
pub(crate) fn wake(waker: Waker) {
    // The payload's destructor might panic as well.
    let _ = catch_unwind(AssertUnwindSafe(|| waker.wake())).map_err(forget);
}

impl Drop for WakeList {
    fn drop(&mut self) {
        self.wake_all();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::primitives::{Wake, waker};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    struct Count(AtomicUsize, bool);

    impl Wake for Count {
        fn wake_by_ref(this: &Arc<Self>) {
            this.0.fetch_add(1, Relaxed);
            assert!(!this.1, "planted");
        }
    }

    #[test]
    fn a_panic_in_one_waker_does_not_silence_the_others() {
        let good = Arc::new(Count(AtomicUsize::new(0), false));
        let bad = Arc::new(Count(AtomicUsize::new(0), true));
        let mut list = WakeList::new();
        for position in 0..CAPACITY + 8 {
            assert_eq!(list.is_full(), position >= CAPACITY);
            list.push(if position % 16 == 3 { waker(bad.clone()) } else { waker(good.clone()) });
        }
        list.wake_all();
        assert_eq!(good.0.load(Relaxed), CAPACITY + 8 - 3);
        assert_eq!(bad.0.load(Relaxed), 3);
        assert_eq!(Arc::strong_count(&good), 1, "each waker was consumed once");
    }
}
