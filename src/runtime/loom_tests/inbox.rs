//! Models of the inbox.

use super::*;
use crate::primitives::inbox::{Inbox, Pushed};
use crate::primitives::sync::{Arc, AtomicBool};

/// Sums the letters of a batch, each worth a different power of ten.
fn open_all(letters: impl Iterator<Item = NonNull<Letter>>) -> u32 {
    // SAFETY: the inbox gave them to its owner.
    letters.map(|letter| unsafe { Letter::open(letter) }).sum()
}

/// An inbox as others see it.
struct Mail {
    inbox: Inbox<Letter>,
    eventfd: EventFd,
    /// What a nudge is for. Ordered by the nudge alone.
    phase: AtomicBool,
}

impl Mail {
    fn new() -> Arc<Self> {
        Arc::new(Self { inbox: Inbox::new(), eventfd: EventFd::default(), phase: AtomicBool::new(false) })
    }

    /// What of the content came back.
    fn push(&self, content: u32) -> u32 {
        let letter = Letter::write(content);
        match self.inbox.push(letter) {
            Pushed::Queued => 0,
            Pushed::Unpark => {
                self.eventfd.write();
                0
            }
            // SAFETY: a refused letter is still the pusher's.
            Pushed::Closed => unsafe { Letter::open(letter) },
        }
    }

    fn nudge(&self) {
        self.phase.store(true, Relaxed);
        if self.inbox.nudge() {
            self.eventfd.write();
        }
    }

    /// The owner, who sleeps whenever it may, until it has all letters, and saw the phase if that is asked for. Returns
    /// how often it slept.
    fn read_until(&self, all: u32, phase: bool) -> u32 {
        let (mut sum, mut sleeps) = (0, 0);
        while sum != all || phase != self.phase.load(Relaxed) {
            let taken = self.inbox.take();
            let news = taken.is_news();
            sum += open_all(taken);
            if !news && self.inbox.park() {
                sleeps += 1;
                self.eventfd.sleep_until(sleeps);
            }
        }
        sleeps
    }
}

/// Two pushers and the owner: it hears of everything, and each of its sleeps is ended by one write.
#[test]
fn loom_nothing_in_an_inbox_is_slept_on() {
    loom::model(|| {
        let mail = Mail::new();
        let pushers = [1, 10].map(|content| {
            let mail = mail.clone();
            thread::spawn(move || mail.push(content))
        });
        let sleeps = mail.read_until(11, false);
        pushers.into_iter().for_each(|pusher| assert_eq!(pusher.join().expect("no panic"), 0));
        assert_eq!(mail.eventfd.writes(), sleeps, "not one write a sleep");
        assert_eq!(open_all(mail.inbox.close()), 0, "something came twice");
    });
}

/// A nudge beside a push: the owner looks again, and then sees what the nudge is for.
#[test]
fn loom_a_nudge_is_heard_beside_a_push() {
    loom::model(|| {
        let mail = Mail::new();
        let pusher = {
            let mail = mail.clone();
            thread::spawn(move || mail.push(1))
        };
        let nudger = {
            let mail = mail.clone();
            thread::spawn(move || mail.nudge())
        };
        let sleeps = mail.read_until(1, true);
        assert_eq!(pusher.join().expect("no panic"), 0);
        nudger.join().expect("no panic");
        assert_eq!(mail.eventfd.writes(), sleeps, "not one write a sleep");
    });
}

/// The owner takes, sleeps once if it may, and closes: each letter was taken, or was there at the close, or came back.
#[test]
fn loom_an_inbox_that_closes_loses_nothing() {
    at_most_two_preemptions(|| {
        let mail = Mail::new();
        let pushers = [1, 10].map(|content| {
            let mail = mail.clone();
            thread::spawn(move || mail.push(content))
        });
        let nudger = {
            let mail = mail.clone();
            thread::spawn(move || mail.nudge())
        };
        let taken = mail.inbox.take();
        let news = taken.is_news();
        let mut sum = open_all(taken);
        // After news there may be nobody left who would wake it.
        let sleeps = u32::from(!news && mail.inbox.park());
        mail.eventfd.sleep_until(sleeps);
        sum += open_all(mail.inbox.close());
        sum += pushers.map(|pusher| pusher.join().expect("no panic")).iter().sum::<u32>();
        nudger.join().expect("no panic");
        assert_eq!(sum, 11);
        assert_eq!(mail.eventfd.writes(), sleeps, "not one write a sleep");
        assert!(!mail.inbox.park(), "a closed inbox is no place to sleep");
        assert!(!mail.inbox.nudge());
    });
}

/// For models of four threads, which take minutes with more.
fn at_most_two_preemptions(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.map_or(Some(2), |bound| Some(bound.min(2)));
    builder.check(model);
}
