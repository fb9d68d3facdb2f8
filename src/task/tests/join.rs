//! Who hears of a task's end.

use super::super::{JoinHandle, Stale};
use super::*;
use std::future::{pending, ready};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::ptr;
use std::task::{RawWaker, RawWakerVTable};

#[test]
fn of_two_joiners_one_gets_the_result() {
    let (queue, first, second) = (Arc::<Queue>::default(), Count::new(), Count::new());
    let name = queue.spawn(ready("result"));
    assert!(matches!(name.poll_join::<&str>(1, &waker(first.clone())), Some(Poll::Pending)));
    assert!(matches!(name.poll_join::<&str>(2, &waker(second.clone())), Some(Poll::Pending)));
    queue.run();
    assert_eq!((first.get(), second.get()), (1, 1), "both are woken");
    assert_eq!(joined::<&str>(name).ok(), Some("result"));
    assert!(join::<&str>(name).is_none() && !name.detach());
    assert_eq!(queue.live(), 0);
    assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 1));
}

#[test]
fn a_joiner_that_polls_again_replaces_its_own_waker() {
    let (queue, old, new, other) = (Arc::<Queue>::default(), Count::new(), Count::new(), Count::new());
    let name = queue.spawn(ready(()));
    for (key, waits) in [(1, &other), (2, &old), (2, &new), (3, &old)] {
        assert!(matches!(name.poll_join::<()>(key, &waker(waits.clone())), Some(Poll::Pending)));
    }
    name.forget_joiner(3);
    name.forget_joiner(4);
    assert_eq!(Arc::strong_count(&old), 1, "replaced by one, forgotten by the other");
    queue.run();
    assert_eq!((old.get(), new.get(), other.get()), (0, 1, 1));
    assert!(joined::<()>(name).is_ok());
}

#[test]
fn a_join_that_expects_another_type_gets_nothing() {
    let queue = Arc::<Queue>::default();
    let name = queue.spawn(ready(1u64));
    assert!(join::<i64>(name).is_none(), "while it runs");
    queue.run();
    assert!(join::<i64>(name).is_none() && join::<()>(name).is_none());
    assert_eq!(joined::<u64>(name).ok(), Some(1), "the result is still there");
    assert_eq!(queue.live(), 0);
}

#[test]
fn a_joiner_whose_waker_panics_leaves_nothing_behind() {
    static TABLE: RawWakerVTable = RawWakerVTable::new(
        |data| match data.is_null() {
            true => resume_unwind(Box::new("planted")),
            false => RawWaker::new(data, &TABLE),
        },
        |_| {},
        |_| {},
        |_| planted(),
    );
    let waker_with = |data| {
        // SAFETY: the table's functions do not touch what `data` points to.
        ManuallyDrop::new(unsafe { Waker::from_raw(RawWaker::new(data, &TABLE)) })
    };
    let (no_clone, no_drop) = (waker_with(ptr::null()), waker_with(ptr::dangling()));
    let queue = Arc::<Queue>::default();
    let name = queue.spawn(ready(1u8));
    let poll = |waker: &Waker| catch_unwind(AssertUnwindSafe(|| name.poll_join::<u8>(1, waker)));
    assert!(poll(&no_clone).is_err());
    assert!(matches!(poll(&no_drop), Ok(Some(Poll::Pending))));
    assert!(poll(Waker::noop()).is_err(), "the waker that is replaced panics");
    assert_eq!(queue.run(), 1);
    assert_eq!(joined::<u8>(name).ok(), Some(1));
    assert_eq!(queue.live(), 0);
}

#[test]
fn a_join_that_is_somebodys_alone() {
    let queue = Arc::<Queue>::default();
    let anybody = queue.spawn(ready(1u8));
    let owner = anybody.exclusively();
    queue.run();
    assert!(join::<u8>(anybody).is_none() && !anybody.detach());
    assert_eq!(joined::<u8>(owner).ok(), Some(1));
    assert_eq!(queue.live(), 0);
}

