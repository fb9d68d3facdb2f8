//! The noun watch: a function that is called when a descriptor is ready, or at a time.

use super::runtime::rt_runtime;
use super::task::{home_near, rt_drop_fn};
use super::{Errno, guarded, not_null, runtime_ref};
use crate::readiness::{Interest, Ready};
use crate::watch::{self, Watcher};
use std::ffi::{c_int, c_void};

/// A watch: a function that is called whenever a descriptor is ready for what was asked for last, or at a time. It is for
/// libraries that have callbacks and no threads, and that do not read until `-EAGAIN`: the kernel is asked before each call.
///
/// A watch stays on one worker, and so do all that are opened near it: their functions, and the tasks that are pinned there,
/// never run at the same time, so the library needs no lock. It is a task of the library's: it counts as one, and `rt_run` goes
/// on while it is open.
///
/// 0 is never a watch. The handle is good until `rt_watch_close`, or until its runtime has shut down.
///
/// Methods: `rt_watch_for`, `rt_watch_at`, `rt_watch_close`. Made by `rt_watch_open`.
///
/// Threads: any thread may call any method, also several at once, and the function may, be it for its own watch. A call on the
/// watch's worker takes effect at once; one from elsewhere does not wait for a function that is being called.
#[allow(non_camel_case_types)]
pub type rt_watch = u64;

/// What a watch calls, on its worker, with no lock held, outside of a poll of the program's. `ready` is what is ready of what was
/// asked for, with `RT_ERROR`, `RT_READ_CLOSED` and `RT_WRITE_CLOSED` where they concern it; 0: the time has come. `fd` is the watch's
/// descriptor, or -1.
///
/// It may call everything that does not block, `rt_watch_close` for its own watch too. One that takes long keeps others waiting.
#[allow(non_camel_case_types)]
pub type rt_watch_fn = Option<unsafe extern "C" fn(arg: *mut c_void, fd: c_int, ready: u32)>;

/// A program's function, with the duty to drop its argument.
struct Watched {
    call: unsafe extern "C" fn(arg: *mut c_void, fd: c_int, ready: u32),
    arg: *mut c_void,
    fd: c_int,
    drop: rt_drop_fn,
}

// SAFETY: whoever opened the watch promised that the functions may be called on any thread, one at a time.
unsafe impl Send for Watched {}

impl Watcher for Watched {
    fn call(&mut self, ready: Ready) {
        // SAFETY: as above; the argument is the watch's until it is dropped.
        unsafe { (self.call)(self.arg, self.fd, ready.bits().into()) };
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(drop) = self.drop {
            // SAFETY: called once, after the last call.
            unsafe { drop(self.arg) };
        }
    }
}

/// Opens a watch of `fd`, or one that has only a time if `fd` is -1. It asks for nothing yet. `near`, a watch or a pinned task of the
/// same runtime, is whose worker it is to be on; 0: the worker that makes this call, or else one of all.
///
/// Returns 0, and the watch in `*out`, to be given to `rt_watch_close`; it is written before `call` can be called. `drop`, which may be
/// NULL, will be called with `arg` once, on that worker, after the last call: when the watch was closed, or its runtime shuts down. The
/// descriptor stays the caller's, who must not close it before `rt_watch_close`; meanwhile the runtime has it registered.
///
/// On failure `*out` is 0, and `arg` and the descriptor are untouched: as `rt_register_fd`, so `-EEXIST` if this runtime has the
/// descriptor already; `-EINVAL` for NULL, and for a `near` of another runtime; `-EBADF` also for a `near` that is stale; `-ENOMEM`;
/// `-ESHUTDOWN`. Any thread. Does not block.
///
/// # Safety
/// `call` and `drop` may be called with `arg` on any thread, one call at a time. `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_watch_open(
    rt: rt_runtime,
    near: u64,
    fd: c_int,
    call: rt_watch_fn,
    arg: *mut c_void,
    drop: rt_drop_fn,
    out: *mut rt_watch,
) -> i64 {
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so, and so below.
        unsafe { out.write(0) };
        let runtime = runtime_ref(rt)?;
        let (call, home) = (call.ok_or(libc::EINVAL)?, home_near(&runtime, near)?);
        let watched = Watched { call, arg, fd, drop };
        // SAFETY: as above. Written before the watch can run.
        let named = |watch| unsafe { out.write(watch) };
        watch::open(&runtime, home, (fd != -1).then_some(fd), watched, named).map_err(|(errno, mut refused)| {
            refused.drop = None;
            errno
        })?;
        Ok(0)
    })
}

/// What to watch for from now on: `RT_READABLE`, `RT_WRITABLE`, `RT_PRIORITY`, any of them together, or 0. While that is so, the function
/// is called again and again, other tasks in between. Costs no system call.
///
/// Returns 0; `-EBADF`; `-EINVAL` for other bits, and for a watch without a descriptor, unless they are 0. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_watch_for(watch: rt_watch, interest: u32) -> i64 {
    guarded(|| watch::wait_for(watch, to_interest(interest)?).map(|()| 0))
}

/// `None` for nothing.
fn to_interest(bits: u32) -> Result<Option<Interest>, Errno> {
    let known = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
    match u8::try_from(bits) {
        Ok(bits) if bits & !known.bits() == 0 => Ok(Interest::from_bits(bits)),
        _ => Err(libc::EINVAL),
    }
}

/// When to call the function, once, of the nanoseconds of `rt_now`: at once if that is over. It takes the place of a time that has not come;
/// `RT_NEVER` takes that back.
///
/// Returns 0; `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_watch_at(watch: rt_watch, at: u64) -> i64 {
    guarded(|| watch::wait_until(watch, at).map(|()| 0))
}

/// Closes a watch. The handle is stale at once, and the runtime has let go of the descriptor on return. For who is on the watch's worker no
/// call begins any more, and the descriptor may be closed. From elsewhere a call that was about to begin may still do so, one at most,
/// and one that has begun goes on; `drop` is called when it has returned, and until then the descriptor must stay open if the function
/// uses it.
///
/// Returns 0, also for the handle 0; `-EBADF`: also when its runtime has shut down, and nothing is left to be done. Any thread.
/// Waits for another thread that is asking the kernel about the descriptor, which does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_watch_close(watch: rt_watch) -> i64 {
    guarded(|| {
        if watch != 0 {
            watch::close(watch)?;
        }
        Ok(0)
    })
}
