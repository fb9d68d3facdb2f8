//! Who waits on one descriptor. Everything here happens under the lock of the `ScheduledIo`.

use super::ready::{Interest, Ready};
use crate::primitives::crowd::Crowd;
use crate::primitives::sync::UnsafeCell;
use crate::primitives::wake_list::WakeList;
use std::marker::PhantomPinned;
use std::ptr::NonNull;
use std::task::Waker;

/// A waiter that is told apart by task or context, and whose entry lives here.
#[derive(Debug)]
struct Keyed {
    key: usize,
    waker: Waker,
}

/// The waiters: a slot for the usual reader, one for the usual writer, and the others, of whom there may be many.
#[derive(Default)]
pub(super) struct Waiters {
    reader: Option<Keyed>,
    writer: Option<Keyed>,
    /// One word, and all zeros where there is none.
    more: Option<Box<Crowd<(usize, Interest), Waker>>>,
    nodes: NodeList,
}

/// Which kinds of waiters there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds {
    pub(super) reader: bool,
    pub(super) writer: bool,
    pub(super) list: bool,
}

impl Waiters {
    pub(super) fn kinds(&self) -> Kinds {
        let more = self.more.as_ref().is_some_and(|more| !more.is_empty());
        Kinds { reader: self.reader.is_some(), writer: self.writer.is_some(), list: more || !self.nodes.is_empty() }
    }

    /// The dedicated slot for an interest, if it has one.
    fn slot(&mut self, interest: Interest) -> Option<&mut Option<Keyed>> {
        match interest {
            Interest::READABLE => Some(&mut self.reader),
            Interest::WRITABLE => Some(&mut self.writer),
            _ => None,
        }
    }

    /// True for a keyed waiter whose place holds this very waker.
    pub(super) fn has(&self, key: usize, interest: Interest, waker: &Waker) -> bool {
        let slot = match interest {
            Interest::READABLE => self.reader.as_ref(),
            Interest::WRITABLE => self.writer.as_ref(),
            _ => None,
        };
        let known = match slot {
            Some(waiter) if waiter.key == key => Some(&waiter.waker),
            _ => self.more.as_ref().and_then(|more| more.get(&(key, interest))),
        };
        known.is_some_and(|known| known.will_wake(waker))
    }

    /// Adds a keyed waiter, or replaces its waker: then it is true. Wakers that went are pushed to `gone`, to be dropped
    /// after the lock.
    ///
    /// `dead` tells wakers whose task is over: they give up their place, so that tasks which waited on a quiet descriptor
    /// and were aborted do not pile up.
    pub(super) fn put(
        &mut self,
        key: usize,
        interest: Interest,
        waker: Waker,
        dead: fn(&Waker) -> bool,
        gone: &mut Vec<Waker>,
    ) -> bool {
        if self.more.is_none()
            && let Some(slot @ None) = self.slot(interest)
        {
            *slot = Some(Keyed { key, waker });
            return false;
        }
        // Taken out wherever it is, for its place may change: the slot may have become free.
        let old = self.take(key, interest);
        let again = old.is_some();
        gone.extend(old);
        if let Some(slot) = self.slot(interest)
            && slot.as_ref().is_none_or(|old| dead(&old.waker))
        {
            gone.extend(slot.replace(Keyed { key, waker }).map(|old| old.waker));
            return again;
        }
        gone.extend(self.more.get_or_insert_default().put((key, interest), waker, dead));
        again
    }

    /// Takes a keyed waiter out.
    pub(super) fn take(&mut self, key: usize, interest: Interest) -> Option<Waker> {
        if let Some(slot) = self.slot(interest)
            && slot.as_ref().is_some_and(|old| old.key == key)
        {
            return slot.take().map(|old| old.waker);
        }
        self.more.as_mut()?.take(&(key, interest))
    }

