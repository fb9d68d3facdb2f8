//! The noun runtime.

use super::result::RT_NEVER;
use super::task::rt_poll_fn;
use super::{blocking, copy_text, guarded, init_sized, not_null, runtime_ref, sized};
use crate::primitives::fork::is_forked;
use crate::runtime::{Config, Engine, Flavour, Hook, Hooks, NEVER, UNLIMITED, census, create, free};
use std::ffi::{CStr, CString, c_char, c_void};
use std::time::Duration;

/// A runtime: workers, their drivers, and the tasks that they run.
///
/// 0 is never a runtime. A handle that is stale, forged or of another kind gives `-EBADF`, from any thread, also while it is
/// being freed and afterwards.
///
/// Methods: `rt_new`, `rt_block_on`, `rt_run`, `rt_turn`, `rt_stop`, `rt_event_fd`, `rt_next_deadline`, `rt_shutdown`,
/// `rt_free`, `rt_describe`, `rt_metrics`, `rt_spawn`, `rt_spawn_with`, `rt_register_fd`, `rt_cx_new`.
///
/// Threads: all methods may be called from any thread, but the ones that drive a current-thread runtime, which belong to
/// the thread that drove it first. Calls that block give `-EDEADLK` inside the runtime's own polls, wakers, hooks and drop
/// functions, and in the destructors of thread-local values that run as a worker's thread ends.
#[allow(non_camel_case_types)]
pub type rt_runtime = u64;

/// A flavour: the runtime has threads of its own, which steal work from each other. The default.
pub const RT_MULTI_THREAD: u32 = 0;
/// A flavour: no threads; the thread that calls `rt_run`, `rt_turn` or `rt_block_on` runs the tasks.
pub const RT_CURRENT_THREAD: u32 = 1;

/// An engine: the best that this machine offers. The default. `rt_describe` says which that is, and why.
pub const RT_ENGINE_AUTO: u32 = 0;
/// An engine: epoll.
pub const RT_ENGINE_EPOLL: u32 = 1;
/// An engine: io_uring, or an error that says why it cannot be had.
///
/// A program that confines itself after `rt_new` (seccomp) must go on allowing io_uring_enter(2), and io_uring_register(2) if it asks
/// for `rt_event_fd` later. Where one is refused, the former by EPERM, EACCES or ENOSYS, a worker goes over to epoll, and
/// `rt_describe` says so. What the kernel has not got by then, and whatever comes later, goes as on epoll. An operation that the
/// kernel has stays there without an outcome, also when it is cancelled: its task ends no more, and it takes an `rt_shutdown` with a
/// timeout to give it up. Where that is a part of what a stream has queued, nobody can tell how much of it went: the stream is shut
/// down in both directions, sends and flushes say -EPIPE or -ECONNABORTED, and the rest is dropped.
pub const RT_ENGINE_URING: u32 = 2;

/// For `rt_config::spin_ns`: never spin.
pub const RT_SPIN_OFF: u64 = u64::MAX;
/// For `rt_config::poll_budget`: no limit.
pub const RT_BUDGET_OFF: u32 = u32::MAX;
/// For `rt_config::lifo_limit`: the LIFO slot is not used.
pub const RT_LIFO_OFF: u32 = u32::MAX;

