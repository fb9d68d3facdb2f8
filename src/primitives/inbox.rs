//! A queue with many pushers and one owner, whose word is also what the owner sleeps on.
//!
//! The word is EMPTY, PARKED, NUDGED, CLOSED, or the newest node of a list linked through the nodes. The decision to sleep
//! and the decision to wake are therefore read-modify-writes of the same word:
//! - the owner parks by a CAS from EMPTY, which fails if anything came first;
//! - a pusher that replaces PARKED, and only that one, must write the owner's eventfd;
//! - a nudge wakes the owner without a node; it writes the word even where nothing changes, so that the owner's next `take`
//!   sees what the nudger wrote before.

use super::sync::{AtomicPtr, Ordering::*};
use std::ptr::{self, NonNull};

const EMPTY: usize = 0;
const PARKED: usize = 1;
const NUDGED: usize = 2;
const CLOSED: usize = 3;

/// What can be pushed.
///
/// # Safety
/// `link` must always give the same link, used by nobody else while the node is in a list; nodes are aligned to 4 or more.
pub(crate) unsafe trait Node {
    fn link(&self) -> &AtomicPtr<Self>
    where
        Self: Sized;
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    word: AtomicPtr<T>,
}

/// What a pusher must do next.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Pushed {
    /// Nothing: the owner is awake, or somebody else wakes it.
    Queued,
    /// The owner sleeps: write its eventfd.
    Unpark,
    /// Nobody will ever look again: the node is still the caller's.
    Closed,
}

fn word<T>(value: usize) -> *mut T {
    ptr::without_provenance_mut(value)
}

fn is_node<T>(pointer: *mut T) -> bool {
    pointer.addr() > CLOSED
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self { word: AtomicPtr::new(word(EMPTY)) }
    }
}

impl<T: Node> Inbox<T> {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Any thread. The node belongs to the inbox until the owner takes it.
    pub(crate) fn push(&self, node: NonNull<T>) -> Pushed {
        let mut current = self.word.load(Relaxed);
        loop {
            if current.addr() == CLOSED {
                return Pushed::Closed;
            }
            let next = if is_node(current) { current } else { ptr::null_mut() };
            // SAFETY: the caller owns the node until the CAS below gives it away.
            unsafe { node.as_ref() }.link().store(next, Relaxed);
            match self.word.compare_exchange_weak(current, node.as_ptr(), AcqRel, Relaxed) {
                Ok(_) if current.addr() == PARKED => return Pushed::Unpark,
                Ok(_) => return Pushed::Queued,
                Err(now) => current = now,
            }
        }
    }

    /// Any thread: the owner will look again. True: write its eventfd.
    #[must_use]
    pub(crate) fn nudge(&self) -> bool {
        let mut current = self.word.load(Relaxed);
        loop {
            let next = if is_node(current) || current.addr() == CLOSED { current } else { word(NUDGED) };
            match self.word.compare_exchange_weak(current, next, AcqRel, Relaxed) {
                Ok(_) => return current.addr() == PARKED,
                Err(now) => current = now,
            }
        }
    }

    /// The owner: everything that was pushed, oldest first. Also ends a park.
    pub(crate) fn take(&self) -> Taken<T> {
        let current = self.word.load(Relaxed);
        if current.addr() == EMPTY || current.addr() == CLOSED {
            return Taken { next: ptr::null_mut(), news: false };
        }
        Taken::reversed(self.word.swap(word(EMPTY), AcqRel))
    }

    /// The owner: true if it may sleep now. False: something came, take it.
    #[must_use]
    pub(crate) fn park(&self) -> bool {
        self.word.compare_exchange(word(EMPTY), word(PARKED), AcqRel, Relaxed).is_ok()
    }

    /// Any thread: becomes the owner of an inbox whose owner parked. For inboxes whose ownership goes round: `park` gives it
    /// up, and who pushes into a parked one has it, too.
    #[must_use]
    pub(crate) fn acquire(&self) -> bool {
        self.word.compare_exchange(word(PARKED), word(EMPTY), AcqRel, Relaxed).is_ok()
    }

    /// True if nobody owns it at this moment, for inboxes whose ownership goes round.
    pub(crate) fn is_parked(&self) -> bool {
        self.word.load(Acquire).addr() == PARKED
    }

    /// The owner, for good: later pushes are refused. Returns what was still there.
    pub(crate) fn close(&self) -> Taken<T> {
        Taken::reversed(self.word.swap(word(CLOSED), AcqRel))
    }
}

/// A list of nodes that left the inbox, oldest first.
#[derive(Debug)]
pub(crate) struct Taken<T> {
    next: *mut T,
    news: bool,
}

impl<T: Node> Taken<T> {
    fn reversed(mut newest: *mut T) -> Self {
        let news = is_node(newest) || newest.addr() == NUDGED;
        let mut oldest = ptr::null_mut();
        while is_node(newest) {
            // SAFETY: the owner swapped the list out, so its nodes are the owner's alone.
            let link = unsafe { &*newest }.link();
            let older = link.load(Relaxed);
            link.store(oldest, Relaxed);
            oldest = newest;
            newest = older;
        }
        Self { next: oldest, news }
    }

    /// True if there were nodes, or a nudge: the owner must look at everything else that it may have been nudged for.
    pub(crate) fn is_news(&self) -> bool {
        self.news
    }
}

impl<T: Node> Iterator for Taken<T> {
    type Item = NonNull<T>;

    fn next(&mut self) -> Option<NonNull<T>> {
        let node = NonNull::new(self.next)?;
        // SAFETY: a node stays the list's until it is returned here; the link is read before that.
        self.next = unsafe { node.as_ref() }.link().load(Relaxed);
        Some(node)
    }
}
