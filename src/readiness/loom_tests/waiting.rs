//! Models of waiting beside deliveries, clears and the shutdown.

use super::*;
use crate::primitives::sync::AtomicU32;
use std::pin::pin;
use std::task::Poll;

/// One event for waiters of every kind: in the slot, in the list by key, in the list as a future.
#[test]
fn loom_one_delivery_wakes_every_kind_of_waiter() {
    loom::model(|| {
        let (_, io) = registered();
        let driver = spawn(move || assert!(io.deliver(FIRST, Ready::READABLE)));
        let other = spawn(move || {
            let waiter = Keyed::new(2);
            let seen = waiter.poll(io, FIRST, Interest::READABLE);
            (waiter, seen)
        });
        let mut future = Waiter::new(io, Interest::READABLE);
        let future_waits = future.waits();
        let mine = Keyed::new(1);
        let seen = mine.poll(io, FIRST, Interest::READABLE);
        driver.join().expect("no panic");
        let (other, other_seen) = other.join().expect("no panic");
        assert!(mine.served(seen) && other.served(other_seen), "a keyed waiter sleeps on what is ready");
        assert!(!future_waits || future.wakes() > 0, "a future sleeps on what is ready");
        assert!(is_ready(io.look(FIRST, Interest::READABLE), Ready::READABLE));
    });
}

/// An event that satisfies one direction passes a list in which everybody waits for the other.
#[test]
fn loom_an_event_of_one_direction_keeps_the_waiters_of_the_other() {
    loom::model(|| {
        let (_, io) = registered();
        let reads = spawn(move || assert!(io.deliver(FIRST, Ready::READABLE)));
        let writes = spawn(move || assert!(io.deliver(FIRST, Ready::WRITABLE)));
        let keyed = Keyed::new(1);
        let seen = keyed.poll(io, FIRST, Interest::WRITABLE | Interest::PRIORITY);
        let mut future = Waiter::new(io, Interest::WRITABLE);
        let future_waits = future.waits();
        reads.join().expect("no panic");
        writes.join().expect("no panic");
        assert!(keyed.served(seen), "a keyed writer sleeps on what is ready");
        assert!(!future_waits || future.wakes() > 0, "a future sleeps on what is ready");
        assert!(is_ready(io.look(FIRST, Interest::READABLE), Ready::READABLE), "the other event is there as well");
    });
}

/// A reader that reads until there is nothing and then clears, as its data comes in two events. The data is not ordered
/// but by the word: who sees an event sees what came before it.
#[test]
fn loom_a_reader_that_clears_misses_nothing() {
    loom::model(|| {
        let (_, io) = registered();
        let written = loom::sync::Arc::new(AtomicU32::new(0));
        let driver = {
            let written = written.clone();
            spawn(move || {
                for ready in [Ready::READABLE, Ready::READABLE | Ready::WRITABLE] {
                    written.store(written.load(Relaxed) + 1, Relaxed);
                    assert!(io.deliver(FIRST, ready));
                }
            })
        };
        let writer = spawn(move || {
            let writer = Keyed::new(2);
            let seen = writer.poll(io, FIRST, Interest::WRITABLE);
            (writer, seen)
        });
        let (reader, mut read) = (Keyed::new(1), 0);
        let wakes_before_the_last_question = loop {
            let wakes = reader.wakes();
            let Polled::Ready(seen) = reader.poll(io, FIRST, Interest::READABLE) else { break wakes };
            match written.load(Relaxed) {
                all if all == read => assert!(io.clear(FIRST, seen)),
                all => read = all,
            }
        };
        driver.join().expect("no panic");
        let (writer, seen) = writer.join().expect("no panic");
        assert!(writer.served(seen), "the reader's clear took the writer's readiness");
        assert!(is_ready(io.look(FIRST, Interest::WRITABLE), Ready::WRITABLE));
        if written.load(Relaxed) != read {
            assert!(is_ready(io.look(FIRST, Interest::READABLE), Ready::READABLE), "newer readiness was cleared");
            assert!(reader.wakes() > wakes_before_the_last_question, "the reader sleeps on unread data");
        }
    });
}

/// A clear that names an old tick, beside a new event and the shutdown: neither is lost, whoever waits is woken.
#[test]
fn loom_an_old_clear_takes_neither_newer_readiness_nor_the_shutdown() {
    loom::model(|| {
        let (_, io) = registered();
        assert!(io.deliver(FIRST, Ready::READABLE));
        let Polled::Ready(old) = io.look(FIRST, Interest::READABLE) else { panic!("delivered") };
        let driver = spawn(move || assert!(io.deliver(FIRST, Ready::READABLE)));
        let shutter = spawn(move || assert!(io.shut_down(FIRST)));
        let waiter = spawn(move || {
            let waiter = Keyed::new(1);
            let seen = waiter.poll(io, FIRST, Interest::READABLE);
            (waiter, seen)
        });
        assert!(io.clear(FIRST, old));
        for thread in [driver, shutter] {
            thread.join().expect("no panic");
        }
        let (waiter, seen) = waiter.join().expect("no panic");
        assert!(waiter.served(seen), "a waiter sleeps through an event and the shutdown");
        assert_eq!(io.look(FIRST, Interest::WRITABLE), Polled::Shutdown, "the shutdown was cleared");
        assert_eq!(waiter.poll(io, FIRST, Interest::READABLE), Polled::Shutdown);
        assert!(io.fields().ready.intersects(Ready::READABLE), "newer readiness was cleared");
    });
}

