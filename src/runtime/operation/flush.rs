//! How much a stream has queued, and who waits for it to become less.

use super::super::context::PollContext;
use super::super::io::{Errno, IoName, IoPoll, traits};
use super::traffic::Traffic;
use crate::primitives::crowd::Crowd;
use crate::primitives::pack::Field;
use crate::primitives::sync::Ordering::*;
use crate::task::is_dead;
use std::task::{Poll, Waker};

/// `| AWAITED 1 | bytes 63 |`: what is queued, and whether somebody waits for it to become less.
const BYTES: Field = Field::low(63);
const AWAITED: Field = BYTES.above(1);

/// Who waits for the queue to drain. One word, and all zeros where there was nobody.
pub(super) type Flushers = Option<Box<Waiting>>;

#[derive(Default)]
pub(super) struct Waiting {
    /// How little must be left for each.
    crowd: Crowd<usize, (u64, Waker)>,
    /// Nobody is woken while more than this is left.
    highest: u64,
}

impl IoName {
    /// Waits until no more than `low_water` bytes are queued.
    pub(crate) fn poll_flush(self, cx: &PollContext, low_water: u64) -> IoPoll<()> {
        let flushed = self.poll_flushed(cx, low_water);
        if flushed.is_ready() && self.traffic_if_any().is_some() {
            cx.spend();
        }
        flushed
    }

    /// The same for a step of a call that has results of its own: it costs none.
    pub(crate) fn poll_flushed(self, cx: &PollContext, low_water: u64) -> IoPoll<()> {
        let _in_use = match self.enter() {
            Ok(in_use) => in_use,
            Err(errno) => return Poll::Ready(Err(errno)),
        };
        if !cx.can_spend() {
            return Poll::Pending;
        }
        let Some(traffic) = self.traffic_if_any() else { return Poll::Ready(Ok(())) };
        let flushed = traffic.is_flushed(low_water, cx.key(), &cx.waker());
        match traffic.failed.load(Acquire) {
            0 if !flushed => Poll::Pending,
            0 => Poll::Ready(Ok(())),
            failed => Poll::Ready(Err(failed as Errno)),
        }
    }

    /// After a direct write said EBUSY: waits until what is queued was sent, to be tried again then. False: there is no queue, and the
    /// system said it.
    pub(crate) fn waits_for_queue(self, cx: &PollContext) -> bool {
        // It may have drained since, or all that was to be sent is in a call that goes on.
        if self.has(traits::SOCKET) && self.poll_flushed(cx, 0).is_ready() {
            cx.wake_again();
        }
        self.has(traits::SOCKET)
    }
}

impl Traffic {
    pub(super) fn queued(&self) -> u64 {
        BYTES.get(self.queued.load(Acquire))
    }

    pub(super) fn queue_grows(&self, bytes: usize) {
        self.queued.fetch_add(bytes as u64, AcqRel);
    }

    /// Bytes left the queue: who waits for that is woken.
    pub(super) fn queue_shrinks(&self, bytes: usize) {
        let before = self.queued.fetch_sub(bytes as u64, AcqRel);
        if AWAITED.get(before) != 0 {
            self.wake_flushers(BYTES.get(before) - bytes as u64);
        }
    }

    /// Wakes those for whom so little is left.
    pub(super) fn wake_flushers(&self, left: u64) {
        let mut woken = Vec::new();
        let mut flushers = self.flushers.lock();
        if let Some(waiting) = flushers.as_mut().filter(|waiting| left <= waiting.highest) {
            waiting.highest = 0;
            let is_due = |_: &_, (low_water, _): &(u64, _)| {
                let is_due = left <= *low_water;
                waiting.highest = waiting.highest.max(if is_due { 0 } else { *low_water });
                is_due
            };
            waiting.crowd.take_if(is_due, |(_, waker)| woken.push(waker));
            if waiting.crowd.is_empty() {
                self.queued.fetch_and(!AWAITED.mask(), AcqRel);
            }
        }
        drop(flushers);
        woken.into_iter().for_each(Waker::wake);
    }

    /// True if no more than this is queued; else the waker is called when it is so. A waiter is told apart by its key. Where
    /// there is no room for one more, those that have ended go first.
    pub(super) fn is_flushed(&self, low_water: u64, key: usize, waker: &Waker) -> bool {
        if self.queued() <= low_water {
            return true;
        }
        let waker = waker.clone();
        let mut flushers = self.flushers.lock();
        let waiting = flushers.get_or_insert_default();
        // Who waits twice is woken for the first, and asks again.
        let enough = waiting.crowd.get(&key).map_or(low_water, |(before, _)| low_water.max(*before));
        waiting.highest = waiting.highest.max(enough);
        let old = waiting.crowd.put(key, (enough, waker), |(_, waker)| is_dead(waker));
        // The flag and what is queued are one word: either the next to send sees the flag, or we see what it left.
        let before = self.queued.fetch_or(AWAITED.mask(), AcqRel);
        let flushed = BYTES.get(before) <= low_water;
        drop(flushers);
        drop(old);
        flushed
    }
}
