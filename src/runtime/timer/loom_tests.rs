use super::afar::Post;
use super::*;
use crate::primitives::inbox::{Inbox, Pushed};
use crate::primitives::sync::Arc;
use crate::primitives::{Wake, waker};
use loom::thread::{self, Thread};
use std::ptr::NonNull;

/// Stands in for a worker's mailbox.
struct Mailbox(Inbox<Timer>);

impl Post for Arc<Mailbox> {
    fn post(&self, timer: &'static Timer) -> bool {
        self.0.push(NonNull::from(timer)) != Pushed::Closed
    }
}

fn mailbox() -> Arc<Mailbox> {
    Arc::new(Mailbox(Inbox::new()))
}

struct Sleeper(Thread);

impl Wake for Sleeper {
    fn wake_by_ref(this: &std::sync::Arc<Self>) {
        this.0.unpark();
    }
}

fn sleeper() -> Waker {
    waker(std::sync::Arc::new(Sleeper(thread::current())))
}

/// Notes that it was woken.
#[derive(Default)]
struct Noted(std::sync::atomic::AtomicBool);

impl Wake for Noted {
    fn wake_by_ref(this: &std::sync::Arc<Self>) {
        this.0.store(true, Relaxed);
    }
}

/// A time that is long over when the desk looks, and one that never comes in a model.
const SOON: u64 = 1 << 20;
const LATER: u64 = 1 << 60;
const NOW: u64 = 1 << 30;

fn take_mail(desk: &Desk, mailbox: &Mailbox) {
    for timer in mailbox.0.take() {
        // SAFETY: entries of the slab.
        desk.receive(unsafe { timer.as_ref() });
    }
}

fn retire(desk: &Desk, mailbox: &Mailbox) {
    for timer in mailbox.0.close() {
        // SAFETY: entries of the slab.
        desk.receive(unsafe { timer.as_ref() });
    }
    TIMERS.iter().for_each(|(_, timer)| desk.orphan(timer));
}

/// Every entry was given back, once: as many can be had as were ever made, each of them different, and none is new.
fn assert_all_free(desk: Desk, made: usize) {
    drop(desk);
    let free: std::collections::HashSet<_> = (0..made).map(|_| TIMERS.alloc().expect("memory").0).collect();
    assert_eq!(free.len(), made);
    assert!(free.iter().all(|&index| (index as usize) < made), "an entry was lost");
}

fn started(desk: &Desk, at: u64) -> TimerName {
    TimerName::parse(desk.start(Start::at(at)).expect("memory")).expect("a handle")
}

/// Expiry, a cancel and a reset from elsewhere: it fired or it was cancelled, never both, and no reset is early.
#[test]
fn loom_a_timer_expires_while_it_is_cancelled_and_reset() {
    loom::model(|| {
        let (desk, mailbox) = (Desk::new(1, 0), mailbox());
        let name = started(&desk, SOON);
        let cancels = thread::spawn({
            let mailbox = mailbox.clone();
            move || name.cancel_from_afar(&mailbox)
        });
        let resets = thread::spawn({
            let mailbox = mailbox.clone();
            move || name.reset_from_afar(LATER, &mailbox)
        });
        desk.expire(NOW, || {}, |_| {});
        let fired = name.timer.word.state() == State::Fired(SOON);
        let cancelled = cancels.join().expect("no panic");
        let reset = resets.join().expect("no panic");
        take_mail(&desk, &mailbox);
        let moved = reset == Ok(true);
        assert!(cancelled.is_ok(), "nobody else ends it");
        if fired {
            assert!(!moved || cancelled == Ok(false), "a deadline that fired was taken back");
        }
        if reset.is_ok() && !fired {
            assert!(moved || reset == Ok(false));
        }
        assert_eq!(name.cancel_from_afar(&mailbox), Err(libc::EBADF));
        retire(&desk, &mailbox);
        assert_all_free(desk, 1);
    });
}

