//! Wakers that were collected under a lock, to be called after it was released.

use super::prefetch::prefetch;
use std::mem::{MaybeUninit, take};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

const CAPACITY: usize = 32;

/// Wakers in the order in which they came, 32 of them in place. Dropping the list wakes what is left in it. A waker that
/// panics keeps none of the others from being called.
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

    /// Calls every waker, then goes on with the first panic of any. No lock may be held.
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
        Self::wake_these(placed.chain(more));
    }

    /// The same for wakers that the caller took out from under a lock. Whoever waits anew meanwhile, as a waker of the
    /// program's own may do on the spot, is none of them.
    pub(crate) fn wake_these(wakers: impl IntoIterator<Item = Waker>) {
        let mut panicked = None;
        for waker in wakers {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                panicked.get_or_insert(panic);
            }
        }
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
    }
}

impl Drop for WakeList {
    fn drop(&mut self) {
        if self.start == self.end {
            return;
        }
        // A second panic while the first unwinds would end the process.
        let _ = catch_unwind(AssertUnwindSafe(|| self.wake_all()));
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
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || list.wake_all()));
        assert!(outcome.is_err());
        assert_eq!(good.0.load(Relaxed), CAPACITY + 8 - 3);
        assert_eq!(bad.0.load(Relaxed), 3);
        assert_eq!(Arc::strong_count(&good), 1, "each waker was consumed once");
    }
}
