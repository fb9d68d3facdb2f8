//! Operations: work that a task submits and whose outcome it takes. On a ring they are completions of the kernel; without
//! one they are tried, wait for readiness, or block a thread of the pool. The text that submits is the same.
//!
//! An operation is an entry of a process-wide, type-stable slab. Its word (`word.rs`) says whether the handle is good. All
//! else (`Body`) is its owner's: the worker that the task was on when it submitted, where the task stays as long as it has
//! operations. Everybody else only tells the owner something by the word, and puts the entry into the owner's mailbox.
//!
//! - `request.rs`: the table of what operations do.
//! - `life.rs`: making an entry, and letting go of it. `submit.rs`: choosing the operation's way; what a task may ask of it.
//! - `progress.rs`: completions and news; `cancel.rs`: ending an operation before it is done, also at its deadline; `lost.rs`: going on
//!   without a ring.
//! - `many.rs`: operations with many results, of which it has accepting; `receiving.rs`: receiving into leased buffers; `starved.rs`: who
//!   waits for one; `legacy.rs`: what receivers leave to a stream. `pooled.rs`: reading into such buffers without an operation.
//! - `traffic.rs`: what goes on on one descriptor: who has operations there, and the baton of its sends.
//! - `stream.rs`: ordered sends; `holder.rs`: who sends what is queued; `pump.rs`: what must wait; `parcel.rs`: what they consist of;
//!   `blob.rs`: what is sent to many; `splice.rs`: what is spliced; `sweep.rs`: what is cancelled; `flush.rs`: who waits for them;
//!   `refused.rs`: what waits for a connection that fails.
//! - `call.rs`: functions of the program's, as a task; `question.rs`: what is asked of name servers; `errand.rs`: what a task of the
//!   library's does.
//! - `set.rs`: waiting for many.
//!
//! A body's way: `begin` -> (Ring | Ready | Pool | Stream | Paused)* -> `settle` -> Done -> taken, reported or dropped ->
//! `release`. From `begin` to `settle` the operation is a user of its descriptors, and is counted by its task.

mod blob;
mod call;
mod cancel;
mod ending;
mod errand;
mod flush;
mod foresee;
mod holder;
mod legacy;
mod life;
mod lost;
mod many;
mod parcel;
mod pooled;
mod progress;
mod pump;
mod question;
mod receiving;
mod refused;
mod request;
mod set;
mod splice;
mod starved;
mod stream;
mod submit;
mod sweep;
mod traffic;
mod word;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

pub(crate) use blob::{BlobUse, blobs, free_blob, new_blob};
pub(crate) use call::{Call, Closure};
pub(crate) use errand::submit_errand;
pub(crate) use legacy::Receiver;
pub(crate) use parcel::Goods;
pub(super) use progress::Ops;
pub(crate) use question::{Answer, Question};
pub(crate) use receiving::Delivered;
pub(crate) use request::{Address, CURRENT, Request};
pub(crate) use set::{SetUse, free_set, new_set};
pub(crate) use splice::Splice;
pub(crate) use submit::{poll_quiesce, submit};
pub(super) use traffic::{Traffic, leave_traffic, traffics};

use super::buffers::LeaseQueue;
use super::io::{Errno, IoName};
use super::passed::take_fds;
use super::pool::Place;
use super::runtimes::RuntimeRef;
use super::timer::TimerName;
use super::worker::Worker;
use crate::driver::Ticket;
use crate::primitives::handle::{Handle, Kind};
use crate::primitives::inbox::{Node, Pushed};
use crate::primitives::slab::{Entry, Slab};
use crate::primitives::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering::*, UnsafeCell, process_static};
use crate::task::Header;
use legacy::Legacy;
use parcel::Batch;
use set::Member;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::task::{RawWaker, RawWakerVTable};
use traffic::Links;
use word::{Mail, News, Over, Told, Word};

process_static! {
    /// All operations of the process.
    pub(super) static OPS: Slab<Operation> = Slab::new();
}

/// How many operations there are.
pub(super) fn all() -> u64 {
    OPS.in_use()
}

/// A function of the program's that takes the outcome of an operation which its task does not wait for.
pub(crate) type Done = Option<unsafe extern "C" fn(arg: *mut c_void, outcome: i64)>;

