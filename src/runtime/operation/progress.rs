//! What becomes of operations: completions, news from other threads, deadlines; and how they end.

use super::super::accepting::{MOST_PASSED_OVER, is_passed_over};
use super::super::buffers::Buffers;
use super::super::context::{OwnContext, PollContext, UNLIMITED};
use super::super::io::{Errno, IoName, traits};
use super::super::letting_go::Handed;
use super::super::registration::feed;
use super::super::shared::Counters;
use super::super::transfer::Attempted;
use super::super::worker::Worker;
use super::request::Request;
use super::starved::Starved;
use super::*;
use crate::driver::{Completion, GIVEN_UP};
use crate::primitives::fork::is_forked;
use crate::primitives::sync::Ordering::*;
use std::task::Poll;

/// What a worker keeps for its operations.
pub(in super::super) struct Ops {
    /// Operations with news, from this thread or out of the mailbox.
    pub(super) woken: Woken,
    /// Free entries that are this worker's.
    pub(super) spare: RefCell<Vec<&'static Operation>>,
    /// Operations whose outcome goes to a function of the program's.
    reports: RefCell<VecDeque<&'static Operation>>,
    pub(super) buffers: RefCell<Buffers>,
    /// Whether the kernel has the buffers' ring. `None`: it was not asked yet.
    pub(super) provides: Cell<Option<bool>>,
    /// Whether the kernel knows a limit for a multishot receive. Believed until it says otherwise.
    pub(super) limits: Cell<bool>,
    /// How many receivers wait for buffers to come back, be it to the pool or from their own task.
    pub(super) waiting: Cell<u32>,
    /// Receivers that wait for a buffer of the pool.
    pub(super) starved: RefCell<Starved<OpName>>,
    /// Some of them have nothing, or were left where there were buffers: they go on when there is nothing else to do.
    pub(super) hungry: Cell<bool>,
    /// How often in a row somebody waited, and no buffer had come back.
    pub(super) looked: Cell<u32>,
    /// Who finds the pool empty now may borrow.
    pub(super) lending: Cell<bool>,
    completions: Cell<Vec<Completion>>,
    /// The context in which operations are tried.
    cx: OwnContext,
}

/// How many operations with news are looked at before tasks run again.
const MOST_NEWS: usize = 256;

pub(super) fn errno_outcome(done: Attempted) -> i64 {
    done.map_or_else(|errno| -i64::from(errno), |value| value as i64)
}

/// The outcome of an operation whose descriptors may have been closed under it, which was cancelled then.
pub(super) fn told_by_closed(ios: [Option<IoName>; 2], done: Attempted) -> i64 {
    match done {
        Err(libc::EBADF) if !ios.into_iter().flatten().all(IoName::is_open) => -i64::from(libc::ECANCELED),
        // As are all operations of a runtime that goes.
        Err(libc::ESHUTDOWN) => -i64::from(libc::ECANCELED),
        done => errno_outcome(done),
    }
}

impl Ops {
    pub(in super::super) fn new(cx: OwnContext, buffers: Buffers) -> Self {
        cx.get().refill(UNLIMITED);
        Self {
            woken: Woken::default(),
            spare: RefCell::default(),
            reports: RefCell::default(),
            buffers: RefCell::new(buffers),
            provides: Cell::new(None),
            limits: Cell::new(true),
            waiting: Cell::new(0),
            starved: RefCell::default(),
            hungry: Cell::new(false),
            looked: Cell::new(0),
            lending: Cell::new(false),
            completions: Cell::default(),
            cx,
        }
    }

    /// True if there is something to do that no sleep would hear of.
    pub(in super::super) fn have_news(&self) -> bool {
        !self.woken.is_empty() || !self.reports.borrow().is_empty()
    }
}

impl Body {
    /// Fires the member of a set that the operation is.
    pub(super) fn tell_watcher(&self) {
        self.watcher.take().into_iter().for_each(|watcher| watcher.fire());
    }

