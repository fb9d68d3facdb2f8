//! Sends that are cancelled while they wait in a stream's queue.

use super::super::io::IoName;
use super::super::worker::Worker;
use super::holder::Holder;
use super::parcel::{MOST_PARTS, Parcel};
use super::*;
use crate::primitives::sync::{AtomicU32, Ordering::*};

impl Worker {
    /// Takes an operation out of its stream, if nobody has its memory in hand; else whoever has will end it.
    pub(super) fn cancel_send(&self, op: &'static Operation) {
        let traffic = op.body(self).stream().and_then(IoName::traffic_if_any);
        if op.turn.cancel(op.word.generation()) {
            if let Some(traffic) = traffic {
                traffic.cancelled.fetch_add(1, Release);
            }
            self.settle(op, -i64::from(libc::ECANCELED));
        }
        // It may have nothing left to wait for, or must let go of what it has.
        if let Some(pump) = traffic.and_then(|traffic| OpName::parse(traffic.pump.load(Acquire))) {
            pump.retry();
        }
    }
}

impl Holder {
    /// Drops what was cancelled while it waited. The batch is empty. What the first has begun is seen when its turn comes.
    pub(super) fn drop_cancelled(self) {
        if self.traffic.cancelled.load(Relaxed) == 0 {
            return;
        }
        let mut dropped = 0;
        let mut is_wanted = |parcel: &Parcel| {
            let is_out = parcel.sent == 0 && parcel.owed().is_some_and(|of| of.op.turn.is_out(of.life));
            dropped += if is_out { parcel.weight() } else { 0 };
            !is_out
        };
        self.with_queue(|queue| sweep(queue, &self.traffic.cancelled, |parcel| is_wanted(parcel)));
        self.traffic.queue_shrinks(dropped);
    }
}

/// Takes out of a queue what is not wanted any more: all of it where the queue is short, or half of it may be cancelled; else so
/// much that nothing of it is among those who may leave next. So a cancel costs no more where many are queued.
fn sweep<T>(queue: &mut VecDeque<T>, cancelled: &AtomicU32, mut is_wanted: impl FnMut(&T) -> bool) {
    let those = cancelled.load(Relaxed) as usize;
    if queue.len() <= MOST_PARTS || those * 2 >= queue.len() {
        // Who is cancelled from here on counts anew, and may be found nevertheless.
        cancelled.swap(0, AcqRel);
        return queue.retain(is_wanted);
    }
    let mut at = 0;
    while at < MOST_PARTS && at < queue.len() {
        match is_wanted(&queue[at]) {
            true => at += 1,
            false => drop(queue.remove(at)),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Cancels these one by one, as they wait in a queue of so many. Returns how often one was looked at.
    fn looks(len: usize, cancels: &[usize]) -> usize {
        let (mut queue, cancelled) = ((0..len).collect::<VecDeque<_>>(), AtomicU32::new(0));
        let (mut out, mut looks) = (vec![false; len], 0);
        for &n in cancels {
            out[n] = true;
            cancelled.fetch_add(1, Relaxed);
            sweep(&mut queue, &cancelled, |&n| {
                looks += 1;
                !out[n]
            });
            assert!(queue.iter().take(MOST_PARTS).all(|&n| !out[n]), "those who may leave next are wanted");
            let kept = queue.iter().filter(|&&n| out[n]).count();
            assert!(kept == 0 || kept * 2 < queue.len(), "{kept} of {} are kept for nothing", queue.len());
            assert!(queue.iter().is_sorted());
        }
        assert_eq!(queue.len() - queue.iter().filter(|&&n| out[n]).count(), len - cancels.len());
        looks
    }

    #[test]
    fn a_cancel_looks_at_few_of_a_long_queue() {
        const LEN: usize = 2_000;
        let orders: [Vec<usize>; 3] =
            [(0..LEN).collect(), (0..LEN).rev().collect(), (0..LEN).map(|n| n * 7 % LEN).collect()];
        for order in orders {
            let looks = looks(LEN, &order);
            assert!(looks < LEN * (MOST_PARTS + 4), "{looks} for {LEN}");
        }
    }

    #[test]
    fn what_is_cancelled_in_a_short_queue_goes_at_once() {
        for n in 0..MOST_PARTS {
            assert_eq!(looks(MOST_PARTS, &[n]), MOST_PARTS);
        }
    }
}
