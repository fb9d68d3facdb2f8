//! What is asked of name servers, on threads of its own share.
//!
//! A question owns everything that its thread touches, and the thread a count of it. So one that is cancelled is over for its
//! task at once, though nobody can interrupt the thread, which may take as long as the servers do: it goes on alone, and
//! finds nobody to tell.

use super::super::io::Errno;
use super::super::pool::{Job, Place, Pool};
use super::word::News;
use super::{OpName, Operation};
use crate::primitives::sync;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

/// Addresses, or why there are none.
pub(crate) type Answer = Result<Vec<SocketAddr>, Errno>;

/// See the module.
pub(crate) struct Question {
    ask: Box<dyn Fn() -> Answer + Send + Sync>,
    answer: OnceLock<Answer>,
    /// The operation, in the life that asks.
    asker: OnceLock<OpName>,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("answer", &self.answer).finish_non_exhaustive()
    }
}

impl Question {
    pub(crate) fn new(ask: impl Fn() -> Answer + Send + Sync + 'static) -> Self {
        Self { ask: Box::new(ask), answer: OnceLock::new(), asker: OnceLock::new() }
    }

    /// Gives the question, with a count of it, to a thread.
    pub(super) fn submit(self: &Arc<Self>, pool: &sync::Arc<Pool>, op: &'static Operation) -> Result<Place, Errno> {
        let asker = self.asker.set(OpName { op, generation: op.word.generation() });
        debug_assert!(asker.is_ok(), "asked once");
        let argument = Arc::into_raw(self.clone());
        // SAFETY: the count that was just made goes with the job.
        let job = unsafe { Job::new(ask, argument.cast()) };
        Pool::submit(pool, job).map_err(|(errno, _job)| {
            // SAFETY: the job came back, and the count with it.
            drop(unsafe { Arc::from_raw(argument) });
            errno
        })
    }

    /// Takes the question back. Where a thread has it already, that one goes on with its own count.
    pub(super) fn revoke(self: &Arc<Self>, pool: &Pool, place: Place) {
        if pool.revoke(place) {
            // SAFETY: the job will not run: its count came back.
            unsafe { Arc::decrement_strong_count(Arc::as_ptr(self)) };
        }
    }

    /// How many addresses there are, or the error.
    pub(super) fn outcome(&self) -> i64 {
        match self.answer.get() {
            Some(Ok(addresses)) => addresses.len() as i64,
            Some(Err(errno)) => -i64::from(*errno),
            None => -i64::from(libc::ECANCELED),
        }
    }

    pub(super) fn answer(&self) -> Answer {
        self.answer.get().cloned().unwrap_or(Err(libc::ECANCELED))
    }
}

/// A thread asks.
///
/// # Safety
/// The argument is a count of a question, which was submitted.
unsafe fn ask(argument: *const ()) {
    // SAFETY: the caller says so.
    let question = unsafe { Arc::from_raw(argument.cast::<Question>()) };
    let _ = question.answer.set((question.ask)());
    if let Some(asker) = question.asker.get() {
        // Over, if nobody wants to know any more.
        let _ = asker.told(asker.op.word.tell_life(asker.generation, News::BACK));
    }
}