    /// True if a poll of the operation would not be pending.
    pub(super) fn is_ready(&self) -> bool {
        let many = self.many.as_ref().is_some_and(|many| many.has_results());
        many || self.stage.get() == Stage::Done
    }
}

impl Worker {
    /// Waits in the driver, and takes in what it completed. True if there was anything.
    pub(in super::super) fn turn(&self, timeout: Option<std::time::Duration>) -> bool {
        self.unlooked.set(0);
        // A function that was told an outcome forked, and came back in the child.
        if is_forked() {
            return false;
        }
        let mut completions = self.ops().completions.take();
        let waited = self.driver.borrow_mut().wait(timeout, &mut completions);
        let is_told = waited.unwrap_or_else(|_| {
            self.back_off(timeout);
            false
        });
        if !is_told && completions.is_empty() {
            self.ops().completions.set(completions);
            return false;
        }
        self.rouse();
        let events = if is_told { self.driver.borrow_mut().deliver() } else { 0 };
        let news = events + completions.len();
        self.foresee(&completions);
        for completion in completions.drain(..) {
            self.completed(completion);
        }
        self.ops().completions.set(completions);
        Counters::add(&self.remote().counters.events, news as u64);
        news > 0
    }

    /// Takes in everything that there is to know about operations but for completions. True if there was anything.
    pub(in super::super) fn progress(&self) -> bool {
        // A waker did the same.
        if is_forked() {
            return false;
        }
        let mut any = false;
        // What goes on after others had their turn comes behind the last.
        let last = self.ops().woken.last();
        for _ in 0..MOST_NEWS {
            let Some(op) = self.ops().woken.pop() else { break };
            any = true;
            self.rouse();
            self.read_mail(op);
            if last.is_some_and(|last| std::ptr::eq(last, op)) {
                break;
            }
        }
        any |= self.expire();
        any |= self.take_returned();
        any | self.report()
    }

    /// Takes over what others put into the mailbox.
    pub(in super::super) fn take_mail(&self) {
        for op in self.remote().mail.take() {
            // SAFETY: what is mailed is an entry of the slab.
            self.ops().woken.push(unsafe { op.as_ref() });
        }
    }

    fn read_mail(&self, op: &'static Operation) {
        let name = OpName { op, generation: op.word.generation() };
        let Some(news) = op.open_mail() else { return };
        // Each of these may be its end.
        self.delivered(op, news);
        if news.has(News::CANCEL) && op.word.lives(name.generation) {
            self.cancel(op);
        }
        if news.has(News::TRY) && op.word.lives(name.generation) {
            self.try_again(op);
        }
    }

    fn try_again(&self, op: &'static Operation) {
        let body = op.body(self);
        match (body.stage.get(), &body.request) {
            (Stage::Ready, Request::Pump) => self.pump(op),
            (Stage::Ring(_), Request::Pump) if self.driver.borrow().has_given_up() => self.abandon_pump(op),
            // Something that the kernel has of it is not wanted any more.
            (Stage::Ring(_), Request::Pump) if self.stop_in_ring(op) => self.pump(op),
            // Whoever told it, late or not: only the last user may close.
            (Stage::Ready, Request::Close) if body.ios[0].is_none_or(IoName::is_sole_user) => self.carry_out(op),
            (Stage::Ready, Request::Close | Request::Errand(_)) => {}
            (Stage::Ready, _) => self.attempt(op),
            (Stage::Paused, _) => self.resume(op),
            _ => {}
        }
    }

    /// Ends what others have done, if that is the news.
    pub(super) fn delivered(&self, op: &'static Operation, news: News) {
        let body = op.body(self);
        match (body.stage.get(), &body.request) {
            (Stage::Pool(_), Request::Resolve(question)) if news.has(News::BACK) => self.settle(op, question.outcome()),
            (Stage::Ready, Request::Errand(errand)) if news.has(News::BACK) => self.settle(op, errand.outcome()),
            (_, Request::RecvMany) if news.has(News::BACK) => self.loan_ended(op),
            _ if news.has(News::DONE) => self.done(op, op.result.load(Acquire) as i64),
            _ => {}
        }
    }

