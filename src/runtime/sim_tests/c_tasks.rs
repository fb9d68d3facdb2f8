//! Tasks of C: poll functions that yield, wake each other by handles and wakers, are aborted, and are joined from polls,
//! from tasks in Rust, and with contexts of a thread's own.

mod doorstep;

use super::Outsiders;
use super::ledger::{Act, Life};
use super::tasks::Doorbell;
use crate::capi::exports::*;
use crate::driver::fake::Random;
use crate::runtime::owned::in_task;
use crate::sim::thread;
use crate::task::JoinHandle;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::Poll;

const STALE: i64 = -(libc::EBADF as i64);
const CANCELLED: i64 = -(libc::ECANCELED as i64);
const NO_MEMORY: i64 = -(libc::ENOMEM as i64);
const STOPPED: i64 = -(libc::ESHUTDOWN as i64);

/// Who joins a task.
#[derive(Clone, Copy, PartialEq)]
enum Heir {
    /// The task on the last seat.
    CTask,
    RustTask,
    Thread,
    Nobody,
}

/// A task's place.
struct Seat {
    /// The handle, written by the spawn.
    task: AtomicU64,
    /// How often somebody rang, and how often it must be for the task to return. A wake follows each time.
    rings: AtomicU64,
    needed: u64,
    aborted: AtomicBool,
    /// An abort has returned.
    told: AtomicBool,
    heir: Heir,
}

/// What the tasks of a part share.
struct Board {
    act: parking_lot::Mutex<Act>,
    runtime: u64,
    seats: Vec<Seat>,
    /// Wakers that tasks left here, each with its seat.
    wakers: parking_lot::Mutex<Vec<(usize, rt_waker)>>,
    /// All tasks were spawned.
    complete: AtomicBool,
    /// Rung when all were spawned, and when the thread that joins some has joined them: who drives a runtime without threads
    /// goes on until then.
    progress: Doorbell,
}

impl Board {
    fn is_ending(&self) -> bool {
        self.act.lock().ledger.is_ending()
    }

    fn task(&self, seat: usize) -> rt_task {
        self.seats[seat].task.load(Relaxed)
    }

    /// Rings, and then wakes: one way or the other.
    fn ring(&self, seat: usize, random: &mut Random) {
        self.seats[seat].rings.fetch_add(1, Relaxed);
        let left = {
            let mut wakers = self.wakers.lock();
            let at = wakers.iter().position(|(its, _)| *its == seat);
            at.filter(|_| random.chance(600)).map(|at| wakers.swap_remove(at).1)
        };
        let Some(mut waker) = left else {
            // Without a handle it was not spawned yet, and looks for itself.
            let woken = rt_task_wake(self.task(seat));
            return assert!(woken == 0 || woken == STALE, "{woken}");
        };
        let mut copy = rt_waker { opaque: [0; 2] };
        // SAFETY: the waker is ours, and so is its copy.
        unsafe {
            match random.below(4) {
                0 => assert_eq!(rt_waker_wake(&mut waker), 0),
                1 => {
                    assert_eq!(rt_waker_wake_by_ref(&waker), 0);
                    assert_eq!(rt_waker_drop(&mut waker), 0);
                }
                2 => {
                    assert_eq!(rt_waker_wake_by_ref(&waker), 0);
                    self.wakers.lock().push((seat, waker));
                }
                _ => {
                    assert_eq!(rt_waker_clone(&waker, &mut copy), 0);
                    assert!(rt_waker_will_wake(&waker, &copy));
                    assert_eq!(rt_waker_drop(&mut waker), 0);
                    assert_eq!(rt_waker_wake(&mut copy), 0);
                }
            }
        }
    }

    fn abort(&self, seat: usize) {
        self.seats[seat].aborted.store(true, Relaxed);
        let aborted = rt_abort(self.task(seat));
        assert!(aborted == 0 || aborted == STALE, "{aborted}");
        self.seats[seat].told.fetch_or(aborted == 0, Relaxed);
    }

    /// What a join brought.
    fn check(&self, seat: usize, joined: i64, result: i64) {
        let expected = 1000 + seat as i64;
        let cancelled = result == CANCELLED && self.seats[seat].aborted.load(Relaxed);
        let good = joined == 0 && (result == expected || cancelled);
        assert!(good || self.is_ending(), "task {seat}: joined {joined}, result {result}");
    }

    fn inherits(&self, heir: Heir) -> Vec<usize> {
        (0..self.seats.len()).filter(|&seat| self.seats[seat].heir == heir && self.task(seat) != 0).collect()
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        for (_, mut waker) in self.wakers.get_mut().drain(..) {
            // SAFETY: a waker that was left to the board.
            unsafe { rt_waker_drop(&mut waker) };
        }
    }
}

/// A task's state: the program's, or in the task's own memory a pointer to it.
struct State {
    life: Life,
    board: Arc<Board>,
    seat: usize,
    random: Random,
    /// The seats to be rung at.
    errands: Vec<usize>,
    /// Whom to join; unknown before the errands are done.
    joins: Option<Vec<usize>>,
    /// Polls that began after an abort returned.
    late: u32,
}

