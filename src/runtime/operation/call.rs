//! A function of the program's that may block, as a task.
//!
//! The task is shielded: who aborts it asks it to end, and it asks its operation. One that no thread has begun is taken
//! back; one that runs goes on, and what it returns is the task's result. So the argument is in use until the task ends, and
//! not after.

use super::super::context::PollContext;
use super::super::io::Errno;
use super::super::runtimes::Error;
use super::request::Function;
use super::{OpName, Request, submit};
use std::ffi::c_void;
use std::future::Future;
use std::marker::PhantomData;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread;

/// The future of a shielded task. Its output is what the function returned, or the error for which it was not called.
#[derive(Debug)]
pub(crate) struct Call {
    run: Function,
    arg: *mut c_void,
    /// The operation, once it was submitted.
    op: u64,
}

// SAFETY: whoever made it promised that the function may be called with the argument on any thread.
unsafe impl Send for Call {}

impl Call {
    /// # Safety
    /// `run(arg)` may be called on any thread, once, until the future is dropped: by a task that ended, so after the call.
    pub(crate) unsafe fn new(run: Function, arg: *mut c_void) -> Self {
        Self { run, arg, op: 0 }
    }

    pub(crate) fn arg(&self) -> *mut c_void {
        self.arg
    }

    fn poll_in(&mut self, cx: &PollContext) -> Poll<i64> {
        let is_cancelled = cx.header().is_some_and(|task| task.is_cancelled());
        if self.op == 0 {
            if is_cancelled {
                return Poll::Ready(-i64::from(libc::ECANCELED));
            }
            match submit(cx, Request::Call { run: self.run, arg: self.arg }, [None, None]) {
                Ok(op) => self.op = op,
                Err(errno) => return Poll::Ready(-i64::from(errno)),
            }
        }
        let Some(op) = OpName::parse(self.op) else { return Poll::Ready(-i64::from(libc::EBADF)) };
        if is_cancelled {
            let _ = op.cancel();
        }
        op.poll(cx).map(|outcome| outcome.unwrap_or_else(|errno| -i64::from(errno)))
    }
}

impl Future for Call {
    type Output = i64;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<i64> {
        // Without a worker, at the end of a runtime whose workers are stuck, it was not submitted, and will not be.
        PollContext::within(context, |cx| self.poll_in(cx)).unwrap_or(Poll::Ready(-i64::from(libc::ECANCELED)))
    }
}

/// The same for a closure: the future of a shielded task whose output is what the closure returned, or why it did not run.
pub(crate) struct Closure<F, T> {
    call: Call,
    /// The call's argument is a box of it.
    work: PhantomData<Work<F, T>>,
}

/// Where a closure is. The thread's that runs it, before and after that its future's.
enum Work<F, T> {
    Todo(F),
    Done(thread::Result<T>),
    Taken,
}

// SAFETY: both the closure and what it returns may move between threads, and the box is one's at a time.
unsafe impl<F: Send, T: Send> Send for Closure<F, T> {}

// Nothing in it is pinned.
impl<F, T> Unpin for Closure<F, T> {}

impl<F: FnOnce() -> T + Send + 'static, T: Send + 'static> Closure<F, T> {
    pub(crate) fn new(run: F) -> Self {
        let work = Box::into_raw(Box::new(Work::<F, T>::Todo(run)));
        // SAFETY: the box is the future's, and lives until that is dropped.
        Self { call: unsafe { Call::new(Self::run, work.cast()) }, work: PhantomData }
    }

    /// What it throws is its future's to throw again.
    unsafe extern "C" fn run(arg: *mut c_void) -> i64 {
        // SAFETY: the box lives until the call is over, and is this thread's meanwhile.
        let work = unsafe { &mut *arg.cast::<Work<F, T>>() };
        if let Work::Todo(run) = mem::replace(work, Work::Taken) {
            *work = Work::Done(catch_unwind(AssertUnwindSafe(run)));
        }
        0
    }
}

impl<F: FnOnce() -> T + Send + 'static, T: Send + 'static> Future for Closure<F, T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.call).poll(context));
        // SAFETY: the call is over, or will not be: the box is ours.
        let work = unsafe { &mut *self.call.arg.cast::<Work<F, T>>() };
        Poll::Ready(match mem::replace(work, Work::Taken) {
            Work::Done(Ok(value)) => Ok(value),
            Work::Done(Err(panic)) => resume_unwind(panic),
            Work::Todo(_) | Work::Taken => Err(Error::from(-outcome as Errno)),
        })
    }
}

impl<F, T> Drop for Closure<F, T> {
    fn drop(&mut self) {
        // SAFETY: `new` made the box; a future is dropped once, and by a task after the call.
        drop(unsafe { Box::from_raw(self.call.arg.cast::<Work<F, T>>()) });
    }
}
