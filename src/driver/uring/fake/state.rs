//! What the fake kernel holds, and what becomes of it.

use super::{Chaos, Random, Sqe, Work, plain_work};
use crate::driver::uring::Completion;
use io_uring::opcode::{AsyncCancel, Close, Recv, RecvMsg, SendZc};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, Ordering::Acquire};

pub(super) const BUFFER: u32 = 1;
const MORE: u32 = 1 << 1;
const NOTIFICATION: u32 = 1 << 3;
pub(super) const NEVER: u64 = u64::MAX;
/// More than a ring can have.
const MOST_BUFFERS: u32 = 1 << 15;

/// An entry that the fake kernel holds.
pub(super) struct Live {
    pub(super) sqe: Sqe,
    pub(super) due: u64,
    pub(super) fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Running,
    /// A cancel found it.
    Cancelled,
    /// A cancel came too late: it goes one more step, and ends.
    Ending,
    /// Only a test ends it.
    Held,
}

/// A provided-buffer ring, read as a kernel reads it.
pub(super) struct Buffers {
    /// Where the records are; an address, because the state moves between threads.
    pub(super) memory: usize,
    pub(super) entries: u16,
    pub(super) head: u16,
}

/// A buffer that was taken from a ring.
pub(super) struct Buffer {
    address: u64,
    len: u32,
    pub(super) id: u16,
}

impl Buffers {
    fn len(&self) -> u16 {
        let tail = (self.memory + 14) as *const AtomicU16;
        // SAFETY: `register_buffers` got the ring's memory, which outlives the ring; its tail is the last half-word of the
        // first record.
        unsafe { &*tail }.load(Acquire).wrapping_sub(self.head)
    }

    fn take(&mut self) -> Option<Buffer> {
        if self.len() == 0 {
            return None;
        }
        let record = self.memory + usize::from(self.head & (self.entries - 1)) * 16;
        // SAFETY: the record is inside the ring, and the owner wrote it before it moved the tail past it.
        let (address, len, id) =
            unsafe { (*(record as *const u64), *((record + 8) as *const u32), *((record + 12) as *const u16)) };
        self.head = self.head.wrapping_add(1);
        Some(Buffer { address, len, id })
    }
}

pub(super) struct State {
    pub(super) seed: u64,
    pub(super) random: Random,
    pub(super) chaos: Chaos,
    pub(super) now: u64,
    pub(super) live: Vec<Live>,
    /// Completions and when they show.
    posted: Vec<(u64, Completion)>,
    pub(super) buffers: HashMap<u16, Buffers>,
    pub(super) work: Work,
    pub(super) in_kernel: usize,
}

impl State {
    pub(super) fn new(seed: u64, chaos: Chaos) -> Self {
        Self {
            seed,
            random: Random::new(seed),
            chaos,
            now: 0,
            live: Vec::new(),
            posted: Vec::new(),
            buffers: HashMap::new(),
            work: Box::new(plain_work),
            in_kernel: 0,
        }
    }

    fn later(&mut self) -> u64 {
        if self.chaos.delay == 0 { NEVER } else { self.now + self.random.below(self.chaos.delay) }
    }

    pub(super) fn post(&mut self, due: u64, completion: Completion) {
        self.posted.push((due, completion));
    }

    pub(super) fn submit(&mut self, sqe: Sqe) {
        self.in_kernel += 1;
        if sqe.opcode == AsyncCancel::CODE {
            return self.cancel(sqe);
        }
        let due = self.later();
        self.live.push(Live { sqe, due, fate: Fate::Running });
    }

    /// Answers a cancel. What is found ends with ECANCELED, or as if nobody had asked, when it was too far already.
    fn cancel(&mut self, sqe: Sqe) {
        let (all, by_fd, any) = (sqe.op_flags & 1 != 0, sqe.op_flags & 2 != 0, sqe.op_flags & 4 != 0);
        let (mut found, mut too_far) = (0, false);
        let missed = !any && self.chaos.missed > 0 && self.random.chance(self.chaos.missed);
        for at in 0..if missed { 0 } else { self.live.len() } {
            let live = &self.live[at];
            let hit = any || if by_fd { live.sqe.fd == sqe.fd } else { live.sqe.user_data == sqe.addr };
            let over = matches!(live.fate, Fate::Cancelled | Fate::Ending);
            if hit && !over && (all || found == 0) {
                found += 1;
                too_far |= !self.cancel_one(at);
            }
        }
        let result = match (found, too_far) {
            (0, _) if all => 0,
            (0, _) => -libc::ENOENT,
            (found, _) if all => found,
            // It ends all the same, as what was found too late does.
            (_, true) if self.random.chance(500) => -libc::EALREADY,
            (_, true) => -libc::ENOENT,
            _ => 0,
        };
        let due = if self.chaos.delay == 0 || any { self.now } else { self.later() };
        self.post(due, sqe.completion(result, 0));
    }

    /// False if it came too late.
    pub(super) fn cancel_one(&mut self, at: usize) -> bool {
        let scripted = self.chaos.delay == 0;
        let due = if scripted { self.now } else { self.later() };
        let fate = match self.live[at].fate {
            Fate::Held => return false,
            _ if !scripted && self.random.chance(250) => Fate::Ending,
            _ => Fate::Cancelled,
        };
        (self.live[at].fate, self.live[at].due) = (fate, due);
        fate == Fate::Cancelled
    }

