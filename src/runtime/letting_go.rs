//! Who uses a registered descriptor, and the ways to let go of it: closing it, giving it back, and forgetting it.

use super::io::{Errno, IoName, traits};
use super::operation::{OpName, leave_traffic};
use super::registration::{feed, identity};
use super::runtimes::RuntimeRef;
use super::shared::Shared;
use crate::primitives::guard::Left;
use crate::primitives::sync::{Condvar, Mutex, Ordering::*, process_static};
use crate::readiness::IOS;
use std::cell::Cell;

process_static! {
    /// Threads that wait in `deregister` for the calls of others to end.
    static LEAVING: Mutex<()> = Mutex::new(());
}
process_static! {
    static LEFT: Condvar = Condvar::new();
}

/// When an operation that closes a descriptor may do so.
pub(super) enum Handed {
    Now,
    /// It will be told.
    Later,
    /// Never: the descriptor is only borrowed.
    Borrowed,
}

/// The use of a descriptor: it is not closed while this exists.
pub(super) struct InUse(IoName);

impl InUse {
    /// The use goes on, and is ended by `IoName::leave`.
    pub(super) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl IoName {
    /// Becomes a user of the descriptor.
    pub(super) fn enter(self) -> Result<InUse, Errno> {
        if self.io.guard.enter(self.generation) { Ok(InUse(self)) } else { Err(libc::EBADF) }
    }

    pub(super) fn leave(self) {
        match self.io.guard.leave() {
            Left::InUse => {}
            Left::WakeCloser => {
                drop(LEAVING.lock());
                LEFT.notify_all();
                self.closer().into_iter().for_each(OpName::retry);
            }
            Left::Last => self.finish(),
        }
    }

    /// The last user closes what is ours, and gives the entry back.
    fn finish(self) {
        let (fd, owner) = (self.fd(), self.io.owner.load(Relaxed));
        let close = !self.has(traits::BORROWED);
        leave_traffic(&self.io.traffic);
        if self.io.guard.recycle(crate::readiness::LAST_GENERATION) {
            IOS.free(self.index);
        }
        if close {
            // SAFETY: the descriptor was given to us at registration, and this was its last user. EINTR closes it too.
            unsafe { libc::close(fd) };
            // Not inside of the runtime: a waker that is called by this may free it, and would wait for us.
            let starved = RuntimeRef::enter(owner).map(|runtime| runtime.shared().fds.take_starved(true));
            feed(starved.unwrap_or_default());
        }
    }

    /// Makes the handle stale and wakes its waiters. The caller is the last but for direct calls of others.
    fn retire(self) -> Result<InUse, Errno> {
        if !self.io.guard.close(self.generation) {
            return Err(libc::EBADF);
        }
        let in_use = InUse(self);
        self.io.end(self.generation);
        self.cancel_traffic();
        Ok(in_use)
    }

    /// Takes the descriptor out of its driver's set and its runtime's table. False: the number is not ours any more.
    fn unwatch(self) -> bool {
        match RuntimeRef::enter(self.io.owner.load(Relaxed)) {
            Ok(runtime) => self.unwatch_in(runtime.shared()),
            // The runtime is being freed, and its sets with it.
            Err(_) => true,
        }
    }

    fn unwatch_in(self, shared: &Shared) -> bool {
        let mut numbers = shared.fds.numbers(self.fd()).lock();
        // Who took our place found that the number was another's by then, and the set has it for him.
        if !numbers.leave(self.fd(), self.raw()) {
            return false;
        }
        if !self.has(traits::WATCHED) {
            return self.io.identity.load(Relaxed) == identity(self.fd());
        }
        shared.remote(self.home()).driver.deregister(self.fd()).is_ok()
    }

    /// Leaves the number alone from now on.
    fn disown(self) {
        self.io.traits.fetch_or(traits::BORROWED, Relaxed);
    }

    /// The handle is stale at once; the descriptor is closed by its last user, unless it was borrowed. If it was closed
    /// behind us, the number may be a stranger's: it is left alone, and that is an error.
    pub(crate) fn close(self) -> Result<(), Errno> {
        let _in_use = self.retire()?;
        self.closed(self.unwatch())
    }

    /// As `close`, for the one who frees the runtime.
    pub(super) fn close_in(self, shared: &Shared) -> Result<(), Errno> {
        let _in_use = self.retire()?;
        self.closed(self.unwatch_in(shared))
    }

    fn closed(self, ours: bool) -> Result<(), Errno> {
        if ours {
            return Ok(());
        }
        self.disown();
        Err(libc::EBADF)
    }

    /// Makes the handle stale for an operation that closes the descriptor itself, when it is the last user.
    pub(super) fn hand_over(self, op: u64) -> Result<Handed, Errno> {
        if self.has(traits::BORROWED) {
            return self.close().map(|()| Handed::Borrowed);
        }
        // The mark is there before the handle is stale, and tells the operation from those that are cancelled.
        if !self.set_closer(op) {
            return Err(libc::EBADF);
        }
        let in_use = self.retire()?;
        self.closed(self.unwatch())?;
        self.disown();
        drop(in_use);
        Ok(if self.is_sole_user() { Handed::Now } else { Handed::Later })
    }

    /// True for the last user of a descriptor that was closed. Otherwise whoever leaves before it sees that it waits.
    pub(super) fn is_sole_user(self) -> bool {
        !self.is_open() && self.io.guard.await_others()
    }

    /// The operation will not close it: its last user does.
    pub(super) fn take_back(self) {
        self.io.traits.fetch_and(!traits::BORROWED, AcqRel);
    }

    /// The descriptor was closed behind us: it is not touched.
    pub(crate) fn forget(self) -> Result<(), Errno> {
        let _in_use = self.retire()?;
        self.disown();
        if let Ok(runtime) = RuntimeRef::enter(self.io.owner.load(Relaxed)) {
            runtime.shared().fds.numbers(self.fd()).lock().leave(self.fd(), self.raw());
        }
        Ok(())
    }

    /// The descriptor is the caller's again. Waits for the direct calls of other threads.
    pub(crate) fn deregister(self) -> Result<(), Errno> {
        if Attempt::is_within(self.raw()) {
            return Err(if self.is_open() { libc::EDEADLK } else { libc::EBADF });
        }
        let before = self.enter()?;
        self.close_without_traffic()?;
        let _in_use = InUse(self);
        drop(before);
        self.io.end(self.generation);
        self.disown();
        let ours = self.unwatch();
        let mut leaving = LEAVING.lock();
        while !self.io.guard.await_others() {
            LEFT.wait(&mut leaving);
        }
        drop(leaving);
        if ours { Ok(()) } else { Err(libc::EBADF) }
    }
}

/// Every descriptor that is registered with this runtime.
pub(super) fn owned_by(runtime: u64) -> impl Iterator<Item = IoName> {
    IOS.iter().filter_map(move |(index, io)| {
        let generation = io.guard.current()?;
        (io.owner.load(Relaxed) == runtime).then(|| IoName::new(io, generation, index))
    })
}

/// A call of the user's own code on a descriptor, on this thread's stack.
pub(super) struct Attempt {
    raw: u64,
    outer: *const Attempt,
}

thread_local! {
    static ATTEMPT: Cell<*const Attempt> = const { Cell::new(std::ptr::null()) };
}

impl Attempt {
    /// Runs `f` with the mark that this thread is within an attempt on the descriptor.
    pub(super) fn on<R>(io: IoName, f: impl FnOnce() -> R) -> R {
        let attempt = Self { raw: io.raw(), outer: ATTEMPT.get() };
        ATTEMPT.set(&raw const attempt);
        let result = f();
        ATTEMPT.set(attempt.outer);
        result
    }

