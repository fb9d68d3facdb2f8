//! Readiness of descriptors: what is ready, who waits for it, and how an event becomes wakes.

mod future;
mod ready;
mod scheduled_io;
mod waiters;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

pub(crate) use future::Readiness;
pub use ready::{Interest, Ready, ReadyEvent};
pub(crate) use scheduled_io::{IOS, LAST_GENERATION, Polled, ScheduledIo, Waiting};
