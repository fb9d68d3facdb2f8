//! The listeners of a server beside the one that the program gave: none, or one for each other worker.

use super::Mode;
use crate::runtime::{Errno, Io, IoName, RuntimeRef};

/// Makes the further listeners that a mode needs, with their workers. On failure none is left.
pub(super) fn open(runtime: &RuntimeRef, first: IoName, mode: Mode) -> Result<Vec<(Io, IoName, u32)>, Errno> {
    if mode == Mode::ReusePort && first.option(libc::SOL_SOCKET, libc::SO_REUSEPORT)? == 0 {
        return Err(libc::EINVAL);
    }
    let others = (0..runtime.workers()).filter(|&home| home != first.home());
    match mode {
        Mode::Shared => Ok(Vec::new()),
        Mode::Exclusive => others.map(|home| runtime.add_listener(first.duplicate()?, home, true)).collect(),
        Mode::ReusePort => others.map(|home| runtime.add_listener(first.sibling()?, home, false)).collect(),
    }
}