/// What can be chosen when a runtime is made. Set by `rt_config_init`; zero means the default in every field.
///
/// A program that was compiled with an older, smaller struct keeps working. One with a newer, larger struct works as long
/// as the fields that this library does not know are zero.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_config {
    /// The size of this struct as the program knows it.
    pub size: u32,
    /// `RT_MULTI_THREAD` or `RT_CURRENT_THREAD`.
    pub flavour: u32,
    /// `RT_ENGINE_AUTO`, `RT_ENGINE_EPOLL` or `RT_ENGINE_URING`. The environment's `ASYNCIO_ENGINE=epoll` overrides it.
    pub engine: u32,
    /// Threads of the multi-thread flavour; 0: as many as CPUs are allowed by the affinity mask and the cgroup's quota.
    pub workers: u32,
    /// The longest time that a worker looks for work before it sleeps, in nanoseconds; it learns whether that pays. 0:
    /// 30 microseconds. `RT_SPIN_OFF`: sleep at once. A runtime with more workers than CPUs never spins.
    pub spin_ns: u64,
    /// How many ready results a task may take in one poll; then its calls return `RT_PENDING` and it is polled again
    /// after the others. 0: 128. `RT_BUDGET_OFF`: no limit.
    pub poll_budget: u32,
    /// How many tasks are polled between two looks at the driver and at what other threads sent. 0: 61.
    pub event_interval: u32,
    /// How many polls in a row may be of the task that was woken last. 0: 3. `RT_LIFO_OFF`: first in, first out.
    pub lifo_limit: u32,
    /// How many events are taken from the kernel at once. 0: 256.
    pub max_events: u32,
    /// What the threads are called, at most 15 bytes of it. NULL: "asyncio". Copied.
    pub thread_name: *const c_char,
    /// Bytes of a thread's stack. 0: 2 MiB. Less than 64 KiB, which the library's own calls need, and more than 1 TiB are refused by
    /// `-EINVAL`. Thread-local data of the program's, which glibc keeps on the stack, comes on top.
    pub stack_size: u64,
    /// Called on each worker's thread when it begins.
    pub on_thread_start: Option<unsafe extern "C" fn(arg: *mut c_void)>,
    /// Called on each worker's thread when it ends.
    pub on_thread_stop: Option<unsafe extern "C" fn(arg: *mut c_void)>,
    /// Called before a worker sleeps. What it wakes or spawns is run first.
    pub on_park: Option<unsafe extern "C" fn(arg: *mut c_void)>,
    /// Called after a worker slept.
    pub on_unpark: Option<unsafe extern "C" fn(arg: *mut c_void)>,
    /// The argument of these functions.
    pub hook_arg: *mut c_void,
    /// How many operations a worker's ring takes in one round. 0: 256.
    pub ring_entries: u32,
    /// Bytes of a receive buffer. 0: 16384.
    pub buffer_size: u32,
    /// Receive buffers of a worker, at most 32768. Memory is taken as they are used. When all are held, and stay so, a receiver
    /// of which nothing waits for its task gets one beyond them. 0: 512.
    pub buffer_count: u32,
    /// How many threads there may be for calls that block. They end when they are not used. 0: 64.
    pub blocking_threads: u32,
    /// How many bytes may be queued to be sent on one stream before `rt_send` and its kin refuse more. What they queue counts for a
    /// quarter of the memory that it takes at least: for 40 bytes, and on a lease for 1024. 0: 1 MiB.
    pub send_limit: u64,
    /// How many threads there may be that ask name servers, for `rt_poll_resolve` and its kin. They end when they are not
    /// used. 0: 4.
    pub resolver_threads: u32,
    /// Zero.
    pub reserved: u32,
}

/// Counters of a runtime, from its beginning. Set `size`, then call `rt_metrics`.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_metrics_data {
    /// The size of this struct as the program knows it.
    pub size: u32,
    /// How many workers there are.
    pub workers: u32,
    /// Tasks that have not ended.
    pub tasks_live: u64,
    /// Tasks that a shutdown gave up.
    pub tasks_abandoned: u64,
    /// Polls of tasks.
    pub polls: u64,
    /// Tasks that a worker took from another.
    pub steals: u64,
    /// How often a worker slept.
    pub parks: u64,
    /// How often a sleeping worker had to be woken through its descriptor.
    pub unparks: u64,
    /// Readiness events that were delivered.
    pub events: u64,
    /// How often looking for work before sleeping found some.
    pub spins_paid: u64,
    /// Descriptors that are registered.
    pub ios_live: u64,
    /// Operations of tasks that have not ended.
    pub ops_live: u64,
    /// Operations that would not end when the runtime did: their memory was left to the kernel.
    pub ops_abandoned: u64,
    /// Receive buffers that the program holds: of all runtimes, for they may outlive theirs.
    pub leases_live: u64,
    /// Threads for calls that block, those that ask name servers among them.
    pub blocking_threads: u64,
    /// Timers, deadlines of operations among them.
    pub timers_live: u64,
}

