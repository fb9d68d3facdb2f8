//! A ring without a kernel. It reads entries as a kernel would and completes them from a seed: late, in another order,
//! short, twice, with errors, or not at all. The same seed and the same calls give the same completions.
//!
//! Time is a count of enters. One that waits jumps to the next completion; nothing sleeps. With `Chaos::SCRIPT` nothing
//! completes by itself: a test completes entries through `Kernel`, from any thread, and a wait sleeps until it does.

mod state;

use super::{Completion, Entry, RESERVED, Ring, Staged, Ticket};
use io_uring::opcode::{Accept, PollAdd, Read, Recv, RecvMsg, Send, SendZc, Write};
use parking_lot::{Condvar, Mutex};
use state::{Buffers, Fate, NEVER, State};
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BUFFER_SELECT: u8 = 1 << 5;

/// What the kernel reads in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Sqe {
    pub(crate) opcode: u8,
    pub(crate) flags: u8,
    pub(crate) ioprio: u16,
    pub(crate) fd: i32,
    pub(crate) off: u64,
    pub(crate) addr: u64,
    pub(crate) len: u32,
    pub(crate) op_flags: u32,
    pub(crate) user_data: u64,
    pub(crate) buf_group: u16,
    rest: [u16; 11],
}

impl Sqe {
    pub(crate) fn of(entry: &Entry) -> Self {
        const { assert!(size_of::<Sqe>() == size_of::<Entry>() && align_of::<Sqe>() <= align_of::<Entry>()) };
        // SAFETY: both are the kernel's 64 bytes, laid out by `repr(C)`, and all of them are initialised integers.
        unsafe { *std::ptr::from_ref(entry).cast() }
    }

    pub(crate) fn is_multishot(&self) -> bool {
        match self.opcode {
            Accept::CODE => self.ioprio & 1 != 0,
            Recv::CODE | RecvMsg::CODE => self.ioprio & 2 != 0,
            PollAdd::CODE => self.len & 1 != 0,
            _ => false,
        }
    }

    fn completion(&self, result: i32, flags: u32) -> Completion {
        Completion { user_data: self.user_data, result, flags }
    }

    fn selects_buffer(&self) -> bool {
        self.flags & BUFFER_SELECT != 0
    }

    fn is_transfer(&self) -> bool {
        matches!(self.opcode, Read::CODE | Write::CODE | Recv::CODE | Send::CODE | SendZc::CODE)
    }
}

/// How a fake kernel behaves: chances in a thousand, each time there is something to decide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chaos {
    /// The longest a step of an entry takes, in enters; 0 for a script.
    pub(crate) delay: u64,
    pub(crate) error: u16,
    pub(crate) short: u16,
    /// A multishot ends with a result that is a success.
    pub(crate) early_end: u16,
    /// One more completion after the final one.
    pub(crate) repeat: u16,
    /// A multishot step that gives a whole burst.
    pub(crate) burst: u16,
    /// ENOBUFS although buffers are there.
    pub(crate) no_buffers: u16,
    /// An error that takes a buffer with it.
    pub(crate) lost_buffer: u16,
    /// An enter that takes a few entries or none, and is an error if nothing moved. Ten times as likely while completions are
    /// left behind.
    pub(crate) refuse: u16,
    /// A cancel that finds nothing, because what it looks for is between two places.
    pub(crate) missed: u16,
    /// The most completions that an enter shows; 0: all. The others stay behind until the next.
    pub(crate) most: usize,
}

impl Chaos {
    const NONE: Self = Self {
        delay: 0,
        error: 0,
        short: 0,
        early_end: 0,
        repeat: 0,
        burst: 0,
        no_buffers: 0,
        lost_buffer: 0,
        refuse: 0,
        missed: 0,
        most: 0,
    };
    /// Nothing completes by itself.
    pub(crate) const SCRIPT: Self = Self::NONE;
    /// Everything succeeds, in some order.
    pub(crate) const CALM: Self = Self { delay: 3, ..Self::NONE };
    pub(crate) const WILD: Self = Self {
        delay: 12,
        error: 60,
        short: 300,
        early_end: 150,
        repeat: 60,
        burst: 100,
        no_buffers: 60,
        lost_buffer: 300,
        refuse: 60,
        missed: 100,
        most: 20,
    };
}

