//! Turnstiles: whoever waits for something scarce goes through in the order in which they came.
//!
//! When there is enough for the first who waits, that one is *called*: it leaves the queue, and its share is reserved for
//! it, so whoever comes newly queues behind. What becomes of a call depends on who was called:
//! - a task takes its share in its next poll. If that poll, or the task's end, goes by without, its place is gone and the
//!   next is called (`task/calls.rs`);
//! - an owner, a future or a thread inside of a call, takes its share or leaves;
//! - a context of the program's own has no polls that end. It is woken and nothing is reserved for it; whoever is behind it
//!   is called as well, and who comes first gets it. Either keeps its place in the queue. When it is freed its places go.

use crate::primitives::scatter::Scattered;
use crate::primitives::wake_list::WakeList;
use crate::runtime::PollContext;
use crate::task::{Call, Calls, Header, Tie, Tied, is_dead};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

/// Who comes to a turnstile.
pub(crate) struct Visitor<'a> {
    /// Tells visitors apart: an address that is nobody else's as long as it has a place.
    pub(super) key: usize,
    pub(super) waker: &'a Waker,
    pub(super) kind: Kind,
    /// What has the budget of ready results, if there is one.
    pub(super) cx: Option<&'a PollContext>,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Task(&'static Header),
    Context(&'static dyn Tied),
    Owner,
}

impl<'a> Visitor<'a> {
    /// A poll of a task, or of a context of the program's own. `waker` is the context's.
    pub(crate) fn of(cx: &'a PollContext, waker: &'a Waker) -> Self {
        let kind = cx.header().map_or_else(|| Kind::Context(cx.entry()), Kind::Task);
        Self { key: cx.key(), waker, kind, cx: Some(cx) }
    }

    /// Somebody who will take its turn or leave.
    pub(super) fn owner(key: usize, waker: &'a Waker) -> Self {
        Self { key, waker, kind: Kind::Owner, cx: None }
    }

    /// Before the first wait. No lock is held.
    pub(super) fn prepare(&self) -> Waker {
        if let Kind::Task(task) = self.kind {
            // We are in its poll, so this is the runner.
            task.extra_or_new();
        }
        self.waker.clone()
    }

    pub(super) fn has_budget(&self) -> bool {
        self.cx.is_none_or(PollContext::has_budget)
    }

    /// The task goes on when it has a new budget.
    pub(super) fn tire(&self) {
        self.waker.wake_by_ref();
    }

    pub(super) fn spend(&self) {
        if let Some(cx) = self.cx {
            cx.spend();
        }
    }
}

/// What is done by one use of an object: under its lock, and then without.
pub(crate) struct Calling<'a> {
    /// The object, for tasks to tell it that they gave up their turn.
    pub(super) host: &'a dyn Fn() -> Arc<dyn Calls>,
    /// How many calls there were.
    pub(super) numbers: &'a mut u64,
    pub(super) after: &'a mut After,
}

/// What is done without the lock.
pub(super) struct After {
    woken: WakeList,
    unneeded: Vec<Waker>,
}

impl After {
    pub(super) fn new() -> Self {
        Self { woken: WakeList::new(), unneeded: Vec::new() }
    }

    /// No lock is held.
    pub(super) fn finish(mut self) {
        self.unneeded.clear();
        self.woken.wake_all();
    }
}

/// See the module. Part of what a lock protects.
#[derive(Default)]
pub(crate) struct Turnstile {
    /// Who waits and was not called, and places that were left.
    queue: VecDeque<Waiting>,
    /// Everybody who came and did not go through yet.
    places: HashMap<usize, Place, Scattered>,
    /// How many of the queue are no contexts: whoever comes newly stays behind them.
    ahead: u32,
    /// How many places of the queue were left.
    left: u32,
    /// What is reserved for those who were called.
    reserved: u64,
    /// How many are away.
    away: u64,
    tickets: u64,
}

