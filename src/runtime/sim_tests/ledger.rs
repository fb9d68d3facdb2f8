//! What a scenario counts, and the wrapper in which every task's future is held to account.

use crate::driver::fake::Random;
use crate::runtime::owned::Io;
use crate::runtime::{RuntimeRef, is_inside_any};
use crate::sim::{fail, point, thread, trace};
use crate::task::{JoinHandle, SpawnError};
use parking_lot::Mutex;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

/// What all parts of a scenario share. It passes no points.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) runtime: AtomicU64,
    /// Each task's part, how often its future was polled, and how often dropped.
    lives: Mutex<Vec<(&'static str, u32, u32)>>,
    /// The runtime is being shut down: whatever fails now may fail for that.
    pub(super) ending: AtomicBool,
    /// A worker is kept busy: with two of these nobody might be left.
    pub(super) hogged: AtomicBool,
    /// Two functions that block wait for each other.
    pub(super) met: AtomicBool,
}

/// A part of a scenario's program: what it needs to make tasks, and a random source of its own.
pub(super) struct Act {
    pub(super) ledger: Arc<Ledger>,
    pub(super) random: Random,
    /// What the part of the program is called.
    pub(super) part: &'static str,
}

impl Act {
    /// Another act, with randomness of its own.
    pub(super) fn branch(&mut self) -> Self {
        Self { ledger: self.ledger.clone(), random: Random::new(self.random.next()), part: self.part }
    }

    /// Spawns a task. `None`: the runtime takes no more.
    pub(super) fn spawn<F>(&mut self, future: F) -> Option<JoinHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.ledger.spawn(self.part, self.random.chance(200), future)
    }

    pub(super) fn register(&self, fd: OwnedFd) -> Option<Io> {
        self.ledger.register(fd)
    }

    /// Lets others run for a while.
    pub(super) async fn pause(&mut self) {
        for _ in 0..self.random.below(4) {
            pause().await;
        }
    }
}

impl Ledger {
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Relaxed)
    }

    pub(super) fn workers(&self) -> usize {
        RuntimeRef::enter(self.runtime.load(Relaxed)).map_or(0, |runtime| runtime.shared().remotes.len())
    }

    pub(super) fn begin(self: &Arc<Self>, part: &'static str) -> Life {
        let mut lives = self.lives.lock();
        lives.push((part, 0, 0));
        Life { ledger: self.clone(), number: lives.len() - 1, polled: AtomicBool::new(false) }
    }

    pub(super) fn spawn<F>(
        self: &Arc<Self>,
        part: &'static str,
        pinned: bool,
        future: F,
    ) -> Option<JoinHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let runtime = RuntimeRef::enter(self.runtime.load(Relaxed)).ok()?;
        let mut held = Held { life: self.begin(part), future };
        let (number, home) = (held.life.number, pinned.then(|| runtime.pick_home()));
        loop {
            let mut handle = None;
            let made = runtime.spawn(held, home, true, |name| handle = Some(JoinHandle::new(name)));
            held = match made {
                Ok(()) => return handle,
                Err((SpawnError::NoMemory, held)) => held,
                Err((SpawnError::Stopped, _)) => {
                    assert!(self.is_ending(), "a task was refused");
                    return None;
                }
            };
            assert!(
                handle.is_none() && self.lives.lock()[number] == (part, 0, 0),
                "a task that was refused had a life"
            );
            thread::yield_now();
        }
    }

    pub(super) fn register(&self, fd: OwnedFd) -> Option<Io> {
        use std::os::fd::{AsRawFd, IntoRawFd};
        let runtime = RuntimeRef::enter(self.runtime.load(Relaxed)).ok()?;
        let interest = crate::readiness::Interest::READABLE | crate::readiness::Interest::WRITABLE;
        let flags = crate::runtime::IoFlags { interest: Some(interest), set_nonblock: true, borrowed: false };
        match insist(|| runtime.shared().register(fd.as_raw_fd(), flags)) {
            Ok(name) => {
                let _ = fd.into_raw_fd();
                Some(Io::new(name))
            }
            Err(errno) => {
                assert!(self.is_ending(), "a registration was refused: {errno}");
                None
            }
        }
    }

    /// When all is over: every task's future was dropped, once.
    pub(super) fn check(&self) {
        for (number, &(part, _, drops)) in self.lives.lock().iter().enumerate() {
            assert_eq!(drops, 1, "task {number}, of {part}, was not dropped once");
        }
    }

    /// Tasks that are alive.
    pub(super) fn story(&self) -> String {
        let Some(lives) = self.lives.try_lock() else { return String::new() };
        let alive = lives.iter().enumerate().filter(|(_, (_, _, drops))| *drops == 0);
        alive.map(|(number, (part, polls, _))| format!("  task {number}, of {part}: {polls} polls\n")).collect()
    }
}

/// A task's life: counts its polls and its drop, and sees that one thread polls it, or drops it, at a time.
pub(super) struct Life {
    ledger: Arc<Ledger>,
    number: usize,
    polled: AtomicBool,
}

impl Life {
    pub(super) fn poll_begins(&self) {
        if self.polled.swap(true, Relaxed) {
            fail("a task is polled by two threads");
        }
        {
            let life = &mut self.ledger.lives.lock()[self.number];
            life.1 += 1;
            if life.2 != 0 {
                fail("a task is polled after its drop");
            }
        }
        assert!(is_inside_any(), "a task is polled outside of a runtime");
        trace(self.number as u64);
        point();
    }

    pub(super) fn poll_ends(&self) {
        point();
        self.polled.store(false, Relaxed);
    }

    /// The task is about to be dropped.
    pub(super) fn check_idle(&self) {
        if self.polled.swap(true, Relaxed) {
            fail("a task is dropped during its poll");
        }
        point();
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let drops = &mut self.ledger.lives.lock()[self.number].2;
        *drops += 1;
        if *drops != 1 {
            fail("a task's future was dropped twice");
        }
    }
}

/// A future and its life.
struct Held<F> {
    life: Life,
    future: F,
}

impl<F: Future> Future for Held<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.life.poll_begins();
        // SAFETY: the future is not moved.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        let polled = unsafe { Pin::new_unchecked(&mut this.future) }.poll(context);
        this.life.poll_ends();
        polled
    }
}

impl<F> Drop for Held<F> {
    fn drop(&mut self) {
        self.life.check_idle();
    }
}

/// Asks again as long as memory is out.
pub(super) fn insist<T>(mut ask: impl FnMut() -> Result<T, i32>) -> Result<T, i32> {
    loop {
        match ask() {
            Err(libc::ENOMEM) => thread::yield_now(),
            answer => return answer,
        }
    }
}

/// Pending once, and woken at once.
pub(super) async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
