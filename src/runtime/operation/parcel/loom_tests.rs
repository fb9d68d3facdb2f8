//! Every order in which those who send to one descriptor, and those who cancel, can meet.

use super::super::word::{Mail, Word};
use super::*;
use crate::primitives::sync::{Arc, UnsafeCell};
use loom::thread;

/// Memory that one may touch at a time: loom fails the model if two accesses are not ordered.
#[derive(Default)]
struct Memory(UnsafeCell<Vec<u32>>);

// SAFETY: loom sees to it that accesses are ordered, which is what the models are for.
unsafe impl Sync for Memory {}
// SAFETY: as above.
unsafe impl Send for Memory {}

impl Memory {
    fn add(&self, value: u32) {
        // SAFETY: loom fails the model if another access is not ordered with this one.
        self.0.with_mut(|values| unsafe { (*values).push(value) });
    }

    fn read(&self) -> Vec<u32> {
        // SAFETY: as above.
        self.0.with(|values| unsafe { (*values).clone() })
    }
}

/// A descriptor on which all sends succeed.
#[derive(Default)]
struct Line {
    traffic: Traffic,
    sent: Memory,
}

impl Line {
    fn push(&self, number: u32) -> bool {
        let parcel = Parcel::new(Content::Bytes(Box::default()), number as usize, 0);
        let parcel = Box::into_raw(parcel);
        // SAFETY: a box is not null; the push gives it to the baton's holder.
        self.traffic.baton.push(unsafe { std::ptr::NonNull::new_unchecked(parcel) }) == Pushed::Unpark
    }

    /// The holder: sends what is queued, until it can give the baton up.
    fn go(&self) {
        while {
            // SAFETY: the caller has the baton.
            unsafe { self.traffic.collect() };
            // SAFETY: as above.
            while let Some(parcel) = unsafe { self.traffic.with_queue(VecDeque::pop_front) } {
                self.sent.add(parcel.len as u32);
            }
            !self.traffic.baton.park()
        } {}
    }

    /// As everybody sends.
    fn send(&self, number: u32) {
        if self.traffic.baton.acquire() {
            self.sent.add(number);
            if !self.traffic.baton.park() {
                self.go();
            }
        } else if self.push(number) {
            self.go();
        }
    }
}

/// Three senders, of whom one has the baton first: everything is sent once, each sender's in its order.
#[test]
fn loom_operation_baton_goes_round() {
    loom::model(|| {
        let line = Arc::new(Line::default());
        assert!(!line.traffic.baton.is_parked() && !line.traffic.baton.acquire(), "it is ours");
        let senders = [10, 20].map(|number| {
            let line = line.clone();
            thread::spawn(move || {
                line.send(number);
                line.send(number + 1);
            })
        });
        line.sent.add(1);
        line.go();
        senders.into_iter().for_each(|sender| sender.join().expect("no panic"));
        assert!(line.traffic.baton.is_parked(), "nobody gave it up");
        let sent = line.sent.read();
        for number in [10, 20] {
            let own: Vec<u32> = sent.iter().copied().filter(|sent| sent / 10 == number / 10).collect();
            assert_eq!(own, [number, number + 1]);
        }
        assert_eq!(sent.len(), 5);
    });
}

/// A send in the queue, its memory, and what its owner hears.
#[derive(Default)]
struct Sending {
    turn: Turn,
    memory: Memory,
    word: Word,
}

impl Sending {
    /// The holder has the turn twice: nothing goes, then all. True: it ended the operation.
    fn go(&self, life: u32) -> bool {
        for goes in [false, true] {
            if !self.turn.take(life) {
                return false;
            }
            self.memory.read();
            if goes || !self.turn.put_back(life) {
                break;
            }
        }
        let _ = self.word.tell(None, News::DONE);
        true
    }

    fn is_done(&self) -> bool {
        matches!(self.word.open_mail(), Mail::News(news) if news.has(News::DONE))
    }
}

/// The owner cancels, twice where it must wait, and lets the memory and the entry be used again: either it or the holder
/// ends the operation.
#[test]
fn loom_operation_turn_is_cancelled_or_taken() {
    loom::model(|| {
        let send = Arc::new(Sending::default());
        let life = send.word.open();
        send.turn.begin(life);
        let holder = thread::spawn({
            let send = send.clone();
            move || send.go(life)
        });
        let cancelled = send.turn.cancel(life) || send.turn.cancel(life);
        if !cancelled {
            while !send.is_done() {
                thread::yield_now();
            }
        }
        send.memory.add(1);
        let next = send.word.open();
        send.turn.begin(next);
        let ended = holder.join().expect("no panic");
        assert!(ended != cancelled, "ended twice, or never");
        assert!(!send.is_done(), "the next life was told");
        assert!(send.turn.take(next), "the next life was changed");
    });
}
