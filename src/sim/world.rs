//! The threads, the clock, and the seeded choice between them.

use crate::driver::fake::Random;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::cell::Cell;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// No deadline.
const NEVER: u64 = u64::MAX;
const OUTSIDE: usize = usize::MAX;
/// How often the baton may be passed on before a run counts as one that does not end.
const MOST_STEPS: u64 = 400_000;

thread_local! {
    static ME: Cell<usize> = const { Cell::new(OUTSIDE) };
}

static WORLD: Mutex<Option<World>> = parking_lot::const_mutex(None);
/// Points until the baton is passed on. Only who has the baton looks.
static COUNTDOWN: AtomicU32 = AtomicU32::new(u32::MAX);
static NOW: AtomicU64 = AtomicU64::new(0);
/// How many threads wait for something with an address: without any there is nobody to tell.
static BLOCKED: AtomicUsize = AtomicUsize::new(0);

/// Looks whether a thread that sleeps in the kernel would wake. It must pass no point.
pub(crate) type Probe = Arc<dyn Fn() -> bool + Send + Sync>;

/// Why a thread runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    Told,
    Late,
}

enum State {
    Runnable,
    Blocked { on: usize, until: u64, probe: Option<Probe> },
    Ended,
}

struct Thread {
    name: String,
    state: State,
    woken: Woken,
    gate: Arc<Gate>,
    priority: u64,
}

/// Where a thread waits for the baton.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    bell: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.open.lock() = true;
        self.bell.notify_one();
    }

    fn pass(&self) {
        let mut open = self.open.lock();
        while !*open {
            self.bell.wait(&mut open);
        }
        *open = false;
    }
}

/// How a seed chooses. Chances are in a thousand, at each step.
struct Policy {
    /// Points between two steps, on average.
    stride: u64,
    /// The most urgent thread runs until it falls back, or any thread does at each step.
    by_priority: bool,
    /// A thread falls behind all others.
    fall_back: u16,
    /// The kernel wakes somebody although others still run.
    kernel: u16,
    /// Somebody's time is up although others still run, so these were held up.
    time: u16,
    /// How far the clock goes on in a step, at most.
    tick: u64,
}

impl Policy {
    fn of(random: &mut Random) -> Self {
        Self {
            stride: [1, 2, 4, 8, 16, 40, 120][random.below(7) as usize],
            by_priority: random.chance(500),
            fall_back: [2, 10, 40, 100][random.below(4) as usize],
            kernel: [20, 100, 300, 600][random.below(4) as usize],
            time: [0, 0, 2, 10, 30][random.below(5) as usize],
            tick: [1, 200, 20_000][random.below(3) as usize],
        }
    }
}

struct World {
    seed: u64,
    random: Random,
    policy: Policy,
    threads: Vec<Thread>,
    steps: u64,
    trace: u64,
    lowest: u64,
    verbose: bool,
}

/// True on a thread of the simulated world.
pub(crate) fn is_inside() -> bool {
    ME.get() != OUTSIDE
}

/// The virtual time. It goes on a little whenever it is asked for.
pub(super) fn now() -> u64 {
    NOW.fetch_add(8, Relaxed)
}

/// Here another thread could see what this one does: the baton may be passed on.
#[inline]
pub(crate) fn point() {
    if is_inside() && COUNTDOWN.fetch_sub(1, Relaxed) <= 1 {
        switch(false);
    }
}

/// The same, by who waits for others.
pub(crate) fn yield_now() {
    if is_inside() {
        switch(true);
    } else {
        std::thread::yield_now();
    }
}

fn switch(yields: bool) {
    let me = ME.get();
    let mut world = enter();
    if yields {
        world.the().waits_for_others(me);
    }
    world.pass(me);
}

/// A number below `bound`, for what else is left to chance. 0 outside.
pub(crate) fn roll(bound: u64) -> u64 {
    if is_inside() { enter().the().random.below(bound) } else { 0 }
}

/// Adds to the hash of the run.
pub(crate) fn trace(what: u64) {
    if is_inside() {
        enter().the().note(what);
    }
}

/// Sleeps until somebody is told of `on`, until the probe says so, or until the deadline.
pub(crate) fn block(on: usize, until: u64, probe: Option<Probe>) -> Woken {
    let me = ME.get();
    let mut world = enter();
    world.the().threads[me].state = State::Blocked { on, until, probe };
    BLOCKED.fetch_add(1, Relaxed);
    world.pass(me);
    enter().the().threads[me].woken
}

