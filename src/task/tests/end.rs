//! How a task ends: by an abort, by a panic, or not at all.

use super::super::{Stale, header_of};
use super::*;
use std::any::Any;
use std::future::ready;

// Aborts, at each moment.

/// Runs a task whose polls are `poll`, with `meddle` after the first run, and returns how many polls it had. Its state is
/// dropped once.
fn aborted(poll: fn(TaskName, &mut Context<'_>) -> Poll<u8>, meddle: fn(&Queue, TaskName)) -> (usize, Option<u8>) {
    let (queue, polls, drops) = (Arc::<Queue>::default(), Count::new(), Count::new());
    let name = queue.spawn(task(drops.dropped(), {
        let polls = polls.clone();
        move |context| {
            polls.add();
            poll(header_of(context.waker()).map(TaskName::of).expect("a task's"), context)
        }
    }));
    meddle(&queue, name);
    queue.run();
    assert_eq!((drops.get(), queue.ended.load(Relaxed)), (1, 1));
    let result = match joined::<u8>(name) {
        Ok(value) => Some(value),
        Err(JoinError::Cancelled) => None,
        Err(JoinError::Panicked(_)) => panic!("it does not panic"),
    };
    assert_eq!((drops.get(), queue.live()), (1, 0));
    assert_eq!(name.abort(), Err(Stale));
    (polls.get(), result)
}

#[test]
fn an_abort_ends_a_task_at_any_moment() {
    let before = aborted(|_, _| Poll::Ready(1), |_, name| name.abort().expect("alive"));
    assert_eq!(before, (0, None), "before its first poll");

    let from_the_queue = aborted(
        |_, _| Poll::Ready(1),
        |queue, _| {
            let task = queue.pop().expect("queued");
            task.cancel();
            assert!(matches!(task.run(), Ran::Done));
        },
    );
    assert_eq!(from_the_queue, (0, None), "by whoever runs it");

    let parked = aborted(
        |_, _| Poll::Pending,
        |queue, name| {
            queue.run();
            name.abort().expect("alive");
            name.abort().expect("alive");
            name.wake().expect("alive");
        },
    );
    assert_eq!(parked, (1, None), "while it waits, twice");

    let queued = aborted(
        |_, _| Poll::Pending,
        |queue, name| {
            queue.run();
            name.wake().expect("alive");
            name.abort().expect("alive");
        },
    );
    assert_eq!(queued, (1, None), "between a wake and its poll");

    let polled = aborted(
        |name, context| {
            context.waker().wake_by_ref();
            name.abort().expect("alive");
            context.waker().wake_by_ref();
            Poll::Pending
        },
        |_, _| {},
    );
    assert_eq!(polled, (1, None), "during its poll");

    let returned = aborted(
        |name, _| {
            name.abort().expect("alive");
            Poll::Ready(2)
        },
        |_, _| {},
    );
    assert_eq!(returned, (1, Some(2)), "during the poll that returns");

    let ended = aborted(
        |_, _| Poll::Ready(3),
        |queue, name| {
            queue.run();
            name.abort().expect("not joined yet");
            name.wake().expect("not joined yet");
        },
    );
    assert_eq!(ended, (1, Some(3)), "after its end");
}

#[test]
fn a_destructor_may_wake_and_abort_its_own_task() {
    for cancelled in [false, true] {
        let (queue, drops) = (Arc::<Queue>::default(), Count::new());
        let own = Arc::new(Mutex::new(None::<(TaskName, Waker)>));
        let state = OnDrop({
            let (own, drops) = (own.clone(), drops.clone());
            move || {
                drops.add();
                let (name, waker) = own.lock().take().expect("dropped once");
                assert!(name.abort().is_ok() && name.wake().is_ok());
                waker.wake();
            }
        });
        let name = queue.spawn(task(state, |_| Poll::Ready(())));
        *own.lock() = Some((name, waker_of(name)));
        if cancelled {
            assert_eq!(name.abort(), Ok(()));
        }
        assert_eq!((queue.run(), drops.get()), (1, 1));
        assert_eq!(joined::<()>(name).is_err(), cancelled);
        assert_eq!(queue.live(), 0);
    }
}

// Panics.

fn is_planted(panic: &(dyn Any + Send)) -> bool {
    panic.downcast_ref() == Some(&"planted")
}

fn panic_of<T: 'static>(name: TaskName) -> Box<dyn Any + Send> {
    match joined::<T>(name) {
        Err(JoinError::Panicked(panic)) => panic,
        _ => panic!("no panic"),
    }
}

