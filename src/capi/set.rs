//! The noun set: waiting for many things at once.

use super::context::rt_cx;
use super::runtime::rt_runtime;
use super::{check, context, guarded, not_null, polled, runtime_ref};
use crate::runtime::{SetUse, free_set, new_set};
use std::task::{Poll, ready};

/// A set: waits for many operations, timers and tasks at once. A member says by its key that it is ready, and leaves the set; one
/// that yields more, an operation with many results or an interval, is added again. What a member yields is taken by its own poll: the
/// set neither owns nor keeps alive what it waits for. The cost of a member does not depend on how many there are.
///
/// 0 is never a set. The handle is good until `rt_set_free`, which may come after the runtime was freed.
///
/// Methods: `rt_set_add`, `rt_poll_set`, `rt_set_free`. Made by `rt_set_new`.
///
/// Threads: any thread may call any method, also several at once.
#[allow(non_camel_case_types)]
pub type rt_set = u64;

/// Makes a set, without members, for tasks and contexts of a runtime.
///
/// Returns 0, and the set in `*out`. On failure `*out` is 0: `-EINVAL` for NULL; `-EBADF` for the runtime; `-ENOMEM`. Any thread.
/// Does not block.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_set_new(rt: rt_runtime, out: *mut rt_set) -> i64 {
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so.
        unsafe { out.write(0) };
        let set = new_set(&runtime_ref(rt)?)?;
        // SAFETY: as above.
        unsafe { out.write(set) };
        Ok(0)
    })
}

/// Frees a set. Its members go on; they are not watched any more, and can be added to other sets. Who waits in `rt_poll_set` is
/// woken, to see `-EBADF`.
///
/// Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_set_free(set: rt_set) -> i64 {
    guarded(|| {
        if set != 0 {
            free_set(set)?;
        }
        Ok(0)
    })
}

/// Adds an operation of the calling task, a timer, or a task that may be joined. `key` is the program's, and need not be unique.
/// What is ready already, has fired, or can be joined, is so in the set at once.
///
/// A member whose outcome is taken elsewhere, that is forgotten, cancelled, detached, or whose task ends, is ready too: its poll
/// says `-EBADF` then. A task or a timer can be in several sets; each of them reports it, and one join gets the result.
///
/// Returns 0. On failure the set is as it was: `-EBADF` for a stale set or handle, and for a task that was detached; `-EINVAL`
/// for a handle of another kind; `-EPERM` for another task's operation, for any operation outside of tasks, and for a set of
/// another runtime; `-EEXIST` for an operation that is in a set and not ready yet; `-EDEADLK` for the calling task itself. In
/// a poll, or with a context of the program's own. Does not block.
///
/// # Safety
/// `cx` is the context of this poll.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_set_add(cx: *mut rt_cx, set: rt_set, handle: u64, key: u64) -> i64 {
    guarded(|| {
        // SAFETY: the caller says so.
        let cx = unsafe { context(cx) }?;
        SetUse::enter(set)?.add(cx, handle, key)?;
        Ok(0)
    })
}

/// Waits for any member to be ready.
///
/// Returns 0, and in `*key` the member's key: it has left the set, and its `rt_poll_op`, `rt_poll_accept_next`, `rt_poll_recv_next`,
/// `rt_poll_timer` or `rt_poll_join`, called next, will not be pending. Members come in the order in which they became ready, each once.
/// `RT_PENDING`: none is ready yet. Several tasks may wait; all are woken, one gets the member.
///
/// `-ENOENT`: the set has no members. Also: `-EBADF` for a stale handle; `-EINVAL` for NULL; `-EPERM` for a set of another runtime.
/// In a poll, or with a context of the program's own. Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `key` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_set(cx: *mut rt_cx, set: rt_set, key: *mut u64) -> i64 {
    polled(|| {
        check!(not_null(key));
        // SAFETY: the caller says so, and so below.
        let cx = check!(unsafe { context(cx) });
        let ready = check!(ready!(check!(SetUse::enter(set)).poll(cx)));
        // SAFETY: as above.
        unsafe { key.write(ready) };
        Poll::Ready(Ok(0))
    })
}
