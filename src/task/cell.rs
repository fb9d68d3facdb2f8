//! The cell: one entry of the slab, 128 bytes, the same type for every task.

use super::calls::Called;
use super::join::{JoinError, Joiners, wake_joiners};
use super::raw::{Notified, Schedule, Vtable};
use super::state::{End, Retract, State};
use crate::primitives::fork::is_forked;
use crate::primitives::handle::{Handle, Kind};
use crate::primitives::inbox::Node;
use crate::primitives::prefetch::prefetch;
use crate::primitives::slab::{Entry, Slab};
use crate::primitives::sync::{Arc, AtomicBool, AtomicPtr, AtomicU32, Mutex, Ordering::*, UnsafeCell, process_static};
use std::any::TypeId;
use std::ffi::CString;
use std::future::Future;
use std::mem::{MaybeUninit, align_of, size_of};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll};

process_static! {
    /// All tasks of the process.
    pub(super) static CELLS: Slab<Header> = Slab::new();
}

/// What a task runs.
pub(crate) trait Runs: Future {
    /// What the next poll will look at first, if it is known: it can be asked for ahead.
    fn first_look(&self) -> *const () {
        ptr::null()
    }
}

/// A future of which no more is known.
#[repr(transparent)]
pub(crate) struct Plain<F>(pub(crate) F);

impl<F: Future> Future for Plain<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the future is pinned where it lies, as what holds it is.
        unsafe { self.map_unchecked_mut(|plain| &mut plain.0) }.poll(context)
    }
}

impl<F: Future> Runs for Plain<F> {}

/// Room for a future or an output. What does not fit is boxed.
const STAGE_WORDS: usize = 4;
struct Stage {
    _words: [MaybeUninit<u64>; STAGE_WORDS],
}

impl Default for Stage {
    fn default() -> Self {
        Self { _words: [MaybeUninit::uninit(); STAGE_WORDS] }
    }
}

/// See `Header::extra`.
#[derive(Default)]
pub(crate) struct Extra {
    /// What the program calls the task.
    label: Option<CString>,
    /// The first of the task's operations: its index and 1. For whoever runs tasks to define, and used only where the task
    /// runs, as all that follows.
    first_op: AtomicU32,
    /// How many of them go on, for the runner, who is the only one to write it.
    pub(crate) live_ops: AtomicU32,
    /// How many of these others have ended meanwhile, because the task was given up and its runner does not hear of them.
    pub(crate) ended_unheard: AtomicU32,
    /// How many of them are over, and their outcomes yet to be told to functions of the program's.
    pub(crate) reports: AtomicU32,
    /// The task waits until there are neither.
    pub(crate) quiesces: AtomicBool,
    /// The output of a task that ended before its operations did. The runner's.
    aside: AtomicPtr<()>,
    /// By queues that the task waits in.
    pub(super) called: Called,
}

/// See the module of tasks for who may touch which field. All that a wake and a poll look at is in the first cache line, with
/// the first two words of the stage: a C task's poll function and its state.
#[derive(Default)]
#[repr(C, align(128))]
pub(crate) struct Header {
    pub(super) state: State,
    link: AtomicPtr<Header>,
    /// Written before the first reference is given away. No model need look at it: the word orders what it stands for.
    vtable: std::sync::atomic::AtomicPtr<Vtable>,
    scheduler: AtomicPtr<()>,
    /// What most tasks do without; null then. Made before the task can run, or by its runner, and freed with its life.
    extra: AtomicPtr<Extra>,
    /// Where a pinned task runs.
    home: AtomicU32,
    /// The task asked for another poll. The runner's.
    again: AtomicBool,
    /// `Extra::first_op` is not 0.
    has_ops: AtomicBool,
    /// It was called once in its life: `Extra::called` is worth a look. Written before that, and before the caller's wake.
    pub(super) called: AtomicBool,
    stage: UnsafeCell<Stage>,
    /// The cell's own index, once it was handed out.
    index: AtomicU32,
    next_free: AtomicU32,
    pub(super) joiners: Mutex<Joiners>,
}

// SAFETY: each cell is shared by the protocol that the module of tasks states; the stage moves between threads, and every
// future and output in it is Send.
unsafe impl Sync for Header {}
// SAFETY: as above.
unsafe impl Send for Header {}

// SAFETY: all zeros are a free state word, null pointers, an unlocked mutex without joiners, and no stage.
unsafe impl Entry for Header {
    fn next_free(&self) -> &AtomicU32 {
        &self.next_free
    }
}

// SAFETY: the link is the queue's that holds the task, and a task is in one queue at most (NOTIFIED). Cells are aligned to 128.
unsafe impl Node for Header {
    fn link(&self) -> &AtomicPtr<Self> {
        &self.link
    }
}

