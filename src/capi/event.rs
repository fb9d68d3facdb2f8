//! The noun event: a flag to wait for, in tasks and on threads.

use super::context::rt_cx;
use super::runtime::rt_runtime;
use super::{blocking, check, context, guarded, not_null, polled, runtime_ref};
use crate::sync::event;
use std::task::Poll;

/// An event: a flag that is set and reset, and that any number of tasks and threads wait for. It is a state and no pulse: who waits
/// sees a set only if no reset came before it looked.
///
/// What a thread wrote before it set the event is seen by whoever finds it set.
///
/// 0 is never an event. The handle is good until `rt_event_free`, which may come after the runtime was freed.
///
/// Methods: `rt_event_set`, `rt_event_reset`, `rt_poll_event`, `rt_event_wait`, `rt_event_free`. Made by `rt_event_new`.
///
/// Threads: any thread may call any method, also several at once. `rt_event_set` and `rt_event_reset` are for signal handlers too.
#[allow(non_camel_case_types)]
pub type rt_event = u64;

/// Makes an event that is not set, whose tasks are woken by a runtime. It holds a descriptor until it is freed.
///
/// Returns 0, and the event in `*out`, which the caller must free. On failure `*out` is 0: `-EINVAL` for NULL; `-EBADF` for the
/// runtime; `-EMFILE`, `-ENFILE`, `-ENOMEM`. Any thread. Does not block.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_event_new(rt: rt_runtime, out: *mut rt_event) -> i64 {
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so.
        unsafe { out.write(0) };
        let event = event::new(&runtime_ref(rt)?)?;
        // SAFETY: as above.
        unsafe { out.write(event) };
        Ok(0)
    })
}

/// Sets an event: all who wait are woken, and nobody waits until it is reset. Setting it again changes nothing.
///
/// Returns 0; `-EBADF`. Any thread, and any signal handler: takes no lock, allocates and frees nothing, and keeps `errno`. Does
/// not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_event_set(event: rt_event) -> i64 {
    guarded(|| event::set(event).map(|()| 0))
}

/// Resets an event: who looks from now on, waits.
///
/// Returns 0; `-EBADF`. Any thread, and any signal handler. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_event_reset(event: rt_event) -> i64 {
    guarded(|| event::reset(event).map(|()| 0))
}

/// Waits, in a poll, until an event is set.
///
/// Returns 0 while it is set; `RT_PENDING`: it is not. Any number of tasks, of any runtimes, may wait; all are woken. Errors:
/// `-EBADF`, also when the event is freed meanwhile; `-ESHUTDOWN` if it is not set, and its runtime shuts down, `-EBADF` once that
/// was freed; `-EINVAL`, `-EPERM` for the context. In a poll, or with a context of the program's own. Does not block.
///
/// # Safety
/// `cx` is the context of this poll.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_event(cx: *mut rt_cx, event: rt_event) -> i64 {
    polled(|| {
        // SAFETY: the caller says so.
        let cx = check!(unsafe { context(cx) });
        check!(event::find(event)).poll(cx).map(|found| found.map(|()| 0))
    })
}

/// Waits, on a thread, until an event is set, for at most `timeout_ns`, which may be `RT_NEVER`. It does not matter what becomes of
/// the runtime meanwhile.
///
/// Returns 0; `-ETIME`: it was not set all the time; `-EBADF`, also when the event is freed meanwhile; `-EDEADLK` on a thread that is
/// inside of a runtime, in a poll or in a drop function. Any thread. Blocks.
#[unsafe(no_mangle)]
pub extern "C" fn rt_event_wait(event: rt_event, timeout_ns: u64) -> i64 {
    blocking(|| event::wait(event, timeout_ns).map(|()| 0))
}

/// Frees an event. All who wait for it are woken, and see `-EBADF`.
///
/// Returns 0, also for the handle 0; `-EBADF`. Any thread, but no signal handler. Waits for other threads to leave `rt_event_set`,
/// which does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_event_free(event: rt_event) -> i64 {
    guarded(|| {
        if event != 0 {
            event::free(event)?;
        }
        Ok(0)
    })
}
