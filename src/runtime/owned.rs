//! The runtime and its descriptors for use in Rust, where a handle has an owner.

use super::blocking::join_thread;
use super::config::Config;
use super::io::{IoFlags, IoName};
use super::runtimes::{Error, RuntimeRef, create, free};
use super::shared::NEVER;
use crate::readiness::{Interest, ReadyEvent};
use crate::task::{JoinError, JoinHandle};
use std::future::Future;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

/// A runtime, for use in Rust. Dropping it shuts it down and waits for its tasks to be dropped.
#[derive(Debug)]
pub struct Runtime(u64);

impl Runtime {
    /// Makes a runtime.
    pub fn new(config: Config) -> Result<Self, Error> {
        create(config).map(Self)
    }

    fn enter(&self) -> Result<RuntimeRef, Error> {
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

/// A registered descriptor, for use in Rust. Dropping it closes the descriptor.
#[derive(Debug)]
pub struct Io(u64);

impl Io {
    pub(super) fn new(name: IoName) -> Self {
        Self(name.raw())
    }

    pub(crate) fn name(&self) -> Option<IoName> {
        IoName::parse(self.0)
    }

    /// Waits until the interest is satisfied.
    pub async fn ready(&self, interest: Interest) -> std::io::Result<ReadyEvent> {
        let name = IoName::parse(self.0).ok_or(std::io::ErrorKind::NotFound)?;
        name.watch(interest).map_err(std::io::Error::from_raw_os_error)?;
        let gone = |_| std::io::Error::from_raw_os_error(libc::ESHUTDOWN);
        crate::readiness::Readiness::new(name.io, name.generation, interest).await.map_err(gone)
    }

    /// Takes readiness back that was seen, because a call said that there is none.
    pub fn clear(&self, seen: ReadyEvent) {
        if let Some(name) = IoName::parse(self.0) {
            name.drained(seen);
        }
    }

    /// The descriptor, and the duty to close it.
    pub fn into_fd(self) -> std::io::Result<std::os::fd::OwnedFd> {
        let name = IoName::parse(std::mem::ManuallyDrop::new(self).0).ok_or(std::io::ErrorKind::NotFound)?;
        let fd = name.fd();
        name.deregister().map_err(std::io::Error::from_raw_os_error)?;
        // SAFETY: the registration gave the descriptor back, and it had been given to us.
        Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) })
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if let Some(name) = IoName::parse(self.0) {
            let _ = name.close();
        }
    }
}
