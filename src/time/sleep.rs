//! A future that is ready at a moment.

use crate::runtime::{Start, TimerName, now, start_timer_here};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Ready at a moment, and never before. To be polled by a task of a runtime. Dropping it takes its timer back.
#[derive(Debug)]
pub struct Sleep {
    at: u64,
    /// Started by the first poll.
    timer: Option<TimerName>,
}

impl Sleep {
    /// Until this time of `now`.
    pub fn until(at: u64) -> Self {
        Self { at, timer: None }
    }

    /// Sleeps until another time, be it over already or not.
    pub fn reset(&mut self, at: u64) {
        self.at = at;
        if let Some(timer) = self.timer
            && timer.reset(at).is_err()
        {
            self.timer = None;
        }
    }
}

impl Future for Sleep {
    type Output = ();

    /// Without memory for a timer it looks at the clock at every poll, and is polled again at once.
    ///
    /// # Panics
    /// Where no runtime's worker runs.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let at = self.at;
        if self.timer.is_none() && at <= now() {
            return Poll::Ready(());
        }
        let timer = match self.timer.map_or_else(|| start_timer_here(Start::at(at)), Ok) {
            Err(libc::ENOMEM) => {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            timer => timer.expect("polled by a task of a runtime"),
        };
        self.timer = Some(timer);
        // A timer that ended with its runtime is never waited for.
        timer.poll_with(context.waker().data().addr(), context.waker()).map(|_| ())
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            let _ = timer.cancel();
        }
    }
}
