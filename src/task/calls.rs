//! Calls: a task that waits in a queue is told that it is its turn, and has its next poll to take it.
//!
//! Whoever calls a task leaves a call with it and wakes it, in this order. A poll that begins after the call was left has its
//! chance; when it is over without the turn being taken, the turn is somebody else's. A call that comes during a poll
//! stays for the next one, which its wake brings. So the runner counts the calls before each poll, and that many are over
//! after it. A task that ends takes no more calls.
//!
//! A call that is refused finds the dead in a queue as long as there is enough to call them. Who asks for more than there is,
//! and ends, would stay in the way of those who need less. So a task that waits for more than one leaves a *tie* with itself:
//! the place where it waits hears of its end. A context of the program's own cannot refuse a call, so it has a tie with each
//! place.

use super::cell::Header;
use crate::primitives::sync::{AtomicU32, Mutex, Ordering::*};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Where tasks wait.
pub(crate) trait Calls: Send + Sync {
    /// The poll that a called task had is over. `key` is the task's address, `number` the call's.
    fn is_over(self: Arc<Self>, key: usize, number: u64);

    /// A task or context with a tie has ended.
    fn is_gone(self: Arc<Self>, key: usize);
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
    /// Made when the task waits in a queue for the first time. Most never do.
    places: Option<Box<Places>>,
}

#[derive(Default)]
struct Places {
    calls: VecDeque<Call>,
    /// Where the task waits and nobody would find out that it ended.
    ties: Ties,
}

/// Places that hear of an end.
pub(crate) type Ties = Vec<Arc<dyn Calls>>;

/// Whose end places may have to hear of: a task, or a context.
pub(crate) trait Tied: Sync {
    /// Runs `act` under the lock of the ties.
    fn with_ties(&self, act: &mut dyn FnMut(&mut Ties));
}

impl List {
    fn places(&mut self) -> &mut Places {
        self.places.get_or_insert_default()
    }
}

/// Kept as long as there is a place that must hear of an end. What keeps it knows that the end has not come: it holds the
/// task's waker, or hears of the context's end.
pub(crate) struct Tie {
    with: &'static dyn Tied,
    place: *const (),
}

// SAFETY: the address is compared, and never followed.
unsafe impl Send for Tie {}

impl Tie {
    /// In a poll of the task, which has an extra part, or of the context.
    pub(crate) fn new(with: &'static dyn Tied, place: Arc<dyn Calls>) -> Self {
        let address = Arc::as_ptr(&place).cast();
        let mut place = Some(place);
        with.with_ties(&mut |ties| ties.extend(place.take()));
        Self { with, place: address }
    }
}

impl Drop for Tie {
    fn drop(&mut self) {
        let mut cut = None;
        self.with.with_ties(&mut |ties| {
            let tie = ties.iter().position(|place| Arc::as_ptr(place).cast::<()>() == self.place);
            cut = tie.map(|at| ties.swap_remove(at));
        });
        drop(cut);
    }
}

impl Tied for Header {
    fn with_ties(&self, act: &mut dyn FnMut(&mut Ties)) {
        if let Some(extra) = self.extra() {
            act(&mut extra.called.list.lock().places().ties);
        }
    }
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
        list.places().calls.push_back(call);
        self.called.store(true, Relaxed);
        extra.called.count.fetch_add(1, AcqRel);
        true
    }

    /// How many calls there are. For the runner, before a poll.
    #[inline]
    pub(super) fn count_calls(&self) -> u32 {
        if !self.called.load(Relaxed) {
            return 0;
        }
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
        let Some(extra) = self.extra() else { return };
        let mut list = extra.called.list.lock();
        list.ended = true;
        let ties = list.places.as_mut().map(|places| std::mem::take(&mut places.ties)).unwrap_or_default();
        drop(list);
        self.end_calls(extra.called.count.load(Acquire));
        let key = std::ptr::from_ref(self).addr();
        for place in ties {
            let _ = catch_unwind(AssertUnwindSafe(|| place.is_gone(key)));
        }
    }

    /// The chance of the first call is over. There is none where a shutdown gave the task up meanwhile.
    fn end_call(&self) {
        let Some(extra) = self.extra() else { return };
        let mut list = extra.called.list.lock();
        let Some(call) = list.places().calls.pop_front() else { return };
        extra.called.count.fetch_sub(1, AcqRel);
        drop(list);
        let key = std::ptr::from_ref(self).addr();
        // The turn is passed on by a waker, whose panic is nothing to the runner.
        let _ = catch_unwind(AssertUnwindSafe(|| call.by.is_over(key, call.number)));
    }
}