struct Waiting {
    ticket: u64,
    /// `None`: it left.
    who: Option<Queued>,
}

struct Queued {
    key: usize,
    weight: u64,
    kind: Kind,
    /// Of a task that needs more than one, and so may be in the way when it has ended.
    _tie: Option<Tie>,
    waker: Waker,
}

struct Place {
    /// Rises along the queue.
    ticket: u64,
    /// How much the visitor needs.
    weight: u64,
    standing: Standing,
    /// Of a context, which may be freed wherever it stands.
    _tie: Option<Tie>,
}

#[derive(Clone, Copy)]
enum Standing {
    /// In the queue.
    Waits,
    /// It may go through, for what is reserved for it.
    Called { number: u64, reserved: u64 },
    /// It was woken, or found nothing when it was called. Nothing is reserved.
    Away,
}

impl Turnstile {
    /// True if somebody without a place may take so much of the stock.
    pub(super) fn is_open(&self, weight: u64, stock: u64) -> bool {
        self.ahead == 0 && weight <= stock.saturating_sub(self.reserved)
    }

    /// What is reserved for those who were called.
    pub(super) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// How many were woken and did not come yet, beside those for whom something is reserved.
    pub(super) fn away(&self) -> u64 {
        self.away
    }

    /// Nobody has a place.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn is_called(&self, key: usize) -> bool {
        self.places.get(&key).is_some_and(|place| matches!(place.standing, Standing::Called { .. }))
    }

    /// Lets the visitor through, if it may: it takes so much of the stock, and its place is gone.
    pub(super) fn pass(&mut self, key: usize, weight: u64, stock: u64, calling: &mut Calling<'_>) -> Option<u64> {
        if self.places.get(&key).is_some_and(|place| place.weight != weight) {
            self.leave(key, calling);
        }
        let Some(place) = self.places.get_mut(&key) else {
            return self.is_open(weight, stock).then_some(weight);
        };
        let due = match place.standing {
            Standing::Waits => return None,
            Standing::Away => weight,
            Standing::Called { reserved, .. } => {
                self.reserved -= reserved;
                place.standing = Standing::Away;
                self.away += 1;
                reserved
            }
        };
        if due > stock {
            return None;
        }
        self.away -= 1;
        self.places.remove(&key);
        Some(due)
    }

    /// Queues a visitor that was not let through; one that has a place gets it back. Takes the waker. False: it needs one.
    pub(super) fn wait(
        &mut self,
        visitor: &Visitor<'_>,
        weight: u64,
        waker: &mut Option<Waker>,
        calling: &mut Calling<'_>,
    ) -> bool {
        let place = self.places.get(&visitor.key).map(|place| (place.ticket, place.standing));
        if let Some((ticket, Standing::Waits)) = place {
            let at = self.position(ticket);
            if let Some(who) = &mut self.queue[at].who
                && !who.waker.will_wake(visitor.waker)
            {
                let Some(waker) = waker.take() else { return false };
                calling.after.unneeded.push(std::mem::replace(&mut who.waker, waker));
            }
            return true;
        }
        let Some(waker) = waker.take() else { return false };
        if self.queue.len() == self.queue.capacity() {
            self.forget_dead(calling);
        }
        let ticket = place.map_or(self.tickets, |(ticket, _)| ticket);
        self.tickets += u64::from(place.is_none());
        self.away -= u64::from(matches!(place, Some((_, Standing::Away))));
        let (key, kind) = (visitor.key, visitor.kind);
        let tie = |with| Some(Tie::new(with, (calling.host)()));
        let (ends_in_queue, ends_anywhere) = match kind {
            Kind::Task(task) if weight > 1 => (tie(task), None),
            Kind::Context(context) => (None, tie(context)),
            _ => (None, None),
        };
        self.places.insert(key, Place { ticket, weight, standing: Standing::Waits, _tie: ends_anywhere });
        self.ahead += kind.is_ahead();
        let who = Some(Queued { key, weight, kind, _tie: ends_in_queue, waker });
        self.queue.insert(self.position(ticket), Waiting { ticket, who });
        true
    }

    /// Calls those at the head of the queue for whom there is enough.
    pub(super) fn call(&mut self, stock: u64, calling: &mut Calling<'_>) {
        let mut at = 0;
        while stock > self.reserved && at < self.queue.len() {
            match &self.queue[at].who {
                None => self.call_at(at, 0, calling),
                Some(who) if who.weight <= stock - self.reserved => self.call_at(at, who.weight, calling),
                // It may never come, so nobody stays behind it.
                Some(Queued { kind: Kind::Context(_), .. }) => at += 1,
                Some(_) => return,
            }
        }
    }

    /// Calls everybody who waits, for nothing.
    pub(super) fn call_all(&mut self, calling: &mut Calling<'_>) {
        while !self.queue.is_empty() {
            self.call_at(0, 0, calling);
        }
    }

    /// Takes a place out of the queue, and calls whoever has it.
    fn call_at(&mut self, at: usize, weight: u64, calling: &mut Calling<'_>) {
        let Some(waiting) = self.queue.remove(at) else { return };
        let Some(Queued { key, kind, waker, .. }) = waiting.who else {
            self.left -= 1;
            return;
        };
        self.ahead -= kind.is_ahead();
        *calling.numbers += 1;
        let (number, reserved) = (*calling.numbers, weight);
        let standing = match kind {
            Kind::Context(_) if weight > 0 => {
                self.away += 1;
                Standing::Away
            }
            Kind::Task(task) if !task.call(Call { by: (calling.host)(), number }) => {
                self.places.remove(&key);
                return calling.after.unneeded.push(waker);
            }
            _ => {
                self.reserved += reserved;
                Standing::Called { number, reserved }
            }
        };
        if let Some(place) = self.places.get_mut(&key) {
            place.standing = standing;
        }
        calling.after.woken.push(waker);
    }

    /// A task that was called did not go through, or has.
    pub(super) fn give_up(&mut self, key: usize, called: u64) {
        match self.places.get(&key).map(|place| place.standing) {
            Some(Standing::Called { number, reserved }) if number == called => {
                self.reserved -= reserved;
                self.places.remove(&key);
            }
            _ => {}
        }
    }

    /// A visitor comes no more.
    pub(super) fn leave(&mut self, key: usize, calling: &mut Calling<'_>) {
        let Some(place) = self.places.remove(&key) else { return };
        match place.standing {
            Standing::Away => self.away -= 1,
            Standing::Called { reserved, .. } => self.reserved -= reserved,
            Standing::Waits => {
                let at = self.position(place.ticket);
                if let Some(who) = self.queue[at].who.take() {
                    self.ahead -= who.kind.is_ahead();
                    calling.after.unneeded.push(who.waker);
                    self.left += 1;
                    self.close_up();
                }
            }
        }
    }

    /// The queue closes up when more than half of it was left, so that leaving costs no more where many wait.
    fn close_up(&mut self) {
        if self.left as usize * 2 > self.queue.len() {
            self.queue.retain(|waiting| waiting.who.is_some());
            self.left = 0;
        }
    }

    /// Wakes everybody. Nobody has a place afterwards.
    pub(super) fn dismiss(&mut self, calling: &mut Calling<'_>) {
        self.queue.drain(..).filter_map(|waiting| waiting.who).for_each(|who| calling.after.woken.push(who.waker));
        self.places.clear();
        (self.ahead, self.left, self.reserved, self.away) = (0, 0, 0, 0);
    }

    /// Tasks that ended while they waited do not pile up. Takes a time that is paid by those who were queued since.
    fn forget_dead(&mut self, calling: &mut Calling<'_>) {
        self.left = 0;
        for Waiting { ticket, who } in std::mem::take(&mut self.queue) {
            match who {
                Some(who) if is_dead(&who.waker) => {
                    self.places.remove(&who.key);
                    self.ahead -= who.kind.is_ahead();
                    calling.after.unneeded.push(who.waker);
                }
                Some(_) => self.queue.push_back(Waiting { ticket, who }),
                None => {}
            }
        }
        self.queue.reserve(self.queue.len() + 1);
    }

    /// Where a ticket is in the queue, or would be.
    fn position(&self, ticket: u64) -> usize {
        match self.queue.back() {
            Some(last) if last.ticket >= ticket => self.queue.partition_point(|waiting| waiting.ticket < ticket),
            _ => self.queue.len(),
        }
    }
}