/// All of it at once: an event and the shutdown, a clear that is late, a reader in the slot, one in the list, and a future
/// that waits and goes.
#[test]
fn loom_whoever_waits_is_woken_whatever_else_goes_on() {
    loom::model(|| {
        let (_, io) = registered();
        assert!(io.deliver(FIRST, Ready::READABLE));
        let Polled::Ready(old) = io.look(FIRST, Interest::READABLE) else { panic!("delivered") };
        assert!(io.clear(FIRST, old));
        let slot = Keyed::new(1);
        assert_eq!(slot.poll(io, FIRST, Interest::READABLE), Polled::Pending);
        let mut goes = Waiter::new(io, Interest::READABLE);
        let mut stays = Waiter::new(io, Interest::READABLE);
        assert!(goes.waits() && stays.waits());
        let driver = spawn(move || {
            assert!(io.deliver(FIRST, Ready::WRITABLE));
            assert!(io.deliver(FIRST, Ready::READABLE));
        });
        let shutter = spawn(move || assert!(io.shut_down(FIRST)));
        let late = spawn(move || {
            drop(goes);
            assert!(io.clear(FIRST, old));
            let list = Keyed::new(2);
            let seen = list.poll(io, FIRST, Interest::READABLE);
            (list, seen)
        });
        driver.join().expect("no panic");
        shutter.join().expect("no panic");
        let (list, seen) = late.join().expect("no panic");
        assert_eq!((slot.wakes(), stays.wakes()), (1, 1));
        assert!(list.served(seen), "a waiter sleeps through an event and the shutdown");
        assert!(io.fields().ready == Ready::READABLE | Ready::WRITABLE, "newer readiness was cleared");
        assert_eq!(io.look(FIRST, Interest::READABLE), Polled::Shutdown);
        assert!(!stays.waits());
    });
}

/// As above without the shutdown, with waiters in the slot and in the list, and a tick that is cleared twice.
#[test]
fn loom_an_old_clear_leaves_the_waiters_bits() {
    loom::model(|| {
        let (_, io) = registered();
        assert!(io.deliver(FIRST, Ready::READABLE));
        let Polled::Ready(old) = io.look(FIRST, Interest::READABLE) else { panic!("delivered") };
        let driver = spawn(move || assert!(io.deliver(FIRST, Ready::READABLE)));
        let clearer = spawn(move || assert!(io.clear(FIRST, old)));
        assert!(io.clear(FIRST, old));
        let (slot, list) = (Keyed::new(1), Keyed::new(2));
        let in_slot = slot.poll(io, FIRST, Interest::READABLE);
        let in_list = list.poll(io, FIRST, Interest::READABLE);
        driver.join().expect("no panic");
        clearer.join().expect("no panic");
        assert!(slot.served(in_slot) && list.served(in_list), "a waiter sleeps on what is ready");
        assert!(is_ready(io.look(FIRST, Interest::READABLE), Ready::READABLE), "newer readiness was cleared");
    });
}

/// Waiters of both kinds come as the runtime goes.
#[test]
fn loom_a_shutdown_wakes_or_turns_away_every_waiter() {
    loom::model(|| {
        let (_, io) = registered();
        let shutter = spawn(move || assert!(io.shut_down(FIRST)));
        let driver = spawn(move || assert!(io.deliver(FIRST, Ready::WRITABLE)));
        let mut future = Waiter::new(io, Interest::READABLE);
        let future_waits = future.waits();
        let (slot, list) = (Keyed::new(1), Keyed::new(2));
        let in_slot = slot.poll(io, FIRST, Interest::READABLE);
        let in_list = list.poll(io, FIRST, Interest::READABLE);
        shutter.join().expect("no panic");
        driver.join().expect("no panic");
        assert!(slot.served(in_slot) && list.served(in_list), "a waiter sleeps through the shutdown");
        assert!(!future_waits || future.wakes() > 0, "a future sleeps through the shutdown");
        assert_eq!(io.look(FIRST, Interest::WRITABLE), Polled::Shutdown);
    });
}

/// A future is dropped while an event wakes it and its neighbours in the list.
#[test]
fn loom_a_future_that_goes_takes_nobody_with_it() {
    loom::model(|| {
        let (_, io) = registered();
        let mut before = Waiter::new(io, Interest::READABLE);
        let mut between = Waiter::new(io, Interest::READABLE);
        let mut behind = Waiter::new(io, Interest::READABLE);
        assert!(before.waits() && between.waits() && behind.waits());
        let driver = spawn(move || assert!(io.deliver(FIRST, Ready::READABLE)));
        let dropper = spawn(move || drop(behind));
        drop(between);
        let late = Keyed::new(1);
        let seen = late.poll(io, FIRST, Interest::READABLE);
        driver.join().expect("no panic");
        dropper.join().expect("no panic");
        assert_eq!(before.wakes(), 1, "its neighbour was taken out of the list");
        assert!(late.served(seen));
        assert!(!before.waits());
    });
}

