//! Oneshots: one item, sent once and received once.

use super::{Body, Calling, Hall, Turnstile, Visitor};
use crate::runtime::Errno;
use std::sync::Arc;
use std::task::Poll;

/// What a oneshot is made of.
pub(crate) struct Outcome<T> {
    item: Option<T>,
    sent: bool,
    /// What sending and receiving say once there is nothing to come any more.
    ended: Option<Errno>,
    gate: Turnstile,
}

impl<T: Send + 'static> Body for Outcome<T> {
    fn settle(&mut self, calling: &mut Calling<'_>) {
        self.gate.call(self.stock(), calling);
        match self.ended {
            // Each keeps its place until it has heard.
            Some(libc::EPIPE) => self.gate.call_all(calling),
            Some(_) => self.gate.dismiss(calling),
            None => {}
        }
    }

    fn gates(&mut self) -> [Option<&mut Turnstile>; 2] {
        [Some(&mut self.gate), None]
    }
}

impl<T> Outcome<T> {
    fn gate(&mut self) -> &mut Turnstile {
        &mut self.gate
    }

    fn stock(&self) -> u64 {
        self.item.is_some().into()
    }

    fn receive(&mut self, key: usize, calling: &mut Calling<'_>) -> Poll<Result<T, Errno>> {
        if let Some(errno) = self.ended {
            self.gate.leave(key, calling);
            return Poll::Ready(Err(errno));
        }
        if self.gate.pass(key, 1, self.stock(), calling).is_none() {
            return Poll::Pending;
        }
        // Others who wait will get nothing.
        self.ended = Some(libc::EBADF);
        Poll::Ready(self.item.take().ok_or(libc::EBADF))
    }
}

impl<T: Send + 'static> Hall<Outcome<T>> {
    pub(crate) fn empty() -> Arc<Self> {
        Self::new(Outcome { item: None, sent: false, ended: None, gate: Turnstile::default() })
    }

    /// The item is taken on success. `EALREADY`: something was sent before.
    pub(crate) fn send(self: &Arc<Self>, item: &mut Option<T>) -> Result<(), Errno> {
        self.with(|outcome, _| match outcome.ended {
            Some(errno) => Err(errno),
            None if outcome.sent => Err(libc::EALREADY),
            None => {
                (outcome.sent, outcome.item) = (true, item.take());
                Ok(())
            }
        })
    }

    pub(crate) fn poll_receive(self: &Arc<Self>, visitor: &Visitor<'_>) -> Poll<Result<T, Errno>> {
        self.poll(visitor, Outcome::gate, 1, |outcome, calling| outcome.receive(visitor.key, calling))
    }

    pub(crate) fn block_receive(self: &Arc<Self>, timeout: u64) -> Result<T, Errno> {
        self.block(Outcome::gate, timeout, |key, outcome, calling| outcome.receive(key, calling))?
    }

    /// Nothing will be sent. `EALREADY`: something was.
    pub(crate) fn close(self: &Arc<Self>) -> Result<(), Errno> {
        self.with(|outcome, _| match outcome.sent {
            true => Err(libc::EALREADY),
            false => {
                outcome.ended.get_or_insert(libc::EPIPE);
                Ok(())
            }
        })
    }

    /// Nobody waits who has not heard how it ended.
    pub(crate) fn is_told(self: &Arc<Self>) -> bool {
        self.with(|outcome, _| outcome.gate.is_empty())
    }

    /// Nothing will be received. Returns what was sent. `EBADF`: it was received.
    pub(crate) fn end(self: &Arc<Self>, errno: Errno) -> Result<Option<T>, Errno> {
        self.with(|outcome, _| match outcome.ended.replace(errno) {
            Some(libc::EBADF) => Err(libc::EBADF),
            _ => Ok(outcome.item.take()),
        })
    }
}

/// One item, from one task or thread to another.
pub struct Oneshot<T>(Arc<Hall<Outcome<T>>>);

impl<T> Clone for Oneshot<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> std::fmt::Debug for Oneshot<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Oneshot").finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Default for Oneshot<T> {
    fn default() -> Self {
        Self(Hall::empty())
    }
}

impl<T: Send + 'static> Oneshot<T> {
    /// Sends the item. It comes back with `EALREADY` the second time, `EPIPE` once the sender gave up, `EBADF` once the item
    /// was received.
    pub fn send(&self, item: T) -> Result<(), (T, Errno)> {
        let mut item = Some(item);
        match (self.0.send(&mut item), item) {
            (Err(errno), Some(item)) => Err((item, errno)),
            _ => Ok(()),
        }
    }

    /// Waits for the item. `EPIPE`: there will be none; `EBADF`: it was received.
    pub async fn receive(&self) -> Result<T, Errno> {
        self.0.wait(Outcome::gate, 1, |key, outcome, calling| outcome.receive(key, calling)).await
    }

    /// The sender gives up. `EALREADY`: it has sent.
    pub fn close(&self) -> Result<(), Errno> {
        self.0.close()
    }
}
