//! Measuring.

use std::time::Duration;

/// What a clock of the system says.
pub fn now(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the struct is writable.
    let read = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(read, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The time that a task takes for what it was told to measure.
pub struct Clock {
    clock: libc::clockid_t,
    since: Option<Duration>,
    took: Duration,
}

impl Clock {
    pub fn new(clock: libc::clockid_t) -> Self {
        Self { clock, since: None, took: Duration::ZERO }
    }

    /// Goes on, if it does not go.
    #[inline]
    pub fn start(&mut self) {
        if self.since.is_none() {
            self.since = Some(now(self.clock));
        }
    }

    pub fn stop(&mut self) {
        if let Some(since) = self.since.take() {
            self.took += now(self.clock) - since;
        }
    }

    pub fn took(mut self) -> Duration {
        self.stop();
        self.took
    }
}

/// The time of `rounds` of what comes in batches of `size`. `measure` is told how many batches to take.
pub fn batched(rounds: u64, size: u64, measure: impl FnOnce(u64) -> Duration) -> Duration {
    let batches = rounds.div_ceil(size);
    measure(batches).mul_f64(rounds as f64 / (batches * size) as f64)
}
