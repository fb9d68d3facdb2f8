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

    /// # Panics
    /// Where no runtime's worker runs, or memory is out.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let at = self.at;
        if self.timer.is_none() && at <= now() {
            return Poll::Ready(());
        }
        let timer = *self.timer.get_or_insert_with(|| {
            start_timer_here(Start::at(at)).expect("polled by a task of a runtime, with memory for a timer")
        });
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
