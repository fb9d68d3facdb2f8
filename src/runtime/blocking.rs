//! Waiting for a task on a thread.

use super::context::Current;
use super::io::Errno;
use super::runtimes::RuntimeRef;
use super::shared::{NEVER, now, until};
use crate::primitives::Wake;
use crate::task::{JoinError, TaskName};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

/// Wakes a thread.
#[derive(Default)]
struct ThreadWaker {
    woken: Mutex<bool>,
    bell: Condvar,
}

impl Wake for ThreadWaker {
    fn wake_by_ref(this: &Arc<Self>) {
        *this.woken.lock() = true;
        this.bell.notify_one();
    }
}

impl ThreadWaker {
    /// False: the deadline came first.
    fn wait(&self, deadline: u64) -> bool {
        let mut woken = self.woken.lock();
        while !*woken {
            match until(deadline).and_then(|left| Instant::now().checked_add(left)) {
                None => self.bell.wait(&mut woken),
                Some(end) => {
                    if self.bell.wait_until(&mut woken, end).timed_out() {
                        break;
                    }
                }
            }
        }
        std::mem::take(&mut *woken)
    }
}

/// Waits for a task's end: drives the runtime if that is this thread's, else sleeps. `ETIME`: it still runs, and the join
/// is still open. `EBADF`: there is nothing to join.
pub(crate) fn join_thread<T: 'static>(
    runtime: &RuntimeRef,
    name: TaskName,
    timeout: u64,
) -> Result<Result<T, JoinError>, Errno> {
    let deadline = if timeout == NEVER { NEVER } else { now().saturating_add(timeout) };
    if Current::is_inside(runtime.shared()) {
        return Err(libc::EDEADLK);
    }
    if runtime.drives_here() {
        runtime.drive(deadline, &|| name.is_over())?;
    }
    let thread = Arc::new(ThreadWaker::default());
    let waker = crate::primitives::waker(thread.clone());
    let key = Arc::as_ptr(&thread).addr();
    loop {
        match name.poll_join::<T>(key, &waker) {
            None => return Err(libc::EBADF),
            Some(Poll::Ready(output)) => return Ok(output),
            Some(Poll::Pending) if now() >= deadline => break,
            Some(Poll::Pending) => thread.wait(deadline),
        };
    }
    name.forget_joiner(key);
    Err(libc::ETIME)
}
