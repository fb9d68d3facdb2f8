//! The noun task.

use super::context::rt_cx;
use super::result::RT_PENDING;
use super::runtime::rt_runtime;
use super::{Errno, blocking, check, context, copy_text, guarded, init_sized, polled, runtime_ref, sized};
use crate::primitives::fork::is_forked;
use crate::runtime::{Io, Made, NEVER, PollContext, RuntimeRef, join_thread, wait_until_returned};
use crate::task::{JoinError, Runs, TaskName, header_of};
use crate::watch;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::{CStr, CString, c_char, c_void};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A task: a poll function with its state, run by a runtime until it returns a result.
///
/// 0 is never a task. The handle is good from the spawn until the task ended and was joined or detached; then it gives
/// `-EBADF`, from any thread and for ever.
///
/// Methods: `rt_poll_join`, `rt_join`, `rt_abort`, `rt_detach`, `rt_task_wake`, `rt_task_name`. In a poll: `rt_task_self`,
/// `rt_yield`.
///
/// Threads: any thread may call any method.
#[allow(non_camel_case_types)]
pub type rt_task = u64;

/// Polls a task: does what can be done without waiting. Returns the result, which ends the task, or `RT_PENDING` after some
/// `rt_poll_*` call returned that (or after the task arranged for `rt_task_wake` or its waker to be called).
///
/// It is called by one thread at a time, not always the same, never before the call before it returned, with no lock held.
/// `cx` is good during the call, on that thread. It may be called without need.
#[allow(non_camel_case_types)]
pub type rt_poll_fn = Option<unsafe extern "C" fn(cx: *mut rt_cx, state: *mut c_void) -> i64>;

/// Drops a task's state: called exactly once, when the task has returned or was aborted, never while it is polled, before
/// its end can be joined. Not called for tasks that a shutdown gave up.
///
/// It runs on some worker (a pinned task's on its own), with no lock held, and may call anything that does not block.
#[allow(non_camel_case_types)]
pub type rt_drop_fn = Option<unsafe extern "C" fn(state: *mut c_void)>;

/// For `rt_spawn_opts::flags`: the task stays on one worker.
pub const RT_SPAWN_PINNED: u32 = 1;
/// For `rt_spawn_opts::flags`: `state_size` bytes are copied from `state` into memory of the task's (zeroes if `state` is
/// NULL), aligned to 16. Poll and drop functions get the copy, which is freed with the task.
pub const RT_SPAWN_INLINE: u32 = 2;

/// How a task is spawned. Set by `rt_spawn_opts_init`; zero means the default in every field but `poll`.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_spawn_opts {
    /// The size of this struct as the program knows it.
    pub size: u32,
    /// `RT_SPAWN_PINNED`, `RT_SPAWN_INLINE`.
    pub flags: u32,
    /// Polls the task.
    pub poll: rt_poll_fn,
    /// Given to `poll` and `drop`.
    pub state: *mut c_void,
    /// How large the state is, for `RT_SPAWN_INLINE`.
    pub state_size: usize,
    /// Drops the state. May be NULL.
    pub drop: rt_drop_fn,
    /// With `RT_SPAWN_PINNED`: the worker of this pinned task, or of this watch, of the same runtime.
    pub near: rt_task,
    /// What the task is called, for `rt_task_name`. Copied: by `rt_spawn_with` before it returns; of a connection, after its
    /// `rt_accept_fn` returned. May be NULL.
    pub name: *const c_char,
}

/// A C task as a future. Dropping it drops the state.
pub(super) struct CTask {
    poll: unsafe extern "C" fn(cx: *mut rt_cx, state: *mut c_void) -> i64,
    state: *mut c_void,
    drop: rt_drop_fn,
    /// The size of a state that is ours; 0: it is the program's.
    inline: usize,
}

// SAFETY: whoever spawned the task promised that its functions may be called on any thread, one at a time.
unsafe impl Send for CTask {}

const INLINE_ALIGN: usize = 16;

fn inline_layout(size: usize) -> Result<Layout, Errno> {
    Layout::from_size_align(size, INLINE_ALIGN).map_err(|_| libc::EINVAL)
}

