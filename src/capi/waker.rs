//! The noun waker.

use super::{Errno, guarded, not_null};
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::task::{RawWaker, RawWakerVTable, Waker};

/// A waker: two words that belong to this library, passed by pointer. A waker of a task keeps the task's memory, not its
/// life. A zeroed one is no waker; it may be dropped. A task that had a million of them at once keeps its memory for ever, for its
/// count of them stands still from then on.
///
/// Methods: `rt_waker_clone`, `rt_waker_wake`, `rt_waker_wake_by_ref`, `rt_waker_drop`, `rt_waker_will_wake`. Made by
/// `rt_waker_clone` or `rt_waker_new`; borrowed from `rt_cx_waker`.
///
/// Threads: any thread may use a waker, but one that consumes it must be its only user. Do not copy the words.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct rt_waker {
    /// The library's.
    pub opaque: [usize; 2],
}

/// How a program's own waker works. The table must exist as long as any waker that was made of it. The functions are
/// called on any thread, several at once, with no lock held.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct rt_waker_vtable {
    /// Makes another reference: returns its data.
    pub clone: Option<unsafe extern "C" fn(data: *mut c_void) -> *mut c_void>,
    /// Wakes, and gives up the reference.
    pub wake: Option<unsafe extern "C" fn(data: *mut c_void)>,
    /// Wakes, and keeps the reference.
    pub wake_by_ref: Option<unsafe extern "C" fn(data: *mut c_void)>,
    /// Gives up the reference.
    pub drop: Option<unsafe extern "C" fn(data: *mut c_void)>,
}

/// A program's waker behind a Rust one: the data of its `RawWaker`. Each clone has its own.
struct Foreign {
    clone: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    wake: unsafe extern "C" fn(*mut c_void),
    wake_by_ref: unsafe extern "C" fn(*mut c_void),
    drop: unsafe extern "C" fn(*mut c_void),
    data: *mut c_void,
}

static FOREIGN: RawWakerVTable = RawWakerVTable::new(
    |data| {
        // SAFETY: here and in the other three, the data is a boxed `Foreign` that the waker owns; the program promised that its functions
        // may be called with their data on any thread.
        let foreign = unsafe { &*data.cast::<Foreign>() };
        // SAFETY: as above.
        let data = unsafe { (foreign.clone)(foreign.data) };
        RawWaker::new(Box::into_raw(Box::new(Foreign { data, ..*foreign })).cast(), &FOREIGN)
    },
    |data| {
        // SAFETY: as above; the waker is consumed.
        let foreign = unsafe { Box::from_raw(data.cast_mut().cast::<Foreign>()) };
        // SAFETY: as above.
        unsafe { (foreign.wake)(foreign.data) };
    },
    |data| {
        // SAFETY: as above.
        let foreign = unsafe { &*data.cast::<Foreign>() };
        // SAFETY: as above.
        unsafe { (foreign.wake_by_ref)(foreign.data) };
    },
    |data| {
        // SAFETY: as above; the waker is dropped.
        let foreign = unsafe { Box::from_raw(data.cast_mut().cast::<Foreign>()) };
        // SAFETY: as above.
        unsafe { (foreign.drop)(foreign.data) };
    },
);

/// The Rust waker that the words are, borrowed. `EINVAL` for null and for a zeroed one.
///
/// # Safety
/// `waker` is null, zeroed, or a waker.
pub(super) unsafe fn as_waker(waker: *const rt_waker) -> Result<ManuallyDrop<Waker>, Errno> {
    not_null(waker)?;
    // SAFETY: the caller says so.
    let [data, vtable] = unsafe { (*waker).opaque };
    if vtable == 0 {
        return Err(libc::EINVAL);
    }
    let data = std::ptr::with_exposed_provenance(data);
    let vtable = std::ptr::with_exposed_provenance::<RawWakerVTable>(vtable);
    // SAFETY: the words are those of a waker; `ManuallyDrop` leaves its reference with the caller.
    Ok(ManuallyDrop::new(unsafe { Waker::from_raw(RawWaker::new(data, &*vtable)) }))
}

fn to_words(waker: Waker) -> rt_waker {
    let waker = ManuallyDrop::new(waker);
    let vtable = std::ptr::from_ref(waker.vtable());
    rt_waker { opaque: [waker.data().expose_provenance(), vtable.expose_provenance()] }
}

