//! A task ends once, its joiners hear of it, and its cell is freed once.

use super::super::{JoinError, live_tasks};
use super::*;
use crate::primitives::sync::AtomicBool;
use crate::primitives::{Wake, waker};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Counts its drop.
pub(super) struct Dropped(Tally);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.add();
    }
}

/// The tallies of a `Victim`.
#[derive(Clone)]
pub(super) struct Traces {
    pub(super) polls: Tally,
    pub(super) state: Tally,
    pub(super) output: Tally,
}

/// A task's state: ready at the first poll, or never.
pub(super) struct Victim {
    ready: bool,
    traces: Traces,
    _state: Dropped,
}

impl Victim {
    pub(super) fn new(ready: bool) -> (Self, Traces) {
        let traces = Traces { polls: Tally::new(), state: Tally::new(), output: Tally::new() };
        (Self { ready, traces: traces.clone(), _state: Dropped(traces.state.clone()) }, traces)
    }
}

impl Future for Victim {
    type Output = Dropped;

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Dropped> {
        self.traces.polls.add();
        if self.ready { Poll::Ready(Dropped(self.traces.output.clone())) } else { Poll::Pending }
    }
}

/// Wakes a thread.
struct Sleeper(Thread);

impl Wake for Sleeper {
    fn wake_by_ref(this: &Shared<Self>) {
        this.0.unpark();
    }
}

/// Sleeps until the task ended. `None`: somebody else took the result, or gave it up.
pub(super) fn join(name: TaskName) -> Option<Result<Dropped, JoinError>> {
    let waker = waker(Shared::new(Sleeper(thread::current())));
    loop {
        match name.poll_join(waker.data().addr(), &waker)? {
            Poll::Ready(result) => return Some(result),
            Poll::Pending => thread::park(),
        }
    }
}

/// An abort races the polls of a task that never ends by itself; whoever joins sees its state dropped.
#[test]
fn loom_an_abort_ends_a_parked_task() {
    loom::model(|| {
        let pool = Pool::new();
        let (victim, traces) = Victim::new(false);
        let name = launch(&pool, victim, true);
        let aborter = thread::spawn({
            let pool = pool.clone();
            move || {
                name.abort().expect("nobody joined yet");
                pool.run();
            }
        });
        let joiner = thread::spawn({
            let state = traces.state.clone();
            move || {
                assert!(matches!(join(name), Some(Err(JoinError::Cancelled))));
                assert_eq!(state.get(), 1, "dropped once, before the join");
            }
        });
        pool.run();
        all([aborter, joiner]);
        assert_eq!((traces.state.get(), traces.output.get()), (1, 0));
        assert_freed_once(&[]);
    });
}

/// An abort races a poll that returns: the result of a poll wins, and without a poll there is none.
#[test]
fn loom_a_return_beats_an_abort() {
    loom::model(|| {
        let pool = Pool::new();
        let (victim, traces) = Victim::new(true);
        let name = launch(&pool, victim, true);
        let aborter = thread::spawn(move || {
            // Stale where the result was taken already.
            let _ = name.abort();
        });
        let joiner = thread::spawn({
            let traces = traces.clone();
            move || {
                let result = join(name).expect("nobody else joins");
                assert_eq!(traces.state.get(), 1, "dropped once, before the join");
                assert_eq!(result.is_ok(), traces.polls.get() == 1);
            }
        });
        pool.run();
        all([aborter, joiner]);
        assert_eq!(traces.state.get(), 1);
        assert_eq!(traces.output.get(), traces.polls.get());
        assert_freed_once(&[]);
    });
}

/// Whoever comes last of the runner, the one who gives up the join and the last waker frees the cell; whoever comes
/// later of the first two drops the output.
#[test]
fn loom_the_last_of_runner_detach_and_waker_frees() {
    loom::model(|| {
        let pool = Pool::new();
        let (victim, traces) = Victim::new(true);
        let name = launch(&pool, victim, true);
        let waker = waker_of(name);
        let detacher = thread::spawn(move || assert!(name.detach()));
        let waking = thread::spawn(move || waker.wake());
        pool.run();
        all([detacher, waking]);
        assert_eq!((traces.state.get(), traces.output.get()), (1, 1));
        assert_freed_once(&[]);
    });
}