/// What there is in the process, of all runtimes, those that are gone included. Set `size`, then call `rt_census`.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_census_data {
    /// The size of this struct as the program knows it.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
    /// Runtimes that were not freed.
    pub runtimes: u64,
    /// Tasks that have not ended, can be joined or detached, or whose wakers somebody has, or had a million of at once.
    pub tasks: u64,
    /// Descriptors that are registered.
    pub ios: u64,
    /// Operations of tasks that have not ended, and those whose memory was left to the kernel.
    pub ops: u64,
    /// Timers.
    pub timers: u64,
    /// Receive buffers that the program holds.
    pub leases: u64,
    /// Whatever else has a handle: sets, streams, channels, blobs and so on.
    pub objects: u64,
    /// What the library holds for itself.
    pub rest: u64,
}

/// Sets every field to its default. Call it as `rt_config_init(&config, sizeof config)`.
///
/// Returns 0, or `-EINVAL` for NULL or a size that is too small. Any thread.
///
/// # Safety
/// `config` has `size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_config_init(config: *mut rt_config, size: usize) -> i64 {
    // SAFETY: the caller says so.
    guarded(|| unsafe { init_sized(config, size) })
}

// What the constants of the header mean inside.
const _: () = assert!(RT_NEVER == NEVER && RT_BUDGET_OFF == UNLIMITED);

/// Zero means the default.
fn or_default<T: PartialEq + Default>(value: T, default: T) -> T {
    if value == T::default() { default } else { value }
}

/// # Safety
/// `name` is null or a C string.
unsafe fn thread_name(name: *const c_char, default: CString) -> CString {
    if name.is_null() {
        return default;
    }
    // SAFETY: the caller says so.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    CString::new(&name[..name.len().min(15)]).unwrap_or(default)
}

/// # Safety
/// As for `rt_new`.
unsafe fn to_config(config: *const rt_config) -> Result<Config, i32> {
    let default = Config::default();
    if config.is_null() {
        return Ok(default);
    }
    // SAFETY: the caller says so.
    let given = unsafe { sized(config) }?;
    let limit = |value: u32, off: u32, default: u32| {
        if value == off { 0 } else { or_default(value, default) }
    };
    Ok(Config {
        flavour: match given.flavour {
            RT_MULTI_THREAD => Flavour::MultiThread,
            RT_CURRENT_THREAD => Flavour::CurrentThread,
            _ => return Err(libc::EINVAL),
        },
        engine: match given.engine {
            RT_ENGINE_AUTO => Engine::Auto,
            RT_ENGINE_EPOLL => Engine::Epoll,
            RT_ENGINE_URING => Engine::Uring,
            _ => return Err(libc::EINVAL),
        },
        workers: given.workers as usize,
        spin: match given.spin_ns {
            RT_SPIN_OFF => Duration::ZERO,
            0 => default.spin,
            nanoseconds => Duration::from_nanos(nanoseconds),
        },
        poll_budget: or_default(given.poll_budget, default.poll_budget),
        event_interval: or_default(given.event_interval, default.event_interval),
        lifo_limit: limit(given.lifo_limit, RT_LIFO_OFF, default.lifo_limit),
        max_events: or_default(given.max_events.min(1 << 16) as usize, default.max_events),
        // SAFETY: the caller says so.
        thread_name: unsafe { thread_name(given.thread_name, default.thread_name) },
        stack_size: or_default(given.stack_size as usize, default.stack_size),
        ring_entries: or_default(given.ring_entries, default.ring_entries),
        buffer_size: or_default(given.buffer_size, default.buffer_size),
        buffer_count: or_default(given.buffer_count, default.buffer_count),
        blocking_threads: or_default(given.blocking_threads as usize, default.blocking_threads),
        send_limit: or_default(given.send_limit, default.send_limit),
        resolver_threads: or_default(given.resolver_threads as usize, default.resolver_threads),
        hooks: Hooks {
            thread_start: given.on_thread_start as Hook,
            thread_stop: given.on_thread_stop as Hook,
            park: given.on_park as Hook,
            unpark: given.on_unpark as Hook,
            arg: given.hook_arg,
        },
    })
}