impl CTask {
    /// Moves a state into memory of the task's own.
    ///
    /// # Safety
    /// `state` is null or has `size` readable bytes.
    unsafe fn own_state(&mut self, size: usize) -> Result<(), Errno> {
        if size == 0 {
            return Ok(());
        }
        // SAFETY: the size is not 0; the fresh memory and the caller's do not overlap.
        unsafe {
            let copy = alloc_zeroed(inline_layout(size)?);
            if copy.is_null() {
                return Err(libc::ENOMEM);
            }
            if !self.state.is_null() {
                std::ptr::copy_nonoverlapping(self.state.cast::<u8>(), copy, size);
            }
            (self.state, self.inline) = (copy.cast(), size);
        }
        Ok(())
    }

    /// For a task that was not made: its state is still the caller's, and is not dropped.
    fn disown(mut self) {
        self.drop = None;
    }
}

impl Runs for CTask {
    fn first_look(&self) -> *const () {
        self.state.cast_const().cast()
    }

    fn is_dropped_by_program(&self) -> bool {
        self.drop.is_some()
    }
}

impl Future for CTask {
    type Output = i64;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<i64> {
        let (Some(cx), Some(task)) = (PollContext::of_worker(), header_of(context.waker())) else {
            return Poll::Ready(-i64::from(libc::ENOTRECOVERABLE));
        };
        let _polling = cx.enter(task);
        // SAFETY: the task's owner promised that the function may be called with the state; the context is marked as
        // good for the time of the call.
        match unsafe { (self.poll)(std::ptr::from_ref(cx).cast_mut().cast(), self.state) } {
            RT_PENDING => Poll::Pending,
            result => Poll::Ready(result),
        }
    }
}

impl Drop for CTask {
    fn drop(&mut self) {
        if let Some(drop) = self.drop {
            // SAFETY: called once, by the one who owns the task's stage, after its last poll.
            unsafe { drop(self.state) };
        }
        if let (Ok(layout), true) = (inline_layout(self.inline), self.inline > 0) {
            // SAFETY: `own_state` allocated it with this layout.
            unsafe { dealloc(self.state.cast(), layout) };
        }
    }
}

/// What a task came to: a number, or a descriptor that a task of the library's made, which is closed if nobody takes it.
enum Outcome {
    Number(i64),
    Made(Io),
}

impl From<Result<i64, JoinError>> for Outcome {
    fn from(output: Result<i64, JoinError>) -> Self {
        Self::Number(match output {
            Ok(value) => value,
            Err(JoinError::Cancelled) => -i64::from(libc::ECANCELED),
            Err(JoinError::Panicked(_)) => -i64::from(libc::ENOTRECOVERABLE),
        })
    }
}

impl From<Result<Made, JoinError>> for Outcome {
    fn from(output: Result<Made, JoinError>) -> Self {
        match output {
            Ok(Ok(io)) => Self::Made(io),
            Ok(Err(errno)) => Self::Number(-i64::from(errno)),
            Err(error) => Err::<i64, _>(error).into(),
        }
    }
}

impl Outcome {
    /// Polls the join of a task, whichever of the two it comes to. `None`: there is nothing to join.
    fn poll(name: TaskName, key: usize, waker: &Waker) -> Option<Poll<Self>> {
        name.poll_join::<i64>(key, waker)
            .map(|polled| polled.map(Self::from))
            .or_else(|| Some(name.poll_join::<Made>(key, waker)?.map(Self::from)))
    }

    /// The same, on a thread.
    fn wait(runtime: &RuntimeRef, name: TaskName, timeout: u64) -> Result<Self, Errno> {
        match join_thread::<i64>(runtime, name, timeout) {
            Err(libc::EBADF) => join_thread::<Made>(runtime, name, timeout).map(Self::from),
            joined => joined.map(Self::from),
        }
    }

    /// The result that C sees.
    fn into_result(self) -> i64 {
        match self {
            Self::Number(value) => value,
            // Never negative, for the generation of a descriptor has 24 bits.
            Self::Made(io) => io.into_raw() as i64,
        }
    }

    /// # Safety
    /// `out` is null or writable.
    unsafe fn store(self, out: *mut i64) {
        if !out.is_null() {
            // SAFETY: the caller says so.
            unsafe { out.write(self.into_result()) };
        }
    }
}

