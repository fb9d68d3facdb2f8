//! The wheel: which timers expire when. One worker's alone.
//!
//! Time is cut into ticks of 2^14 ns (16 us). A level has 64 slots; a slot of level n is 64^n ticks long. A timer lies on
//! the level of the highest digit (to the base of 64) in which its tick differs from the wheel's present one, in the slot of
//! that digit. So all of a level's timers come before all of the next one's, slots come in the order of their numbers, and
//! none lies in a slot that has passed. When the first slot of a higher level begins, its timers move to lower levels.
//!
//! Lists are linked through the timers (`Spot`), so that adding and removing touch a timer and its neighbours.

use super::Timer;
use std::cell::Cell;

/// A tick is 2^14 ns.
const TICK_BITS: u32 = 14;
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
const LEVELS: usize = 8;

/// Not in a list.
const NOWHERE: u16 = u16::MAX;
/// The list of what was added too late for a slot.
const OVERDUE: u16 = (LEVELS * SLOTS) as u16;
/// The list of what has expired and is not fired yet, in its order.
const DUE: u16 = OVERDUE + 1;

/// Deadlines from here on never come. The wheel could tell apart twice as many.
const END: u64 = super::word::NEVER_FROM;

/// How many timers of a slot are looked at to tell when the first of them comes.
const MOST_LOOKED_AT: usize = 16;

/// The first tick that begins at a time or after it: whoever waits for it is never early.
fn tick_after(time: u64) -> u64 {
    time.div_ceil(1 << TICK_BITS)
}

/// Where a timer is queued. The wheel's owner's.
#[derive(Default)]
pub(super) struct Spot {
    next: Cell<Option<&'static Timer>>,
    prev: Cell<Option<&'static Timer>>,
    /// The list, and 1; 0: none.
    place: Cell<u16>,
    /// The tick that it is queued for.
    tick: Cell<u64>,
    /// Its rank among equal deadlines.
    rank: Cell<u64>,
}

impl Spot {
    fn place(&self) -> u16 {
        self.place.get().wrapping_sub(1)
    }

    /// Entries that are free and kept by their worker are linked here, too.
    pub(super) fn next_spare(&self) -> Option<&'static Timer> {
        self.next.get()
    }

    pub(super) fn set_next_spare(&self, next: Option<&'static Timer>) {
        self.next.set(next);
    }

    pub(super) fn is_queued(&self) -> bool {
        self.place() != NOWHERE
    }
}

