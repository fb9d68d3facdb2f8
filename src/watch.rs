//! Watches: a function that is called when a descriptor is ready, or at a time, for libraries that have callbacks and no
//! threads.
//!
//! A watch is a task, pinned to a worker, and a place on a shelf for what others change: what to wait for, and until when. A
//! change is a store and a wake of the task, whose next poll sees it; so there is nothing here that could be lost. The task
//! asks the kernel each time, since a library need not have read everything when it returns.

use crate::primitives::handle::Kind;
use crate::primitives::shelf::Shelf;
use crate::primitives::sync::{AtomicBool, AtomicU8, AtomicU64, Mutex, Ordering::*, process_static};
use crate::readiness::{Interest, Ready};
use crate::runtime::{Errno, Error, Io, IoName, IoPoll, NEVER, PollContext, Runtime, RuntimeRef, now};
use crate::task::TaskName;
use crate::time::Sleep;
use std::future::Future;
use std::io;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

process_static! {
    static WATCHES: Shelf<Wishes> = Shelf::new(Kind::Watch);
}

/// What is called. Dropped when it will not be called any more.
pub(crate) trait Watcher: Send + Unpin + 'static {
    /// With nothing for the time.
    fn call(&mut self, ready: Ready);
}

/// What a watch is to wait for. Changed by anybody, looked at by its task.
pub(crate) struct Wishes {
    io: Option<Io>,
    /// The bits of an interest, or 0.
    interest: AtomicU8,
    at: AtomicU64,
    closed: AtomicBool,
    /// Held while the descriptor leaves the runtime.
    leaving: Mutex<()>,
    runtime: u64,
    home: u32,
    /// 0 before there is one.
    task: AtomicU64,
}

impl Wishes {
    /// Has the task look at what was changed.
    fn changed(&self) {
        if let Some(task) = TaskName::parse(self.task.load(Acquire)) {
            // One that has ended needs to know nothing.
            let _ = task.wake();
        }
    }

    /// The descriptor is its owner's alone again when this returns, but for a function that is being called.
    fn let_go(&self) {
        self.closed.store(true, Release);
        // Who closes and the task, which hears of that, both come here: the second waits until the first is done.
        let _leaving = self.leaving.lock();
        let _ = self.io.as_ref().map(|io| io.name().and_then(IoName::deregister));
    }
}

/// A task's share in its watch: the handle is stale when this was dropped.
struct Place {
    wishes: Arc<Wishes>,
    raw: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.wishes.let_go();
        drop(WATCHES.remove(self.raw));
    }
}

/// The task. Its fields are dropped in their order: nothing is watched any more when the watcher goes.
struct Watching<W> {
    place: Place,
    sleep: Sleep,
    /// What the sleep is for.
    set: u64,
    watcher: W,
}

impl<W: Watcher> Watching<W> {
    fn is_closed(&self) -> bool {
        self.place.wishes.closed.load(Acquire)
    }

    /// Takes a time that has come.
    fn is_due(&mut self, context: &mut Context<'_>) -> bool {
        let at = self.place.wishes.at.load(Acquire);
        if at != self.set {
            self.set = at;
            match at {
                NEVER => self.sleep = Sleep::until(NEVER),
                _ => self.sleep.reset(at),
            }
        }
        let due = at != NEVER && (at <= now() || Pin::new(&mut self.sleep).poll(context).is_ready());
        // Another time that was given meanwhile stands.
        due && self.place.wishes.at.compare_exchange(at, NEVER, AcqRel, Relaxed).is_ok()
    }

    /// What is ready of what is wanted.
    fn look(&self, context: &Context<'_>) -> IoPoll<Ready> {
        let wishes = &self.place.wishes;
        let (Some(io), Some(interest)) = (&wishes.io, Interest::from_bits(wishes.interest.load(Acquire))) else {
            return Poll::Pending;
        };
        let look = |cx: &PollContext| {
            io.name().map_or_else(|errno| Poll::Ready(Err(errno)), |name| name.poll_level(cx, interest))
        };
        PollContext::within(context, look).unwrap_or(Poll::Ready(Err(libc::EPERM))).map_ok(|event| event.ready)
    }
}

