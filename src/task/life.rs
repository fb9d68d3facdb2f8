//! The life of a task: how it is made, polled and ended. What is here knows the future's type; who calls it by the table does not.

use super::cell::{CELLS, Header, Runs, fits};
use super::join::{JoinError, wake_joiners};
use super::raw::{Notified, Schedule, Vtable};
use super::state::{End, Retract};
use crate::primitives::fork::is_forked;
use crate::primitives::prefetch::prefetch;
use crate::primitives::sync::Arc;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// What the stage holds when the task is over.
pub(super) type Output<T> = Result<T, JoinError>;

/// Why a task could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpawnError {
    /// The scheduler takes no more tasks.
    Stopped,
    NoMemory,
}

/// A free cell that still has its count on the scheduler of its last task: the next one's can be made in it.
pub(crate) struct Spare(&'static Header);

impl Spare {
    /// The cell, and the duty to bring it to life.
    fn take(self) -> &'static Header {
        ManuallyDrop::new(self).0
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        let index = self.0.index();
        self.0.leave_scheduler();
        CELLS.free(index);
    }
}

/// A free cell with a count on the scheduler. `None`: memory is out.
fn fresh<S: Schedule>(scheduler: &Arc<S>) -> Option<&'static Header> {
    let (index, cell) = CELLS.alloc()?;
    cell.join_scheduler(index, Arc::into_raw(Arc::clone(scheduler)).cast());
    Some(cell)
}

/// Makes a task and its first notification, which the caller must hand to a queue. On failure the future comes back.
pub(crate) fn spawn<F, S>(
    future: F,
    scheduler: &Arc<S>,
    home: Option<u32>,
    joinable: bool,
) -> Result<Notified, (SpawnError, F)>
where
    F: Runs + Send + 'static,
    F::Output: Send + 'static,
    S: Schedule,
{
    let Some(cell) = scheduler.spare().map(Spare::take).or_else(|| fresh(scheduler)) else {
        return Err((SpawnError::NoMemory, future));
    };
    let generation = cell.state.generation() + 1;
    // A free cell is the caller's alone until `open`.
    cell.begin(Vtable::of::<F, S>(), home.unwrap_or(0));
    // SAFETY: as above, and the stage of a free cell is empty.
    unsafe { cell.put(future) };
    cell.state.open(generation, home.is_some(), joinable);
    if !scheduler.begins()
        // SAFETY: the stage holds the future, and nobody else has heard of the task but who scans for it.
        && let Some(future) = unsafe { retract(cell) }
    {
        return Err((SpawnError::Stopped, future));
    }
    // SAFETY: `open` made the queue's reference.
    Ok(unsafe { Notified::new(cell) })
}

/// Takes a task back that its scheduler refused. `None`: a shutdown gave it up, and has counted it, so it was made.
///
/// # Safety
/// The caller opened the cell with an `F` in its stage, and put it into no queue.
unsafe fn retract<F>(cell: &'static Header) -> Option<F> {
    let Retract::Retracted { refs, wake } = cell.state.retract() else { return None };
    // SAFETY: with COMPLETE set and the join closed the stage is nobody else's.
    let future = unsafe { cell.take() };
    // SAFETY: our references keep the cell, and so its count on the scheduler.
    unsafe { (cell.vtable().ended)(cell.scheduler(), cell) };
    if wake {
        wake_joiners(cell);
    }
    if cell.state.ref_dec(refs) {
        dealloc(cell);
    }
    Some(future)
}

/// Ends a cell's life. The caller dropped the last reference.
pub(super) fn dealloc(cell: &'static Header) {
    cell.over();
    if cell.state.recycle() {
        // SAFETY: the cell is the caller's now, and still holds its count on the scheduler.
        unsafe { (cell.vtable().keep)(cell.scheduler(), Spare(cell)) };
    } else {
        cell.leave_scheduler();
    }
}

/// How a poll ended.
#[must_use]
pub(super) enum Polled {
    Pending,
    /// The output is aside: the task's operations must end before its state is dropped.
    Draining,
    /// The output is in the stage.
    Done,
    /// A shutdown gave the task up during the poll: nothing was dropped.
    Abandoned,
    /// A function of the program's forked and came back in the child, where all that is left to do is the parent's, and any lock
    /// may be held for ever.
    InChild,
}

