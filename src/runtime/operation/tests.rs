//! Operations on a fake ring, which replays the kernel's surprises from a seed. `SEED=n` in the environment replays one.

mod actor;
mod backing;
mod world;

use super::receiving::{MOST_HELD, most_bytes};
use super::submit::GROUP;
use super::{Body, CURRENT, OPS, Operation, Stage};
use crate::driver::fake::{Chaos, FakeRing, Kernel, Random};
use crate::primitives::handle::{Handle, Kind};
use crate::primitives::sync::Ordering::*;
use crate::runtime::create::create_on;
use crate::runtime::{Config, Flavour, RuntimeRef, free};
use crate::task::{JoinError, TaskName};
use actor::{Actor, FAILED};
use backing::Backing;
use io_uring::opcode;
use parking_lot::Mutex;
use std::mem::offset_of;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;
use world::{End, World};

const SEEDS: u64 = 2000;

const MORE: u32 = 1 << 1;
const BUFFER: u32 = 1;

/// Says which seed failed.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with SEED={}", self.0);
        }
    }
}

/// What happens sometimes.
fn chaos(random: &mut Random) -> Chaos {
    let mut some = |most: u64| random.below(most + 1) as u16;
    Chaos {
        delay: 1 + u64::from(some(11)),
        error: some(60),
        short: some(400),
        early_end: some(300),
        // A second final completion of an entry that was queued anew could be told from the first by nobody.
        repeat: 0,
        burst: some(150),
        no_buffers: some(100),
        lost_buffer: some(500),
        refuse: some(10),
        missed: some(300),
        most: some(6).into(),
    }
}

#[test]
fn the_limit_of_a_multishot_is_an_int_above_zero() {
    assert_eq!(most_bytes(1), MOST_HELD);
    assert_eq!(most_bytes(16 << 10), MOST_HELD * (16 << 10));
    for size in [1 << 28, (1 << 28) + 1, i32::MAX as u32, 1 << 31, u32::MAX] {
        assert_eq!(most_bytes(size), i32::MAX as u32);
    }
}

struct Scenario {
    runtime: RuntimeRef,
    raw: u64,
    kernel: Kernel,
    world: Arc<Mutex<World>>,
    tasks: Vec<TaskName>,
    random: Random,
    buffers: u32,
}

