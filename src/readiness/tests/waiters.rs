//! Waiters of all kinds: who wakes, who is replaced, who is swept out.

use super::*;
use crate::primitives::wake_list::WakeList;
use crate::readiness::future::{Gone, Readiness};
use crate::readiness::waiters::Waiters;
use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, RawWaker, RawWakerVTable};

#[test]
fn a_future_that_is_polled_with_another_waker_wakes_that_one_alone() {
    let (generation, io) = registered();
    let ((a, waker_a), (b, waker_b)) = (Probe::new(), Probe::new());
    let mut future = pin!(Readiness::new(io, generation, READ));
    for waker in [&waker_a, &waker_a, &waker_b, &waker_a, &waker_b] {
        assert!(future.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
    }
    assert_eq!(Arc::strong_count(&a), 2, "the waker that was replaced is kept by nobody");
    assert!(io.deliver(generation, Ready::READABLE));
    assert_eq!((a.wakes(), b.wakes()), (0, 1));
    let done = future.as_mut().poll(&mut Context::from_waker(&waker_a));
    assert_eq!(done, Poll::Ready(Ok(event(io.look(generation, READ)))));
    assert_eq!(kinds(io), NOBODY);
}

#[test]
fn a_task_that_asks_again_with_another_waker_replaces_its_own_and_no_others() {
    let (generation, io) = registered();
    let ((a, waker_a), (b, waker_b)) = (Probe::new(), Probe::new());
    let (other, others_waker) = Probe::new();
    for interest in [READ, WRITE, READ | WRITE, Interest::PRIORITY] {
        assert_eq!(poll(io, generation, 1, interest, &waker_a), Polled::Pending);
        assert_eq!(poll(io, generation, 2, interest, &others_waker), Polled::Pending);
        assert_eq!(poll(io, generation, 1, interest, &waker_b), Polled::Pending);
    }
    assert_eq!(Arc::strong_count(&a), 2, "the waker that was replaced is kept by nobody");
    assert!(io.deliver(generation, Ready::ALL));
    assert_eq!((a.wakes(), b.wakes(), other.wakes()), (0, 4, 4));
}

#[test]
fn what_was_tried_in_vain_is_waited_for_until_something_else_comes() {
    let (generation, io) = registered();
    let (probe, waker) = Probe::new();
    let ask = |in_vain| io.poll(generation, READ, &Waiting { key: 1, waker: &waker, dead: alive, in_vain });
    assert!(io.deliver(generation, Ready::READ_CLOSED));
    let vain = event(ask(None));
    assert_eq!(ask(Some(vain)), Polled::Pending);
    assert_eq!(io.fields().waiters, Kinds { reader: true, ..NOBODY });
    assert!(io.deliver(generation, Ready::WRITABLE | Ready::READ_CLOSED));
    assert_eq!(probe.wakes(), 1, "a new event is a reason to try again");
    assert_eq!(event(ask(Some(vain))).ready, Ready::READ_CLOSED);

    let vain = event(ask(None));
    assert_eq!(
        ask(Some(ReadyEvent { ready: Ready::READABLE, ..vain })),
        Polled::Ready(vain),
        "another state was tried"
    );
    assert_eq!(ask(Some(vain)), Polled::Pending);
    assert!(io.deliver(generation, Ready::READABLE));
    assert_eq!(probe.wakes(), 2);
    let both = event(ask(Some(vain)));
    assert_eq!(both.ready, Ready::READABLE | Ready::READ_CLOSED);

    assert_eq!(ask(Some(both)), Polled::Pending);
    assert!(io.shut_down(generation));
    assert_eq!((probe.wakes(), ask(Some(both))), (3, Polled::Shutdown));
}

#[test]
fn a_place_that_moves_to_the_slot_is_not_left_behind_in_the_list() {
    let (generation, io) = registered();
    let ((a, waker_a), (b, waker_b)) = (Probe::new(), Probe::new());
    let (_holder, holders_waker) = Probe::new();
    assert_eq!(poll(io, generation, 2, READ, &holders_waker), Polled::Pending);
    assert_eq!(poll(io, generation, 1, READ, &waker_a), Polled::Pending);
    // The holder of the slot is dead by now, so the one who asks again gets it.
    let waiting = Waiting { key: 1, waker: &waker_b, dead: |_| true, in_vain: None };
    assert_eq!(io.poll(generation, READ, &waiting), Polled::Pending);
    assert_eq!(kinds(io), Kinds { reader: true, ..NOBODY });
    assert!(io.deliver(generation, Ready::READABLE));
    assert_eq!((a.wakes(), b.wakes()), (0, 1), "the stale waker fired");
}

#[test]
fn waiters_are_put_and_taken_by_key_and_interest() {
    let mut waiters = Waiters::default();
    let mut gone = Vec::new();
    let probes: Vec<_> = (0..6).map(|_| Probe::new()).collect();
    let entries = [(1, READ), (1, WRITE), (2, READ), (2, READ | WRITE), (3, READ), (1, Interest::PRIORITY)];
    for ((key, interest), (_, waker)) in entries.into_iter().zip(&probes) {
        assert!(!waiters.put(key, interest, waker.clone(), alive, &mut gone), "new");
    }
    assert_eq!(waiters.kinds(), Kinds { reader: true, writer: true, list: true });
    for ((key, interest), (_, waker)) in entries.into_iter().zip(&probes) {
        assert!(waiters.put(key, interest, waker.clone(), alive, &mut gone), "known");
    }
    assert_eq!(gone.len(), entries.len(), "one waker went for each that came again");
    assert!(waiters.take(1, READ | WRITE).is_none(), "of another waiter");
    assert!(waiters.take(3, WRITE).is_none());
    assert!(waiters.take(4, READ).is_none());
    for ((key, interest), (_, waker)) in entries.into_iter().zip(&probes).rev() {
        assert!(waiters.take(key, interest).expect("there").will_wake(waker));
        assert!(waiters.take(key, interest).is_none(), "taken once");
    }
    assert_eq!(waiters.kinds(), NOBODY);
}

/// One delivery for a hundred, more than a batch holds, of every kind.
#[test]
fn a_hundred_waiters_of_all_kinds_wake_from_one_event() {
    let (generation, io) = registered();
    let probes: Vec<_> = (0..100).map(|_| Probe::new()).collect();
    let mut futures = Vec::new();
    for (key, (_, waker)) in probes.iter().enumerate() {
        let interest = [READ, WRITE, READ | WRITE, Interest::PRIORITY, Interest::ERROR][key % 5];
        if key % 2 == 0 {
            assert_eq!(poll(io, generation, key, interest, waker), Polled::Pending);
        } else {
            let mut future = Box::pin(Readiness::new(io, generation, interest));
            assert!(future.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
            futures.push(future);
        }
    }
    assert_eq!(kinds(io), Kinds { reader: true, writer: true, list: true });
    assert!(io.deliver(generation, Ready::ERROR));
    assert!(probes.iter().all(|(probe, _)| probe.wakes() == 1), "each once");
    assert_eq!((kinds(io), io.fields().waiters), (NOBODY, NOBODY));
    for mut future in futures {
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }
}

#[test]
fn one_batch_takes_the_waiters_of_many_descriptors() {
    let ios = [registered(), registered()];
    let probes: Vec<_> = (0..80).map(|_| Probe::new()).collect();
    for (key, (_, waker)) in probes.iter().enumerate() {
        let (generation, io) = ios[key % 2];
        assert_eq!(poll(io, generation, key, READ, waker), Polled::Pending);
    }
    let woken = || probes.iter().filter(|(probe, _)| probe.wakes() == 1).count();
    let mut batch = WakeList::new();
    for (generation, io) in ios {
        assert!(io.deliver_into(generation, Ready::READABLE, &mut batch));
        assert_eq!((woken(), kinds(io)), (0, NOBODY));
    }
    batch.wake_all();
    assert_eq!(woken(), 80, "each once");
    batch.wake_all();
    assert_eq!(woken(), 80);
}

#[test]
fn the_dead_among_the_waiters_are_swept_out() {
    let (generation, io) = registered();
    let (probe, waker) = Probe::new();
    let ask = |key, dead| io.poll(generation, READ, &Waiting { key, waker: &waker, dead, in_vain: None });
    for key in 1..=10_000 {
        assert_eq!(ask(key, |_| true), Polled::Pending);
    }
    // Each place holds a count of the waker.
    let kept = Arc::strong_count(&probe) - 2;
    assert!(kept <= 64, "{kept} of 10000 places are still held for tasks that are over");
    assert!(io.deliver(generation, Ready::READABLE));
    assert_eq!(Arc::strong_count(&probe), 2);

    assert!(io.clear(generation, event(io.look(generation, READ))));
    let before = probe.wakes();
    for key in 1..=100 {
        assert_eq!(ask(key, alive), Polled::Pending);
    }
    assert!(io.deliver(generation, Ready::READABLE));
    assert_eq!(probe.wakes() - before, 100, "the living are never swept");
}

#[test]
fn futures_leave_the_list_from_any_place() {
    for gone in 0..5 {
        let (generation, io) = registered();
        let (probe, waker) = Probe::new();
        let mut futures: Vec<_> = (0..5).map(|_| Box::pin(Readiness::new(io, generation, READ))).collect();
        for future in &mut futures {
            assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        drop(futures.remove(gone));
        assert_eq!(Arc::strong_count(&probe), 2 + 4, "the waker went with the future");
        assert!(io.deliver(generation, Ready::READABLE));
        assert_eq!(probe.wakes(), 4, "without number {gone}");
        drop(futures);
        assert_eq!(kinds(io), NOBODY);
    }
}

#[test]
fn the_last_future_that_leaves_empties_the_list() {
    let (generation, io) = registered();
    let (probe, waker) = Probe::new();
    let mut future = Box::pin(Readiness::new(io, generation, READ));
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(kinds(io).list);
    drop(future);
    assert_eq!(kinds(io), NOBODY);
    assert!(io.deliver(generation, Ready::READABLE), "a bit with nobody behind it costs a look");
    assert_eq!((probe.wakes(), io.fields().waiters), (0, NOBODY));
}

#[test]
fn a_future_ends_with_the_runtime_and_with_the_descriptor() {
    for (ends, gone) in [(false, Gone::Shutdown), (true, Gone::Stale)] {
        let (generation, io) = registered();
        let (probe, waker) = Probe::new();
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(Readiness::new(io, generation, READ));
        assert!(future.as_mut().poll(&mut context).is_pending());
        if ends {
            io.end(generation)
        } else {
            assert!(io.shut_down(generation))
        }
        assert_eq!(probe.wakes(), 1);
        assert_eq!(future.as_mut().poll(&mut context), Poll::Ready(Err(gone)));
        let mut late = pin!(Readiness::new(io, generation, READ));
        assert_eq!(late.as_mut().poll(&mut context), Poll::Ready(Err(gone)), "it never waits again");
    }
}

#[test]
fn a_future_that_was_woken_for_nothing_waits_again() {
    let (generation, io) = registered();
    let (probe, waker) = Probe::new();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(Readiness::new(io, generation, READ));
    for round in 1..4 {
        assert!(future.as_mut().poll(&mut context).is_pending());
        assert!(io.deliver(generation, Ready::READABLE));
        assert_eq!(probe.wakes(), round);
        // Somebody else was faster and took it all.
        assert!(io.clear(generation, event(io.look(generation, READ))));
    }
    assert!(future.as_mut().poll(&mut context).is_pending());
}

/// A waker whose every move looks whether the descriptor's lock is free, and asks the descriptor something.
mod nosy {
    use super::*;

    fn look(data: *const ()) {
        // SAFETY: the data is a descriptor of the slab, which is never unmapped.
        let io = unsafe { &*data.cast::<ScheduledIo>() };
        assert!(!io.is_locked(), "foreign code ran under the lock");
        MOVES.set(MOVES.get() + 1);
        assert_eq!(kinds(io), io.locked(|waiters| waiters.kinds()));
    }

    fn clone(data: *const ()) -> RawWaker {
        look(data);
        RawWaker::new(data, &TABLE)
    }

    static TABLE: RawWakerVTable = RawWakerVTable::new(clone, look, look, look);

    thread_local! {
        pub(super) static MOVES: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn waker(io: &'static ScheduledIo) -> Waker {
        // SAFETY: the functions of the table need nothing but that the descriptor is never unmapped.
        unsafe { Waker::from_raw(RawWaker::new(std::ptr::from_ref(io).cast(), &TABLE)) }
    }
}

#[test]
fn no_waker_is_cloned_called_or_dropped_under_the_lock() {
    let (generation, io) = registered();
    let waker = nosy::waker(io);
    let mut futures: Vec<_> = (0..50).map(|_| Box::pin(Readiness::new(io, generation, READ))).collect();
    for again in 0..3 {
        for key in 0..50 {
            assert_eq!(poll(io, generation, key, READ, &waker), Polled::Pending);
        }
        for future in &mut futures {
            let waker = if again == 1 { Waker::noop() } else { &waker };
            assert!(future.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
        }
    }
    futures.truncate(40);
    let dead = Waiting { key: 1000, waker: &waker, dead: |_| true, in_vain: None };
    assert_eq!(io.poll(generation, READ, &dead), Polled::Pending);
    let before = nosy::MOVES.get();
    assert!(io.deliver(generation, Ready::READABLE));
    assert!(nosy::MOVES.get() - before >= 40, "the waiters woke");
    assert!(matches!(poll(io, generation, 1, READ, &waker), Polled::Ready(_)));
    drop(futures);
}

/// A waker that asks for more at once: those who come during a delivery are not woken by it for ever.
#[test]
fn a_waker_may_ask_again_while_it_is_called() {
    struct Again {
        io: &'static ScheduledIo,
        generation: u32,
        answers: AtomicUsize,
    }
    impl Wake for Again {
        fn wake_by_ref(this: &Arc<Self>) {
            let seen = poll(this.io, this.generation, 7, READ, &waker(this.clone()));
            this.answers.fetch_add(usize::from(matches!(seen, Polled::Ready(_))), Relaxed);
        }
    }
    let (generation, io) = registered();
    let again = Arc::new(Again { io, generation, answers: AtomicUsize::new(0) });
    for key in 0..40 {
        assert_eq!(poll(io, generation, key, READ, &waker(again.clone())), Polled::Pending);
    }
    assert!(io.deliver(generation, Ready::READABLE));
    assert_eq!(again.answers.load(Relaxed), 40);
    assert_eq!(Arc::strong_count(&again), 1, "nobody holds a waker any more");
}

/// The pin is part of the type: a future may be moved until it is polled, and is `Send`.
#[test]
fn a_future_may_go_to_another_thread_before_it_waits() {
    let (generation, io) = registered();
    let future = Readiness::new(io, generation, READ);
    let thread = std::thread::spawn(move || {
        let mut future: Pin<Box<Readiness>> = Box::pin(future);
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        future
    });
    let mut future = thread.join().expect("no panic");
    let (probe, waker) = Probe::new();
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(io.deliver(generation, Ready::READABLE));
    assert_eq!(probe.wakes(), 1);
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
}
