//! Every moment of a task's life, on one thread.

use super::cell::CELLS;
use super::waker::waker_ref;
use super::{
    Header, JoinError, JoinHandle, Notified, Ran, Schedule, Stale, TaskName, header_of, is_dead, live_tasks, spawn,
};
use crate::primitives::sync::{Arc, AtomicBool, Mutex, Ordering::*};
use crate::primitives::{Wake, waker};
use std::any::Any;
use std::collections::{HashSet, VecDeque};
use std::future::{Future, pending, poll_fn, ready};
use std::mem::{ManuallyDrop, align_of, size_of};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::ptr;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

/// A queue. Every live cell holds a count on it.
#[derive(Default)]
struct Queue {
    tasks: Mutex<VecDeque<Notified>>,
    ended: AtomicUsize,
    local: AtomicBool,
}

impl Queue {
    fn pop(&self) -> Option<Notified> {
        self.tasks.lock().pop_front()
    }

    /// Runs until the queue is empty. Returns how many tasks it took from there.
    fn run(&self) -> usize {
        let mut runs = 0;
        while let Some(task) = self.pop() {
            runs += 1;
            if let Ran::Again(task) = task.run() {
                self.schedule(task);
            }
        }
        runs
    }

    fn live(self: &Arc<Self>) -> usize {
        Arc::strong_count(self) - 1
    }

    fn spawn<F>(self: &Arc<Self>, future: F) -> TaskName
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.spawn_if(future, true)
    }

    fn spawn_if<F>(self: &Arc<Self>, future: F, joinable: bool) -> TaskName
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let task = spawn(future, self, None, joinable).ok().expect("memory");
        let name = TaskName::of(task.header());
        self.schedule(task);
        name
    }
}

impl Schedule for Queue {
    fn schedule(&self, task: Notified) {
        let mut tasks = self.tasks.lock();
        assert!(tasks.iter().all(|queued| queued.header() != task.header()), "queued twice");
        tasks.push_back(task);
    }

    fn is_local(&self) -> bool {
        self.local.load(Relaxed)
    }

    fn ended(&self, _task: &Header) {
        self.ended.fetch_add(1, Relaxed);
    }
}

/// Counts whatever it is told to count; as a waker, its wakes.
#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Something that counts its drop.
    fn dropped(self: &Arc<Self>) -> OnDrop<impl FnMut() + Send + use<>> {
        let count = self.clone();
        OnDrop(move || count.add())
    }
}

impl Wake for Count {
    fn wake_by_ref(this: &Arc<Self>) {
        this.add();
    }
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A panic that prints nothing.
fn planted() {
    resume_unwind(Box::new("planted"));
}

fn is_planted(panic: &(dyn Any + Send)) -> bool {
    panic.downcast_ref() == Some(&"planted")
}

/// A future that owns `state`.
fn task<S, T>(state: S, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T> + Send) -> impl Future<Output = T> + Send
where
    S: Send,
{
    poll_fn(move |context| {
        let _owned = &state;
        poll(context)
    })
}

/// The result of a task that ended.
fn join<T: 'static>(name: TaskName) -> Option<Result<T, JoinError>> {
    match name.poll_join(0, Waker::noop()) {
        Some(Poll::Ready(result)) => Some(result),
        Some(Poll::Pending) => panic!("it runs"),
        None => None,
    }
}

fn joined<T: 'static>(name: TaskName) -> Result<T, JoinError> {
    join(name).expect("nobody else joined")
}

fn waker_of(name: TaskName) -> Waker {
    name.with(|cell| waker_ref(cell).clone()).expect("alive")
}

// Where a task lies.

#[test]
fn a_cell_takes_two_cache_lines() {
    assert_eq!((size_of::<Header>(), align_of::<Header>()), (128, 128));
}

#[test]
fn a_zeroed_page_holds_free_cells() {
    // SAFETY: this is what is tested: `Entry` promises that all zeros are a free entry.
    let zeroed = unsafe { Box::<Header>::new_zeroed().assume_init() };
    let made = Header::default();
    for cell in [&*zeroed, &made] {
        assert_eq!((cell.state.refs(), cell.state.generation()), (0, 0));
        assert!(cell.scheduler().is_null() && !cell.is_pinned() && cell.label().is_none() && cell.home() == 0);
        assert!(cell.joiners.try_lock().is_some_and(|joiners| joiners.is_empty()));
        assert!(!cell.state.try_ref() && !cell.state.try_ref_named(0));
    }
}

/// Takes a value of any shape through two polls, and back out as the output.
fn round_trip<T: Clone + PartialEq + std::fmt::Debug + Send + 'static>(value: T) {
    let queue = Arc::<Queue>::default();
    let (expected, mut place) = (value.clone(), None);
    let name = queue.spawn(poll_fn(move |context| {
        let here = ptr::from_ref(&value).addr();
        assert_eq!(here % align_of::<T>(), 0);
        match place.replace(here) {
            None => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Some(before) => {
                assert_eq!(here, before, "moved between two polls");
                Poll::Ready(value.clone())
            }
        }
    }));
    queue.run();
    assert_eq!(joined::<T>(name).expect("a value"), expected);
    assert_eq!(queue.live(), 0);
}