#[test]
fn a_panic_in_a_poll_ends_the_task() {
    let (queue, drops) = (Arc::<Queue>::default(), Count::new());
    let name = queue.spawn(task(drops.dropped(), |_| {
        planted();
        Poll::<u8>::Pending
    }));
    queue.run();
    assert_eq!(drops.get(), 1);
    assert!(is_planted(&*panic_of::<u8>(name)));
    assert_eq!(queue.live(), 0);
}

#[test]
fn a_panic_in_a_states_destructor_is_the_result() {
    for large in [false, true] {
        for (aborts, polls) in [(false, 1), (true, 0)] {
            let (queue, outputs) = (Arc::<Queue>::default(), Count::new());
            let (output, size) = (outputs.clone(), [0u64; 8]);
            let poll = move |_: &mut Context<'_>| Poll::Ready(output.dropped());
            let name = match large {
                false => queue.spawn(task(OnDrop(planted), poll)),
                true => queue.spawn(task((OnDrop(planted), size), poll)),
            };
            if aborts {
                assert_eq!(name.abort(), Ok(()));
            }
            queue.run();
            assert_eq!(outputs.get(), polls, "an output that nobody gets is dropped");
            assert_eq!(queue.live(), 1);
            assert!(name.detach());
            assert_eq!((outputs.get(), queue.live()), (polls, 0));
        }
    }
}

#[test]
fn a_panic_in_a_poll_and_in_the_states_destructor() {
    let queue = Arc::<Queue>::default();
    let name = queue.spawn(task(OnDrop(planted), |_| -> Poll<u8> { resume_unwind(Box::new("the poll's")) }));
    queue.run();
    assert!(is_planted(&*panic_of::<u8>(name)));
    assert_eq!(queue.live(), 0);
}

#[test]
fn a_panic_in_the_destructor_of_an_output_that_nobody_wants() {
    for early in [false, true] {
        let queue = Arc::<Queue>::default();
        let name = queue.spawn(ready((OnDrop(planted), [0u64; 8])));
        if early {
            assert!(name.detach());
        }
        assert_eq!(queue.run(), 1);
        assert_eq!(name.detach(), !early);
        assert_eq!(queue.live(), 0);
    }
}

#[test]
fn a_panic_in_the_destructors_of_state_and_output() {
    let queue = Arc::<Queue>::default();
    let name = queue.spawn(task(OnDrop(planted), |_| Poll::Ready(OnDrop(|| resume_unwind(Box::new("the output's"))))));
    assert_eq!(queue.run(), 1);
    assert!(name.detach());
    assert_eq!(queue.live(), 0);
}

// Tasks that a shutdown gives up.

#[test]
fn a_task_that_is_given_up_is_never_dropped() {
    /// When the task is given up.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum When {
        Queued,
        Parked,
        Polled,
        Returning,
    }
    for when in [When::Queued, When::Parked, When::Polled, When::Returning] {
        let (queue, drops, woken) = (Arc::<Queue>::default(), Count::new(), Count::new());
        let polls = Count::new();
        let polled = polls.clone();
        let name = queue.spawn(task(drops.dropped(), move |context| {
            let own = header_of(context.waker()).map(TaskName::of).expect("a task's");
            polled.add();
            assert!(own.is_running() && (when == When::Parked || own.abandon()));
            if when == When::Returning { Poll::Ready(0u8) } else { Poll::Pending }
        }));
        assert!(matches!(name.poll_join::<u8>(1, &waker(woken.clone())), Some(Poll::Pending)));
        if when != When::Queued {
            queue.run();
        }
        assert_eq!(name.abandon(), matches!(when, When::Queued | When::Parked), "{when:?}: once");
        assert_eq!(woken.get(), 1, "{when:?}: joiners are told");
        assert!(name.is_abandoned() && !name.is_running());
        assert_eq!((name.wake(), name.abort()), (Ok(()), Ok(())));
        assert_eq!(queue.run(), usize::from(when == When::Queued));
        assert!(matches!(joined::<u8>(name), Err(JoinError::Cancelled)));
        assert_eq!((name.wake(), name.abort()), (Err(Stale), Err(Stale)));
        assert_eq!((drops.get(), queue.ended.load(Relaxed)), (0, 0));
        assert_eq!(polls.get(), usize::from(when != When::Queued), "{when:?}: not polled afterwards");
        assert_eq!(queue.live(), 1, "what was given up stays for ever");
    }
}

#[test]
fn a_task_that_ended_is_not_given_up() {
    let (queue, drops) = (Arc::<Queue>::default(), Count::new());
    let name = queue.spawn(task(drops.dropped(), |_| Poll::Ready(1u8)));
    queue.run();
    assert!(!name.abandon() && !name.is_abandoned());
    assert_eq!(joined::<u8>(name).ok(), Some(1));
    assert_eq!((drops.get(), queue.live()), (1, 0));
}
