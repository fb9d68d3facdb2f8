//! A worker's receive buffers.
//!
//! ```text
//!           refill                filled              release
//!  +------+ ------> +-----------+ ------> +--------+ --------> +----------+
//!  | free |         | kernel    |         | leased |  any      | returned |
//!  |      | <------ |           |     +-> |        |  thread   |          |
//!  |      | unfilled+-----------+     |   +--------+           +----------+
//!  |      |  take   +-----------+     |                             |
//!  |      | ------> | taken     | ----+ keep                        |
//!  |      | <------ |           |                                   |
//!  |      | put_back+-----------+                                   |
//!  |      | <---------------------- collect ------------------------+
//!  +------+
//! ```
//! A buffer is in exactly one of these places. All moves are the owner's thread's, but for the one of the release, which is
//! in `returned.rs`; the owner does not see it before it collects.
//!
//! What is free is used again most recent first, so that a worker with few bytes in flight stays within few pages.

mod lease;
mod memory;
mod returned;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

pub(crate) use lease::{Lease, LeaseQueue, all_buffers, claim, live_leases, release};

use lease::LeaseEntry;
use memory::{Mapping, Ring};
use returned::Shared;
use std::io;
use std::ptr::{self, NonNull};

/// How many buffers are with the kernel at most. It fills them in turns, so all of them pass through the caches; too few,
/// and a burst ends the multishot receives.
const WINDOW: u32 = 256;
/// And no more than one in so many: what a flooding peer fills before its receive can be stopped is left to the others.
const WINDOW_SHARE: u32 = 4;
/// But no fewer than this, where there are so many.
const LEAST_WINDOW: u32 = 16;
/// A buffer's number has 16 bits, and the kernel's rings end here.
const MAX_COUNT: u32 = 32768;
/// Buffers do not share cache lines: their users may be on different processors.
const LINE: usize = 64;

/// The buffers of one worker, used by its thread alone. Must end after the ring of the kernel that it was given to, and
/// after everything that was taken.
pub(super) struct Buffers {
    shared: NonNull<Shared>,
    size: u32,
    count: u32,
    /// Null until the first buffer is used.
    base: *mut u8,
    ring: Option<Ring>,
    /// By number, as many as were ever used. The rest is free as well.
    used: Vec<Buffer>,
    /// The used ones that are free, the most recent last.
    free: Vec<u16>,
    with_kernel: u32,
    /// Leased, or returned and not collected.
    leased: u32,
}

struct Buffer {
    entry: &'static LeaseEntry,
    start: *mut u8,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Free,
    Kernel,
    Taken,
    /// Or returned.
    Leased,
    /// With a kernel that is not asked any more.
    Lost,
}

/// A buffer to receive into. Goes to `keep` or `put_back` of the pool that it is from.
#[must_use]
#[derive(Debug)]
pub(super) struct Taken {
    number: u16,
    ptr: *mut u8,
}

impl Taken {
    pub(super) fn ptr(&self) -> *mut u8 {
        self.ptr
    }
}

// SAFETY: nothing here belongs to a thread; entries and what is shared are made for many.
unsafe impl Send for Buffers {}

