//! Threads for calls that block.
//!
//! Threads are made for jobs that no thread is free for, and end when nothing came for a while. What could go wrong is that
//! a job is left to a thread which is about to end, or that two jobs are left to the same one. Neither can: a job is not
//! handed to a thread, it is queued, and counts as one that a free thread will take, until one took it. One lock holds the
//! queue and the counts, so whoever takes a job, makes a thread or ends one decides on all of them at once:
//!
//! - A thread is made when the new job makes the queue longer than there are free threads, up to the limit.
//! - A thread sleeps, or ends, only where it sees the queue empty. One whose time is up looks once more.
//!
//! So while a job is queued, there is a thread that will look at the queue before it sleeps or ends. Which one a bell
//! reaches does not matter for that. It is the one that fell asleep last, so that those who are not needed sleep until they
//! end: were they woken in turn, a few jobs a second would keep all the threads that one burst had made.

use super::io::{Errno, errno_of};
use super::shared::instant_of;
use super::threads::{SignalMask, stack_for, take_name};
use crate::primitives::fork::is_forked;
use crate::primitives::sync::{Arc, Condvar, Mutex, nature, thread};
use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use std::{io, mem, ptr};

/// A call and its argument. Moved to a thread, and run there once unless it was taken back.
#[derive(Debug)]
pub(super) struct Job {
    run: unsafe fn(*const ()),
    argument: *const (),
}

// SAFETY: `new`'s caller promised that the call may be made with this argument on any thread.
unsafe impl Send for Job {}

impl Job {
    /// # Safety
    /// `run(argument)` may be called on any thread, once, until the job was revoked or given back by a refused submit. What
    /// the argument points to lives until then, or until the call has returned.
    pub(super) unsafe fn new(run: unsafe fn(*const ()), argument: *const ()) -> Self {
        Self { run, argument }
    }

    /// A panic is the job's own matter: it has been reported by the panic hook, and the thread goes on.
    fn run(self) {
        // SAFETY: by `new`'s contract; a job is moved here out of the queue, so this is the one call.
        let outcome = catch_unwind(AssertUnwindSafe(|| unsafe { (self.run)(self.argument) }));
        // What was thrown may panic again as it is dropped; what that throws is leaked.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(outcome))).map_err(mem::forget);
    }
}

/// Names a job that was queued, among all of its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

/// A job in the queue, in the order of the places.
struct Queued {
    place: Place,
    /// `None`: it was taken back.
    job: Option<Job>,
}

/// See the module.
pub(super) struct Pool {
    limit: usize,
    idle_for: Duration,
    thread_name: CString,
    stack_size: usize,
    state: Mutex<State>,
    /// Rung by a thread that ends and leaves none behind.
    empty: Condvar,
}

/// What a thread sleeps at. std's `Arc`, so that loom does not explore it.
type Bell = std::sync::Arc<Condvar>;

#[derive(Default)]
struct State {
    /// Nobody has begun these. Not empty: a thread exists.
    jobs: VecDeque<Queued>,
    /// How many of them were taken back.
    revoked: usize,
    /// How many were ever queued.
    places: u64,
    /// The threads that may still take a job. A thread takes itself out as it decides to end.
    threads: Vec<thread::JoinHandle<()>>,
    /// Those of them that run no job: asleep, or on their way to the queue, as new ones are.
    free: usize,
    /// The bells of those that are asleep, in the order in which they fell asleep. Who takes one out rings it.
    asleep: Vec<Bell>,
    /// Models only: every thread that waits, or will, finds its time to be up.
    #[cfg(all(test, loom))]
    late: bool,
    /// The thread that decided to end last, which waits for the one before it, and so on: all that ended are ended when
    /// this one is.
    last: Option<thread::JoinHandle<()>>,
    /// No job is accepted any more.
    closed: bool,
}

thread_local! {
    /// The pool that this thread works for, which outlives it.
    static SERVED: Cell<*const Pool> = const { Cell::new(ptr::null()) };
}

impl Pool {
    /// No thread is made before there is something to do. The limit is at least one; a thread that found nothing to do for
    /// so long ends.
    pub(super) fn new(limit: usize, idle_for: Duration, thread_name: CString, stack_size: usize) -> Self {
        Self {
            limit: limit.max(1),
            idle_for,
            thread_name,
            stack_size,
            state: Mutex::new(State::default()),
            empty: Condvar::new(),
        }
    }

    /// Runs the job on some thread. Jobs begin in the order of their submission.
    ///
    /// The job comes back with `ESHUTDOWN` after `close`, with `ENOMEM` where there is no room to queue it, and with what the
    /// system said where no thread exists and none can be made. Too few threads are no reason to refuse.
    pub(super) fn submit(this: &Arc<Self>, job: Job) -> Result<Place, (Errno, Job)> {
        let mut state = this.state.lock();
        if state.closed {
            return Err((libc::ESHUTDOWN, job));
        }
        if state.jobs.try_reserve(1).is_err() {
            return Err((libc::ENOMEM, job));
        }
        if state.queued() >= state.free && state.threads.len() < this.limit {
            // With the lock held, though it takes a while: nobody may rely on a thread that then cannot be made.
            match Self::make_thread(this) {
                Ok(thread) => {
                    state.threads.push(thread);
                    state.free += 1;
                }
                Err(error) if state.threads.is_empty() => return Err((errno_of(error), job)),
                Err(_) => {}
            }
        }
        let place = Place(state.places);
        state.places += 1;
        state.jobs.push_back(Queued { place, job: Some(job) });
        let bell = state.asleep.pop();
        drop(state);
        if let Some(bell) = bell {
            bell.notify_one();
        }
        Ok(place)
    }