/// Decides a result, as the system call would: `-EAGAIN` for "not yet". `addr` and `len` are those of the chosen buffer
/// where there is one, and `len` may be shorter than what was asked. It must not call the `Kernel` it serves.
pub(crate) type Work = Box<dyn FnMut(&Sqe) -> i32 + std::marker::Send>;

/// A generator of numbers that look random (splitmix64).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn chance(&mut self, in_a_thousand: u16) -> bool {
        self.below(1000) < in_a_thousand.into()
    }
}

/// The test's hand on the fake kernel.
#[derive(Clone)]
pub(crate) struct Kernel(Arc<(Mutex<State>, Condvar)>);

impl Kernel {
    /// Posts a completion; without F_MORE in `flags` it ends the oldest entry with this `user_data`, if there is one.
    pub(crate) fn complete(&self, user_data: u64, result: i32, flags: u32) {
        let mut state = self.0.0.lock();
        let now = state.now;
        let completion = Completion { user_data, result, flags };
        state.post(now, completion);
        if !completion.has_more()
            && let Some(at) = state.live.iter().position(|live| live.sqe.user_data == user_data)
        {
            state.live.remove(at);
        }
        self.0.1.notify_all();
    }

    /// The same with a buffer, if the kernel has one.
    pub(crate) fn complete_with_buffer(&self, user_data: u64, result: i32, group: u16) {
        let buffer = self.0.0.lock().take_buffer(group).map(|buffer| buffer.id);
        if let Some(id) = buffer {
            self.complete(user_data, result, state::BUFFER | u32::from(id) << 16);
        }
    }

    /// How many buffers of a group are the kernel's: in its ring, or filled for a completion that nobody has seen.
    pub(crate) fn buffers(&self, group: u16) -> usize {
        self.0.0.lock().buffers_of(group)
    }

    /// What the fake kernel holds.
    pub(crate) fn held_entries(&self) -> Vec<Sqe> {
        self.0.0.lock().live.iter().map(|live| live.sqe).collect()
    }

    /// From now on only `complete` ends this entry: no cancel does.
    pub(crate) fn hold(&self, user_data: u64) {
        for live in self.0.0.lock().live.iter_mut().filter(|live| live.sqe.user_data == user_data) {
            (live.fate, live.due) = (Fate::Held, NEVER);
        }
    }

    /// Time goes on until there is one more completion to show, but not further than every entry needs to be tried once. True
    /// if there is one more.
    #[cfg(sim)]
    pub(crate) fn progress(&self) -> bool {
        let mut state = self.0.0.lock();
        let (before, end) = (state.ready(), state.now + state.chaos.delay + 1);
        while state.ready() == before && state.now < end {
            state.now += 1;
            state.advance();
        }
        state.ready() > before
    }

    /// True if completions are there to be shown.
    #[cfg(sim)]
    pub(crate) fn is_ready(&self) -> bool {
        self.0.0.lock().ready() > 0
    }

    /// Who decides results.
    pub(crate) fn set_work(&self, work: impl FnMut(&Sqe) -> i32 + std::marker::Send + 'static) {
        self.0.0.lock().work = Box::new(work);
    }
}

/// Results when nobody decides: transfers succeed in full, other operations give 0.
fn plain_work(sqe: &Sqe) -> i32 {
    match sqe.opcode {
        PollAdd::CODE => sqe.op_flags as i32 & 0xffff,
        // A made-up number would be somebody's descriptor.
        Accept::CODE => -libc::ECONNABORTED,
        _ if sqe.is_transfer() => sqe.len as i32,
        _ => 0,
    }
}

/// See the module.
pub(crate) struct FakeRing {
    kernel: Kernel,
    staged: Staged,
}

