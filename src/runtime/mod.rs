//! Workers, their queues, how they sleep and wake, and what a program makes and frees: the runtime.

mod accepting;
mod blocking;
mod buffers;
mod census;
mod config;
mod connect;
mod context;
mod create;
mod drive;
mod fds;
mod idle;
mod injector;
mod io;
mod letting_go;
mod lifo;
mod linger;
mod listening;
mod live;
mod local;
mod operation;
mod owned;
mod park;
mod passed;
mod polled;
mod pool;
mod queue;
mod registration;
mod runtimes;
mod shared;
mod shutdown;
mod sigpipe;
mod threads;
mod timer;
mod transfer;
mod watching;
mod worker;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, sim))]
mod sim_tests;
#[cfg(all(test, not(loom)))]
mod tests;

pub(crate) use accepting::breaks_connection;
pub(crate) use blocking::{block_thread, join_thread, wait_until_returned};
pub(crate) use buffers::{Lease, claim as claim_lease, release as release_lease};
pub(crate) use census::census;
pub use config::{Config, Engine, Flavour, Hook, Hooks};
pub(crate) use context::{CxError, PollContext, Poller, UNLIMITED, is_inside_any};
pub(crate) use create::create;
pub(crate) use io::{Errno, IoFlags, IoName, IoPoll, errno_of};
pub(crate) use listening::{Family, placeholder};
pub(crate) use operation::{
    Address, Answer, BlobUse, CURRENT, Call, Delivered, Goods, OpName, Question, Receiver, Request, SetUse, Splice,
    free_blob, free_set, new_blob, new_set, poll_quiesce, submit, submit_errand,
};
pub use owned::{Io, Runtime};
pub(crate) use owned::{Made, in_task};
pub(crate) use passed::take_fds;
pub use runtimes::Error;
pub(crate) use runtimes::{RuntimeRef, free};
pub(crate) use shared::{NEVER, now};
pub use timer::Missed;
pub(crate) use timer::{Start, TimerName, start as start_timer, start_here as start_timer_here};
pub(crate) use transfer::MOST_BYTES;
