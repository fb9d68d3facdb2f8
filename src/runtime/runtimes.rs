//! Runtimes by their handles: making, using, and freeing them.

use super::buffers::Buffers;
use super::config::{Config, Flavour};
use super::context::{Current, OwnContext};
use super::create::Choice;
use super::io::Errno;
use super::letting_go::owned_by;
use super::operation::Ops;
use super::shared::{NEVER, Shared, now};
use super::threads::spawn_thread;
use super::worker::Worker;
use crate::driver::{self, Driver};
use crate::primitives::guard::{Guard, Left};
use crate::primitives::handle::{Handle, Kind};
use crate::primitives::slab::{Entry, Slab};
use crate::primitives::sync::{Arc, AtomicPtr, AtomicU32, Condvar, Mutex, Ordering::*, process_static, thread};
use crate::task::{self, Notified, Plain, Runs, Schedule, SpawnError, TaskName, live_tasks};
use std::fmt;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

process_static! {
    static RUNTIMES: Slab<Slot> = Slab::new();
}
process_static! {
    /// Threads that wait in `free` for the calls of others to end.
    static LEAVING: Mutex<()> = Mutex::new(());
}
process_static! {
    static LEFT: Condvar = Condvar::new();
}

/// How many runtimes there are.
pub(super) fn runtimes() -> u64 {
    RUNTIMES.in_use()
}

/// A runtime's place in the slab.
#[derive(Default)]
#[repr(C, align(64))]
pub(crate) struct Slot {
    guard: Guard,
    next_free: AtomicU32,
    shared: AtomicPtr<Shared>,
    /// What only the one who frees the runtime, or drives it, takes out.
    parts: Mutex<Parts>,
}

/// What a runtime owns beside its shared part.
#[derive(Default)]
struct Parts {
    #[expect(clippy::box_collection, reason = "all zeros where there are none")]
    threads: Option<Box<Vec<thread::JoinHandle<()>>>>,
    /// The one worker of the current-thread flavour, while nobody drives it.
    worker: Option<Box<Worker>>,
    #[expect(clippy::box_collection, reason = "all zeros where there is none")]
    described: Option<Box<String>>,
}

// SAFETY: all zeros are a free guard, a null pointer, and an unlocked mutex over nothing.
unsafe impl Entry for Slot {
    fn next_free(&self) -> &AtomicU32 {
        &self.next_free
    }
}

// SAFETY: a worker is used by one thread at a time; the mutex hands it over.
unsafe impl Send for Parts {}

/// A runtime that cannot be freed while this exists. It stays on its thread.
pub(crate) struct RuntimeRef {
    slot: &'static Slot,
    index: u32,
    shared: NonNull<Shared>,
    /// It is a use of the slot. Without one, a worker of the runtime is further up this thread's stack.
    entered: bool,
}

impl RuntimeRef {
    /// `EBADF` for a stale handle.
    pub(crate) fn enter(raw: u64) -> Result<Self, Errno> {
        let handle = Handle::parse(raw, Kind::Runtime).ok_or(libc::EBADF)?;
        let slot = RUNTIMES.get(handle.index).ok_or(libc::EBADF)?;
        let here = Current::shared().filter(|shared| shared.handle == raw && slot.guard.is_open(handle.generation));
        if here.is_none() && !slot.guard.enter(handle.generation) {
            return Err(libc::EBADF);
        }
        let shared = here.map_or_else(|| slot.shared.load(Acquire), |here| ptr::from_ref(here).cast_mut());
        let shared = NonNull::new(shared).expect("stored before the guard was opened");
        Ok(Self { slot, index: handle.index, shared, entered: here.is_none() })
    }

    /// The runtime of a task.
    pub(crate) fn of_task(name: TaskName) -> Result<Self, Errno> {
        // SAFETY: outside of models, every task's scheduler is a `Shared`, and a live task holds a count on it.
        let handle = name.with(|cell| unsafe { (*cell.scheduler().cast::<Shared>()).handle });
        Self::enter(handle.map_err(|_stale| libc::EBADF)?)
    }

