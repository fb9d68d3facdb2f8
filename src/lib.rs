//! A Linux server runtime behind a C ABI: tasks, wakers and readiness.
//!
//! C programs include `asyncio.h` and link `libasyncio.so`. The same runtime can be used from Rust: see [`Runtime`],
//! [`JoinHandle`] and [`Io`]. `docs/ARCHITECTURE.md` says how the parts fit.
//!
//! Dependencies between the modules go one way only:
//! `primitives <- { task, readiness } <- driver <- runtime <- stream <- capi`.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("libasyncio runs on 64-bit Linux only: it is built on epoll, eventfd and 64-bit words");

mod capi;
mod driver;
mod primitives;
mod readiness;
mod runtime;
mod stream;
mod task;

pub use primitives::{AtomicWaker, Wake, WakerRef, waker, waker_ref};
pub use readiness::{Interest, Ready, ReadyEvent};
pub use runtime::{Config, Engine, Error, Flavour, Hook, Hooks, Io, Runtime};
pub use stream::{Stream, StreamOptions};
pub use task::{JoinError, JoinHandle};