impl Header {
    /// The table of this life, or of another if the caller holds no reference.
    pub(super) fn vtable(&self) -> &'static Vtable {
        let table = self.vtable.load(Relaxed);
        // SAFETY: tables are static, and a cell that was seen alive once always has one.
        unsafe { table.as_ref() }.expect("a cell that lived has a table")
    }

    /// True if the output is of this type, in this life or, if the caller holds no reference, in another.
    pub(super) fn yields(&self, output: TypeId) -> bool {
        // SAFETY: tables are static. Null: the cell never lived.
        unsafe { self.vtable.load(Relaxed).as_ref() }.is_some_and(|table| (table.output)() == output)
    }

    /// True on a thread that runs tasks of this one's scheduler, which cannot go away during the call.
    pub(super) fn is_local(&self) -> bool {
        (self.vtable().here)() == self.scheduler()
    }

    /// What identifies the scheduler that the task belongs to.
    pub(crate) fn scheduler(&self) -> *const () {
        self.scheduler.load(Relaxed)
    }

    /// The worker that a pinned task belongs to.
    pub(crate) fn home(&self) -> u32 {
        self.home.load(Relaxed)
    }

    /// True if the task must run on `home`: for good, or as long as it has operations.
    pub(crate) fn is_pinned(&self) -> bool {
        self.state.is_pinned()
    }

    /// True once somebody asked the task to end: for one that is shielded, and ends itself.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.state.is_cancelled()
    }

    /// Has the task polled once more when others had their turn. Called in its poll: it is the cheapest of all wakes.
    pub(crate) fn run_again(&self) {
        self.again.store(true, Relaxed);
    }

    /// True if the poll that has just returned asked for another.
    pub(super) fn takes_again(&self) -> bool {
        let again = self.again.load(Relaxed);
        if again {
            self.again.store(false, Relaxed);
        }
        again
    }

    /// True if the task has operations, be they over. Asked where it runs.
    pub(crate) fn has_ops(&self) -> bool {
        self.has_ops.load(Relaxed)
    }

    /// The first of its operations: its index and 1, or 0. Asked where it runs.
    pub(crate) fn first_op(&self) -> u32 {
        self.extra().map_or(0, |extra| extra.first_op.load(Relaxed))
    }

    /// The same, set.
    pub(crate) fn set_first_op(&self, first: u32) {
        self.extra_or_new().first_op.store(first, Relaxed);
        self.has_ops.store(first != 0, Relaxed);
    }

    /// Asks for the extra part, where it has operations.
    pub(super) fn ask_extra(&self) {
        if self.has_ops() {
            prefetch(self.extra.load(Relaxed), 0);
        }
    }

    /// True if none of its operations goes on, and no outcome is yet to be told. Asked where it runs.
    pub(crate) fn is_quiet(&self) -> bool {
        self.extra().is_none_or(|extra| extra.live_ops.load(Relaxed) == 0 && extra.reports.load(Relaxed) == 0)
    }

    /// The extra part of a task to which the caller holds a reference.
    pub(crate) fn extra(&self) -> Option<&Extra> {
        // SAFETY: it lives as long as the cell's life, which the caller's reference prolongs.
        unsafe { self.extra.load(Acquire).as_ref() }
    }

    /// The same, made if there is none. For the runner.
    pub(crate) fn extra_or_new(&self) -> &Extra {
        if self.extra.load(Relaxed).is_null() {
            self.extra.store(Box::into_raw(Box::default()), Release);
        }
        self.extra().expect("made above")
    }

    /// The task that runs on this worker gets an operation: it stays there as long as it has one.
    pub(crate) fn stay(&self, worker: u32) {
        self.home.store(worker, Relaxed);
    }

    /// Labels a task that cannot run yet.
    pub(crate) fn set_label(&self, label: CString) {
        self.extra.store(Box::into_raw(Box::new(Extra { label: Some(label), ..Extra::default() })), Release);
    }

    /// The label of a task to which the caller holds a reference.
    pub(crate) fn label(&self) -> Option<CString> {
        self.extra()?.label.clone()
    }

    /// The handle of a live task.
    pub(crate) fn name(&self) -> u64 {
        Handle { generation: self.state.generation(), index: self.index.load(Relaxed) }.pack(Kind::Task)
    }

    /// The runner's, or the output owner's, view of the stage.
    fn stage<T>(&self) -> *mut T {
        self.stage.with_mut(|stage| stage.cast())
    }

    /// Moves a value into the stage.
    ///
    /// # Safety
    /// The caller owns the stage by the protocol, and it is empty.
    unsafe fn put<T>(&self, value: T) {
        // SAFETY: the stage is the caller's; it is large enough and aligned where `fits` says so, and holds a box elsewhere.
        unsafe {
            if fits::<T>() {
                self.stage::<T>().write(value);
            } else {
                self.stage::<Box<T>>().write(Box::new(value));
            }
        }
    }

    /// The value in the stage.
    ///
    /// # Safety
    /// The caller owns the stage, and it holds a `T`.
    unsafe fn peek<T>(&self) -> *mut T {
        // SAFETY: the reverse of `put`.
        unsafe { if fits::<T>() { self.stage::<T>() } else { &raw mut **self.stage::<Box<T>>() } }
    }

    /// Moves the value out of the stage, which is empty afterwards.
    ///
    /// # Safety
    /// The caller owns the stage, and it holds a `T`.
    unsafe fn take<T>(&self) -> T {
        // SAFETY: the reverse of `put`; the stage counts as empty afterwards.
        unsafe { if fits::<T>() { self.stage::<T>().read() } else { *self.stage::<Box<T>>().read() } }
    }

    /// Drops the value in the stage where it lies. A panic of its destructor is returned.
    ///
    /// # Safety
    /// The caller owns the stage, and it holds a `T`.
    unsafe fn clear<T>(&self) -> std::thread::Result<()> {
        // SAFETY: as in `take`; a pinned future is not moved before its destructor ran.
        catch_unwind(AssertUnwindSafe(|| unsafe {
            if fits::<T>() {
                self.stage::<T>().drop_in_place();
            } else {
                self.stage::<Box<T>>().drop_in_place();
            }
        }))
    }
}

