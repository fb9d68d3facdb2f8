//! The queue of receivers that wait for a buffer of the pool.
//!
//! Each draws a number, and is called by it: whoever is known by another number by then has left, or came anew. Those who have
//! a loan from outside of the pool stand apart, so that who lends to the others need not walk past them.

use std::collections::VecDeque;

/// Whom to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Among {
    /// Whoever came first.
    All,
    /// The first of those who may borrow.
    Poor,
}

/// See the module.
#[derive(Debug)]
pub(in super::super) struct Starved<T> {
    poor: VecDeque<(u64, T)>,
    owing: VecDeque<(u64, T)>,
    /// The last number.
    drawn: u64,
}

impl<T> Default for Starved<T> {
    fn default() -> Self {
        Self { poor: VecDeque::new(), owing: VecDeque::new(), drawn: 0 }
    }
}

impl<T> Starved<T> {
    /// Puts one behind all others. Returns its number. Before the queue grows those go who are not `there`, so that they do not
    /// pile up.
    pub(super) fn push(&mut self, who: T, owes: bool, is_there: impl Fn(u64, &T) -> bool) -> u64 {
        self.drawn += 1;
        let queue = if owes { &mut self.owing } else { &mut self.poor };
        if queue.len() == queue.capacity() {
            queue.retain(|(number, who)| is_there(*number, who));
        }
        queue.push_back((self.drawn, who));
        self.drawn
    }

    /// Takes out the one whose turn it is, and all before it who are not `there`.
    pub(super) fn pop(&mut self, among: Among, is_there: impl Fn(u64, &T) -> bool) -> Option<T> {
        loop {
            let first = |queue: &VecDeque<(u64, T)>| queue.front().map_or(u64::MAX, |(number, _)| *number);
            let queue = match among {
                Among::All if first(&self.owing) < first(&self.poor) => &mut self.owing,
                _ => &mut self.poor,
            };
            let (number, who) = queue.pop_front()?;
            if is_there(number, &who) {
                return Some(who);
            }
        }
    }

    /// How many there are at most.
    pub(super) fn len(&self) -> usize {
        self.poor.len() + self.owing.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.poor.is_empty() && self.owing.is_empty()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn all(_number: u64, _who: &u32) -> bool {
        true
    }

    #[test]
    fn they_are_called_in_their_order_whatever_they_owe() {
        let mut queue = Starved::default();
        for who in 0..8u32 {
            queue.push(who, who % 3 == 0, all);
        }
        assert_eq!(queue.pop(Among::All, all), Some(0));
        assert_eq!(queue.pop(Among::Poor, all), Some(1));
        assert_eq!(queue.pop(Among::Poor, all), Some(2));
        assert_eq!(queue.pop(Among::Poor, all), Some(4), "3 owes");
        assert_eq!(queue.pop(Among::All, all), Some(3));
        assert_eq!(std::iter::from_fn(|| queue.pop(Among::All, all)).collect::<Vec<_>>(), [5, 6, 7]);
        assert!(queue.is_empty());
    }

    #[test]
    fn who_left_is_not_called_and_takes_nobodys_turn() {
        let mut queue = Starved::default();
        let numbers: Vec<_> = (0..6u32).map(|who| queue.push(who, who == 1, all)).collect();
        let again = queue.push(0, false, all);
        let is_there = |number, who: &u32| match who {
            0 => number == again,
            who => *who >= 4 && number == numbers[*who as usize],
        };
        assert_eq!(queue.pop(Among::All, is_there), Some(4));
        assert_eq!(queue.pop(Among::Poor, is_there), Some(5));
        assert_eq!(queue.pop(Among::All, is_there), Some(0));
        assert_eq!(queue.pop(Among::All, is_there), None);
        assert!(queue.is_empty());
    }

    #[test]
    fn those_who_left_do_not_pile_up() {
        let mut queue = Starved::default();
        for round in 0..100_000u64 {
            for owes in [false, true] {
                queue.push(0u32, owes, |number, _| number + 20 > 2 * round);
            }
        }
        assert!(queue.len() < 200, "{}", queue.len());
    }
}
