//! The noun signal: deliveries of a signal, as tasks hear of them.

use super::context::rt_cx;
use super::runtime::rt_runtime;
use super::{check, context, guarded, not_null, polled, runtime_ref};
use crate::signal;
use std::ffi::c_int;
use std::task::Poll;

/// A listener: counts the deliveries of one signal to this process, from its opening on.
///
/// A signal can have any number of listeners, of any number of runtimes; each counts all deliveries, and closing one leaves the
/// others. The library handles the signals that have listeners, and no others: not SIGCHLD for its own sake. A handler that
/// the program had installed before the first listener of the signal was opened is still called, with the mask and the flags that it
/// was installed with (all but SA_RESETHAND): calls that the signal interrupted before still end in EINTR. Where there was none,
/// the signal interrupts no calls (SA_RESTART). When the last listener was closed the signal goes on being caught: its default action
/// does not come back. In a forked child the listeners hear nothing.
///
/// What the program sets later by sigaction(2) replaces the library's handler, and the listeners that are open hear nothing then.
/// If it is SIG_DFL or SIG_IGN, the next listener that is opened brings the library's handler back, for all listeners of the signal,
/// and with it the calls of the program's handler from before the first. If it is a handler, no listener of the signal can be
/// opened as long as it is there: install it before the first one.
///
/// The kernel delivers a signal to a thread that does not block it. Workers do, so some thread of the program must not: the
/// main thread usually, which may meanwhile wait in `rt_run`.
///
/// 0 is never a listener. The handle is good until `rt_signal_close`, which may come after the runtime was freed.
///
/// Methods: `rt_poll_signal`, `rt_signal_close`. Made by `rt_signal_open`.
///
/// Threads: any thread may call any method, also several at once. Not for signal handlers.
#[allow(non_camel_case_types)]
pub type rt_signal = u64;

/// Opens a listener for a signal, whose tasks are woken by a runtime. It holds a descriptor until it is closed.
///
/// Returns 0, and the listener in `*out`, which the caller must close. On failure `*out` is 0: `-EINVAL` for NULL, and for what is
/// no signal or cannot be listened to: SIGKILL and SIGSTOP, and the faults SIGSEGV, SIGBUS, SIGILL and SIGFPE, which would come
/// again when the handler returns; `-EBUSY`: the program has replaced the library's handler by one of its own; `-EBADF` for the
/// runtime; `-EMFILE`, `-ENFILE`, `-ENOMEM`. Any thread. Does not block, but for handlers of the program's that run on other threads.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_signal_open(rt: rt_runtime, signum: c_int, out: *mut rt_signal) -> i64 {
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so.
        unsafe { out.write(0) };
        let signal = signal::open(&runtime_ref(rt)?, signum)?;
        // SAFETY: as above.
        unsafe { out.write(signal) };
        Ok(0)
    })
}

/// Waits for the signal to be delivered.
///
/// Returns how many deliveries there were since the last time, at least 1: none is lost. (The kernel itself makes one of several
/// that are sent before the first is delivered, unless they are real-time signals.) `RT_PENDING`: none yet. Several tasks, of any
/// runtimes, may wait; all are woken, one gets the deliveries.
///
/// Errors: `-EBADF`, also when the listener is closed meanwhile; `-ESHUTDOWN`, and `-EBADF` once its runtime was freed; `-EINVAL`,
/// `-EPERM` for the context. In a poll, or with a context of the program's own. Does not block.
///
/// # Safety
/// `cx` is the context of this poll.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_signal(cx: *mut rt_cx, signal: rt_signal) -> i64 {
    polled(|| {
        // SAFETY: the caller says so.
        let cx = check!(unsafe { context(cx) });
        check!(signal::find(signal)).poll(cx).map(|heard| heard.map(|deliveries| deliveries as i64))
    })
}

/// Closes a listener. Who waits in `rt_poll_signal` is woken, to see `-EBADF`. Deliveries that nobody took are forgotten.
///
/// Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block, but for handlers of this signal that run on other
/// threads; so a handler of the program's must return, and not jump out.
#[unsafe(no_mangle)]
pub extern "C" fn rt_signal_close(signal: rt_signal) -> i64 {
    guarded(|| {
        if signal != 0 {
            signal::close(signal)?;
        }
        Ok(0)
    })
}
