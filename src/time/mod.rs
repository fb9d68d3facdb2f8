//! Waiting for a time.

use crate::runtime::now;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// Completes at a time of the monotonic clock.
pub(crate) struct Sleep(u64);

impl Sleep {
    pub(crate) fn until(at: u64) -> Self {
        Self(at)
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if now() >= self.0 {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The deadline came first.
pub(crate) struct Elapsed;

/// The future's output, unless the deadline comes first.
pub(crate) async fn timeout_at<F: Future>(at: u64, future: F) -> Result<F::Output, Elapsed> {
    let (mut future, mut sleep) = (pin!(future), pin!(Sleep::until(at)));
    std::future::poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => sleep.as_mut().poll(context).map(|()| Err(Elapsed)),
    })
    .await
}
