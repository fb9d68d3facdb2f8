//! The noun notify.

use super::context::rt_cx;
use super::{check, context, guarded, polled, put_on, take_off};
use crate::primitives::handle::Kind;
use crate::primitives::shelf::Shelf;
use crate::primitives::sync::process_static;
use crate::sync::{Bell, Hall, Visitor};
use std::task::{Poll, ready};

process_static! {
    static NOTIFIES: Shelf<Hall<Bell>> = Shelf::new(Kind::Notify);
}

/// Notifies tasks that something changed: one of those who wait, or all of them. It belongs to no runtime.
///
/// 0 is never a notify. The handle is good until `rt_notify_free`.
///
/// Methods: `rt_notify_one`, `rt_notify_all`, `rt_poll_notified`, `rt_notify_free`. Made by `rt_notify_new`.
///
/// Threads: any thread may call any method, also several at once.
#[allow(non_camel_case_types)]
pub type rt_notify = u64;

/// Makes a notify.
///
/// Returns 0, and the notify in `*out`. On failure `*out` is 0: `-EINVAL` for NULL; `-ENOMEM`. Any thread. Does not block.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_notify_new(out: *mut rt_notify) -> i64 {
    // SAFETY: the caller says so.
    guarded(|| unsafe { put_on(&NOTIFIES, out, || Ok(Hall::silent())) })
}

/// Notifies whoever waits first. With nobody waiting the notification is kept, at most one, for whoever asks next.
///
/// A task that is notified takes the notification in its next poll. If that poll does not ask for it, or the task ends, the
/// next who waits is notified instead.
///
/// Returns 0; `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_notify_one(n: rt_notify) -> i64 {
    guarded(|| {
        NOTIFIES.enter(n).ok_or(libc::EBADF)?.notify_one();
        Ok(0)
    })
}

/// Notifies all who wait now. Nothing is kept: who does not take it in its next poll has missed it.
///
/// Returns 0; `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_notify_all(n: rt_notify) -> i64 {
    guarded(|| {
        NOTIFIES.enter(n).ok_or(libc::EBADF)?.notify_all();
        Ok(0)
    })
}

/// Waits for a notification, and takes it.
///
/// Returns 0; `RT_PENDING`: there is none. A task that returns without having asked again keeps its place in the queue until it
/// is notified. A context of the program's own is notified too, but has no next poll that could go by: whoever waits behind
/// it is notified as well, and who asks first gets it.
///
/// `-EBADF`, also for who waits when the notify is freed; `-EINVAL`, `-EPERM` for the context. In a poll, or with a context of
/// the program's own. Does not block.
///
/// # Safety
/// `cx` is the context of this poll.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_notified(cx: *mut rt_cx, n: rt_notify) -> i64 {
    polled(|| {
        // SAFETY: the caller says so.
        let cx = check!(unsafe { context(cx) });
        let notify = check!(NOTIFIES.enter(n).ok_or(libc::EBADF));
        check!(ready!(notify.poll_notified(&Visitor::of(cx, &cx.waker()))));
        Poll::Ready(Ok(0))
    })
}

/// Frees a notify. Who waits is woken, to see `-EBADF`.
///
/// Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_notify_free(n: rt_notify) -> i64 {
    guarded(|| {
        if let Some(notify) = take_off(&NOTIFIES, n)? {
            notify.end(libc::EBADF);
        }
        Ok(0)
    })
}
