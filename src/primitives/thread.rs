//! Telling threads apart, also in what is called as a thread ends: by then std has no name for it any more. And keeping them from
//! being cancelled.

use super::sync::{AtomicU64, Ordering::*, nature, process_static, thread};
use std::cell::Cell;
use std::ffi::c_int;
use std::time::Duration;

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

/// Waits for a few steps of another thread's.
#[derive(Default)]
pub(crate) struct Moment {
    looks: u32,
}

impl Moment {
    /// Lets others run: also those of a lower priority, which a thread that only yields may keep from it.
    pub(crate) fn pass(&mut self) {
        const SHORT: u32 = 100;
        const LONG: Duration = Duration::from_micros(50);
        thread::yield_now();
        self.looks += 1;
        if self.looks > SHORT {
            nature::sleep(LONG);
        }
    }
}

unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}

/// Until dropped, this thread acts on no cancellation.
pub(crate) struct Uncancelled(c_int);

impl Uncancelled {
    pub(crate) fn new() -> Self {
        const DISABLE: c_int = 1;
        let mut before = 0;
        // SAFETY: the state is a valid one; the other is ours to write.
        unsafe { pthread_setcancelstate(DISABLE, &mut before) };
        Self(before)
    }
}

impl Drop for Uncancelled {
    fn drop(&mut self) {
        // SAFETY: the state that this thread had before.
        unsafe { pthread_setcancelstate(self.0, std::ptr::null_mut()) };
    }
}