#[test]
fn futures_and_outputs_of_any_shape_fit() {
    #[derive(Clone, Debug, PartialEq)]
    #[repr(align(64))]
    struct Aligned(u8);
    round_trip(());
    round_trip(7u8);
    round_trip([1u64; 2]);
    round_trip([2u64; 3]);
    round_trip([3u64; 4]);
    round_trip([4u64; 100]);
    round_trip(5u128);
    round_trip(Aligned(6));
    round_trip("text".to_owned());
}

#[test]
fn a_million_tasks_share_a_few_cells() {
    let queue = Arc::<Queue>::default();
    let mut seen = HashSet::new();
    for number in 0..1_000_000u64 {
        let name = queue.spawn(ready(number));
        seen.insert(name.raw() as u32);
        assert_eq!(queue.run(), 1);
        assert_eq!(joined::<u64>(name).expect("a value"), number);
    }
    // Tests beside this one take and free cells too.
    assert!(seen.len() < 10_000, "{} cells were used", seen.len());
    assert_eq!(queue.live(), 0);
    assert_eq!(queue.ended.load(Relaxed), 1_000_000);
}

/// A task whose cell had this many lives, this one included.
fn spawn_aged(queue: &Arc<Queue>, generation: u32) -> TaskName {
    loop {
        let (index, cell) = CELLS.alloc().expect("memory");
        cell.state.age_to(generation - 1);
        CELLS.free(index);
        let name = queue.spawn(ready(()));
        queue.run();
        // A test beside this one may have taken the aged cell.
        if name.raw() >> 32 == generation.into() {
            return name;
        }
        name.detach();
    }
}

#[test]
fn a_cell_is_retired_after_its_last_life() {
    let queue = Arc::<Queue>::default();
    let last = spawn_aged(&queue, u32::MAX);
    let index = last.raw() as u32;
    assert_eq!(last.wake(), Ok(()), "still joinable");
    assert!(last.detach());
    assert_eq!(last.wake(), Err(Stale));
    assert_eq!(queue.live(), 0, "a retired cell lets its scheduler go");
    let next: Vec<_> = (0..100).map(|_| queue.spawn(ready(()))).collect();
    assert!(next.iter().all(|name| name.raw() as u32 != index), "used again");
    queue.run();
    next.iter().for_each(|name| assert!(name.detach()));
    assert_eq!(last.wake(), Err(Stale));
}

// Wakes.

#[test]
fn a_wake_during_the_poll_brings_one_more() {
    let (queue, polls) = (Arc::<Queue>::default(), Count::new());
    let name = queue.spawn(task((), {
        let polls = polls.clone();
        move |context| {
            polls.add();
            if polls.get() == 1 {
                context.waker().wake_by_ref();
                context.waker().clone().wake();
            }
            Poll::<()>::Pending
        }
    }));
    let Some(Ran::Again(again)) = queue.pop().map(Notified::run) else { panic!("the wake was lost") };
    assert_eq!(name.wake(), Ok(()), "queued already, by us");
    assert!(queue.pop().is_none());
    assert!(matches!(again.run(), Ran::Done));
    assert_eq!(polls.get(), 2);
    assert_eq!(name.wake(), Ok(()));
    assert_eq!(queue.run(), 1);
    assert_eq!(polls.get(), 3);
    assert_eq!(name.abort(), Ok(()));
    assert_eq!(queue.run(), 1);
}

#[test]
fn wakers_of_a_task_are_alike_and_hold_it() {
    let queue = Arc::<Queue>::default();
    let (name, other) = (queue.spawn(pending::<()>()), queue.spawn(pending::<()>()));
    let (waker, twin, stranger) = (waker_of(name), waker_of(name), waker_of(other));
    assert!(waker.will_wake(&twin) && waker.will_wake(&waker.clone()) && !waker.will_wake(&stranger));
    assert!(header_of(&waker).is_some_and(|cell| TaskName::of(cell) == name));
    assert!(header_of(Waker::noop()).is_none() && !is_dead(Waker::noop()));
    queue.run();
    assert!(!is_dead(&waker));
    for name in [name, other] {
        assert_eq!(name.abort(), Ok(()));
        assert!(name.detach());
    }
    assert_eq!(queue.run(), 2);
    assert_eq!(queue.live(), 2, "the wakers hold their cells");
    assert!(is_dead(&waker) && is_dead(&twin));
    waker.wake_by_ref();
    drop(stranger);
    assert_eq!(queue.live(), 1);
    waker.wake();
    drop(twin);
    assert_eq!((queue.live(), queue.run()), (0, 0));
}

