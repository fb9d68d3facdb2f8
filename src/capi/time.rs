//! The noun timer.

use super::context::rt_cx;
use super::runtime::rt_runtime;
use super::task::{rt_drop_fn, rt_task, spawn_library_task};
use super::{Errno, check, context, guarded, not_null, polled, runtime_ref};
use crate::runtime::{Missed, PollContext, Start, TimerName, now, start_timer};
use crate::time::{Call, Callback};
use std::ffi::c_void;
use std::task::Poll;

/// A timer: fires once at its time, or again and again with a period. A timer is never early, and late by what a tick of 16
/// microseconds, the scheduler and the system add. Those of one worker with equal times fire in the order in which they were
/// started: all of a current-thread runtime, and all that were started on the same worker.
///
/// 0 is never a timer. The handle is good until `rt_timer_cancel`, or until its runtime has shut down.
///
/// Methods: `rt_timer_reset`, `rt_timer_cancel`, `rt_poll_timer`; `rt_set_add` takes it, too. Made by `rt_timer_start` and
/// `rt_timer_interval`. Without a handle of one's own: `rt_poll_sleep`, `rt_poll_deadline`, `rt_call_at`.
///
/// Threads: any thread may call any method. On the worker that a timer was started on they take no lock.
#[allow(non_camel_case_types)]
pub type rt_timer = u64;

/// For `rt_timer_interval`: ticks that nobody took in time are taken one after the other.
pub const RT_MISSED_BURST: u32 = 0;

/// For `rt_timer_interval`: ticks that nobody took in time are taken at once; the next one comes when it would have come anyway.
pub const RT_MISSED_SKIP: u32 = 1;

/// For `rt_timer_interval`: ticks that nobody took in time are dropped; the next one comes a period after one was taken.
pub const RT_MISSED_DELAY: u32 = 2;

/// The time, in nanoseconds, of the monotonic clock: what every `at` and `_at` is measured by.
///
/// Any thread; also in signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn rt_now() -> u64 {
    now()
}

/// # Safety
/// `out` is null or writable.
unsafe fn begin(rt: rt_runtime, out: *mut rt_timer, start: impl FnOnce() -> Result<Start, Errno>) -> i64 {
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so, and so below.
        unsafe { out.write(0) };
        let timer = start_timer(rt, start()?)?;
        // SAFETY: as above.
        unsafe { out.write(timer) };
        Ok(0)
    })
}

/// Starts a timer that fires at a time, at once if that has passed, never for `RT_NEVER`.
///
/// Returns 0, and the timer in `*out`, to be given to `rt_timer_cancel` once. On failure `*out` is 0: `-EBADF`; `-EINVAL` for NULL;
/// `-ENOMEM`; `-ESHUTDOWN`. Any thread. Does not block.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_timer_start(rt: rt_runtime, at: u64, out: *mut rt_timer) -> i64 {
    // SAFETY: the caller says so.
    unsafe { begin(rt, out, || Ok(Start::at(at))) }
}

/// Starts a timer that ticks at `first`, and every `period_ns` nanoseconds from then on. `missed` says what becomes of ticks that
/// nobody took in time: `RT_MISSED_BURST`, `RT_MISSED_SKIP` or `RT_MISSED_DELAY`.
///
/// As `rt_timer_start`. `-EINVAL` also for a period of 0, and for another `missed`.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_timer_interval(
    rt: rt_runtime,
    first: u64,
    period_ns: u64,
    missed: u32,
    out: *mut rt_timer,
) -> i64 {
    let start = || {
        let missed = match missed {
            RT_MISSED_BURST => Missed::Burst,
            RT_MISSED_SKIP => Missed::Skip,
            RT_MISSED_DELAY => Missed::Delay,
            _ => return Err(libc::EINVAL),
        };
        if period_ns == 0 {
            return Err(libc::EINVAL);
        }
        Ok(Start { at: first, period: period_ns, missed })
    };
    // SAFETY: the caller says so.
    unsafe { begin(rt, out, start) }
}

