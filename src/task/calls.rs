//! Calls: a task that waits in a queue is told that it is its turn, and has its next poll to take it.
//!
//! Whoever calls a task leaves a call with it and wakes it, in this order. A poll that begins after the call was left has its
//! chance; when it is over without the turn being taken, the turn is somebody else's. A call that comes during a poll
//! stays for the next one, which its wake brings. So the runner counts the calls before each poll, and that many are over
//! after it. A task that ends takes no more calls.

use super::cell::Header;
use crate::primitives::sync::{AtomicU32, Mutex, Ordering::*};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Where tasks wait.
pub(crate) trait Calls: Send + Sync {
    /// The poll that a called task had is over. `key` is the task's address, `number` the call's.
    fn is_over(self: Arc<Self>, key: usize, number: u64);
}

/// One call of a task.
pub(crate) struct Call {
    pub(crate) by: Arc<dyn Calls>,
    pub(crate) number: u64,
}

/// The calls that a task got, in their order.
#[derive(Default)]
pub(super) struct Called {
    /// How many there are. Written under the lock; only the runner takes some away, or the end.
    count: AtomicU32,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    ended: bool,
    calls: VecDeque<Call>,
}

impl Header {
    /// Leaves a call with a task that has an extra part, and to which the caller holds a reference; the caller wakes it
    /// afterwards. False: it will not be polled any more.
    pub(crate) fn call(&self, call: Call) -> bool {
        let Some(extra) = self.extra() else { return false };
        let mut list = extra.called.list.lock();
        if list.ended {
            return false;
        }
        list.calls.push_back(call);
        extra.called.count.fetch_add(1, AcqRel);
        true
    }

    /// How many calls there are. For the runner, before a poll.
    #[inline]
    pub(super) fn count_calls(&self) -> u32 {
        self.extra().map_or(0, |extra| extra.called.count.load(Acquire))
    }

    /// The poll before which there were so many calls is over. For the runner.
    #[inline]
    pub(super) fn end_calls(&self, count: u32) {
        for _ in 0..count {
            self.end_call();
        }
    }

    /// There will be no poll any more. Any thread that holds a reference.
    pub(super) fn refuse_calls(&self) {
        if let Some(extra) = self.extra() {
            extra.called.list.lock().ended = true;
            self.end_calls(extra.called.count.load(Acquire));
        }
    }

    /// The chance of the first call is over. There is none where a shutdown gave the task up meanwhile.
    fn end_call(&self) {
        let Some(extra) = self.extra() else { return };
        let mut list = extra.called.list.lock();
        let Some(call) = list.calls.pop_front() else { return };
        extra.called.count.fetch_sub(1, AcqRel);
        drop(list);
        let key = std::ptr::from_ref(self).addr();
        // The turn is passed on by a waker, whose panic is nothing to the runner.
        let _ = catch_unwind(AssertUnwindSafe(|| call.by.is_over(key, call.number)));
    }
}
