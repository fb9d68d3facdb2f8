//! A Linux server runtime behind a C ABI: tasks, wakers and readiness.
//!
//! C programs include `asyncio.h` and link `libasyncio.so`. The same runtime can be used from Rust: see [`Runtime`],
//! [`JoinHandle`] and [`Io`]. `docs/ARCHITECTURE.md` says how the parts fit.
//!
//! Dependencies between the modules go one way only:
//! `primitives <- { task, readiness } <- driver <- runtime <- { time, sync, signal, process, net, stream, serve } <- capi`.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("libasyncio runs on 64-bit Linux only: it is built on epoll, eventfd and 64-bit words");

mod capi;
mod driver;
mod net;
mod primitives;
mod process;
mod readiness;
mod runtime;
mod serve;
mod signal;
mod stream;
mod sync;
mod task;
mod time;

pub use net::owned::{tcp_connect, tcp_listen, udp_bind, unix_connect, unix_listen, unix_pair};
pub use net::resolve::{Lookup, lookup};
pub use net::{tcp::Options as TcpOptions, udp::Options as UdpOptions, unix::Options as UnixOptions};
pub use primitives::{AtomicWaker, Wake, WakerRef, waker, waker_ref};
pub use process::{Exit, Process};
pub use readiness::{Interest, Ready, ReadyEvent};
pub use runtime::{Config, Engine, Error, Flavour, Hook, Hooks, Io, Missed, Runtime};
pub use serve::owned::{Server, serve};
pub use serve::{Mode as ServeMode, Options as ServeOptions, Stats as ServerStats};
pub use signal::Signal;
pub use stream::{Stream, StreamOptions};
pub use sync::event::Event;
pub use sync::{Channel, Notify, Oneshot, Semaphore};
pub use task::{JoinError, JoinHandle};
pub use time::{Elapsed, Interval, Sleep, now, timeout_at};
