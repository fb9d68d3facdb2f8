//! Events: a flag that tasks and threads wait for, and that a signal handler may set.
//!
//! | FREED 1 | SLEEPERS 1 | SET 1 |
//!
//! Threads sleep on the word itself: SLEEPERS is set by the exchange that finds SET clear, and taken by the one that sets
//! it. Tasks wait for an eventfd, which is rung when SET comes, and never emptied: each ring is an edge all the same, so a
//! reset need not race with the rings. A task that is woken looks at the word.
//!
//! Setting takes no lock and neither allocates nor frees: who frees the event waits until nobody is setting it.

use crate::primitives::bell::{Bell, keeping_errno};
use crate::primitives::handle::Kind;
use crate::primitives::shelf::Shelf;
use crate::primitives::sync::process_static;
use crate::readiness::Interest;
use crate::runtime::{Errno, Error, Io, IoPoll, NEVER, PollContext, Runtime, RuntimeRef, errno_of, is_inside_any, now};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::task::Poll;

const SET: u32 = 1;
const SLEEPERS: u32 = 1 << 1;
const FREED: u32 = 1 << 2;

process_static! {
    static EVENTS: Shelf<Event> = Shelf::new(Kind::Event);
}

/// A flag that tasks and threads wait for. See the module.
#[derive(Debug)]
pub struct Event {
    word: AtomicU32,
    /// Ends before the bell's descriptor is closed.
    io: Io,
    bell: Bell,
}

impl Event {
    /// Makes an event that is not set. The runtime wakes the tasks that wait for it, whosever they are.
    pub fn new(runtime: &Runtime) -> Result<Self, Error> {
        Ok(Self::new_in(&runtime.enter()?)?)
    }

    fn new_in(runtime: &RuntimeRef) -> Result<Self, Errno> {
        let bell = Bell::new().map_err(errno_of)?;
        let io = Io::borrowing(runtime, bell.fd(), Interest::READABLE)?;
        Ok(Self { word: AtomicU32::new(0), bell, io })
    }

    /// True between a set and the next reset.
    pub fn is_set(&self) -> bool {
        self.word.load(Acquire) & SET != 0
    }

    /// Sets it: all who wait are woken. Async-signal-safe.
    pub fn set(&self) {
        self.raise(SET);
    }

    /// Takes it back. Who was woken and has not looked yet, waits on.
    pub fn reset(&self) {
        self.word.fetch_and(!SET, AcqRel);
    }

    /// Waits, in a task, until it is set.
    pub async fn wait(&self) -> std::io::Result<()> {
        while !self.is_set() {
            let mut ready = pin!(self.io.ready(Interest::READABLE));
            // Looked at once more when the wait has begun: somebody else who waits may have cleared a ring that came after
            // the first look.
            let seen = poll_fn(|context| match ready.as_mut().poll(context) {
                Poll::Pending if self.is_set() => Poll::Ready(Ok(None)),
                polled => polled.map(|seen| seen.map(Some)),
            });
            if let Some(seen) = seen.await? {
                self.io.clear(seen);
            }
        }
        Ok(())
    }

    /// Waits, on a thread, until it is set. `ETIME`: the deadline came first. `EBADF`: it was freed.
    fn wait_on_thread(&self, deadline: u64) -> Result<(), Errno> {
        let mut word = self.word.load(Acquire);
        loop {
            if word & FREED != 0 {
                return Err(libc::EBADF);
            }
            if word & SET != 0 {
                return Ok(());
            }
            if now() >= deadline {
                return Err(libc::ETIME);
            }
            let asleep = word | SLEEPERS;
            word = match self.word.compare_exchange_weak(word, asleep, AcqRel, Acquire) {
                Ok(_) => {
                    sleep_on(&self.word, asleep, deadline);
                    self.word.load(Acquire)
                }
                Err(now) => now,
            };
        }
    }

    /// Waits, in a poll, until it is set.
    pub(crate) fn poll(&self, cx: &PollContext) -> IoPoll<()> {
        match self.name_if_unset() {
            Ok(None) if cx.can_spend() => {
                cx.spend();
                Poll::Ready(Ok(()))
            }
            Ok(None) => Poll::Pending,
            Ok(Some(name)) => loop {
                let Poll::Ready(ready) = name.poll_ready(cx, Interest::READABLE) else {
                    // Another who waits may have cleared a ring that came after the look above.
                    return if self.is_set() { Poll::Ready(Ok(())) } else { Poll::Pending };
                };
                match ready.and_then(|seen| name.clear_ready(seen)) {
                    // A ring after this look is news, and found above.
                    Ok(()) if !self.is_set() => {}
                    result => return Poll::Ready(result),
                }
            },
            Err(errno) => Poll::Ready(Err(errno)),
        }
    }