impl State {
    /// Asks for another poll.
    fn again(&mut self, cx: *mut rt_cx) -> i64 {
        let mut copy = rt_waker { opaque: [0; 2] };
        // SAFETY: the context is that of this poll.
        unsafe {
            match self.random.below(4) {
                0 => assert_eq!(rt_task_wake(rt_task_self(cx)), 0),
                1 => assert_eq!(rt_waker_wake_by_ref(rt_cx_waker(cx)), 0),
                2 => {
                    assert_eq!(rt_waker_clone(rt_cx_waker(cx), &mut copy), 0);
                    assert_eq!(rt_yield(cx), RT_PENDING);
                    assert_eq!(rt_waker_wake(&mut copy), 0);
                }
                _ => assert_eq!(rt_yield(cx), RT_PENDING),
            }
        }
        RT_PENDING
    }

    fn leave_waker(&mut self, cx: *mut rt_cx) {
        let mut copy = rt_waker { opaque: [0; 2] };
        // SAFETY: the context is that of this poll.
        assert_eq!(unsafe { rt_waker_clone(rt_cx_waker(cx), &mut copy) }, 0);
        self.board.wakers.lock().push((self.seat, copy));
    }

    fn poll(&mut self, cx: *mut rt_cx) -> i64 {
        // SAFETY: the context is that of this poll.
        unsafe {
            assert_eq!((rt_cx_current(), rt_cx_runtime(cx)), (cx, self.board.runtime));
            assert_eq!(rt_task_self(cx), self.board.task(self.seat), "the handle is written before the first poll");
        }
        // One may have been about to begin.
        self.late += u32::from(self.board.seats[self.seat].told.load(Relaxed));
        assert!(self.late <= 1, "polled after an abort");
        if self.random.chance(300) {
            self.leave_waker(cx);
        }
        while let Some(seat) = self.errands.pop() {
            let board = self.board.clone();
            board.ring(seat, &mut self.random);
            if self.random.chance(100) {
                board.abort(self.random.below(board.seats.len() as u64) as usize);
            }
            if self.random.chance(500) {
                return self.again(cx);
            }
        }
        let seat = &self.board.seats[self.seat];
        if seat.rings.load(Relaxed) < seat.needed {
            return if self.random.chance(100) { self.again(cx) } else { RT_PENDING };
        }
        if self.random.chance(200) {
            return self.again(cx);
        }
        self.join(cx)
    }

    fn join(&mut self, cx: *mut rt_cx) -> i64 {
        let is_last = self.seat + 1 == self.board.seats.len();
        let board = self.board.clone();
        let joins = self.joins.get_or_insert_with(|| if is_last { board.inherits(Heir::CTask) } else { Vec::new() });
        while let Some(&seat) = joins.last() {
            let mut result = 0;
            // SAFETY: the context is that of this poll; the result is writable.
            match unsafe { rt_poll_join(cx, board.task(seat), &mut result) } {
                RT_PENDING => return RT_PENDING,
                joined => board.check(seat, joined, result),
            }
            joins.pop();
        }
        1000 + self.seat as i64
    }
}

impl Drop for State {
    /// Whoever is aborted still does what others wait for.
    fn drop(&mut self) {
        self.life.check_idle();
        while let Some(seat) = self.errands.pop() {
            self.board.ring(seat, &mut self.random);
        }
        if self.seat + 1 == self.board.seats.len() {
            let joins = self.joins.take().unwrap_or_else(|| self.board.inherits(Heir::CTask));
            for seat in joins {
                assert_eq!(rt_detach(self.board.task(seat)), 0);
            }
        }
    }
}

unsafe extern "C" fn poll(cx: *mut rt_cx, state: *mut c_void) -> i64 {
    // SAFETY: the state is the task's until its drop.
    let state = unsafe { &mut *state.cast::<State>() };
    state.life.poll_begins();
    let result = state.poll(cx);
    state.life.poll_ends();
    result
}

unsafe extern "C" fn poll_inline(cx: *mut rt_cx, state: *mut c_void) -> i64 {
    // SAFETY: the copy holds the pointer.
    unsafe { poll(cx, *state.cast()) }
}

unsafe extern "C" fn drop_state(state: *mut c_void) {
    // SAFETY: called once, with what was spawned.
    drop(unsafe { Box::from_raw(state.cast::<State>()) });
}

unsafe extern "C" fn drop_inline(state: *mut c_void) {
    // SAFETY: as above.
    unsafe { drop_state(*state.cast()) };
}

