//! Calls at certain times, for those without tasks of their own.

use super::Sleep;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What is called. Dropped when it will not be called any more.
pub(crate) trait Callback: Send + Unpin + 'static {
    fn call(&mut self);
}

/// A task that calls at a time and, with a period, again and again: as often as it is due, one call after the other.
pub(crate) struct Call<C> {
    callback: C,
    at: u64,
    /// 0: once.
    period: u64,
    sleep: Sleep,
}

impl<C: Callback> Call<C> {
    pub(crate) fn new(callback: C, at: u64, period: u64) -> Self {
        Self { callback, at, period, sleep: Sleep::until(at) }
    }

    /// The callback, of a call that will not be made.
    pub(crate) fn into_callback(self) -> C {
        self.callback
    }
}

impl<C: Callback> Future for Call<C> {
    type Output = i64;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<i64> {
        ready!(Pin::new(&mut self.sleep).poll(context));
        self.callback.call();
        if self.period == 0 {
            return Poll::Ready(0);
        }
        self.at = self.at.saturating_add(self.period);
        let at = self.at;
        self.sleep.reset(at);
        // Others run between two calls, however late they are.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