#[test]
fn a_join_handle_is_a_future_and_detaches() {
    let (queue, woken) = (Arc::<Queue>::default(), Count::new());
    let waker = waker(woken.clone());
    let mut context = Context::from_waker(&waker);
    let name = queue.spawn(pending::<u8>());
    let mut handle = pin!(JoinHandle::<u8>::new(name));
    assert!(handle.as_mut().poll(&mut context).is_pending());
    handle.wake();
    assert_eq!(queue.run(), 1);
    handle.abort();
    assert_eq!((queue.run(), woken.get()), (1, 1));
    assert!(matches!(handle.as_mut().poll(&mut context), Poll::Ready(Err(JoinError::Cancelled))));

    let outputs = Count::new();
    let output = outputs.dropped();
    drop(JoinHandle::<()>::new(queue.spawn(async move { drop(output) })));
    assert_eq!((queue.run(), outputs.get()), (1, 1), "it goes on without its handle");
    assert_eq!(queue.live(), 0);
}

#[test]
fn a_detached_task_sends_joiners_away_and_goes_on() {
    let (queue, woken, drops) = (Arc::<Queue>::default(), Count::new(), Count::new());
    let name = queue.spawn(task(drops.dropped(), |_| Poll::<u8>::Pending));
    assert!(matches!(name.poll_join::<u8>(1, &waker(woken.clone())), Some(Poll::Pending)));
    assert!(name.detach());
    assert!(!name.detach() && join::<u8>(name).is_none());
    assert_eq!((woken.get(), queue.run(), drops.get()), (1, 1, 0));
    assert_eq!(name.wake(), Ok(()), "a name is good until the end");
    assert_eq!(queue.run(), 1);
    assert_eq!(name.abort(), Ok(()));
    assert_eq!((queue.run(), drops.get(), queue.live()), (1, 1, 0));
    assert_eq!((name.wake(), name.abort()), (Err(Stale), Err(Stale)));
}

/// A waker whose wakes panic.
struct Rude;

impl Wake for Rude {
    fn wake_by_ref(_this: &Arc<Self>) {
        planted();
    }
}

#[test]
fn a_joiner_that_panics_when_woken_harms_nobody() {
    for detached in [false, true] {
        let (queue, polite) = (Arc::<Queue>::default(), Count::new());
        let name = queue.spawn(task((), move |_| if detached { Poll::Pending } else { Poll::Ready(1u8) }));
        for key in 0..40 {
            let waker = if key % 4 == 0 { waker(Arc::new(Rude)) } else { waker(polite.clone()) };
            assert!(matches!(name.poll_join::<u8>(key, &waker), Some(Poll::Pending)));
        }
        if detached {
            assert!(name.detach());
            assert_eq!(name.abort(), Ok(()));
        }
        assert_eq!(queue.run(), 1);
        assert_eq!(polite.get(), 30);
        assert_eq!(join::<u8>(name).is_some(), !detached);
        assert_eq!((queue.live(), Arc::strong_count(&polite)), (0, 1));
    }
}

#[test]
fn joiners_that_ended_do_not_pile_up() {
    let (queue, woken) = (Arc::<Queue>::default(), Count::new());
    let name = queue.spawn(pending::<u8>());
    assert!(matches!(name.poll_join::<u8>(1, &waker(woken.clone())), Some(Poll::Pending)));
    for _ in 0..1000 {
        let joiner = queue.spawn(poll_fn(move |context| {
            let waker = context.waker();
            assert!(matches!(name.poll_join::<u8>(waker.data().addr(), waker), Some(Poll::Pending)));
            Poll::Ready(())
        }));
        queue.run();
        assert!(joined::<()>(joiner).is_ok());
        assert!(queue.live() < 16, "their wakers hold their cells");
    }
    assert_eq!(name.abort(), Ok(()));
    queue.run();
    assert_eq!((woken.get(), joined::<u8>(name).is_err(), queue.live()), (1, true, 0));
}
