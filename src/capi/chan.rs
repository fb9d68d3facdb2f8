//! The noun channel.

use super::context::rt_cx;
use super::task::rt_drop_fn;
use super::{blocking, check, context, guarded, not_null, polled, put_on, take_off};
use crate::primitives::handle::Kind;
use crate::primitives::shelf::Shelf;
use crate::primitives::sync::process_static;
use crate::sync::{Hall, Items, Visitor};
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::task::{Poll, ready};

process_static! {
    static CHANNELS: Shelf<Channel> = Shelf::new(Kind::Chan);
}

/// A channel, and what drops its items.
pub(crate) struct Channel {
    hall: Arc<Hall<Items<Unread>>>,
    drop: rt_drop_fn,
}

/// An item that nobody has received yet: dropping it calls the program's function.
pub(crate) struct Unread {
    item: *mut c_void,
    drop: rt_drop_fn,
}

// SAFETY: whoever made the channel promised that items may be dropped on any thread; the rest only passes them on.
unsafe impl Send for Unread {}

impl Unread {
    pub(super) fn new(item: *mut c_void, drop: rt_drop_fn) -> Self {
        Self { item, drop }
    }

    /// The item is the program's again.
    pub(super) fn take(self) -> *mut c_void {
        ManuallyDrop::new(self).item
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if let Some(drop) = self.drop {
            // SAFETY: the item was given away by a send, and nobody received it; `take` keeps us from coming here.
            unsafe { drop(self.item) };
        }
    }
}

/// Gives an item away by a send. On failure, and while that is pending, it stays the caller's.
pub(super) fn give<R>(item: *mut c_void, drop: rt_drop_fn, send: impl FnOnce(&mut Option<Unread>) -> R) -> R {
    let mut unread = Some(Unread::new(item, drop));
    let sent = send(&mut unread);
    if let Some(unread) = unread {
        unread.take();
    }
    sent
}

/// A queue of at most so many items between any tasks and threads. Items are pointers, which mean what the program likes;
/// they come out in the order in which they went in. Who waits to send or to receive does so in the order of asking. It
/// belongs to no runtime.
///
/// A task whose turn it is, is woken, and a place or an item is set aside for its next poll. If that poll does not ask for
/// it, or the task ends, it is for the next who waits. For a context of the program's own nothing is set aside: whoever
/// waits behind it is woken as well, and who asks first gets it.
///
/// 0 is never a channel. The handle is good until `rt_chan_free`.
///
/// Methods: `rt_poll_chan_send`, `rt_chan_try_send`, `rt_chan_send`, `rt_poll_chan_recv`, `rt_chan_try_recv`, `rt_chan_recv`,
/// `rt_chan_len`, `rt_chan_close`, `rt_chan_free`. Made by `rt_chan_new`.
///
/// Threads: any thread may call any method, also several at once.
#[allow(non_camel_case_types)]
pub type rt_chan = u64;

/// Makes a channel for at most `capacity` items. `drop` (which may be NULL) is called with each item that was sent and that
/// nobody received before `rt_chan_free`. Memory is taken as items come.
///
/// Returns 0, and the channel in `*out`. On failure `*out` is 0: `-EINVAL` for NULL, or a capacity of 0; `-ENOMEM`. Any thread.
/// Does not block.
///
/// # Safety
/// `drop` may be called with any item, on any thread; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_chan_new(capacity: usize, drop: rt_drop_fn, out: *mut rt_chan) -> i64 {
    guarded(|| {
        let channel = || Ok(Channel { hall: Hall::with_capacity(capacity)?, drop }.into());
        // SAFETY: the caller says so.
        unsafe { put_on(&CHANNELS, out, channel) }
    })
}

/// Sends an item, when there is room.
///
/// Returns 0: the item is the channel's, and then the receiver's. `RT_PENDING`: not yet, and it is still the caller's, as on
/// failure: `-EPIPE`: the channel was closed; `-EBADF`, also for who waits when it is freed; `-EINVAL`, `-EPERM` for the context.
/// In a poll, or with a context of the program's own. Does not block.
///
/// # Safety
/// `cx` is the context of this poll.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_chan_send(cx: *mut rt_cx, ch: rt_chan, item: *mut c_void) -> i64 {
    polled(|| {
        // SAFETY: the caller says so.
        let cx = check!(unsafe { context(cx) });
        let channel = check!(CHANNELS.enter(ch).ok_or(libc::EBADF));
        let waker = cx.waker();
        let visitor = Visitor::of(cx, &waker);
        check!(ready!(give(item, channel.drop, |item| channel.hall.poll_send(&visitor, item))));
        Poll::Ready(Ok(0))
    })
}

