//! The cell: one entry of the slab, 128 bytes, the same type for every task.

use super::calls::Called;
use super::join::Joiners;
use super::raw::Vtable;
use super::state::State;
use crate::primitives::handle::{Handle, Kind};
use crate::primitives::inbox::Node;
use crate::primitives::prefetch::prefetch;
use crate::primitives::slab::{Entry, Slab};
use crate::primitives::sync::{AtomicBool, AtomicPtr, AtomicU32, Mutex, Ordering::*, UnsafeCell, process_static};
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

    /// False: dropping it runs nothing of the program's, so no shutdown need know when that begins.
    fn is_dropped_by_program(&self) -> bool {
        true
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

impl<F: Future> Runs for Plain<F> {
    fn is_dropped_by_program(&self) -> bool {
        std::mem::needs_drop::<F>()
    }
}

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
        Handle { generation: self.state.generation(), index: self.index() }.pack(Kind::Task)
    }

    /// A free cell, which is the caller's alone, gets a count on a scheduler.
    pub(super) fn join_scheduler(&self, index: u32, scheduler: *const ()) {
        self.index.store(index, Relaxed);
        self.scheduler.store(scheduler.cast_mut(), Relaxed);
    }

    /// Gives that count up. For whoever has the cell after its last reference went.
    pub(super) fn leave_scheduler(&self) {
        // SAFETY: the caller says so; the table is that of the last life, which had the same scheduler.
        unsafe { (self.vtable().release)(self.scheduler()) };
    }

    /// A life begins in such a cell. The stage comes next, then the state.
    pub(super) fn begin(&self, vtable: &'static Vtable, home: u32) {
        self.vtable.store(ptr::from_ref(vtable).cast_mut(), Relaxed);
        self.home.store(home, Relaxed);
        // A drop function of the life before may have asked.
        self.again.store(false, Relaxed);
    }

    /// The life is over: its last reference is gone, and was the caller's.
    pub(super) fn over(&self) {
        let extra = self.extra.load(Relaxed);
        if !extra.is_null() {
            self.extra.store(ptr::null_mut(), Relaxed);
            self.has_ops.store(false, Relaxed);
            self.called.store(false, Relaxed);
            // SAFETY: the cell made it for this life, and the last reference is gone.
            drop(unsafe { Box::from_raw(extra) });
        }
    }

    /// The cell's place in the slab.
    pub(super) fn index(&self) -> u32 {
        self.index.load(Relaxed)
    }

    /// Keeps the output of a task that has operations. For the runner.
    pub(super) fn put_aside<T>(&self, output: Box<T>) {
        self.extra_or_new().aside.store(Box::into_raw(output).cast(), Relaxed);
    }

    /// What `put_aside` kept.
    ///
    /// # Safety
    /// The caller is the runner, which put a `T` aside and has not taken it.
    pub(super) unsafe fn take_aside<T>(&self) -> T {
        let aside = self.extra_or_new().aside.swap(ptr::null_mut(), Relaxed);
        // SAFETY: the caller says so.
        unsafe { *Box::from_raw(aside.cast::<T>()) }
    }

    /// The runner's, or the output owner's, view of the stage.
    fn stage<T>(&self) -> *mut T {
        self.stage.with_mut(|stage| stage.cast())
    }

    /// Moves a value into the stage.
    ///
    /// # Safety
    /// The caller owns the stage by the protocol, and it is empty.
    pub(super) unsafe fn put<T>(&self, value: T) {
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
    pub(super) unsafe fn peek<T>(&self) -> *mut T {
        // SAFETY: the reverse of `put`.
        unsafe { if fits::<T>() { self.stage::<T>() } else { &raw mut **self.stage::<Box<T>>() } }
    }

    /// Moves the value out of the stage, which is empty afterwards.
    ///
    /// # Safety
    /// The caller owns the stage, and it holds a `T`.
    pub(super) unsafe fn take<T>(&self) -> T {
        // SAFETY: the reverse of `put`; the stage counts as empty afterwards.
        unsafe { if fits::<T>() { self.stage::<T>().read() } else { *self.stage::<Box<T>>().read() } }
    }

    /// Drops the value in the stage where it lies. A panic of its destructor is returned.
    ///
    /// # Safety
    /// The caller owns the stage, and it holds a `T`.
    pub(super) unsafe fn clear<T>(&self) -> std::thread::Result<()> {
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

pub(super) fn fits<T>() -> bool {
    size_of::<T>() <= size_of::<Stage>() && align_of::<T>() <= align_of::<u64>()
}