fn name(timer: rt_timer) -> Result<TimerName, Errno> {
    TimerName::parse(timer).ok_or(libc::EBADF)
}

/// Arms a timer anew, whether it fired or not. Who waits for it waits on. An interval ticks on from there.
///
/// Returns 1 if it had not fired for the time before: it will not. 0: it had. `-EBADF`. Any thread; of a reset and a firing at the
/// same moment, one comes first. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_timer_reset(timer: rt_timer, at: u64) -> i64 {
    guarded(|| name(timer)?.reset(at).map(i64::from))
}

/// Ends a timer, and makes its handle stale. Tasks that wait for it are woken, to see `-EBADF`; but not the one in whose poll it is
/// ended: where that waited for it earlier in the same poll, it asks again.
///
/// Returns 1 if it had not fired: it never will. 0: it had, or the handle is 0. `-EBADF`. Any thread; of a cancel and a firing at
/// the same moment, one comes first, and so the other did not happen. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_timer_cancel(timer: rt_timer) -> i64 {
    guarded(|| if timer == 0 { Ok(0) } else { name(timer)?.cancel().map(i64::from) })
}

/// Waits for a timer.
///
/// Returns 0 once it has fired, until it is reset. For an interval: how many ticks, one at least, this call took. `RT_PENDING`.
/// `-EBADF`; `-EINVAL`, `-EPERM` for the context. Several tasks may wait; all are woken, and a tick is one's. In a poll, or with a context of
/// the program's own. Does not block.
///
/// # Safety
/// `cx` is the context of this poll.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_timer(cx: *mut rt_cx, timer: rt_timer) -> i64 {
    polled(|| {
        // SAFETY: the caller says so.
        let cx = check!(unsafe { context(cx) });
        check!(name(timer)).poll(cx).map(|fired| fired.map(|ticks| ticks as i64))
    })
}

/// Waits until the time, with a timer that the slot keeps.
///
/// # Safety
/// `slot` is readable and writable.
unsafe fn sleep(cx: &PollContext, slot: *mut rt_timer, at: u64) -> Poll<Result<i64, Errno>> {
    // SAFETY: the caller says so, and so below.
    let kept = match unsafe { slot.read() } {
        0 => None,
        timer => Some(check!(name(timer))),
    };
    let timer = match kept {
        Some(timer) if timer.is_for(at) => timer,
        // A time that is over needs no timer: what the caller looks at next may not win against it.
        _ if at <= now() => {
            if !cx.can_spend() {
                return Poll::Pending;
            }
            cx.spend();
            check!(kept.map_or(Ok(false), TimerName::cancel));
            // SAFETY: as above.
            unsafe { slot.write(0) };
            return Poll::Ready(Ok(0));
        }
        Some(timer) => {
            check!(timer.reset(at));
            timer
        }
        None => {
            let timer = check!(start_timer(cx.runtime(), Start::at(at)));
            // SAFETY: as above.
            unsafe { slot.write(timer) };
            check!(name(timer))
        }
    };
    let polled = timer.poll(cx);
    if polled.is_ready() {
        // SAFETY: as above.
        unsafe { release(slot) };
    }
    polled.map(|fired| fired.map(|_ticks| 0))
}

/// # Safety
/// `slot` is readable and writable.
unsafe fn release(slot: *mut rt_timer) {
    // SAFETY: the caller says so.
    let timer = unsafe { slot.replace(0) };
    // One that is gone needs no end.
    let _ = TimerName::parse(timer).map(TimerName::cancel);
}

/// Waits until a time. `*slot` is the program's place for a timer: 0 at first, and 0 again when this is ready. Calling it with another
/// time than before moves the timer, which is cheap: so an idle timeout is one call beside each read. A time that is computed anew
/// in each poll, such as `rt_now() + timeout`, never comes.
///
/// Returns 0 at the time, at once if it is over; `RT_PENDING`; `-EINVAL` for NULL; `-EBADF` for a slot that holds no timer; `-ENOMEM`; `-EPERM` for the context.
/// Who leaves before gives the slot to `rt_timer_cancel`: drop functions do. In a poll, or with a context of the program's own. Does not
/// block.
///
/// # Safety
/// `cx` is the context of this poll; `slot` is readable and writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_sleep(cx: *mut rt_cx, slot: *mut rt_timer, at: u64) -> i64 {
    polled(|| {
        check!(not_null(slot));
        // SAFETY: the caller says so, and so below.
        let cx = check!(unsafe { context(cx) });
        // SAFETY: as above.
        unsafe { sleep(cx, slot, at) }
    })
}

