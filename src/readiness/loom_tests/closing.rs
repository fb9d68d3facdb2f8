//! Models of closing a descriptor beside direct calls, late events and late questions, with a new owner of the entry.

use super::*;
use crate::primitives::guard::Left;
use crate::primitives::sync::UnsafeCell;
use crate::readiness::scheduled_io::LAST_GENERATION;

/// A descriptor of the system, as far as the protocol is concerned. Its cell makes loom see a use beside a close.
struct Descriptor {
    open: UnsafeCell<bool>,
    closed: AtomicUsize,
}

// SAFETY: that the accesses are ordered is what the models check.
unsafe impl Sync for Descriptor {}
// SAFETY: as above.
unsafe impl Send for Descriptor {}

impl Descriptor {
    fn new() -> Arc<Self> {
        Arc::new(Self { open: UnsafeCell::new(true), closed: AtomicUsize::new(0) })
    }

    fn read(&self) {
        // SAFETY: loom checks that nobody closes it meanwhile.
        self.open.with(|open| assert!(unsafe { *open }, "a stranger's descriptor was used"));
    }

    fn close(&self) {
        self.closed.fetch_add(1, Relaxed);
        // SAFETY: loom checks that nobody uses it meanwhile.
        self.open.with_mut(|open| unsafe { *open = false });
    }
}

/// Ends a use as the runtime does; the last user closes, and gives the entry to a new owner, who waits.
fn leave(io: &'static ScheduledIo, index: u32, descriptor: &Descriptor) -> Option<NewOwner> {
    if io.guard.leave() != Left::Last {
        return None;
    }
    assert!(io.guard.recycle(LAST_GENERATION));
    IOS.free(index);
    descriptor.close();
    let (again, io) = IOS.alloc().expect("memory");
    assert_eq!(again, index, "the model wants the entry to be used again");
    let generation = io.guard.next_generation();
    io.begin(generation, Ready::EMPTY);
    io.guard.open();
    let reader = Keyed::new(9);
    assert_eq!(reader.poll(io, generation, Interest::READABLE), Polled::Pending, "it saw a stranger's event");
    Some(NewOwner { io, generation, reader })
}

struct NewOwner {
    io: &'static ScheduledIo,
    generation: u32,
    reader: Keyed,
}

impl NewOwner {
    /// Nothing came that was not its own, and its own arrives.
    fn is_intact(&self) {
        assert_eq!(self.reader.wakes(), 0, "a stranger's event woke the new owner");
        assert_eq!(self.io.look(self.generation, Interest::READABLE), Polled::Pending);
        assert!(self.io.deliver(self.generation, Ready::READABLE));
        assert_eq!(self.reader.wakes(), 1, "the new owner sleeps on its own event");
    }
}

fn close(io: &'static ScheduledIo, index: u32, descriptor: &Descriptor) -> Option<NewOwner> {
    assert!(io.guard.close(FIRST));
    io.end(FIRST);
    leave(io, index, descriptor)
}

/// A direct call, a close, and an event that is late: one close, after the last use, and the event finds nobody.
#[test]
fn loom_the_last_user_closes_and_a_late_event_finds_nobody() {
    loom::model(|| {
        let (index, io) = registered();
        let descriptor = Descriptor::new();
        let waiter = Keyed::new(1);
        assert_eq!(waiter.poll(io, FIRST, Interest::READABLE), Polled::Pending);
        let caller = {
            let descriptor = descriptor.clone();
            spawn(move || {
                if !io.guard.enter(FIRST) {
                    return None;
                }
                descriptor.read();
                leave(io, index, &descriptor)
            })
        };
        let driver = spawn(move || io.deliver(FIRST, Ready::READABLE));
        let by_closer = close(io, index, &descriptor);
        driver.join().expect("no panic");
        let by_caller = caller.join().expect("no panic");
        assert_eq!(descriptor.closed.load(Relaxed), 1);
        assert!(waiter.wakes() > 0, "a waiter of the old owner sleeps on");
        assert_eq!(io.look(FIRST, Interest::READABLE), Polled::Stale);
        let owner = by_closer.or(by_caller).expect("somebody was the last");
        owner.is_intact();
    });
}

/// Somebody asks the old handle as it is closed and the entry is given on: an answer, or a wake, but never the new owner's
/// readiness, and nothing of it stays with the new owner.
#[test]
fn loom_a_late_question_is_answered_by_the_close() {
    loom::model(|| {
        let (index, io) = registered();
        let descriptor = Descriptor::new();
        let asker = spawn(move || {
            let (waiter, mut future) = (Keyed::new(1), Waiter::new(io, Interest::WRITABLE));
            let seen = waiter.poll(io, FIRST, Interest::READABLE);
            let future_waits = future.waits();
            (waiter, seen, future, future_waits)
        });
        let driver = spawn(move || io.deliver(FIRST, Ready::READABLE));
        let owner = close(io, index, &descriptor).expect("there is no other user");
        driver.join().expect("no panic");
        let (waiter, seen, mut future, future_waits) = asker.join().expect("no panic");
        assert!(waiter.served(seen), "a waiter of the old owner sleeps on");
        assert!(!future_waits || future.wakes() > 0, "a future of the old owner sleeps on");
        assert!(!future.waits());
        owner.is_intact();
    });
}

/// Two closers and a direct call: one of the closers wins, and the descriptor is closed once.
#[test]
fn loom_two_closers_close_once() {
    loom::model(|| {
        let (index, io) = registered();
        let descriptor = Descriptor::new();
        let closers: Vec<_> = (0..2)
            .map(|_| {
                let descriptor = descriptor.clone();
                spawn(move || {
                    if !io.guard.close(FIRST) {
                        return 0;
                    }
                    io.end(FIRST);
                    drop(leave(io, index, &descriptor));
                    1
                })
            })
            .collect();
        if io.guard.enter(FIRST) {
            descriptor.read();
            drop(leave(io, index, &descriptor));
        }
        let won: u32 = closers.into_iter().map(|closer| closer.join().expect("no panic")).sum();
        assert_eq!((won, descriptor.closed.load(Relaxed)), (1, 1));
    });
}

/// `deregister` waits for the direct calls of others: none of them uses the descriptor after it returned.
#[test]
fn loom_the_closer_that_waits_is_alone_afterwards() {
    loom::model(|| {
        let (_, io) = registered();
        let descriptor = Descriptor::new();
        // Orders nothing: that is the guard's part.
        let bell = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..2)
            .map(|_| {
                let (descriptor, bell) = (descriptor.clone(), bell.clone());
                spawn(move || {
                    if io.guard.enter(FIRST) {
                        descriptor.read();
                        match io.guard.leave() {
                            Left::InUse => {}
                            Left::WakeCloser => {
                                bell.fetch_add(1, Relaxed);
                            }
                            Left::Last => panic!("the closer is still in"),
                        }
                    }
                })
            })
            .collect();
        assert!(io.guard.close(FIRST));
        io.end(FIRST);
        while !io.guard.await_others() {
            while bell.load(Relaxed) == 0 {
                thread::yield_now();
            }
        }
        descriptor.close();
        assert_eq!(io.guard.leave(), Left::Last);
        callers.into_iter().for_each(|caller| caller.join().expect("no panic"));
    });
}