fn fits<T>() -> bool {
    size_of::<T>() <= size_of::<Stage>() && align_of::<T>() <= align_of::<u64>()
}

/// What the stage holds when the task is over.
pub(super) type Output<T> = Result<T, JoinError>;

/// Why a task could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpawnError {
    /// The scheduler takes no more tasks.
    Stopped,
    NoMemory,
}

/// Makes a task and its first notification, which the caller must hand to a queue. On failure the future comes back.
pub(crate) fn spawn<F, S>(
    future: F,
    scheduler: Arc<S>,
    home: Option<u32>,
    joinable: bool,
) -> Result<Notified, (SpawnError, F)>
where
    F: Runs + Send + 'static,
    F::Output: Send + 'static,
    S: Schedule,
{
    let Some((index, cell)) = CELLS.alloc() else {
        return Err((SpawnError::NoMemory, future));
    };
    let generation = cell.state.generation() + 1;
    let asked = Arc::as_ptr(&scheduler);
    // A cell that was just allocated is the caller's alone until `open`.
    cell.vtable.store(ptr::from_ref(Vtable::of::<F, S>()).cast_mut(), Relaxed);
    cell.scheduler.store(Arc::into_raw(scheduler).cast_mut().cast(), Relaxed);
    cell.home.store(home.unwrap_or(0), Relaxed);
    cell.index.store(index, Relaxed);
    // A drop function of the life before may have asked.
    cell.again.store(false, Relaxed);
    // SAFETY: as above, and the stage of a free cell is empty.
    unsafe { cell.put(future) };
    cell.state.open(generation, home.is_some(), joinable);
    // SAFETY: the cell holds a count on the scheduler.
    if !unsafe { (*asked).begins() }
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
    let index = cell.index.load(Relaxed);
    let extra = cell.extra.load(Relaxed);
    if !extra.is_null() {
        cell.extra.store(ptr::null_mut(), Relaxed);
        cell.has_ops.store(false, Relaxed);
        cell.called.store(false, Relaxed);
        // SAFETY: the cell made it for this life, and the last reference is gone.
        drop(unsafe { Box::from_raw(extra) });
    }
    // SAFETY: the cell's count on its scheduler is given up with its last reference.
    unsafe { (cell.vtable().release)(cell.scheduler()) };
    if cell.state.recycle() {
        CELLS.free(index);
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
pub(super) unsafe fn poll<F: Future>(cell: &Header, context: &mut Context<'_>) -> Polled {
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
pub(super) unsafe fn cancel<F: Future>(cell: &Header) -> Polled {
    // SAFETY: the same.
    unsafe { conclude::<F>(cell, Err(JoinError::Cancelled)) }
}

/// The task has its output. Ends it, unless it has operations: then the output is put aside.
///
/// # Safety
/// As for `poll`.
unsafe fn conclude<F: Future>(cell: &Header, output: Output<F::Output>) -> Polled {
    if cell.has_ops() {
        cell.extra_or_new().aside.store(Box::into_raw(Box::new(output)).cast(), Relaxed);
        return Polled::Draining;
    }
    // SAFETY: the caller says so.
    unsafe { end::<F>(cell, output) }
}

/// The vtable's `end_drained`.
///
/// # Safety
/// As for `poll`, and `conclude` put the output aside.
pub(super) unsafe fn end_drained<F: Future>(cell: &Header) -> Polled {
    let aside = cell.extra_or_new().aside.swap(ptr::null_mut(), Relaxed);
    // SAFETY: `conclude` made the box, with this type; the swap takes it once.
    unsafe { end::<F>(cell, *Box::from_raw(aside.cast::<Output<F::Output>>())) }
}

/// Drops the future and stores the output, unless the task was given up.
///
/// # Safety
/// As for `poll`.
unsafe fn end<F: Future>(cell: &Header, output: Output<F::Output>) -> Polled {
    if cell.state.end() == End::Abandoned {
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