/// Such a function, and what it is called with.
type Report = (Done, *mut c_void);

/// See the module. Four cache lines, of which a result of many looks at the first two.
#[repr(C, align(64))]
pub(crate) struct Operation {
    word: Word,
    /// Links the entry into a mailbox, or the owner's list, while the word says that it is mailed.
    link: AtomicPtr<Operation>,
    next_free: AtomicU32,
    index: AtomicU32,
    /// The worker that it belongs to, and the runtime of that.
    home: AtomicU32,
    runtime: AtomicU64,
    /// The task that it belongs to; null for the library's own.
    task: AtomicPtr<Header>,
    body: UnsafeCell<MaybeUninit<Body>>,
    /// What another thread did for it: written before `News::DONE`.
    result: AtomicU64,
    /// Whose turn a send is: see `parcel::Turn`.
    turn: parcel::Turn,
    /// Its places in the lists of its descriptors. Under their locks.
    links: [Links; 2],
}

impl Default for Operation {
    fn default() -> Self {
        Self {
            word: Word::default(),
            link: AtomicPtr::default(),
            next_free: AtomicU32::default(),
            index: AtomicU32::default(),
            home: AtomicU32::default(),
            runtime: AtomicU64::default(),
            task: AtomicPtr::default(),
            body: UnsafeCell::new(MaybeUninit::uninit()),
            result: AtomicU64::default(),
            turn: parcel::Turn::default(),
            links: Default::default(),
        }
    }
}

// SAFETY: all zeros are a free word, null pointers, and a body that is not there.
unsafe impl Entry for Operation {
    fn next_free(&self) -> &AtomicU32 {
        &self.next_free
    }
}

// SAFETY: the link is the mailbox's or list's that holds the entry, one at most (MAILED). Entries are aligned to 64.
unsafe impl Node for Operation {
    fn link(&self) -> &AtomicPtr<Self> {
        &self.link
    }
}

// SAFETY: the body is its owner's alone, but for the request, which is constant, while a thread of the pool works on it.
// What it points to is the program's, which promised that it may be used from any thread.
unsafe impl Sync for Operation {}
// SAFETY: as above.
unsafe impl Send for Operation {}

/// Where an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its entry is queued for the ring, or in the kernel. With `Body::cancels`, a cancel is on its way after it.
    Ring(Ticket),
    /// It waits for readiness.
    Ready,
    /// Queued for the threads that may block, or on one of them.
    Pool(Place),
    /// In a stream's queue.
    Stream,
    /// An operation with many results that cannot go on now; `Body::many` says why.
    Paused,
    Done,
}

/// How a task lets go of an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The task takes the outcome.
    Taken,
    /// The task let go: the outcome goes to a function of the program's.
    Reported,
    /// The task is over: the outcome is dropped.
    Dropped,
}

/// What is the owner's. What each result of many needs comes first.
#[repr(C)]
struct Body {
    stage: Cell<Stage>,
    ios: [Option<IoName>; 2],
    many: Option<Box<Many>>,
    /// What a set has of it that wants to know when it is ready, or that it never will be.
    watcher: Cell<Option<Arc<Member>>>,
    /// It is a user of its descriptors: from its begin until it settled.
    uses: Cell<bool>,
    fate: Cell<Fate>,
    /// The task found it pending, and is to be woken.
    awaited: Cell<bool>,
    /// Somebody asked for its end.
    cancelled: Cell<bool>,
    /// That was its deadline.
    timed_out: Cell<bool>,
    /// A cancel was handed to the kernel for the entry that is there now.
    cancels: Cell<bool>,
    /// What a connection that it accepts has in common with its listener.
    family: u16,
    request: Request,
    outcome: Cell<i64>,
    /// Where the outcome goes that is `Fate::Reported`.
    report: Cell<Report>,
    /// What ends it at a certain time.
    deadline: Cell<Option<TimerName>>,
    /// Its neighbours in the task's list, as index and 1.
    prev: Cell<u32>,
    next: Cell<u32>,
    /// Bytes that an operation which must be whole has moved so far.
    moved: Cell<usize>,
    /// What a pump has on the ring, or waits for.
    batch: Cell<Option<Box<Batch>>>,
}

impl Body {
    /// What it sends to.
    fn stream(&self) -> Option<IoName> {
        self.ios[usize::from(matches!(self.request, Request::Splice(_)))]
    }

