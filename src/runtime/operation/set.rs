//! Sets: waiting for many operations and tasks at once.
//!
//! A member is watched by what it stands for, which fires it once, when it has something to take, or never will. A fired
//! member goes to the end of the set's queue, from where a poll takes it. So a poll looks at no member that is not ready.

use super::super::context::PollContext;
use super::super::io::{Errno, IoPoll};
use super::super::runtimes::RuntimeRef;
use super::super::timer::TimerName;
use super::OpName;
use crate::primitives::crowd::Crowd;
use crate::primitives::handle::{Handle, Kind};
use crate::primitives::shelf::{Shelf, Use};
use crate::primitives::sync::{Mutex, process_static};
use crate::primitives::wake_list::wake;
use crate::primitives::{Wake, waker};
use crate::task::{TaskName, is_dead};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};

process_static! {
    static SETS: Shelf<Pot> = Shelf::new(Kind::Set);
}

/// What is in a set. Members that are watched keep it, also after the set was freed; then it has neither members nor
/// waiters.
#[derive(Default)]
pub(crate) struct Pot {
    /// The runtime whose tasks use the set.
    runtime: u64,
    contents: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    freed: bool,
    /// The keys of fired members, in their order.
    ready: VecDeque<u64>,
    /// How many members are watched.
    watched: usize,
    /// Those of them that may see many sets, by the member's address, which is their waiter's key, and which is no other
    /// member's as long as it may have to be forgotten.
    lasting: HashMap<usize, (Lasting, Weak<Member>)>,
    /// Who found nothing ready: a task or a context, with its waker. Whatever changes that wakes them all.
    waiting: Crowd<usize, Waker>,
}

/// What keeps a member until it fires, and so must be told when nobody wants that any more. An operation is not: it replaces
/// a member that nobody wants by the next.
#[derive(Clone, Copy)]
enum Lasting {
    Task(TaskName),
    Timer(TimerName),
}

impl Lasting {
    fn forget(self, key: usize) {
        match self {
            Self::Task(task) => task.forget_joiner(key),
            Self::Timer(timer) => timer.forget_watcher(key),
        }
    }
}

/// One thing that a set waits for. Fired once, by whom it was given to.
pub(super) struct Member {
    pot: Arc<Pot>,
    key: u64,
}

impl Wake for Member {
    fn wake_by_ref(this: &Arc<Self>) {
        this.fire();
    }
}

impl Member {
    /// It is ready.
    pub(super) fn fire(&self) {
        self.pot.tell(|contents| {
            if !contents.freed {
                contents.lasting.remove(&std::ptr::from_ref(self).addr());
                contents.watched -= 1;
                contents.ready.push_back(self.key);
            }
        });
    }

    /// True as long as somebody may want to know.
    fn is_wanted(&self) -> bool {
        !self.pot.contents.lock().freed
    }
}

impl Pot {
    /// Makes a member that whoever calls gives away to be fired.
    fn admit(self: &Arc<Self>, key: u64, lasting: Option<Lasting>) -> Arc<Member> {
        let member = Arc::new(Member { pot: self.clone(), key });
        let mut contents = self.contents.lock();
        contents.watched += 1;
        if let Some(lasting) = lasting {
            contents.lasting.insert(Arc::as_ptr(&member).addr(), (lasting, Arc::downgrade(&member)));
        }
        drop(contents);
        member
    }

    /// Changes something that all who wait must hear of.
    fn tell<R>(&self, change: impl FnOnce(&mut Contents) -> R) -> R {
        let mut contents = self.contents.lock();
        let result = change(&mut contents);
        let waiting = std::mem::take(&mut contents.waiting);
        drop(contents);
        waiting.into_values().for_each(wake);
        result
    }

    /// The key of the member that was ready first, which leaves the set.
    fn poll(&self, cx: &PollContext) -> IoPoll<u64> {
        // It is cloned, and dropped, without the lock.
        let mut waker: Option<Waker> = None;
        loop {
            let mut contents = self.contents.lock();
            if let Some(key) = contents.ready.pop_front() {
                return Poll::Ready(Ok(key));
            }
            if contents.watched == 0 {
                return Poll::Ready(Err(if contents.freed { libc::EBADF } else { libc::ENOENT }));
            }
            if let Some(waker) = waker.take() {
                let unneeded = contents.waiting.put(cx.key(), waker, is_dead);
                drop(contents);
                drop(unneeded);
                return Poll::Pending;
            }
            drop(contents);
            waker = Some((*cx.waker()).clone());
        }
    }

    /// Lets go of all members, and of everybody who waits for them.
    fn end(&self) {
        let lasting = self.tell(|contents| {
            contents.freed = true;
            contents.watched = 0;
            contents.ready = VecDeque::new();
            std::mem::take(&mut contents.lasting)
        });
        lasting.into_iter().for_each(|(key, (lasting, _member))| lasting.forget(key));
    }
}

/// The use of a set, which lives as long as this.
pub(crate) struct SetUse(Use<Pot>);

/// Makes a set for tasks of the runtime.
pub(crate) fn new_set(runtime: &RuntimeRef) -> Result<u64, Errno> {
    let pot = Arc::new(Pot { runtime: runtime.shared().handle, contents: Mutex::default() });
    SETS.put(pot).ok_or(libc::ENOMEM)
}

/// Gives up the program's reference.
pub(crate) fn free_set(raw: u64) -> Result<(), Errno> {
    SETS.remove(raw).ok_or(libc::EBADF)?.end();
    Ok(())
}

