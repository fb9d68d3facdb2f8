//! Building blocks that know nothing of tasks or descriptors. Everything above may use them; they use nothing above.

pub(crate) mod bell;
pub(crate) mod crowd;
pub(crate) mod fork;
pub(crate) mod guard;
pub(crate) mod handle;
pub(crate) mod inbox;
pub(crate) mod pack;
pub(crate) mod prefetch;
pub(crate) mod scatter;
pub(crate) mod shelf;
pub(crate) mod slab;
pub(crate) mod sync;
pub(crate) mod thread;
pub(crate) mod wake_list;

mod atomic_waker;
mod wake;

#[cfg(all(test, loom))]
mod loom_tests;

pub use atomic_waker::AtomicWaker;
pub use wake::{Wake, WakerRef, waker, waker_ref};