    /// Moves wakers of everybody whom `ready` satisfies into the list.
    pub(super) fn splice(&mut self, ready: Ready, wakers: &mut WakeList) {
        for (interest, slot) in [(Interest::READABLE, &mut self.reader), (Interest::WRITABLE, &mut self.writer)] {
            if ready.intersects(interest.ready())
                && let Some(waiter) = slot.take()
            {
                wakers.push(waiter.waker);
            }
        }
        if let Some(more) = &mut self.more {
            more.take_if(|(_, interest), _| ready.intersects(interest.ready()), |waker| wakers.push(waker));
            if more.is_empty() {
                self.more = None;
            }
        }
        self.nodes.splice(ready, wakers);
    }

    /// # Safety
    /// The node stays where it is until `unlink` or a splice took it out of the list.
    pub(super) unsafe fn link(&mut self, node: NonNull<Node>) {
        // SAFETY: the caller says so.
        unsafe { self.nodes.push(node) };
    }

    /// # Safety
    /// The node is in this list.
    pub(super) unsafe fn unlink(&mut self, node: NonNull<Node>) {
        // SAFETY: the caller says so.
        unsafe { self.nodes.remove(node) };
    }
}

/// A waiter that lives in a `Readiness` future. All fields are guarded by the lock of the `ScheduledIo`.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) inner: UnsafeCell<NodeInner>,
    _pinned: PhantomPinned,
}

#[derive(Debug)]
pub(super) struct NodeInner {
    pub(super) interest: Interest,
    pub(super) waker: Option<Waker>,
    /// In the list. Cleared by whoever takes it out.
    pub(super) linked: bool,
    prev: Option<NonNull<Node>>,
    next: Option<NonNull<Node>>,
}

impl Node {
    pub(super) fn new(interest: Interest) -> Self {
        let inner = NodeInner { interest, waker: None, linked: false, prev: None, next: None };
        Self { inner: UnsafeCell::new(inner), _pinned: PhantomPinned }
    }
}

/// An intrusive list, oldest first.
#[derive(Default)]
struct NodeList {
    head: Option<NonNull<Node>>,
    tail: Option<NonNull<Node>>,
}

// SAFETY: nodes are only reached under the lock that guards the list, and a waker may move between threads.
unsafe impl Send for NodeList {}

/// The fields of a node.
///
/// # Safety
/// The node is alive, and the caller holds the lock and no other borrow of it.
unsafe fn inner<'a>(node: NonNull<Node>) -> &'a mut NodeInner {
    // SAFETY: the caller says so.
    unsafe { node.as_ref().inner.with_mut(|inner| &mut *inner) }
}

impl NodeList {
    fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// # Safety
    /// As for `Waiters::link`.
    unsafe fn push(&mut self, node: NonNull<Node>) {
        // SAFETY: the new node and the tail are alive, being about to be, and being, in the list.
        unsafe {
            let fields = inner(node);
            (fields.prev, fields.next, fields.linked) = (self.tail, None, true);
            match self.tail {
                Some(tail) => inner(tail).next = Some(node),
                None => self.head = Some(node),
            }
        }
        self.tail = Some(node);
    }

    /// # Safety
    /// As for `Waiters::unlink`.
    unsafe fn remove(&mut self, node: NonNull<Node>) {
        // SAFETY: the node and its neighbours are in the list, so they are alive.
        unsafe {
            let fields = inner(node);
            let (prev, next) = (fields.prev.take(), fields.next.take());
            fields.linked = false;
            match prev {
                Some(prev) => inner(prev).next = next,
                None => self.head = next,
            }
            match next {
                Some(next) => inner(next).prev = prev,
                None => self.tail = prev,
            }
        }
    }

    fn splice(&mut self, ready: Ready, wakers: &mut WakeList) {
        let mut cursor = self.head;
        while let Some(node) = cursor {
            // SAFETY: a node in the list is alive, and we hold the lock.
            let fields = unsafe { inner(node) };
            cursor = fields.next;
            if !ready.intersects(fields.interest.ready()) {
                continue;
            }
            if let Some(waker) = fields.waker.take() {
                wakers.push(waker);
            }
            // SAFETY: it is in this list.
            unsafe { self.remove(node) };
        }
    }
}
