//! What a poll knows of its surroundings: the C side's `rt_cx`, and the thread's place in a runtime.

use super::shared::Shared;
use super::worker::Worker;
use crate::primitives::slab::{Entry, Slab};
use crate::primitives::sync::{AtomicPtr, AtomicU32, AtomicU64, Mutex, Ordering::*, process_static};
use crate::task::{Header, TaskName, Tied, Ties, WAKER_VTABLE};
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ptr;
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

process_static! {
    /// Contexts live in a slab, so that one that is used after its end is told from a live one, and never freed memory.
    static CONTEXTS: Slab<PollContext> = Slab::new();
}

/// How many contexts there are, those of the workers included.
pub(super) fn contexts() -> u64 {
    CONTEXTS.in_use()
}

/// A budget without limit.
pub(crate) const UNLIMITED: u32 = u32::MAX;

/// Not in use: between two polls, or freed.
const IDLE: u32 = 0;
/// In a poll, on one thread.
const POLLING: u32 = 1;
/// Made for use outside of tasks; any one thread at a time.
const STANDALONE: u32 = 2;

/// One poll at a time. The first two words are the waker, which C sees as `rt_waker`.
#[derive(Default)]
#[repr(C, align(64))]
pub(crate) struct PollContext {
    waker: [AtomicU64; 2],
    phase: AtomicU32,
    index: AtomicU32,
    next_free: AtomicU32,
    /// Ready results that this poll may still take.
    budget: AtomicU32,
    thread: AtomicU64,
    runtime: AtomicU64,
    /// The task that the worker runs, or null.
    running: AtomicPtr<Header>,
    /// Where a standalone one has a place that must not outlive it: the next one has the same address.
    ties: Mutex<Option<Box<Ties>>>,
    /// How many standalone ones had this place before.
    lives: AtomicU32,
}

// SAFETY: all zeros are an idle context with no ties.
unsafe impl Entry for PollContext {
    fn next_free(&self) -> &AtomicU32 {
        &self.next_free
    }
}

/// Why a context cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CxError {
    Null,
    /// Outside of its poll, or on another thread.
    Misused,
}

