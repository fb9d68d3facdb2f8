//! Ticks at equal distances.

use crate::runtime::{Missed, Start, TimerName, start_timer_here};
use std::future::poll_fn;
use std::task::Poll;

/// Ticks at equal distances. To be used by tasks of a runtime.
#[derive(Debug)]
pub struct Interval {
    start: Start,
    /// Started by the first tick that is waited for.
    timer: Option<TimerName>,
}

impl Interval {
    /// The first tick comes at `first`, a time of `now`; the others follow, `period` nanoseconds, at least one, apart.
    pub fn new(first: u64, period: u64, missed: Missed) -> Self {
        Self { start: Start { at: first, period: period.max(1), missed }, timer: None }
    }

    /// Waits for the next tick. Returns how many were taken.
    ///
    /// # Panics
    /// Where no runtime's worker runs, or memory is out.
    pub async fn tick(&mut self) -> u64 {
        let start = self.start;
        let timer = *self.timer.get_or_insert_with(|| {
            start_timer_here(start).expect("polled by a task of a runtime, with memory for a timer")
        });
        poll_fn(|context| match timer.poll_with(context.waker().data().addr(), context.waker()) {
            Poll::Ready(ticks) => Poll::Ready(ticks.unwrap_or(1)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

impl Drop for Interval {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            let _ = timer.cancel();
        }
    }
}
