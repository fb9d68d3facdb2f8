//! The type-erased side of a task, and what runs it.

use super::cell::{Header, Runs};
use super::life::{self, Polled, Spare, dealloc};
use super::state::{End, Finish, Park, Start, Wake};
use super::waker::waker_ref;
use crate::primitives::sync::Arc;
use std::any::TypeId;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::task::Context;

/// What a task asks of the scheduler that it belongs to.
pub(crate) trait Schedule: Send + Sync + Sized + 'static {
    /// Puts a woken task into a queue. Any thread.
    fn schedule(&self, task: Notified);

    /// A cell that was kept, for a task that is about to be made.
    fn spare(&self) -> Option<Spare> {
        None
    }

    /// Keeps the cell of a task of this scheduler's that is no more, for `spare`, or gives it back.
    fn keep(&self, spare: Spare) -> Option<Spare> {
        Some(spare)
    }

    /// The scheduler whose tasks run on this thread, which cannot go away during the call. Null if there is none.
    fn here() -> *const Self;

    /// A task was made, and can be found among the live ones. False: it is refused. `ended` follows, unless a shutdown found
    /// it and gave it up before.
    fn begins(&self) -> bool {
        true
    }

    /// A task ended; its state was dropped, its joiners are not woken yet.
    fn ended(&self, task: &Header);

    /// A task is about to end and has operations: cancels those that go on, and lets go of the others. Called where the
    /// task ran. A scheduler without operations is never called.
    fn drain(&self, _task: &'static Header) {}
}

/// What differs from task to task.
pub(super) struct Vtable {
    pub(super) poll: unsafe fn(&Header, &mut Context<'_>) -> Polled,
    pub(super) ask_ahead: unsafe fn(&Header, bool),
    pub(super) cancel: unsafe fn(&Header) -> Polled,
    pub(super) end_drained: unsafe fn(&Header) -> Polled,
    pub(super) take_output: unsafe fn(&Header, *mut ()),
    pub(super) drop_output: unsafe fn(&Header),
    /// The type of the output, for names that do not know it.
    pub(super) output: fn() -> TypeId,
    pub(super) schedule: unsafe fn(*const (), Notified),
    pub(super) here: fn() -> *const (),
    pub(super) ended: unsafe fn(*const (), &Header),
    pub(super) drain: unsafe fn(*const (), &'static Header),
    pub(super) keep: unsafe fn(*const (), Spare),
    pub(super) release: unsafe fn(*const ()),
}

impl Vtable {
    pub(super) fn of<F: Runs<Output: 'static> + 'static, S: Schedule>() -> &'static Self {
        struct Of<F, S>(PhantomData<(F, S)>);
        impl<F: Runs<Output: 'static> + 'static, S: Schedule> Of<F, S> {
            const TABLE: Vtable = Vtable {
                poll: life::poll::<F>,
                ask_ahead: life::ask_ahead::<F>,
                cancel: life::cancel::<F>,
                end_drained: life::end_drained::<F>,
                take_output: life::take_output::<F>,
                drop_output: life::drop_output::<F>,
                output: TypeId::of::<F::Output>,
                here: || S::here().cast(),
                // SAFETY: in these five, the pointer is the `Arc<S>` whose count the cell holds while it is alive.
                schedule: |scheduler, task| unsafe { (*scheduler.cast::<S>()).schedule(task) },
                // SAFETY: as above.
                ended: |scheduler, task| unsafe { (*scheduler.cast::<S>()).ended(task) },
                // SAFETY: as above.
                drain: |scheduler, task| unsafe { (*scheduler.cast::<S>()).drain(task) },
                // SAFETY: as above; what is not kept is dropped after the call, for its count may be the last.
                keep: |scheduler, spare| drop(unsafe { (*scheduler.cast::<S>()).keep(spare) }),
                // SAFETY: as above; this gives the count up.
                release: |scheduler| unsafe { drop(Arc::from_raw(scheduler.cast::<S>())) },
            };
        }
        &Of::<F, S>::TABLE
    }
}

/// A task that must be run: the queue's reference. Whoever takes it from the queue runs it.
#[derive(Debug)]
pub(crate) struct Notified(NonNull<Header>);

// SAFETY: it is a reference to a cell, which is Sync, with a count of its own.
unsafe impl Send for Notified {}

/// What became of a task that was run.
#[must_use]
pub(crate) enum Ran {
    /// It was woken during its poll: queue it again, behind the others.
    Again(Notified),
    /// It waits, or is over.
    Done,
}

impl Notified {
    /// # Safety
    /// The caller made the queue's reference and gives it away here.
    pub(super) unsafe fn new(cell: &'static Header) -> Self {
        Self(NonNull::from(cell))
    }

    /// The reference as a pointer, for a queue to keep.
    pub(crate) fn into_raw(self) -> NonNull<Header> {
        ManuallyDrop::new(self).0
    }

    /// # Safety
    /// `raw` came from `into_raw`, and is taken back once.
    pub(crate) unsafe fn from_raw(raw: NonNull<Header>) -> Self {
        Self(raw)
    }

