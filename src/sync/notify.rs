//! Notifications: one is for whoever waits first, or is kept until somebody asks.

use super::{Body, Calling, Hall, Turnstile, Visitor};
use crate::runtime::Errno;
use std::sync::Arc;
use std::task::Poll;

/// What a notify is made of.
#[derive(Default)]
pub(crate) struct Bell {
    /// Notifications that were not taken: one for each who was called and did not come yet, and at most one more.
    kept: u64,
    ended: Option<Errno>,
    gate: Turnstile,
}

impl Body for Bell {
    fn settle(&mut self, calling: &mut Calling<'_>) {
        self.gate.call(self.kept, calling);
        self.kept = self.kept.min(self.gate.reserved() + self.gate.away() + 1);
    }

    fn gates(&mut self) -> [Option<&mut Turnstile>; 2] {
        [Some(&mut self.gate), None]
    }
}

impl Bell {
    fn gate(&mut self) -> &mut Turnstile {
        &mut self.gate
    }

    fn hear(&mut self, key: usize, calling: &mut Calling<'_>) -> Poll<Result<(), Errno>> {
        if let Some(errno) = self.ended {
            return Poll::Ready(Err(errno));
        }
        match self.gate.pass(key, 1, self.kept, calling) {
            None => Poll::Pending,
            Some(taken) => {
                self.kept -= taken;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl Hall<Bell> {
    pub(crate) fn silent() -> Arc<Self> {
        Self::new(Bell::default())
    }

    pub(crate) fn poll_notified(self: &Arc<Self>, visitor: &Visitor<'_>) -> Poll<Result<(), Errno>> {
        self.poll(visitor, Bell::gate, 1, |bell, calling| bell.hear(visitor.key, calling))
    }

    pub(crate) fn notify_one(self: &Arc<Self>) {
        self.with(|bell, _| bell.kept += 1);
    }

    pub(crate) fn notify_all(self: &Arc<Self>) {
        self.with(|bell, calling| bell.gate.call_all(calling));
    }

    /// From now on waiting fails, for those who wait too.
    pub(crate) fn end(self: &Arc<Self>, errno: Errno) {
        self.with(|bell, calling| {
            bell.ended = Some(errno);
            bell.gate.dismiss(calling);
        });
    }
}

/// Notifies tasks.
#[derive(Clone)]
pub struct Notify(Arc<Hall<Bell>>);

impl std::fmt::Debug for Notify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notify").finish_non_exhaustive()
    }
}

impl Default for Notify {
    fn default() -> Self {
        Self(Hall::silent())
    }
}

impl Notify {
    /// Waits for a notification. Dropping the future lets the next have it.
    pub async fn notified(&self) {
        // It never ends: that is for handles.
        let _ = self.0.wait(Bell::gate, 1, |key, bell, calling| bell.hear(key, calling)).await;
    }

    /// Notifies who waits first. With nobody waiting one notification is kept.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Notifies all who wait now. Nothing is kept.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}
