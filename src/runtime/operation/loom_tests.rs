//! Every order in which an operation's owner can meet those who tell it something, and a stream's waiter those who send.

use super::super::io::IoName;
use super::life::make;
use super::traffic::Traffic;
use super::word::{Mail, News, Told};
use super::{OPS, OpName, Operation, Request};
use crate::primitives::inbox::{Inbox, Pushed};
use crate::primitives::sync::{Arc, AtomicU32, Ordering::*};
use crate::primitives::{Wake, waker};
use crate::readiness::{IOS, Ready};
use loom::thread::{self, Thread};
use std::ptr::NonNull;
use std::sync::Arc as Shared;
use std::sync::atomic::{AtomicBool as Flag, AtomicU32 as Count};

mod ending;

/// What a worker sleeps in: it orders nothing, nor does loom see it.
#[derive(Default)]
struct Bell(Count);

impl Bell {
    fn ring(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn sleep_until(&self, rings: u32) {
        while self.0.load(Relaxed) < rings {
            thread::yield_now();
        }
    }
}

/// A worker, as those see it who tell its operations something.
struct Home {
    inbox: Inbox<Operation>,
    mail: Inbox<Operation>,
    bell: Bell,
    mailed: [Flag; 4],
    /// What the tellers did before they told. Ordered by the words alone.
    told: [AtomicU32; 2],
}

impl Home {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inbox: Inbox::new(),
            mail: Inbox::new(),
            bell: Bell::default(),
            mailed: Default::default(),
            told: Default::default(),
        })
    }

    fn mailed(&self, op: &Operation) -> &Flag {
        &self.mailed[op.index.load(Relaxed) as usize]
    }

    /// As `Operation::post` does it from elsewhere.
    fn post(&self, op: &'static Operation) {
        assert!(!self.mailed(op).swap(true, Relaxed), "mailed twice");
        assert_eq!(self.mail.push(op.into()), Pushed::Queued, "nobody sleeps on the mail");
        if self.inbox.nudge() {
            self.bell.ring();
        }
    }

    fn tell(&self, op: &'static Operation, generation: Option<u32>, news: News) {
        if op.word.tell(generation, news) == Told::Post {
            self.post(op);
        }
    }

    /// As a worker does it: the inbox first, which the nudges are for, then the mail. `None`: nothing came.
    fn look(&self) -> Option<Vec<&'static Operation>> {
        let taken = self.inbox.take();
        if !taken.is_news() {
            return None;
        }
        // SAFETY: what is mailed is an entry of the slab.
        let ops = self.mail.take().map(|op: NonNull<Operation>| unsafe { op.as_ref() });
        Some(ops.inspect(|op| assert!(self.mailed(op).swap(false, Relaxed))).collect())
    }

    fn begin(&self) -> OpName {
        let (index, op) = OPS.alloc().expect("memory");
        op.index.store(index, Relaxed);
        assert!(!self.mailed(op).load(Relaxed), "used again while it is in a mailbox");
        OpName { op, generation: op.word.open() }
    }
}

/// All entries come out of the slab again, once and before any new one.
fn assert_freed_once() {
    let used = OPS.iter().count() as u32;
    let mut free: Vec<u32> = (0..used).map(|_| OPS.alloc().expect("memory").0).collect();
    free.sort_unstable();
    assert_eq!(free, (0..used).collect::<Vec<_>>(), "not given back, or twice");
    assert_eq!(OPS.alloc().expect("memory").0, used, "too many free");
}

/// An operation ends while it is cancelled by its handle and woken by a waker that comes late. What begins next hears
/// nothing of the cancel, and is not in the place of an entry that is still mailed.
#[test]
fn loom_operation_cancel_does_not_reach_the_next_life() {
    loom::model(|| {
        let home = Home::new();
        let name = home.begin();
        let canceller = thread::spawn({
            let home = home.clone();
            move || home.tell(name.op, Some(name.generation), News::CANCEL)
        });
        let waking = thread::spawn({
            let home = home.clone();
            move || home.tell(name.op, None, News::TRY)
        });
        name.op.end();
        assert!(!name.is_live());
        let next = home.begin();
        let read = |ops: Option<Vec<&'static Operation>>| {
            for op in ops.into_iter().flatten() {
                match op.word.open_mail() {
                    Mail::Over => op.give_back(),
                    Mail::News(news) => assert!(!news.has(News::CANCEL), "told by the handle of another life"),
                }
            }
        };
        read(home.look());
        canceller.join().expect("no panic");
        waking.join().expect("no panic");
        read(home.look());
        assert!(next.is_live());
        next.op.end();
        read(home.look());
        assert_freed_once();
    });
}

