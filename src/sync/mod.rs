//! What tasks and threads share: notifications, permits, items, one result. None of it belongs to a runtime.
//!
//! Each kind is a body under one lock, with a turnstile where somebody may have to wait. A use of it changes the body and
//! calls whoever may go on, under the lock; wakers are called, and dropped, after it.

mod channel;
pub(crate) mod event;
mod notify;
mod oneshot;
mod semaphore;
mod turnstile;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

use crate::primitives::sync::Mutex;
use crate::runtime::{Errno, block_thread};
use crate::task::Calls;
pub use channel::Channel;
pub(crate) use channel::Items;
pub(crate) use notify::Bell;
pub use notify::Notify;
pub use oneshot::Oneshot;
pub(crate) use oneshot::Outcome;
pub(crate) use semaphore::Permits;
pub use semaphore::Semaphore;
use std::future::Future;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
pub(crate) use turnstile::Visitor;
use turnstile::{After, Calling, Turnstile};

/// What an object is, beside its lock.
pub(crate) trait Body: Send + Sized + 'static {
    /// Calls whoever may go on. Done at the end of each use.
    fn settle(&mut self, calling: &mut Calling<'_>);

    /// Its turnstiles.
    fn gates(&mut self) -> [Option<&mut Turnstile>; 2];
}

/// An object.
pub(crate) struct Hall<B>(Mutex<Inside<B>>);

struct Inside<B> {
    body: B,
    /// How many calls there were.
    numbers: u64,
}

/// Which of a body's turnstiles.
type Gate<B> = fn(&mut B) -> &mut Turnstile;

/// How a try to go on ended.
enum Step<R> {
    Through(R),
    Waits,
    NeedsWaker,
    /// The task has taken enough in this poll.
    Tired,
}

impl<B: Body> Hall<B> {
    fn new(body: B) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inside { body, numbers: 0 })))
    }

    /// One use of the object.
    fn with<R>(self: &Arc<Self>, act: impl FnOnce(&mut B, &mut Calling<'_>) -> R) -> R {
        let mut after = After::new();
        let mut inside = self.0.lock();
        let Inside { body, numbers } = &mut *inside;
        let mut calling = Calling { host: &|| self.clone(), numbers, after: &mut after };
        let result = act(body, &mut calling);
        body.settle(&mut calling);
        drop(inside);
        after.finish();
        result
    }

    /// Tries to go on, or queues the visitor. The attempt passes the gate with that weight.
    fn poll<R>(
        self: &Arc<Self>,
        visitor: &Visitor<'_>,
        gate: Gate<B>,
        weight: u64,
        mut attempt: impl FnMut(&mut B, &mut Calling<'_>) -> Poll<R>,
    ) -> Poll<R> {
        // It is cloned, and dropped, without the lock.
        let mut waker = None;
        loop {
            let step = self.with(|body, calling| {
                // Who was called goes through whatever the budget says: after this poll the turn is somebody else's.
                if !visitor.has_budget() && !gate(body).is_called(visitor.key) {
                    return Step::Tired;
                }
                match attempt(body, calling) {
                    Poll::Ready(result) => Step::Through(result),
                    Poll::Pending if gate(body).wait(visitor, weight, &mut waker, calling) => Step::Waits,
                    Poll::Pending => Step::NeedsWaker,
                }
            });
            match step {
                Step::NeedsWaker => waker = Some(visitor.prepare()),
                Step::Waits => return Poll::Pending,
                Step::Tired => {
                    visitor.tire();
                    return Poll::Pending;
                }
                Step::Through(result) => {
                    visitor.spend();
                    return Poll::Ready(result);
                }
            }
        }
    }

    /// The same as a future. Dropping it gives the turn away.
    fn wait<R, F>(self: &Arc<Self>, gate: Gate<B>, weight: u64, attempt: F) -> Wait<'_, B, F>
    where
        F: FnMut(usize, &mut B, &mut Calling<'_>) -> Poll<R>,
    {
        Wait { hall: self, gate, weight, attempt, waits: false, _pinned: PhantomPinned }
    }

    /// The same on a thread, which sleeps. `ETIME`: it was not its turn in time.
    fn block<R>(
        self: &Arc<Self>,
        gate: Gate<B>,
        timeout: u64,
        mut attempt: impl FnMut(usize, &mut B, &mut Calling<'_>) -> Poll<R>,
    ) -> Result<R, Errno> {
        let poll = |key: usize, waker: &Waker| {
            self.poll(&Visitor::owner(key, waker), gate, 1, |body, calling| attempt(key, body, calling))
        };
        block_thread(timeout, poll, |key| self.with(|body, calling| gate(body).leave(key, calling)))
    }
}

impl<B: Body> Calls for Hall<B> {
    fn is_over(self: Arc<Self>, key: usize, number: u64) {
        self.with(|body, _| body.gates().into_iter().flatten().for_each(|gate| gate.give_up(key, number)));
    }

    fn is_gone(self: Arc<Self>, key: usize) {
        self.with(|body, calling| body.gates().into_iter().flatten().for_each(|gate| gate.leave(key, calling)));
    }
}

/// See `Hall::wait`. Told from others by its address.
struct Wait<'a, B: Body, F> {
    hall: &'a Arc<Hall<B>>,
    gate: Gate<B>,
    weight: u64,
    attempt: F,
    /// It may have a place in the queue.
    waits: bool,
    _pinned: PhantomPinned,
}

impl<B: Body, F> Wait<'_, B, F> {
    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl<B: Body, R, F> Future for Wait<'_, B, F>
where
    F: FnMut(usize, &mut B, &mut Calling<'_>) -> Poll<R>,
{
    type Output = R;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        let key = self.key();
        // SAFETY: nothing is moved out of it.
        let this = unsafe { self.get_unchecked_mut() };
        let visitor = Visitor::owner(key, context.waker());
        let attempt = &mut this.attempt;
        let polled = this.hall.poll(&visitor, this.gate, this.weight, |body, calling| attempt(key, body, calling));
        this.waits = polled.is_pending();
        polled
    }
}

impl<B: Body, F> Drop for Wait<'_, B, F> {
    fn drop(&mut self) {
        if self.waits {
            let key = self.key();
            self.hall.with(|body, calling| (self.gate)(body).leave(key, calling));
        }
    }
}