/// Makes a runtime. `config` may be NULL for all defaults.
///
/// Returns 0 and the handle in `*out`, which the caller must give to `rt_free` once. On failure `*out` is 0, nothing was
/// made, and `why` (which may be NULL) holds a sentence that says what is missing: `-EINVAL` for a bad configuration,
/// for an engine that cannot be had what the system said, such as `-ENOSYS`, `-EPERM` or `-EINVAL` (a kernel that is too old);
/// `-EMFILE`, `-ENOMEM`, `-EAGAIN` for threads that cannot be made, `-EPERM` in a
/// forked child.
///
/// Any thread. Does not block. Make runtimes after privileges were dropped.
///
/// # Safety
/// `config` is NULL or as its `size` says; `out` is writable; `why` has `why_len` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_new(
    config: *const rt_config,
    out: *mut rt_runtime,
    why: *mut c_char,
    why_len: usize,
) -> i64 {
    if is_forked() {
        // SAFETY: the caller says so.
        let _ = unsafe { copy_text(b"this process was forked from one that had used the library", why, why_len) };
    }
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so, and so below.
        unsafe { out.write(0) };
        // SAFETY: as above.
        let config = unsafe { to_config(config) }.inspect_err(|_| {
            // SAFETY: as above.
            let _ = unsafe { copy_text(b"the configuration is not valid", why, why_len) };
        })?;
        match create(config) {
            Ok(handle) => {
                // SAFETY: as above.
                unsafe {
                    let _ = copy_text(b"", why, why_len);
                    out.write(handle);
                }
                Ok(0)
            }
            Err(error) => {
                // SAFETY: as above.
                let _ = unsafe { copy_text(error.to_string().as_bytes(), why, why_len) };
                Err(error.errno())
            }
        }
    })
}

/// Runs a poll function as a task until it returns something other than `RT_PENDING`, which is then the result here.
///
/// The task is pinned: on a worker of the multi-thread flavour, while this thread sleeps; on this thread in the
/// current-thread flavour, together with all other tasks. `state` stays the caller's.
///
/// The call's own errors share the channel: `-EBADF`; `-EINVAL` without a poll function; `-EDEADLK` inside of the runtime;
/// `-EPERM` on a thread that does not drive this current-thread runtime; `-ESHUTDOWN`; `-ECANCELED` if a shutdown ended the
/// task. It does not return while the poll function is inside of a call, whatever a shutdown decided. The task cannot be
/// joined or detached by others.
///
/// Any thread. Blocks.
///
/// # Safety
/// `poll` may be called with `state`, on any thread, until this returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_block_on(rt: rt_runtime, poll: rt_poll_fn, state: *mut c_void) -> i64 {
    // SAFETY: the caller says so.
    blocking(|| unsafe { super::task::block_on(rt, poll, state) })
}

/// Runs until `rt_stop`, or until no task is left. Returns how many tasks are left.
///
/// In the current-thread flavour this thread runs the tasks. In the multi-thread flavour the workers do, and this thread
/// waits. An `rt_stop` that came before counts.
///
/// Errors: `-EBADF`, `-EDEADLK` inside of the runtime, `-EPERM` on a thread that does not drive this current-thread
/// runtime, `-ESHUTDOWN`. Any thread. Blocks.
#[unsafe(no_mangle)]
pub extern "C" fn rt_run(rt: rt_runtime) -> i64 {
    blocking(|| Ok(runtime_ref(rt)?.run()? as i64))
}

