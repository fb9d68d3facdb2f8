//! A runtime, and closures as its tasks.

use crate::*;
use std::ffi::CStr;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq)]
pub enum Flavour {
    /// Every task is pinned.
    CurrentThread,
    /// Tasks are stealable, but nobody steals.
    OneWorker,
    /// Tasks that are spawned from outside are pinned, to one worker and the other in turn.
    TwoWorkers,
}

impl Flavour {
    pub fn name(self) -> &'static str {
        match self {
            Self::CurrentThread => "current-thread",
            Self::OneWorker => "one worker",
            Self::TwoWorkers => "two workers",
        }
    }
}

pub struct Runtime {
    rt: u64,
    flavour: Flavour,
}

// SAFETY of what follows: structs have the size that they are said to have, and states outlive their tasks.
impl Runtime {
    pub fn new(flavour: Flavour) -> Self {
        Self::spinning(flavour, 0)
    }

    /// With `spin_ns` as the configuration has it.
    pub fn spinning(flavour: Flavour, spin_ns: u64) -> Self {
        let mut config = rt_config { size: 0, flavour: 0, engine: 0, workers: 0, spin_ns: 0 };
        done(unsafe { rt_config_init(&mut config, size_of::<rt_config>()) });
        config.flavour = u32::from(flavour == Flavour::CurrentThread);
        config.workers = 1 + u32::from(flavour == Flavour::TwoWorkers);
        config.spin_ns = spin_ns;
        let mut rt = 0;
        done(unsafe { rt_new(&config, &mut rt, std::ptr::null_mut(), 0) });
        Self { rt, flavour }
    }

    /// What it runs on.
    pub fn describe(&self) -> String {
        let mut text = [0; 256];
        done(unsafe { rt_describe(self.rt, text.as_mut_ptr(), text.len()) });
        unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned()
    }

    /// How often a sleeping worker was woken.
    pub fn unparks(&self) -> u64 {
        let mut data = rt_metrics_data { size: size_of::<rt_metrics_data>() as u32, ..Default::default() };
        done(unsafe { rt_metrics(self.rt, &mut data) });
        data.unparks
    }

    /// Spawns a closure from outside.
    pub fn spawn<F: FnMut(Cx) -> Poll<()> + Send + 'static>(&self, body: F) -> u64 {
        let (state, drop) = boxed(body);
        self.spawn_state(poll_closure::<F>, state, drop)
    }

    fn spawn_state(&self, poll: rt_poll_fn, state: *mut c_void, drop: Option<rt_drop_fn>) -> u64 {
        if self.flavour != Flavour::TwoWorkers {
            return spawn_state(self.rt, poll, state, drop);
        }
        let size = size_of::<rt_spawn_opts>() as u32;
        let flags = RT_SPAWN_PINNED;
        let opts = rt_spawn_opts { size, flags, poll: Some(poll), state, state_size: 0, drop };
        let mut task = 0;
        done(unsafe { rt_spawn_with(self.rt, &opts, &mut task) });
        task
    }

    /// Waits for a task, which the current-thread flavour runs meanwhile.
    pub fn wait(&self, task: u64) {
        if self.flavour == Flavour::CurrentThread {
            self.block_on(|cx| cx.join(task));
        } else {
            done(unsafe { rt_join(task, u64::MAX, std::ptr::null_mut()) });
        }
    }

    fn block_on<F: FnMut(Cx) -> Poll<()>>(&self, mut body: F) {
        done(unsafe { rt_block_on(self.rt, poll_closure::<F>, (&raw mut body).cast()) });
    }

    /// Runs a closure as a task of its own, and tells what it measured. The clock stops with the task at the latest.
    pub fn time(&self, body: impl FnMut(Cx, &mut Clock) -> Poll<()> + Send) -> Duration {
        self.measure(Clock::new(libc::CLOCK_MONOTONIC), body)
    }

    /// The same, by the CPU time of the task's thread.
    pub fn cpu_time(&self, body: impl FnMut(Cx, &mut Clock) -> Poll<()> + Send) -> Duration {
        self.measure(Clock::new(libc::CLOCK_THREAD_CPUTIME_ID), body)
    }

    fn measure(&self, mut clock: Clock, mut body: impl FnMut(Cx, &mut Clock) -> Poll<()> + Send) -> Duration {
        self.wait(self.spawn_borrowed(&mut |cx| body(cx, &mut clock).map(|()| clock.stop())));
        clock.took()
    }

    /// The task must be waited for before the closure goes.
    fn spawn_borrowed<F: FnMut(Cx) -> Poll<()> + Send>(&self, body: &mut F) -> u64 {
        self.spawn_state(poll_closure::<F>, (&raw mut *body).cast(), None)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        done(unsafe { rt_free(self.rt) });
    }
}

/// A task whose state is a closure.
unsafe extern "C" fn poll_closure<F: FnMut(Cx) -> Poll<()>>(cx: *mut rt_cx, state: *mut c_void) -> i64 {
    match unsafe { &mut *state.cast::<F>() }(Cx(cx)) {
        Poll::Ready(()) => 0,
        Poll::Pending => RT_PENDING,
    }
}

unsafe extern "C" fn drop_closure<F>(state: *mut c_void) {
    drop(unsafe { Box::from_raw(state.cast::<F>()) });
}

/// A closure that captures nothing needs no memory, and no drop function.
fn boxed<F>(body: F) -> (*mut c_void, Option<rt_drop_fn>) {
    (Box::into_raw(Box::new(body)).cast(), (size_of::<F>() > 0).then_some(drop_closure::<F>))
}

pub(crate) fn spawn<F: FnMut(Cx) -> Poll<()> + Send + 'static>(rt: u64, body: F) -> u64 {
    let (state, drop) = boxed(body);
    spawn_state(rt, poll_closure::<F>, state, drop)
}

fn spawn_state(rt: u64, poll: rt_poll_fn, state: *mut c_void, drop: Option<rt_drop_fn>) -> u64 {
    let mut task = 0;
    done(unsafe { rt_spawn(rt, poll, state, drop, &mut task) });
    task
}
