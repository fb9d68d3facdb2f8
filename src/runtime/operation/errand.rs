//! Work of the library's own that takes several steps, as an operation.
//!
//! A task of the library's runs it, on the worker of the operation, and may begin operations itself. The operation does nothing
//! but to be told. Whoever lets go of it calls the runner back, and what was made and not taken is closed.

use super::super::context::PollContext;
use super::super::io::{Errno, IoPoll};
use super::super::owned::{Io, Made};
use super::super::runtimes::RuntimeRef;
use super::word::News;
use super::{OpName, Request, submit};
use crate::primitives::sync::Mutex;
use crate::task::TaskName;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::task::Poll;

/// The operation's part.
pub(crate) struct Errand {
    made: Arc<Mutex<Option<Made>>>,
    runner: Arc<OnceLock<TaskName>>,
}

impl Errand {
    /// The handle of what was made, or why nothing was.
    pub(super) fn outcome(&self) -> i64 {
        match &*self.made.lock() {
            // Never negative, for the generation of a descriptor has 24 bits.
            Some(Ok(io)) => io.raw() as i64,
            Some(Err(errno)) => -i64::from(*errno),
            None => -i64::from(libc::ECANCELED),
        }
    }

    /// What was made is the program's from now on.
    pub(super) fn hand_over(&self) {
        let made = self.made.lock().take();
        made.and_then(Result::ok).map(Io::into_raw);
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        // One that has come back is gone.
        let _ = self.runner.get().map(|runner| runner.abort());
    }
}

/// The runner's part. Dropping it tells the operation, however the runner ended.
struct Return {
    made: Arc<Mutex<Option<Made>>>,
    asker: OpName,
}

impl Drop for Return {
    fn drop(&mut self) {
        // Over, if nobody wants to know any more.
        let _ = self.asker.told(self.asker.op.word.tell_life(self.asker.generation, News::BACK));
    }
}

/// Begins work as an operation of the task that is polled, and returns its handle.
pub(crate) fn submit_errand(cx: &PollContext, work: impl Future<Output = Made> + Send + 'static) -> Result<u64, Errno> {
    let (made, runner) = (Arc::default(), Arc::default());
    let errand = Errand { made: Arc::clone(&made), runner: Arc::clone(&runner) };
    let op = submit(cx, Request::Errand(errand), [None, None])?;
    let asker = OpName::parse(op).ok_or(libc::EBADF)?;
    let back = Return { made, asker };
    let runs = async move {
        let done = work.await;
        *back.made.lock() = Some(done);
    };
    let spawned = RuntimeRef::enter(cx.runtime()).and_then(|runtime| {
        let named = |name| {
            let _ = runner.set(name);
        };
        runtime.spawn(runs, Some(runtime.pick_home()), false, named).map_err(|(error, _runs)| error.errno())
    });
    spawned.map(|()| op).inspect_err(|_| asker.discard())
}

impl OpName {
    /// What was made, once.
    pub(crate) fn poll_made(self, cx: &PollContext) -> IoPoll<i64> {
        match self.with(cx, |_worker, _op, body| Ok(matches!(body.request, Request::Errand(_)))) {
            Ok(true) => self.poll(cx),
            Ok(false) => Poll::Ready(Err(libc::EINVAL)),
            Err(errno) => Poll::Ready(Err(errno)),
        }
    }
}
