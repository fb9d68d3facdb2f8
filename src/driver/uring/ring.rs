//! The real ring. The crate maps the queues and keeps their indices; entering the kernel is ours, because the crate's way
//! of it forgets a registered descriptor, and knows neither NO_IOWAIT nor when DEFER_TASKRUN needs GETEVENTS.

use super::{Completion, Entry, RESERVED, Ring, Staged, Ticket, returned};
use crate::primitives::thread::thread_number;
use io_uring::types::CancelBuilder;
use io_uring::{EnterFlags, IoUring, Probe, opcode};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

/// See the module. Only the owner touches it, so the queues have one user on this side.
pub(super) struct Uring {
    ring: IoUring,
    probe: Probe,
    staged: Staged,
    /// Entries in the submission queue count: none of them can be taken back alone.
    in_kernel: usize,
    /// What they are called, the oldest first; before them may be some that the kernel has taken since.
    queued: Vec<u64>,
    /// What `io_uring_enter` gets: the descriptor, or its place in the owner's table of registered rings.
    target: libc::c_int,
    always: EnterFlags,
    asleep: EnterFlags,
    /// Who called `start`, and so whose table of registered rings it may be in.
    owner: Option<u64>,
}

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct WaitArgument {
    sigmask: u64,
    sigmask_size: u32,
    min_wait_usec: u32,
    timeout: *const Timespec,
}

/// `struct __kernel_timespec`.
#[repr(C)]
pub(super) struct Timespec {
    pub(super) seconds: i64,
    nanoseconds: i64,
}

/// `struct io_uring_rsrc_update`, as the registration of ring descriptors reads it.
#[repr(C)]
struct RingSlot {
    index: u32,
    reserved: u32,
    fd: u64,
}

const REGISTER_RING_FDS: libc::c_uint = 20;
const UNREGISTER_RING_FDS: libc::c_uint = 21;

/// How long a drain waits before it cancels again: a request that was just changing hands is not found.
const CANCEL_AGAIN: Duration = Duration::from_millis(20);

/// What a look at the kernel's flags finds.
struct Waiting {
    overflow: bool,
    task_work: bool,
}

impl Uring {
    pub(super) fn new(ring: IoUring, probe: Probe) -> Self {
        let target = ring.as_raw_fd();
        // A sleeping worker is not a disk that is waited for.
        let asleep = if ring.params().is_feature_no_iowait() { EnterFlags::NO_IOWAIT } else { EnterFlags::empty() };
        // Without GETEVENTS the kernel would submit, but never run what was deferred.
        let always = EnterFlags::GETEVENTS;
        let (staged, queued) = (Staged::default(), Vec::new());
        Self { ring, probe, staged, in_kernel: 0, queued, target, always, asleep, owner: None }
    }

    /// Saves the look-up of the descriptor in every `enter`. Where it is refused, the plain descriptor serves.
    fn register_descriptor(&mut self) {
        let mut slot = RingSlot { index: u32::MAX, reserved: 0, fd: self.ring.as_raw_fd() as u64 };
        if self.register_slot(REGISTER_RING_FDS, &mut slot) {
            self.target = slot.index as libc::c_int;
            self.always |= EnterFlags::REGISTERED_RING;
        }
    }

    fn register_slot(&self, operation: libc::c_uint, slot: &mut RingSlot) -> bool {
        let (fd, slot) = (libc::c_long::from(self.ring.as_raw_fd()), std::ptr::from_mut(slot));
        // SAFETY: the slot outlives the call, which reads it and writes the index; the descriptor is our own.
        unsafe {
            libc::syscall(libc::SYS_io_uring_register, fd, libc::c_long::from(operation), slot, 1 as libc::c_long) == 1
        }
    }

    fn owned_here(&self) -> bool {
        self.owner == Some(thread_number())
    }

    fn is_registered(&self) -> bool {
        self.always.contains(EnterFlags::REGISTERED_RING)
    }

    /// Moves entries into the submission queue while it has room. Returns how many are in it.
    fn fill(&mut self) -> u32 {
        let mut queue = self.ring.submission();
        self.queued.drain(..self.queued.len() - queue.len());
        while !queue.is_full() {
            let Some(entry) = self.staged.pop() else { break };
            self.queued.push(entry.get_user_data());
            // SAFETY: who pushed it keeps what it names until its last completion, and it can no longer be revoked.
            unsafe { queue.push(&entry) }.expect("the queue is not full");
            self.in_kernel += 1;
        }
        queue.len() as u32
    }