impl Kind {
    fn is_ahead(self) -> u32 {
        u32::from(!matches!(self, Self::Context(_)))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const NO_TASK: &dyn Fn() -> Arc<dyn Calls> = &|| unreachable!("owners are nobody's tasks");

    /// Runs `f` with what a use of an object has.
    fn calling<R>(f: impl FnOnce(&mut Calling<'_>) -> R) -> R {
        f(&mut Calling { host: NO_TASK, numbers: &mut 0, after: &mut After::new() })
    }

    fn wait(turnstile: &mut Turnstile, key: usize) {
        let visitor = Visitor::owner(key, Waker::noop());
        assert!(calling(|calling| turnstile.wait(&visitor, 2, &mut Some(visitor.prepare()), calling)));
    }

    fn leave(turnstile: &mut Turnstile, key: usize) {
        calling(|calling| turnstile.leave(key, calling));
    }

    fn called(turnstile: &Turnstile) -> Vec<usize> {
        (0..200).filter(|&key| turnstile.is_called(key)).collect()
    }

    #[test]
    fn whoever_leaves_moves_nobody_before_half_have_left() {
        let mut turnstile = Turnstile::default();
        (0..100).for_each(|key| wait(&mut turnstile, key));
        let last = turnstile.places[&99].ticket;
        for key in (0..50).map(|n| 20 + n * 7 % 50) {
            leave(&mut turnstile, key);
            leave(&mut turnstile, key);
            assert_eq!(turnstile.position(last), 99);
        }
        leave(&mut turnstile, 70);
        assert_eq!((turnstile.position(last), turnstile.queue.len(), turnstile.ahead), (48, 49, 49));
    }

    #[test]
    fn places_that_were_left_are_passed_over() {
        let mut turnstile = Turnstile::default();
        (0..20).for_each(|key| wait(&mut turnstile, key));
        [0, 1, 3, 4, 18].into_iter().for_each(|key| leave(&mut turnstile, key));
        calling(|calling| turnstile.call(5, calling));
        assert_eq!(called(&turnstile), [2, 5], "four for the first two, and no place of one that left");
        wait(&mut turnstile, 7);
        wait(&mut turnstile, 20);
        [6, 8, 20].into_iter().for_each(|key| leave(&mut turnstile, key));
        calling(|calling| turnstile.call_all(calling));
        assert_eq!(called(&turnstile), [2, 5, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19]);
        assert_eq!((turnstile.ahead, turnstile.left, turnstile.queue.len()), (0, 0, 0));
        [2, 5].into_iter().for_each(|key| leave(&mut turnstile, key));
        assert_eq!(turnstile.reserved(), 0);
    }

    #[test]
    fn what_was_left_makes_room_for_those_who_come() {
        let mut turnstile = Turnstile::default();
        for key in 0..10_000 {
            wait(&mut turnstile, key);
            // One in three stays.
            if key % 3 != 0 {
                leave(&mut turnstile, key);
            }
            assert!(turnstile.queue.len() <= 4 + 2 * (key / 3 + 1));
        }
        calling(|calling| turnstile.dismiss(calling));
        assert!(turnstile.is_empty() && turnstile.queue.is_empty() && turnstile.left == 0);
    }
}