    /// Another thread, or the stream, did it.
    fn done(&self, op: &'static Operation, result: i64) {
        let body = op.body(self);
        match (body.stage.get(), &body.request) {
            (Stage::Pool(_), Request::Splice(_)) if result == -i64::from(libc::EAGAIN) => match body.cancelled.get() {
                true => self.settle(op, -i64::from(libc::ECANCELED)),
                false => self.attempt(op),
            },
            // What a function returns is its own: no number of it means that it was ended.
            (Stage::Pool(_), Request::Call { .. }) => {
                body.timed_out.set(false);
                self.settle(op, result);
            }
            (Stage::Pool(_) | Stage::Stream, _) => self.settle(op, result),
            _ => {}
        }
    }

    /// Tries an operation without blocking; if that is in vain, readiness will wake it.
    pub(super) fn attempt(&self, op: &'static Operation) {
        let body = op.body(self);
        if body.request.is_many() {
            return self.attempt_many(op);
        }
        let Some(io) = body.ios[0] else { return self.settle(op, -i64::from(libc::EBADF)) };
        let polled = self.as_operation(op, |cx| {
            // SAFETY: what the request names is the program's until the outcome was taken.
            unsafe { body.request.poll(io, body.ios[1], cx, &body.moved) }
        });
        match polled {
            Poll::Pending => body.stage.set(Stage::Ready),
            Poll::Ready(Err(super::splice::ON_A_THREAD)) => self.to_pool(op),
            Poll::Ready(done) => self.settle(op, told_by_closed(body.ios, done)),
        }
    }

    /// The outcome of an operation that received nothing.
    pub(super) fn end_of(&self, op: &'static Operation) -> i64 {
        op.body(self).ios[0].map_or(0, |io| errno_outcome(io.end_of_stream()))
    }

    /// Runs `f` with a context whose waker is the operation's.
    pub(super) fn as_operation<R>(&self, op: &'static Operation, f: impl FnOnce(&PollContext) -> R) -> R {
        let cx = self.ops().cx.get();
        let _polling = cx.enter_as(std::ptr::from_ref(op).cast(), &WAKER);
        f(cx)
    }

    /// The kernel completed something.
    pub(super) fn completed(&self, completion: Completion) {
        if let Some(handle) = Handle::parse(completion.user_data, Kind::Cancel) {
            return self.cancel_returned(handle, completion.result);
        }
        let found = Handle::parse(completion.user_data, Kind::Op)
            .and_then(|handle| OPS.get(handle.index).filter(|op| self.owns(op, handle.generation)));
        match found {
            Some(op) if matches!(op.body(self).stage.get(), Stage::Ring(_)) => {
                if !completion.has_more() && !completion.is_returned() {
                    self.driver.borrow_mut().ended();
                }
                self.completed_op(op, completion);
            }
            _ if completion.user_data == GIVEN_UP => self.ring_is_lost(),
            // For somebody who is gone, or once too often: it closes nothing, and gives back what it holds.
            _ => {
                if let Some(buffer) = completion.buffer() {
                    self.ops().buffers.borrow_mut().unfilled(buffer);
                }
            }
        }
    }

    /// True if the operation lives this life, and is this worker's.
    pub(super) fn owns(&self, op: &Operation, generation: u32) -> bool {
        op.word.lives(generation)
            && op.home.load(Relaxed) == self.index()
            && op.runtime.load(Relaxed) == self.shared().handle
    }

