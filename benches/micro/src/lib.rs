//! The C ABI as a C program sees it, for benchmarks: the header's functions by their exported names.

#![allow(non_camel_case_types, missing_docs)]

use std::ffi::{c_char, c_int, c_void};

pub enum rt_cx {}
pub type rt_poll_fn = unsafe extern "C" fn(*mut rt_cx, *mut c_void) -> i64;
pub type rt_drop_fn = unsafe extern "C" fn(*mut c_void);

pub const RT_PENDING: i64 = -4096;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_ready {
    pub bits: u32,
    pub tick: u32,
}

unsafe extern "C" {
    pub fn rt_config_init(config: *mut c_void, size: usize) -> i64;
    pub fn rt_new(config: *const c_void, out: *mut u64, why: *mut c_char, len: usize) -> i64;
    pub fn rt_free(rt: u64) -> i64;
    pub fn rt_block_on(rt: u64, poll: rt_poll_fn, state: *mut c_void) -> i64;
    pub fn rt_spawn(rt: u64, poll: rt_poll_fn, state: *mut c_void, drop: Option<rt_drop_fn>, out: *mut u64) -> i64;
    pub fn rt_poll_join(cx: *mut rt_cx, task: u64, result: *mut i64) -> i64;
    pub fn rt_task_wake(task: u64) -> i64;
    pub fn rt_task_self(cx: *mut rt_cx) -> u64;
    pub fn rt_yield(cx: *mut rt_cx) -> i64;
    pub fn rt_cx_runtime(cx: *mut rt_cx) -> u64;
    pub fn rt_register_fd(rt: u64, fd: c_int, flags: u32, out: *mut u64) -> i64;
    pub fn rt_poll_ready(cx: *mut rt_cx, io: u64, interest: u32, out: *mut rt_ready) -> i64;
    pub fn rt_clear_ready(io: u64, seen: rt_ready) -> i64;
    pub fn rt_close(io: u64) -> i64;
    pub fn rt_strerror(result: i64) -> *const c_char;
}

/// A runtime: the current-thread flavour (every task is pinned), or one worker (tasks are stealable).
pub struct Runtime(pub u64);

impl Runtime {
    pub fn new(current_thread: bool) -> Self {
        // size, flavour, engine, workers; the rest is zero, which is the default.
        let mut config = [0u32; 64];
        config[..4].copy_from_slice(&[256, u32::from(current_thread), 0, 1]);
        let mut rt = 0;
        // SAFETY: the configuration is as long as its first word says.
        let made = unsafe { rt_new(config.as_ptr().cast(), &mut rt, std::ptr::null_mut(), 0) };
        assert_eq!(made, 0);
        Self(rt)
    }

    /// Runs a poll function to its end.
    pub fn run<T>(&self, poll: rt_poll_fn, state: &mut T) -> i64 {
        // SAFETY: the state outlives the call, and the poll function knows its type.
        unsafe { rt_block_on(self.0, poll, (&raw mut *state).cast()) }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // SAFETY: no pointers.
        unsafe { rt_free(self.0) };
    }
}

/// Keeps the library's objects in the link.
pub use asyncio::Config as _Config;
