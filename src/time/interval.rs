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
    /// Without memory for a timer it asks for that at every poll, and is polled again at once.
    ///
    /// # Panics
    /// Where no runtime's worker runs.
    pub async fn tick(&mut self) -> u64 {
        poll_fn(|context| {
            let timer = match self.timer.map_or_else(|| start_timer_here(self.start), Ok) {
                Err(libc::ENOMEM) => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                timer => timer.expect("polled by a task of a runtime"),
            };
            self.timer = Some(timer);
            let polled = timer.poll_with(context.waker().data().addr(), context.waker());
            polled.map(|ticks| ticks.unwrap_or(1))
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