/// # Safety
/// As for `rt_block_on`.
pub(super) unsafe fn block_on(rt: rt_runtime, poll: rt_poll_fn, state: *mut c_void) -> Result<i64, Errno> {
    let runtime = runtime_ref(rt)?;
    let poll = poll.ok_or(libc::EINVAL)?;
    runtime.may_block()?;
    let mut name = None;
    let task = CTask { poll, state, drop: None, inline: 0 };
    let home = Some(runtime.pick_home());
    runtime
        .spawn_task(task, home, true, |made| name = Some(made.exclusively()))
        .map_err(|(error, _task)| error.errno())?;
    let name = name.ok_or(libc::ENOTRECOVERABLE)?;
    let output = join_thread::<i64>(&runtime, name, NEVER);
    if is_forked() {
        // The poll came back in a child: its task, and what that began, are the parent's.
        return Err(libc::EPERM);
    }
    // The state is the caller's: a poll that a shutdown gave up may still be using it. Whoever frees the runtime does not
    // wait for that.
    drop(runtime);
    wait_until_returned(name);
    output.map(|output| Outcome::from(output).into_result())
}

/// # Safety
/// `out` is null or writable.
unsafe fn spawn(
    runtime: &RuntimeRef,
    task: CTask,
    home: Option<u32>,
    label: Option<CString>,
    out: *mut rt_task,
) -> Result<i64, Errno> {
    let named = |name: TaskName| {
        if let Some(label) = label {
            name.set_label(label);
        }
        if !out.is_null() {
            // SAFETY: the caller says so. Written before the task can run.
            unsafe { out.write(name.raw()) };
        }
    };
    match runtime.spawn_task(task, home, !out.is_null(), named) {
        Ok(()) => Ok(0),
        Err((error, task)) => {
            task.disown();
            Err(error.errno())
        }
    }
}

/// Spawns a task of the library's own. On failure the future comes back.
///
/// # Safety
/// `out` is null or writable.
pub(super) unsafe fn spawn_library_task<F>(
    runtime: &RuntimeRef,
    future: F,
    out: *mut rt_task,
) -> Result<i64, (Errno, F)>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    if !out.is_null() {
        // SAFETY: the caller says so, and so below.
        unsafe { out.write(0) };
    }
    let named = |name: TaskName| {
        if !out.is_null() {
            // SAFETY: as above. Written before the task can run.
            unsafe { out.write(name.raw()) };
        }
    };
    match runtime.spawn(future, None, !out.is_null(), named) {
        Ok(()) => Ok(0),
        Err((error, future)) => Err((error.errno(), future)),
    }
}

/// Spawns a task. It may run, and end, before this returns; `*out` is written before that. With `out` NULL the task is
/// detached from the start.
///
/// Returns 0; the state is then the task's until `drop` (which may be NULL) was called with it. On failure the caller
/// keeps the state, and `drop` is not called: `-EBADF`, `-EINVAL` without a poll function, `-ESHUTDOWN`, `-ENOMEM`.
///
/// Any thread. Does not block.
///
/// # Safety
/// `poll` and `drop` may be called with `state` on any thread, one call at a time. `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_spawn(
    rt: rt_runtime,
    poll: rt_poll_fn,
    state: *mut c_void,
    drop: rt_drop_fn,
    out: *mut rt_task,
) -> i64 {
    guarded(|| {
        let runtime = runtime_ref(rt)?;
        let task = CTask { poll: poll.ok_or(libc::EINVAL)?, state, drop, inline: 0 };
        // SAFETY: the caller says so.
        unsafe { spawn(&runtime, task, None, None, out) }
    })
}

/// Sets every field to its default. Call it as `rt_spawn_opts_init(&opts, sizeof opts)`.
///
/// Returns 0, or `-EINVAL` for NULL or a size that is too small. Any thread.
///
/// # Safety
/// `opts` has `size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_spawn_opts_init(opts: *mut rt_spawn_opts, size: usize) -> i64 {
    // SAFETY: the caller says so.
    guarded(|| unsafe { init_sized(opts, size) })
}

