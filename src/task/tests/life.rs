//! Where a task lies, who wakes it, and how it is named.

use super::super::cell::CELLS;
use super::super::{Runs, Spare, Stale, header_of, is_dead, live_tasks};
use super::*;
use std::cell::Cell;
use std::collections::HashSet;
use std::future::{pending, ready};
use std::mem::{align_of, size_of};
use std::pin::Pin;
use std::ptr;

#[test]
fn a_cell_takes_two_cache_lines() {
    assert_eq!((size_of::<Header>(), align_of::<Header>()), (128, 128));
}

/// With many tasks each line is a miss.
#[test]
fn a_poll_looks_at_one_of_them() {
    let (queue, words) = (Arc::<Queue>::default(), [1usize, 2]);
    let name = queue.spawn(poll_fn(move |context| {
        let end = ptr::from_ref(&words).addr() + size_of_val(&words);
        Poll::Ready(end - context.waker().data().addr())
    }));
    queue.run();
    assert!(joined::<usize>(name).expect("a distance") <= 64);
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

/// Takes a value of any shape, which is all that its future consists of, through two polls and back out as the output.
fn round_trip<T: Clone + PartialEq + std::fmt::Debug + Send + 'static>(value: T) {
    thread_local! {
        static BEFORE: Cell<usize> = const { Cell::new(0) };
    }
    let (queue, expected) = (Arc::<Queue>::default(), value.clone());
    BEFORE.set(0);
    let name = queue.spawn(poll_fn(move |context| {
        let here = ptr::from_ref(&value).addr();
        let end_of_cell = context.waker().data().addr() + size_of::<Header>();
        assert_eq!(here % align_of::<T>(), 0);
        assert!(here >= end_of_cell || here + size_of::<T>() <= end_of_cell, "it reaches into the next cell");
        let before = BEFORE.replace(here);
        if before == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        assert_eq!(here, before, "moved between two polls");
        Poll::Ready(value.clone())
    }));
    queue.run();
    assert_eq!(joined::<T>(name).expect("a value"), expected);
    assert_eq!(queue.live(), 0);
}

#[test]
fn futures_and_outputs_of_any_shape_fit() {
    #[derive(Clone, Debug, PartialEq)]
    #[repr(align(64))]
    struct Aligned<T>(T);
    round_trip(());
    round_trip(1u8);
    round_trip([2u64; 4]);
    round_trip([3u64; 5]);
    round_trip([4u64; 100]);
    round_trip(5u128);
    round_trip(Aligned(()));
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
    for _ in 0..1000 {
        let (index, cell) = CELLS.alloc().expect("memory");
        cell.state.age_to(generation - 1);
        CELLS.free(index);
        let name = queue.spawn(ready(()));
        queue.run();
        // A test beside this one may have taken the aged cell.
        if name.raw() >> 32 == u64::from(generation) {
            return name;
        }
        name.detach();
    }
    panic!("no life of that number");
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
                let owned = context.waker().clone();
                owned.wake();
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
        HERE.set(if local { Arc::as_ptr(&queue) } else { ptr::null() });
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

/// `SIZE` bytes decide whether it lies in the cell or in a box.
struct Foreseen<const SIZE: usize>(Arc<AtomicUsize>, [u8; SIZE]);

impl<const SIZE: usize> Future for Foreseen<SIZE> {
    type Output = usize;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<usize> {
        Poll::Ready(self.1.len())
    }
}

impl<const SIZE: usize> Runs for Foreseen<SIZE> {
    fn first_look(&self) -> *const () {
        self.0.fetch_add(1, Relaxed);
        ptr::null()
    }
}

#[test]
fn a_future_is_looked_into_once_its_lines_are_there() {
    fn asks<const SIZE: usize>() -> [usize; 2] {
        let (queue, asked) = (Arc::<Queue>::default(), Arc::<AtomicUsize>::default());
        let future = Foreseen::<SIZE>(asked.clone(), [0; SIZE]);
        let task = spawn(future, &queue, None, false).unwrap_or_else(|_future| panic!("memory"));
        let after = [false, true].map(|near| {
            // SAFETY: the queue's reference is this function's.
            unsafe { task.header().ask_ahead(near) };
            asked.load(Relaxed)
        });
        assert!(matches!(task.run(), Ran::Done));
        assert_eq!((queue.live(), Arc::strong_count(&asked)), (0, 1));
        after
    }
    assert_eq!((asks::<8>(), asks::<64>()), ([0, 1], [0, 1]));
}

#[test]
fn a_pinned_task_knows_its_home() {
    let queue = Arc::<Queue>::default();
    let (pinned, free) =
        (spawn(Plain(ready(())), &queue, Some(5), false), spawn(Plain(ready(())), &queue, None, false));
    let [pinned, free] = [pinned, free].map(|task| task.unwrap_or_else(|_future| panic!("memory")));
    assert!(pinned.header().is_pinned() && pinned.header().home() == 5);
    assert!(!free.header().is_pinned() && ptr::eq(free.header().scheduler(), Arc::as_ptr(&queue).cast()));
    assert!(matches!((pinned.run(), free.run()), (Ran::Done, Ran::Done)));
    assert_eq!(queue.live(), 0);
}

/// A scheduler that keeps one cell.
#[derive(Default)]
struct Thrifty {
    kept: Mutex<Option<Spare>>,
    ended: AtomicUsize,
}

impl Schedule for Thrifty {
    fn schedule(&self, _task: Notified) {}

    fn here() -> *const Self {
        ptr::null()
    }

    fn ended(&self, _task: &Header) {
        self.ended.fetch_add(1, Relaxed);
    }

    fn spare(&self) -> Option<Spare> {
        self.kept.lock().take()
    }

    fn keep(&self, spare: Spare) -> Option<Spare> {
        self.kept.lock().replace(spare)
    }
}

#[test]
fn a_cell_that_is_kept_is_the_next_tasks() {
    let scheduler = Arc::<Thrifty>::default();
    let launch = || spawn(Plain(ready(7)), &scheduler, None, false).unwrap_or_else(|_future| panic!("memory"));
    let mut names = HashSet::new();
    let task = launch();
    let cell = ptr::from_ref(task.header());
    for _ in 0..100 {
        let task = scheduler.spare().map_or_else(&launch, |spare| {
            assert!(scheduler.keep(spare).is_none());
            launch()
        });
        assert!(names.insert(task.header().name()), "each has a handle of its own");
        assert!(!ptr::eq(task.header(), cell), "which lives");
        assert!(matches!(task.run(), Ran::Done));
        assert_eq!(Arc::strong_count(&scheduler), 3, "the kept cell's count is the next task's");
    }
    assert!(matches!(task.run(), Ran::Done));
    assert_eq!(
        (Arc::strong_count(&scheduler), scheduler.ended.load(Relaxed)),
        (2, 101),
        "one was kept, the other given back"
    );
    drop(scheduler.spare());
    assert_eq!(Arc::strong_count(&scheduler), 1);
}