/// Tells those who wait for `on`: one, or all of them.
pub(super) fn tell(on: usize, all: bool) {
    if !is_inside() || BLOCKED.load(Relaxed) == 0 {
        return;
    }
    let mut world = enter();
    let world = world.the();
    let waits = |thread: &Thread| matches!(thread.state, State::Blocked { on: its, .. } if its == on);
    let mut waiting: Vec<_> = (0..world.threads.len()).filter(|&at| waits(&world.threads[at])).collect();
    if !all && waiting.len() > 1 {
        waiting = vec![waiting[world.random.below(waiting.len() as u64) as usize]];
    }
    waiting.into_iter().for_each(|at| world.wake(at, Woken::Told));
}

/// A thread of this name is about to be made. Returns its number.
pub(super) fn enlist(name: String) -> usize {
    enter().the().enlist(name)
}

/// The thread itself, before it does anything: waits for the baton.
pub(super) fn join_in(number: usize) {
    ME.set(number);
    let gate = enter().the().threads[number].gate.clone();
    gate.pass();
}

/// The thread's last deed.
pub(super) fn leave(number: usize) {
    tell(key_of(number), true);
    let mut world = enter();
    world.the().threads[number].state = State::Ended;
    ME.set(OUTSIDE);
    world.hand_on(number);
}

/// What to block on for a thread's end.
pub(super) fn key_of(number: usize) -> usize {
    // Nobody's address.
    number + 1
}

pub(super) fn has_ended(number: usize) -> bool {
    matches!(enter().the().threads[number].state, State::Ended)
}

/// Lets all others run until nobody can: for who checks that all is quiet.
pub(crate) fn stand_by(nanoseconds: u64) {
    block(0, now().saturating_add(nanoseconds), None);
}

/// Begins a world with this thread in it.
pub(super) fn begin(seed: u64, verbose: bool) {
    let mut random = Random::new(seed ^ 0x51a1_0000);
    let policy = Policy::of(&mut random);
    let latest = 1 << [20, 33, 44][random.below(3) as usize];
    // Far in the future, where no timer of the real clock's is due.
    NOW.store((1 << 55) + random.below(latest), Relaxed);
    let threads = Vec::new();
    let mut world =
        World { seed, random, policy, threads, steps: 0, trace: 0xcbf2_9ce4_8422_2325, lowest: 1 << 40, verbose };
    let me = world.enlist("main".into());
    *WORLD.lock() = Some(world);
    ME.set(me);
    COUNTDOWN.store(1, Relaxed);
}

/// Ends it: everybody else has ended. Returns the hash of all that happened.
pub(super) fn end() -> u64 {
    let mut world = enter();
    if world.the().threads[1..].iter().any(|thread| !matches!(thread.state, State::Ended)) {
        let story = world.the().story();
        drop(world);
        fail(&format!("threads that did not end\n{story}"));
    }
    ME.set(OUTSIDE);
    world.the().trace
}

/// Says what went wrong and how to see it again, and ends the process.
pub(crate) fn fail(what: &str) -> ! {
    // Whoever comes after has nothing to say.
    let (seed, story) = match WORLD.try_lock() {
        Some(mut world) => world.as_mut().map_or((0, String::new()), |world| (world.seed, world.story())),
        None => (super::run::seed(), String::new()),
    };
    super::run::report(seed, what, &story);
}