/// Of two joiners, one of whom waits already, one gets the result and the other is told.
#[test]
fn loom_two_joiners_share_one_result() {
    loom::model(|| {
        let pool = Pool::new();
        let (victim, traces) = Victim::new(true);
        let name = launch(&pool, victim, true);
        let waker = waker(Shared::new(Sleeper(thread::current())));
        assert!(matches!(name.poll_join::<Dropped>(0, &waker), Some(Poll::Pending)));
        let joiner = thread::spawn(move || join(name));
        pool.run();
        // The wake of the first.
        thread::park();
        let first = name.poll_join::<Dropped>(0, &waker);
        let [second] = all([joiner]);
        match (first, second) {
            (Some(Poll::Ready(Ok(_result))), None) | (None, Some(Ok(_result))) => assert_eq!(traces.output.get(), 0),
            _ => panic!("not one winner"),
        }
        assert_eq!((traces.state.get(), traces.output.get()), (1, 1));
        assert_freed_once(&[]);
    });
}

/// Giving up the join of a task that goes on wakes whoever waits for it.
#[test]
fn loom_a_detach_sends_joiners_away() {
    loom::model(|| {
        let pool = Pool::new();
        let (victim, traces) = Victim::new(false);
        let name = launch(&pool, victim, true);
        let joiner = thread::spawn(move || assert!(join(name).is_none()));
        let detacher = thread::spawn(move || assert!(name.detach()));
        pool.run();
        all([joiner, detacher]);
        assert_eq!(traces.state.get(), 0);
        name.abort().expect("it goes on");
        pool.run();
        assert_eq!(traces.state.get(), 1);
        assert_freed_once(&[]);
    });
}

/// A cell that is used again while others still hold the name of its last task, or guess that of its next: they reach
/// neither the task nor its result.
#[test]
fn loom_a_stale_name_does_not_reach_the_next_task() {
    loom::model(|| {
        let pool = Pool::new();
        let name = launch(&pool, Victim::new(true).0, false);
        let guess = TaskName::parse(name.raw() + (1 << 32)).expect("of this cell");
        let stranger = thread::spawn(move || {
            let _ = name.abort();
            assert!(!name.detach());
            assert!(guess.poll_join::<u8>(0, Waker::noop()).is_none(), "not of this type");
        });
        pool.run();
        let (victim, traces) = Victim::new(true);
        let next = launch(&pool, victim, true);
        assert_ne!(next, name);
        pool.run();
        assert!(matches!(join(next), Some(Ok(_))), "aborted by a stranger");
        assert_eq!(traces.state.get(), 1);
        all([stranger]);
        assert_freed_once(&[]);
    });
}

/// Who joins holds no reference: a cell that is used again meanwhile has nothing of it.
#[test]
fn loom_a_joiner_leaves_nothing_to_the_next_task() {
    loom::model(|| {
        let pool = Pool::new();
        let name = launch(&pool, Victim::new(true).0, true);
        let joiner = thread::spawn(move || {
            let waker = waker(Shared::new(Sleeper(thread::current())));
            match name.poll_join::<Dropped>(1, &waker) {
                Some(Poll::Ready(result)) => assert!(result.is_ok()),
                Some(Poll::Pending) => thread::park(),
                None => {}
            }
        });
        let _ = name.detach();
        pool.run();
        let next = launch(&pool, Victim::new(true).0, true);
        pool.run();
        assert!(matches!(join(next), Some(Ok(_))));
        all([joiner]);
        assert_freed_once(&[]);
    });
}

