//! Time: waiting until a moment, at most until a moment, and again and again. What is here is for futures; timers
//! themselves are the runtime's.

mod call;
mod interval;
mod sleep;
mod timeout;

#[cfg(all(test, not(loom)))]
mod tests;

pub(crate) use call::{Call, Callback};
pub use interval::Interval;
pub use sleep::Sleep;
pub use timeout::{Elapsed, timeout_at};

/// Nanoseconds of the monotonic clock, which all deadlines are measured by.
pub fn now() -> u64 {
    crate::runtime::now()
}