struct Entered(MutexGuard<'static, Option<World>>);

fn enter() -> Entered {
    Entered(WORLD.lock())
}

impl Entered {
    fn the(&mut self) -> &mut World {
        self.0.as_mut().expect("a world")
    }

    /// Chooses who runs next, and waits until it is this thread again.
    fn pass(mut self, me: usize) {
        let next = self.the().choose(me);
        if next == me {
            return;
        }
        let gates = (self.the().threads[next].gate.clone(), self.the().threads[me].gate.clone());
        drop(self);
        gates.0.open();
        gates.1.pass();
    }

    /// The same, for who does not come back.
    fn hand_on(mut self, me: usize) {
        let next = self.the().choose(me);
        let gate = self.the().threads[next].gate.clone();
        drop(self);
        gate.open();
    }
}

impl World {
    fn enlist(&mut self, name: String) -> usize {
        let priority = self.random.below(1 << 30) + (1 << 41);
        let thread = Thread { name, state: State::Runnable, woken: Woken::Told, gate: Arc::default(), priority };
        self.threads.push(thread);
        self.threads.len() - 1
    }

    fn note(&mut self, what: u64) {
        self.trace = (self.trace ^ what).wrapping_mul(0x100_0000_01b3).rotate_left(23);
    }

    fn fall_back(&mut self, thread: usize) {
        self.lowest -= 1;
        self.threads[thread].priority = self.lowest;
    }

    /// A thread looks again and again. What it waits for may be the kernel's to do, or the clock's.
    fn waits_for_others(&mut self, thread: usize) {
        self.fall_back(thread);
        if (self.runnable().len() == 1 || self.random.chance(50)) && !self.kernel_moves() {
            self.time_passes();
        }
    }

    fn wake(&mut self, thread: usize, woken: Woken) {
        self.threads[thread].state = State::Runnable;
        self.threads[thread].woken = woken;
        BLOCKED.fetch_sub(1, Relaxed);
    }

    fn choose(&mut self, me: usize) -> usize {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            self.give_up("this does not end");
        }
        NOW.fetch_add(self.random.below(self.policy.tick), Relaxed);
        if self.random.chance(self.policy.kernel) {
            self.kernel_moves();
        }
        if self.policy.time > 0 && self.random.chance(self.policy.time) {
            self.time_passes();
        }
        if self.random.chance(self.policy.fall_back) {
            self.fall_back(me);
        }
        let mut runnable = self.runnable();
        while runnable.is_empty() {
            if !self.kernel_moves() && !self.time_passes() {
                self.give_up("everybody sleeps, and nobody will be woken");
            }
            runnable = self.runnable();
        }
        let next = match self.policy.by_priority {
            true => *runnable.iter().max_by_key(|&&at| self.threads[at].priority).expect("not empty"),
            false => runnable[self.random.below(runnable.len() as u64) as usize],
        };
        let stride = self.policy.stride;
        COUNTDOWN.store(1 + self.random.below(2 * stride) as u32, Relaxed);
        self.note(next as u64 ^ NOW.load(Relaxed) << 8);
        if self.verbose {
            eprintln!("step {} at {}: {} runs", self.steps, NOW.load(Relaxed), self.threads[next].name);
        }
        next
    }

    fn runnable(&self) -> Vec<usize> {
        (0..self.threads.len()).filter(|&at| matches!(self.threads[at].state, State::Runnable)).collect()
    }

    /// Wakes one who sleeps in the kernel and has a reason to wake.
    fn kernel_moves(&mut self) -> bool {
        let mut sleepers: Vec<_> = (0..self.threads.len())
            .filter(|&at| matches!(self.threads[at].state, State::Blocked { probe: Some(_), .. }))
            .collect();
        while !sleepers.is_empty() {
            let at = sleepers.swap_remove(self.random.below(sleepers.len() as u64) as usize);
            let State::Blocked { probe: Some(probe), .. } = &self.threads[at].state else { continue };
            if probe() {
                self.wake(at, Woken::Told);
                return true;
            }
        }
        false
    }

    /// The clock goes on to the next deadline.
    fn time_passes(&mut self) -> bool {
        let deadline = |thread: &Thread| match thread.state {
            State::Blocked { until, .. } => until,
            _ => NEVER,
        };
        let next = self.threads.iter().map(deadline).min().unwrap_or(NEVER);
        if next == NEVER {
            return false;
        }
        NOW.fetch_max(next, Relaxed);
        let now = NOW.load(Relaxed);
        let late: Vec<_> = (0..self.threads.len()).filter(|&at| deadline(&self.threads[at]) <= now).collect();
        late.into_iter().for_each(|at| self.wake(at, Woken::Late));
        true
    }

    /// Where everybody is.
    fn story(&self) -> String {
        let mut story = String::new();
        for thread in &self.threads {
            let _ = match &thread.state {
                State::Runnable => writeln!(story, "  {}: runs", thread.name),
                State::Ended => writeln!(story, "  {}: ended", thread.name),
                State::Blocked { until: NEVER, probe, .. } => {
                    writeln!(story, "  {}: sleeps{}", thread.name, if probe.is_some() { " in its driver" } else { "" })
                }
                State::Blocked { until, .. } => writeln!(story, "  {}: sleeps until {until}", thread.name),
            };
        }
        story
    }

    fn give_up(&self, why: &str) -> ! {
        super::run::report(self.seed, why, &self.story());
    }
}
