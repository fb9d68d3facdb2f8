//! A Linux server runtime behind a C ABI: tasks, wakers and readiness.
//!
//! C programs include `asyncio.h` and link `libasyncio.so`. The same runtime can be used from Rust:
//!
//! ```
//! use asyncio::{Config, Io, Runtime, ServeOptions, TcpOptions, now, serve, tcp_listen};
//! # use std::io::{Read, Write};
//!
//! async fn echo(io: Io) -> std::io::Result<()> {
//!     let mut buffer = [0; 4096];
//!     loop {
//!         match io.read(&mut buffer).await? {
//!             0 => return Ok(()),
//!             n => io.write_all(&buffer[..n]).await?,
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::new(Config::default())?;
//! let listener = tcp_listen(&runtime, Some("127.0.0.1"), 0, &TcpOptions::default())?;
//! let address = listener.local_addr()?;
//! let server = serve(&runtime, listener, &ServeOptions::default(), echo)?;
//! # let mut client = std::net::TcpStream::connect(address)?;
//! # client.write_all(b"hello")?;
//! # client.read_exact(&mut [0; 5])?;
//! # drop(client);
//!
//! // Whoever is connected has a second to finish.
//! let cut = runtime.block_on(async move { server.drain(now() + 1_000_000_000).await })???;
//! # assert_eq!(cut, 0);
//! # Ok(())
//! # }
//! ```
//!
//! - **Tasks**: [`Runtime::spawn`] runs a future, [`Runtime::spawn_blocking`] a function that may block; [`JoinHandle`] yields
//!   what either comes to, or aborts it.
//! - **Descriptors**: [`Io`] waits for readiness, and reads, writes and accepts; [`Stream`] reads lines and whole messages, and
//!   sends small writes together.
//! - **Sockets**: [`tcp_listen`], [`tcp_connect`], [`unix_listen`], [`unix_connect`], [`unix_pair`] and [`udp_bind`] make them;
//!   [`lookup`] asks for the addresses of a host.
//! - **Servers**: [`serve`] makes connections into tasks, within limits, and [`Server::drain`] brings that to an end.
//! - **Time**: [`Sleep`], [`timeout_at`] and [`Interval`], in nanoseconds of [`now`].
//! - **Signals and children**: [`Signal`] hears signals, and [`Process`] waits for a child.
//! - **Libraries with callbacks**: a [`Watch`] calls a function when a descriptor is ready, or at a time.
//! - **What tasks and threads share**: [`Event`], [`Notify`], [`Semaphore`], [`Channel`] and [`Oneshot`].
//!
//! `docs/ARCHITECTURE.md` says how the parts fit.
//!
//! Dependencies between the modules go one way only:
//! `primitives <- { task, readiness } <- driver <- runtime <- { time, sync, signal, process, net, stream, serve, watch } <- capi`.

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
#[cfg(all(sim, test))]
mod sim;
mod stream;
mod sync;
mod task;
mod time;
mod watch;

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
pub use watch::Watch;
