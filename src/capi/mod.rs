//! The C API: the only place with `extern "C"`, C pointers and `catch_unwind`. One file per C noun, in the header's order.

mod result;

mod runtime;

mod task;

mod context;

mod waker;

mod readiness;

mod io;

mod operation;

mod file;

mod multishot;

mod stream;

mod set;

mod time;

mod blocking;

mod net;

mod unix;

mod udp;

mod buffered;

mod serve;

mod notify;

mod sem;

mod chan;

mod oneshot;

mod event;

mod signal;

mod process;

mod watch;

/// For the simulator, whose programs call these as C does.
#[cfg(all(sim, test))]
pub(crate) mod exports {
    pub(crate) use super::{context::*, result::RT_PENDING, task::*, waker::*};
}

use crate::primitives::fork::is_forked;
use crate::primitives::shelf::Shelf;
use crate::primitives::thread::Uncancelled;
use crate::runtime::{CxError, IoName, PollContext, RuntimeRef};
use context::rt_cx;
use result::RT_PENDING;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

/// A positive errno value.
type Errno = i32;

/// Every export runs in here: a forked child is refused before anything is touched, and a panic ends here.
#[inline(always)]
fn guarded(call: impl FnOnce() -> Result<i64, Errno>) -> i64 {
    if is_forked() {
        return -i64::from(libc::EPERM);
    }
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => value,
        Ok(Err(errno)) => -i64::from(errno),
        Err(_panic) => -i64::from(libc::ENOTRECOVERABLE),
    }
}

/// The same for calls that block or drive. A thread that is cancelled meanwhile (`pthread_cancel`) has returned from here before it
/// ends: the C library would unwind what is on its stack, and aborts the process where that is ours. Other calls leave it to
/// their caller, for it is two locked instructions each time.
fn blocking(call: impl FnOnce() -> Result<i64, Errno>) -> i64 {
    let _uncancelled = Uncancelled::new();
    guarded(call)
}

/// The same for calls that a task can await.
#[inline(always)]
fn polled(call: impl FnOnce() -> Poll<Result<i64, Errno>>) -> i64 {
    guarded(|| match call() {
        Poll::Ready(result) => result,
        Poll::Pending => Ok(RT_PENDING),
    })
}

/// `?` for polls.
macro_rules! check {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(errno) => return Poll::Ready(Err(errno)),
        }
    };
}
use check;

/// # Safety
/// `cx` is null or came from this library.
#[inline]
unsafe fn context<'a>(cx: *const rt_cx) -> Result<&'a PollContext, Errno> {
    // SAFETY: the caller says so.
    unsafe { PollContext::check(cx.cast()) }.map_err(|error| match error {
        CxError::Null => libc::EINVAL,
        CxError::Misused => libc::EPERM,
    })
}

/// The descriptor that a handle names, alive or not.
#[inline]
fn io_name(io: u64) -> Result<IoName, Errno> {
    IoName::parse(io).ok_or(libc::EBADF)
}

fn runtime_ref(rt: u64) -> Result<RuntimeRef, Errno> {
    RuntimeRef::enter(rt)
}

/// `EINVAL` for null.
fn not_null<T>(pointer: *const T) -> Result<(), Errno> {
    if pointer.is_null() { Err(libc::EINVAL) } else { Ok(()) }
}

/// Makes an object, and writes its handle. On failure the handle is 0.
///
/// # Safety
/// `out` is null or writable.
unsafe fn put_on<T: Send + Sync>(
    shelf: &'static Shelf<T>,
    out: *mut u64,
    make: impl FnOnce() -> Result<Arc<T>, Errno>,
) -> Result<i64, Errno> {
    not_null(out)?;
    // SAFETY: the caller says so.
    unsafe { out.write(0) };
    let handle = shelf.put(make()?).ok_or(libc::ENOMEM)?;
    // SAFETY: as above.
    unsafe { out.write(handle) };
    Ok(0)
}

/// Makes a handle stale. `None` for the handle 0.
fn take_off<T: Send + Sync>(shelf: &'static Shelf<T>, raw: u64) -> Result<Option<Arc<T>>, Errno> {
    if raw == 0 { Ok(None) } else { shelf.remove(raw).map(Some).ok_or(libc::EBADF) }
}

/// Copies a struct that begins with its own size: an older, smaller one leaves the later fields zero; a newer, larger one
/// must have zeros where we know nothing.
///
/// # Safety
/// `from` is null, or points to as many readable bytes as its first four say. All zeros are a valid `T`.
unsafe fn sized<T: Copy>(from: *const T) -> Result<T, Errno> {
    not_null(from)?;
    // SAFETY: the caller says so, and so for all accesses below.
    let size = unsafe { from.cast::<u32>().read_unaligned() } as usize;
    if size < size_of::<u32>() || size > 4096 {
        return Err(libc::EINVAL);
    }
    let known = size.min(size_of::<T>());
    // SAFETY: as above.
    let tail = unsafe { std::slice::from_raw_parts(from.cast::<u8>().add(known), size - known) };
    if tail.iter().any(|&byte| byte != 0) {
        return Err(libc::EINVAL);
    }
    // SAFETY: as above.
    unsafe {
        let mut value = std::mem::zeroed::<T>();
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), (&raw mut value).cast::<u8>(), known);
        Ok(value)
    }
}

/// Zeroes a struct of the caller's size and notes the size in it.
///
/// # Safety
/// `out` is null or points to `size` writable bytes.
unsafe fn init_sized<T>(out: *mut T, size: usize) -> Result<i64, Errno> {
    not_null(out)?;
    if size < size_of::<u32>() || size > 4096 {
        return Err(libc::EINVAL);
    }
    // SAFETY: the caller says so.
    unsafe {
        std::ptr::write_bytes(out.cast::<u8>(), 0, size);
        out.cast::<u32>().write_unaligned(size as u32);
    }
    Ok(0)
}

/// Copies a text, cut to the room there is, and ends it with a NUL. Returns the whole text's length.
///
/// # Safety
/// `out` is null or has `len` writable bytes.
unsafe fn copy_text(text: &[u8], out: *mut std::ffi::c_char, len: usize) -> Result<i64, Errno> {
    if len > 0 {
        not_null(out)?;
        let copied = text.len().min(len - 1);
        // SAFETY: the caller says so; a byte is left for the NUL.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), out.cast(), copied);
            out.add(copied).write(0);
        }
    }
    Ok(text.len() as i64)
}
