//! What there is in the process, whatever runtime it is of, or was.

use super::{buffers, context, operation, runtimes, timer};
use crate::primitives::shelf;
use crate::readiness::IOS;
use crate::task;

/// How many there are of each kind. Exact when nothing comes or goes meanwhile.
pub(crate) struct Census {
    pub(crate) runtimes: u64,
    pub(crate) tasks: u64,
    pub(crate) ios: u64,
    pub(crate) ops: u64,
    pub(crate) timers: u64,
    pub(crate) leases: u64,
    pub(crate) objects: u64,
    pub(crate) rest: u64,
}

pub(crate) fn census() -> Census {
    Census {
        runtimes: runtimes::runtimes(),
        tasks: task::cells(),
        ios: IOS.in_use(),
        ops: operation::all(),
        timers: timer::all(),
        leases: buffers::live_leases(),
        objects: shelf::objects() + operation::blobs(),
        rest: context::contexts() + operation::traffics() + buffers::all_buffers(),
    }
}