impl PollContext {
    fn new(runtime: u64) -> Option<&'static Self> {
        let (index, context) = CONTEXTS.alloc()?;
        context.index.store(index, Relaxed);
        context.runtime.store(runtime, Relaxed);
        Some(context)
    }

    /// A context for use outside of tasks, with a waker that it owns.
    pub(crate) fn standalone(runtime: u64, waker: Waker) -> Option<&'static Self> {
        let context = Self::new(runtime)?;
        let waker = ManuallyDrop::new(waker);
        context.set_waker(waker.data(), waker.vtable());
        context.budget.store(UNLIMITED, Relaxed);
        context.phase.store(STANDALONE, Release);
        Some(context)
    }

    /// Ends a standalone context. False: it is none.
    pub(crate) fn free_standalone(&'static self) -> bool {
        if self.phase.compare_exchange(STANDALONE, IDLE, AcqRel, Relaxed).is_err() {
            return false;
        }
        self.lives.fetch_add(1, Relaxed);
        let ties = self.ties.lock().take();
        ties.into_iter().flat_map(|ties| *ties).for_each(|place| place.is_gone(self.address()));
        // SAFETY: the exchange made us the one who ends it; the waker was moved in by `standalone`.
        drop(unsafe { Waker::from_raw(self.raw_waker()) });
        self.free();
        true
    }

    /// Gives the context back.
    fn free(&self) {
        CONTEXTS.free(self.index.load(Relaxed));
    }

    /// # Safety
    /// `context` is null, or came from this module once.
    #[inline]
    pub(crate) unsafe fn check<'a>(context: *const Self) -> Result<&'a Self, CxError> {
        if context.is_null() {
            return Err(CxError::Null);
        }
        // SAFETY: contexts are type-stable and never unmapped.
        let context = unsafe { &*context };
        match context.phase.load(Relaxed) {
            POLLING if context.thread.load(Relaxed) == thread_mark() => Ok(context),
            STANDALONE => Ok(context),
            _ => Err(CxError::Misused),
        }
    }

    /// Marks the poll of a task on this thread. The mark ends with the result.
    pub(crate) fn enter(&self, task: &Header) -> Polling<'_> {
        self.enter_as(ptr::from_ref(task).cast(), &WAKER_VTABLE)
    }

    /// Marks the try of an operation on this thread, which is woken as this waker says.
    pub(super) fn enter_as(&self, data: *const (), vtable: &'static RawWakerVTable) -> Polling<'_> {
        self.set_waker(data, vtable);
        self.thread.store(thread_mark(), Relaxed);
        self.phase.store(POLLING, Relaxed);
        Polling(self)
    }

    fn set_waker(&self, data: *const (), vtable: &'static RawWakerVTable) {
        self.waker[0].store(data.expose_provenance() as u64, Relaxed);
        self.waker[1].store(ptr::from_ref(vtable).expose_provenance() as u64, Relaxed);
    }

    fn raw_waker(&self) -> RawWaker {
        let data = ptr::with_exposed_provenance(self.waker[0].load(Relaxed) as usize);
        let vtable = ptr::with_exposed_provenance(self.waker[1].load(Relaxed) as usize);
        // SAFETY: `set_waker` stored a reference with static lifetime.
        RawWaker::new(data, unsafe { &*vtable })
    }

    /// The waker, borrowed from the context.
    pub(crate) fn waker(&self) -> ManuallyDrop<Waker> {
        // SAFETY: the runner, or the standalone context, holds the reference; `ManuallyDrop` gives none up.
        ManuallyDrop::new(unsafe { Waker::from_raw(self.raw_waker()) })
    }

    /// The waker as C sees it.
    pub(crate) fn waker_words(&self) -> *const [AtomicU64; 2] {
        &raw const self.waker
    }

    /// What tells waiters apart: the task, or the context where there is none.
    #[inline]
    pub(crate) fn key(&self) -> usize {
        match self.phase.load(Relaxed) {
            STANDALONE => self.address(),
            _ => self.waker[0].load(Relaxed) as usize,
        }
    }

    /// The same where it must be told from who has the same address later.
    pub(crate) fn poller(&self) -> Poller {
        let context = || Poller::Context { index: self.index.load(Relaxed), life: self.lives.load(Relaxed) };
        self.task().map_or_else(context, Poller::Task)
    }

    fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    /// The context as what it is: an entry of the slab.
    pub(crate) fn entry(&self) -> &'static Self {
        CONTEXTS.get(self.index.load(Relaxed)).expect("an entry that was handed out")
    }

    /// True if an operation is tried with it.
    #[inline]
    pub(super) fn is_operation(&self) -> bool {
        self.waker[1].load(Relaxed) as usize == ptr::from_ref(&super::operation::WAKER).addr()
    }

    /// The task that is polled.
    pub(crate) fn task(&self) -> Option<TaskName> {
        self.header().map(TaskName::of)
    }

    /// The same, as whoever runs it knows it.
    pub(crate) fn header(&self) -> Option<&'static Header> {
        crate::task::header_of(&self.waker()).filter(|_| self.phase.load(Relaxed) == POLLING)
    }

    pub(crate) fn runtime(&self) -> u64 {
        self.runtime.load(Relaxed)
    }

    /// True if the poll may take a ready result.
    #[inline]
    pub(crate) fn has_budget(&self) -> bool {
        self.budget.load(Relaxed) > 0
    }

    /// The same. False: the task was woken and must return pending.
    #[inline]
    pub(crate) fn can_spend(&self) -> bool {
        let can = self.has_budget();
        if !can {
            self.wake_again();
        }
        can
    }

    /// Wakes whoever is polled.
    pub(crate) fn wake_again(&self) {
        match self.header() {
            // A future may also be polled with the waker of another task than the one that runs.
            Some(task) if ptr::eq(task, self.running.load(Relaxed)) => task.run_again(),
            _ => self.waker().wake_by_ref(),
        }
    }

    /// Takes a ready result from the budget, which the caller found not to be spent.
    #[inline]
    pub(crate) fn spend(&self) {
        match self.budget.load(Relaxed) {
            UNLIMITED => {}
            left => self.budget.store(left.saturating_sub(1), Relaxed),
        }
    }

    /// A fresh budget, before a poll.
    pub(super) fn refill(&self, budget: u32) {
        self.budget.store(budget, Relaxed);
    }

    /// The worker is about to run this task.
    pub(super) fn begin(&self, task: &'static Header, budget: u32) {
        self.running.store(ptr::from_ref(task).cast_mut(), Relaxed);
        self.refill(budget);
    }

    /// The worker has run it.
    pub(super) fn end(&self) {
        self.running.store(ptr::null_mut(), Relaxed);
    }
}

