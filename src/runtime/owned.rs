//! The runtime and its descriptors for use in Rust, where a handle has an owner.

use super::blocking::join_thread;
use super::config::Config;
use super::context::PollContext;
use super::create::create;
use super::io::{Errno, IoFlags, IoName, IoPoll};
use super::operation::Closure;
use super::runtimes::{Error, RuntimeRef, free};
use super::shared::NEVER;
use crate::readiness::{Interest, ReadyEvent};
use crate::task::{JoinError, JoinHandle, TaskName};
use std::future::{Future, poll_fn};
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::task::Poll;
use std::time::Duration;

/// A runtime, for use in Rust. Dropping it shuts it down and waits for its tasks to be dropped.
#[derive(Debug)]
pub struct Runtime(pub(super) u64);

impl Runtime {
    /// Makes a runtime.
    pub fn new(config: Config) -> Result<Self, Error> {
        create(config).map(Self)
    }

    pub(crate) fn enter(&self) -> Result<RuntimeRef, Error> {
        RuntimeRef::enter(self.0).map_err(Error::from)
    }

    /// Spawns a future as a task.
    pub fn spawn<F>(&self, future: F) -> Result<JoinHandle<F::Output>, Error>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let mut handle = None;
        self.enter()?
            .spawn(future, None, true, |name| handle = Some(JoinHandle::new(name)))
            .map_err(|(error, _future)| Error::from(error.errno()))?;
        Ok(handle.expect("named before it returned"))
    }

    /// Runs a function that may block on a thread for that. An abort takes back what no thread has begun; a function that runs
    /// goes on, and its result wins. A current-thread runtime begins it when it is driven.
    ///
    /// The output is an error where the function did not run: `ECANCELED`, or what kept threads from being made.
    pub fn spawn_blocking<F, T>(&self, run: F) -> Result<JoinHandle<Result<T, Error>>, Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let mut handle = None;
        let named = |name: TaskName| {
            name.shield();
            handle = Some(JoinHandle::new(name));
        };
        self.enter()?
            .spawn(Closure::new(run), None, true, named)
            .map_err(|(error, _closure)| Error::from(error.errno()))?;
        Ok(handle.expect("named before it returned"))
    }

    /// Runs a future to its end, as a task, while this thread waits or drives.
    pub fn block_on<F>(&self, future: F) -> Result<Result<F::Output, JoinError>, Error>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let runtime = self.enter()?;
        runtime.may_block()?;
        let mut name = None;
        let home = Some(runtime.pick_home());
        runtime
            .spawn(future, home, true, |made| name = Some(made.exclusively()))
            .map_err(|(error, _future)| Error::from(error.errno()))?;
        let name = name.expect("named before it returned");
        Ok(join_thread::<F::Output>(&runtime, name, NEVER)?)
    }

    /// Registers a descriptor, which is closed with the result.
    pub fn register(&self, fd: OwnedFd, interest: Interest) -> Result<Io, Error> {
        let runtime = self.enter()?;
        let flags = IoFlags { interest: Some(interest), set_nonblock: true, borrowed: false };
        let name = runtime.shared().register(fd.as_raw_fd(), flags)?;
        let _ = fd.into_raw_fd();
        Ok(Io::new(name))
    }

    /// Aborts every task and waits for them to be dropped. Returns how many were given up at the deadline.
    pub fn shutdown(&self, timeout: Option<Duration>) -> Result<u64, Error> {
        let timeout = timeout.map_or(NEVER, |timeout| u64::try_from(timeout.as_nanos()).unwrap_or(NEVER));
        Ok(self.enter()?.shutdown(timeout)?)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // Inside of one of its own tasks it cannot be freed; it then lives on, which is better than a deadlock.
        let _ = free(self.0);
    }
}

/// Polls in the context of the task that awaits this.
pub(crate) async fn in_task<T>(mut poll: impl FnMut(&PollContext) -> IoPoll<T>) -> std::io::Result<T> {
    let polled = poll_fn(|context| PollContext::within(context, &mut poll).unwrap_or(Poll::Ready(Err(libc::EPERM))));
    polled.await.map_err(std::io::Error::from_raw_os_error)
}

/// What a task of the library's own comes to that makes a descriptor. One that nobody takes is closed.
pub(crate) type Made = Result<Io, Errno>;

