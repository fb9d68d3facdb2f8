//! Telling threads apart, also in what is called as a thread ends: by then std has no name for it any more.

use super::sync::{AtomicU64, Ordering::*, process_static};
use std::cell::Cell;

/// A number that no other thread of this process has or had.
pub(crate) fn thread_number() -> u64 {
    process_static! {
        static NEXT: AtomicU64 = AtomicU64::new(1);
    }
    thread_local! {
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    if NUMBER.get() == 0 {
        NUMBER.set(NEXT.fetch_add(1, Relaxed));
    }
    NUMBER.get()
}