    /// The descriptors may be closed from here on, as far as this operation is concerned.
    fn leave_descriptors(&self) {
        if self.uses.replace(false) {
            self.ios.into_iter().flatten().for_each(IoName::leave);
        }
    }

    /// Closes the descriptors that came with a message, if nobody will take the outcome. Before the operation is counted out, or by
    /// the task's runner: after that its memory may be the program's.
    fn drop_passed(&self) {
        let is_wanted = match self.fate.get() {
            Fate::Taken => true,
            Fate::Reported => self.report.get().0.is_some(),
            Fate::Dropped => false,
        };
        if let Request::RecvMsg { message, .. } = self.request
            && !is_wanted
            && self.outcome.get() >= 0
        {
            // SAFETY: the message is the library's yet, and nobody has heard of what came with it, nor does from here on.
            unsafe {
                drop(take_fds(&*message));
                (*message).msg_controllen = 0;
            }
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.leave_descriptors();
    }
}

/// The results of an operation with many. What each needs comes first.
#[derive(Default)]
#[repr(C)]
struct Many {
    leases: RefCell<LeaseQueue>,
    /// How many buffers are the task's or waiting for it.
    held: Cell<u32>,
    /// It waits in the queue for a buffer of the pool, or for a descriptor.
    starves: Cell<bool>,
    /// Its number in that queue for buffers.
    number: Cell<u64>,
    /// A buffer from outside of the pool is the task's, or waiting for it.
    borrows: Cell<bool>,
    /// It waits for buffers to come back, and is counted for that in `Ops::waiting`.
    waits: Cell<bool>,
    /// The entry that it has on the ring ends after so many bytes.
    is_limited: Cell<bool>,
    /// It receives from netlink, which tells when messages were lost.
    tells_loss: bool,
    /// Errors that do not end it.
    error: Cell<Option<Errno>>,
    /// The connections of one that accepts, from the first on.
    accepted: OnceCell<Box<RefCell<VecDeque<i32>>>>,
    /// Who gets what is left at the end.
    legacy: RefCell<Option<Arc<Legacy>>>,
}

/// An operation by its handle. Keeps nothing alive and never dangles.
#[derive(Clone, Copy)]
pub(crate) struct OpName {
    op: &'static Operation,
    generation: u32,
}

impl OpName {
    /// What a handle names, alive or not.
    pub(crate) fn parse(raw: u64) -> Option<Self> {
        let handle = Handle::parse(raw, Kind::Op)?;
        Some(Self { op: OPS.get(handle.index)?, generation: handle.generation })
    }

    pub(crate) fn is_live(self) -> bool {
        self.op.word.is_live(self.generation)
    }

    /// Asks the operation to end. Any thread.
    pub(crate) fn cancel(self) -> Result<(), Errno> {
        self.tell(News::CANCEL)
    }

    /// Lets the operation try again. Any thread.
    pub(super) fn retry(self) {
        // Whatever became of the handle: a close that was forgotten must be told, too.
        let _ = self.told(self.op.word.tell_life(self.generation, News::TRY));
    }

    fn tell(self, news: News) -> Result<(), Errno> {
        self.told(self.op.word.tell(Some(self.generation), news))
    }

    fn told(self, told: Told) -> Result<(), Errno> {
        match told {
            Told::Stale => Err(libc::EBADF),
            Told::Queued => Ok(()),
            Told::Post => {
                self.op.post();
                Ok(())
            }
        }
    }
}

impl Operation {
    /// The handle of the present life.
    fn name(&self) -> u64 {
        Handle { generation: self.word.generation(), index: self.index.load(Relaxed) }.pack(Kind::Op)
    }

    /// The task whose operation it is, for the owner. A stream's has none.
    fn task_here(&self) -> Option<&'static Header> {
        // SAFETY: a task with operations is alive, and this one is in its list.
        unsafe { self.task.load(Relaxed).as_ref() }
    }

    /// What is the owner's.
    fn body<'a>(&'a self, owner: &'a Worker) -> &'a Body {
        debug_assert_eq!(self.home.load(Relaxed), owner.index());
        // SAFETY: the entry is alive, and its body was written before it was. Only its owner, a worker that is one
        // thread's at a time, comes here; a thread of the pool reads the request, which nobody writes.
        self.body.with(|body| unsafe { (*body).assume_init_ref() })
    }