#[test]
fn a_wake_gives_its_reference_up() {
    for local in [false, true] {
        let queue = Arc::<Queue>::default();
        queue.local.store(local, Relaxed);
        let name = queue.spawn(pending::<()>());
        let (parked, queued) = (waker_of(name), waker_of(name));
        queue.run();
        let refs = || name.with(|cell| cell.state.refs() - 1).expect("alive");
        assert_eq!(refs(), 4, "its life, its join and two wakers");
        parked.wake();
        assert_eq!(refs(), 4, "the waker's is the queue's");
        queued.wake();
        assert_eq!(refs(), 3);
        assert_eq!(queue.run(), 1);
        assert_eq!(refs(), 2);
        assert!(name.detach() && name.abort().is_ok());
        queue.run();
        assert_eq!(queue.live(), 0);
    }
}

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

// Joins.

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

// Names.

#[test]
fn a_handle_names_one_life_of_one_task() {
    let queue = Arc::<Queue>::default();
    let name = queue.spawn(ready(()));
    let raw = name.raw();
    assert_eq!(TaskName::parse(raw), Some(name));
    for forged in [0, raw as u32 as u64, raw + (1 << 32), raw.wrapping_sub(1 << 32), u64::MAX] {
        assert!(TaskName::parse(forged).is_none_or(|name| name.wake() == Err(Stale) && !name.detach()));
    }
    assert!(TaskName::parse(raw ^ (1 << 28)).is_none(), "another kind");
    queue.run();
    assert_eq!(name.wake(), Ok(()), "good until it is joined");
    assert!(joined::<()>(name).is_ok());
    assert_eq!((name.wake(), name.abort(), name.label()), (Err(Stale), Err(Stale), Err(Stale)));
    assert!(!name.detach() && !name.abandon() && join::<()>(name).is_none());
}

#[test]
fn a_label_lives_as_long_as_its_task() {
    let queue = Arc::<Queue>::default();
    for label in [None, Some(c"server"), None] {
        let name = queue.spawn(ready(()));
        if let Some(label) = label {
            name.set_label(label.to_owned());
        }
        assert_eq!(name.label(), Ok(label.map(ToOwned::to_owned)), "a cell's next task does not inherit it");
        queue.run();
        assert!(name.detach());
    }
}

#[test]
fn a_scan_finds_the_tasks_of_one_scheduler() {
    let (queue, other) = (Arc::<Queue>::default(), Arc::<Queue>::default());
    let mine = [queue.spawn(pending::<()>()), queue.spawn(pending::<()>()), queue.spawn(pending::<()>())];
    let strange = other.spawn(pending::<()>());
    let identity = Arc::as_ptr(&queue).cast();
    queue.run();
    let found: HashSet<_> = live_tasks(identity).map(TaskName::raw).collect();
    assert_eq!(found, mine.map(TaskName::raw).into());
    live_tasks(identity).for_each(|name| assert!(name.abort().is_ok() && name.detach()));
    assert_eq!((queue.run(), queue.live(), live_tasks(identity).count()), (3, 0, 0));
    assert!(strange.detach() && strange.abort().is_ok());
    assert_eq!((other.run(), other.live()), (1, 0));
}

#[test]
fn a_pinned_task_knows_its_home() {
    let queue = Arc::<Queue>::default();
    let (pinned, free) = (spawn(ready(()), &queue, Some(5), false), spawn(ready(()), &queue, None, false));
    let [pinned, free] = [pinned, free].map(|task| task.ok().expect("memory"));
    assert!(pinned.header().is_pinned() && pinned.header().home() == 5);
    assert!(!free.header().is_pinned() && ptr::eq(free.header().scheduler(), Arc::as_ptr(&queue).cast()));
    assert!(matches!((pinned.run(), free.run()), (Ran::Done, Ran::Done)));
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
        let name = queue.spawn(task(drops.dropped(), move |context| {
            let own = header_of(context.waker()).map(TaskName::of).expect("a task's");
            assert_ne!(when, When::Queued, "polled after it was given up");
            assert!(when == When::Parked || own.abandon());
            if when == When::Returning { Poll::Ready(0u8) } else { Poll::Pending }
        }));
        assert!(matches!(name.poll_join::<u8>(1, &waker(woken.clone())), Some(Poll::Pending)));
        if when != When::Queued {
            queue.run();
        }
        assert_eq!(name.abandon(), matches!(when, When::Queued | When::Parked), "{when:?}: once");
        assert_eq!(woken.get(), 1, "{when:?}: joiners are told");
        assert_eq!((name.wake(), name.abort()), (Ok(()), Ok(())));
        assert_eq!(queue.run(), usize::from(when == When::Queued));
        assert!(matches!(joined::<u8>(name), Err(JoinError::Cancelled)));
        assert_eq!((name.wake(), name.abort()), (Err(Stale), Err(Stale)));
        assert_eq!((drops.get(), queue.ended.load(Relaxed)), (0, 0));
        assert_eq!(queue.live(), 1, "what was given up stays for ever");
    }
}

#[test]
fn a_task_that_ended_is_not_given_up() {
    let (queue, drops) = (Arc::<Queue>::default(), Count::new());
    let name = queue.spawn(task(drops.dropped(), |_| Poll::Ready(1u8)));
    queue.run();
    assert!(!name.abandon());
    assert_eq!(joined::<u8>(name).ok(), Some(1));
    assert_eq!((drops.get(), queue.live()), (1, 0));
}