    fn completed_op(&self, op: &'static Operation, completion: Completion) {
        let body = op.body(self);
        let is_file = body.ios[0].is_some_and(|io| io.has(traits::FILE));
        let result = completion.result;
        let errno = result.checked_neg().unwrap_or(0);
        if completion.is_returned() {
            return self.came_back(op);
        }
        match &body.request {
            Request::AcceptMany => return self.accepted(op, completion),
            Request::RecvMany => return self.received(op, completion),
            Request::Pump => return self.pumped(op, completion),
            _ if completion.has_more() => return,
            request if result > 0 && request.whole().is_some() => return self.received_piece(op, result as usize),
            request if result == 0 && request.receives() => return self.end_whole(op, self.end_of(op)),
            request if body.cancelled.get() && !matches!(request, Request::Close) => {
                // Interrupted on the way, in words that are the kernel's own.
                let cut_short = matches!(errno, libc::EINTR | libc::EAGAIN | 512..=516);
                return self.end_whole(op, if cut_short { -i64::from(libc::ECANCELED) } else { result.into() });
            }
            // What the ring does not wait for is waited for the other way.
            request if errno == libc::EAGAIN && request.is_on(is_file) => return self.attempt(op),
            Request::Write { .. } | Request::Writev { .. } if !is_file && refuses_flags(errno) => {
                body.ios[0].into_iter().for_each(|io| io.add_trait(traits::PAST_RING));
                return self.attempt(op);
            }
            Request::Close if errno == libc::ECANCELED => return self.give_up_close(op),
            // One that was interrupted has closed.
            Request::Close if errno == libc::EINTR => return self.settle(op, 0),
            Request::Accept if is_passed_over(errno) && body.moved.get() < MOST_PASSED_OVER => {
                body.moved.set(body.moved.get() + 1);
                return self.to_ring(op);
            }
            _ if errno == libc::EINTR => return self.to_ring(op),
            _ => {}
        }
        self.end_whole(op, result.into());
    }

    /// The ring received some bytes of what must be whole.
    fn received_piece(&self, op: &'static Operation, bytes: usize) {
        let body = op.body(self);
        let moved = body.moved.get() + bytes;
        body.moved.set(moved);
        if body.cancelled.get() || body.request.whole() == Some(moved) {
            return self.settle(op, moved as i64);
        }
        body.ios[0].into_iter().for_each(|io| io.note_moved(true));
        self.to_ring(op);
    }

    /// Nothing more will come. Of what must be whole, the bytes that came are the outcome, and the next one hears why it is over.
    pub(super) fn end_whole(&self, op: &'static Operation, outcome: i64) {
        let body = op.body(self);
        let moved = body.request.whole().map_or(0, |_| body.moved.get());
        if moved == 0 {
            return self.settle(op, outcome);
        }
        body.ios[0].into_iter().for_each(|io| io.broke(outcome.unsigned_abs() as Errno));
        self.settle(op, moved as i64);
    }

    /// The operation is over, and the kernel, the pool and the stream have nothing of it any more.
    pub(super) fn settle(&self, op: &'static Operation, outcome: i64) {
        let body = op.body(self);
        let timed_out = body.timed_out.get() && outcome == -i64::from(libc::ECANCELED);
        body.outcome.set(if timed_out { -i64::from(libc::ETIME) } else { outcome });
        body.stage.set(Stage::Done);
        body.drop_passed();
        self.end_deadline(body);
        self.waits_no_more(op);
        let receives = body.request.receives();
        for (slot, io) in body.ios.into_iter().enumerate() {
            if let Some(io) = io {
                if outcome > 0 && body.request.moves_bytes() {
                    io.note_moved(receives && slot == 0);
                }
                if outcome < 0 && receives && slot == 0 {
                    io.was_told(outcome.unsigned_abs() as Errno);
                }
                io.leave_traffic_of(op, slot, receives && slot == 0);
            }
        }
        body.leave_descriptors();
        if matches!(body.request, Request::Close) && body.outcome.get() == 0 {
            feed(self.shared().fds.take_starved(true));
        }
        if let Some(task) = op.task_here() {
            self.count_out(task);
        }
        if self.bequeath(op) {
            return;
        }
        match body.fate.get() {
            Fate::Taken => self.notify(op),
            Fate::Reported => self.report_later(op),
            Fate::Dropped => self.release(op),
        }
    }