/// Spawns a task with options. Otherwise as `rt_spawn`.
///
/// Further errors: `-EINVAL` for unknown flags, a bad size, or `near` a task of another runtime; `-EBADF` for a stale `near`.
///
/// # Safety
/// As for `rt_spawn`; `opts` is as its `size` says, and with `RT_SPAWN_INLINE` the state is NULL or has `state_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_spawn_with(rt: rt_runtime, opts: *const rt_spawn_opts, out: *mut rt_task) -> i64 {
    guarded(|| {
        let runtime = runtime_ref(rt)?;
        // SAFETY: the caller says so, and so below.
        let (task, home, label) = unsafe { prepare(&runtime, &sized(opts)?) }?;
        // SAFETY: as above.
        unsafe { spawn(&runtime, task, home, label, out) }
    })
}

/// The task that options describe, its worker if it is pinned, and its name.
///
/// # Safety
/// As for `rt_spawn_with`. The task is the caller's to spawn, to drop, or to disown.
pub(super) unsafe fn prepare(
    runtime: &RuntimeRef,
    opts: &rt_spawn_opts,
) -> Result<(CTask, Option<u32>, Option<CString>), Errno> {
    if opts.flags & !(RT_SPAWN_PINNED | RT_SPAWN_INLINE) != 0 {
        return Err(libc::EINVAL);
    }
    let near = home_near(runtime, opts.near)?;
    let home = (opts.flags & RT_SPAWN_PINNED != 0).then(|| near.unwrap_or_else(|| runtime.pick_home()));
    // SAFETY: the caller says so.
    let label = (!opts.name.is_null()).then(|| unsafe { CStr::from_ptr(opts.name) }.to_owned());
    let mut task = CTask { poll: opts.poll.ok_or(libc::EINVAL)?, state: opts.state, drop: None, inline: 0 };
    if opts.flags & RT_SPAWN_INLINE != 0 {
        // SAFETY: the caller says so.
        unsafe { task.own_state(opts.state_size) }?;
    }
    task.drop = opts.drop;
    Ok((task, home, label))
}

/// The worker of what a handle names, a task or a watch. `None` for the handle 0.
pub(super) fn home_near(runtime: &RuntimeRef, near: u64) -> Result<Option<u32>, Errno> {
    if near == 0 {
        return Ok(None);
    }
    match TaskName::parse(near) {
        Some(task) => runtime.home_near(task),
        None => watch::home_of(near, runtime),
    }
    .map(Some)
}

/// Waits, in a poll, for a task to end.
///
/// Returns 0 when it has: `*result` (which may be NULL) is what it returned, or `-ECANCELED` if it was aborted, and the
/// handle is spent. `RT_PENDING`: not yet. Several tasks may wait; all are woken, one gets the result, the others `-EBADF`.
///
/// A task of the library's that makes a descriptor, such as `rt_tcp_connect`, yields an `rt_io`, which is never negative and the
/// caller's to close, or an error. A descriptor that nobody takes, with `result` NULL or by `rt_detach`, is closed.
///
/// Errors: `-EBADF`, also after `rt_detach`; `-EDEADLK` for the task itself; `-EINVAL`, `-EPERM` for the context.
///
/// # Safety
/// `cx` is the context of this poll; `result` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_join(cx: *mut rt_cx, task: rt_task, result: *mut i64) -> i64 {
    polled(|| {
        // SAFETY: the caller says so.
        let cx = check!(unsafe { context(cx) });
        let name = check!(TaskName::parse(task).ok_or(libc::EBADF));
        if cx.task() == Some(name) {
            return Poll::Ready(Err(libc::EDEADLK));
        }
        if !cx.can_spend() {
            // That the handle is stale is told without a budget.
            return if name.is_joinable() { Poll::Pending } else { Poll::Ready(Err(libc::EBADF)) };
        }
        match check!(Outcome::poll(name, cx.key(), &cx.waker()).ok_or(libc::EBADF)) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(output) => {
                cx.spend();
                // SAFETY: the caller says so.
                unsafe { output.store(result) };
                Poll::Ready(Ok(0))
            }
        }
    })
}

