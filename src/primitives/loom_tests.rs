//! Every order in which those who use, release, use again and look up a slab's entries can meet.
//!
//! The entries hold a loom cell: an access that is not ordered after the one before it fails the model.

use super::guard::{Guard, Left};
use super::slab::{Entry, Slab};
use super::sync::{AtomicU32, Condvar, Mutex, UnsafeCell};
use loom::thread::{self, JoinHandle};
use std::sync::Arc;

/// An entry, which holds the number of the life that it lives, or 0.
#[derive(Default)]
struct Item {
    guard: Guard,
    next: AtomicU32,
    life: UnsafeCell<u32>,
}

// SAFETY: loom sees to it that accesses to the cell are ordered, which is what the models are for.
unsafe impl Sync for Item {}

// SAFETY: loom's pages are made of defaults.
unsafe impl Entry for Item {
    fn next_free(&self) -> &AtomicU32 {
        &self.next
    }
}

impl Item {
    fn life(&self) -> u32 {
        // SAFETY: loom fails the model if a write is not ordered with this.
        self.life.with(|life| unsafe { *life })
    }

    fn set_life(&self, to: u32) {
        // SAFETY: loom fails the model if another access is not ordered with this.
        self.life.with_mut(|life| unsafe { *life = to });
    }
}

/// A slab and where its closers sleep: what every kind of handle in the library is made of.
struct Registry {
    slab: Slab<Item>,
    leaving: Mutex<()>,
    left: Condvar,
}

#[derive(Clone, Copy)]
struct Name {
    index: u32,
    generation: u32,
}

const LAST: u32 = u32::MAX;

impl Registry {
    fn new() -> Arc<Self> {
        Arc::new(Self { slab: Slab::new(), leaving: Mutex::new(()), left: Condvar::new() })
    }

    fn item(&self, name: Name) -> &'static Item {
        self.slab.get(name.index).expect("names come from here")
    }

    fn open(&self) -> Name {
        let (index, item) = self.slab.alloc().expect("memory");
        let generation = item.guard.next_generation();
        assert_eq!(item.life(), 0, "handed out while it lives");
        item.set_life(generation);
        item.guard.open();
        Name { index, generation }
    }

    /// False: the name is stale.
    fn enter(&self, name: Name) -> bool {
        let entered = self.item(name).guard.enter(name.generation);
        assert!(!entered || self.item(name).life() == name.generation, "entered another's life");
        entered
    }

    fn leave(&self, name: Name) {
        let item = self.item(name);
        match item.guard.leave() {
            Left::InUse => {}
            Left::WakeCloser => {
                drop(self.leaving.lock());
                self.left.notify_all();
            }
            Left::Last => {
                item.set_life(0);
                if item.guard.recycle(LAST) {
                    self.slab.free(name.index);
                }
            }
        }
    }

    fn visit(&self, name: Name) -> bool {
        let entered = self.enter(name);
        if entered {
            self.leave(name);
        }
        entered
    }

    fn close(&self, name: Name) -> bool {
        let closed = self.item(name).guard.close(name.generation);
        if closed {
            self.leave(name);
        }
        closed
    }

    /// As `close`, and waits until every other user left. True: the entry was alone then.
    fn close_and_wait(&self, name: Name) -> bool {
        if !self.item(name).guard.close(name.generation) {
            return false;
        }
        let mut leaving = self.leaving.lock();
        while !self.item(name).guard.await_others() {
            self.left.wait(&mut leaving);
        }
        drop(leaving);
        self.item(name).set_life(0);
        self.leave(name);
        true
    }

    /// All entries come out of the slab again, once and before any new one; the retired ones never do.
    fn assert_free(&self, retired: &[u32]) {
        let used = self.slab.iter().count() as u32;
        let expected: Vec<u32> = (0..used).filter(|index| !retired.contains(index)).collect();
        let mut free: Vec<u32> = expected.iter().map(|_| self.slab.alloc().expect("memory").0).collect();
        free.sort_unstable();
        assert_eq!(free, expected, "lost, or freed twice");
        assert_eq!(self.slab.alloc().expect("memory").0, used, "too many free");
    }
}

fn all<T, const N: usize>(threads: [JoinHandle<T>; N]) -> [T; N] {
    threads.map(|thread| thread.join().expect("no panic"))
}