/// A waiter elsewhere, expiry, and a cancel: the waiter is woken whatever comes first.
#[test]
fn loom_a_waiter_elsewhere_hears_of_the_end() {
    loom::model(|| {
        let (desk, mailbox) = (Desk::new(1, 0), mailbox());
        let name = started(&desk, SOON);
        let waits = thread::spawn({
            let mailbox = mailbox.clone();
            move || {
                loop {
                    match name.poll_from_afar(1, &sleeper(), &mailbox) {
                        Poll::Pending => thread::park(),
                        Poll::Ready(result) => break result,
                    }
                }
            }
        });
        desk.expire(NOW, || {}, |_| {});
        take_mail(&desk, &mailbox);
        let result = waits.join().expect("no panic");
        assert_eq!(result, Ok(0));
        assert_eq!(desk.cancel(name), Ok(false));
        take_mail(&desk, &mailbox);
        assert_all_free(desk, 1);
    });
}

#[test]
fn loom_a_waiter_elsewhere_hears_of_a_cancel() {
    loom::model(|| {
        let (desk, mailbox) = (Desk::new(1, 0), mailbox());
        let name = started(&desk, LATER);
        let waits = thread::spawn({
            let mailbox = mailbox.clone();
            move || {
                loop {
                    match name.poll_from_afar(1, &sleeper(), &mailbox) {
                        Poll::Pending => thread::park(),
                        Poll::Ready(result) => break result,
                    }
                }
            }
        });
        assert_eq!(desk.cancel(name), Ok(true));
        assert_eq!(waits.join().expect("no panic"), Err(libc::EBADF));
        take_mail(&desk, &mailbox);
        retire(&desk, &mailbox);
        assert_all_free(desk, 1);
    });
}

/// The worker goes while others start a timer, and end one: every entry is given back, by one of them.
#[test]
fn loom_a_worker_goes_while_timers_are_started_and_ended_elsewhere() {
    loom::model(|| {
        let (desk, mailbox) = (Desk::new(1, 0), mailbox());
        let name = started(&desk, LATER);
        let ends = thread::spawn({
            let mailbox = mailbox.clone();
            move || name.cancel_from_afar(&mailbox)
        });
        let starts = thread::spawn({
            let mailbox = mailbox.clone();
            move || {
                let (index, timer) = TIMERS.alloc().expect("memory");
                timer.belong(1, 0, index);
                let generation = timer.begin(&Start::at(LATER), true);
                timer.guard.open();
                (TimerName { timer, generation }).introduce(&mailbox)
            }
        });
        retire(&desk, &mailbox);
        let _ = ends.join().expect("no panic");
        let _ = starts.join().expect("no panic");
        assert_all_free(desk, 2);
    });
}

/// A timer is ended elsewhere while its worker goes: who waits on that worker is woken, and not left in the entry.
#[test]
fn loom_a_worker_goes_while_a_timer_that_is_waited_for_is_ended_elsewhere() {
    loom::model(|| {
        let (desk, mailbox) = (Desk::new(1, 0), mailbox());
        let name = started(&desk, LATER);
        let noted = std::sync::Arc::new(Noted::default());
        assert!(desk.poll(name, 1, &waker(noted.clone())).is_pending());
        let ends = thread::spawn({
            let mailbox = mailbox.clone();
            move || name.cancel_from_afar(&mailbox)
        });
        retire(&desk, &mailbox);
        let _ = ends.join().expect("no panic");
        assert!(noted.0.load(Relaxed));
        assert_eq!(std::sync::Arc::strong_count(&noted), 1);
        assert_all_free(desk, 1);
    });
}

/// Two ticks of an interval, two who take them: each is one's.
#[test]
fn loom_a_tick_is_taken_once() {
    loom::model(|| {
        let (desk, mailbox) = (Desk::new(1, 0), mailbox());
        let start = Start { at: SOON, period: LATER, missed: Missed::Burst };
        let name = TimerName::parse(desk.start(start).expect("memory")).expect("a handle");
        desk.expire(NOW, || {}, |_| {});
        let other = thread::spawn({
            let mailbox = mailbox.clone();
            move || name.poll_from_afar(1, &sleeper(), &mailbox) == Poll::Ready(Ok(1))
        });
        let here = desk.poll(name, 2, &sleeper()) == Poll::Ready(Ok(1));
        let there = other.join().expect("no panic");
        assert!(here != there, "{here} {there}");
        take_mail(&desk, &mailbox);
        assert_eq!(desk.next(), Some(SOON + LATER));
        assert_eq!(desk.cancel(name), Ok(true));
        take_mail(&desk, &mailbox);
        assert_all_free(desk, 1);
    });
}
