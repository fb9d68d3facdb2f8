//! Driving a current-thread runtime, and waiting for a multi-thread one as a whole.

use super::context::Current;
use super::io::{Errno, errno_of};
use super::runtimes::RuntimeRef;
use super::shared::{NEVER, Phase, now};
use super::worker::Worker;
use crate::primitives::fork::is_forked;
use crate::primitives::sync::Ordering::*;
use crate::primitives::thread::thread_number;
use std::os::fd::RawFd;

/// A worker that this thread has taken to drive it; given back when dropped, also by a panic.
struct Driving<'a> {
    runtime: &'a RuntimeRef,
    worker: Option<Box<Worker>>,
}

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        match self.worker.take() {
            Some(worker) if !is_forked() => self.runtime.put_worker(worker),
            // In a child somebody may hold the lock for ever, and what the worker has is the parent's.
            worker => std::mem::forget(worker),
        }
    }
}

impl RuntimeRef {
    /// Binds a current-thread runtime to this thread, if it is bound to none.
    pub(super) fn bind(&self) -> Result<(), Errno> {
        let me = thread_number();
        match self.shared().driven_by.compare_exchange(0, me, AcqRel, Acquire) {
            Ok(_) => Ok(()),
            Err(owner) if owner == me => Ok(()),
            Err(_) => Err(libc::EPERM),
        }
    }

    /// True if a wait on this thread must drive the runtime, since nobody else will.
    pub(super) fn drives_here(&self) -> bool {
        self.shared().is_current_thread() && self.bind().is_ok()
    }

    /// Takes the worker. The caller is neither inside of the runtime nor on a wrong thread. `EPERM`: a task forked, and its
    /// poll came back in the child, which gets out of here and leaves everything as it is.
    fn with_worker<R>(&self, f: impl FnOnce(&Worker) -> R) -> Result<R, Errno> {
        let driving = Driving { runtime: self, worker: self.take_worker() };
        let worker = driving.worker.as_deref().ok_or(libc::EDEADLK)?;
        worker.driver.borrow_mut().start();
        Current::scope(worker, || {
            let result = f(worker);
            if is_forked() {
                return Err(libc::EPERM);
            }
            worker.leave();
            Ok(result)
        })
    }

    /// Runs tasks on this thread until `done`, or until the deadline.
    pub(super) fn drive(&self, deadline: u64, done: &dyn Fn() -> bool) -> Result<(), Errno> {
        self.with_worker(|worker| {
            while !is_forked() && !done() && now_unless_never(deadline) < deadline {
                worker.turn_once(deadline, done);
            }
        })
    }

    /// Ends all tasks on this thread, where none can be stuck: past the deadline, too, as long as there is something to run.
    pub(super) fn drive_to_end(&self, deadline: u64, done: &dyn Fn() -> bool) -> Result<(), Errno> {
        self.with_worker(|worker| {
            while !is_forked() && !done() {
                let is_over = now_unless_never(deadline) >= deadline;
                worker.turn_once(deadline, done);
                if is_over && !worker.has_work() {
                    break;
                }
            }
        })
    }

    /// Ends the timers of a runtime without threads.
    pub(super) fn end_timers_here(&self) -> Result<(), Errno> {
        self.with_worker(Worker::end_timers)
    }

    /// One turn: see `rt_turn`. Returns how many tasks were polled.
    pub(crate) fn turn(&self, timeout: u64) -> Result<u64, Errno> {
        if !self.shared().is_current_thread() {
            return Err(libc::EPERM);
        }
        self.may_block()?;
        if self.shared().phase() != Phase::Running {
            return Err(libc::ESHUTDOWN);
        }
        let deadline = if timeout == NEVER { NEVER } else { now().saturating_add(timeout) };
        self.with_worker(|worker| worker.turn_once(deadline, &|| false))
    }

    /// Runs until `stop`, or until no task is left. Returns how many tasks are left.
    pub(crate) fn run(&self) -> Result<u64, Errno> {
        self.may_block()?;
        let shared = self.shared();
        if shared.phase() != Phase::Running {
            return Err(libc::ESHUTDOWN);
        }
        let is_over = || shared.tasks() == 0 || shared.phase() != Phase::Running;
        if shared.is_current_thread() {
            self.drive(NEVER, &|| shared.stop.load(Acquire) || is_over())?;
            shared.stop.swap(false, AcqRel);
        } else {
            // Each stop is for one of several, so whoever sees it takes it.
            shared.wait_until(NEVER, || shared.stop.swap(false, AcqRel) || is_over());
            shared.wait_for_ends();
        }
        Ok(shared.tasks())
    }

    /// Makes `run` return, now or the next time.
    pub(crate) fn stop(&self) {
        let shared = self.shared();
        shared.stop.swap(true, AcqRel);
        shared.remote(0).nudge();
        shared.ring();
    }

    /// The descriptor that another loop may wait on. From now on every turn leaves it readable while there is work.
    pub(crate) fn event_fd(&self) -> Result<RawFd, Errno> {
        let shared = self.shared();
        if !shared.is_current_thread() {
            return Err(libc::EPERM);
        }
        // There may be work already, of which nobody was told.
        if !shared.embedded.swap(true, AcqRel) {
            shared.remote(0).driver.ring_set();
        }
        shared.remote(0).driver.event_fd().map_err(errno_of)
    }

    /// When the runtime wants to be turned next, if no event comes before.
    pub(crate) fn next_deadline(&self) -> u64 {
        let shared = self.shared();
        shared.remotes.iter().map(|remote| remote.next_deadline.load(Relaxed)).fold(shared.fds.retry_at(), u64::min)
    }
}

/// The clock is only read where there is a deadline.
fn now_unless_never(deadline: u64) -> u64 {
    if deadline == NEVER { 0 } else { now() }
}

impl Worker {
    /// Looks around, sleeping if there is nothing to do, and runs what there is.
    fn turn_once(&self, deadline: u64, done: &dyn Fn() -> bool) -> u64 {
        self.goes_on();
        // News may be a nudge: then the caller's condition must be looked at again before this thread sleeps.
        if self.take_inbox() || self.has_work() {
            self.look();
        } else {
            self.park(super::shared::until(deadline));
        }
        self.run_batch(done)
    }

    /// Leaves the worker to somebody else's loop: whatever comes from now on makes the descriptor readable, and what is
    /// here already does so at once.
    fn leave(&self) {
        let shared = self.shared();
        // Asked for with or without the descriptor.
        let next = self.note_next_deadline();
        if !shared.embedded.load(Acquire) {
            return;
        }
        let wake_at = shared.fds.retry_at().min(next);
        self.driver.borrow().stay_awake();
        self.remote().driver.alarm((wake_at != NEVER).then_some(wake_at));
        if self.hand_over() || self.has_work() || self.lend() || !self.remote().inbox.park() {
            self.remote().unpark();
        }
    }
}