impl Scenario {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (ring, kernel) = FakeRing::new(seed, chaos(&mut random));
        let buffers = [4, 8, 32, 128][random.below(4) as usize];
        let config = Config {
            flavour: Flavour::CurrentThread,
            spin: Duration::ZERO,
            max_events: 16,
            buffer_size: 64,
            buffer_count: buffers,
            poll_budget: [2, 128][random.below(2) as usize],
            ..Config::default()
        };
        let raw = create_on(Box::new(ring), config).expect("a runtime");
        let runtime = RuntimeRef::enter(raw).expect("it was just made");
        let backing = Arc::new(Mutex::new(Backing::new(seed)));
        let answers = backing.clone();
        kernel.set_work(move |sqe| answers.lock().answer(sqe));
        let mut world = World::new(seed, kernel.clone(), backing);
        for _ in 0..4 {
            world.add_subject(&runtime);
        }
        let mut scenario =
            Self { runtime, raw, kernel, world: Arc::new(Mutex::new(world)), tasks: Vec::new(), random, buffers };
        for id in 0..3 {
            let actor = Actor::new(id, scenario.world.clone());
            let named = |name| scenario.tasks.push(name);
            scenario.runtime.spawn(actor, None, true, named).map_err(|(error, _)| error).expect("running");
        }
        scenario
    }

    fn turn(&mut self, timeout: u64) {
        self.runtime.turn(timeout).expect("running");
        assert!(!FAILED.get(), "a check failed in a task");
        self.world.lock().check();
        self.check_worker();
    }

    fn check_worker(&self) {
        let worker = self.runtime.take_worker().expect("nobody drives it");
        {
            let buffers = worker.ops().buffers.borrow();
            let kernels = self.kernel.buffers(GROUP) as u32;
            let census = (buffers.free(), kernels, buffers.leased());
            assert_eq!(census.0 + census.1 + census.2, self.buffers, "free, kernel's and leased: {census:?}");
        }
        self.runtime.put_worker(worker);
    }

    /// The kernel surprises an operation that it has.
    fn surprise(&mut self) {
        let held = self.kernel.held_entries();
        let ops: Vec<_> = held.iter().filter(|entry| Handle::parse(entry.user_data, Kind::Op).is_some()).collect();
        if ops.is_empty() {
            return;
        }
        let entry = ops[self.random.below(ops.len() as u64) as usize];
        let chooses = entry.opcode == opcode::Recv::CODE && entry.flags != 0;
        let waits = match entry.opcode {
            opcode::Accept::CODE | opcode::Recv::CODE | opcode::Send::CODE | opcode::SendMsg::CODE => true,
            opcode::Read::CODE | opcode::Write::CODE => entry.off == CURRENT,
            _ => false,
        };
        let errno = match self.random.below(4) {
            0 if waits => libc::EAGAIN,
            1 if chooses => libc::ENOBUFS,
            2 if entry.opcode != opcode::Close::CODE => libc::EINTR,
            _ => libc::ECANCELED,
        };
        self.kernel.complete(entry.user_data, -errno, 0);
    }

    /// A completion for somebody who is gone.
    fn haunt(&mut self) {
        let world = self.world.lock();
        let (dead, sentinel) = (world.dead(), world.backing.lock().sentinel());
        drop(world);
        if dead.is_empty() {
            return;
        }
        let name = dead[self.random.below(dead.len() as u64) as usize];
        let more = if self.random.chance(500) { MORE } else { 0 };
        match self.random.below(4) {
            0 => self.kernel.complete(name, -libc::ECANCELED, more),
            // A descriptor, perhaps; but who knows whose by now.
            1 => self.kernel.complete(name, sentinel.unwrap_or(-1), more),
            2 => self.kernel.complete(name, 5, more | BUFFER | 40_000 << 16),
            _ => self.kernel.complete_with_buffer(name, 5, GROUP),
        }
    }

    /// A cancel comes back once more.
    fn repeat_cancel(&mut self) {
        let alive = self.world.lock().alive();
        if alive.is_empty() {
            return;
        }
        let name = alive[self.random.below(alive.len() as u64) as usize];
        let handle = Handle::parse(name, Kind::Op).expect("an operation");
        let errno = [0, libc::ENOENT, libc::EALREADY][self.random.below(3) as usize];
        self.kernel.complete(handle.pack(Kind::Cancel), -errno, 0);
    }

    /// True if a sleep in the ring would hear of something.
    fn may_sleep(&self) -> bool {
        self.kernel.held_entries().iter().any(|entry| Handle::parse(entry.user_data, Kind::Op).is_some())
    }

    fn live(&mut self) {
        for _ in 0..20 + self.random.below(40) {
            match self.random.below(20) {
                0..12 => {
                    let task = self.tasks[self.random.below(self.tasks.len() as u64) as usize];
                    task.wake().expect("it lives");
                }
                12 | 13 => self.surprise(),
                14 | 15 => self.haunt(),
                16 => self.repeat_cancel(),
                17 => self.world.lock().peers_read(3),
                18 => {
                    let mut world = self.world.lock();
                    if let [first, ..] = world.alive()[..] {
                        world.cancel(first);
                    }
                }
                _ => self.world.lock().close_something(),
            }
            let timeout = if self.may_sleep() && self.random.chance(500) { 1_000_000 } else { 0 };
            self.turn(timeout);
        }
    }

    fn end_tasks(&mut self) {
        let end = [End::Finish, End::Leave, End::Wait][self.random.below(3) as usize];
        let mut world = self.world.lock();
        world.end = Some(end);
        world.closed = self.random.chance(500);
        if world.closed {
            world.close_everything();
        }
        drop(world);
        for task in &self.tasks {
            match end {
                End::Wait => task.abort().expect("it lives"),
                _ => task.wake().expect("it lives"),
            }
        }
        for _ in 0..1000 {
            if self.runtime.shared().tasks() == 0 {
                break;
            }
            match self.random.below(10) {
                0 => self.haunt(),
                1 => self.surprise(),
                _ => {}
            }
            self.turn(1_000_000);
        }
        if self.runtime.shared().tasks() > 0 {
            let (stuck, held) = (self.stuck(), self.kernel.held_entries());
            panic!("{end:?}: tasks wait for ever, for {stuck:?}; the kernel has {held:?}");
        }
    }

    /// Operations that are alive, and where they are.
    fn stuck(&self) -> Vec<(u64, Stage, bool, bool)> {
        let worker = self.runtime.take_worker().expect("nobody drives it");
        let mine =
            OPS.iter().filter(|(_, op)| op.runtime.load(Relaxed) == self.raw && op.word.lives(op.word.generation()));
        let stuck = mine.map(|(_, op)| {
            let body = op.body(&worker);
            (op.name(), body.stage.get(), body.cancelled.get(), body.cancels.get())
        });
        let stuck = stuck.collect();
        self.runtime.put_worker(worker);
        stuck
    }

    fn end(mut self) {
        let early = self.random.chance(200);
        if early {
            self.world.lock().end = Some(End::Wait);
        } else {
            self.end_tasks();
            let mut world = self.world.lock();
            world.close_everything();
            world.release_everything();
            drop(world);
            for _ in 0..200 {
                self.turn(100_000);
                if self.stuck().is_empty() {
                    break;
                }
            }
            assert_eq!(self.stuck(), [], "operations that nobody has; the kernel has {:?}", self.kernel.held_entries());
            let open = self.world.lock().backing.lock().open_numbers();
            assert_eq!(open, [], "descriptors that nobody closed");
            let worker = self.runtime.take_worker().expect("nobody drives it");
            assert_eq!(worker.ops().buffers.borrow().leased(), 0, "leases that nobody has");
            assert!(!worker.ops().have_news(), "news of nobody");
            self.runtime.put_worker(worker);
        }
        let given_up = self.runtime.shutdown(5_000_000_000).expect("this thread drives");
        assert_eq!(given_up, 0, "tasks that would not end: {:?}", self.stuck());
        for task in &self.tasks {
            match task.poll_join::<()>(1, Waker::noop()) {
                Some(Poll::Ready(Ok(()) | Err(JoinError::Cancelled))) => {}
                Some(Poll::Ready(Err(error))) => panic!("a task's own check failed: {error}"),
                _ => panic!("a task that ended cannot be joined"),
            }
        }
        let counters = &self.runtime.shared().remote(0).counters;
        assert_eq!(counters.ops_begun.load(Relaxed), counters.ops_ended.load(Relaxed));
        assert_eq!(self.runtime.shared().ops_abandoned.load(Relaxed), 0);
        assert_eq!(self.world.lock().tasks_dropped, self.tasks.len());
        let Self { runtime, raw, world, .. } = self;
        drop(runtime);
        free(raw).expect("not inside");
        let mut world = world.lock();
        assert_eq!(world.backing.lock().open_numbers(), [], "descriptors that the runtime left open");
        world.release_everything();
        world.check_end();
        let left = OPS.iter().filter(|(_, op)| op.runtime.load(Relaxed) == raw && op.word.lives(op.word.generation()));
        assert_eq!(left.count(), 0, "operations that outlived their runtime");
    }
}

/// An idle connection has one of them for each thing that it waits for.
#[test]
fn an_operation_is_four_cache_lines_and_a_result_touches_two() {
    assert_eq!(size_of::<Operation>(), 256);
    assert!(offset_of!(Operation, body) + offset_of!(Body, request) < 2 * 64, "what the request is comes last");
}

#[test]
fn operations_survive_the_kernels_surprises() {
    let only = std::env::var("SEED").ok().map(|seed| seed.parse().expect("a number"));
    for seed in only.map_or(0..SEEDS, |seed| seed..seed + 1) {
        let _replay = Replay(seed);
        let mut scenario = Scenario::new(seed);
        scenario.live();
        scenario.end();
    }
}
