//! The noun call: functions that block, and names that must be asked for.

use super::context::rt_cx;
use super::net::rt_addr;
use super::operation::{begin, op_name, rt_op};
use super::runtime::rt_runtime;
use super::task::{rt_drop_fn, rt_task};
use super::{check, context, guarded, not_null, polled, runtime_ref};
use crate::net::resolve::{self, Name};
use crate::runtime::{Call, OpName, Request, submit};
use crate::task::TaskName;
use std::ffi::{CStr, c_char, c_void};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A function that may block. It runs once, on a thread of the library's, beside the runtime's tasks, with no lock held and all
/// signals blocked. It may call everything that any thread may; it is not inside of a poll, so it has no `rt_cx`.
#[allow(non_camel_case_types)]
pub type rt_call_fn = Option<unsafe extern "C" fn(arg: *mut c_void) -> i64>;

/// A call as a task. Dropping it drops the argument.
struct CallTask {
    call: Call,
    drop: rt_drop_fn,
}

impl Future for CallTask {
    type Output = i64;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<i64> {
        Pin::new(&mut self.call).poll(context)
    }
}

impl Drop for CallTask {
    fn drop(&mut self) {
        if let Some(drop) = self.drop {
            // SAFETY: the program promised that it may be called with the argument; called once, by the one who owns the
            // task's stage, when the call is over or will not be.
            unsafe { drop(self.call.arg()) };
        }
    }
}

/// Runs a function that may block, such as a computation that takes long or a foreign library's call, as a task: on one of
/// the runtime's threads for that, of which there are `rt_config::blocking_threads` at most. What finds none free waits for
/// its turn.
///
/// The task's result is what `run` returned, any number, unchanged. `rt_abort`, and a shutdown, take back what no thread has
/// begun: `run` is never called then, and the result is `-ECANCELED`. What runs cannot be stopped: it goes on, and what it
/// returns is the result. Where the call cannot be queued or no thread can be had, the error is the result: `-ENOMEM`,
/// `-EAGAIN`.
///
/// `drop(arg)` is called once, when `run` has returned or will not be called, before the end can be joined; on a worker, as
/// for all tasks. Only for a call that a shutdown gave up because it did not return, it never is. On a current-thread runtime
/// the call begins when the runtime is driven.
///
/// Returns 0, and the task in `*out`; with `out` NULL it is detached. The argument is the task's until `drop` (which may be
/// NULL) was called with it. On failure the caller keeps it, and neither function is called: `-EBADF`; `-EINVAL` without
/// `run`; `-ESHUTDOWN`; `-ENOMEM`. Any thread. Does not block.
///
/// # Safety
/// `run` and `drop` may be called with `arg` on any thread, one call at a time. `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_spawn_blocking(
    rt: rt_runtime,
    run: rt_call_fn,
    arg: *mut c_void,
    drop: rt_drop_fn,
    out: *mut rt_task,
) -> i64 {
    guarded(|| {
        let runtime = runtime_ref(rt)?;
        // SAFETY: the caller says so.
        let call = unsafe { Call::new(run.ok_or(libc::EINVAL)?, arg) };
        let named = |name: TaskName| {
            name.shield();
            if !out.is_null() {
                // SAFETY: the caller says so. Written before the task can run.
                unsafe { out.write(name.raw()) };
            }
        };
        match runtime.spawn(CallTask { call, drop }, None, !out.is_null(), named) {
            Ok(()) => Ok(0),
            Err((error, mut task)) => {
                task.drop = None;
                Err(error.errno())
            }
        }
    })
}

/// Submits: call `run(arg)` on a thread that may block, as `rt_spawn_blocking` does. Outcome: what it returned, any number but
/// `RT_PENDING`; or `-ENOMEM`, `-EAGAIN` where it was not called because no thread can be had.
///
/// A cancel, and a deadline, take back what no thread has begun: the outcome is `-ECANCELED` or `-ETIME`. What runs goes on;
/// its return is the outcome. `arg` is in use until the outcome was taken, or the task's drop function runs.
///
/// Returns 0, and the operation in `*out`. On failure nothing was submitted, and `*out` is 0: `-EINVAL` for NULL; `-EPERM` outside of
/// a task's poll; `-ENOMEM`. In a poll. Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `run` may be called with `arg` on any thread; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_submit_call(cx: *mut rt_cx, run: rt_call_fn, arg: *mut c_void, out: *mut rt_op) -> i64 {
    let request = || Ok((Request::Call { run: run.ok_or(libc::EINVAL)?, arg }, [None, None]));
    // SAFETY: the caller says so.
    unsafe { begin(cx, out, request) }
}

