//! Ending a runtime: everybody who waits is told, every task is aborted, and what does not end in time is given up.

use super::context::Current;
use super::io::Errno;
use super::letting_go::owned_by;
use super::local::List;
use super::runtimes::RuntimeRef;
use super::shared::{Phase, Shared, now};
use crate::primitives::sync::Ordering::*;
use crate::task::live_tasks;

/// What it takes to drop tasks that are not stuck, and to end their operations: 10 ms.
const LEAST_PATIENCE: u64 = 10_000_000;

impl RuntimeRef {
    /// Refuses new tasks, ends all others, and waits for that. Returns how many tasks were given up; the same number when
    /// it is called again.
    pub(crate) fn shutdown(&self, timeout: u64) -> Result<u64, Errno> {
        self.may_block()?;
        let shared = self.shared();
        // A function on the pool that waits for the end of its own task.
        if shared.pool.is_served_here() {
            return Err(libc::EDEADLK);
        }
        let deadline = now().saturating_add(timeout.max(LEAST_PATIENCE));
        shared.close();
        // A registration either sees the close, or is seen here. A waker that is called by this, and frees the runtime,
        // would wait for us: to it we are inside.
        Current::scope_without_worker(shared, || {
            for io in owned_by(shared.handle) {
                io.io.shut_down(io.generation);
            }
        });
        shared.set_phase(Phase::Stopping);
        let done = || shared.tasks() == 0 || shared.phase() == Phase::Stopped;
        let ended = if shared.is_current_thread() {
            self.drive_to_end(deadline, &done)?;
            done()
        } else {
            shared.wait_until(deadline, done)
        };
        if !ended {
            if !shared.is_current_thread() {
                end_orphans(shared);
            }
            // As above.
            let given_up = Current::scope_without_worker(shared, || {
                live_tasks(shared.identity()).filter(|task| task.abandon()).count()
            });
            shared.abandoned.fetch_add(given_up as u64, AcqRel);
        }
        shared.set_phase(Phase::Stopped);
        if shared.is_current_thread() {
            // As workers with a thread do when they see the phase.
            self.end_timers_here()?;
        } else if !ended {
            Current::scope_without_worker(shared, || super::timer::end_all(shared.handle));
        }
        let abandoned = shared.abandoned.load(Acquire);
        if abandoned == 0 && !shared.is_current_thread() {
            shared.wait_for_ends();
            // With the workers gone, all joiners were told. But a function of the program's, such as a waker, may keep one for longer
            // than the caller waits. The end may have come at the deadline, and a worker still needs its time then.
            shared.wait_for_workers(deadline.max(now().saturating_add(LEAST_PATIENCE)));
        }
        Ok(abandoned)
    }
}

impl RuntimeRef {
    /// When the runtime is freed, the handle is let go.
    pub(crate) fn takes_along(&self, raw: u64, let_go: fn(u64)) {
        self.shared().along.lock().insert(raw, let_go);
    }

    /// The handle was let go before.
    pub(crate) fn leaves_behind(&self, raw: u64) {
        self.shared().along.lock().remove(&raw);
    }
}

/// Ends, on this thread, what stuck workers keep from being ended: tasks that wait behind a stuck one, or that nobody has
/// aborted because everybody is stuck. Pinned tasks are their worker's, and stay.
fn end_orphans(shared: &Shared) {
    Current::scope_without_worker(shared, || {
        live_tasks(shared.identity()).for_each(|task| {
            let _ = task.abort();
        });
        let orphans = List::new();
        loop {
            shared.injector.pop_into(u32::MAX, &orphans);
            for remote in &shared.remotes {
                remote.queue.drain_into(&orphans);
                remote.lifo.take().into_iter().for_each(|task| orphans.push(task));
            }
            if orphans.is_empty() {
                return;
            }
            while let Some(task) = orphans.pop() {
                task.cancel();
                // A cancelled task is over after this, whatever it answers.
                let _ = task.run();
            }
        }
    });
}
