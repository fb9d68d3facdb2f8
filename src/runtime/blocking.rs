//! Waiting on a thread.

use super::context::{Current, is_inside_any};
use super::io::Errno;
use super::runtimes::RuntimeRef;
use super::shared::{NEVER, Shared, instant_of, now};
use crate::primitives::Wake;
use crate::primitives::sync::{self, AtomicBool, Condvar, Mutex, Ordering::*, nature};
use crate::task::{JoinError, TaskName};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Wakes a thread.
#[derive(Default)]
struct ThreadWaker {
    /// Set under the lock; a thread that drives looks at it without.
    woken: AtomicBool,
    lock: Mutex<()>,
    bell: Condvar,
    /// The runtime that the thread drives meanwhile, in whose driver it may sleep.
    drives: Option<sync::Arc<Shared>>,
}

impl Wake for ThreadWaker {
    fn wake_by_ref(this: &Arc<Self>) {
        let held = this.lock.lock();
        this.woken.store(true, Release);
        drop(held);
        this.bell.notify_one();
        if let Some(shared) = &this.drives {
            shared.remote(0).nudge();
        }
    }
}

impl ThreadWaker {
    /// Sleeps until woken, or until the deadline.
    fn wait(&self, deadline: u64) {
        let mut held = self.lock.lock();
        while !self.woken.load(Acquire) {
            match instant_of(deadline) {
                None => self.bell.wait(&mut held),
                Some(end) => {
                    if self.bell.wait_until(&mut held, end).timed_out() {
                        break;
                    }
                }
            }
        }
    }
}

/// Waits until nothing touches the state of a task any more that was given up: no worker, and no operation.
pub(crate) fn wait_until_returned(name: TaskName) {
    // Rare, and nobody is there to tell us.
    while name.is_running() || name.has_live_ops() {
        nature::sleep(Duration::from_millis(1));
    }
}

/// Waits for a task's end: drives the runtime if that is this thread's, else sleeps. `ETIME`: it still runs, and the join
/// is still open. `EBADF`: there is nothing to join.
pub(crate) fn join_thread<T: 'static>(
    runtime: &RuntimeRef,
    name: TaskName,
    timeout: u64,
) -> Result<Result<T, JoinError>, Errno> {
    let deadline = deadline_in(timeout);
    if Current::is_inside(runtime.shared()) {
        return Err(libc::EDEADLK);
    }
    let drives = runtime.drives_here();
    let thread =
        Arc::new(ThreadWaker { drives: drives.then(|| (*runtime.shared_arc()).clone()), ..ThreadWaker::default() });
    let waker = crate::primitives::waker(thread.clone());
    let key = Arc::as_ptr(&thread).addr();
    loop {
        match name.poll_join::<T>(key, &waker) {
            None => return Err(libc::EBADF),
            Some(Poll::Ready(output)) => return Ok(output),
            Some(Poll::Pending) if now() >= deadline => break,
            Some(Poll::Pending) if drives => runtime.drive(deadline, &|| thread.woken.load(Acquire))?,
            Some(Poll::Pending) => thread.wait(deadline),
        }
        thread.woken.store(false, Release);
    }
    name.forget_joiner(key);
    Err(libc::ETIME)
}

/// Polls until that is ready, and sleeps in between; `ETIME` after the timeout. The waiter is told apart by a key, by which
/// it leaves when it gives up.
pub(crate) fn block_thread<R>(
    timeout: u64,
    mut poll: impl FnMut(usize, &Waker) -> Poll<R>,
    leave: impl FnOnce(usize),
) -> Result<R, Errno> {
    if is_inside_any() {
        return Err(libc::EDEADLK);
    }
    let deadline = deadline_in(timeout);
    let thread = Arc::new(ThreadWaker::default());
    let waker = crate::primitives::waker(thread.clone());
    let key = Arc::as_ptr(&thread).addr();
    loop {
        match poll(key, &waker) {
            Poll::Ready(result) => return Ok(result),
            Poll::Pending if now() >= deadline => break,
            Poll::Pending => thread.wait(deadline),
        }
        thread.woken.store(false, Release);
    }
    leave(key);
    Err(libc::ETIME)
}

fn deadline_in(timeout: u64) -> u64 {
    if timeout == NEVER { NEVER } else { now().saturating_add(timeout) }
}
