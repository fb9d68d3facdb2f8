//! io_uring: the ring that one worker owns. `setup.rs` makes it, or says why there is none; `ring.rs` is the real one;
//! `fake.rs` plays a kernel from a seed.
//!
//! The contract of a ring (`Ring`), kept by both:
//! - Entries wait in user space (`Staged`) until `enter`, so a full submission queue reaches nobody, and an entry that
//!   was not handed over can be taken back.
//! - Every entry that was handed over ends in exactly one completion without F_MORE, and may have others before it. So
//!   entries carry neither IOSQE_CQE_SKIP_SUCCESS, nor links: a chain would be cut wherever a round of submission ends.
//! - `enter` only copies completions out. Nobody's code runs inside it.
//! - The kernel has been seen to complete twice, and late. A completion is a message about a number, not a permission:
//!   who reads it looks the number up.
//! - `start` binds the ring to its thread: only that one enters and drains. It is best dropped there, too: from elsewhere
//!   the kernel keeps what it holds of the ring until that thread ends.

#[cfg(all(test, not(loom)))]
pub(crate) mod fake;
mod ring;
mod setup;
#[cfg(all(test, not(loom)))]
mod tests;

pub(crate) use io_uring::squeue::Entry;
pub(crate) use setup::{make, prove};

use io_uring::cqueue;
use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// What the kernel says about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    pub(crate) user_data: u64,
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

impl Completion {
    /// More completions of the same entry follow: the kernel still holds what the entry names.
    pub(crate) fn has_more(self) -> bool {
        cqueue::more(self.flags)
    }

    /// The kernel let go of the memory of a zero-copy send. Its result came before, with F_MORE.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn is_notification(self) -> bool {
        cqueue::notif(self.flags)
    }

    /// The kernel never got the entry: the ring was given up before.
    pub(crate) fn is_returned(self) -> bool {
        self.flags == RETURNED
    }

    /// The provided buffer that the data is in.
    pub(crate) fn buffer(self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }
}

/// The `user_data` of a ring's own entries. Nobody else may use it; it never reaches anybody.
pub(crate) const RESERVED: u64 = u64::MAX;

/// The flags of an entry that comes back as it is. The kernel gives no buffer's number without saying that it is one.
const RETURNED: u32 = 1 << 31;

/// The place of a queued entry, counted since the ring was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// A worker's ring. See the module for its contract.
pub(crate) trait Ring: Send {
    /// Enables the ring. Called once, before anything else is, on the thread that owns it from then on.
    fn start(&mut self) -> io::Result<()>;

    /// Queues an entry in user space; the kernel gets it at the next `enter`.
    ///
    /// # Safety
    /// The memory and the descriptors that the entry names stay what they are until its last completion came, or until
    /// it was revoked. No link, no IOSQE_CQE_SKIP_SUCCESS, and not `RESERVED` as `user_data`.
    unsafe fn push(&mut self, entry: Entry) -> Ticket;

    /// Takes back an entry that was not handed over: no completion will come. False means that it is too late.
    fn revoke(&mut self, ticket: Ticket) -> bool;

    /// Whether an `enter` that does not wait would find something to do: entries queued, completions to reap, or work
    /// that the kernel holds back until the next `enter`. Costs loads only.
    fn needs_enter(&self) -> bool;

    /// How many entries were handed over and have not ended.
    fn in_kernel(&self) -> usize;

    /// Hands over all that is queued, sleeps if `wait` says so until a completion or the timeout (`None`: without end),
    /// and appends completions to `out`. It does not sleep when completions are there already, and may return early
    /// with none, as after a signal. It may leave some of both behind, be it entries for want of room or completions that
    /// were too many: as long as it does, `needs_enter` says so.
    ///
    /// After an error whatever was not handed over is still queued, and completions that could be had are in `out`.
    /// EAGAIN, ENOMEM and EBUSY say that nothing moved at all, and that it may be tried again.
    fn enter(&mut self, wait: bool, timeout: Option<Duration>, out: &mut Vec<Completion>) -> io::Result<()>;

    /// Gives all entries back that the kernel has not got, as completions that say so. For who will not enter again.
    fn take_back(&mut self, out: &mut Vec<Completion>);

    /// Whether the kernel knows an operation.
    fn supports(&self, opcode: u8) -> bool;

    /// Gives the kernel a ring of buffers to choose from.
    ///
    /// # Safety
    /// `memory` is page-aligned and has room for `entries` records of 16 bytes; it stays mapped until the ring is closed.
    unsafe fn register_buffers(&mut self, memory: *mut u8, entries: u16, group: u16) -> io::Result<()>;

    /// For an owner that sleeps in somebody else's loop: the eventfd is signalled when the kernel gets something to
    /// enter for. It is an edge: whoever is about to sleep on it asks `needs_enter` first. For a poll of another eventfd
    /// it comes a moment after that one's write, because the kernel puts off a signal out of a signal.
    fn signal_through(&mut self, eventfd: RawFd) -> io::Result<()>;

    /// Ends everything: queued entries complete with ECANCELED here, the others are cancelled and waited for, until
    /// none is left or the time is over. True if all ended. Their completions go to `out`. A thread that is not the owner
    /// can end only what is queued. After a false it is drained again, or forgotten.
    fn drain(&mut self, limit: Option<Duration>, out: &mut Vec<Completion>) -> bool;

    /// Leaks the ring. Closing it while the kernel holds entries would let their memory be reused too early.
    fn forget(self: Box<Self>) {
        std::mem::forget(self);
    }
}

fn returned(user_data: u64) -> Completion {
    Completion { user_data, result: -libc::ECANCELED, flags: RETURNED }
}

/// The entries that wait for the next `enter`.
#[derive(Default)]
struct Staged {
    /// A revoked entry leaves a gap, so that tickets stay right. The first one is never a gap.
    entries: VecDeque<Option<Entry>>,
    /// The ticket of the first one.
    first: u64,
    live: usize,
}

impl Staged {
    fn push(&mut self, entry: Entry) -> Ticket {
        let ticket = Ticket(self.first + self.entries.len() as u64);
        self.entries.push_back(Some(entry));
        self.live += 1;
        ticket
    }

    fn revoke(&mut self, ticket: Ticket) -> bool {
        let index = ticket.0.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let slot = index.and_then(|index| self.entries.get_mut(index));
        let revoked = slot.and_then(Option::take).is_some();
        if revoked {
            self.live -= 1;
            self.skip_gaps();
        }
        revoked
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()??;
        self.first += 1;
        self.live -= 1;
        self.skip_gaps();
        Some(entry)
    }

    fn skip_gaps(&mut self) {
        while let Some(None) = self.entries.front() {
            self.entries.pop_front();
            self.first += 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Takes all of them back, as completions that say so.
    fn cancel(&mut self, out: &mut Vec<Completion>) {
        while let Some(entry) = self.pop() {
            out.push(Completion { user_data: entry.get_user_data(), result: -libc::ECANCELED, flags: 0 });
        }
    }

    fn take_back(&mut self, out: &mut Vec<Completion>) {
        while let Some(entry) = self.pop() {
            out.push(returned(entry.get_user_data()));
        }
    }
}
