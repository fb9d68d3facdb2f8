//! The Rust side: futures, told apart by where they are.

use super::*;
use crate::primitives::{Wake, waker};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake_by_ref(this: &Arc<Self>) {
        this.0.fetch_add(1, Relaxed);
    }
}

/// A future with a waker of its own.
struct Waiting<F> {
    future: Pin<Box<F>>,
    wakes: Arc<Count>,
}

impl<F: Future> Waiting<F> {
    /// Polls it once, in vain.
    fn new(future: F) -> Self {
        let mut waiting = Self { future: Box::pin(future), wakes: Arc::default() };
        assert!(waiting.poll().is_pending());
        waiting
    }

    fn poll(&mut self) -> Poll<F::Output> {
        self.future.as_mut().poll(&mut Context::from_waker(&waker(self.wakes.clone())))
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(Relaxed)
    }
}

#[test]
fn permits_go_in_the_order_of_asking() {
    let semaphore = Semaphore::new(1).expect("few");
    let mut much = Waiting::new(semaphore.acquire(3));
    let mut little = Waiting::new(semaphore.acquire(1));
    semaphore.release(1).expect("few");
    assert_eq!((much.wakes(), little.wakes()), (0, 0));
    assert!(little.poll().is_pending(), "it would overtake");
    semaphore.release(2).expect("few");
    assert_eq!((much.wakes(), little.wakes()), (1, 1));
    assert_eq!(semaphore.try_acquire(1), Err(libc::EAGAIN), "both were called");
    assert_eq!((little.poll(), much.poll()), (Poll::Ready(Ok(())), Poll::Ready(Ok(()))));
}

#[test]
fn a_dropped_wait_lets_the_next_go_on() {
    let semaphore = Semaphore::new(0).expect("few");
    let first = Waiting::new(semaphore.acquire(1));
    let much = Waiting::new(semaphore.acquire(9));
    let mut last = Waiting::new(semaphore.acquire(1));
    semaphore.release(1).expect("few");
    drop(first);
    assert_eq!((much.wakes(), last.wakes()), (0, 0), "behind one that needs more");
    drop(much);
    assert_eq!(last.wakes(), 1);
    assert_eq!(last.poll(), Poll::Ready(Ok(())));
}

#[test]
fn a_future_takes_its_latest_waker() {
    let notify = Notify::default();
    let mut first = Waiting::new(notify.notified());
    let stale = std::mem::take(&mut first.wakes);
    assert!(first.poll().is_pending());
    assert_eq!(Arc::strong_count(&stale), 1, "dropped");
    notify.notify_one();
    assert_eq!(first.wakes(), 1);
    assert!(first.poll().is_ready());
}

#[test]
fn many_are_told_at_once() {
    let notify = Notify::default();
    let mut ears: Vec<_> = (0..100).map(|_| Waiting::new(notify.notified())).collect();
    notify.notify_all();
    assert!(ears.iter_mut().all(|ear| ear.wakes() == 1 && ear.poll().is_ready()));
    let mut late = Waiting::new(notify.notified());
    notify.notify_one();
    notify.notify_one();
    assert!(late.poll().is_ready());
    drop(late);
    assert!(Box::pin(notify.notified()).as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready(), "kept");
    Waiting::new(notify.notified());
}

#[test]
fn items_come_back_or_are_dropped() {
    let item = Arc::new(());
    let channel = Channel::new(1).expect("some");
    channel.try_send(item.clone()).expect("room");
    assert_eq!(channel.try_send(item.clone()).expect_err("full").1, libc::EAGAIN);
    let waits = Waiting::new(channel.send(item.clone()));
    let mut closed = Waiting::new(channel.send(item.clone()));
    assert_eq!(Arc::strong_count(&item), 4);
    drop(waits);
    assert_eq!(Arc::strong_count(&item), 3);
    channel.close();
    let Poll::Ready(Err((back, libc::EPIPE))) = closed.poll() else { panic!("closed") };
    drop((back, closed));
    assert!(channel.try_receive().is_ok());
    assert_eq!(channel.try_receive(), Err(libc::EPIPE));
    assert_eq!(Arc::strong_count(&item), 1);
}

#[test]
fn one_item_once() {
    let oneshot = Oneshot::default();
    let mut first = Waiting::new(oneshot.receive());
    let mut second = Waiting::new(oneshot.receive());
    oneshot.send(7).expect("the first");
    assert_eq!(oneshot.send(8), Err((8, libc::EALREADY)));
    assert_eq!(oneshot.close(), Err(libc::EALREADY));
    assert_eq!(first.poll(), Poll::Ready(Ok(7)));
    assert_eq!(second.poll(), Poll::Ready(Err(libc::EBADF)));
    assert_eq!(oneshot.send(9), Err((9, libc::EBADF)));
}

/// Panics when it wakes.
struct Planted;

impl Wake for Planted {
    fn wake_by_ref(_this: &Arc<Self>) {
        panic!("planted");
    }
}

#[test]
fn a_waker_that_panics_silences_nobody_of_many() {
    let notify = Notify::default();
    let mut bad = Box::pin(notify.notified());
    assert!(bad.as_mut().poll(&mut Context::from_waker(&waker(Arc::new(Planted)))).is_pending());
    let good: Vec<_> = (0..100).map(|_| Waiting::new(notify.notified())).collect();
    notify.notify_all();
    assert!(good.iter().all(|waiting| waiting.wakes() == 1));
}