    /// Takes a job back that no thread has begun. True: it will not run.
    pub(super) fn revoke(&self, place: Place) -> bool {
        self.state.lock().revoke(place)
    }

    /// Refuses new jobs. Those that are queued still run, then the threads end.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let asleep = mem::take(&mut state.asleep);
        drop(state);
        for bell in asleep {
            bell.notify_one();
        }
    }

    /// Waits until the threads of a closed pool have ended, or until the deadline. False: some are stuck in a job. For one
    /// caller, who is no job.
    pub(super) fn join(&self, deadline: u64) -> bool {
        let mut state = self.state.lock();
        while !state.threads.is_empty() {
            match instant_of(deadline) {
                None => self.empty.wait(&mut state),
                Some(end) => {
                    if self.empty.wait_until(&mut state, end).timed_out() && !state.threads.is_empty() {
                        return false;
                    }
                }
            }
        }
        let last = state.last.take();
        drop(state);
        // It has nothing left to do but to end.
        let _ = last.map(thread::JoinHandle::join);
        true
    }

    /// How many threads there are.
    pub(super) fn threads(&self) -> usize {
        self.state.lock().threads.len()
    }

    /// How many jobs no thread has begun.
    #[cfg(all(test, not(loom)))]
    pub(super) fn queued(&self) -> usize {
        self.state.lock().queued()
    }

    /// How many threads run no job.
    #[cfg(all(test, not(loom)))]
    pub(super) fn free(&self) -> usize {
        self.state.lock().free
    }

    /// Models only: from now on every thread that waits, or will, finds its time to be up.
    #[cfg(all(test, loom))]
    pub(super) fn let_time_pass(&self) {
        let mut state = self.state.lock();
        state.late = true;
        state.asleep.iter().for_each(|bell| bell.be_late());
    }

    fn make_thread(this: &Arc<Self>) -> io::Result<thread::JoinHandle<()>> {
        let name = this.thread_name.to_string_lossy().into_owned();
        let builder = thread::Builder::new().name(name).stack_size(stack_for(this.stack_size));
        let pool = this.clone();
        // Signals are the program's: a thread takes none, and inherits that from here.
        let _masked = SignalMask::block_sent();
        builder.spawn(move || pool.work())
    }

    /// True on a thread of this pool, so inside of a job.
    pub(super) fn is_served_here(&self) -> bool {
        ptr::eq(SERVED.get(), self)
    }

    /// A thread's whole life.
    fn work(&self) {
        take_name(&self.thread_name);
        SERVED.set(self);
        let bell = Bell::new(Condvar::new());
        let mut state = self.state.lock();
        let (mut patience, mut waited_enough) = (self.patience(), false);
        loop {
            if let Some(job) = state.next_job() {
                state.free -= 1;
                drop(state);
                job.run();
                // The call forked and came back in the child, whose last thread ends here: nothing is its to look at.
                if is_forked() {
                    return;
                }
                (patience, waited_enough) = (self.patience(), false);
                state = self.state.lock();
                state.free += 1;
            } else if state.closed || waited_enough {
                break;
            } else {
                state.falls_asleep(&bell);
                match patience {
                    Some(end) => waited_enough = bell.wait_until(&mut state, end).timed_out(),
                    None => bell.wait(&mut state),
                }
                state.wakes_up(&bell);
            }
        }
        let before = state.end_this_thread();
        if state.threads.is_empty() {
            self.empty.notify_all();
        }
        drop(state);
        let _ = before.map(thread::JoinHandle::join);
    }

    /// Until when a thread waits that has nothing to do from now on; `None`: for ever.
    fn patience(&self) -> Option<Instant> {
        nature::instant().checked_add(self.idle_for)
    }
}

impl State {
    fn queued(&self) -> usize {
        self.jobs.len() - self.revoked
    }

    fn next_job(&mut self) -> Option<Job> {
        loop {
            match self.jobs.pop_front()?.job {
                None => self.revoked -= 1,
                job => return job,
            }
        }
    }

    /// Empties the job's place. The queue closes up when half of it is empty, so that neither a revoke costs more when many
    /// are queued, nor the queue grows by what was revoked.
    fn revoke(&mut self, place: Place) -> bool {
        let Ok(at) = self.jobs.binary_search_by_key(&place, |queued| queued.place) else { return false };
        if self.jobs[at].job.take().is_none() {
            return false;
        }
        self.revoked += 1;
        if self.revoked * 2 > self.jobs.len() {
            self.jobs.retain(|queued| queued.job.is_some());
            self.revoked = 0;
        }
        true
    }

    fn falls_asleep(&mut self, bell: &Bell) {
        self.asleep.push(bell.clone());
        #[cfg(all(test, loom))]
        if self.late {
            bell.be_late();
        }
    }

    /// Unless it was rung, nobody took the bell out.
    fn wakes_up(&mut self, bell: &Bell) {
        self.asleep.retain(|other| !std::sync::Arc::ptr_eq(other, bell));
    }

    /// Returns the thread that ended before.
    fn end_this_thread(&mut self) -> Option<thread::JoinHandle<()>> {
        let this = thread::current().id();
        let place = self.threads.iter().position(|thread| thread.thread().id() == this);
        self.free -= 1;
        self.last.replace(self.threads.swap_remove(place.expect("who made this thread put it here")))
    }
}
