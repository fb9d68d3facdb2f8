//! Waiting for a server's end, and bringing it about.

use super::Server;
use super::state::Waiters;
use crate::runtime::{Errno, IoPoll, NEVER, PollContext, RuntimeRef, now};
use crate::task::is_dead;
use crate::time::Sleep;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

impl Server {
    /// Ready once the server drains.
    pub(super) fn poll_draining(&self, cx: &PollContext) -> Poll<()> {
        self.poll_state(cx, |state| match state.phase >= super::state::Phase::Draining {
            true => Ok(()),
            false => Err(&mut state.await_drain),
        })
    }

    /// Stops the server, and is ready when nothing is left of it. At the deadline what is left is cut.
    pub(super) fn poll_drain(server: &Arc<Self>, cx: &PollContext, at: u64) -> IoPoll<u64> {
        server.stop();
        if at != NEVER
            && let Err(errno) = Self::cut_at(server, at)
        {
            return Poll::Ready(Err(errno));
        }
        server.poll_state(cx, |state| match state.is_over() {
            true => Ok(Ok(state.cut)),
            // Since this call began. Nobody would wake who waits.
            false if state.freed => Ok(Err(libc::EBADF)),
            false => Err(&mut state.await_end),
        })
    }

    /// What the state says, or a wake later. A connection may ask before each of its requests: who waits already costs no
    /// waker.
    fn poll_state<R>(
        &self,
        cx: &PollContext,
        ask: impl Fn(&mut super::state::State) -> Result<R, &mut Waiters>,
    ) -> Poll<R> {
        if !cx.can_spend() {
            return Poll::Pending;
        }
        let mut waker = None;
        let unneeded = loop {
            let mut state = self.state.lock();
            match (ask(&mut state), waker.take()) {
                (Ok(answer), waker) => {
                    drop(state);
                    drop(waker);
                    cx.spend();
                    return Poll::Ready(answer);
                }
                // Also if the waker's own clone asked meanwhile.
                (Err(waiters), waker) if waiters.get(&cx.key()).is_some_and(|known| known.will_wake(&cx.waker())) => {
                    drop(state);
                    drop(waker);
                    return Poll::Pending;
                }
                (Err(waiters), Some(waker)) => break waiters.put(cx.key(), waker, is_dead),
                // Cloned without the lock, then asked again.
                (Err(_), None) => {
                    drop(state);
                    waker = Some(Waker::clone(&cx.waker()));
                }
            }
        };
        drop(unneeded);
        Poll::Pending
    }

    /// Sees to it that what is left at this time is cut. The earliest time that was asked for holds.
    fn cut_at(server: &Arc<Self>, at: u64) -> Result<(), Errno> {
        if at <= now() {
            server.cut_all();
            return Ok(());
        }
        let covered = {
            let state = server.state.lock();
            state.is_over() || state.cut_at <= at
        };
        if covered {
            return Ok(());
        }
        let runtime = RuntimeRef::enter(server.runtime)?;
        let reaper = reap(server.clone(), at);
        // Noted when there is one: until then another's time, though it is later, is not covered by it.
        let named = |name| {
            let mut state = server.state.lock();
            state.cut_at = state.cut_at.min(at);
            state.reapers.push(name);
        };
        runtime.spawn(reaper, Some(runtime.pick_home()), false, named).map_err(|(error, _reaper)| error.errno())
    }
}

/// Cuts what is left of a server at a time. Ends with the server.
async fn reap(server: Arc<Server>, at: u64) {
    let mut sleep = pin!(Sleep::until(at));
    let is_time = poll_fn(|context| match server.state.lock().is_over() {
        true => Poll::Ready(false),
        false => sleep.as_mut().poll(context).map(|()| true),
    });
    if is_time.await {
        server.cut_all();
    }
}