    /// The worker that a task is pinned to, or else this thread's. `EINVAL` for a task of another runtime.
    pub(crate) fn home_near(&self, near: TaskName) -> Result<u32, Errno> {
        let found = near
            .with(|cell| (cell.scheduler() == self.shared().identity()).then(|| cell.is_pinned().then(|| cell.home())));
        let home = found.map_err(|_stale| libc::EBADF)?.ok_or(libc::EINVAL)?;
        Ok(home.unwrap_or_else(|| self.pick_home()))
    }

    pub(crate) fn shared(&self) -> &Shared {
        // SAFETY: the slot's count on it is given up after its last user left, the worker's after its scope; this is one's, or
        // in the other.
        unsafe { self.shared.as_ref() }
    }

    /// The same, to be counted. That count stays where it is.
    pub(super) fn shared_arc(&self) -> ManuallyDrop<Arc<Shared>> {
        // SAFETY: as above.
        ManuallyDrop::new(unsafe { Arc::from_raw(self.shared.as_ptr().cast_const()) })
    }

    /// The current-thread worker, if nobody drives it now.
    pub(super) fn take_worker(&self) -> Option<Box<Worker>> {
        self.slot.parts.lock().worker.take()
    }

    pub(super) fn put_worker(&self, worker: Box<Worker>) {
        self.slot.parts.lock().worker = Some(worker);
    }

    /// What the runtime runs on, and why; and who of it does so no more.
    pub(crate) fn describe(&self) -> String {
        let described = self.slot.parts.lock().described.as_deref().cloned().unwrap_or_default();
        let lost = || self.shared().remotes.iter().filter_map(|remote| remote.driver.lost_ring());
        match lost().next() {
            None => described,
            Some(errno) => {
                let (workers, why) = (lost().count(), std::io::Error::from_raw_os_error(errno));
                let plural = if workers == 1 { "" } else { "s" };
                format!("{described}; {workers} worker{plural} on epoll since io_uring was refused ({why})")
            }
        }
    }

    // Tasks.

    /// Makes a task. It may run before this returns; `named` is called before that.
    pub(crate) fn spawn<F>(
        &self,
        future: F,
        home: Option<u32>,
        joinable: bool,
        named: impl FnOnce(TaskName),
    ) -> Result<(), (SpawnError, F)>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_task(Plain(future), home, joinable, named).map_err(|(error, Plain(future))| (error, future))
    }

    /// The same for what tells more of itself than a future does.
    pub(crate) fn spawn_task<F>(
        &self,
        future: F,
        home: Option<u32>,
        joinable: bool,
        named: impl FnOnce(TaskName),
    ) -> Result<(), (SpawnError, F)>
    where
        F: Runs + Send + 'static,
        F::Output: Send + 'static,
    {
        let shared = self.shared();
        let home = match shared.config.flavour {
            Flavour::CurrentThread => Some(0),
            Flavour::MultiThread => home,
        };
        let task = task::spawn(future, &self.shared_arc(), home, joinable)?;
        named(TaskName::of(task.header()));
        trace_spawn(&task);
        shared.schedule(task);
        Ok(())
    }

    /// The worker for a pinned task that asks for none.
    pub(crate) fn pick_home(&self) -> u32 {
        self.shared().pick_home()
    }
}

impl Drop for RuntimeRef {
    fn drop(&mut self) {
        if !self.entered {
            return;
        }
        match self.slot.guard.leave() {
            Left::InUse => {}
            Left::WakeCloser => {
                drop(LEAVING.lock());
                LEFT.notify_all();
            }
            // The closer waits for all others, so the last user is the closer.
            Left::Last => {
                if self.slot.guard.recycle(u32::MAX) {
                    RUNTIMES.free(self.index);
                }
            }
        }
    }
}

