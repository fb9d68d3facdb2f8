//! The C ABI as a C program sees it, for benchmarks: the header's functions by their exported names, and around them what
//! makes a Rust closure a task. A call that fails ends the benchmark.

#![allow(non_camel_case_types, missing_docs, clippy::missing_safety_doc)]

mod clock;
mod runtime;

pub use clock::{Clock, batched, now};
pub use runtime::{Flavour, Runtime};

/// Keeps the library's objects in the link.
pub use asyncio::AtomicWaker;

use std::ffi::{c_char, c_int, c_void};
use std::task::Poll;

pub enum rt_cx {}
pub type rt_poll_fn = unsafe extern "C" fn(*mut rt_cx, *mut c_void) -> i64;
pub type rt_drop_fn = unsafe extern "C" fn(*mut c_void);

pub const RT_PENDING: i64 = -4096;
pub const RT_SPIN_OFF: u64 = u64::MAX;
pub const RT_SPAWN_PINNED: u32 = 1;
pub const RT_READABLE: u32 = 1;
pub const RT_WRITABLE: u32 = 2;

/// Structs are as in a program that was compiled with an older header: they have no more than is used.
#[repr(C)]
pub struct rt_config {
    pub size: u32,
    pub flavour: u32,
    pub engine: u32,
    pub workers: u32,
    pub spin_ns: u64,
}

#[repr(C)]
pub struct rt_spawn_opts {
    pub size: u32,
    pub flags: u32,
    pub poll: Option<rt_poll_fn>,
    pub state: *mut c_void,
    pub state_size: usize,
    pub drop: Option<rt_drop_fn>,
}

