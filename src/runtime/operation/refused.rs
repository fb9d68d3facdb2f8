//! What waits for a connection that there will not be.
//!
//! The kernel tells once why a connect failed, to whoever asks first. If that is who connects, those whose sends wait go on waiting, on a
//! ring inside of the kernel, which would issue them on the next connection of the socket. So the failure is told when all
//! of them were dropped. If it is who receives or writes, a note is left for who connects.

use super::super::accepting::breaks_connection;
use super::super::context::PollContext;
use super::super::io::{Errno, IoName, traits};
use super::super::registration::is_connected;
use super::OpName;
use crate::primitives::sync::Ordering::*;
use std::task::Poll;

impl IoName {
    /// A connect failed. True if something waits for the connection: `poll_dropped` says why when that is gone.
    pub(in super::super) fn drops_waiting(self, errno: Errno) -> bool {
        let Ok(_in_use) = self.enter() else { return false };
        let waits = self.traffic_if_any().filter(|traffic| self.has(traits::STREAM) && traffic.is_sending());
        // It may be the call that is wrong, and not the connection.
        let Some(traffic) = waits.filter(|_| self.has_no_connection()) else { return false };
        traffic.untold.store(errno as u32, Release);
        match errno {
            // Somebody else knows why.
            libc::ECONNABORTED => drop(traffic.failed.compare_exchange(0, errno as u32, AcqRel, Acquire)),
            _ => traffic.fails(errno),
        }
        true
    }

    fn has_no_connection(self) -> bool {
        if self.has(traits::TCP) { self.is_connection_gone() } else { !is_connected(self.fd()) }
    }

    /// Waits until nothing is left of what was to be sent before all failed, and says why the last connect failed, if nobody was told.
    pub(in super::super) fn poll_dropped(self, cx: &PollContext) -> Poll<Option<Errno>> {
        // That it was closed is said by what is tried next.
        let Ok(_in_use) = self.enter() else { return Poll::Ready(None) };
        let Some(traffic) = self.traffic_if_any() else { return Poll::Ready(None) };
        if traffic.failed.load(Acquire) == 0 || !traffic.is_sending() {
            let untold = traffic.untold.swap(0, AcqRel) as Errno;
            return Poll::Ready(Some(untold).filter(|&errno| errno != 0));
        }
        // Either we see the pump, or it sees what we saw: both replace the word.
        OpName::parse(traffic.pump.fetch_or(0, AcqRel)).into_iter().for_each(OpName::retry);
        if traffic.is_flushed(0, cx.key(), &cx.waker()) {
            // Whoever has the baton is about to give it up.
            cx.wake_again();
        }
        Poll::Pending
    }

    /// Who received or wrote was told this. If it is why there is no connection, it is noted for who connects. The caller is a user of
    /// the descriptor.
    pub(in super::super) fn was_told(self, errno: Errno) {
        // A connection that was reset had been one.
        let is_refusal = breaks_connection(errno) && errno != libc::ECONNRESET && self.has(traits::TCP);
        let Some(Ok(traffic)) = is_refusal.then(|| self.traffic()) else { return };
        // At once, for who connects hears at any moment that there is no connection, and looks here for the reason.
        let before = traffic.refusal.swap(errno as u32, AcqRel);
        if !self.is_connection_gone() {
            let _ = traffic.refusal.compare_exchange(errno as u32, before, AcqRel, Acquire);
        }
    }

    /// Takes the note away before a connect is begun: what is noted after that is about the new connection, which may be refused before
    /// the call returns.
    pub(in super::super) fn take_refusal(self) -> Errno {
        self.traffic_if_any().map_or(0, |traffic| traffic.refusal.swap(0, AcqRel) as Errno)
    }

    /// None was begun. One that goes on, or is there, was not refused.
    pub(in super::super) fn put_refusal_back(self, noted: Errno) {
        if let Some(traffic) = self.traffic_if_any().filter(|_| noted != 0 && self.is_connection_gone()) {
            let _ = traffic.refusal.compare_exchange(0, noted as u32, AcqRel, Acquire);
        }
    }

    /// Why a connect, or a send, failed. If somebody else was told, the system says no more than that it did.
    pub(in super::super) fn why_in_full(self, errno: Errno) -> Errno {
        let is_brief = matches!(errno, libc::ECONNABORTED | libc::EPIPE);
        let Some(traffic) = self.traffic_if_any().filter(|_| is_brief) else { return errno };
        let told = [&traffic.failed, &traffic.refusal].map(|told| told.load(Acquire) as Errno);
        let says_why = |errno: &Errno| !matches!(*errno, 0 | libc::EPIPE | libc::ECANCELED | libc::ECONNABORTED);
        told.into_iter().find(says_why).unwrap_or(errno)
    }
}