impl SpawnError {
    pub(crate) fn errno(self) -> Errno {
        match self {
            Self::Stopped => libc::ESHUTDOWN,
            Self::NoMemory => libc::ENOMEM,
        }
    }
}

/// Why a call on a runtime failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    errno: Errno,
    why: String,
}

impl Error {
    pub(super) fn new(errno: Errno, why: impl Into<String>) -> Self {
        Self { errno, why: why.into() }
    }

    /// A positive errno value.
    pub fn errno(&self) -> i32 {
        self.errno
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::new(errno, std::io::Error::from_raw_os_error(errno).to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Error {}

/// How long a runtime that goes waits for calls that were given up: 100 ms.
const LAST_PATIENCE: u64 = 100_000_000;

/// Makes a runtime with a worker for each driver.
pub(super) fn establish(config: Config, drivers: Vec<(Driver, driver::Handle)>, choice: &Choice) -> Result<u64, Error> {
    let workers = drivers.len();
    let (drivers, handles): (Vec<_>, Vec<_>) = drivers.into_iter().unzip();
    let (index, slot) = RUNTIMES.alloc().ok_or_else(|| Error::from(libc::ENOMEM))?;
    let raw = Handle { generation: slot.guard.next_generation(), index }.pack(Kind::Runtime);
    // Everything that may be wanting but threads: a runtime that cannot be driven could not be freed either.
    let context = |_| Some([OwnContext::new(raw)?, OwnContext::new(raw)?]);
    let Some(contexts) = (0..workers).map(context).collect::<Option<Vec<_>>>() else {
        RUNTIMES.free(index);
        return Err(libc::ENOMEM.into());
    };
    let shared = Arc::new(Shared::new(raw, config, handles));
    slot.shared.store(Arc::into_raw(shared.clone()).cast_mut(), Release);
    *slot.parts.lock() = Parts {
        described: Some(Box::new(format!(
            "{}, {workers} worker{}, engine {} ({})",
            match shared.config.flavour {
                Flavour::MultiThread => "multi-thread",
                Flavour::CurrentThread => "current-thread",
            },
            if workers == 1 { "" } else { "s" },
            if choice.ring { "io_uring" } else { "epoll" },
            choice.why,
        ))),
        ..Parts::default()
    };
    slot.guard.open();
    if let Err(error) = start(raw, &shared, drivers, contexts) {
        let _ = free(raw);
        return Err(error);
    }
    Ok(raw)
}

/// Makes the workers, and their threads.
fn start(raw: u64, shared: &Arc<Shared>, drivers: Vec<Driver>, contexts: Vec<[OwnContext; 2]>) -> Result<(), Error> {
    let runtime = RuntimeRef::enter(raw)?;
    let mut threads = Box::<Vec<_>>::default();
    let mut outcome = Ok(());
    for (index, (driver, [context, op_context])) in drivers.into_iter().zip(contexts).enumerate() {
        let ops = Ops::new(op_context, buffers_of(shared, index));
        let worker = Worker::new(shared.clone(), index as u32, driver, context, ops);
        if shared.is_current_thread() {
            runtime.put_worker(Box::new(worker));
            continue;
        }
        match spawn_thread(shared, worker) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                outcome = Err(Error::new(libc::EAGAIN, format!("no thread for a worker: {error}")));
                break;
            }
        }
    }
    // Nobody must wait for threads that were not made.
    for remote in &shared.remotes[threads.len()..] {
        remote.retired.swap(true, AcqRel);
    }
    runtime.slot.parts.lock().threads = Some(threads);
    outcome
}

/// The receive buffers of a worker. One that comes back wakes it, if it waits for that.
fn buffers_of(shared: &Arc<Shared>, index: usize) -> Buffers {
    let (size, count, runtime) = (shared.config.buffer_size, shared.config.buffer_count, shared.handle);
    Buffers::new(
        size,
        count,
        Box::new(move || {
            // A runtime that is being freed has nobody left who waits.
            if let Ok(runtime) = RuntimeRef::enter(runtime) {
                runtime.shared().remote(index as u32).nudge();
            }
        }),
    )
}

/// Ends a runtime and everything of it.
pub(crate) fn free(raw: u64) -> Result<(), Errno> {
    let runtime = RuntimeRef::enter(raw)?;
    runtime.may_block()?;
    let handle = Handle::parse(raw, Kind::Runtime).ok_or(libc::EBADF)?;
    runtime.shutdown(NEVER)?;
    if !runtime.slot.guard.close(handle.generation) {
        return Err(libc::EBADF);
    }
    // The use that closing made.
    let closer = RuntimeRef { slot: runtime.slot, index: runtime.index, shared: runtime.shared, entered: true };
    drop(runtime);
    let mut leaving = LEAVING.lock();
    while !closer.slot.guard.await_others() {
        LEFT.wait(&mut leaving);
    }
    drop(leaving);
    closer.dismantle(raw);
    Ok(())
}

impl RuntimeRef {
    /// The last user takes everything apart.
    fn dismantle(&self, raw: u64) {
        let parts = std::mem::take(&mut *self.slot.parts.lock());
        let shared = self.shared();
        // A worker that is stuck in a task which was given up can be waited for by nobody: it is left alone, with
        // everything that it may still touch. It will call no hook any more.
        shared.wait_for_workers(NEVER);
        let threads = parts.threads.into_iter().flat_map(|threads| threads.into_iter());
        for (thread, remote) in threads.zip(&shared.remotes) {
            // Nor for one whose thread ends when a call of the kernel's on its ring does, which may be never. It touches nothing.
            if remote.is_retired() && !remote.kept.load(Relaxed) {
                let _ = thread.join();
            }
        }
        if let Some(worker) = parts.worker {
            // As a worker with a thread does: what it tells its own operations reaches them.
            Current::scope(&worker, || worker.retire());
        }
        shared.pool.close();
        // All calls have ended, but for those of tasks that were given up, which may be stuck for good.
        let patience = if shared.abandoned.load(Acquire) == 0 { NEVER } else { now().saturating_add(LAST_PATIENCE) };
        shared.pool.join(patience);
        // Questions that nobody waits for any more own what they touch.
        shared.resolvers.close();
        shared.resolvers.join(now().saturating_add(LAST_PATIENCE));
        for io in owned_by(raw) {
            let _ = io.close_in(shared);
        }
        // A dead waker of a task's may lie in somebody else's queue for ever, and keeps the shared part: not what is scarce.
        // A worker that is stuck closes its own when it comes back.
        shared.freed.swap(true, AcqRel);
        for remote in shared.remotes.iter().filter(|remote| remote.retired.fetch_or(false, AcqRel)) {
            remote.driver.close();
        }
        live_tasks(shared.identity()).for_each(|task| {
            task.detach();
        });
        let along = std::mem::take(&mut *shared.along.lock());
        along.into_iter().for_each(|(raw, let_go)| let_go(raw));
        let pointer = self.slot.shared.swap(std::ptr::null_mut(), AcqRel);
        // SAFETY: the slot's own count, which nobody can reach any more.
        drop(unsafe { Arc::from_raw(pointer.cast_const()) });
    }

    /// `EDEADLK` where a call that blocks would wait for its own caller.
    pub(crate) fn may_block(&self) -> Result<(), Errno> {
        let shared = self.shared();
        if Current::is_inside(shared) {
            return Err(libc::EDEADLK);
        }
        if shared.is_current_thread() { self.bind() } else { Ok(()) }
    }
}

#[cfg(feature = "tracing")]
fn trace_spawn(task: &Notified) {
    tracing::trace!(target: "asyncio::task", op = "spawn", task = task.header().name());
}

#[cfg(not(feature = "tracing"))]
#[inline(always)]
fn trace_spawn(_task: &Notified) {}