impl<W: Watcher> Future for Watching<W> {
    type Output = ();

    /// Each of the two is called once at most: neither keeps the other waiting, and both let other tasks run.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let mut called = false;
        if !this.is_closed() && this.is_due(context) {
            this.watcher.call(Ready::EMPTY);
            called = true;
        }
        if !this.is_closed() {
            match this.look(context) {
                Poll::Ready(Ok(ready)) => {
                    this.watcher.call(ready);
                    called = true;
                }
                // The runtime goes, or the number has become another descriptor's.
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        if this.is_closed() {
            return Poll::Ready(());
        }
        if called {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// Opens a watch, which waits for nothing yet: on the worker `near`, or else on this thread's, or the next in turn. `named` is
/// called with its handle before the watcher is. On failure the watcher is the caller's.
pub(crate) fn open<W: Watcher>(
    runtime: &RuntimeRef,
    near: Option<u32>,
    fd: Option<RawFd>,
    watcher: W,
    named: impl FnOnce(u64),
) -> Result<(), (Errno, W)> {
    let home = near.unwrap_or_else(|| runtime.pick_home());
    let io = match fd.map(|fd| borrow(runtime, home, fd)).transpose() {
        Ok(io) => io,
        Err(errno) => return Err((errno, watcher)),
    };
    let wishes = Arc::new(Wishes {
        io,
        interest: AtomicU8::new(0),
        at: AtomicU64::new(NEVER),
        closed: AtomicBool::new(false),
        leaving: Mutex::new(()),
        runtime: runtime.handle(),
        home,
        task: AtomicU64::new(0),
    });
    let Some(raw) = WATCHES.put(wishes.clone()) else { return Err((libc::ENOMEM, watcher)) };
    let place = Place { wishes: wishes.clone(), raw };
    let task = Watching { place, sleep: Sleep::until(NEVER), set: NEVER, watcher };
    let made = |task: TaskName| {
        wishes.task.store(task.raw(), Release);
        named(raw);
    };
    runtime.spawn(task, Some(home), false, made).map_err(|(error, refused)| (error.errno(), refused.watcher))
}

/// Registers a descriptor that stays the caller's, so that its events come to a worker.
fn borrow(runtime: &RuntimeRef, home: u32, fd: RawFd) -> Result<Io, Errno> {
    let all = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
    let io = Io::borrowing(runtime, fd, all)?;
    let name = io.name()?;
    // Where it cannot be moved, its events come from another worker.
    let _ = name.rehome(runtime.handle(), home);
    // A socket that is not connected would enter the driver's set later, which may fail: here it can be told.
    name.watch(all)?;
    Ok(io)
}

/// What a watch is to wait for from now on.
pub(crate) fn wait_for(raw: u64, interest: Option<Interest>) -> Result<(), Errno> {
    let wishes = WATCHES.enter(raw).ok_or(libc::EBADF)?;
    if interest.is_some() && wishes.io.is_none() {
        return Err(libc::EINVAL);
    }
    let bits = interest.map_or(0, Interest::bits);
    if wishes.interest.swap(bits, AcqRel) != bits {
        wishes.changed();
    }
    Ok(())
}

/// When the watcher is to be called, once.
pub(crate) fn wait_until(raw: u64, at: u64) -> Result<(), Errno> {
    let wishes = WATCHES.enter(raw).ok_or(libc::EBADF)?;
    if wishes.at.swap(at, AcqRel) != at {
        wishes.changed();
    }
    Ok(())
}

/// The handle is stale from now on. On the watch's worker no call begins; from elsewhere the task may have looked just before, and makes
/// the call that it was about to make. (Deciding the two on one word would change the moment and not the fact: between that and
/// the function's first line this may return.)
pub(crate) fn close(raw: u64) -> Result<(), Errno> {
    let wishes = WATCHES.enter(raw).ok_or(libc::EBADF)?;
    // Who sets it closes. Before the handle is stale, or the task would look once more and find the watch open; seeing it, the
    // task may remove the handle before us.
    if wishes.closed.swap(true, AcqRel) {
        return Err(libc::EBADF);
    }
    drop(WATCHES.remove(raw));
    wishes.let_go();
    wishes.changed();
    Ok(())
}

/// The worker of a watch. `EINVAL` for one of another runtime.
pub(crate) fn home_of(raw: u64, runtime: &RuntimeRef) -> Result<u32, Errno> {
    let wishes = WATCHES.enter(raw).ok_or(libc::EBADF)?;
    if wishes.runtime == runtime.handle() { Ok(wishes.home) } else { Err(libc::EINVAL) }
}

/// A watch, for use in Rust: a function that is called when a descriptor is ready, or at a time. Dropping it closes it.
#[derive(Debug)]
pub struct Watch(u64);

impl Watch {
    /// Opens a watch that waits for nothing yet. The function is called with what is ready, or with nothing for the time; by the
    /// worker of another watch, whose function is then never called at the same time.
    ///
    /// The descriptor is the caller's, and must not be closed before this is dropped.
    pub fn open<F>(runtime: &Runtime, near: Option<&Watch>, fd: Option<RawFd>, call: F) -> Result<Self, Error>
    where
        F: FnMut(Ready) + Send + Unpin + 'static,
    {
        let (runtime, mut watch) = (runtime.enter()?, None);
        let home = near.map(|near| home_of(near.0, &runtime)).transpose()?;
        open(&runtime, home, fd, call, |raw| watch = Some(Self(raw))).map_err(|(errno, _call)| errno)?;
        Ok(watch.expect("named before it returned"))
    }

    /// What to wait for from now on.
    pub fn wait_for(&self, interest: Option<Interest>) -> io::Result<()> {
        wait_for(self.0, interest).map_err(io::Error::from_raw_os_error)
    }

    /// When to call the function, once: a time of [`now`](crate::now()), or `u64::MAX` for never.
    pub fn wait_until(&self, at: u64) -> io::Result<()> {
        wait_until(self.0, at).map_err(io::Error::from_raw_os_error)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Where the runtime was freed before, nothing is left to be closed.
        let _ = close(self.0);
    }
}

impl<F: FnMut(Ready) + Send + Unpin + 'static> Watcher for F {
    fn call(&mut self, ready: Ready) {
        self(ready);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Config, Notify};
    use std::io::Write;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_function_is_called_while_something_is_left_and_at_its_time() {
        let runtime = Runtime::new(Config::default()).expect("a runtime");
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let (told, heard) = (Arc::new(Notify::default()), Arc::new(AtomicU64::new(0)));
        let (notify, calls) = (told.clone(), heard.clone());
        let watch = Watch::open(&runtime, None, Some(reader.as_raw_fd()), move |ready: Ready| {
            assert!(ready.intersects(Ready::READABLE));
            // Nothing is read, so it is called again.
            if calls.fetch_add(1, AcqRel) == 2 {
                notify.notify_one();
            }
        })
        .expect("a watch");
        writer.write_all(b"x").expect("room");
        watch.wait_for(Some(Interest::READABLE)).expect("good");
        let waiting = told.clone();
        runtime.block_on(async move { waiting.notified().await }).expect("runs").expect("ends");
        watch.wait_for(None).expect("good");

        let (start, notify) = (now(), told.clone());
        let clock = Watch::open(&runtime, Some(&watch), None, move |ready| {
            assert!(ready.is_empty() && now() >= start + 1_000_000);
            notify.notify_one();
        });
        clock.as_ref().expect("a watch").wait_until(start + 1_000_000).expect("good");
        assert!(clock.as_ref().expect("a watch").wait_for(Some(Interest::READABLE)).is_err(), "of no descriptor");
        runtime.block_on(async move { told.notified().await }).expect("runs").expect("ends");
    }
}