/// Puts a deadline on a wait: `rt_poll_deadline(cx, &slot, at, rt_poll_read(cx, io, buf, n))`. The slot is as for `rt_poll_sleep`.
///
/// Returns `inner` if that is not `RT_PENDING`, and else `-ETIME` if the time has come: both empty the slot. `RT_PENDING`: neither. Errors
/// as for `rt_poll_sleep`. What `inner` waits for is not ended: an operation is cancelled by `rt_cancel`, or has a deadline of its own.
///
/// # Safety
/// `cx` is the context of this poll; `slot` is readable and writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_deadline(cx: *mut rt_cx, slot: *mut rt_timer, at: u64, inner: i64) -> i64 {
    polled(|| {
        check!(not_null(slot));
        if inner != super::result::RT_PENDING {
            // SAFETY: the caller says so, and so below.
            unsafe { release(slot) };
            return Poll::Ready(Ok(inner));
        }
        // SAFETY: as above.
        let cx = check!(unsafe { context(cx) });
        // SAFETY: as above.
        unsafe { sleep(cx, slot, at) }.map(|slept| slept.and(Err(libc::ETIME)))
    })
}

/// What `rt_call_at` calls.
#[allow(non_camel_case_types)]
pub type rt_timer_fn = Option<unsafe extern "C" fn(arg: *mut c_void)>;

/// A program's function, with the duty to drop its argument.
struct Called {
    call: unsafe extern "C" fn(arg: *mut c_void),
    arg: *mut c_void,
    drop: rt_drop_fn,
}

// SAFETY: whoever asked for the calls promised that they may be made on any thread, one at a time.
unsafe impl Send for Called {}

impl Callback for Called {
    fn call(&mut self) {
        // SAFETY: as above; the argument is the task's until it is dropped.
        unsafe { (self.call)(self.arg) };
    }
}

impl Drop for Called {
    fn drop(&mut self) {
        if let Some(drop) = self.drop {
            // SAFETY: called once, after the last call.
            unsafe { drop(self.arg) };
        }
    }
}

/// Calls a function at a time and, with a period that is not 0, again and again. It is a task that does so: `rt_abort` takes the call
/// back, and joining it says whether it was made (0) or taken back (`-ECANCELED`): never both. With `out` NULL it is detached.
///
/// Of a period's calls, those whose time had come before an earlier one was over are left out: the next is due at the first of `at`,
/// `at + period_ns`, `at + 2 * period_ns`, .. that has not come. So with `at` 0 one call is made at once, however long the clock runs.
///
/// Returns 0; `drop`, which may be NULL, will be called with `arg` once, after the last call. On failure `arg` stays the caller's: as
/// `rt_spawn`. Any thread. Does not block. The function is called on a worker, outside of a poll of the program's; one that takes long
/// keeps others waiting.
///
/// # Safety
/// `call` and `drop` may be called with `arg` on any thread, one call at a time. `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_call_at(
    rt: rt_runtime,
    at: u64,
    period_ns: u64,
    call: rt_timer_fn,
    arg: *mut c_void,
    drop: rt_drop_fn,
    out: *mut rt_task,
) -> i64 {
    guarded(|| {
        let runtime = runtime_ref(rt)?;
        let called = Called { call: call.ok_or(libc::EINVAL)?, arg, drop };
        // SAFETY: the caller says so.
        unsafe { spawn_library_task(&runtime, Call::new(called, at, period_ns), out) }.map_err(|(errno, refused)| {
            refused.into_callback().drop = None;
            errno
        })
    })
}
