//! The noun context.

use super::runtime::rt_runtime;
use super::waker::{as_waker, rt_waker};
use super::{context, guarded, not_null, runtime_ref};
use crate::runtime::PollContext;

/// What a poll knows of its surroundings. A task's context is good during the poll that it was given to, on that thread;
/// used outside of it, it gives `-EPERM` where that is detected.
///
/// Methods: `rt_cx_runtime`, `rt_cx_waker`, `rt_task_self`, `rt_yield`, and every `rt_poll_*` call. Without a task: `rt_cx_new`,
/// `rt_cx_free`.
#[allow(non_camel_case_types)]
pub struct rt_cx {
    _private: (),
}

/// The context of the poll that goes on on this thread, the innermost one; NULL outside of polls.
///
/// Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_cx_current() -> *mut rt_cx {
    let mut current = std::ptr::null();
    guarded(|| {
        current = PollContext::current().map_or(std::ptr::null(), std::ptr::from_ref);
        Ok(0)
    });
    current.cast_mut().cast()
}

/// The runtime that polls; 0 for a bad context.
///
/// Does not block.
///
/// # Safety
/// `cx` is the context of this poll.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_cx_runtime(cx: *mut rt_cx) -> rt_runtime {
    let mut runtime = 0;
    guarded(|| {
        // SAFETY: the caller says so.
        runtime = unsafe { context(cx) }?.runtime();
        Ok(0)
    });
    runtime
}

/// The waker of the task that is polled. Borrowed: good during the poll; clone it to keep it. NULL for a bad context.
///
/// Does not block.
///
/// # Safety
/// `cx` is the context of this poll.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_cx_waker(cx: *mut rt_cx) -> *const rt_waker {
    let mut waker = std::ptr::null();
    guarded(|| {
        // SAFETY: the caller says so.
        waker = unsafe { context(cx) }?.waker_words();
        Ok(0)
    });
    waker.cast()
}

/// Makes a context for polls outside of tasks: when a poll with it returned `RT_PENDING`, the waker will be called. The
/// waker is cloned. What such polls wait for is told apart by context.
///
/// Returns 0 and the context in `*out`, to be given to `rt_cx_free` once; `-EBADF`, `-EINVAL`, `-ENOMEM`. One thread at a time
/// may use a context. Any thread. Does not block.
///
/// # Safety
/// `waker` is a waker; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_cx_new(rt: rt_runtime, waker: *const rt_waker, out: *mut *mut rt_cx) -> i64 {
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so, and so below.
        unsafe { out.write(std::ptr::null_mut()) };
        // The program's clone function may do anything, be it that it frees the runtime: it must not wait for us.
        drop(runtime_ref(rt)?);
        // SAFETY: as above.
        let waker = (*unsafe { as_waker(waker) }?).clone();
        let context = PollContext::standalone(rt, waker).ok_or(libc::ENOMEM)?;
        // SAFETY: as above.
        unsafe { out.write(std::ptr::from_ref(context).cast_mut().cast()) };
        Ok(0)
    })
}

/// Frees a context that `rt_cx_new` made, and drops its waker. Where it waits for a turn (at a notify, a semaphore, a channel or a
/// oneshot) its place goes with it: what it was woken for and did not take, somebody else may. What else waits with it may call
/// the waker's clone once more.
///
/// Returns 0, also for NULL; `-EPERM` for a context that `rt_cx_new` did not make, or that was freed. Any thread, not while
/// a poll with it goes on. Does not block.
///
/// # Safety
/// `cx` is NULL or came from this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_cx_free(cx: *mut rt_cx) -> i64 {
    guarded(|| {
        // SAFETY: contexts are never unmapped.
        match unsafe { cx.cast::<PollContext>().as_ref() } {
            None => Ok(0),
            Some(context) if context.free_standalone() => Ok(0),
            Some(_) => Err(libc::EPERM),
        }
    })
}