/// Spawns a task, in one of the ways there are. False: the runtime takes no more.
fn spawn(state: State, random: &mut Random) -> bool {
    let (board, seat) = (state.board.clone(), state.seat);
    let (out, mut state) = (board.seats[seat].task.as_ptr(), Box::into_raw(Box::new(state)).cast::<c_void>());
    // SAFETY: all zeros are valid options; the functions and the state belong together.
    let mut options: rt_spawn_opts = unsafe { std::mem::zeroed() };
    // SAFETY: the options are writable.
    assert_eq!(unsafe { rt_spawn_opts_init(&mut options, size_of::<rt_spawn_opts>()) }, 0);
    options.poll = Some(poll);
    options.drop = Some(drop_state);
    options.state = state;
    let plain = random.chance(500);
    if random.chance(500) {
        options.flags |= RT_SPAWN_PINNED;
    }
    if random.chance(500) {
        options.flags |= RT_SPAWN_INLINE;
        options.poll = Some(poll_inline);
        options.drop = Some(drop_inline);
        options.state = (&raw mut state).cast();
        options.state_size = size_of::<*mut c_void>();
    }
    loop {
        // SAFETY: the board is kept by the state, and so is the place for the handle.
        let made = unsafe {
            match plain {
                true => rt_spawn(board.runtime, Some(poll), state, Some(drop_state), out),
                false => rt_spawn_with(board.runtime, &options, out),
            }
        };
        match made {
            0 => return true,
            // The state is still ours.
            NO_MEMORY => thread::yield_now(),
            refused => {
                assert!(board.is_ending() && (refused == STOPPED || refused == STALE), "a task was refused: {refused}");
                // SAFETY: as above.
                unsafe { drop_state(state) };
                return false;
            }
        }
    }
}

/// Spawns all, and detaches those whom nobody joins.
fn populate(states: Vec<State>, board: &Board, random: &mut Random) {
    let all = states.into_iter().all(|state| spawn(state, random));
    for seat in board.inherits(Heir::Nobody) {
        assert!(rt_detach(board.task(seat)) == 0 || !all);
    }
    board.complete.store(true, Relaxed);
    board.progress.ring();
}

pub(super) fn c_tasks(act: &mut Act, outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    let count = 2 + act.random.below(4) as usize;
    let heirs = [Heir::CTask, Heir::RustTask, Heir::Thread, Heir::Nobody];
    let seats: Vec<_> = (0..count)
        .map(|seat| Seat {
            task: AtomicU64::new(0),
            rings: AtomicU64::new(0),
            needed: act.random.below(4),
            aborted: AtomicBool::new(false),
            told: AtomicBool::new(false),
            // Nobody joins itself.
            heir: heirs[act.random.below(4).max(u64::from(seat + 1 == count)) as usize],
        })
        .collect();
    // Who rings at whom: a task, or a thread.
    let mut errands = vec![Vec::new(); count + 1];
    for (seat, needed) in seats.iter().map(|seat| seat.needed).enumerate() {
        (0..needed).for_each(|_| errands[act.random.below(count as u64 + 1) as usize].push(seat));
    }
    let runtime = act.ledger.runtime.load(Relaxed);
    let board = Arc::new(Board {
        act: parking_lot::Mutex::new(act.branch()),
        runtime,
        seats,
        wakers: parking_lot::Mutex::default(),
        complete: AtomicBool::new(false),
        progress: Doorbell::default(),
    });
    let rings = errands.pop().expect("the thread's");
    let state = |(seat, errands)| {
        let (life, random) = (act.ledger.begin(act.part), Random::new(act.random.next()));
        State { life, board: board.clone(), seat, random, errands, joins: None, late: 0 }
    };
    let states: Vec<_> = errands.into_iter().enumerate().map(state).collect();
    let mut waits = Vec::new();
    let (mut random, shared, inside) = (Random::new(act.random.next()), board.clone(), act.random.chance(500));
    if inside {
        waits.extend(act.spawn(async move { populate(states, &shared, &mut random) }));
    } else {
        populate(states, &shared, &mut random);
    }
    outsiders.push(ringer(act, board.clone(), rings));
    outsiders.push(doorstep::joiner(board.clone()));
    waits.extend(act.spawn(async move {
        board.progress.hear(1).await;
        for seat in board.inherits(Heir::RustTask) {
            let join = in_task(|cx| {
                let mut result = 0;
                let cx = std::ptr::from_ref(cx).cast_mut().cast();
                // SAFETY: the context is that of this poll; the result is writable.
                match unsafe { rt_poll_join(cx, board.task(seat), &mut result) } {
                    RT_PENDING => Poll::Pending,
                    joined => Poll::Ready(Ok((joined, result))),
                }
            });
            let (joined, result) = join.await.expect("a task's poll");
            board.check(seat, joined, result);
        }
        board.progress.hear(2).await;
    }));
    waits
}

/// A thread that rings, and aborts.
fn ringer(act: &mut Act, board: Arc<Board>, rings: Vec<usize>) -> thread::JoinHandle<()> {
    let mut random = Random::new(act.random.next());
    let most_aborts = [0, 0, 1, 3][random.below(4) as usize];
    thread::spawn("rings", move || {
        for seat in rings {
            board.ring(seat, &mut random);
            (0..random.below(3)).for_each(|_| thread::yield_now());
        }
        for _ in 0..random.below(most_aborts + 1) {
            board.abort(random.below(board.seats.len() as u64) as usize);
            (0..random.below(3)).for_each(|_| thread::yield_now());
        }
    })
}
