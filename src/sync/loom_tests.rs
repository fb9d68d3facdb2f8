//! Every order in which those who wait can meet those who let them go on.

use super::turnstile::Kind;
use super::*;
use crate::primitives::{Wake, sync, waker};
use crate::runtime::PollContext;
use crate::task::loom_tests::{Pool, launch};
use crate::task::{TaskName, header_of};
use loom::thread::{self, Thread};
use std::sync::atomic::{AtomicU32, Ordering::*};

struct Sleeper(Thread);

impl Wake for Sleeper {
    fn wake_by_ref(this: &Arc<Self>) {
        this.0.unpark();
    }
}

fn sleeper() -> Waker {
    waker(Arc::new(Sleeper(thread::current())))
}

/// What a thread does that waits.
fn sleep_until<R>(mut poll: impl FnMut(&Visitor<'_>) -> Poll<R>) -> R {
    let waker = sleeper();
    loop {
        match poll(&Visitor::owner(waker.data().addr(), &waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::park(),
        }
    }
}

type Semaphore = Arc<Hall<Permits>>;

fn semaphore(permits: u64) -> Semaphore {
    Hall::with_permits(permits).expect("few")
}

/// A task that asks for a permit in its first polls, and gives it back at its end.
struct Asks {
    semaphore: Semaphore,
    left: u32,
    got: Arc<AtomicU32>,
    has: bool,
}

impl Asks {
    /// Queues it. Also says how often it got a permit.
    fn launch(pool: &sync::Arc<Pool>, semaphore: &Semaphore, polls: u32) -> (TaskName, Arc<AtomicU32>) {
        let got = Arc::<AtomicU32>::default();
        let asks = Self { semaphore: semaphore.clone(), left: polls, got: got.clone(), has: false };
        (launch(pool, asks, false), got)
    }
}

impl Future for Asks {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let (waker, task) = (context.waker(), header_of(context.waker()).expect("a task's"));
        if self.left == 0 {
            return Poll::Pending;
        }
        self.left -= 1;
        let visitor = Visitor { key: waker.data().addr(), waker, kind: Kind::Task(task), cx: None };
        let polled = self.semaphore.poll_acquire(&visitor, 1);
        polled.map(|acquired| {
            acquired.expect("it is open");
            self.has = true;
            self.got.fetch_add(1, Relaxed);
        })
    }
}

impl Drop for Asks {
    fn drop(&mut self) {
        if self.has {
            self.semaphore.release(1).expect("few");
        }
    }
}

const ALWAYS: u32 = u32::MAX;

/// A permit that is released beside the poll that asks for it is not lost.
#[test]
fn loom_a_grant_meets_a_wait() {
    loom::model(|| {
        let (pool, semaphore) = (Pool::new(), semaphore(0));
        let (_, got) = Asks::launch(&pool, &semaphore, ALWAYS);
        let releasing = thread::spawn({
            let semaphore = semaphore.clone();
            move || semaphore.release(1).expect("few")
        });
        pool.run();
        releasing.join().expect("no panic");
        pool.run();
        assert_eq!(got.load(Relaxed), 1);
        assert!(semaphore.try_acquire(1).is_ok() && semaphore.try_acquire(1).is_err());
    });
}

/// A task that is called during a poll, which asked before that, keeps its turn: nobody behind it gets it.
#[test]
fn loom_a_call_during_a_poll_is_for_the_next() {
    loom::model(|| {
        let (pool, semaphore) = (Pool::new(), semaphore(0));
        let (name, got) = Asks::launch(&pool, &semaphore, ALWAYS);
        pool.run();
        let visitor = Visitor::owner(1, Waker::noop());
        assert!(semaphore.poll_acquire(&visitor, 1).is_pending());
        let polling = thread::spawn({
            let pool = pool.clone();
            move || {
                let _ = name.wake();
                pool.run();
            }
        });
        semaphore.release(1).expect("few");
        // Given back at the task's end, and not before.
        let early = semaphore.poll_acquire(&visitor, 1).is_ready() && got.load(Relaxed) == 0;
        polling.join().expect("no panic");
        pool.run();
        assert!(!early && got.load(Relaxed) == 1, "overtaken");
        assert!(name.abort().is_err(), "it has ended");
    });
}

/// A task gives up the turn that it was called for, beside somebody who comes newly and must get it.
#[test]
fn loom_a_turn_given_up_meets_a_newcomer() {
    loom::model(|| {
        let (pool, semaphore) = (Pool::new(), semaphore(0));
        let (name, got) = Asks::launch(&pool, &semaphore, 1);
        pool.run();
        let releasing = thread::spawn({
            let (pool, semaphore) = (pool.clone(), semaphore.clone());
            move || {
                semaphore.release(1).expect("few");
                pool.run();
            }
        });
        sleep_until(|visitor| semaphore.poll_acquire(visitor, 1)).expect("open");
        releasing.join().expect("no panic");
        assert_eq!(got.load(Relaxed), 0);
        name.abort().expect("it waits for ever");
        pool.run();
    });
}

/// A task is aborted beside the release that calls it: whoever waits behind it gets the permit, from it or after it.
#[test]
fn loom_an_abort_meets_a_release() {
    loom::model(|| {
        let (pool, semaphore) = (Pool::new(), semaphore(0));
        let (name, _) = Asks::launch(&pool, &semaphore, ALWAYS);
        pool.run();
        let waker = sleeper();
        assert!(semaphore.poll_acquire(&Visitor::owner(waker.data().addr(), &waker), 1).is_pending());
        let aborting = thread::spawn({
            let pool = pool.clone();
            move || {
                let _ = name.abort();
                pool.run();
            }
        });
        let releasing = thread::spawn({
            let (pool, semaphore) = (pool.clone(), semaphore.clone());
            move || {
                semaphore.release(1).expect("few");
                pool.run();
            }
        });
        let key = waker.data().addr();
        while semaphore.poll_acquire(&Visitor::owner(key, &waker), 1).is_pending() {
            thread::park();
        }
        aborting.join().expect("no panic");
        releasing.join().expect("no panic");
        pool.run();
        assert!(semaphore.try_acquire(1).is_err(), "there was one permit");
    });
}

/// A future that is dropped beside the release that calls it passes the permit on.
#[test]
fn loom_a_dropped_wait_meets_a_release() {
    loom::model(|| {
        let semaphore = super::Semaphore::new(0).expect("few");
        let (first, behind) = (sleeper(), sleeper());
        let mut wait = Box::pin(semaphore.acquire(1));
        assert!(wait.as_mut().poll(&mut Context::from_waker(&first)).is_pending());
        let mut next = Box::pin(semaphore.acquire(1));
        assert!(next.as_mut().poll(&mut Context::from_waker(&behind)).is_pending());
        let releasing = thread::spawn({
            let semaphore = semaphore.clone();
            move || semaphore.release(1).expect("few")
        });
        drop(wait);
        while next.as_mut().poll(&mut Context::from_waker(&behind)).is_pending() {
            thread::park();
        }
        releasing.join().expect("no panic");
    });
}

/// Two senders, a receiver that closes: what was sent is received, and nobody waits for ever.
#[test]
fn loom_two_senders_meet_a_close() {
    loom::model(|| {
        let channel = Hall::<Items<u32>>::with_capacity(1).expect("some");
        let senders = [1, 2].map(|item| {
            let channel = channel.clone();
            thread::spawn(move || {
                let mut left = Some(item);
                let sent = sleep_until(|visitor| channel.poll_send(visitor, &mut left));
                assert_eq!(sent.is_ok(), left.is_none());
                if sent.is_ok() { item } else { 0 }
            })
        });
        let mut sum = sleep_until(|visitor| channel.poll_receive(visitor)).expect("two are sent");
        channel.close();
        while let Ok(item) = sleep_until(|visitor| channel.poll_receive(visitor)) {
            sum += item;
        }
        let sent: u32 = senders.into_iter().map(|sender| sender.join().expect("no panic")).sum();
        assert_eq!(sum, sent);
    });
}

/// Whoever is first of the one who sends and the one who gives up decides what is received.
#[test]
fn loom_a_send_meets_a_close() {
    loom::model(|| {
        let oneshot = Hall::<Outcome<u32>>::empty();
        let sending = thread::spawn({
            let oneshot = oneshot.clone();
            move || oneshot.send(&mut Some(7))
        });
        let closing = thread::spawn({
            let oneshot = oneshot.clone();
            move || oneshot.close()
        });
        let received = sleep_until(|visitor| oneshot.poll_receive(visitor));
        let (sent, closed) = (sending.join().expect("no panic"), closing.join().expect("no panic"));
        assert_eq!(received, sent.map(|()| 7));
        assert_eq!(sent.is_ok(), closed == Err(libc::EALREADY));
    });
}

/// Two notifications beside two who ask: each gets one, or one is kept.
#[test]
fn loom_a_notification_meets_a_poll() {
    loom::model(|| {
        let bell = Hall::<Bell>::silent();
        let asking = thread::spawn({
            let bell = bell.clone();
            move || sleep_until(|visitor| bell.poll_notified(visitor))
        });
        bell.notify_one();
        asking.join().expect("no panic").expect("open");
        bell.notify_one();
        sleep_until(|visitor| bell.poll_notified(visitor)).expect("kept");
    });
}

/// A context that is freed while it is notified: the notification is the next one's, who has the same address, and one only.
#[test]
fn loom_a_notification_meets_the_end_of_a_context() {
    loom::model(|| {
        let context = || PollContext::standalone(0, sleeper()).expect("memory");
        let hears = |bell: &Arc<Hall<Bell>>, cx: &PollContext| bell.poll_notified(&Visitor::of(cx, &cx.waker()));
        let (bell, first) = (Hall::silent(), context());
        assert!(hears(&bell, first).is_pending());
        let notified = bell.clone();
        let notifies = thread::spawn(move || notified.notify_one());
        assert!(first.free_standalone());
        notifies.join().expect("no panic");
        let next = context();
        assert!(std::ptr::eq(first, next), "its address is told from the next one's");
        assert_eq!(hears(&bell, next), Poll::Ready(Ok(())));
        assert!(hears(&bell, next).is_pending());
        assert!(next.free_standalone());
        assert_eq!(Arc::strong_count(&bell), 1, "nobody is tied to it");
    });
}