/// Who polls. Keeps nothing alive and never dangles.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Poller {
    Task(TaskName),
    Context { index: u32, life: u32 },
}

impl Poller {
    /// True if it will not poll again.
    pub(crate) fn is_over(self) -> bool {
        match self {
            Self::Task(name) => name.is_over(),
            Self::Context { index, life } => !CONTEXTS.get(index).is_some_and(|context| {
                context.phase.load(Relaxed) == STANDALONE && context.lives.load(Relaxed) == life
            }),
        }
    }
}

impl Tied for PollContext {
    fn with_ties(&self, act: &mut dyn FnMut(&mut Ties)) {
        act(self.ties.lock().get_or_insert_default());
    }
}

/// A context for a worker's polls, which is given back with the worker.
pub(super) struct OwnContext(&'static PollContext);

impl OwnContext {
    pub(super) fn new(runtime: u64) -> Option<Self> {
        PollContext::new(runtime).map(Self)
    }

    pub(super) fn get(&self) -> &'static PollContext {
        self.0
    }
}

impl Drop for OwnContext {
    fn drop(&mut self) {
        self.0.free();
    }
}

/// Ends the mark of a poll.
pub(crate) struct Polling<'a>(&'a PollContext);

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.0.phase.store(IDLE, Relaxed);
    }
}

/// Tells this thread from all others that run now: the address of its control block.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn thread_mark() -> u64 {
    let block: u64;
    // SAFETY: the ABI of thread-local storage says that the block begins with its own address. It costs an instruction,
    // where a call of pthread_self would have every export that asks keep its arguments over it.
    unsafe { std::arch::asm!("mov {}, fs:0", out(reg) block, options(nostack, readonly, preserves_flags)) };
    block
}

/// Tells this thread from all others that run now.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn thread_mark() -> u64 {
    // SAFETY: pthread_self has no preconditions.
    unsafe { libc::pthread_self() as u64 }
}

/// A runtime that runs on this thread, and the one it interrupted: a poll may drive another runtime.
pub(super) struct Current {
    shared: *const Shared,
    /// Null on a thread that only ends tasks, for a runtime whose workers are stuck.
    worker: *const Worker,
    parent: *const Current,
}

thread_local! {
    static CURRENT: Cell<*const Current> = const { Cell::new(ptr::null()) };
    /// The runtime that this thread was made for. What the program left on it is destroyed when its worker has ended, but the
    /// thread has not: who frees the runtime waits for that, too.
    static MADE_FOR: Cell<u64> = const { Cell::new(0) };
}

impl Current {
    /// Runs `f` with `worker` as this thread's innermost.
    pub(super) fn scope<R>(worker: &Worker, f: impl FnOnce() -> R) -> R {
        Self::enter(worker.shared(), worker, f)
    }

    /// Runs `f` inside of a runtime, but not as one of its workers.
    pub(super) fn scope_without_worker<R>(shared: &Shared, f: impl FnOnce() -> R) -> R {
        Self::enter(shared, ptr::null(), f)
    }