/// A registered descriptor, for use in Rust. Dropping it closes the descriptor.
///
/// Its futures that move bytes are for tasks of a runtime, and are polled by the task itself: with another waker than the
/// task's they fail. [`Stream`](crate::Stream) has buffers for both directions.
#[derive(Debug)]
pub struct Io(u64);

impl Io {
    pub(crate) fn new(name: IoName) -> Self {
        Self(name.raw())
    }

    /// Registers a descriptor that the caller owns, and closes after this is closed.
    pub(crate) fn borrowing(runtime: &RuntimeRef, fd: RawFd, interest: Interest) -> Result<Self, Errno> {
        let flags = IoFlags { interest: Some(interest), set_nonblock: false, borrowed: true };
        runtime.shared().register(fd, flags).map(Self::new)
    }

    /// The registration, alive or not.
    pub(crate) fn name(&self) -> Result<IoName, Errno> {
        IoName::parse(self.0).ok_or(libc::EBADF)
    }

    /// The handle.
    pub(crate) fn raw(&self) -> u64 {
        self.0
    }

    /// The handle, and the duty to close it.
    pub(crate) fn into_raw(self) -> u64 {
        std::mem::ManuallyDrop::new(self).0
    }

    /// Calls `f` with the descriptor.
    pub(crate) fn with_fd<R>(&self, f: impl FnOnce(BorrowedFd<'_>) -> R) -> Result<R, Errno> {
        self.name()?.with_fd(f)
    }

    /// Ends the registration before this is dropped: who waits is woken.
    pub(crate) fn close(&self) {
        let _ = self.name().map(IoName::close);
    }

    /// Waits until the interest is satisfied.
    pub async fn ready(&self, interest: Interest) -> std::io::Result<ReadyEvent> {
        let name = IoName::parse(self.0).ok_or(std::io::ErrorKind::NotFound)?;
        name.watch(interest).map_err(std::io::Error::from_raw_os_error)?;
        let gone = |_| std::io::Error::from_raw_os_error(libc::ESHUTDOWN);
        crate::readiness::Readiness::new(name.io, name.generation, interest).await.map_err(gone)
    }

    /// Reads some bytes, at least one; 0 is the end.
    pub async fn read(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
        // SAFETY: the buffer is ours, and writable, until the call returns.
        in_task(|cx| unsafe { self.name()?.poll_read(cx, buffer.as_mut_ptr(), buffer.len()) }).await
    }

    /// Writes some of the bytes, and returns how many.
    pub async fn write(&self, data: &[u8]) -> std::io::Result<usize> {
        // SAFETY: the bytes are there until the call returns.
        in_task(|cx| unsafe { self.name()?.poll_write(cx, data.as_ptr(), data.len()) }).await
    }

    /// Writes all bytes. If the future is dropped before its end some of them were written.
    pub async fn write_all(&self, mut data: &[u8]) -> std::io::Result<()> {
        while !data.is_empty() {
            data = &data[self.write(data).await?..];
        }
        Ok(())
    }

    /// Accepts a connection of a listener. [`serve`](crate::serve()) does more than that.
    pub async fn accept(&self) -> std::io::Result<Io> {
        in_task(|cx| {
            let name = self.name()?;
            let runtime = RuntimeRef::enter(name.owner()?)?;
            name.poll_accept(cx, runtime.shared()).map_ok(Self::new)
        })
        .await
    }

    /// Takes readiness back that was seen, because a call said that there is none.
    pub fn clear(&self, seen: ReadyEvent) {
        if let Some(name) = IoName::parse(self.0) {
            name.drained(seen);
            // An error that lasts would be seen at once by who waits again.
            let _ = name.clear_ready(seen);
        }
    }

    /// The descriptor, and the duty to close it.
    pub fn into_fd(self) -> std::io::Result<std::os::fd::OwnedFd> {
        let name = IoName::parse(self.into_raw()).ok_or(std::io::ErrorKind::NotFound)?;
        let fd = name.fd();
        name.deregister().map_err(std::io::Error::from_raw_os_error)?;
        // SAFETY: the registration gave the descriptor back, and it had been given to us.
        Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) })
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        self.close();
    }
}