    /// What to wait for. `None`: there is no need to.
    fn name_if_unset(&self) -> Result<Option<crate::runtime::IoName>, Errno> {
        if self.is_set() { Ok(None) } else { self.io.name().map(Some) }
    }

    /// Adds a bit that sleepers must see, and rings if it is new.
    fn raise(&self, bit: u32) {
        let raised = |word| (word & bit == 0).then_some((word | bit) & !SLEEPERS);
        if let Ok(before) = self.word.fetch_update(AcqRel, Acquire, raised) {
            self.bell.ring();
            if before & SLEEPERS != 0 {
                wake_all_on(&self.word);
            }
        }
    }
}

/// Sleeps as long as the word has this value, until the deadline, or for no reason.
fn sleep_on(word: &AtomicU32, value: u32, deadline: u64) {
    let end = libc::timespec { tv_sec: (deadline / 1_000_000_000) as i64, tv_nsec: (deadline % 1_000_000_000) as i64 };
    let end = if deadline == NEVER { std::ptr::null() } else { &raw const end };
    let operation = i64::from(libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG);
    let everybody = i64::from(libc::FUTEX_BITSET_MATCH_ANY);
    // SAFETY: the word lives during the call, and the time is null or does so too. It is absolute, on the monotonic clock.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            operation,
            i64::from(value),
            end,
            std::ptr::null::<u32>(),
            everybody,
        )
    };
}

/// Wakes all threads that sleep on the word. Async-signal-safe.
fn wake_all_on(word: &AtomicU32) {
    let operation = i64::from(libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG);
    // SAFETY: the kernel does not look at the word.
    keeping_errno(|| unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, i64::from(i32::MAX)) });
}

/// Makes an event with a handle.
pub(crate) fn new(runtime: &RuntimeRef) -> Result<u64, Errno> {
    EVENTS.put(Arc::new(Event::new_in(runtime)?)).ok_or(libc::ENOMEM)
}

/// The event that a handle names. Not for signal handlers, which could then be the last to let go of it.
pub(crate) fn find(raw: u64) -> Result<Arc<Event>, Errno> {
    Ok(EVENTS.enter(raw).ok_or(libc::EBADF)?.clone())
}

/// Sets an event. Async-signal-safe.
pub(crate) fn set(raw: u64) -> Result<(), Errno> {
    EVENTS.enter(raw).ok_or(libc::EBADF)?.set();
    Ok(())
}

/// Resets an event. Async-signal-safe.
pub(crate) fn reset(raw: u64) -> Result<(), Errno> {
    EVENTS.enter(raw).ok_or(libc::EBADF)?.reset();
    Ok(())
}

/// Waits for an event on a thread that is none of a runtime's.
pub(crate) fn wait(raw: u64, timeout: u64) -> Result<(), Errno> {
    let event = find(raw)?;
    if is_inside_any() {
        return Err(libc::EDEADLK);
    }
    let deadline = if timeout == NEVER { NEVER } else { now().saturating_add(timeout) };
    event.wait_on_thread(deadline)
}

/// Makes the handle stale, and wakes who waits, to see that.
pub(crate) fn free(raw: u64) -> Result<(), Errno> {
    let event = EVENTS.remove_from_all(raw).ok_or(libc::EBADF)?;
    event.raise(FREED);
    event.io.close();
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::runtime::Config;

    #[test]
    fn tasks_and_threads_wait_for_one_event() {
        let runtime = Runtime::new(Config::default()).expect("a runtime");
        let event = Arc::new(Event::new(&runtime).expect("an event"));
        let waiting = event.clone();
        let task = runtime.spawn(async move { waiting.wait().await.is_ok() }).expect("a task");
        let sleeping = event.clone();
        let thread = std::thread::spawn(move || sleeping.wait_on_thread(NEVER));
        event.set();
        assert!(runtime.block_on(task).expect("runs").expect("ends").expect("ends"));
        assert_eq!(thread.join().expect("no panic"), Ok(()));
        event.reset();
        assert!(!event.is_set());
        assert_eq!(event.wait_on_thread(now()), Err(libc::ETIME));
    }
}