/// Sends an item if there is room and nobody waits for it.
///
/// Returns 0: the item is the channel's, and then the receiver's. On failure it is still the caller's: `-EAGAIN`; `-EPIPE`: the
/// channel was closed; `-EBADF`. Any thread. Does not block.
///
/// # Safety
/// The item is what the channel's drop function takes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_chan_try_send(ch: rt_chan, item: *mut c_void) -> i64 {
    guarded(|| {
        let channel = CHANNELS.enter(ch).ok_or(libc::EBADF)?;
        give(item, channel.drop, |item| channel.hall.try_send(item))?;
        Ok(0)
    })
}

/// Sends an item from a thread: as `rt_poll_chan_send`, for at most `timeout_ns`. It drives no runtime meanwhile.
///
/// Returns 0: the item is the channel's, and then the receiver's. On failure it is still the caller's: `-ETIME`: there was no
/// room in time; `-EPIPE`; `-EBADF`; `-EDEADLK` inside of a runtime. Any thread. Blocks.
///
/// # Safety
/// The item is what the channel's drop function takes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_chan_send(ch: rt_chan, item: *mut c_void, timeout_ns: u64) -> i64 {
    blocking(|| {
        let channel = Channel::named(ch)?;
        give(item, channel.drop, |item| channel.hall.block_send(item, timeout_ns))?;
        Ok(0)
    })
}

impl Channel {
    /// For a call that blocks: the handle's place is not used for so long.
    fn named(ch: rt_chan) -> Result<Arc<Self>, i32> {
        CHANNELS.enter(ch).map(|channel| channel.clone()).ok_or(libc::EBADF)
    }
}

/// Receives the first item, when there is one.
///
/// Returns 0, and in `*item` the item, which is the caller's. `RT_PENDING`: there is none. `-EPIPE`: the channel was closed, and
/// is empty; `-EBADF`, also for who waits when it is freed; `-EINVAL` for NULL; `-EINVAL`, `-EPERM` for the context. In a poll, or
/// with a context of the program's own. Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `item` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_chan_recv(cx: *mut rt_cx, ch: rt_chan, item: *mut *mut c_void) -> i64 {
    polled(|| {
        check!(not_null(item));
        // SAFETY: the caller says so, and so below.
        let cx = check!(unsafe { context(cx) });
        let channel = check!(CHANNELS.enter(ch).ok_or(libc::EBADF));
        let received = check!(ready!(channel.hall.poll_receive(&Visitor::of(cx, &cx.waker()))));
        // SAFETY: as above.
        unsafe { item.write(received.take()) };
        Poll::Ready(Ok(0))
    })
}

/// Receives the first item if there is one and nobody waits for it.
///
/// Returns 0, and in `*item` the item, which is the caller's. `-EAGAIN`; `-EPIPE`: the channel was closed, and is empty; `-EINVAL`
/// for NULL; `-EBADF`. Any thread. Does not block.
///
/// # Safety
/// `item` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_chan_try_recv(ch: rt_chan, item: *mut *mut c_void) -> i64 {
    guarded(|| {
        not_null(item)?;
        let received = CHANNELS.enter(ch).ok_or(libc::EBADF)?.hall.try_receive()?;
        // SAFETY: the caller says so.
        unsafe { item.write(received.take()) };
        Ok(0)
    })
}

/// Receives an item on a thread: as `rt_poll_chan_recv`, for at most `timeout_ns`. It drives no runtime meanwhile.
///
/// Returns 0, and in `*item` the item, which is the caller's. `-ETIME`: none came in time; `-EPIPE`; `-EBADF`; `-EINVAL` for NULL;
/// `-EDEADLK` inside of a runtime. Any thread. Blocks.
///
/// # Safety
/// `item` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_chan_recv(ch: rt_chan, item: *mut *mut c_void, timeout_ns: u64) -> i64 {
    blocking(|| {
        not_null(item)?;
        let received = Channel::named(ch)?.hall.block_receive(timeout_ns)?;
        // SAFETY: the caller says so.
        unsafe { item.write(received.take()) };
        Ok(0)
    })
}

/// How many items there are that nobody has received.
///
/// Returns the number; `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_chan_len(ch: rt_chan) -> i64 {
    guarded(|| Ok(CHANNELS.enter(ch).ok_or(libc::EBADF)?.hall.len() as i64))
}

/// Closes a channel: who sends, or waits to, sees `-EPIPE`. Who receives gets what is there, and then `-EPIPE`.
///
/// Returns 0, also the second time; `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_chan_close(ch: rt_chan) -> i64 {
    guarded(|| {
        CHANNELS.enter(ch).ok_or(libc::EBADF)?.hall.close();
        Ok(0)
    })
}

/// Frees a channel. Who waits is woken, to see `-EBADF`; items that nobody received are dropped, by this call.
///
/// Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_chan_free(ch: rt_chan) -> i64 {
    guarded(|| {
        if let Some(channel) = take_off(&CHANNELS, ch)? {
            drop(channel.hall.end(libc::EBADF));
        }
        Ok(0)
    })
}
