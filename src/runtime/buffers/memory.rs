//! Memory that the kernel writes to, or reads from, by its address.

use io_uring::types::BufRingEntry;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering::Release};

/// Fresh pages, which cost nothing until they are touched and do not exist in a child.
pub(super) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a fresh anonymous mapping, which nobody else knows.
        let base = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the pages are ours. Pages that a child shares would be copied at the next write: away from the kernel,
        // which keeps to those that it was told of. Where the advice is refused, all else works.
        unsafe { libc::madvise(base, bytes, libc::MADV_DONTFORK) };
        Ok(Self { base: NonNull::new(base.cast()).expect("no mapping is at 0"), bytes })
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and the owner says by the drop that nobody uses it any more.
        unsafe { libc::munmap(self.base().cast(), self.bytes) };
    }
}

/// The array through which buffers go to the kernel, oldest first. Its tail lies over the last field of the first entry.
pub(super) struct Ring {
    memory: Mapping,
    entries: u16,
    /// Runs freely. What the kernel may see of it is in the memory.
    tail: u16,
}

impl Ring {
    /// A ring with room for that many.
    pub(super) fn new(room: u16) -> io::Result<Self> {
        let entries = room.next_power_of_two();
        let memory = Mapping::new(usize::from(entries) * size_of::<BufRingEntry>())?;
        Ok(Self { memory, entries, tail: 0 })
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.memory.base()
    }

    pub(super) fn entries(&self) -> u16 {
        self.entries
    }

    /// Adds a buffer, which the kernel does not see before `publish`. No more may be in the ring than it has entries.
    pub(super) fn add(&mut self, buffer: *mut u8, bytes: u32, number: u16) {
        let place = self.tail & (self.entries - 1);
        // SAFETY: the place is within the mapping, which is aligned to a page. The kernel reads no entry at or above the
        // published tail, and the setters leave the tail alone, which is a part of the first entry.
        let entry = unsafe { &mut *self.base().cast::<BufRingEntry>().add(place.into()) };
        entry.set_addr(buffer as u64);
        entry.set_len(bytes);
        entry.set_bid(number);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what was added.
    pub(super) fn publish(&mut self) {
        // SAFETY: the first entry of a ring that we own, all zeros or written since.
        let tail = unsafe { BufRingEntry::tail(self.base().cast()) };
        // SAFETY: aligned, in our mapping, and read by nobody but the kernel. It is no atomic of the models, in which there
        // is no kernel.
        unsafe { AtomicU16::from_ptr(tail.cast_mut()) }.store(self.tail, Release);
    }
}
