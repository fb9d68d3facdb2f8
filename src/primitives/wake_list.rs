//! Wakers that were collected under a lock, to be called after it was released.

use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

const CAPACITY: usize = 32;

/// At most 32 wakers, in place. Dropping the list wakes what is left in it. A waker that panics keeps none of the others
/// from being called.
pub(crate) struct WakeList {
    wakers: [MaybeUninit<Waker>; CAPACITY],
    /// The wakers of `start..end` are initialised.
    start: usize,
    end: usize,
}

impl WakeList {
    pub(crate) fn new() -> Self {
        Self { wakers: [const { MaybeUninit::uninit() }; CAPACITY], start: 0, end: 0 }
    }

    pub(crate) fn can_push(&self) -> bool {
        self.end < CAPACITY
    }

    /// The caller has asked `can_push`.
    pub(crate) fn push(&mut self, waker: Waker) {
        self.wakers[self.end].write(waker);
        self.end += 1;
    }

    /// Takes the wakers out.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Waker> {
        std::iter::from_fn(|| {
            if self.start == self.end {
                (self.start, self.end) = (0, 0);
                return None;
            }
            self.start += 1;
            // SAFETY: `start..end` is initialised; the waker has left that range, so it is taken once.
            Some(unsafe { self.wakers[self.start - 1].assume_init_read() })
        })
    }

    /// Calls every waker, then goes on with the first panic of any. No lock may be held.
    pub(crate) fn wake_all(&mut self) {
        Self::wake_these(self.drain());
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
        for position in 0..CAPACITY {
            assert!(list.can_push());
            list.push(if position % 16 == 3 { waker(bad.clone()) } else { waker(good.clone()) });
        }
        assert!(!list.can_push());
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || list.wake_all()));
        assert!(outcome.is_err());
        assert_eq!(good.0.load(Relaxed), CAPACITY - 2);
        assert_eq!(bad.0.load(Relaxed), 2);
        assert_eq!(Arc::strong_count(&good), 1, "each waker was consumed once");
    }
}
