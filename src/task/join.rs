//! Waiting for a task's end.

use super::cell::Header;
use super::life::Output;
use super::name::TaskName;
use super::state::{Detach, Join};
use super::waker::{is_dead, release};
use crate::primitives::crowd::{Crowd, Gone};
use crate::primitives::wake_list::wake;
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Why a task has no result of its own.
pub enum JoinError {
    /// It was aborted, or its runtime was shut down.
    Cancelled,
    /// It panicked.
    Panicked(Box<dyn Any + Send>),
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "Cancelled",
            Self::Panicked(_) => "Panicked",
        })
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "the task was cancelled",
            Self::Panicked(_) => "the task panicked",
        })
    }
}

impl std::error::Error for JoinError {}

/// Who waits for the end of a task. Told apart by key: a task's address, or a context's.
#[derive(Default)]
pub(super) struct Joiners {
    first: Option<(usize, Waker)>,
    /// One word, and all zeros where there is none.
    more: Option<Box<Crowd<usize, Waker>>>,
}

impl Joiners {
    /// Replaces the waiter's waker, or else adds the waiter; then those whose task is over go where there is no room, so that
    /// they do not pile up. Returns the wakers that went, to be dropped after the lock.
    fn put(&mut self, key: usize, waker: Waker) -> Gone<Waker> {
        let known = match &mut self.first {
            Some((owner, old)) if *owner == key => Some(old),
            _ => self.more.as_mut().and_then(|more| more.get_mut(&key)),
        };
        if let Some(old) = known {
            return Gone::before(Some(std::mem::replace(old, waker)));
        }
        if self.first.as_ref().is_none_or(|(_, old)| is_dead(old)) {
            return Gone::before(self.first.replace((key, waker)).map(|(_, old)| old));
        }
        self.more.get_or_insert_default().put(key, waker, is_dead)
    }

    fn take(&mut self, key: usize) -> Option<Waker> {
        if self.first.as_ref().is_some_and(|(owner, _)| *owner == key) {
            return self.first.take().map(|(_, waker)| waker);
        }
        self.more.as_mut()?.take(&key)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_none()
    }
}

/// Wakes everybody who waits for the task.
pub(super) fn wake_joiners(cell: &Header) {
    let Joiners { first, more } = std::mem::take(&mut *cell.joiners.lock());
    let more = more.into_iter().flat_map(|more| more.into_values());
    first.into_iter().map(|(_, waker)| waker).chain(more).for_each(wake);
}

/// Looks whether the task ended, else leaves the waker with it. On `Taken` the output is in the stage and the caller's.
///
/// The caller needs no reference: a task whose join is open has one of its own, which keeps what is behind the lock the
/// task's as long as `set_join_waker` says so.
pub(super) fn poll_join(cell: &Header, generation: u32, key: usize, waker: &Waker) -> Join {
    loop {
        let seen = cell.state.take_join(generation);
        if seen != Join::Running || await_join(cell, generation, key, waker.clone()).is_ok() {
            return seen;
        }
    }
}

/// Leaves the waker with the task until the join is decided: the task ended, or was given up, or the join was. Gives the
/// waker back if that is so already. As `poll_join`.
pub(super) fn await_join(cell: &Header, generation: u32, key: usize, waker: Waker) -> Result<(), Waker> {
    let mut joiners = cell.joiners.lock();
    if !cell.state.set_join_waker(generation) {
        return Err(waker);
    }
    let gone = joiners.put(key, waker);
    drop(joiners);
    drop(gone);
    Ok(())
}

/// Takes a waiter out again.
pub(super) fn forget_joiner(cell: &Header, key: usize) {
    let waker = cell.joiners.lock().take(key);
    drop(waker);
}

/// Gives up the join. False: there was none.
pub(super) fn detach(cell: &'static Header, generation: u32) -> bool {
    match cell.state.detach(generation) {
        Detach::Stale => false,
        Detach::Detached { wake, drop_output } => {
            if drop_output {
                // SAFETY: clearing JOIN_INTEREST of a complete task made the output ours.
                unsafe { (cell.vtable().drop_output)(cell) };
            }
            if wake {
                wake_joiners(cell);
            }
            release(cell);
            true
        }
    }
}

/// The right to a task's result. Dropping it detaches the task, which goes on.
#[derive(Debug)]
pub struct JoinHandle<T> {
    name: TaskName,
    output: PhantomData<fn() -> T>,
}

impl<T> JoinHandle<T> {
    /// For the one who asked for a joinable task.
    pub(crate) fn new(name: TaskName) -> Self {
        Self { name, output: PhantomData }
    }

    /// Asks the task to end. If it returns a result at the same time, the result wins.
    pub fn abort(&self) {
        let _ = self.name.abort();
    }

    /// Wakes the task.
    pub fn wake(&self) {
        let _ = self.name.wake();
    }
}

impl<T: 'static> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = context.waker();
        match self.name.poll_join::<T>(waker.data().addr(), waker) {
            Some(poll) => poll,
            None => Poll::Ready(Err(JoinError::Cancelled)),
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        self.name.detach();
    }
}

/// Moves the output out of a cell whose join was just taken, and gives the join's reference up.
///
/// # Safety
/// `take_join` said `Taken` to the caller, and the output is a `T`.
pub(super) unsafe fn claim<T>(cell: &'static Header) -> Output<T> {
    let mut output = MaybeUninit::<Output<T>>::uninit();
    // SAFETY: the output is the caller's, and `take_output` writes all of it.
    let output = unsafe {
        (cell.vtable().take_output)(cell, output.as_mut_ptr().cast());
        output.assume_init()
    };
    release(cell);
    output
}
