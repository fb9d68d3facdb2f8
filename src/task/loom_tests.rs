//! Every order in which a task's runner can meet those who wake, abort, join and let go of it.
//!
//! The models share their bookkeeping through loom's cells: an access that is not ordered after the one before it fails
//! the model. The data that a waker leaves for the poll is Relaxed, so that only the task's own word can order it.
//! A scheduler's count that a cell does not give back is a leak, which loom reports by itself.

mod drain;
mod end;
mod wake;

use super::cell::CELLS;
use super::life::dealloc;
use super::waker::waker_ref;
use super::{Header, Notified, Plain, Ran, Schedule, TaskName, spawn};
use crate::primitives::sync::{Arc, AtomicPtr, Ordering::*, UnsafeCell};
use loom::thread::{self, JoinHandle, Thread};
use std::cell::Cell;
use std::future::Future;
use std::ptr::{self, NonNull};
use std::sync::Arc as Shared;
use std::task::Waker;

/// A queue for one task, that any thread may run. It refuses a task while it holds one, and orders no more than a queue must.
pub(crate) struct Pool {
    slot: AtomicPtr<Header>,
}

loom::thread_local! {
    /// The pool whose thread this is.
    static HERE: Cell<*const Pool> = Cell::new(ptr::null());
}

impl Pool {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { slot: AtomicPtr::new(ptr::null_mut()) })
    }

    /// A pool whose own thread is this one.
    fn local() -> Arc<Self> {
        let pool = Self::new();
        HERE.with(|here| here.set(Arc::as_ptr(&pool)));
        pool
    }

    fn pop(&self) -> Option<Notified> {
        // SAFETY: `schedule` took it apart, and the swap gives it out once.
        NonNull::new(self.slot.swap(ptr::null_mut(), Acquire)).map(|task| unsafe { Notified::from_raw(task) })
    }

    pub(crate) fn run(&self) {
        while let Some(task) = self.pop() {
            // What a worker may look at of a task that is queued with it, before the task is started.
            // SAFETY: the pop made the queue's reference this thread's.
            unsafe { task.header().ask_ahead(true) };
            if let Ran::Again(task) = task.run() {
                self.schedule(task);
            }
        }
    }
}

impl Schedule for Pool {
    fn schedule(&self, task: Notified) {
        assert!(self.slot.swap(task.into_raw().as_ptr(), Release).is_null(), "queued twice");
    }

    fn here() -> *const Self {
        HERE.with(|here| here.get())
    }

    fn ended(&self, _task: &Header) {}
}

/// Makes a task and queues it.
pub(crate) fn launch<F>(pool: &Arc<Pool>, future: F, joinable: bool) -> TaskName
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let task = spawn(Plain(future), pool, None, joinable).ok().expect("memory");
    let name = TaskName::of(task.header());
    pool.schedule(task);
    name
}

/// What was given up stays for ever, but a model must not leak. False: this cell was freed.
pub(crate) fn bury(index: u32) -> bool {
    let cell = CELLS.get(index).expect("the model has spawned");
    let refs = cell.state.refs();
    if refs > 0 && cell.state.ref_dec(refs) {
        dealloc(cell);
    }
    refs > 0
}

/// How often something happened, counted so that two counts without an order between them fail the model.
#[derive(Clone)]
struct Tally(Shared<Counted>);

struct Counted(UnsafeCell<u32>);

// SAFETY: loom sees to it that accesses are ordered, which is what the models are for.
unsafe impl Sync for Counted {}

impl Tally {
    fn new() -> Self {
        Self(Shared::new(Counted(UnsafeCell::new(0))))
    }

    fn add(&self) {
        // SAFETY: loom fails the model if another access is not ordered with this one.
        self.0.0.with_mut(|count| unsafe { *count += 1 });
    }

    fn get(&self) -> u32 {
        // SAFETY: as above.
        self.0.0.with(|count| unsafe { *count })
    }
}

fn waker_of(name: TaskName) -> Waker {
    name.with(|cell| waker_ref(cell).clone()).expect("alive")
}

/// What the threads returned.
fn all<T, const N: usize>(threads: [JoinHandle<T>; N]) -> [T; N] {
    threads.map(|thread| thread.join().expect("no panic"))
}

/// Every cell that the model used went back to the slab, once: they come out again before any new one, all but the
/// retired ones.
fn assert_freed_once(retired: &[u32]) {
    let used = CELLS.iter().count() as u32;
    let expected: Vec<u32> = (0..used).filter(|index| !retired.contains(index)).collect();
    let mut free: Vec<u32> = expected.iter().map(|_| CELLS.alloc().expect("memory").0).collect();
    free.sort_unstable();
    assert_eq!(free, expected, "not freed, or freed twice");
    assert_eq!(CELLS.alloc().expect("memory").0, used, "too many free");
    for (_, cell) in CELLS.iter() {
        assert_eq!(cell.state.refs(), 0, "freed while in use");
        assert!(cell.joiners.lock().is_empty(), "a joiner was left behind");
    }
}
