//! Calls at certain times, for those without tasks of their own.

use super::{Sleep, now};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What is called. Dropped when it will not be called any more.
pub(crate) trait Callback: Send + Unpin + 'static {
    fn call(&mut self);
}

/// A task that calls at a time and, with a period, again and again, one call after the other. Calls that are missed are left
/// out: a program that was stopped for an hour would make all of that hour's in a row.
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
        let missed = now().saturating_sub(self.at) / self.period;
        let at = self.at.saturating_add((missed + 1).saturating_mul(self.period));
        self.at = at;
        self.sleep.reset(at);
        // Others run between two calls, however short the period is.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