/// The same when the cell has lived its last life: it is not used again.
#[test]
fn loom_a_retired_cell_is_not_used_again() {
    loom::model(|| {
        let (index, cell) = CELLS.alloc().expect("memory");
        cell.state.age_to(u32::MAX - 1);
        CELLS.free(index);
        let pool = Pool::new();
        let name = launch(&pool, Victim::new(true).0, true);
        let waker = waker_of(name);
        let detacher = thread::spawn(move || {
            assert!(name.detach());
            let _ = name.wake();
        });
        let waking = thread::spawn(move || waker.wake());
        pool.run();
        let next = launch(&pool, Victim::new(true).0, false);
        assert_ne!(next, name);
        pool.run();
        all([detacher, waking]);
        assert!(!name.detach() && name.wake().is_err());
        assert_freed_once(&[index]);
    });
}

/// A scan for a scheduler's tasks holds each of them only while it looks, whatever they become meanwhile.
#[test]
fn loom_a_scan_meets_tasks_that_end_and_begin() {
    loom::model(|| {
        let (pool, other) = (Pool::new(), Pool::new());
        launch(&pool, Victim::new(true).0, false);
        let scan = thread::spawn({
            let identity = Arc::as_ptr(&pool).addr();
            move || live_tasks(ptr::without_provenance(identity)).for_each(|task| drop(task.abort()))
        });
        pool.run();
        let next = launch(&other, Victim::new(true).0, true);
        other.run();
        assert!(matches!(join(next), Some(Ok(_))), "the scan reached another scheduler's task");
        all([scan]);
        assert_freed_once(&[]);
    });
}

/// A shutdown gives a task up while it ends: its state is dropped once or, if it was given up first, never. A joiner
/// hears of either.
#[test]
fn loom_an_abandoned_task_is_dropped_once_or_never() {
    loom::model(|| {
        let pool = Pool::new();
        let (victim, traces) = Victim::new(true);
        let name = launch(&pool, victim, true);
        let joiner = thread::spawn(move || join(name).expect("nobody else joins").is_ok());
        let shutdown = thread::spawn(move || name.abandon());
        pool.run();
        let ([joined], [abandoned]) = (all([joiner]), all([shutdown]));
        match traces.state.get() {
            0 => assert!(abandoned && !joined),
            1 => assert!(abandoned || joined),
            _ => panic!("dropped twice"),
        }
        assert_eq!(abandoned, bury(0), "what was given up has its cell for itself");
        assert_freed_once(&[]);
    });
}

/// Notes that it was called, once, and wakes a thread.
struct Watcher {
    called: AtomicBool,
    thread: Thread,
}

impl Wake for Watcher {
    fn wake_by_ref(this: &Shared<Self>) {
        assert!(!this.called.swap(true, AcqRel), "called twice");
        this.thread.unpark();
    }
}

/// Watches a task, beside a thread that runs `other`, until the watcher was called. False: it is stale already.
fn watch_beside(name: TaskName, other: impl FnOnce() + Send + 'static) -> bool {
    let watcher = Shared::new(Watcher { called: AtomicBool::new(false), thread: thread::current() });
    let other = thread::spawn(other);
    let watched = name.watch(|| waker(watcher.clone())).is_ok();
    while watched && !watcher.called.load(Acquire) {
        thread::park();
    }
    if watched {
        let polled = name.poll_join::<Dropped>(0, std::task::Waker::noop());
        assert!(!matches!(polled, Some(Poll::Pending)), "called too early");
    }
    other.join().expect("no panic");
    assert_eq!(Shared::strong_count(&watcher), 1, "the watcher was left behind");
    watched
}

/// A watcher that comes beside the end is called, once, when the join is not pending any more.
#[test]
fn loom_an_end_races_a_watch() {
    loom::model(|| {
        let pool = Pool::new();
        let (victim, traces) = Victim::new(true);
        let name = launch(&pool, victim, true);
        assert!(watch_beside(name, move || pool.run()));
        assert_eq!(traces.output.get(), 1);
        assert_freed_once(&[]);
    });
}

/// The same beside a detach: then it may come too late.
#[test]
fn loom_a_detach_races_a_watch() {
    loom::model(|| {
        let pool = Pool::new();
        let (victim, traces) = Victim::new(true);
        let name = launch(&pool, victim, true);
        watch_beside(name, move || assert!(name.detach()));
        pool.run();
        assert_eq!(traces.output.get(), 1);
        drop(pool);
        assert_freed_once(&[]);
    });
}
