//! The deadlines of a worker's operations.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Deadlines by time; equal ones in the order in which they were set. What became void stays in the heap until it comes up,
/// or until the void ones are the majority: so taking a deadline back costs nothing but a count, and they never pile up.
#[derive(Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(u64, u64, u64)>>,
    sequence: u64,
    live: usize,
}

/// Below this nothing is swept.
const SWEEP_FROM: usize = 64;

impl Deadlines {
    /// Sets a deadline of the operation with this handle, which has none.
    pub(super) fn set(&mut self, at: u64, op: u64) {
        self.sequence += 1;
        self.live += 1;
        self.heap.push(Reverse((at, self.sequence, op)));
    }

    /// A deadline that was set is void. `is_good` tells which are not.
    pub(super) fn void(&mut self, is_good: impl Fn(u64, u64) -> bool) {
        self.live -= 1;
        if self.heap.len() >= SWEEP_FROM && self.heap.len() > 2 * self.live {
            self.heap.retain(|&Reverse((at, _, op))| is_good(op, at));
        }
    }

    /// The next deadline that has come, if `is_good`. It counts as void from now on.
    pub(super) fn expired(&mut self, now: u64, is_good: impl Fn(u64, u64) -> bool) -> Option<u64> {
        while let Some(&Reverse((at, _, op))) = self.heap.peek()
            && at <= now
        {
            self.heap.pop();
            if is_good(op, at) {
                self.live -= 1;
                return Some(op);
            }
        }
        None
    }

    /// When to look again. It may be a void one's time.
    pub(super) fn next(&self) -> Option<u64> {
        self.heap.peek().map(|&Reverse((at, _, _))| at)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn they_come_in_order_and_not_before() {
        let mut deadlines = Deadlines::default();
        for (at, op) in [(30, 1), (10, 2), (30, 3), (20, 4)] {
            deadlines.set(at, op);
        }
        let good = |_, _| true;
        assert_eq!(deadlines.expired(9, good), None);
        let order: Vec<_> = std::iter::from_fn(|| deadlines.expired(30, good)).collect();
        assert_eq!(order, [2, 4, 1, 3]);
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn void_ones_do_not_pile_up() {
        let mut deadlines = Deadlines::default();
        deadlines.set(1_000_000, 0);
        for op in 1..10_000 {
            deadlines.set(op, op);
            deadlines.void(|op, _| op == 0);
        }
        assert!(deadlines.heap.len() < 2 * SWEEP_FROM, "{}", deadlines.heap.len());
        assert_eq!(deadlines.expired(u64::MAX, |op, _| op == 0), Some(0));
    }
}
