//! The noun oneshot.

use super::chan::{Unread, give};
use super::context::rt_cx;
use super::task::rt_drop_fn;
use super::{Errno, blocking, check, context, guarded, not_null, polled, put_on, take_off};
use crate::primitives::handle::Kind;
use crate::primitives::shelf::Shelf;
use crate::primitives::sync::process_static;
use crate::sync::{Hall, Outcome, Visitor};
use std::ffi::c_void;
use std::sync::Arc;
use std::task::{Poll, ready};

process_static! {
    static ONESHOTS: Shelf<Oneshot> = Shelf::new(Kind::Oneshot);
}

/// A oneshot, and what drops its item.
pub(crate) struct Oneshot {
    hall: Arc<Hall<Outcome<Unread>>>,
    drop: rt_drop_fn,
}

/// One item, a pointer, that is sent once and received once. It belongs to no runtime.
///
/// 0 is never a oneshot. The handle is good until the item was received, or all who waited heard that there will be none, or
/// `rt_oneshot_free`.
///
/// Methods: for the sender `rt_oneshot_send`, `rt_oneshot_close`; for the receiver `rt_poll_oneshot`, `rt_oneshot_wait`,
/// `rt_oneshot_free`. Made by `rt_oneshot_new`.
///
/// Threads: any thread may call any method, also several at once.
#[allow(non_camel_case_types)]
pub type rt_oneshot = u64;

/// Makes a oneshot. `drop` (which may be NULL) is called with the item if it was sent and not received before
/// `rt_oneshot_free`.
///
/// Returns 0, and the oneshot in `*out`. On failure `*out` is 0: `-EINVAL` for NULL; `-ENOMEM`. Any thread. Does not block.
///
/// # Safety
/// `drop` may be called with the item, on any thread; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_oneshot_new(drop: rt_drop_fn, out: *mut rt_oneshot) -> i64 {
    // SAFETY: the caller says so.
    guarded(|| unsafe { put_on(&ONESHOTS, out, || Ok(Oneshot { hall: Hall::empty(), drop }.into())) })
}

/// Sends the item.
///
/// Returns 0: the item is the oneshot's, and then the receiver's. On failure it is still the caller's: `-EALREADY`: one was sent
/// before; `-EPIPE`: the sender gave up before; `-EBADF`: there is no receiver any more. Any thread. Does not block.
///
/// # Safety
/// The item is what the drop function takes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_oneshot_send(o: rt_oneshot, item: *mut c_void) -> i64 {
    guarded(|| {
        let oneshot = ONESHOTS.enter(o).ok_or(libc::EBADF)?;
        give(item, oneshot.drop, |item| oneshot.hall.send(item))?;
        Ok(0)
    })
}

/// The sender gives up: who waits is woken, to see `-EPIPE`.
///
/// Returns 0, also the second time, and for the handle 0; `-EALREADY`: the item was sent, and stays; `-EBADF`. Any thread. Does
/// not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_oneshot_close(o: rt_oneshot) -> i64 {
    guarded(|| {
        if o != 0 {
            ONESHOTS.enter(o).ok_or(libc::EBADF)?.hall.close()?;
        }
        Ok(0)
    })
}

/// Waits for the item.
///
/// Returns 0, and in `*item` the item, which is the caller's: the handle is spent. `RT_PENDING`: not yet. `-EPIPE`: the sender gave
/// up, and the handle is spent, unless others are still to hear of it. Several may wait; one gets the item, the others `-EBADF`; that
/// the sender gave up is told to all, each in its next poll. Who leaves without having heard how it ended frees the oneshot.
///
/// `-EBADF`, also for who waits when it is freed; `-EINVAL` for NULL; `-EINVAL`, `-EPERM` for the context. In a poll, or with a
/// context of the program's own. Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `item` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_oneshot(cx: *mut rt_cx, o: rt_oneshot, item: *mut *mut c_void) -> i64 {
    polled(|| {
        check!(not_null(item));
        // SAFETY: the caller says so, and so below.
        let cx = check!(unsafe { context(cx) });
        let oneshot = check!(ONESHOTS.enter(o).ok_or(libc::EBADF));
        let received = ready!(oneshot.hall.poll_receive(&Visitor::of(cx, &cx.waker())));
        // SAFETY: as above.
        Poll::Ready(unsafe { spend(o, &oneshot, received, item) })
    })
}

/// The same on a thread, for at most `timeout_ns`. It drives no runtime meanwhile.
///
/// Returns 0, and in `*item` the item, which is the caller's: the handle is spent. `-EPIPE`: the sender gave up, and the handle is
/// spent, unless others are still to hear of it. `-ETIME`: not in time, and the handle is still good; `-EBADF`; `-EINVAL` for
/// NULL; `-EDEADLK` inside of a runtime. Any thread. Blocks.
///
/// # Safety
/// `item` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_oneshot_wait(o: rt_oneshot, timeout_ns: u64, item: *mut *mut c_void) -> i64 {
    blocking(|| {
        not_null(item)?;
        let oneshot = ONESHOTS.enter(o).map(|oneshot| oneshot.clone()).ok_or(libc::EBADF)?;
        let received = oneshot.hall.block_receive(timeout_ns);
        // SAFETY: the caller says so.
        unsafe { spend(o, &oneshot, received, item) }
    })
}

/// Hands out what was received. The handle is stale afterwards, unless there may still be something to come.
///
/// # Safety
/// `item` is writable.
unsafe fn spend(
    o: rt_oneshot,
    oneshot: &Oneshot,
    received: Result<Unread, Errno>,
    item: *mut *mut c_void,
) -> Result<i64, Errno> {
    let is_spent = match received {
        Err(libc::ETIME | libc::EDEADLK) => false,
        Err(libc::EPIPE) => oneshot.hall.is_told(),
        _ => true,
    };
    if is_spent {
        drop(ONESHOTS.remove(o));
    }
    // SAFETY: the caller says so.
    unsafe { item.write(received?.take()) };
    Ok(0)
}

/// Frees a oneshot: the receiver gives up. An item that was sent is dropped, by this call. Who waits is woken, to see `-EBADF`.
///
/// Returns 0, also for the handle 0; `-EBADF`: also when it was received. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_oneshot_free(o: rt_oneshot) -> i64 {
    guarded(|| {
        if let Some(oneshot) = take_off(&ONESHOTS, o)? {
            // Who received the item, and is about to say so, has spent the handle.
            drop(oneshot.hall.end(libc::EBADF)?);
        }
        Ok(0)
    })
}