    /// Copies all completions out and gives their places back. Returns how many there were.
    fn reap(&mut self, out: &mut Vec<Completion>) -> usize {
        let before = out.len();
        out.extend(self.ring.completion().map(|cqe| Completion {
            user_data: cqe.user_data(),
            result: cqe.result(),
            flags: cqe.flags(),
        }));
        let ended = out[before..].iter().filter(|completion| !completion.has_more()).count();
        // The kernel has been seen to complete an entry twice.
        self.in_kernel = self.in_kernel.saturating_sub(ended);
        out.len() - before
    }

    fn waiting(&self) -> Waiting {
        // SAFETY: the owner is the only user of the queue, and no other view of it lives. This one is not dropped: its
        // drop would store the tail.
        let queue = ManuallyDrop::new(unsafe { self.ring.submission_shared() });
        Waiting { overflow: queue.cq_overflow(), task_work: queue.taskrun() }
    }

    /// One `io_uring_enter`. Returns how many entries the kernel took; it sleeps only if that is all of them.
    fn call(&self, to_submit: u32, sleep: bool, timeout: Option<Duration>) -> io::Result<u32> {
        let mut flags = self.always;
        let limit = timeout.filter(|_| sleep).map(timespec);
        let limit_at = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let argument = WaitArgument { sigmask: 0, sigmask_size: 0, min_wait_usec: 0, timeout: limit_at };
        let (mut argument_at, mut size) = (std::ptr::null(), 0);
        if sleep {
            flags |= self.asleep;
        }
        if limit.is_some() {
            flags |= EnterFlags::EXT_ARG;
            (argument_at, size) = (&raw const argument, size_of::<WaitArgument>());
        }
        // SAFETY: the argument and the timeout live until the call returns. What the entries name is kept by those who
        // pushed them.
        let returned = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                libc::c_long::from(self.target),
                libc::c_long::from(to_submit),
                libc::c_long::from(sleep),
                libc::c_long::from(flags.bits()),
                argument_at,
                size,
            )
        };
        u32::try_from(returned).map_err(|_| io::Error::last_os_error())
    }
}

/// Clamped, so that the kernel's sum with the present time does not wrap.
pub(super) fn timespec(timeout: Duration) -> Timespec {
    let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX).min(u32::MAX.into());
    Timespec { seconds, nanoseconds: timeout.subsec_nanos().into() }
}

/// Room or memory is short for now; completions give both back.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM | libc::EBUSY))
}

impl Ring for Uring {
    fn start(&mut self) -> io::Result<()> {
        self.ring.submitter().register_enable_rings()?;
        self.owner = Some(thread_number());
        self.register_descriptor();
        Ok(())
    }

    unsafe fn push(&mut self, entry: Entry) -> Ticket {
        self.staged.push(entry)
    }

    fn revoke(&mut self, ticket: Ticket) -> bool {
        self.staged.revoke(ticket)
    }

    fn needs_enter(&self) -> bool {
        // SAFETY: as in `waiting`, for both queues.
        let (submission, completion) = unsafe {
            (ManuallyDrop::new(self.ring.submission_shared()), ManuallyDrop::new(self.ring.completion_shared()))
        };
        !self.staged.is_empty()
            || !completion.is_empty()
            || submission.taskrun()
            || submission.cq_overflow()
            || !submission.is_empty()
    }

    fn in_kernel(&self) -> usize {
        self.in_kernel
    }

