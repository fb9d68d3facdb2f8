//! Which workers sleep, and which look for work.
//!
//! The word: `| sleeping 16 | searching 16 |`. The race it decides: a foreign thread injects a task while the last worker
//! that searched gives up. The injector pushes, then does a read-modify-write here; who goes to sleep does one here, then
//! scans everything once more if nobody searches. Whichever comes second sees the other: the injector sees that nobody
//! searches and wakes a sleeper, or the sleeper sees the task.
//!
//! At most one worker is woken for a burst: while somebody searches, nobody else is woken. A searcher that finds work
//! wakes the next one if there is more.

use crate::primitives::pack::Field;
use crate::primitives::sync::{AtomicU64, Mutex, Ordering::*};

const SEARCHING: Field = Field::low(16);
const SLEEPING: Field = SEARCHING.above(16);

/// See the module.
pub(super) struct Idle {
    word: AtomicU64,
    workers: u64,
    /// Who sleeps. As many as the word says, except while the lock is held.
    sleepers: Mutex<Vec<u32>>,
}

impl Idle {
    pub(super) fn new(workers: u32) -> Self {
        Self { word: AtomicU64::new(0), workers: workers.into(), sleepers: Mutex::new(Vec::new()) }
    }

    /// True if a sleeper could be woken for more work. A hint, without ordering.
    pub(super) fn could_help(&self) -> bool {
        let word = self.word.load(Relaxed);
        SEARCHING.get(word) == 0 && SLEEPING.get(word) > 0
    }

    /// Called after work was made visible: the worker that must be unparked for it, which now counts as searching.
    #[must_use]
    pub(super) fn wake_one(&self) -> Option<u32> {
        // A read-modify-write, so that it is ordered with `rest` and `sleep` below.
        let word = self.word.fetch_add(0, AcqRel);
        if SEARCHING.get(word) > 0 || SLEEPING.get(word) == 0 {
            return None;
        }
        let mut sleepers = self.sleepers.lock();
        if SEARCHING.get(self.word.load(Acquire)) > 0 {
            return None;
        }
        let worker = sleepers.pop()?;
        self.word.fetch_add(SEARCHING.one().wrapping_sub(SLEEPING.one()), AcqRel);
        Some(worker)
    }

    /// A worker that ran dry asks to search. Refused when half of the workers do.
    #[must_use]
    pub(super) fn search(&self) -> bool {
        if 2 * SEARCHING.get(self.word.load(Relaxed)) >= self.workers.max(2) {
            return false;
        }
        self.word.fetch_add(SEARCHING.one(), AcqRel);
        true
    }

    /// A searcher stops. True: it was the last, and must look once more, or wake another if it found work.
    #[must_use]
    pub(super) fn rest(&self) -> bool {
        SEARCHING.get(self.word.fetch_sub(SEARCHING.one(), AcqRel)) == 1
    }

    /// A worker goes to sleep; it scanned nothing since. True: nobody searches any more, and it must scan once more.
    ///
    /// That holds for one who was no searcher, too: the searcher it relied on may have found work since, which keeps it,
    /// and whoever injected a task after that saw nobody asleep.
    #[must_use]
    pub(super) fn sleep(&self, worker: u32, searching: bool) -> bool {
        let mut sleepers = self.sleepers.lock();
        let change = SLEEPING.one().wrapping_sub(if searching { SEARCHING.one() } else { 0 });
        let before = self.word.fetch_add(change, AcqRel);
        sleepers.push(worker);
        SEARCHING.get(before) == u64::from(searching)
    }

    /// A worker woke. True: `wake_one` chose it, so it counts as searching.
    #[must_use]
    pub(super) fn woke(&self, worker: u32) -> bool {
        let mut sleepers = self.sleepers.lock();
        match sleepers.iter().position(|&sleeper| sleeper == worker) {
            None => true,
            Some(at) => {
                sleepers.swap_remove(at);
                self.word.fetch_sub(SLEEPING.one(), AcqRel);
                false
            }
        }
    }
}