/// A use races the release and the next life; a handle of neither life never gets in.
#[test]
fn loom_an_entry_is_released_and_used_again() {
    loom::model(|| {
        let registry = Registry::new();
        let name = registry.open();
        let next = Name { generation: name.generation + 1, ..name };
        let user = thread::spawn({
            let registry = registry.clone();
            move || registry.visit(name)
        });
        let stranger = thread::spawn({
            let registry = registry.clone();
            move || (registry.visit(next), registry.visit(name))
        });
        assert!(registry.close(name));
        let opened = registry.open();
        assert!(registry.visit(opened));
        let ([_], [(second, first)]) = (all([user]), all([stranger]));
        assert!(!(second && first), "the second life came before the first");
        assert!(registry.close(opened));
        assert!(!registry.visit(name) && !registry.visit(next));
        registry.assert_free(&[]);
    });
}

/// The same in the entry's last life: it is not used again, and the handles of its lives to come, which would begin
/// anew, stay dead.
#[test]
fn loom_an_entry_retires_after_its_last_life() {
    loom::model(|| {
        let registry = Registry::new();
        let (index, item) = registry.slab.alloc().expect("memory");
        item.guard.age_to(LAST - 1);
        registry.slab.free(index);
        let name = registry.open();
        assert_eq!((name.index, name.generation), (index, LAST));
        let user = thread::spawn({
            let registry = registry.clone();
            move || registry.visit(name)
        });
        let stranger = thread::spawn({
            let registry = registry.clone();
            move || [LAST - 1, 0, 1].map(|generation| registry.visit(Name { generation, ..name }))
        });
        assert!(registry.close(name));
        let next = registry.open();
        assert_ne!(next.index, index);
        assert!(registry.visit(next) && registry.close(next));
        all([user]);
        assert_eq!(all([stranger]), [[false; 3]]);
        registry.assert_free(&[index]);
    });
}

/// Of two who close, one wins.
#[test]
fn loom_an_entry_is_closed_once() {
    loom::model(|| {
        let registry = Registry::new();
        let name = registry.open();
        let closers = [(); 2].map(|()| {
            let registry = registry.clone();
            thread::spawn(move || registry.close(name))
        });
        registry.visit(name);
        let [one, other] = all(closers);
        assert!(one != other);
        registry.assert_free(&[]);
    });
}

/// A closer that waits is woken, and is then alone with the entry.
#[test]
fn loom_a_closer_waits_for_all_others() {
    loom::model(|| {
        let registry = Registry::new();
        let name = registry.open();
        let users = [(); 2].map(|()| {
            let registry = registry.clone();
            thread::spawn(move || registry.visit(name))
        });
        assert!(registry.close_and_wait(name));
        all(users);
        registry.assert_free(&[]);
    });
}

/// Takes an entry that nobody else holds.
fn take(slab: &Slab<Item>) -> u32 {
    let (index, item) = slab.alloc().expect("memory");
    assert_eq!(item.life(), 0, "handed out twice");
    item.set_life(1);
    index
}

fn give_back(slab: &Slab<Item>, index: u32) {
    slab.get(index).expect("handed out").set_life(0);
    slab.free(index);
}

/// Two threads take and give back. One of them does so in the order that makes an untagged list hand an entry out twice.
#[test]
fn loom_the_free_list_hands_out_each_entry_once() {
    loom::model(|| {
        let registry = Registry::new();
        let entries = [take(&registry.slab), take(&registry.slab)];
        entries.into_iter().for_each(|index| give_back(&registry.slab, index));
        let holder = thread::spawn({
            let registry = registry.clone();
            move || {
                let (first, second) = (take(&registry.slab), take(&registry.slab));
                give_back(&registry.slab, first);
                second
            }
        });
        let mine = [take(&registry.slab), take(&registry.slab)];
        let [theirs] = all([holder]);
        assert!(!mine.contains(&theirs) && mine[0] != mine[1]);
        mine.into_iter().chain([theirs]).for_each(|index| give_back(&registry.slab, index));
        registry.assert_free(&[]);
    });
}

/// A slab grows under two threads, while a third looks up an index that it made up.
#[test]
fn loom_a_slab_grows_under_two_threads() {
    loom::model(|| {
        let registry = Registry::new();
        let others = [(); 2].map(|()| {
            let registry = registry.clone();
            thread::spawn(move || take(&registry.slab))
        });
        let mut forged = (0..4).filter_map(|index| registry.slab.get(index));
        assert!(!forged.any(|item| item.guard.enter(1)), "entered what nobody opened");
        let mine = take(&registry.slab);
        let [one, other] = all(others);
        let mut indices = [mine, one, other];
        indices.sort_unstable();
        assert_eq!(indices, [0, 1, 2]);
        indices.into_iter().for_each(|index| give_back(&registry.slab, index));
        registry.assert_free(&[]);
    });
}
