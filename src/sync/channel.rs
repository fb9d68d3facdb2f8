//! Channels: a bounded queue of items, with any number of senders and receivers.

use super::{Body, Calling, Hall, Turnstile, Visitor};
use crate::runtime::Errno;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;

/// What a channel is made of.
pub(crate) struct Items<T> {
    items: VecDeque<T>,
    capacity: usize,
    /// What sending says once the channel was closed, and receiving once it is empty.
    ended: Option<Errno>,
    senders: Turnstile,
    receivers: Turnstile,
}

impl<T: Send + 'static> Body for Items<T> {
    fn settle(&mut self, calling: &mut Calling<'_>) {
        self.senders.call(self.room(), calling);
        self.receivers.call(self.stock(), calling);
        if self.ended.is_some() {
            self.senders.dismiss(calling);
            if self.items.is_empty() {
                self.receivers.dismiss(calling);
            }
        }
    }

    fn gates(&mut self) -> [Option<&mut Turnstile>; 2] {
        [Some(&mut self.senders), Some(&mut self.receivers)]
    }
}

impl<T> Items<T> {
    fn senders(&mut self) -> &mut Turnstile {
        &mut self.senders
    }

    fn receivers(&mut self) -> &mut Turnstile {
        &mut self.receivers
    }

    fn stock(&self) -> u64 {
        self.items.len() as u64
    }

    fn room(&self) -> u64 {
        (self.capacity - self.items.len()) as u64
    }

    /// Takes the item, if there is room for it.
    fn send(&mut self, key: usize, item: &mut Option<T>, calling: &mut Calling<'_>) -> Poll<Result<(), Errno>> {
        if let Some(errno) = self.ended {
            return Poll::Ready(Err(errno));
        }
        if self.senders.pass(key, 1, self.room(), calling).is_none() {
            return Poll::Pending;
        }
        self.items.extend(item.take());
        Poll::Ready(Ok(()))
    }

    fn receive(&mut self, key: usize, calling: &mut Calling<'_>) -> Poll<Result<T, Errno>> {
        match (self.items.is_empty(), self.ended) {
            (true, Some(errno)) => return Poll::Ready(Err(errno)),
            _ if self.receivers.pass(key, 1, self.stock(), calling).is_none() => return Poll::Pending,
            _ => {}
        }
        match self.items.pop_front() {
            Some(item) => Poll::Ready(Ok(item)),
            None => Poll::Pending,
        }
    }
}

impl<T: Send + 'static> Hall<Items<T>> {
    /// `EINVAL`: no capacity.
    pub(crate) fn with_capacity(capacity: usize) -> Result<Arc<Self>, Errno> {
        if capacity == 0 {
            return Err(libc::EINVAL);
        }
        let (senders, receivers) = (Turnstile::default(), Turnstile::default());
        Ok(Self::new(Items { items: VecDeque::new(), capacity, ended: None, senders, receivers }))
    }

    /// The item is taken on success.
    pub(crate) fn poll_send(self: &Arc<Self>, visitor: &Visitor<'_>, item: &mut Option<T>) -> Poll<Result<(), Errno>> {
        self.poll(visitor, Items::senders, 1, |items, calling| items.send(visitor.key, item, calling))
    }

    pub(crate) fn poll_receive(self: &Arc<Self>, visitor: &Visitor<'_>) -> Poll<Result<T, Errno>> {
        self.poll(visitor, Items::receivers, 1, |items, calling| items.receive(visitor.key, calling))
    }

    /// The item is taken on success.
    pub(crate) fn try_send(self: &Arc<Self>, item: &mut Option<T>) -> Result<(), Errno> {
        self.with(|items, _| match items.ended {
            Some(errno) => Err(errno),
            None if !items.senders.is_open(1, items.room()) => Err(libc::EAGAIN),
            None => {
                items.items.extend(item.take());
                Ok(())
            }
        })
    }

    pub(crate) fn try_receive(self: &Arc<Self>) -> Result<T, Errno> {
        self.with(|items, _| {
            let none = if items.items.is_empty() { items.ended } else { None };
            match items.receivers.is_open(1, items.stock()) {
                true => items.items.pop_front(),
                false => None,
            }
            .ok_or(none.unwrap_or(libc::EAGAIN))
        })
    }

    /// The item is taken on success.
    pub(crate) fn block_send(self: &Arc<Self>, item: &mut Option<T>, timeout: u64) -> Result<(), Errno> {
        self.block(Items::senders, timeout, |key, items, calling| items.send(key, item, calling))?
    }

    pub(crate) fn block_receive(self: &Arc<Self>, timeout: u64) -> Result<T, Errno> {
        self.block(Items::receivers, timeout, |key, items, calling| items.receive(key, calling))?
    }

    pub(crate) fn len(self: &Arc<Self>) -> usize {
        self.with(|items, _| items.items.len())
    }

    /// Nothing can be sent any more; what is there can be received.
    pub(crate) fn close(self: &Arc<Self>) {
        self.with(|items, _| {
            items.ended.get_or_insert(libc::EPIPE);
        });
    }

    /// Nothing can be sent or received any more. Returns what was not received.
    pub(crate) fn end(self: &Arc<Self>, errno: Errno) -> VecDeque<T> {
        self.with(|items, _| {
            items.ended = Some(errno);
            std::mem::take(&mut items.items)
        })
    }
}

/// A bounded queue of items between any tasks and threads. Items come out in the order in which they went in.
pub struct Channel<T>(Arc<Hall<Items<T>>>);

impl<T> Clone for Channel<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> std::fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Channel<T> {
    /// A channel for at most so many items. `EINVAL`: 0.
    pub fn new(capacity: usize) -> Result<Self, Errno> {
        Hall::with_capacity(capacity).map(Self)
    }

    /// Sends an item, when there is room. It comes back with `EPIPE` if the channel was closed. Dropping the future drops
    /// the item, unless it was sent.
    pub async fn send(&self, item: T) -> Result<(), (T, Errno)> {
        let mut item = Some(item);
        let sent = self.0.wait(Items::senders, 1, |key, items, calling| items.send(key, &mut item, calling)).await;
        back(sent, item)
    }

    /// Sends an item if there is room and nobody waits for it. `EAGAIN`, `EPIPE`.
    pub fn try_send(&self, item: T) -> Result<(), (T, Errno)> {
        let mut item = Some(item);
        let sent = self.0.try_send(&mut item);
        back(sent, item)
    }

    /// Takes the first item, when there is one. `EPIPE`: the channel was closed, and is empty.
    pub async fn receive(&self) -> Result<T, Errno> {
        self.0.wait(Items::receivers, 1, |key, items, calling| items.receive(key, calling)).await
    }

    /// Takes the first item if there is one and nobody waits for it. `EAGAIN`, `EPIPE`.
    pub fn try_receive(&self) -> Result<T, Errno> {
        self.0.try_receive()
    }

    /// Nothing can be sent any more; what is there can be received.
    pub fn close(&self) {
        self.0.close();
    }
}

/// An item that was not sent is its sender's.
fn back<T>(sent: Result<(), Errno>, item: Option<T>) -> Result<(), (T, Errno)> {
    match (sent, item) {
        (Err(errno), Some(item)) => Err((item, errno)),
        _ => Ok(()),
    }
}