    /// Runs what is due, and moves what shows into `out`.
    pub(super) fn step(&mut self, out: &mut Vec<Completion>) {
        self.advance();
        let (now, most) = (self.now, if self.chaos.most == 0 { usize::MAX } else { self.chaos.most });
        let shown: Vec<_> = self.posted.extract_if(.., |(due, _)| *due <= now).take(most).collect();
        let ended = shown.iter().filter(|(_, completion)| !completion.has_more()).count();
        // As with the real ring: a completion too many is not an entry too many.
        self.in_kernel = self.in_kernel.saturating_sub(ended);
        out.extend(shown.into_iter().map(|(_, completion)| completion));
    }

    /// How many completions are there to be shown.
    pub(super) fn ready(&self) -> usize {
        self.posted.iter().filter(|(due, _)| *due <= self.now).count()
    }

    /// Runs what is due.
    pub(super) fn advance(&mut self) {
        let now = self.now;
        let mut at = 0;
        while at < self.live.len() {
            let ended = self.live[at].due <= now && self.run(at);
            if ended {
                self.live.swap_remove(at);
            } else {
                at += 1;
            }
        }
    }

    /// One step of an entry. True if it ended.
    fn run(&mut self, at: usize) -> bool {
        let Live { sqe, fate, .. } = self.live[at];
        if fate == Fate::Cancelled || (fate == Fate::Ending && !self.attempt(sqe)) {
            return self.end(sqe, -libc::ECANCELED, 0);
        } else if fate == Fate::Ending {
            return true;
        }
        let bursting = sqe.is_multishot() && self.random.chance(self.chaos.burst);
        for _ in 0..if bursting { 32 } else { 1 } {
            if self.attempt(sqe) {
                return true;
            }
        }
        self.live[at].due = self.later().saturating_add(1);
        false
    }

    /// One attempt of an operation. True if it was the last.
    fn attempt(&mut self, mut sqe: Sqe) -> bool {
        const ERRORS: [i32; 5] = [libc::ECONNRESET, libc::ENOMEM, libc::EIO, libc::EINTR, libc::ECANCELED];
        let Chaos { error, short, early_end, no_buffers, lost_buffer, .. } = self.chaos;
        // A close that fails has closed: only `work` can do that.
        let may_fail = sqe.opcode != Close::CODE && self.random.chance(error);
        let error = may_fail.then(|| -ERRORS[self.random.below(ERRORS.len() as u64) as usize]);
        let mut flags = 0;
        if sqe.selects_buffer() && (error.is_none() || self.random.chance(lost_buffer)) {
            let buffer = if self.random.chance(no_buffers) { None } else { self.take_buffer(sqe.buf_group) };
            let Some(buffer) = buffer else { return self.end(sqe, -libc::ENOBUFS, 0) };
            (sqe.addr, sqe.len) = (buffer.address, buffer.len);
            flags = BUFFER | u32::from(buffer.id) << 16;
        }
        if let Some(error) = error {
            return self.end(sqe, error, flags);
        }
        if sqe.is_transfer() && sqe.len > 1 && self.random.chance(short) {
            sqe.len = 1 + self.random.below(sqe.len.into()) as u32;
        }
        let result = (self.work)(&sqe);
        if result <= 0 && flags != 0 {
            // Nothing was put into it, so it is free again.
            let buffers = self.buffers.get_mut(&sqe.buf_group).expect("a buffer was taken from it");
            (buffers.head, flags) = (buffers.head.wrapping_sub(1), 0);
        }
        if result == -libc::EAGAIN {
            return false;
        }
        // A descriptor of 0 is a success; a receive of 0 is the end of the stream.
        let receives = matches!(sqe.opcode, Recv::CODE | RecvMsg::CODE);
        let goes_on = sqe.is_multishot() && result >= i32::from(receives);
        if goes_on && !self.random.chance(early_end) {
            self.post(self.now, sqe.completion(result, flags | MORE));
            return false;
        }
        self.end(sqe, result, flags)
    }

    pub(super) fn take_buffer(&mut self, group: u16) -> Option<Buffer> {
        self.buffers.get_mut(&group)?.take()
    }

    pub(super) fn buffers_of(&self, group: u16) -> usize {
        // A forged number is nobody's buffer.
        let is_real = |flags: u32| flags & BUFFER != 0 && flags >> 16 < MOST_BUFFERS;
        let unseen = self.posted.iter().filter(|(_, completion)| is_real(completion.flags)).count();
        self.buffers.get(&group).map_or(0, |buffers| buffers.len().into()) + unseen
    }

    /// The final completion of an entry, and what follows it all the same. Returns true.
    fn end(&mut self, sqe: Sqe, result: i32, flags: u32) -> bool {
        let now = self.now;
        let mut last = now;
        if sqe.opcode == SendZc::CODE && result >= 0 {
            self.post(now, sqe.completion(result, flags | MORE));
            last = if self.chaos.delay == 0 { now } else { self.later() };
            self.post(last, sqe.completion(0, NOTIFICATION));
        } else {
            self.post(now, sqe.completion(result, flags));
        }
        if self.random.chance(self.chaos.repeat) {
            let after = self.later();
            self.post(after.max(last), sqe.completion(-libc::ECANCELED, 0));
        }
        true
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        let posted = self.posted.iter().map(|(due, _)| *due);
        self.live.iter().map(|live| live.due).chain(posted).min().filter(|due| *due != NEVER)
    }
}
