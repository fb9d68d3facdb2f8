//! The noun semaphore.

use super::context::rt_cx;
use super::{check, context, guarded, polled, put_on, take_off};
use crate::primitives::handle::Kind;
use crate::primitives::shelf::Shelf;
use crate::primitives::sync::process_static;
use crate::sync::{Hall, Permits, Visitor};
use std::task::{Poll, ready};

process_static! {
    static SEMAPHORES: Shelf<Hall<Permits>> = Shelf::new(Kind::Sem);
}

/// Permits, which tasks acquire in the order of asking: nobody overtakes who waits. It belongs to no runtime.
///
/// A task for which there are enough permits is woken, and they are set aside for its next poll. If that poll does not
/// acquire them, or the task ends, they are for the next who waits.
///
/// 0 is never a semaphore. The handle is good until `rt_sem_free`.
///
/// Methods: `rt_poll_acquire`, `rt_sem_try_acquire`, `rt_sem_release`, `rt_sem_close`, `rt_sem_free`. Made by `rt_sem_new`.
///
/// Threads: any thread may call any method, also several at once.
#[allow(non_camel_case_types)]
pub type rt_sem = u64;

/// Makes a semaphore with so many permits.
///
/// Returns 0, and the semaphore in `*out`. On failure `*out` is 0: `-EINVAL` for NULL, or more than INT64_MAX permits;
/// `-ENOMEM`. Any thread. Does not block.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_sem_new(permits: u64, out: *mut rt_sem) -> i64 {
    // SAFETY: the caller says so.
    guarded(|| unsafe { put_on(&SEMAPHORES, out, || Hall::with_permits(permits)) })
}

/// Waits for `n` permits, and takes them all at once. They belong to nobody in particular: whoever is done with them gives
/// them back by `rt_sem_release`, in a drop function too.
///
/// Returns 0; `RT_PENDING`: not yet. A task that returns without having asked again keeps its place in the queue until its turn
/// has come and gone; asking for another number is a new place. A context of the program's own is woken when there are
/// permits, but nothing is set aside for it: whoever waits behind it is woken as well, and who asks first gets them.
///
/// `-EPIPE`: the semaphore was closed; `-EBADF`, also for who waits when it is freed; `-EINVAL` for 0 permits; `-EINVAL`, `-EPERM`
/// for the context. In a poll, or with a context of the program's own. Does not block.
///
/// # Safety
/// `cx` is the context of this poll.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_acquire(cx: *mut rt_cx, sem: rt_sem, n: u64) -> i64 {
    polled(|| {
        // SAFETY: the caller says so.
        let cx = check!(unsafe { context(cx) });
        let semaphore = check!(SEMAPHORES.enter(sem).ok_or(libc::EBADF));
        check!(some(n));
        check!(ready!(semaphore.poll_acquire(&Visitor::of(cx, &cx.waker()), n)));
        Poll::Ready(Ok(0))
    })
}

fn some(n: u64) -> Result<(), i32> {
    if n == 0 { Err(libc::EINVAL) } else { Ok(()) }
}

/// Takes `n` permits if they are free and nobody waits.
///
/// Returns 0; `-EAGAIN`; `-EPIPE`: the semaphore was closed; `-EINVAL` for 0 permits; `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_sem_try_acquire(sem: rt_sem, n: u64) -> i64 {
    guarded(|| {
        let semaphore = SEMAPHORES.enter(sem).ok_or(libc::EBADF)?;
        some(n)?;
        semaphore.try_acquire(n)?;
        Ok(0)
    })
}

/// Gives `n` permits, be they acquired before or new ones. Wakes those whose turn it is.
///
/// Returns 0. On failure nothing is given: `-EOVERFLOW` for more than INT64_MAX permits; `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_sem_release(sem: rt_sem, n: u64) -> i64 {
    guarded(|| {
        SEMAPHORES.enter(sem).ok_or(libc::EBADF)?.release(n)?;
        Ok(0)
    })
}

/// Closes a semaphore: who acquires, or waits to, sees `-EPIPE`. Permits can still be released.
///
/// Returns 0, also the second time; `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_sem_close(sem: rt_sem) -> i64 {
    guarded(|| {
        SEMAPHORES.enter(sem).ok_or(libc::EBADF)?.end(libc::EPIPE);
        Ok(0)
    })
}

/// Frees a semaphore. Who waits is woken, to see `-EBADF`.
///
/// Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_sem_free(sem: rt_sem) -> i64 {
    guarded(|| {
        if let Some(semaphore) = take_off(&SEMAPHORES, sem)? {
            semaphore.end(libc::EBADF);
        }
        Ok(0)
    })
}