    /// Another thread did it.
    fn deliver(&'static self, result: i64) {
        self.deliver_to(self.word.generation(), result);
    }

    /// The same, for a caller who knows the life that it did it for.
    fn deliver_to(&'static self, life: u32, result: i64) {
        self.result.store(result as u64, Release);
        if self.word.tell_life(life, News::DONE) == Told::Post {
            self.post();
        }
    }

    /// Puts the entry, which the caller has just marked as mailed, where its owner finds it. If nobody takes it in, the runtime
    /// goes, and its workers end what they have without being told; as soon as the mark is off, the entry is theirs. But what
    /// somebody else had in hand its worker leaves alone: who takes off the news that it is done, whoever told it, ends it.
    fn post(&'static self) {
        if !self.mail() && self.open_mail().is_some_and(|news| news.has(News::DONE)) {
            self.end_unheard();
        }
    }

    /// The same, but that nobody took it in leaves the entry marked, and the mark the caller's.
    fn mail(&'static self) -> bool {
        let (runtime, home) = (self.runtime.load(Relaxed), self.home.load(Relaxed));
        let is_here = super::context::Current::with_worker(|worker| match worker {
            Some(worker) if worker.index() == home && worker.shared().handle == runtime => {
                worker.ops().woken.take_in(self)
            }
            _ => false,
        });
        if is_here {
            return true;
        }
        let Ok(runtime) = RuntimeRef::enter(runtime) else { return false };
        let remote = runtime.shared().remote(home);
        let pushed = remote.mail.push(self.into());
        remote.nudge();
        pushed != Pushed::Closed
    }

    /// Takes the entry, of which the caller has the mark, out of the mail. `None`: the life is over, and the entry given back.
    fn open_mail(&self) -> Option<News> {
        match self.word.open_mail() {
            Mail::News(news) => Some(news),
            Mail::Over => {
                self.give_back();
                None
            }
        }
    }

    /// Gives the entry back after its life ended and it left the mailbox.
    fn give_back(&self) {
        if self.word.is_reusable() {
            OPS.free(self.index.load(Relaxed));
        }
    }

    /// Ends the life.
    fn end(&self) {
        match self.word.close() {
            Over::Free => self.give_back(),
            Over::Later => {}
        }
    }
}

/// How readiness wakes an operation. The entry is type-stable, so a waker needs no count; one that comes late lets the
/// entry's next life try once in vain.
pub(super) static WAKER: RawWakerVTable =
    RawWakerVTable::new(|data| RawWaker::new(data, &WAKER), wake, wake, |_data| {});

unsafe fn wake(data: *const ()) {
    // SAFETY: the data of these wakers is an entry of the slab, whose pages are never given back.
    let op: &'static Operation = unsafe { &*data.cast::<Operation>() };
    if op.word.tell(None, News::TRY) == Told::Post {
        op.post();
    }
}

/// The owner's list of its own operations that have news. First in, first out.
#[derive(Default)]
struct Woken {
    head: Cell<Option<&'static Operation>>,
    tail: Cell<Option<&'static Operation>>,
    /// Nobody will look again.
    closed: Cell<bool>,
}

impl Woken {
    /// False: it is closed, and the entry still the caller's.
    fn take_in(&self, op: &'static Operation) -> bool {
        let is_open = !self.closed.get();
        if is_open {
            self.push(op);
        }
        is_open
    }

    fn push(&self, op: &'static Operation) {
        op.link.store(std::ptr::null_mut(), Relaxed);
        match self.tail.replace(Some(op)) {
            None => self.head.set(Some(op)),
            Some(tail) => tail.link.store(std::ptr::from_ref(op).cast_mut(), Relaxed),
        }
    }

    fn last(&self) -> Option<&'static Operation> {
        self.tail.get()
    }

    fn pop(&self) -> Option<&'static Operation> {
        let op = self.head.get()?;
        // SAFETY: what is linked is an entry of the slab.
        self.head.set(unsafe { op.link.load(Relaxed).as_ref() });
        if self.head.get().is_none() {
            self.tail.set(None);
        }
        Some(op)
    }

    fn is_empty(&self) -> bool {
        self.head.get().is_none()
    }
}