#[repr(C)]
#[derive(Default)]
pub struct rt_metrics_data {
    pub size: u32,
    pub workers: u32,
    pub tasks_live: u64,
    pub tasks_abandoned: u64,
    pub polls: u64,
    pub steals: u64,
    pub parks: u64,
    pub unparks: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_ready {
    pub bits: u32,
    pub tick: u32,
}

/// The library's exports, called as from another library: through a pointer that must be loaded. Here, where all is linked
/// into one program, the compiler would make them parts of their callers.
macro_rules! exports {
    ($(fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        mod library {
            use super::*;
            unsafe extern "C" {
                $(pub fn $name($($arg: $type),*) -> $result;)*
            }
        }
        $(
            #[inline(always)]
            pub unsafe fn $name($($arg: $type),*) -> $result {
                static ENTRY: unsafe extern "C" fn($($type),*) -> $result = library::$name;
                unsafe { (&raw const ENTRY).read_volatile()($($arg),*) }
            }
        )*
    };
}

exports! {
    fn rt_strerror(result: i64) -> *const c_char;
    fn rt_config_init(config: *mut rt_config, size: usize) -> i64;
    fn rt_new(config: *const rt_config, out: *mut u64, why: *mut c_char, len: usize) -> i64;
    fn rt_free(rt: u64) -> i64;
    fn rt_describe(rt: u64, out: *mut c_char, len: usize) -> i64;
    fn rt_metrics(rt: u64, out: *mut rt_metrics_data) -> i64;
    fn rt_block_on(rt: u64, poll: rt_poll_fn, state: *mut c_void) -> i64;
    fn rt_spawn(rt: u64, poll: rt_poll_fn, state: *mut c_void, drop: Option<rt_drop_fn>, out: *mut u64) -> i64;
    fn rt_spawn_with(rt: u64, opts: *const rt_spawn_opts, out: *mut u64) -> i64;
    fn rt_poll_join(cx: *mut rt_cx, task: u64, result: *mut i64) -> i64;
    fn rt_join(task: u64, timeout: u64, result: *mut i64) -> i64;
    fn rt_abort(task: u64) -> i64;
    fn rt_task_wake(task: u64) -> i64;
    fn rt_task_self(cx: *mut rt_cx) -> u64;
    fn rt_yield(cx: *mut rt_cx) -> i64;
    fn rt_cx_current() -> *mut rt_cx;
    fn rt_cx_runtime(cx: *mut rt_cx) -> u64;
    fn rt_register_fd(rt: u64, fd: c_int, flags: u32, out: *mut u64) -> i64;
    fn rt_poll_ready(cx: *mut rt_cx, io: u64, interest: u32, out: *mut rt_ready) -> i64;
    fn rt_try_ready(io: u64, interest: u32, out: *mut rt_ready) -> i64;
    fn rt_clear_ready(io: u64, seen: rt_ready) -> i64;
    fn rt_close(io: u64) -> i64;
    fn rt_now() -> u64;
    fn rt_timer_start(rt: u64, at: u64, out: *mut u64) -> i64;
    fn rt_timer_cancel(timer: u64) -> i64;
    fn rt_poll_sleep(cx: *mut rt_cx, slot: *mut u64, at: u64) -> i64;
    fn rt_chan_new(capacity: usize, drop: Option<rt_drop_fn>, out: *mut u64) -> i64;
    fn rt_poll_chan_send(cx: *mut rt_cx, chan: u64, item: *mut c_void) -> i64;
    fn rt_poll_chan_recv(cx: *mut rt_cx, chan: u64, item: *mut *mut c_void) -> i64;
    fn rt_chan_free(chan: u64) -> i64;
}

/// The result of a call, which must not be an error.
#[inline]
pub fn done(result: i64) -> i64 {
    if result < 0 {
        failed(result);
    }
    result
}

/// The result of a call that a task can await.
#[inline]
pub fn poll(result: i64) -> Poll<i64> {
    if result == RT_PENDING { Poll::Pending } else { Poll::Ready(done(result)) }
}

#[cold]
fn failed(result: i64) -> ! {
    // SAFETY: takes any value, and its texts are never freed.
    let text = unsafe { std::ffi::CStr::from_ptr(rt_strerror(result)) };
    panic!("a call failed: {}", text.to_string_lossy());
}

/// What a closure that is a task is given: `rt_cx`, good during the poll.
#[derive(Clone, Copy)]
pub struct Cx(pub *mut rt_cx);

// SAFETY of what follows: the context is this poll's, and every `out` is a variable.
impl Cx {
    #[inline]
    pub fn runtime(self) -> u64 {
        unsafe { rt_cx_runtime(self.0) }
    }

    /// The task that is polled.
    #[inline]
    pub fn me(self) -> u64 {
        unsafe { rt_task_self(self.0) }
    }

    /// Wakes a task. Any thread.
    #[inline]
    pub fn wake(task: u64) {
        done(unsafe { rt_task_wake(task) });
    }

    #[inline]
    pub fn yield_now(self) -> Poll<()> {
        poll(unsafe { rt_yield(self.0) }).map(drop)
    }

    /// Spawns a closure, as stealable as the flavour has it.
    #[inline]
    pub fn spawn(self, body: impl FnMut(Cx) -> Poll<()> + Send + 'static) -> u64 {
        runtime::spawn(self.runtime(), body)
    }

    #[inline]
    pub fn join(self, task: u64) -> Poll<()> {
        poll(unsafe { rt_poll_join(self.0, task, std::ptr::null_mut()) }).map(drop)
    }

    /// Ends a task.
    pub fn abort(self, task: u64) {
        done(unsafe { rt_abort(task) });
    }

    /// Registers a descriptor, which is the library's from then on.
    pub fn register(self, fd: c_int, interest: u32) -> u64 {
        let mut io = 0;
        done(unsafe { rt_register_fd(self.runtime(), fd, interest, &mut io) });
        io
    }

    #[inline]
    pub fn ready(self, io: u64, interest: u32) -> Poll<rt_ready> {
        let mut seen = rt_ready { bits: 0, tick: 0 };
        poll(unsafe { rt_poll_ready(self.0, io, interest, &mut seen) }).map(|_| seen)
    }

    #[inline]
    pub fn clear(self, io: u64, seen: rt_ready) {
        done(unsafe { rt_clear_ready(io, seen) });
    }

    /// What is ready, without waiting.
    #[inline]
    pub fn try_ready(self, io: u64, interest: u32) -> u32 {
        let mut seen = rt_ready { bits: 0, tick: 0 };
        done(unsafe { rt_try_ready(io, interest, &mut seen) });
        seen.bits
    }

    pub fn close(self, io: u64) {
        done(unsafe { rt_close(io) });
    }

    #[inline]
    pub fn now(self) -> u64 {
        unsafe { rt_now() }
    }

    #[inline]
    pub fn start_timer(self, at: u64) -> u64 {
        let mut timer = 0;
        done(unsafe { rt_timer_start(self.runtime(), at, &mut timer) });
        timer
    }

    /// Cancels a timer that has not fired.
    #[inline]
    pub fn cancel_timer(self, timer: u64) {
        assert_eq!(done(unsafe { rt_timer_cancel(timer) }), 1);
    }

    #[inline]
    pub fn sleep(self, slot: &mut u64, at: u64) -> Poll<()> {
        poll(unsafe { rt_poll_sleep(self.0, slot, at) }).map(drop)
    }

    /// Sends a number.
    #[inline]
    pub fn send(self, chan: u64, item: usize) -> Poll<()> {
        poll(unsafe { rt_poll_chan_send(self.0, chan, std::ptr::without_provenance_mut(item)) }).map(drop)
    }

    #[inline]
    pub fn recv(self, chan: u64) -> Poll<usize> {
        let mut item = std::ptr::null_mut();
        poll(unsafe { rt_poll_chan_recv(self.0, chan, &mut item) }).map(|_| item.addr())
    }
}

pub fn new_chan(capacity: usize) -> u64 {
    let mut chan = 0;
    done(unsafe { rt_chan_new(capacity, None, &mut chan) });
    chan
}

pub fn free_chan(chan: u64) {
    done(unsafe { rt_chan_free(chan) });
}
