//! Waiting for readiness in Rust.

use super::ready::{Interest, ReadyEvent};
use super::scheduled_io::{Polled, ScheduledIo};
use super::waiters::Node;
use std::future::Future;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

/// Completes when an interest is satisfied; with the reason if the wait cannot go on.
///
/// Init (not linked) -> Waiting (the node is in the list) -> Done (taken out by whoever woke it).
pub(crate) struct Readiness {
    io: &'static ScheduledIo,
    generation: u32,
    interest: Interest,
    state: Stage,
    node: Node,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Init,
    Waiting,
    Done,
}

/// Why a wait ended without readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    Shutdown,
    Stale,
}

// SAFETY: the node's fields are only touched under the lock of the `ScheduledIo`, or before it was ever linked.
unsafe impl Send for Readiness {}
// SAFETY: a shared reference gives access to nothing.
unsafe impl Sync for Readiness {}

impl Readiness {
    pub(crate) fn new(io: &'static ScheduledIo, generation: u32, interest: Interest) -> Self {
        Self { io, generation, interest, state: Stage::Init, node: Node::new(interest) }
    }

    fn pointer(self: Pin<&Self>) -> NonNull<Node> {
        NonNull::from(&self.get_ref().node)
    }

    /// Puts the task's waker into the node. False: the node was taken out of the list, so it was woken.
    fn renew(self: Pin<&Self>, context: &Context<'_>) -> bool {
        let node = self.get_ref();
        let mut spare = None;
        let linked = node.io.locked(|_| {
            node.node.inner.with_mut(|inner| {
                // SAFETY: the lock is held, which guards the node's fields.
                let inner = unsafe { &mut *inner };
                if inner.linked && !inner.waker.as_ref().is_some_and(|old| old.will_wake(context.waker())) {
                    // The clone runs foreign code for foreign wakers; so it is made before, outside the lock.
                    spare = inner.waker.take();
                    return None;
                }
                Some(inner.linked)
            })
        });
        drop(spare);
        linked.unwrap_or_else(|| self.replace(context))
    }

    fn replace(self: Pin<&Self>, context: &Context<'_>) -> bool {
        let node = self.get_ref();
        // What is left in here after the lock is a waker that is not needed.
        let mut waker = Some(context.waker().clone());
        node.io.locked(|_| {
            node.node.inner.with_mut(|inner| {
                // SAFETY: the lock is held, which guards the node's fields.
                let inner = unsafe { &mut *inner };
                if inner.linked {
                    std::mem::swap(&mut inner.waker, &mut waker);
                }
                inner.linked
            })
        })
    }
}

impl Future for Readiness {
    type Output = Result<ReadyEvent, Gone>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.state == Stage::Waiting && self.as_ref().renew(context) {
            return Poll::Pending;
        }
        let seen = match self.io.look(self.generation, self.interest) {
            Polled::Pending => {
                let waker = context.waker().clone();
                let this = self.as_ref();
                this.node.inner.with_mut(|inner| {
                    // SAFETY: the node is not linked, so it is ours alone.
                    unsafe { (*inner).waker = Some(waker) };
                });
                // SAFETY: the future is pinned, and its destructor unlinks the node.
                unsafe { this.io.wait(this.generation, this.interest, this.pointer()) }
            }
            seen => seen,
        };
        // SAFETY: the state is not structurally pinned.
        let this = unsafe { self.as_mut().get_unchecked_mut() };
        this.state = if seen == Polled::Pending { Stage::Waiting } else { Stage::Done };
        match seen {
            Polled::Pending => Poll::Pending,
            Polled::Ready(event) => Poll::Ready(Ok(event)),
            Polled::Shutdown => Poll::Ready(Err(Gone::Shutdown)),
            Polled::Stale => Poll::Ready(Err(Gone::Stale)),
        }
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        if self.state != Stage::Waiting {
            return;
        }
        let node = NonNull::from(&self.node);
        let waker = self.io.locked(|waiters| {
            // SAFETY: the lock is held; a linked node is in this very list.
            unsafe {
                let linked = node.as_ref().inner.with(|inner| (*inner).linked);
                if linked {
                    waiters.unlink(node);
                }
                node.as_ref().inner.with_mut(|inner| (*inner).waker.take())
            }
        });
        drop(waker);
    }
}