impl SetUse {
    /// Becomes a user of the set.
    pub(crate) fn enter(raw: u64) -> Result<Self, Errno> {
        SETS.enter(raw).map(Self).ok_or(libc::EBADF)
    }

    /// The pot, for a context of the runtime that the set is for.
    fn pot(&self, cx: &PollContext) -> Result<&Arc<Pot>, Errno> {
        if self.0.runtime == cx.runtime() { Ok(&self.0) } else { Err(libc::EPERM) }
    }

    /// Adds what the handle names.
    pub(crate) fn add(&self, cx: &PollContext, handle: u64, key: u64) -> Result<(), Errno> {
        let pot = self.pot(cx)?;
        if let Some(op) = OpName::parse(handle) {
            return op.watch(cx, || pot.admit(key, None));
        }
        if let Some(timer) = TimerName::parse(handle) {
            return timer.watch(|| waker(pot.admit(key, Some(Lasting::Timer(timer)))));
        }
        match TaskName::parse(handle) {
            Some(task) if cx.task() == Some(task) => Err(libc::EDEADLK),
            Some(task) => task.watch(|| waker(pot.admit(key, Some(Lasting::Task(task))))).map_err(|_stale| libc::EBADF),
            None if is_of_another_kind(handle) => Err(libc::EINVAL),
            None => Err(libc::EBADF),
        }
    }

    /// The key of the member that was ready first, which leaves the set.
    pub(crate) fn poll(&self, cx: &PollContext) -> IoPoll<u64> {
        match self.pot(cx) {
            Err(errno) => Poll::Ready(Err(errno)),
            // The budget is for what the member yields: it must still be there when that is taken.
            Ok(_) if !cx.can_spend() => Poll::Pending,
            Ok(pot) => pot.poll(cx),
        }
    }
}

fn is_of_another_kind(raw: u64) -> bool {
    use Kind::*;
    let kinds =
        [Runtime, Io, Lease, Blob, Set, Signal, Process, Notify, Sem, Chan, Oneshot, Event, Stream, Server, Watch];
    kinds.into_iter().any(|kind| Handle::parse(raw, kind).is_some())
}

impl OpName {
    /// Makes the operation a member, fired when it has something for its task: now, if it has. `EEXIST`: another set, or
    /// this one, has it and would never hear of it.
    fn watch(self, cx: &PollContext, admit: impl FnOnce() -> Arc<Member>) -> Result<(), Errno> {
        self.with(cx, |worker, _op, body| {
            let watcher = body.watcher.take().filter(|watcher| watcher.is_wanted());
            if watcher.is_some() {
                body.watcher.set(watcher);
                return Err(libc::EEXIST);
            }
            if !body.is_ready() {
                self.is_awaited(worker)?;
            }
            match body.is_ready() {
                true => admit().fire(),
                false => body.watcher.set(Some(admit())),
            }
            Ok(())
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::runtime::{Config, Runtime, Start, start_timer};

    /// While a set is freed a member of it may fire and go, and the next member be made, of another set.
    #[test]
    fn a_member_has_an_address_that_no_set_is_about_to_forget() {
        let runtime = Runtime::new(Config::default()).expect("a runtime");
        let handle = runtime.enter().expect("it lives").shared().handle;
        let timer = TimerName::parse(start_timer(handle, Start::at(u64::MAX)).expect("a timer")).expect("its handle");
        let freed = Arc::new(Pot::default());
        let gone = freed.admit(1, Some(Lasting::Timer(timer)));
        let address = Arc::as_ptr(&gone).addr();
        drop(gone);
        let others: Vec<_> = (0..100).map(|key| Arc::new(Pot::default()).admit(key, None)).collect();
        assert!(others.iter().all(|other| Arc::as_ptr(other).addr() != address));
        assert!(timer.cancel().is_ok());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::thread::{self, Thread};

    struct Sleeper(Thread);

    impl Wake for Sleeper {
        fn wake_by_ref(this: &Arc<Self>) {
            this.0.unpark();
        }
    }

    fn context() -> &'static PollContext {
        PollContext::standalone(0, waker(Arc::new(Sleeper(thread::current())))).expect("memory")
    }

    /// Members that fire while the set is polled come once each, and whoever found none is woken.
    #[test]
    fn loom_members_fire_while_the_set_is_polled() {
        loom::model(|| {
            let pot = Arc::new(Pot::default());
            let members = [1, 2].map(|key| pot.admit(key, None));
            let firing = members.map(|member| thread::spawn(move || member.fire()));
            let (cx, mut sum) = (context(), 0);
            loop {
                match pot.poll(cx) {
                    Poll::Ready(Ok(key)) => sum += key,
                    Poll::Ready(Err(errno)) => break assert_eq!(errno, libc::ENOENT),
                    Poll::Pending => thread::park(),
                }
            }
            assert_eq!(sum, 3);
            firing.into_iter().for_each(|thread| thread.join().expect("no panic"));
            cx.free_standalone();
        });
    }

    /// Whoever waits is woken when the set is freed, and a member that fires then is nobody's.
    #[test]
    fn loom_a_member_fires_while_the_set_is_freed() {
        loom::model(|| {
            let pot = Arc::new(Pot::default());
            let member = pot.admit(1, None);
            let cx = context();
            let waits = pot.poll(cx) == Poll::Pending;
            let firing = thread::spawn(move || member.fire());
            let freeing = thread::spawn({
                let pot = pot.clone();
                move || pot.end()
            });
            assert!(waits);
            thread::park();
            firing.join().expect("no panic");
            freeing.join().expect("no panic");
            assert!(pot.poll(cx) == Poll::Ready(Err(libc::EBADF)));
            cx.free_standalone();
        });
    }
}