impl FakeRing {
    pub(crate) fn new(seed: u64, chaos: Chaos) -> (Self, Kernel) {
        let kernel = Kernel(Arc::new((Mutex::new(State::new(seed, chaos)), Condvar::new())));
        (Self { kernel: kernel.clone(), staged: Staged::default() }, kernel)
    }

    pub(crate) fn seed(&self) -> u64 {
        self.kernel.0.0.lock().seed
    }

    /// True if there are entries that the kernel has not got: after an enter, because it refused them.
    pub(crate) fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }
}

impl Ring for FakeRing {
    fn start(&mut self) -> io::Result<()> {
        Ok(())
    }

    unsafe fn push(&mut self, entry: Entry) -> Ticket {
        let sqe = Sqe::of(&entry);
        // Links, and the flag that keeps a success quiet.
        assert!(sqe.flags & 0b100_1100 == 0 && sqe.user_data != RESERVED, "against the contract: {sqe:?}");
        self.staged.push(entry)
    }

    fn revoke(&mut self, ticket: Ticket) -> bool {
        self.staged.revoke(ticket)
    }

    fn needs_enter(&self) -> bool {
        let state = self.kernel.0.0.lock();
        !self.staged.is_empty() || state.next_due().is_some_and(|due| due <= state.now + 1)
    }

    fn in_kernel(&self) -> usize {
        self.kernel.0.0.lock().in_kernel
    }

    fn enter(&mut self, wait: bool, timeout: Option<Duration>, out: &mut Vec<Completion>) -> io::Result<()> {
        let (state, changed) = &*self.kernel.0;
        let mut state = state.lock();
        let (before, behind) = (out.len(), state.ready() > 0);
        let refuse = if behind { 10 * state.chaos.refuse } else { state.chaos.refuse };
        let room = if state.random.chance(refuse) { state.random.below(3) } else { u64::MAX };
        if room == 0 && !behind {
            let errno = [libc::EAGAIN, libc::ENOMEM, libc::EBUSY][state.random.below(3) as usize];
            return Err(io::Error::from_raw_os_error(errno));
        }
        for _ in 0..room {
            let Some(entry) = self.staged.pop() else { break };
            state.submit(Sqe::of(&entry));
        }
        state.now += 1;
        state.step(out);
        if !wait || out.len() > before || timeout == Some(Duration::ZERO) || !self.staged.is_empty() {
            return Ok(());
        }
        if state.chaos.delay > 0 {
            let Some(due) = state.next_due() else {
                // Time is made up, so a timeout is over at once.
                assert!(timeout.is_some(), "seed {}: a wait without end, and nothing to come", state.seed);
                return Ok(());
            };
            state.now = state.now.max(due);
            state.step(out);
            return Ok(());
        }
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        while out.len() == before {
            match end {
                Some(end) if changed.wait_until(&mut state, end).timed_out() => break,
                Some(_) => {}
                None => changed.wait(&mut state),
            }
            state.step(out);
        }
        Ok(())
    }

    fn take_back(&mut self, out: &mut Vec<Completion>) {
        self.staged.take_back(out);
    }

    fn supports(&self, _opcode: u8) -> bool {
        true
    }

    unsafe fn register_buffers(&mut self, memory: *mut u8, entries: u16, group: u16) -> io::Result<()> {
        let buffers = Buffers { memory: memory as usize, entries, head: 0 };
        match self.kernel.0.0.lock().buffers.insert(group, buffers) {
            Some(_) => Err(io::Error::from_raw_os_error(libc::EEXIST)),
            None if !entries.is_power_of_two() => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            None => Ok(()),
        }
    }

    fn signal_through(&mut self, _eventfd: RawFd) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))
    }

    fn drain(&mut self, _limit: Option<Duration>, out: &mut Vec<Completion>) -> bool {
        self.staged.cancel(out);
        let mut state = self.kernel.0.0.lock();
        for at in 0..state.live.len() {
            state.cancel_one(at);
        }
        while let Some(due) = state.next_due() {
            state.now = state.now.max(due);
            state.step(out);
        }
        state.live.is_empty()
    }
}
