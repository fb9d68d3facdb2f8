//! The noun readiness.

use super::context::rt_cx;
use super::runtime::rt_runtime;
use super::{Errno, blocking, check, context, guarded, io_name, not_null, polled, runtime_ref};
use crate::primitives::fork::is_forked;
use crate::readiness::{Interest, Ready, ReadyEvent};
use crate::runtime::{IoFlags, IoPoll};
use std::ffi::{c_int, c_void};
use std::task::Poll;

/// A registered descriptor.
///
/// 0 is never one. The handle is good until `rt_close`, `rt_deregister`, `rt_forget` or `rt_free`; then it gives `-EBADF`, from
/// any thread and for ever, also if the number of the descriptor is in use again.
///
/// Methods: `rt_poll_ready`, `rt_try_ready`, `rt_clear_ready`, `rt_poll_level`, `rt_poll_try`, `rt_io_fd`, `rt_io_rehome`,
/// `rt_poll_read` and its kin; `rt_close`, `rt_deregister`, `rt_forget`.
///
/// Threads: any thread may call any method. Any number of tasks may wait for the same descriptor and direction; an event
/// wakes them all.
#[allow(non_camel_case_types)]
pub type rt_io = u64;

/// Readiness, and interest in it: there is something to read, or to accept.
pub const RT_READABLE: u32 = 1;
/// Readiness, and interest in it: there is room to write, or the connect is decided.
pub const RT_WRITABLE: u32 = 1 << 1;
/// Readiness, and interest in it: out-of-band data.
pub const RT_PRIORITY: u32 = 1 << 2;
/// Readiness, and interest in it: an error is pending. Reported to every direction.
pub const RT_ERROR: u32 = 1 << 3;
/// Readiness only: the peer will send no more. Reported to readers. Survives `rt_clear_ready`.
pub const RT_READ_CLOSED: u32 = 1 << 4;
/// Readiness only: nothing can be written any more. Reported to writers. Survives `rt_clear_ready`.
pub const RT_WRITE_CLOSED: u32 = 1 << 5;

/// For `rt_register_fd`: make the descriptor non-blocking.
pub const RT_IO_SET_NONBLOCK: u32 = 1 << 8;
/// For `rt_register_fd`: the library never closes the descriptor.
pub const RT_IO_BORROWED: u32 = 1 << 9;

/// Readiness as it was seen.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_ready {
    /// `RT_READABLE` and the others, of what was asked for.
    pub bits: u32,
    /// When it was seen; for `rt_clear_ready`.
    pub tick: u32,
}

/// Makes a call that does not block on `fd`, and returns what it returned, or its negative errno. `-EAGAIN` means: wait and
/// try again.
#[allow(non_camel_case_types)]
pub type rt_attempt_fn = Option<unsafe extern "C" fn(fd: c_int, arg: *mut c_void) -> i64>;

// The bits are the same inside.
const _: () = {
    let states = RT_READABLE | RT_WRITABLE | RT_PRIORITY | RT_ERROR | RT_READ_CLOSED | RT_WRITE_CLOSED;
    assert!(states == Ready::ALL.bits() as u32);
    assert!(RT_READ_CLOSED == Ready::READ_CLOSED.bits() as u32);
    assert!(RT_WRITE_CLOSED == Ready::WRITE_CLOSED.bits() as u32);
};

/// The interest that the bits name; `EINVAL` for none, and for bits that are no interest.
fn to_interest(bits: u32) -> Result<Interest, Errno> {
    u8::try_from(bits).ok().and_then(Interest::from_bits).ok_or(libc::EINVAL)
}

fn to_c(event: ReadyEvent) -> rt_ready {
    rt_ready { bits: event.ready.bits().into(), tick: event.tick }
}

/// # Safety
/// `out` is writable.
unsafe fn store(seen: IoPoll<ReadyEvent>, out: *mut rt_ready) -> IoPoll<i64> {
    seen.map(|seen| {
        let seen = seen?;
        // SAFETY: the caller says so.
        unsafe { out.write(to_c(seen)) };
        Ok(0)
    })
}

