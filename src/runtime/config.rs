//! What can be chosen when a runtime is made.

use std::ffi::CString;
use std::time::Duration;

/// How tasks are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flavour {
    /// On threads of the runtime's own, which steal work from each other.
    #[default]
    MultiThread,
    /// On the thread that calls in.
    CurrentThread,
}

/// What a worker sleeps in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// The best that the machine offers.
    #[default]
    Auto,
    /// epoll.
    Epoll,
    /// io_uring, or an error that says why not.
    Uring,
}

/// A C function to be called at a point of a worker's life.
pub type Hook = Option<unsafe extern "C" fn(arg: *mut std::ffi::c_void)>;

/// Called on the worker's thread, with no lock held.
#[derive(Clone, Copy, Debug)]
pub struct Hooks {
    /// When a worker's thread begins.
    pub thread_start: Hook,
    /// When a worker's thread ends.
    pub thread_stop: Hook,
    /// Before a worker sleeps. What it spawns or wakes is run first.
    pub park: Hook,
    /// After a worker slept.
    pub unpark: Hook,
    /// The argument of all of them.
    pub arg: *mut std::ffi::c_void,
}

// SAFETY: the pointer is the caller's word for all threads; the documentation of the hooks says that they run on workers.
unsafe impl Send for Hooks {}
// SAFETY: as above.
unsafe impl Sync for Hooks {}

impl Hooks {
    pub(super) fn call(&self, hook: Hook) {
        if let Some(hook) = hook {
            // SAFETY: whoever configured the hook promised that it may be called with this argument on any worker.
            unsafe { hook(self.arg) };
        }
    }
}

/// See the fields. `Config::default()` is what `None` gives.
#[derive(Clone, Debug)]
pub struct Config {
    /// Threads of its own, or the caller's.
    pub flavour: Flavour,
    /// What a worker sleeps in.
    pub engine: Engine,
    /// How many threads; 0: as many as CPUs are allowed by the affinity mask and the cgroup's quota.
    pub workers: usize,
    /// How long a worker looks for work before it sleeps. Zero: not at all.
    pub spin: Duration,
    /// How many ready results a task may take in one poll before it must let others run.
    pub poll_budget: u32,
    /// How many polls may pass between two looks at the driver and at the inject queue.
    pub event_interval: u32,
    /// How many polls in a row may come from the LIFO slot. Zero: the slot is not used.
    pub lifo_limit: u32,
    /// How many events are taken at once.
    pub max_events: usize,
    /// What the threads are called.
    pub thread_name: CString,
    /// Bytes of a thread's stack, 64 KiB at least.
    pub stack_size: usize,
    /// How many entries a worker's ring takes at once. More are handed over in rounds.
    pub ring_entries: u32,
    /// Bytes of a receive buffer.
    pub buffer_size: u32,
    /// Receive buffers of a worker. Memory is used as they are.
    pub buffer_count: u32,
    /// How many threads there may be for calls that block.
    pub blocking_threads: usize,
    /// How many threads there may be that ask name servers.
    pub resolver_threads: usize,
    /// How many bytes may be queued on one stream before more are refused.
    pub send_limit: u64,
    /// Called at points of a worker's life.
    pub hooks: Hooks,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            flavour: Flavour::default(),
            engine: Engine::default(),
            workers: 0,
            spin: Duration::from_micros(30),
            poll_budget: 128,
            event_interval: 61,
            lifo_limit: 3,
            max_events: 256,
            thread_name: c"asyncio".into(),
            stack_size: 2 << 20,
            ring_entries: 256,
            buffer_size: 16 * 1024,
            buffer_count: 512,
            blocking_threads: 64,
            resolver_threads: 4,
            send_limit: 1 << 20,
            hooks: Hooks { thread_start: None, thread_stop: None, park: None, unpark: None, arg: std::ptr::null_mut() },
        }
    }
}

/// How many CPUs this process may use: the affinity mask and the cgroup's quota both count.
pub(super) fn allowed_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
