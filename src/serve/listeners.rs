//! The listeners of a server: one, or one for each worker.

use super::Mode;
use crate::runtime::{Errno, Io, IoName, RuntimeRef};

/// What a server listens on.
pub(super) struct Listeners {
    /// The one that the program gave.
    pub(super) keeps_first: bool,
    /// Those that were made of it, with their workers.
    pub(super) more: Vec<(Io, IoName, u32)>,
}

/// Makes the further listeners that a mode needs. On failure none is left.
pub(super) fn open(runtime: &RuntimeRef, first: IoName, mode: Mode) -> Result<Listeners, Errno> {
    if mode == Mode::ReusePort && first.option(libc::SOL_SOCKET, libc::SO_REUSEPORT)? == 0 {
        return Err(libc::EINVAL);
    }
    let others = (0..runtime.workers()).filter(|&home| home != first.home());
    match mode {
        _ if runtime.workers() == 1 => Ok(Listeners { keeps_first: true, more: Vec::new() }),
        Mode::Shared => Ok(Listeners { keeps_first: true, more: Vec::new() }),
        Mode::Exclusive => {
            let watch = |home| runtime.add_listener(first.duplicate()?, home, true);
            Ok(Listeners { keeps_first: false, more: (0..runtime.workers()).map(watch).collect::<Result<_, Errno>>()? })
        }
        Mode::ReusePort => {
            let listen = |home| runtime.add_listener(first.sibling()?, home, false);
            Ok(Listeners { keeps_first: true, more: others.map(listen).collect::<Result<_, Errno>>()? })
        }
    }
}