    fn is_within(raw: u64) -> bool {
        let mut cursor = ATTEMPT.get();
        // SAFETY: attempts are on this thread's stack, further up than we are.
        while let Some(attempt) = unsafe { cursor.as_ref() } {
            if attempt.raw == raw {
                return true;
            }
            cursor = attempt.outer;
        }
        false
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::readiness::Interest;
    use crate::runtime::{Config, IoFlags, Runtime};
    use std::io::pipe;
    use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

    /// The end of a registration is two steps. In between the number, which was closed behind us, becomes another's.
    #[test]
    fn a_stranger_who_registers_while_the_old_one_leaves_is_left_alone() {
        // One worker, so both are in the same set.
        let runtime = Runtime::new(Config { workers: 1, ..Config::default() }).expect("a runtime");
        let runtime = runtime.enter().expect("it runs");
        let shared = runtime.shared();
        let flags = IoFlags { interest: Some(Interest::READABLE), ..IoFlags::default() };
        let (old_end, _far) = pipe().expect("a pipe");
        let old = shared.register(old_end.as_raw_fd(), flags).expect("a pipe can be registered");
        let (end, far) = pipe().expect("a pipe");
        // SAFETY: both are open; the first becomes a copy of the second, in one step.
        unsafe { libc::dup3(end.as_raw_fd(), old_end.as_raw_fd(), libc::O_CLOEXEC) };

        let in_use = old.retire().expect("it is open");
        let stranger = shared.register(OwnedFd::from(old_end).into_raw_fd(), flags).expect("the number is free");
        assert!(!old.unwatch(), "the stranger was taken out of the driver's set");
        assert_eq!(old.closed(false), Err(libc::EBADF));
        drop(in_use);
        drop(far);
        let closed = std::iter::repeat_with(|| stranger.try_ready(Interest::READABLE)).find(|seen| seen != &Ok(None));
        assert!(closed.is_some_and(|seen| seen.is_ok()), "it hears of its own events");
        assert_eq!(stranger.close(), Ok(()), "and its number is still its own");
    }
}
