//! Workers, their queues, how they sleep and wake, and what a program makes and frees: the runtime.

mod blocking;
mod buffers;
mod config;
mod context;
mod drive;
mod fds;
mod idle;
mod injector;
mod io;
mod local;
mod operation;
mod owned;
mod park;
mod pool;
mod process;
mod queue;
mod registration;
mod runtimes;
mod shared;
mod shutdown;
mod transfer;
mod worker;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

pub(crate) use blocking::{join_thread, wait_until_returned};
pub(crate) use buffers::{Lease, claim as claim_lease, release as release_lease};
pub use config::{Config, Engine, Flavour, Hook, Hooks};
pub(crate) use context::{CxError, PollContext, UNLIMITED};
pub(crate) use io::{IoFlags, IoName, IoPoll};
pub(crate) use operation::{
    Address, BlobUse, CURRENT, Delivered, Goods, MOST_BYTES, OpName, Receiver, Request, SetUse, free_blob, free_set,
    new_blob, new_set, poll_quiesce, submit,
};
pub use owned::{Io, Runtime};
pub(crate) use process::is_forked;
pub use runtimes::Error;
pub(crate) use runtimes::{RuntimeRef, create, free};
pub(crate) use shared::{NEVER, now};
