//! A cell for one waker, registered by one task and woken from anywhere.

use super::sync::{AtomicU8, Ordering::*, UnsafeCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

/// Nobody touches the cell.
const WAITING: u8 = 0;
/// A task is storing its waker and owns the cell. If WAKING is set meanwhile, it must deliver that wake itself.
const REGISTERING: u8 = 1;
/// A waker is being taken out, or a wake came while REGISTERING.
const WAKING: u8 = 2;

/// Holds the waker of the task that waits, and never loses a wake that races its registration.
///
/// Who may touch the cell: the thread that moved the state from WAITING to REGISTERING, until it moved it back; or the one
/// that moved it from WAITING to WAKING, until it stored WAITING. Nobody else.
///
/// A wake that finds REGISTERING leaves WAKING behind and goes away: the registering thread sees it when it tries to go
/// back to WAITING, and wakes its own waker. A register that finds WAKING cannot store anything: the wake in progress may
/// have been meant for it, so it wakes its waker at once and its task polls again.
///
/// A waker's clone or drop may panic; the cell stays usable, and the panic goes on to the caller of `register_by_ref`.
#[derive(Default)]
pub struct AtomicWaker {
    state: AtomicU8,
    waker: UnsafeCell<Option<Waker>>,
}

// SAFETY: the cell is only touched by the thread that owns it by the protocol above, and `Waker` is Send and Sync.
unsafe impl Sync for AtomicWaker {}
// SAFETY: as above.
unsafe impl Send for AtomicWaker {}

impl AtomicWaker {
    /// An empty cell.
    pub fn new() -> Self {
        Self { state: AtomicU8::new(WAITING), waker: UnsafeCell::new(None) }
    }

    /// Stores the waker, which the next `wake` will call. Must not be called by two threads at once; if it is, one of them
    /// is woken at once, and nothing worse happens.
    pub fn register_by_ref(&self, waker: &Waker) {
        match self.state.compare_exchange(WAITING, REGISTERING, Acquire, Acquire) {
            Ok(_) => self.store(waker),
            Err(WAKING) => waker.wake_by_ref(),
            // Another thread registers. Only one can win; this one polls again.
            Err(_) => waker.wake_by_ref(),
        }
    }

    /// The caller moved WAITING to REGISTERING.
    fn store(&self, waker: &Waker) {
        // SAFETY: here and below, REGISTERING makes the cell ours until the exchange below gives it up.
        let keep = self.waker.with(|cell| unsafe { (*cell).as_ref().is_some_and(|old| old.will_wake(waker)) });
        let mut panicked = None;
        let mut old = None;
        if !keep {
            match catch_unwind(AssertUnwindSafe(|| waker.clone())) {
                // SAFETY: as above. The old waker leaves the cell before it is dropped, so that a panic finds no half state.
                Ok(new) => old = self.waker.with_mut(|cell| unsafe { (*cell).replace(new) }),
                Err(panic) => panicked = Some(panic),
            }
        }
        if self.state.compare_exchange(REGISTERING, WAITING, AcqRel, Acquire).is_err() {
            // A wake came meanwhile and left it to us.
            // SAFETY: as above; REGISTERING | WAKING is still ours alone.
            let woken = self.waker.with_mut(|cell| unsafe { (*cell).take() });
            self.state.swap(WAITING, AcqRel);
            match woken {
                Some(woken) => woken.wake(),
                None => waker.wake_by_ref(),
            }
        }
        drop(old);
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
    }

    /// Takes the waker out without calling it, for a caller that holds a lock now and wakes later.
    #[must_use]
    pub fn take_waker(&self) -> Option<Waker> {
        if self.state.fetch_or(WAKING, AcqRel) != WAITING {
            // Somebody registers, and will see WAKING; or somebody wakes already.
            return None;
        }
        // SAFETY: the state went from WAITING to WAKING by our hand, so the cell is ours until WAITING is stored.
        let waker = self.waker.with_mut(|cell| unsafe { (*cell).take() });
        self.state.fetch_and(!WAKING, Release);
        waker
    }

    /// Wakes the task that registered last, if it was not woken since.
    pub fn wake(&self) {
        if let Some(waker) = self.take_waker() {
            waker.wake();
        }
    }
}

impl fmt::Debug for AtomicWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtomicWaker").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::{RawWaker, RawWakerVTable};

    struct Probe {
        clones: AtomicUsize,
        wakes: AtomicUsize,
        drops: AtomicUsize,
        panic_on_clone: AtomicUsize,
        panic_on_drop: AtomicUsize,
    }

    impl Probe {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                clones: AtomicUsize::new(0),
                wakes: AtomicUsize::new(0),
                drops: AtomicUsize::new(0),
                panic_on_clone: AtomicUsize::new(0),
                panic_on_drop: AtomicUsize::new(0),
            })
        }

        fn waker(self: &Arc<Self>) -> Waker {
            // SAFETY: the table treats `data` as the `Arc<Probe>` that it is.
            unsafe { Waker::from_raw(RawWaker::new(Arc::into_raw(self.clone()).cast(), &TABLE)) }
        }
    }

    static TABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            // SAFETY: `data` is an `Arc<Probe>` with a count behind it.
            let probe = unsafe { &*data.cast::<Probe>() };
            assert_eq!(probe.panic_on_clone.load(Relaxed), 0, "planted in clone");
            probe.clones.fetch_add(1, Relaxed);
            // SAFETY: as above.
            unsafe { Arc::increment_strong_count(data.cast::<Probe>()) };
            RawWaker::new(data, &TABLE)
        },
        |data| {
            // SAFETY: the waker is consumed.
            let probe = unsafe { Arc::from_raw(data.cast::<Probe>()) };
            probe.wakes.fetch_add(1, Relaxed);
            probe.drops.fetch_add(1, Relaxed);
        },
        |data| {
            // SAFETY: `data` is an `Arc<Probe>` with a count behind it.
            unsafe { &*data.cast::<Probe>() }.wakes.fetch_add(1, Relaxed);
        },
        |data| {
            // SAFETY: the waker is dropped.
            let probe = unsafe { Arc::from_raw(data.cast::<Probe>()) };
            probe.drops.fetch_add(1, Relaxed);
            assert_eq!(probe.panic_on_drop.swap(0, Relaxed), 0, "planted in drop");
        },
    );

    #[test]
    fn the_same_waker_is_not_cloned_again() {
        let (cell, probe) = (AtomicWaker::new(), Probe::new());
        let waker = probe.waker();
        cell.register_by_ref(&waker);
        cell.register_by_ref(&waker);
        assert_eq!(probe.clones.load(Relaxed), 1);
        cell.wake();
        cell.wake();
        assert_eq!(probe.wakes.load(Relaxed), 1);
    }

    #[test]
    fn a_newer_waker_replaces_the_older_one() {
        let (cell, old, new) = (AtomicWaker::new(), Probe::new(), Probe::new());
        cell.register_by_ref(&old.waker());
        cell.register_by_ref(&new.waker());
        cell.wake();
        assert_eq!((old.wakes.load(Relaxed), new.wakes.load(Relaxed)), (0, 1));
        assert_eq!(Arc::strong_count(&old), 1);
    }

    #[test]
    fn a_clone_that_panics_leaves_the_cell_usable() {
        let (cell, probe) = (AtomicWaker::new(), Probe::new());
        let waker = probe.waker();
        probe.panic_on_clone.store(1, Relaxed);
        assert!(catch_unwind(AssertUnwindSafe(|| cell.register_by_ref(&waker))).is_err());
        probe.panic_on_clone.store(0, Relaxed);
        cell.wake();
        cell.register_by_ref(&waker);
        cell.wake();
        assert_eq!(probe.wakes.load(Relaxed), 1);
    }

    #[test]
    fn a_drop_that_panics_leaves_the_cell_usable() {
        let (cell, old, new) = (AtomicWaker::new(), Probe::new(), Probe::new());
        cell.register_by_ref(&old.waker());
        old.panic_on_drop.store(1, Relaxed);
        let waker = new.waker();
        assert!(catch_unwind(AssertUnwindSafe(|| cell.register_by_ref(&waker))).is_err());
        cell.wake();
        assert_eq!(new.wakes.load(Relaxed), 1);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::primitives::sync::AtomicBool;
    use loom::sync::Arc;
    use loom::thread;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Flag(AtomicUsize);

    impl crate::primitives::Wake for Flag {
        fn wake_by_ref(this: &std::sync::Arc<Self>) {
            this.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Register races two wakes: if the registering thread then sees no wake, it must see the data that came before one.
    #[test]
    fn loom_register_races_two_wakes() {
        loom::model(|| {
            let cell = Arc::new(AtomicWaker::new());
            let ready = Arc::new((AtomicBool::new(false), AtomicBool::new(false)));
            let woken = std::sync::Arc::new(Flag(AtomicUsize::new(0)));
            let wakers: Vec<_> = (0..2)
                .map(|which| {
                    let (cell, ready) = (cell.clone(), ready.clone());
                    thread::spawn(move || {
                        let flag = if which == 0 { &ready.0 } else { &ready.1 };
                        flag.store(true, Relaxed);
                        cell.wake();
                    })
                })
                .collect();
            cell.register_by_ref(&crate::primitives::waker_ref(&woken));
            let seen = ready.0.load(Relaxed) as usize + ready.1.load(Relaxed) as usize;
            for waker in wakers {
                waker.join().expect("no panic");
            }
            // Whoever was not seen must have woken us; both may share one wake.
            assert!(seen == 2 || woken.0.load(Ordering::SeqCst) > 0, "a wake was lost");
            // Taking twice at the end: the cell must be usable, and empty after a wake.
            drop(cell.take_waker());
            assert!(cell.take_waker().is_none());
        });
    }
}