/// Waits, on a thread, for a task to end: as `rt_poll_join`, for at most `timeout_ns`.
///
/// On a current-thread runtime that this thread drives, or that nobody has driven yet, the call drives it.
///
/// Returns 0 and the result; `-ETIME`: it still runs, and the handle is still good; `-EBADF`; `-EDEADLK` inside of the
/// task's runtime. Any thread. Blocks.
///
/// # Safety
/// `result` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_join(task: rt_task, timeout_ns: u64, result: *mut i64) -> i64 {
    blocking(|| {
        let name = TaskName::parse(task).ok_or(libc::EBADF)?;
        let runtime = RuntimeRef::of_task(name)?;
        let output = Outcome::wait(&runtime, name, timeout_ns)?;
        // SAFETY: the caller says so.
        unsafe { output.store(result) };
        Ok(0)
    })
}

/// Asks a task to end: it is not polled again, and its drop function runs. A poll that is going on is finished first; if
/// it returns a result, the result wins.
///
/// Returns 0, also if the task has ended and waits for its join; `-EBADF`. Any thread, also from the task itself. Does not
/// block, and does not wait for the end.
#[unsafe(no_mangle)]
pub extern "C" fn rt_abort(task: rt_task) -> i64 {
    guarded(|| act(task, TaskName::abort))
}

/// Gives up the right to join. The task goes on; its handle stays good for `rt_task_wake` and `rt_abort` until it ends.
///
/// Returns 0, also for the handle 0; `-EBADF` for a task that was detached or joined before. Tasks that wait in
/// `rt_poll_join` are woken. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_detach(task: rt_task) -> i64 {
    guarded(|| {
        if task == 0 {
            return Ok(0);
        }
        let name = TaskName::parse(task).ok_or(libc::EBADF)?;
        if name.detach() { Ok(0) } else { Err(libc::EBADF) }
    })
}

/// Wakes a task: it is polled at least once after this, and that poll sees what this thread wrote before. Wakes that come
/// before that poll count as one.
///
/// Returns 0, also if the task has ended and waits for its join; `-EBADF`. Any thread. Does not block. Not for signal
/// handlers.
#[unsafe(no_mangle)]
pub extern "C" fn rt_task_wake(task: rt_task) -> i64 {
    guarded(|| act(task, TaskName::wake))
}

fn act(task: rt_task, what: impl FnOnce(TaskName) -> Result<(), crate::task::Stale>) -> Result<i64, Errno> {
    what(TaskName::parse(task).ok_or(libc::EBADF)?).map_err(|_stale| libc::EBADF)?;
    Ok(0)
}

/// The task whose poll this is: the handle that its spawn returned. 0 outside of tasks, and for a bad context.
///
/// Does not block.
///
/// # Safety
/// `cx` is the context of this poll.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_task_self(cx: *mut rt_cx) -> rt_task {
    let mut name = 0;
    guarded(|| {
        // SAFETY: the caller says so.
        name = unsafe { context(cx) }?.task().map_or(0, TaskName::raw);
        Ok(0)
    });
    name
}

/// What a task is called.
///
/// Writes at most `len` bytes with the NUL to `out`, and returns the length of the whole name without it, 0 if it has none;
/// `-EBADF`. Any thread. Does not block.
///
/// # Safety
/// `out` is NULL or has `len` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_task_name(task: rt_task, out: *mut c_char, len: usize) -> i64 {
    guarded(|| {
        let name = TaskName::parse(task).ok_or(libc::EBADF)?;
        let label = name.label().map_err(|_stale| libc::EBADF)?.unwrap_or_default();
        // SAFETY: the caller says so.
        unsafe { copy_text(label.as_bytes(), out, len) }
    })
}

/// Lets all others run first: wakes the task itself and returns `RT_PENDING`, which the poll function must return.
///
/// It would never be ready, so it is not to be awaited: `RT_YIELD` of `asyncio_await.h` is made for that. Errors: `-EINVAL`,
/// `-EPERM` for the context. Does not block.
///
/// # Safety
/// `cx` is the context of this poll.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_yield(cx: *mut rt_cx) -> i64 {
    guarded(|| {
        // SAFETY: the caller says so.
        unsafe { context(cx) }?.wake_again();
        Ok(RT_PENDING)
    })
}