/// Registers a descriptor with a runtime. `flags` holds the interest (`RT_READABLE`, `RT_WRITABLE`, `RT_PRIORITY`, `RT_ERROR`)
/// and `RT_IO_SET_NONBLOCK`, `RT_IO_BORROWED`. What is not registered for cannot be waited for. Without interest, the
/// descriptor is for calls that need no readiness.
///
/// Returns 0 and the handle in `*out`; the descriptor is then the library's, unless it is borrowed: closed by `rt_close` and
/// `rt_free`, and by nobody else. On failure it stays the caller's: `-EBADF` for a closed descriptor or a stale runtime;
/// `-EPERM` for an interest in a regular file or a directory, which have no readiness, but for `RT_PRIORITY` and `RT_ERROR` in those by
/// which the system tells of changes: /proc/self/mounts, cgroup.events, /proc/pressure/memory with a trigger; `-EEXIST` if the runtime
/// has this descriptor already (not if that one was closed behind the library); `-EINVAL` for NULL or unknown bits; `-ENOMEM`;
/// `-ENOSPC` over the system's limit of watches.
///
/// A later descriptor with the number of one that was closed behind the library is told from it, but for two that share an inode and
/// have no interest: a file that was opened again, an eventfd instead of another. That gives `-EEXIST`, and `rt_close` of the old handle
/// closes it, if `rt_forget` did not end the registration first.
///
/// A runtime that shuts down accepts it, and the polls give `-ESHUTDOWN`. Any thread. Does not block.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_register_fd(rt: rt_runtime, fd: c_int, flags: u32, out: *mut rt_io) -> i64 {
    const INTEREST: u32 = RT_READABLE | RT_WRITABLE | RT_PRIORITY | RT_ERROR;
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so, and so below.
        unsafe { out.write(0) };
        let runtime = runtime_ref(rt)?;
        if flags & !(INTEREST | RT_IO_SET_NONBLOCK | RT_IO_BORROWED) != 0 {
            return Err(libc::EINVAL);
        }
        let flags = IoFlags {
            interest: to_interest(flags & INTEREST).ok(),
            set_nonblock: flags & RT_IO_SET_NONBLOCK != 0,
            borrowed: flags & RT_IO_BORROWED != 0,
        };
        let name = runtime.shared().register(fd, flags)?;
        // SAFETY: as above.
        unsafe { out.write(name.raw()) };
        Ok(0)
    })
}

/// Waits, in a poll, until a descriptor is ready for any of `interest`.
///
/// Returns 0 and what is ready in `*out`: only bits of what was asked for, and `RT_ERROR`, `RT_READ_CLOSED`, `RT_WRITE_CLOSED`
/// where they concern it. Readiness stays until a call said `-EAGAIN` and the caller says so by `rt_clear_ready`; a caller
/// that waits without that gets the same answer again. `RT_PENDING`: not ready, or the task's budget is spent.
///
/// Errors: `-EBADF`, `-ESHUTDOWN`; `-EINVAL` for NULL, and for an interest that was not registered; `-EPERM` for the context.
///
/// # Safety
/// `cx` is the context of this poll; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_ready(cx: *mut rt_cx, io: rt_io, interest: u32, out: *mut rt_ready) -> i64 {
    // SAFETY: the caller says so, and so below.
    match unsafe { ready_now(cx, io, interest) } {
        Some(event) if !out.is_null() => {
            // SAFETY: as above.
            unsafe { out.write(to_c(event)) };
            0
        }
        // SAFETY: as above.
        _ => unsafe { poll_ready(cx, io, interest, out) },
    }
}

/// What nearly every poll finds. Nothing here needs a frame on the stack, so it costs little more than its loads; whatever
/// else there is to say, `poll_ready` says.
///
/// # Safety
/// `cx` is null or came from this library.
#[inline(always)]
unsafe fn ready_now(cx: *mut rt_cx, io: rt_io, interest: u32) -> Option<ReadyEvent> {
    if is_forked() {
        return None;
    }
    // SAFETY: the caller says so.
    let cx = unsafe { context(cx) }.ok()?;
    io_name(io).ok()?.take_ready(cx, to_interest(interest).ok()?)
}

/// # Safety
/// As for `rt_poll_ready`.
#[inline(never)]
unsafe fn poll_ready(cx: *mut rt_cx, io: rt_io, interest: u32, out: *mut rt_ready) -> i64 {
    polled(|| {
        check!(not_null(out));
        // SAFETY: the caller says so, and so below.
        let cx = check!(unsafe { context(cx) });
        let interest = check!(to_interest(interest));
        let name = check!(io_name(io));
        // SAFETY: as above.
        unsafe { store(name.poll_ready(cx, interest), out) }
    })
}

/// What is ready now, without waiting: `out->bits` is 0 if nothing is. What was not registered for is never ready.
///
/// Returns 0; `-EBADF`, `-ESHUTDOWN`; `-EINVAL` for NULL and unknown bits. Any thread. Does not block.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_try_ready(io: rt_io, interest: u32, out: *mut rt_ready) -> i64 {
    guarded(|| {
        not_null(out)?;
        let ready = io_name(io)?.try_ready(to_interest(interest)?)?;
        // SAFETY: the caller says so.
        unsafe { out.write(ready.map_or(rt_ready { bits: 0, tick: 0 }, to_c)) };
        Ok(0)
    })
}

/// Takes readiness back after a call said `-EAGAIN`: `seen` is what the poll returned, or a part of its bits. If there was an
/// event since, nothing changes. `RT_READ_CLOSED` and `RT_WRITE_CLOSED` stay. `RT_ERROR` goes, for all who wait: where another task waits
/// for errors with `MSG_ERRQUEUE`, use `rt_poll_read` and its kin or `rt_poll_try`, which take it back only if it is over.
///
/// Returns 0; `-EBADF`; `-EINVAL` for unknown bits. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_clear_ready(io: rt_io, seen: rt_ready) -> i64 {
    guarded(|| {
        if seen.bits & !u32::from(Ready::ALL.bits()) != 0 {
            return Err(libc::EINVAL);
        }
        let seen = ReadyEvent { ready: Ready::from_bits(seen.bits as u8), tick: seen.tick };
        io_name(io)?.clear_ready(seen)?;
        Ok(0)
    })
}