/// Takes the waker out of the caller's words, which are zeroed.
///
/// # Safety
/// `waker` is null, zeroed, or a waker that the caller owns.
unsafe fn take(waker: *mut rt_waker) -> Result<Waker, Errno> {
    // SAFETY: the caller says so.
    unsafe {
        let taken = as_waker(waker)?;
        (*waker).opaque = [0, 0];
        Ok(ManuallyDrop::into_inner(taken))
    }
}

/// Makes another waker of the same task. `*out` must be woken or dropped once.
///
/// Returns 0; `-EINVAL` for NULL or a zeroed waker. Any thread. Does not block.
///
/// # Safety
/// `w` is a waker; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_waker_clone(w: *const rt_waker, out: *mut rt_waker) -> i64 {
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so.
        unsafe { out.write(to_words((*as_waker(w)?).clone())) };
        Ok(0)
    })
}

/// Wakes, and consumes the waker: `*w` is zeroed.
///
/// Returns 0; `-EINVAL` for NULL or a zeroed waker. Any thread. Does not block. Not for signal handlers.
///
/// # Safety
/// `w` is a waker that the caller owns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_waker_wake(w: *mut rt_waker) -> i64 {
    guarded(|| {
        // SAFETY: the caller says so.
        unsafe { take(w) }?.wake();
        Ok(0)
    })
}

/// Wakes, and keeps the waker.
///
/// Returns 0; `-EINVAL` for NULL or a zeroed waker. Any thread. Does not block. Not for signal handlers.
///
/// # Safety
/// `w` is a waker.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_waker_wake_by_ref(w: *const rt_waker) -> i64 {
    guarded(|| {
        // SAFETY: the caller says so.
        unsafe { as_waker(w) }?.wake_by_ref();
        Ok(0)
    })
}

/// Drops a waker: `*w` is zeroed.
///
/// Returns 0, also for a zeroed waker; `-EINVAL` for NULL. Any thread. Does not block.
///
/// # Safety
/// `w` is zeroed, or a waker that the caller owns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_waker_drop(w: *mut rt_waker) -> i64 {
    guarded(|| {
        not_null(w)?;
        // SAFETY: the caller says so.
        if let Ok(waker) = unsafe { take(w) } {
            drop(waker);
        }
        Ok(0)
    })
}

/// True if both wake the same. False may be a mistake, true never is; false for NULL and zeroed wakers.
///
/// Any thread. Does not block.
///
/// # Safety
/// Both are NULL, zeroed, or wakers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_waker_will_wake(a: *const rt_waker, b: *const rt_waker) -> bool {
    let mut same = false;
    guarded(|| {
        // SAFETY: the caller says so.
        let (a, b) = unsafe { (as_waker(a)?, as_waker(b)?) };
        same = a.will_wake(&b) || is_same_foreign(&a, &b);
        Ok(0)
    });
    same
}

fn is_same_foreign(a: &Waker, b: &Waker) -> bool {
    let foreign = |waker: &Waker| {
        // SAFETY: the table says that the data is a `Foreign`, owned by the waker.
        std::ptr::eq(waker.vtable(), &FOREIGN).then(|| unsafe { &*waker.data().cast::<Foreign>() })
    };
    match (foreign(a), foreign(b)) {
        (Some(a), Some(b)) => a.data == b.data && std::ptr::fn_addr_eq(a.wake, b.wake),
        _ => false,
    }
}

/// Makes a waker of the program's own functions. It takes the reference that `data` is: one of `wake` and `drop` is called
/// with it, once.
///
/// Returns 0; `-EINVAL` for NULL or a table with a function missing: `data` is then still the caller's. Any thread. Does
/// not block.
///
/// # Safety
/// The functions may be called with `data` on any thread; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_waker_new(vtable: *const rt_waker_vtable, data: *mut c_void, out: *mut rt_waker) -> i64 {
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so, and so below.
        let table = unsafe { vtable.as_ref() }.ok_or(libc::EINVAL)?;
        let foreign = Foreign {
            clone: table.clone.ok_or(libc::EINVAL)?,
            wake: table.wake.ok_or(libc::EINVAL)?,
            wake_by_ref: table.wake_by_ref.ok_or(libc::EINVAL)?,
            drop: table.drop.ok_or(libc::EINVAL)?,
            data,
        };
        let raw = RawWaker::new(Box::into_raw(Box::new(foreign)).cast(), &FOREIGN);
        // SAFETY: the table's functions take the data back as the boxed `Foreign` that it is.
        unsafe { out.write(to_words(Waker::from_raw(raw))) };
        Ok(0)
    })
}
