//! Reaping children that nobody waits for.
//!
//! A reaper is the waiter of its own registration, which keeps it: no task, for a runtime whose tasks all ended should not go
//! on because of a child. It goes when the child ends, or with its runtime.

use super::child::Child;
use crate::primitives::{Wake, waker};
use crate::readiness::{Interest, Polled};
use crate::runtime::{Io, RuntimeRef};
use std::sync::Arc;

struct Reaper {
    io: Io,
    child: Arc<Child>,
}

/// Leaves a child to be reaped. If its runtime goes first, or nothing can be registered, it is looked at once more now, or
/// then.
pub(super) fn leave(runtime: u64, child: Arc<Child>) {
    let io = RuntimeRef::enter(runtime).and_then(|runtime| Io::borrowing(&runtime, child.fd(), Interest::READABLE));
    if let Ok(io) = io {
        Reaper::go_on(&Arc::new(Reaper { io, child }));
    }
}

impl Reaper {
    fn go_on(this: &Arc<Self>) {
        let Ok(name) = this.io.name() else { return };
        let next = waker(this.clone());
        while let Polled::Ready(seen) = name.poll_by(Arc::as_ptr(this).addr(), &next, Interest::READABLE) {
            if this.child.look().is_some() || name.clear_ready(seen).is_err() {
                return;
            }
        }
    }
}

impl Wake for Reaper {
    fn wake_by_ref(this: &Arc<Self>) {
        Self::go_on(this);
    }
}
