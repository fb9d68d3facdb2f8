//! A thread that polls with a context and a waker of its own.

use super::{Board, Heir, NO_MEMORY};
use crate::capi::exports::*;
use crate::primitives::sync::{Condvar, Mutex};
use crate::sim::{stand_by, thread};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Where a thread waits that polls.
#[derive(Default)]
struct Doorstep {
    knocked: Mutex<bool>,
    bell: Condvar,
}

impl Doorstep {
    fn knock(&self) {
        *self.knocked.lock() = true;
        self.bell.notify_all();
    }

    fn wait(&self) {
        let mut knocked = self.knocked.lock();
        while !std::mem::take(&mut *knocked) {
            self.bell.wait(&mut knocked);
        }
    }
}

unsafe extern "C" fn copy_doorstep(data: *mut c_void) -> *mut c_void {
    // SAFETY: here and in the next two: the data is a count of a doorstep.
    unsafe { Arc::increment_strong_count(data.cast::<Doorstep>()) };
    data
}

unsafe extern "C" fn knock(data: *mut c_void) {
    // SAFETY: as above.
    unsafe { &*data.cast::<Doorstep>() }.knock();
}

unsafe extern "C" fn leave_doorstep(data: *mut c_void) {
    // SAFETY: as above; this one is given up.
    drop(unsafe { Arc::from_raw(data.cast::<Doorstep>()) });
}

unsafe extern "C" fn knock_and_leave(data: *mut c_void) {
    // SAFETY: as above.
    unsafe {
        knock(data);
        leave_doorstep(data);
    }
}

static DOORSTEPS: rt_waker_vtable = rt_waker_vtable {
    clone: Some(copy_doorstep),
    wake: Some(knock_and_leave),
    wake_by_ref: Some(knock),
    drop: Some(leave_doorstep),
};

/// A thread that joins tasks with a context of its own.
pub(super) fn joiner(board: Arc<Board>) -> thread::JoinHandle<()> {
    thread::spawn("joins", move || {
        while !board.complete.load(Relaxed) && !board.is_ending() {
            stand_by(10_000);
        }
        let (doorstep, mut waker, mut cx) = (Arc::new(Doorstep::default()), rt_waker { opaque: [0; 2] }, null_mut());
        let data = Arc::into_raw(doorstep.clone()).cast_mut().cast();
        // SAFETY: the functions belong to the data; the context and the waker are used by this thread alone.
        unsafe {
            assert_eq!(rt_waker_new(&DOORSTEPS, data, &mut waker), 0);
            while rt_cx_new(board.runtime, &waker, &mut cx) == NO_MEMORY {
                thread::yield_now();
            }
            assert_eq!(rt_waker_drop(&mut waker), 0);
            for seat in board.inherits(Heir::Thread) {
                let mut result = 0;
                loop {
                    match rt_poll_join(cx, board.task(seat), &mut result) {
                        RT_PENDING => doorstep.wait(),
                        joined => break board.check(seat, joined, result),
                    }
                }
            }
            assert_eq!(rt_cx_free(cx), 0);
        }
        board.progress.ring();
        // Who woke this thread may have its clone still: a poll may come before the wake's end.
        for _ in 0..1_000 {
            if Arc::strong_count(&doorstep) == 1 {
                return;
            }
            stand_by(10_000);
        }
        panic!("a waker was kept");
    })
}