/// As `rt_poll_ready`, but asks the kernel each time: for foreign libraries, which do not read until `-EAGAIN` and expect to
/// be called again while anything is left. No `rt_clear_ready` is needed.
///
/// # Safety
/// As for `rt_poll_ready`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_level(cx: *mut rt_cx, io: rt_io, interest: u32, out: *mut rt_ready) -> i64 {
    polled(|| {
        check!(not_null(out));
        // SAFETY: the caller says so, and so below.
        let cx = check!(unsafe { context(cx) });
        let interest = check!(to_interest(interest));
        let name = check!(io_name(io));
        // SAFETY: as above.
        unsafe { store(name.poll_level(cx, interest), out) }
    })
}

/// Any call that does not block, in a poll: waits until the descriptor is ready for `interest`, then calls
/// `attempt(fd, arg)`; on `-EAGAIN` it takes that readiness back and waits again, on `-EINTR` it tries again.
///
/// Returns what `attempt` returned, 0 or more, or its error; `RT_PENDING`. While `attempt` runs, the descriptor cannot be
/// closed by others. Errors of its own are those of `rt_poll_ready`; and, with `RT_WRITABLE`, `-EBUSY` while something is queued to be
/// sent, into which what `attempt` writes would come: `rt_poll_flush` waits for that.
///
/// # Safety
/// `cx` is the context of this poll; `attempt` may be called with `arg`, on this thread, until this returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_try(
    cx: *mut rt_cx,
    io: rt_io,
    interest: u32,
    attempt: rt_attempt_fn,
    arg: *mut c_void,
) -> i64 {
    polled(|| {
        // SAFETY: the caller says so, and so below.
        let cx = check!(unsafe { context(cx) });
        let interest = check!(to_interest(interest));
        let attempt = check!(attempt.ok_or(libc::EINVAL));
        let name = check!(io_name(io));
        // SAFETY: as above.
        name.poll_try(cx, interest, |fd| unsafe { attempt(fd, arg) })
    })
}

/// Ends a registration. The descriptor stays open and is the caller's again. Waiters wake, and their polls give `-EBADF`.
///
/// Returns 0, also for the handle 0, when no call of another thread uses the descriptor any more. Errors: `-EBADF`, also if
/// the descriptor was closed behind the library (the registration ends all the same). Those that change nothing: `-EDEADLK` inside of
/// an attempt on it; `-EBUSY` while operations are at work on it, or something is queued to be sent; `-ENOMEM`. Any
/// thread. Blocks while other threads are inside of calls on this descriptor, none of which block but attempts of the program's own.
#[unsafe(no_mangle)]
pub extern "C" fn rt_deregister(io: rt_io) -> i64 {
    blocking(|| {
        if io != 0 {
            io_name(io)?.deregister()?;
        }
        Ok(0)
    })
}

/// Closes a descriptor: the handle is stale at once, waiters wake, and their polls give `-EBADF`. close(2) is called by the last
/// call that uses the descriptor; for a borrowed one it is not called.
///
/// Returns 0, also for the handle 0. `-EBADF`, also if the descriptor was closed behind the library: the registration ends,
/// and the number, which may be a stranger's by now, is left alone. Any thread. Does not block but as long as close(2) does: that of
/// a file may wait for its server on a network's file system, for which there is `rt_submit_close`.
#[unsafe(no_mangle)]
pub extern "C" fn rt_close(io: rt_io) -> i64 {
    guarded(|| {
        if io != 0 {
            io_name(io)?.close()?;
        }
        Ok(0)
    })
}

/// Ends the registration of a descriptor that was closed behind the library, and touches no descriptor.
///
/// Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_forget(io: rt_io) -> i64 {
    guarded(|| {
        if io != 0 {
            io_name(io)?.forget()?;
        }
        Ok(0)
    })
}

/// The number of the descriptor. It is good as long as nobody closes it.
///
/// Returns it, or `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_io_fd(io: rt_io) -> i64 {
    guarded(|| Ok(io_name(io)?.number()?.into()))
}

/// Moves a descriptor to the driver of the worker that polls, so that its events come to where its task is.
///
/// Returns 0; `-EBADF`; `-EPERM` for the context, and for one that is not a task's of the descriptor's runtime. Does not
/// block.
///
/// # Safety
/// `cx` is the context of this poll.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_io_rehome(cx: *mut rt_cx, io: rt_io) -> i64 {
    guarded(|| {
        // SAFETY: the caller says so.
        let cx = unsafe { context(cx) }?;
        let name = io_name(io)?;
        cx.task().ok_or(libc::EPERM)?;
        let worker = runtime_ref(cx.runtime())?.shared().here().ok_or(libc::EPERM)?;
        name.rehome(cx.runtime(), worker)?;
        Ok(0)
    })
}