/// See the module.
pub(super) struct Wheel {
    /// All before this tick has expired.
    elapsed: Cell<u64>,
    /// Which levels have timers, and which slots of a level.
    levels: Cell<u8>,
    slots: [Cell<u64>; LEVELS],
    lists: Box<[Cell<Option<&'static Timer>>]>,
    last_due: Cell<Option<&'static Timer>>,
    ranks: Cell<u64>,
    /// Memory for sorting.
    batch: Cell<Vec<(u64, u64, &'static Timer)>>,
}

impl Wheel {
    pub(super) fn new(now: u64) -> Self {
        Self {
            elapsed: Cell::new(now >> TICK_BITS),
            levels: Cell::new(0),
            slots: Default::default(),
            lists: (0..=DUE).map(|_| Cell::new(None)).collect(),
            last_due: Cell::new(None),
            ranks: Cell::new(0),
            batch: Cell::default(),
        }
    }

    /// Queues a timer that is not. It comes after all that were queued with the same deadline.
    pub(super) fn add(&self, timer: &'static Timer, deadline: u64) {
        debug_assert!(!timer.spot.is_queued() && deadline < END);
        timer.spot.rank.set(self.ranks.replace(self.ranks.get() + 1));
        timer.spot.tick.set(tick_after(deadline));
        self.put(timer);
    }

    /// The deadline of a queued timer has changed. If it became later, the timer may stay where it is: it will be looked at too
    /// early, and queued again.
    pub(super) fn moved(&self, timer: &'static Timer, deadline: u64) {
        if timer.spot.tick.get() <= tick_after(deadline) && timer.spot.place() < OVERDUE {
            return timer.spot.rank.set(self.ranks.replace(self.ranks.get() + 1));
        }
        self.remove(timer);
        self.add(timer, deadline);
    }

    /// Takes a timer out, if it is queued.
    pub(super) fn remove(&self, timer: &'static Timer) {
        let place = timer.spot.place();
        if place == NOWHERE {
            return;
        }
        let (prev, next) = (timer.spot.prev.get(), timer.spot.next.get());
        match prev {
            Some(prev) => prev.spot.next.set(next),
            None => {
                self.lists[place as usize].set(next);
                if next.is_none() && place < OVERDUE {
                    self.slot_is_empty(place);
                }
            }
        }
        match next {
            Some(next) => next.spot.prev.set(prev),
            None if place == DUE => self.last_due.set(prev),
            None => {}
        }
        timer.spot.place.set(0);
    }

    fn slot_is_empty(&self, place: u16) {
        let (level, slot) = (place as usize / SLOTS, place as usize % SLOTS);
        let left = self.slots[level].get() & !(1 << slot);
        self.slots[level].set(left);
        if left == 0 {
            self.levels.set(self.levels.get() & !(1 << level));
        }
    }

    /// Puts a timer into the list for its tick, in front.
    fn put(&self, timer: &'static Timer) {
        let (tick, elapsed) = (timer.spot.tick.get(), self.elapsed.get());
        let place = if tick <= elapsed {
            OVERDUE
        } else {
            let level = (tick ^ elapsed).ilog2() / LEVEL_BITS;
            let slot = (tick >> (level * LEVEL_BITS)) as usize % SLOTS;
            self.levels.set(self.levels.get() | 1 << level);
            let slots = &self.slots[level as usize];
            slots.set(slots.get() | 1 << slot);
            (level as usize * SLOTS + slot) as u16
        };
        let list = &self.lists[place as usize];
        let next = list.replace(Some(timer));
        if let Some(next) = next {
            next.spot.prev.set(Some(timer));
        }
        timer.spot.prev.set(None);
        timer.spot.next.set(next);
        timer.spot.place.set(place + 1);
    }

    fn push_due(&self, timer: &'static Timer) {
        let last = self.last_due.replace(Some(timer));
        match last {
            Some(last) => last.spot.next.set(Some(timer)),
            None => self.lists[DUE as usize].set(Some(timer)),
        }
        timer.spot.prev.set(last);
        timer.spot.next.set(None);
        timer.spot.place.set(DUE + 1);
    }

    /// The first slot with timers: its list, and when it begins.
    fn first_slot(&self) -> Option<(u16, u64)> {
        let level = self.levels.get().trailing_zeros();
        if level as usize >= LEVELS {
            return None;
        }
        let slot = self.slots[level as usize].get().trailing_zeros();
        let before = self.elapsed.get() >> ((level + 1) * LEVEL_BITS).min(63);
        let digits = before << LEVEL_BITS | u64::from(slot);
        Some(((level * SLOTS as u32 + slot) as u16, digits << (level * LEVEL_BITS)))
    }

    fn list(&self, place: u16) -> impl Iterator<Item = &'static Timer> {
        std::iter::successors(self.lists[place as usize].get(), |timer| timer.spot.next.get())
    }

    /// A time before which no timer expires, and close to when the first does; `None` if there are no timers.
    pub(super) fn next(&self) -> Option<u64> {
        if [OVERDUE, DUE].iter().any(|&list| self.lists[list as usize].get().is_some()) {
            return Some(0);
        }
        let (place, begins) = self.first_slot()?;
        let mut first = u64::MAX;
        for (seen, timer) in self.list(place).enumerate() {
            if seen == MOST_LOOKED_AT {
                return Some(begins << TICK_BITS);
            }
            first = first.min(timer.spot.tick.get());
        }
        Some(first << TICK_BITS)
    }

    /// True if `expire` may find something.
    pub(super) fn has_timers(&self) -> bool {
        self.levels.get() != 0 || [OVERDUE, DUE].iter().any(|&list| self.lists[list as usize].get().is_some())
    }

    /// Moves on to a time: what expired until then is due, in the order of deadlines, and of queueing where they are equal.
    /// `deadline` tells a timer's deadline; one whose time has not come after all is queued anew.
    pub(super) fn expire(&self, now: u64, deadline: impl Fn(&'static Timer) -> u64) {
        let now = now >> TICK_BITS;
        let mut batch = self.batch.take();
        self.empty(OVERDUE, now, &mut batch, &deadline);
        while let Some((place, begins)) = self.first_slot()
            && begins <= now
        {
            self.elapsed.set(begins);
            self.empty(place, now, &mut batch, &deadline);
        }
        self.elapsed.set(self.elapsed.get().max(now));
        batch.sort_unstable_by_key(|&(deadline, rank, _)| (deadline, rank));
        batch.drain(..).for_each(|(_, _, timer)| self.push_due(timer));
        self.batch.set(batch);
    }

    /// Takes all out of a list: into the batch, or to where they belong now.
    fn empty(
        &self,
        place: u16,
        now: u64,
        batch: &mut Vec<(u64, u64, &'static Timer)>,
        deadline: &impl Fn(&'static Timer) -> u64,
    ) {
        let mut rest = self.lists[place as usize].take();
        if place < OVERDUE {
            self.slot_is_empty(place);
        }
        while let Some(timer) = rest {
            rest = timer.spot.next.get();
            timer.spot.place.set(0);
            let at = deadline(timer);
            timer.spot.tick.set(tick_after(at));
            match timer.spot.tick.get() {
                tick if tick <= now => batch.push((at, timer.spot.rank.get(), timer)),
                _ if at >= END => {}
                _ => self.put(timer),
            }
        }
    }

    /// The next of those that are due, which is not queued any more.
    pub(super) fn pop_due(&self) -> Option<&'static Timer> {
        let timer = self.lists[DUE as usize].get()?;
        self.remove(timer);
        Some(timer)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const TICK: u64 = 1 << TICK_BITS;

    fn timers(count: usize) -> Vec<&'static Timer> {
        (0..count).map(|_| &*Box::leak(Box::<Timer>::default())).collect()
    }

    /// What fires until a time, as indices.
    fn fired(wheel: &Wheel, all: &[&'static Timer], deadlines: &BTreeMap<usize, u64>, now: u64) -> Vec<usize> {
        let index = |timer: &Timer| all.iter().position(|&other| std::ptr::eq(other, timer)).expect("one of them");
        wheel.expire(now, |timer| deadlines[&index(timer)]);
        std::iter::from_fn(|| wheel.pop_due()).map(index).collect()
    }

    #[test]
    fn around_the_bounds_of_every_level_a_timer_comes_in_its_tick_and_not_before() {
        for level in 0..=LEVELS as u32 {
            for start in [0, 1, 63, 64, 4095, 4096, (1 << 36) - 1] {
                for off in [-1i64, 0, 1] {
                    let base = 1u64 << (LEVEL_BITS * level).min(47);
                    let at = (start + base).saturating_add_signed(off).max(start) * TICK;
                    if at >= END {
                        continue;
                    }
                    let all = timers(1);
                    let wheel = Wheel::new(start * TICK);
                    wheel.add(all[0], at);
                    let deadlines = BTreeMap::from([(0, at)]);
                    if at > start * TICK {
                        assert_eq!(wheel.next(), Some(at), "level {level} start {start} off {off}");
                        assert_eq!(fired(&wheel, &all, &deadlines, at - 1), []);
                    }
                    assert_eq!(fired(&wheel, &all, &deadlines, at), [0]);
                    assert_eq!(wheel.next(), None);
                }
            }
        }
    }

    #[test]
    fn a_deadline_within_a_tick_is_never_early() {
        let all = timers(1);
        let wheel = Wheel::new(0);
        wheel.add(all[0], TICK + 1);
        let deadlines = BTreeMap::from([(0, TICK + 1)]);
        assert_eq!(fired(&wheel, &all, &deadlines, TICK + 1), [], "late by a part of a tick");
        assert_eq!(fired(&wheel, &all, &deadlines, 2 * TICK), [0]);
    }

    #[test]
    fn equal_deadlines_come_in_the_order_of_queueing() {
        let all = timers(100);
        let wheel = Wheel::new(0);
        let deadlines: BTreeMap<_, _> = (0..100).map(|index| (index, 1_000_000_000 * (1 + index as u64 % 2))).collect();
        for (&index, &at) in &deadlines {
            wheel.add(all[index], at);
        }
        let expected: Vec<_> = (0..100).step_by(2).chain((1..100).step_by(2)).collect();
        assert_eq!(fired(&wheel, &all, &deadlines, 3_000_000_000), expected);
    }

    #[test]
    fn one_that_was_moved_is_last_among_its_equals_and_a_later_one_stays_where_it_is() {
        let all = timers(3);
        let wheel = Wheel::new(0);
        let mut deadlines = BTreeMap::from([(0, 5 * TICK), (1, 5 * TICK), (2, 5 * TICK)]);
        all.iter().for_each(|timer| wheel.add(timer, 5 * TICK));
        wheel.moved(all[0], 5 * TICK);
        deadlines.insert(1, 9 * TICK);
        wheel.moved(all[1], 9 * TICK);
        assert_eq!(fired(&wheel, &all, &deadlines, 5 * TICK), [2, 0]);
        assert_eq!(fired(&wheel, &all, &deadlines, 8 * TICK), []);
        assert_eq!(fired(&wheel, &all, &deadlines, 9 * TICK), [1]);
    }

    #[test]
    fn one_that_is_due_can_be_removed_and_the_others_stay_in_order() {
        for gone in 0..3 {
            let all = timers(3);
            let wheel = Wheel::new(0);
            all.iter().for_each(|timer| wheel.add(timer, TICK));
            wheel.expire(TICK, |_| TICK);
            wheel.remove(all[gone]);
            let left: Vec<_> = std::iter::from_fn(|| wheel.pop_due()).map(std::ptr::from_ref).collect();
            let expected: Vec<_> = (0..3).filter(|&n| n != gone).map(|n| std::ptr::from_ref(all[n])).collect();
            assert_eq!(left, expected);
        }
    }

    /// Against a sorted map: random starts, moves, removals and steps of time of all sizes.
    #[test]
    fn a_random_walk_agrees_with_a_sorted_map() {
        for seed in 1..=40u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut random = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let all = timers(200);
            let mut now = random(1 << 50);
            let wheel = Wheel::new(now);
            // Deadline and rank of those that are queued.
            let mut queued = BTreeMap::<usize, (u64, u64)>::new();
            let mut rank = 0;
            for _ in 0..3_000 {
                let index = random(200) as usize;
                let spread = random(45);
                let at = now.saturating_sub(1 << 10) + random(1 << spread);
                rank += 1;
                match random(8) {
                    0..4 => {
                        match queued.insert(index, (at, rank)).is_some() {
                            true => wheel.moved(all[index], at),
                            false => wheel.add(all[index], at),
                        };
                    }
                    4..6 => {
                        queued.remove(&index);
                        wheel.remove(all[index]);
                    }
                    _ => {
                        let first = queued.values().map(|&(at, _)| at).min();
                        if let Some(next) = wheel.next() {
                            let first = tick_after(first.expect("the wheel has some, too")) << TICK_BITS;
                            assert!(next <= first.max(now), "seed {seed}: sleeps past a deadline");
                        }
                        let step = random(42);
                        now += random(1 << step);
                        let deadlines = queued.iter().map(|(&index, &(at, _))| (index, at)).collect();
                        let limit = now >> TICK_BITS;
                        let mut expected: Vec<_> = queued
                            .iter()
                            .filter(|(_, (at, _))| tick_after(*at) <= limit)
                            .map(|(&i, &k)| (k, i))
                            .collect();
                        expected.sort_unstable();
                        let expected: Vec<_> = expected.into_iter().map(|(_, index)| index).collect();
                        assert_eq!(fired(&wheel, &all, &deadlines, now), expected, "seed {seed}");
                        queued.retain(|index, _| !expected.contains(index));
                    }
                }
            }
        }
    }
}