    pub(crate) fn header(&self) -> &'static Header {
        // SAFETY: cells are type-stable, and ours is alive by our reference.
        unsafe { self.0.as_ref() }
    }

    /// Makes `run` end the task instead of polling it.
    pub(crate) fn cancel(&self) {
        self.header().state.cancel();
    }

    /// Polls the task once, and ends it if that is due.
    pub(crate) fn run(self) -> Ran {
        let cell = ManuallyDrop::new(self).0;
        // SAFETY: as in `header`; the reference is now the runner's, and each arm says where it goes.
        let cell: &'static Header = unsafe { cell.as_ref() };
        let vtable = cell.vtable();
        let start = cell.state.start();
        let calls = cell.count_calls();
        let polled = match start {
            Start::Abandoned => return Ran::Done,
            // SAFETY: here and below, `start` set RUNNING, and the stage holds the future until the task is complete.
            Start::Cancel => unsafe { (vtable.cancel)(cell) },
            // SAFETY: as above, and the output was put aside when the task began to drain.
            Start::End => unsafe { (vtable.end_drained)(cell) },
            Start::Poll => {
                let waker = waker_ref(cell);
                // SAFETY: as above.
                unsafe { (vtable.poll)(cell, &mut Context::from_waker(&waker)) }
            }
        };
        let again = cell.takes_again();
        let polled = match polled {
            Polled::Pending => {
                // As long as the task is the runner's.
                cell.end_calls(calls);
                match cell.state.park(cell.has_ops(), again) {
                    Park::Parked => return Ran::Done,
                    Park::Abandoned => Polled::Abandoned,
                    // SAFETY: the runner's reference became the queue's.
                    Park::Requeue => return Ran::Again(unsafe { Self::new(cell) }),
                    // SAFETY: as above.
                    Park::Cancel => unsafe { (vtable.cancel)(cell) },
                }
            }
            ended => ended,
        };
        if matches!(polled, Polled::InChild) {
            return Ran::Done;
        }
        cell.refuse_calls();
        let polled = match polled {
            Polled::Draining => drain(cell),
            ended => ended,
        };
        match polled {
            Polled::Draining | Polled::Pending | Polled::InChild => {}
            Polled::Abandoned => cell.state.let_go(),
            Polled::Done => finish(cell),
        }
        Ran::Done
    }
}

/// The task's output was put aside, for it has operations. Ends it at once if they can all be ended at once; else the last
/// of them queues it.
fn drain(cell: &'static Header) -> Polled {
    let vtable = cell.vtable();
    // SAFETY: the runner's reference keeps the cell and so its count on the scheduler.
    unsafe { (vtable.drain)(cell.scheduler(), cell) };
    if !cell.has_ops() {
        // SAFETY: RUNNING is still set, the stage holds the future, and the output is aside.
        return unsafe { (vtable.end_drained)(cell) };
    }
    match cell.state.drain() {
        End::Drop => Polled::Draining,
        End::Abandoned => Polled::Abandoned,
    }
}

impl Header {
    /// The last operation of the task ended, where the task runs. Queues it if it only waited for that.
    pub(crate) fn drained(&'static self) {
        if self.state.drained() == Wake::Submit {
            // SAFETY: the edge made the queue's reference, and this thread is inside of the scheduler.
            unsafe { submit(self) };
        }
    }

    /// Asks for what the task's next poll looks at first. `near`: its turn is close, and what leads there has come.
    ///
    /// # Safety
    /// The task is in a queue that nobody takes it from during the call.
    pub(crate) unsafe fn ask_ahead(&self, near: bool) {
        if !near {
            self.ask_extra();
        }
        // SAFETY: the caller says so.
        unsafe { (self.vtable().ask_ahead)(self, near) };
    }

    /// Wakes the task from the thread that its operations are on, which is inside of the scheduler.
    pub(crate) fn wake_here(&'static self) {
        if self.state.wake_by_ref() == Wake::Submit {
            // SAFETY: as above.
            unsafe { submit(self) };
        }
    }
}

/// The runner's last steps: the stage holds the output, RUNNING is still set.
fn finish(cell: &'static Header) {
    let vtable = cell.vtable();
    // SAFETY: the runner's reference keeps the cell and so its count on the scheduler.
    unsafe { (vtable.ended)(cell.scheduler(), cell) };
    let last = match cell.state.finish() {
        Finish::Quiet { last } => last,
        Finish::Loud { wake, drop_output } => {
            if drop_output {
                // SAFETY: nobody has a right to the output, so it stayed the runner's.
                unsafe { (vtable.drop_output)(cell) };
            }
            if wake {
                super::join::wake_joiners(cell);
            }
            cell.state.ref_dec(2)
        }
    };
    if last {
        dealloc(cell);
    }
}

/// Puts a task into its scheduler's queue.
///
/// # Safety
/// The queue's reference was made for this call; the caller keeps the scheduler alive until it returns.
pub(super) unsafe fn submit(cell: &'static Header) {
    // SAFETY: the caller says so.
    unsafe { (cell.vtable().schedule)(cell.scheduler(), Notified::new(cell)) };
}