/// One turn of a current-thread runtime: runs what is ready; if nothing is, waits for events, for at most `timeout_ns`, and
/// runs what they woke.
///
/// Returns how many tasks were polled, which may be none: a signal ends the wait, too. Errors: `-EBADF`, `-EDEADLK` inside
/// of the runtime, `-EPERM` in the multi-thread flavour or on another thread than the one that drives it, `-ESHUTDOWN`.
/// Blocks for the timeout at most.
#[unsafe(no_mangle)]
pub extern "C" fn rt_turn(rt: rt_runtime, timeout_ns: u64) -> i64 {
    blocking(|| Ok(runtime_ref(rt)?.turn(timeout_ns)? as i64))
}

/// Makes the `rt_run` that is going on return, or else the next one. Of several, one returns.
///
/// Returns 0, or `-EBADF`. Any thread, also inside of the runtime. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_stop(rt: rt_runtime) -> i64 {
    guarded(|| {
        runtime_ref(rt)?.stop();
        Ok(0)
    })
}

/// For a current-thread runtime inside of another loop: a descriptor that poll(2), epoll and their kin report readable
/// whenever `rt_turn(rt, 0)` has something to do: events, wakes from other threads, tasks that are ready, deadlines.
///
/// The descriptor is the runtime's: do not close it, read it or change it. Wait for it to be readable, level-triggered,
/// and turn.
///
/// Errors: `-EBADF`; `-EPERM` in the multi-thread flavour. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_event_fd(rt: rt_runtime) -> i64 {
    guarded(|| Ok(runtime_ref(rt)?.event_fd()?.into()))
}

/// When the runtime wants to be turned even if no event comes, on the clock of `rt_now`; `RT_NEVER` if it does not, and
/// for a stale handle. `rt_event_fd` becomes readable then as well.
///
/// Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_next_deadline(rt: rt_runtime) -> u64 {
    let mut deadline = NEVER;
    guarded(|| {
        deadline = runtime_ref(rt)?.next_deadline();
        Ok(0)
    });
    deadline
}

/// Ends a runtime's work: refuses new tasks (`-ESHUTDOWN`), wakes everybody who waits for a descriptor (their polls give
/// `-ESHUTDOWN`), aborts every task, and waits until their drop functions have run, for at most `timeout_ns`, or 10 ms if
/// that is more: what is not stuck has ended then.
///
/// Returns how many tasks were given up: those that were inside of their poll or drop function when the time was over, and
/// pinned ones whose worker is stuck in such a task. Their drop functions will not start, what they own is never freed,
/// and they are counted in `rt_metrics`. All others have ended, and can be joined at once. A second call returns the same
/// number.
///
/// Errors: `-EBADF`, `-EDEADLK` inside of the runtime and in a function on its threads for what blocks, `-EPERM` on a thread
/// that does not drive this current-thread runtime. Any thread. Blocks for that time at most.
#[unsafe(no_mangle)]
pub extern "C" fn rt_shutdown(rt: rt_runtime, timeout_ns: u64) -> i64 {
    blocking(|| Ok(runtime_ref(rt)?.shutdown(timeout_ns)? as i64))
}

/// Frees a runtime. Does `rt_shutdown(rt, RT_NEVER)` first unless that was done, closes the descriptors that are still
/// registered and owned, and ends the threads. Then every handle of the runtime is stale. A thread that is stuck in a
/// task which a shutdown gave up is left alone, as is one whose `rt_block_on` waits for that, and one that has an operation
/// which the system cannot end, such as a read of a file server that hangs. Other functions of the program's that its
/// threads are inside of are waited for: wakers, hooks, those that are told an outcome.
///
/// Returns 0, also for the handle 0. Errors, after which nothing has changed: `-EBADF`, `-EDEADLK` inside of the runtime
/// and in a function on its threads for what blocks, `-EPERM` on a thread that does not drive this current-thread
/// runtime. Any thread. Blocks.
#[unsafe(no_mangle)]
pub extern "C" fn rt_free(rt: rt_runtime) -> i64 {
    blocking(|| {
        if rt != 0 {
            free(rt)?;
        }
        Ok(0)
    })
}