/// Two threads tell an owner that sleeps when it may: it reads both messages, and sees what was done before them.
#[test]
fn loom_operation_hears_what_it_is_told() {
    loom::model(|| {
        let home = Home::new();
        let name = home.begin();
        let tellers =
            [(0, Some(name.generation), News::CANCEL), (1, None, News::TRY)].map(|(which, generation, news)| {
                let home = home.clone();
                thread::spawn(move || {
                    home.told[which as usize].store(1, Relaxed);
                    home.tell(name.op, generation, news);
                })
            });
        let (mut heard, mut sleeps) = ([false; 2], 0);
        while heard != [true; 2] {
            let Some(ops) = home.look() else {
                if home.inbox.park() {
                    sleeps += 1;
                    home.bell.sleep_until(sleeps);
                }
                continue;
            };
            for op in ops {
                let Mail::News(news) = op.word.open_mail() else { panic!("it lives") };
                for (which, message) in [News::CANCEL, News::TRY].into_iter().enumerate() {
                    if news.has(message) {
                        assert_eq!(home.told[which].load(Relaxed), 1, "told before it was done");
                        heard[which] = true;
                    }
                }
            }
        }
        tellers.into_iter().for_each(|teller| teller.join().expect("no panic"));
        assert_eq!(home.bell.0.load(Relaxed), sleeps, "not one ring a sleep");
        name.op.end();
        assert!(home.look().is_none_or(|ops| ops.is_empty()));
        assert_freed_once();
    });
}

/// Who reads that another thread has done it sees the result.
#[test]
fn loom_operation_result_comes_before_the_word() {
    loom::model(|| {
        // It is mailed already, so that the thread that delivers it need not find a worker. If it must, there is none.
        let op = make(0, 0, None, Request::Pump, [None, None], || None).expect("memory");
        let pool = thread::spawn(move || op.deliver(-7));
        let Mail::News(news) = op.word.open_mail() else { panic!("it lives") };
        if news.has(News::DONE) {
            assert_eq!(op.result.load(Acquire) as i64, -7);
        }
        pool.join().expect("no panic");
        assert_eq!(op.result.load(Acquire) as i64, -7);
        op.drop_body();
        op.end();
        assert_freed_once();
    });
}

/// Wakes a thread.
struct Sleeper(Thread);

impl Wake for Sleeper {
    fn wake_by_ref(this: &Shared<Self>) {
        this.0.unpark();
    }
}

/// Two waiters, of whom one is content with less, and a holder that sends in two steps: nobody is left asleep.
#[test]
fn loom_operation_queue_that_drains_wakes_its_waiters() {
    loom::model(|| {
        let traffic = Arc::new(Traffic::default());
        traffic.queue_grows(3);
        let waiters = [0, 1].map(|low_water| {
            let traffic = traffic.clone();
            thread::spawn(move || {
                let waker = waker(Shared::new(Sleeper(thread::current())));
                while !traffic.is_flushed(low_water, low_water as usize, &waker) {
                    thread::park();
                }
            })
        });
        traffic.queue_shrinks(2);
        traffic.queue_shrinks(1);
        waiters.into_iter().for_each(|waiter| waiter.join().expect("no panic"));
        assert_eq!(traffic.queued(), 0);
    });
}

/// A descriptor is deregistered while an operation begins on it: one of the two is refused.
#[test]
fn loom_operation_begins_or_its_descriptor_goes() {
    loom::model(|| {
        let (index, io) = IOS.alloc().expect("memory");
        let generation = io.guard.next_generation();
        io.begin(generation, Ready::EMPTY);
        io.guard.open();
        let name = IoName::new(io, generation, index);
        let operation = thread::spawn(move || {
            let (index, op) = OPS.alloc().expect("memory");
            op.index.store(index, Relaxed);
            // As a user to whom it does not fall to close anything.
            io.guard.enter(generation) && name.join_traffic(op, 0, false).is_ok()
        });
        assert!(io.guard.enter(generation));
        let gone = name.close_without_traffic();
        assert!(matches!(gone, Ok(()) | Err(libc::EBUSY)));
        assert_ne!(operation.join().expect("the other thread"), gone.is_ok());
    });
}