/// A future moves to another task as it is woken: the new task's waker fires, or the poll sees why not.
#[test]
fn loom_a_future_that_changes_its_waker_is_not_lost() {
    loom::model(|| {
        let (_, io) = registered();
        let mut future = pin!(Readiness::new(io, FIRST, Interest::READABLE));
        let (old, new) = (Arc::<Wakes>::default(), Arc::<Wakes>::default());
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker_ref(&old))).is_pending());
        let driver = spawn(move || assert!(io.deliver(FIRST, Ready::READABLE)));
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker_ref(&new)));
        driver.join().expect("no panic");
        match polled {
            Poll::Pending => assert!(new.0.load(Relaxed) == 1 && old.0.load(Relaxed) == 0, "the stale waker fired"),
            Poll::Ready(event) => assert!(event.expect("no shutdown").ready == Ready::READABLE),
        }
    });
}

/// Two tasks tried in vain what is still there, and wait for something else, which comes for one direction at a time.
#[test]
fn loom_who_tried_in_vain_hears_of_the_next_event() {
    loom::model(|| {
        let (_, io) = registered();
        assert!(io.deliver(FIRST, Ready::READ_CLOSED));
        let Polled::Ready(vain) = io.look(FIRST, Interest::READABLE) else { panic!("delivered") };
        let drivers = [Ready::WRITABLE, Ready::READABLE].map(|ready| spawn(move || assert!(io.deliver(FIRST, ready))));
        let ask = move |task: &Keyed| {
            let waker = waker_ref(&task.wakes);
            let waiting = Waiting { key: task.key, waker: &waker, dead: |_| false, in_vain: Some(vain) };
            io.poll(FIRST, Interest::READABLE, &waiting)
        };
        let other = spawn(move || {
            let task = Keyed::new(2);
            let seen = ask(&task);
            (task, seen)
        });
        let task = Keyed::new(1);
        let seen = ask(&task);
        drivers.into_iter().for_each(|driver| driver.join().expect("no panic"));
        let (other, others) = other.join().expect("no panic");
        assert!(task.served(seen) && other.served(others), "a waiter sleeps on what is new");
    });
}

/// One task asks twice in a poll, for two parts of it. The part that was told to wait is woken, whatever the other saw.
#[test]
fn loom_a_second_question_of_a_task_does_not_cancel_its_first() {
    loom::model(|| {
        let (_, io) = registered();
        let driver = spawn(move || assert!(io.deliver(FIRST, Ready::READABLE)));
        let task = Keyed::new(1);
        let first = task.poll(io, FIRST, Interest::READABLE);
        let _second = task.poll(io, FIRST, Interest::READABLE);
        driver.join().expect("no panic");
        assert!(task.served(first), "the first part sleeps on what is ready");
    });
}

/// A waiter asks once more, and leaves no other waker, as events come and another task takes the first of them away.
#[test]
fn loom_who_asks_again_keeps_its_place() {
    loom::model(|| {
        let (_, io) = registered();
        let waiter = Keyed::new(1);
        assert_eq!(waiter.poll(io, FIRST, Interest::READABLE), Polled::Pending);
        let driver = spawn(move || {
            assert!(io.deliver(FIRST, Ready::READABLE));
            assert!(io.deliver(FIRST, Ready::READABLE));
        });
        let other = spawn(move || {
            if let Polled::Ready(seen) = io.look(FIRST, Interest::READABLE) {
                assert!(io.clear(FIRST, seen));
            }
        });
        let wakes = waiter.wakes();
        let seen = waiter.poll(io, FIRST, Interest::READABLE);
        driver.join().expect("no panic");
        other.join().expect("no panic");
        let ready = io.look(FIRST, Interest::READABLE) != Polled::Pending;
        assert!(seen != Polled::Pending || !ready || waiter.wakes() > wakes, "it sleeps on what is ready");
    });
}

/// An event wakes all who waited for it, also those whom the driver comes to after another task has cleared it.
#[test]
fn loom_a_clear_takes_nobodys_wake() {
    loom::model(|| {
        let (_, io) = registered();
        let (slot, list) = (Keyed::new(1), Keyed::new(2));
        for waiter in [&slot, &list] {
            assert_eq!(waiter.poll(io, FIRST, Interest::READABLE), Polled::Pending);
        }
        let driver = spawn(move || assert!(io.deliver(FIRST, Ready::READABLE)));
        // A question, not a look: loom forgets a load of a word that a load by another thread follows.
        if let Polled::Ready(seen) = slot.poll(io, FIRST, Interest::READABLE) {
            assert!(io.clear(FIRST, seen));
        }
        driver.join().expect("no panic");
        assert_eq!(list.wakes(), 1, "a waiter sleeps through an event");
    });
}