/// The vtable's `poll`.
///
/// # Safety
/// The caller set RUNNING, and the stage holds an `F`.
pub(super) unsafe fn poll<F: Runs>(cell: &Header, context: &mut Context<'_>) -> Polled {
    let polled = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: RUNNING makes the stage the caller's; the future is not moved until it is dropped in place.
        let future = unsafe { Pin::new_unchecked(&mut *cell.peek::<F>()) };
        future.poll(context)
    }));
    if is_forked() {
        std::mem::forget(polled);
        return Polled::InChild;
    }
    let output = match polled {
        Ok(Poll::Pending) => return Polled::Pending,
        Ok(Poll::Ready(output)) => Ok(output),
        Err(panic) => Err(JoinError::Panicked(panic)),
    };
    // SAFETY: as above.
    unsafe { conclude::<F>(cell, output) }
}

/// The vtable's `ask_ahead`.
///
/// # Safety
/// As for `Header::ask_ahead`.
pub(super) unsafe fn ask_ahead<F: Runs>(cell: &Header, near: bool) {
    // SAFETY: a task in a queue is not complete, so the stage holds the future; nobody else polls it meanwhile.
    let soon = unsafe {
        match (near, fits::<F>()) {
            (true, _) => (*cell.peek::<F>()).first_look(),
            (false, false) => cell.peek::<F>().cast_const().cast(),
            (false, true) => return,
        }
    };
    prefetch(soon, 0);
    prefetch(soon, 1);
}

/// The vtable's `cancel`.
///
/// # Safety
/// The caller set RUNNING, and the stage holds an `F`.
pub(super) unsafe fn cancel<F: Runs>(cell: &Header) -> Polled {
    // SAFETY: the same.
    unsafe { conclude::<F>(cell, Err(JoinError::Cancelled)) }
}

/// The task has its output. Ends it, unless it has operations: then the output is put aside.
///
/// # Safety
/// As for `poll`.
unsafe fn conclude<F: Runs>(cell: &Header, output: Output<F::Output>) -> Polled {
    if cell.has_ops() {
        cell.put_aside(Box::new(output));
        return Polled::Draining;
    }
    // SAFETY: the caller says so.
    unsafe { end::<F>(cell, output) }
}

/// The vtable's `end_drained`.
///
/// # Safety
/// As for `poll`, and `conclude` put the output aside.
pub(super) unsafe fn end_drained<F: Runs>(cell: &Header) -> Polled {
    // SAFETY: `conclude` put it aside, with this type.
    unsafe { end::<F>(cell, cell.take_aside()) }
}

/// Drops the future and stores the output, unless the task was given up.
///
/// # Safety
/// As for `poll`.
unsafe fn end<F: Runs>(cell: &Header, output: Output<F::Output>) -> Polled {
    // SAFETY: the caller says so.
    let by_program = unsafe { (*cell.peek::<F>()).is_dropped_by_program() };
    if cell.state.end(by_program) == End::Abandoned {
        std::mem::forget(output);
        return Polled::Abandoned;
    }
    // SAFETY: the stage is still the caller's, and holds the future.
    let dropped = unsafe { cell.clear::<F>() };
    if is_forked() {
        std::mem::forget(output);
        return Polled::InChild;
    }
    let output = match dropped {
        Ok(()) => output,
        Err(panic) => {
            // The output may panic on its way out as well; the first panic is the result.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(output)));
            Err(JoinError::Panicked(panic))
        }
    };
    // SAFETY: the stage is empty now.
    unsafe { cell.put::<Output<F::Output>>(output) };
    Polled::Done
}

/// The vtable's `take_output`: moves the output to `into`, a `MaybeUninit<Output<F::Output>>`.
///
/// # Safety
/// The caller owns the output, which is in the stage.
pub(super) unsafe fn take_output<F: Future>(cell: &Header, into: *mut ()) {
    // SAFETY: the caller says so.
    unsafe { into.cast::<Output<F::Output>>().write(cell.take()) };
}

/// The vtable's `drop_output`.
///
/// # Safety
/// As for `take_output`.
pub(super) unsafe fn drop_output<F: Future>(cell: &Header) {
    // A destructor's panic has nobody left to go to.
    // SAFETY: the caller says so.
    let _ = unsafe { cell.clear::<Output<F::Output>>() };
}