/// Describes the runtime in one line: its flavour, its workers, its engine and why it is that one, and how many workers have lost
/// it since.
///
/// Writes at most `len` bytes with the NUL to `out`, and returns the length of the whole text without it; `-EBADF`;
/// `-EINVAL` for NULL with a length. Any thread. Does not block.
///
/// # Safety
/// `out` is NULL or has `len` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_describe(rt: rt_runtime, out: *mut c_char, len: usize) -> i64 {
    guarded(|| {
        let text = runtime_ref(rt)?.describe();
        // SAFETY: the caller says so.
        unsafe { copy_text(text.as_bytes(), out, len) }
    })
}

/// Fills in the counters, as many as fit into the `size` that the caller set.
///
/// Returns 0; `-EBADF`; `-EINVAL` for NULL or a bad size. Any thread. Does not block. The counters are read one after the
/// other while the runtime runs.
///
/// # Safety
/// `out` has as many writable bytes as its `size` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_metrics(rt: rt_runtime, out: *mut rt_metrics_data) -> i64 {
    guarded(|| {
        // SAFETY: the caller says so, and so below.
        let size = unsafe { told_size(out) }?;
        let metrics = runtime_ref(rt)?.shared().metrics();
        let data = rt_metrics_data {
            size,
            workers: metrics.workers,
            tasks_live: metrics.tasks_live,
            tasks_abandoned: metrics.tasks_abandoned,
            polls: metrics.polls,
            steals: metrics.steals,
            parks: metrics.parks,
            unparks: metrics.unparks,
            events: metrics.events,
            spins_paid: metrics.spins_paid,
            ios_live: metrics.ios_live,
            ops_live: metrics.ops_live,
            ops_abandoned: metrics.ops_abandoned,
            leases_live: metrics.leases_live,
            blocking_threads: metrics.blocking_threads,
            timers_live: metrics.timers_live,
        };
        // SAFETY: as above.
        unsafe { fill(out, size, &data) };
        Ok(0)
    })
}

/// Counts what there is in the process, so that a test can compare before and after. Fills in as much as fits into the
/// `size` that the caller set.
///
/// Returns 0; `-EINVAL` for NULL or a bad size. Any thread. Does not block, but takes a while where there was much at some
/// time. The counts are exact if nothing comes or goes meanwhile.
///
/// # Safety
/// `out` has as many writable bytes as its `size` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_census(out: *mut rt_census_data) -> i64 {
    guarded(|| {
        // SAFETY: the caller says so, and so below.
        let size = unsafe { told_size(out) }?;
        let census = census();
        let data = rt_census_data {
            size,
            reserved: 0,
            runtimes: census.runtimes,
            tasks: census.tasks,
            ios: census.ios,
            ops: census.ops,
            timers: census.timers,
            leases: census.leases,
            objects: census.objects,
            rest: census.rest,
        };
        // SAFETY: as above.
        unsafe { fill(out, size, &data) };
        Ok(0)
    })
}

/// What the caller wrote into the first field of its struct.
///
/// # Safety
/// `out` is NULL, or has as many readable bytes as it says.
unsafe fn told_size<T>(out: *const T) -> Result<u32, i32> {
    not_null(out)?;
    // SAFETY: the caller says so.
    let size = unsafe { out.cast::<u32>().read() };
    if (size as usize) < size_of::<u32>() { Err(libc::EINVAL) } else { Ok(size) }
}

/// Writes as much of the data as the caller knows of.
///
/// # Safety
/// `out` has `size` writable bytes.
unsafe fn fill<T: Copy>(out: *mut T, size: u32, data: &T) {
    let known = (size as usize).min(size_of::<T>());
    // SAFETY: the caller says so.
    unsafe { std::ptr::copy_nonoverlapping(std::ptr::from_ref(data).cast::<u8>(), out.cast::<u8>(), known) };
}
