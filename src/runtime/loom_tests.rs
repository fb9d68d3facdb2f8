//! Models of how work reaches a worker: the inbox that it sleeps on, the idle word, the run queue, the word of live tasks,
//! the pool of threads that block, and what others see of a worker.

mod idle;
mod inbox;
mod live;
mod polled;
mod pool;
mod queue;

use crate::primitives::inbox::Node;
use crate::primitives::sync::{AtomicPtr, Ordering::*, UnsafeCell};
use crate::task::{Header, Notified};
use loom::thread;
use std::ptr::{self, NonNull};

/// What a worker sleeps in, as far as the protocols are concerned: a count of writes, which orders nothing. (It is std's,
/// so that loom does not order by it either.) A model in which nobody writes it never ends, which loom reports.
#[derive(Default)]
struct EventFd(std::sync::atomic::AtomicU32);

impl EventFd {
    fn write(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn writes(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// Sleeps until it was written as often as that.
    fn sleep_until(&self, writes: u32) {
        while self.writes() < writes {
            thread::yield_now();
        }
    }
}

/// A node whose content is ordered by the inbox alone; loom sees a read that is not.
struct Letter {
    link: AtomicPtr<Letter>,
    content: UnsafeCell<u32>,
}

// SAFETY: one link, which no other list uses; the alignment is a pointer's.
unsafe impl Node for Letter {
    fn link(&self) -> &AtomicPtr<Self> {
        &self.link
    }
}

impl Letter {
    fn write(content: u32) -> NonNull<Self> {
        let letter = Self { link: AtomicPtr::new(ptr::null_mut()), content: UnsafeCell::new(0) };
        // SAFETY: the letter is still ours alone.
        letter.content.with_mut(|place| unsafe { *place = content });
        NonNull::from(Box::leak(Box::new(letter)))
    }

    /// # Safety
    /// The letter came back from the inbox, or was refused by it.
    unsafe fn open(letter: NonNull<Self>) -> u32 {
        // SAFETY: the caller owns what `write` leaked.
        let letter = unsafe { Box::from_raw(letter.as_ptr()) };
        // SAFETY: as above; loom checks that the writer is done.
        letter.content.with(|content| unsafe { *content })
    }
}

/// Tasks that never run: a queue only moves them.
struct Tasks(Vec<NonNull<Header>>);

impl Tasks {
    fn new(n: usize) -> Self {
        Self((0..n).map(|_| NonNull::from(Box::leak(Box::<Header>::default()))).collect())
    }

    fn cell(&self, n: usize) -> &'static Header {
        // SAFETY: leaked by `new`; nobody looks at it once the model is done.
        unsafe { self.0[n].as_ref() }
    }

    fn get(&self, n: usize) -> Notified {
        // SAFETY: stands for the task in one queue at a time; nobody runs it or gives up its reference.
        unsafe { Notified::from_raw(self.0[n]) }
    }

    /// Which task it is.
    fn number(&self, task: Notified) -> usize {
        let task = task.into_raw();
        self.0.iter().position(|&known| known == task).expect("one of ours")
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        // SAFETY: leaked by `new`; the queues of the model are done.
        self.0.iter().for_each(|task| drop(unsafe { Box::from_raw(task.as_ptr()) }));
    }
}

// SAFETY: the tasks are only compared by address.
unsafe impl Send for Tasks {}
// SAFETY: as above.
unsafe impl Sync for Tasks {}