    /// Runs `f`, which may call wakers of the program's, inside of a runtime of which the caller is a user: as one of its
    /// workers only if this thread is. One that frees the runtime would wait for the caller, and is refused.
    pub(super) fn inside<R>(shared: &Shared, f: impl FnOnce() -> R) -> R {
        if Self::worker_of(shared).is_some() { f() } else { Self::scope_without_worker(shared, f) }
    }

    fn enter<R>(shared: &Shared, worker: *const Worker, f: impl FnOnce() -> R) -> R {
        struct Restore(*const Current);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        let current = Self { shared, worker, parent: CURRENT.get() };
        let _restore = Restore(current.parent);
        CURRENT.set(&raw const current);
        f()
    }

    /// The innermost worker of this thread, if it is one of `shared`.
    #[inline]
    pub(super) fn worker_of(shared: &Shared) -> Option<&Worker> {
        // SAFETY: `enter` keeps the scope on this thread's stack while it is current.
        let current = unsafe { CURRENT.get().as_ref() }?;
        // SAFETY: as above; the worker outlives its scope, and its runtime's shared part outlives the worker's scopes.
        if ptr::eq(current.shared, shared) { unsafe { current.worker.as_ref() } } else { None }
    }

    /// The innermost worker of this thread.
    pub(super) fn with_worker<R>(f: impl FnOnce(Option<&Worker>) -> R) -> R {
        // SAFETY: as in `worker_of`.
        f(unsafe { CURRENT.get().as_ref().and_then(|current| current.worker.as_ref()) })
    }

    /// The runtime of the innermost worker of this thread, for a caller that does not leave the worker's scope with it.
    #[inline]
    pub(super) fn shared<'a>() -> Option<&'a Shared> {
        // SAFETY: as in `worker_of`.
        unsafe { CURRENT.get().as_ref().filter(|current| !current.worker.is_null()).and_then(|c| c.shared.as_ref()) }
    }

    /// From now on this thread is the runtime's own.
    pub(super) fn belongs_to(shared: &Shared) {
        MADE_FOR.set(shared.handle);
    }

    /// True if this thread is somewhere inside of the runtime: in a poll, a waker, a hook or a drop function, or in what is called
    /// at the end of its worker's thread.
    pub(super) fn is_inside(shared: &Shared) -> bool {
        if MADE_FOR.get() == shared.handle {
            return true;
        }
        let mut current = CURRENT.get();
        // SAFETY: as in `worker_of`; parents are further up the same stack.
        while let Some(scope) = unsafe { current.as_ref() } {
            if ptr::eq(scope.shared, shared) {
                return true;
            }
            current = scope.parent;
        }
        false
    }
}

/// True if this thread is inside of any runtime: a wait would keep others from running.
pub(crate) fn is_inside_any() -> bool {
    !CURRENT.get().is_null()
}

impl PollContext {
    /// The context of the poll that goes on on this thread.
    pub(crate) fn current() -> Option<&'static Self> {
        Current::with_worker(|worker| worker.map(Worker::context))
            .filter(|context| context.phase.load(Relaxed) == POLLING)
    }

    /// Runs `f` with the context of the task that is polled with `context`, for a future that is polled on a worker of the
    /// task's runtime. `None`: it is not.
    pub(crate) fn within<R>(context: &Context<'_>, f: impl FnOnce(&'static Self) -> R) -> Option<R> {
        let task = crate::task::header_of(context.waker())?;
        let its_worker = |worker: &&Worker| worker.shared().identity() == task.scheduler();
        let cx = Current::with_worker(|worker| worker.filter(its_worker).map(Worker::context))?;
        // Its task may be one that marked itself.
        let _polling = (cx.phase.load(Relaxed) != POLLING).then(|| cx.enter(task));
        Some(f(cx))
    }

    /// The context of the worker whose poll goes on on this thread, for a task that marks itself.
    pub(crate) fn of_worker() -> Option<&'static Self> {
        Current::with_worker(|worker| worker.map(Worker::context))
    }
}
