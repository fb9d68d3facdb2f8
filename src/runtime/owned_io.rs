//! Registered descriptors for use in Rust.

use super::io::IoName;
use crate::readiness::{Interest, ReadyEvent};

/// A registered descriptor, for use in Rust. Dropping it closes the descriptor.
#[derive(Debug)]
pub struct Io(u64);

impl Io {
    pub(super) fn new(name: IoName) -> Self {
        Self(name.raw())
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