    fn enter(&mut self, wait: bool, timeout: Option<Duration>, out: &mut Vec<Completion>) -> io::Result<()> {
        // In another thread's table the ring's place is nobody's, or another ring's.
        debug_assert!(self.owned_here(), "entered by a stranger");
        let before = out.len();
        let mut may_sleep = wait && timeout != Some(Duration::ZERO);
        // Deferred work runs in bounded lots, so what one call leaves is for the next turn. Overflow is for this one.
        let (mut entered, mut handed_over) = (false, false);
        self.reap(out);
        loop {
            let queued = self.fill();
            let sleep = may_sleep && self.staged.is_empty() && out.len() == before;
            if queued == 0 && !sleep {
                let waiting = self.waiting();
                if !waiting.overflow && (entered || !waiting.task_work) {
                    return Ok(());
                }
            }
            let outcome = self.call(queued, sleep, timeout);
            entered = true;
            let mut reaped = self.reap(out);
            let error = match outcome {
                Ok(taken) if taken == queued || taken > 0 || reaped > 0 => {
                    handed_over |= taken > 0;
                    may_sleep &= !(sleep && taken == queued);
                    continue;
                }
                Ok(_) => io::Error::from_raw_os_error(libc::EAGAIN),
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EINTR | libc::ETIME) => may_sleep = false,
                _ if is_shortage(&error) => {
                    // Its own error would say the same again.
                    let _ = self.call(0, false, None);
                    reaped += self.reap(out);
                    if reaped == 0 {
                        return if handed_over || out.len() > before { Ok(()) } else { Err(error) };
                    }
                }
                _ => return Err(error),
            }
        }
    }

    fn take_back(&mut self, out: &mut Vec<Completion>) {
        let left = self.ring.submission().len();
        self.in_kernel -= left;
        out.extend(self.queued[self.queued.len() - left..].iter().copied().map(returned));
        self.staged.take_back(out);
    }

    fn supports(&self, opcode: u8) -> bool {
        self.probe.is_supported(opcode)
    }

    unsafe fn register_buffers(&mut self, memory: *mut u8, entries: u16, group: u16) -> io::Result<()> {
        // SAFETY: the caller keeps the memory mapped until the ring is closed.
        unsafe { self.ring.submitter().register_buf_ring_with_flags(memory as u64, entries, group, 0) }
    }

    fn signal_through(&mut self, eventfd: RawFd) -> io::Result<()> {
        self.ring.submitter().register_eventfd(eventfd)
    }

    fn drain(&mut self, limit: Option<Duration>, out: &mut Vec<Completion>) -> bool {
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        self.staged.cancel(out);
        if !self.owned_here() {
            return self.in_kernel == 0;
        }
        let mut asked = false;
        loop {
            if !asked {
                let everything = opcode::AsyncCancel2::new(CancelBuilder::any().all()).build().user_data(RESERVED);
                self.staged.push(everything);
                asked = true;
            }
            let left = end.map_or(CANCEL_AGAIN, |end| end.saturating_duration_since(Instant::now()));
            let outcome = self.enter(true, Some(left.min(CANCEL_AGAIN)), out);
            let answer = out.iter().rfind(|completion| completion.user_data == RESERVED).map(|answer| answer.result);
            if let Some(found) = answer {
                out.retain(|completion| completion.user_data != RESERVED);
                // The count alone is not trusted: one completion too many would end it too early.
                if self.in_kernel == 0 && (found == 0 || found == -libc::ENOENT) {
                    return true;
                }
                // The answer is always there at once: let the cancelled ones come before the next question.
                asked = false;
                if self.in_kernel > 0 {
                    let _ = self.enter(true, Some(left.min(CANCEL_AGAIN)), out);
                }
            }
            if left.is_zero() || outcome.is_err_and(|error| !is_shortage(&error)) {
                return false;
            }
        }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // The owner's table would hold the ring open. Another thread cannot reach it: then it goes with its owner.
        if self.is_registered() && self.owned_here() {
            let mut slot = RingSlot { index: self.target as u32, reserved: 0, fd: 0 };
            self.register_slot(UNREGISTER_RING_FDS, &mut slot);
        }
    }
}

/// What tests look at, and states that only a kernel under load brings about.
#[cfg(all(test, not(loom)))]
impl Uring {
    pub(super) fn overflowed(&self) -> bool {
        self.waiting().overflow
    }

    pub(super) fn has_a_place(&self) -> bool {
        self.is_registered()
    }

    /// Hands over one round and leaves its completions where they are.
    pub(super) fn submit_only(&mut self) {
        let queued = self.fill();
        assert_eq!(self.call(queued, false, None).expect("enter"), queued);
    }

    /// Looks at completions without entering.
    pub(super) fn reap_only(&mut self, out: &mut Vec<Completion>) {
        self.reap(out);
    }

    /// As if registering the descriptor were refused.
    pub(super) fn start_unregistered(&mut self) {
        self.ring.submitter().register_enable_rings().expect("enable");
        self.owner = Some(thread_number());
    }
}
