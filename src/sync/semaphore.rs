//! Semaphores: permits, which are acquired in the order of asking.

use super::{Body, Calling, Hall, Turnstile, Visitor};
use crate::runtime::Errno;
use std::sync::Arc;
use std::task::Poll;

/// The most permits that a semaphore can have.
pub(crate) const MOST_PERMITS: u64 = i64::MAX as u64;

/// What a semaphore is made of.
pub(crate) struct Permits {
    free: u64,
    /// What acquiring says once the semaphore was closed.
    ended: Option<Errno>,
    gate: Turnstile,
}

impl Body for Permits {
    fn settle(&mut self, calling: &mut Calling<'_>) {
        self.gate.call(self.free, calling);
    }

    fn gates(&mut self) -> [Option<&mut Turnstile>; 2] {
        [Some(&mut self.gate), None]
    }
}

impl Permits {
    fn gate(&mut self) -> &mut Turnstile {
        &mut self.gate
    }

    fn acquire(&mut self, key: usize, n: u64, calling: &mut Calling<'_>) -> Poll<Result<(), Errno>> {
        if let Some(errno) = self.ended {
            return Poll::Ready(Err(errno));
        }
        match self.gate.pass(key, n, self.free, calling) {
            None => Poll::Pending,
            Some(taken) => {
                self.free -= taken;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl Hall<Permits> {
    /// `EINVAL`: too many.
    pub(crate) fn with_permits(free: u64) -> Result<Arc<Self>, Errno> {
        let most = free <= MOST_PERMITS;
        most.then(|| Self::new(Permits { free, ended: None, gate: Turnstile::default() })).ok_or(libc::EINVAL)
    }

    pub(crate) fn poll_acquire(self: &Arc<Self>, visitor: &Visitor<'_>, n: u64) -> Poll<Result<(), Errno>> {
        self.poll(visitor, Permits::gate, n, |permits, calling| permits.acquire(visitor.key, n, calling))
    }

    pub(crate) fn try_acquire(self: &Arc<Self>, n: u64) -> Result<(), Errno> {
        self.with(|permits, _| match permits.ended {
            Some(errno) => Err(errno),
            None if !permits.gate.is_open(n, permits.free) => Err(libc::EAGAIN),
            None => {
                permits.free -= n;
                Ok(())
            }
        })
    }

    pub(crate) fn release(self: &Arc<Self>, n: u64) -> Result<(), Errno> {
        self.with(|permits, _| {
            let sum = permits.free.checked_add(n).filter(|&sum| sum <= MOST_PERMITS);
            permits.free = sum.ok_or(libc::EOVERFLOW)?;
            Ok(())
        })
    }

    /// From now on acquiring fails, for those who wait too.
    pub(crate) fn end(self: &Arc<Self>, errno: Errno) {
        self.with(|permits, calling| {
            permits.ended = Some(errno);
            permits.gate.dismiss(calling);
        });
    }
}

/// Permits, for tasks and threads. Who asks for permits gets them in the order of asking; nobody overtakes who waits.
#[derive(Clone)]
pub struct Semaphore(Arc<Hall<Permits>>);

impl std::fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Semaphore").finish_non_exhaustive()
    }
}

impl Semaphore {
    /// A semaphore with so many permits. `EINVAL`: too many.
    pub fn new(permits: u64) -> Result<Self, Errno> {
        Hall::with_permits(permits).map(Self)
    }

    /// Takes `n` permits. `EPIPE`: it was closed. Dropping the future lets the next go on.
    pub async fn acquire(&self, n: u64) -> Result<(), Errno> {
        self.0.wait(Permits::gate, n, move |key, permits, calling| permits.acquire(key, n, calling)).await
    }

    /// Takes `n` permits if they are free and nobody waits. `EAGAIN`, `EPIPE`.
    pub fn try_acquire(&self, n: u64) -> Result<(), Errno> {
        self.0.try_acquire(n)
    }

    /// Gives `n` permits, be they acquired before or new ones. `EOVERFLOW`: too many.
    pub fn release(&self, n: u64) -> Result<(), Errno> {
        self.0.release(n)
    }

    /// Makes every acquire fail, also those that wait.
    pub fn close(&self) {
        self.0.end(libc::EPIPE);
    }
}