    /// There is something for the task, unless that is over.
    pub(super) fn tell_task(&self, op: &'static Operation) {
        if op.body(self).fate.get() != Fate::Dropped {
            self.notify(op);
        }
    }

    /// One operation of the task is over.
    fn count_out(&self, task: &'static Header) {
        let extra = task.extra_or_new();
        let left = extra.live_ops.load(Relaxed) - 1;
        // Who waits for the end of a task that was given up sees what the operation did.
        extra.live_ops.store(left, Release);
        Counters::add(&self.remote().counters.ops_ended, 1);
        look_at_quiet(task);
    }

    /// There is something for the task that owns the operation.
    pub(super) fn notify(&self, op: &'static Operation) {
        let body = op.body(self);
        body.tell_watcher();
        if body.awaited.replace(false)
            && let Some(task) = op.task_here()
        {
            task.wake_here();
        }
    }

    // Outcomes that go to functions of the program's.

    pub(super) fn report_later(&self, op: &'static Operation) {
        if let Some(task) = op.task_here() {
            let reports = &task.extra_or_new().reports;
            reports.store(reports.load(Relaxed) + 1, Relaxed);
        }
        self.ops().reports.borrow_mut().push_back(op);
    }

    fn report(&self) -> bool {
        let mut any = false;
        loop {
            // The borrow ends before the program's function runs.
            let Some(op) = self.ops().reports.borrow_mut().pop_front() else { return any };
            any = true;
            self.rouse();
            if let (Some(done), arg) = op.body(self).report.get() {
                let outcome = self.claim(op);
                // SAFETY: whoever forgot the operation promised that the function may be called with the argument.
                unsafe { done(arg, outcome) };
                if is_forked() {
                    return any;
                }
            }
            if let Some(task) = op.task_here() {
                let reports = &task.extra_or_new().reports;
                reports.store(reports.load(Relaxed) - 1, Relaxed);
                look_at_quiet(task);
            }
            self.release(op);
        }
    }

    // Closing.

    /// Closes the descriptor of an operation when its other users have gone.
    pub(super) fn await_last_user(&self, op: &'static Operation) {
        let body = op.body(self);
        body.stage.set(Stage::Ready);
        let Some(io) = body.ios[0] else { return self.settle(op, -i64::from(libc::EBADF)) };
        match io.hand_over(op.name()) {
            Ok(Handed::Now) => self.carry_out(op),
            Ok(Handed::Later) => {}
            Ok(Handed::Borrowed) => self.settle(op, 0),
            Err(errno) => self.settle(op, -i64::from(errno)),
        }
    }

    /// That the descriptor is closed was promised before: its last user does it.
    pub(super) fn give_up_close(&self, op: &'static Operation) {
        op.body(self).ios[0].into_iter().for_each(IoName::take_back);
        self.settle(op, -i64::from(libc::ECANCELED));
    }
}

impl Worker {
    /// Before somebody else's loop sleeps: what is queued goes to the kernel, and the ring says by the set's eventfd when
    /// there is something. True if there is something now.
    pub(in super::super) fn hand_over(&self) -> bool {
        let mut completions = self.ops().completions.take();
        let mut driver = self.driver.borrow_mut();
        driver.embed(&self.remote().driver, &mut completions);
        driver.flush(&mut completions);
        drop(driver);
        let any = !completions.is_empty();
        completions.drain(..).for_each(|completion| self.completed(completion));
        self.ops().completions.set(completions);
        any || self.driver.borrow().has_news()
    }
}

/// A write with the flag against SIGPIPE was refused for the flag.
fn refuses_flags(errno: Errno) -> bool {
    matches!(errno, libc::EINVAL | libc::EOPNOTSUPP)
}

/// Wakes a task that waits for its operations, if the last of them is over and told of.
fn look_at_quiet(task: &'static Header) {
    if task.is_quiet() && task.extra_or_new().quiesces.swap(false, Relaxed) {
        task.wake_here();
    }
}