/// For `rt_poll_resolve`: addresses of IPv4 only.
pub const RT_RESOLVE_V4: u32 = 1;
/// For `rt_poll_resolve`: addresses of IPv6 only.
pub const RT_RESOLVE_V6: u32 = 2;
/// For `rt_poll_resolve`: only what is a literal address already; nobody is asked.
pub const RT_RESOLVE_NUMERIC: u32 = 4;

// What the constants of the header mean inside.
const _: () =
    assert!(RT_RESOLVE_V4 == resolve::V4 && RT_RESOLVE_V6 == resolve::V6 && RT_RESOLVE_NUMERIC == resolve::NUMERIC);

/// Finds the addresses of `host`, a name or a literal address, by the C library's getaddrinfo(3): hosts files, DNS, and
/// whatever else the machine is configured for.
///
/// `*slot` is 0 in the first call and again when this is ready; in between it is an operation of the task, which `rt_cancel`
/// and `rt_op_deadline` accept. A state that is dropped needs to do nothing about it. A literal address is answered at once,
/// in any context; names are asked for on threads of their own share, `rt_config::resolver_threads` of them, so they neither
/// keep file operations and other calls from their threads nor wait for those.
///
/// Returns how many addresses were written to `out`, at most `max`, best first, each with `port`. `RT_PENDING`: the task will
/// be woken. `-ENOENT`: there is no such name, or it has no address of the family that was asked for; `-EAGAIN`: the servers do
/// not answer now; `-EIO`: they fail; `-ENODEV`: the scope of a literal is no interface; `-ENOMEM`; what the system said
/// otherwise. `-ECANCELED` after a cancel, `-ETIME` at the deadline: both end it at once, though the thread that asks cannot be
/// interrupted; it goes on alone, until the resolver gives up, and counts as one of its share until then. `-EINVAL` for NULL, a
/// `max` of 0 or unknown flags; `-EBADF` for a stale `*slot`; `-EPERM` for a name outside of tasks.
///
/// `host` is copied by the first call, and may be NULL in later ones. `out` is written when this is ready, and not used in
/// between. In a poll. Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `slot` is writable; `host` is a C string in the first call; `out` has room for `max`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_resolve(
    cx: *mut rt_cx,
    slot: *mut rt_op,
    host: *const c_char,
    port: u16,
    flags: u32,
    out: *mut rt_addr,
    max: u32,
) -> i64 {
    polled(|| {
        // SAFETY: the caller says so, and so below.
        let cx = check!(unsafe { context(cx) });
        check!(not_null(slot).and(not_null(out)));
        if max == 0 {
            return Poll::Ready(Err(libc::EINVAL));
        }
        // SAFETY: as above.
        let mut op = unsafe { slot.read() };
        let answer = if op == 0 {
            check!(not_null(host));
            // SAFETY: as above.
            match Name::new(unsafe { CStr::from_ptr(host) }, port, flags) {
                Name::Known(answer) => Poll::Ready(answer),
                Name::Ask(question) => {
                    op = check!(submit(cx, Request::Resolve(question), [None, None]));
                    check!(op_name(op)).poll_answer(cx)
                }
            }
        } else {
            match op_name(op) {
                Ok(name) => name.poll_answer(cx),
                Err(errno) => Poll::Ready(Err(errno)),
            }
        };
        // An operation of somebody else's stays in its slot.
        let is_spent = !OpName::parse(op).is_some_and(OpName::is_live);
        // SAFETY: as above.
        unsafe { slot.write(if is_spent { 0 } else { op }) };
        let addresses = check!(ready!(answer));
        let written = addresses.len().min(max as usize);
        for (at, &address) in addresses[..written].iter().enumerate() {
            // SAFETY: as above.
            unsafe { out.add(at).write(address.into()) };
        }
        Poll::Ready(Ok(written as i64))
    })
}