impl Buffers {
    /// `count` buffers of `size` bytes, at least one of each and at most 32768 buffers. Nothing is mapped before the first
    /// use. `wake` is what answers `want_release`: it is called on any thread, by whoever returns a lease, with no lock
    /// held, and possibly a moment after the pool's end. It lives as long as the last lease, so it should own little.
    pub(super) fn new(size: u32, count: u32, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            shared: Shared::new(wake),
            size: size.max(1),
            count: count.clamp(1, MAX_COUNT),
            base: ptr::null_mut(),
            ring: None,
            used: Vec::new(),
            free: Vec::new(),
            with_kernel: 0,
            leased: 0,
        }
    }

    /// The ring to register with the kernel: its memory, which starts a page and lives as long as the pool, and the number
    /// of its entries, a power of two. Made by the first call.
    pub(super) fn ring_memory(&mut self) -> io::Result<(*mut u8, u16)> {
        let ring = match self.ring.take() {
            Some(ring) => ring,
            None => Ring::new(self.window() as u16)?,
        };
        let ring = self.ring.insert(ring);
        Ok((ring.base(), ring.entries()))
    }

    fn window(&self) -> u32 {
        (self.count / WINDOW_SHARE).clamp(LEAST_WINDOW, WINDOW).min(self.count)
    }

    /// Gives free buffers to the kernel, as many as it should have. True if it has any now. False while there are free ones:
    /// memory is out.
    pub(super) fn refill(&mut self) -> bool {
        let before = self.with_kernel;
        while self.ring.is_some() && self.with_kernel < self.window() {
            let Some(number) = self.leave_free(Place::Kernel) else { break };
            let (buffer, size) = (self.address(number), self.size);
            self.ring.as_mut().expect("looked at above").add(buffer, size, number);
            self.with_kernel += 1;
        }
        if let Some(ring) = &mut self.ring
            && self.with_kernel > before
        {
            ring.publish();
        }
        self.with_kernel > 0
    }

    /// The kernel filled a buffer, which becomes a lease. `owner` is what `collect` will say when it comes back. `None` if
    /// the kernel did not have it (completions were seen to repeat): nothing changed.
    pub(super) fn filled(&mut self, number: u16, len: u32, owner: u64) -> Option<Lease> {
        if !self.leave_kernel(number) {
            return None;
        }
        Some(self.lease(number, len, owner))
    }

    /// The kernel used a buffer up for nothing that anybody waits for. Free again, if the kernel had it.
    pub(super) fn unfilled(&mut self, number: u16) {
        if self.leave_kernel(number) {
            self.enter_free(number);
        }
    }

    /// The kernel uses its buffers no more: nothing is on its ring, and will be.
    pub(super) fn take_back(&mut self) {
        for number in 0..self.used.len() as u16 {
            self.unfilled(number);
        }
    }

    /// The kernel keeps its buffers, and may fill them whenever it likes: they get other memory. Without any they are nobody's. The memory
    /// that they had must be leaked, and the pool with it.
    pub(super) fn leave_to_kernel(&mut self) {
        let stride = self.stride();
        let Ok(memory) = Mapping::new(self.with_kernel as usize * stride) else {
            let kernels = self.used.iter_mut().filter(|buffer| buffer.place == Place::Kernel);
            kernels.for_each(|buffer| buffer.place = Place::Lost);
            self.with_kernel = 0;
            return;
        };
        let starts = (0..).map(|nth| memory.base().wrapping_add(nth * stride));
        for (buffer, start) in self.used.iter_mut().filter(|buffer| buffer.place == Place::Kernel).zip(starts) {
            buffer.start = start;
            // SAFETY: we are the pool's owner; the buffer was the kernel's, so there is no lease of it.
            unsafe { buffer.entry.move_to(start) };
        }
        // As the memory that it is in place of.
        std::mem::forget(memory);
        self.take_back();
    }

    fn leave_kernel(&mut self, number: u16) -> bool {
        let had = self.used.get(usize::from(number)).is_some_and(|buffer| buffer.place == Place::Kernel);
        self.with_kernel -= u32::from(had);
        had
    }

    /// A free buffer to receive into. `None` without one, or, while there are free ones, without memory.
    pub(super) fn take(&mut self) -> Option<Taken> {
        let number = self.leave_free(Place::Taken)?;
        Some(Taken { number, ptr: self.address(number) })
    }

    /// The same, for who can do without one: it leaves half of them to those who would have to wait.
    pub(super) fn take_if_plenty(&mut self) -> Option<Taken> {
        if self.free() > self.count.div_ceil(2) { self.take() } else { None }
    }

    /// Something was received into it.
    pub(super) fn keep(&mut self, taken: Taken, len: u32, owner: u64) -> Lease {
        debug_assert_eq!(self.used[usize::from(taken.number)].place, Place::Taken);
        self.lease(taken.number, len, owner)
    }

    /// Nothing was.
    pub(super) fn put_back(&mut self, taken: Taken) {
        debug_assert_eq!(self.used[usize::from(taken.number)].place, Place::Taken);
        self.enter_free(taken.number);
    }

    /// Takes in what was returned, and tells the owner of each. True if there was any.
    pub(super) fn collect(&mut self, mut owner_of: impl FnMut(u64)) -> bool {
        let before = self.free.len();
        // SAFETY: the pool holds what it shares until its drop.
        for entry in unsafe { self.shared.as_ref() }.take() {
            // SAFETY: the lease was returned to us.
            let (number, owner) = unsafe { entry.ended() };
            self.enter_free(number);
            self.leased -= 1;
            owner_of(owner);
        }
        // They came newest first.
        self.free[before..].reverse();
        self.free.len() > before
    }

    /// Somebody waits for a buffer, or for a lease of its own to come back: the next return, from any thread, calls `wake`,
    /// once. False: something was returned already, collect it.
    #[must_use]
    pub(super) fn want_release(&self) -> bool {
        // SAFETY: the pool holds what it shares until its drop.
        unsafe { self.shared.as_ref() }.want()
    }

    /// How many are neither leased nor taken nor with the kernel.
    pub(super) fn free(&self) -> u32 {
        self.count - self.used.len() as u32 + self.free.len() as u32
    }

    /// How many are leased, or returned and not collected.
    #[cfg(test)]
    pub(super) fn leased(&self) -> u32 {
        self.leased
    }

    /// Into how many something can be received before any come back.
    pub(super) fn at_hand(&self) -> u32 {
        self.free() + self.with_kernel
    }

    fn address(&self, number: u16) -> *mut u8 {
        self.used[usize::from(number)].start
    }

    fn stride(&self) -> usize {
        (self.size as usize).next_multiple_of(LINE)
    }

    /// Takes the most recent of the free, able to become a lease later without anything that can fail.
    fn leave_free(&mut self, to: Place) -> Option<u16> {
        let Some(&number) = self.free.last() else {
            return self.leave_unused(to);
        };
        if !self.used[usize::from(number)].entry.can_live() {
            self.used[usize::from(number)].entry = LeaseEntry::bind(self.shared, self.address(number), number)?;
        }
        self.free.pop();
        self.used[usize::from(number)].place = to;
        Some(number)
    }

    fn leave_unused(&mut self, to: Place) -> Option<u16> {
        if self.used.len() as u32 == self.count {
            return None;
        }
        if self.base.is_null() {
            let mapping = Mapping::new(self.count as usize * self.stride()).ok()?;
            self.base = mapping.base();
            // SAFETY: we are the pool, and no buffer was used before the memory is there.
            unsafe { self.shared.as_ref().keep(mapping) };
        }
        let number = self.used.len() as u16;
        let start = self.base.wrapping_add(usize::from(number) * self.stride());
        let entry = LeaseEntry::bind(self.shared, start, number)?;
        self.used.push(Buffer { entry, start, place: to });
        Some(number)
    }

    fn enter_free(&mut self, number: u16) {
        self.used[usize::from(number)].place = Place::Free;
        self.free.push(number);
    }

    fn lease(&mut self, number: u16, len: u32, owner: u64) -> Lease {
        self.used[usize::from(number)].place = Place::Leased;
        self.leased += 1;
        // SAFETY: we are the pool's owner; the buffer was the kernel's or taken, so there is no lease of it.
        unsafe { self.used[usize::from(number)].entry.lease(len.min(self.size), owner) }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: the pool's hold ends here, and the returned leases are dealt with below.
        for entry in unsafe { Shared::close(self.shared, self.leased) } {
            // SAFETY: the lease was returned to us.
            let (number, _) = unsafe { entry.ended() };
            self.enter_free(number);
        }
        for buffer in self.used.iter().filter(|buffer| buffer.place != Place::Leased) {
            // SAFETY: we were its pool, and there is no lease.
            unsafe { buffer.entry.unbind() };
        }
    }
}
