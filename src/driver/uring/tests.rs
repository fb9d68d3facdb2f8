//! What a ring promises, on the kernel that runs the tests; and why there may be none.

mod fake;
mod faults;
mod staged;

use super::ring::{Uring, timespec};
use super::setup::Unavailable;
use super::*;
use io_uring::{opcode, types::Fd};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A small ring that runs on this thread, or `None` (and the reason is printed) where there is none.
fn ring(entries: u32, completions: u32) -> Option<Uring> {
    match setup::build(entries, completions) {
        Ok(mut ring) => {
            ring.start().expect("a ring that was made can be enabled");
            Some(ring)
        }
        Err(Unavailable { why, .. }) => {
            println!("skipped: {why}");
            None
        }
    }
}

fn push(ring: &mut dyn Ring, entry: Entry) -> Ticket {
    // SAFETY: the tests push entries that name nothing, or descriptors that outlive the ring.
    unsafe { ring.push(entry) }
}

fn nop(number: u64) -> Entry {
    opcode::Nop::new().build().user_data(number)
}

fn eventfd() -> OwnedFd {
    // SAFETY: eventfd takes no pointers, and the descriptor that it returns is ours.
    unsafe {
        let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}

fn signal(eventfd: &OwnedFd) {
    let one = 1u64;
    // SAFETY: eight readable bytes.
    assert_eq!(unsafe { libc::write(eventfd.as_raw_fd(), (&raw const one).cast(), 8) }, 8);
}

/// Waits so many milliseconds for it; -1 is without end.
fn is_readable(fd: &OwnedFd, timeout: i32) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one structure, which outlives the call.
    unsafe { libc::poll(&mut poll, 1, timeout) == 1 }
}

fn poll(fd: &impl AsRawFd, number: u64) -> Entry {
    opcode::PollAdd::new(Fd(fd.as_raw_fd()), libc::POLLIN as u32).build().user_data(number)
}

/// Enters until `count` completions came.
fn collect(ring: &mut dyn Ring, count: usize) -> Vec<Completion> {
    let mut out = Vec::new();
    while out.len() < count {
        ring.enter(true, None, &mut out).expect("enter");
    }
    out
}

/// Each number below `count` came once.
fn assert_all(completions: &[Completion], count: u64) {
    let mut numbers: Vec<_> = completions.iter().map(|completion| completion.user_data).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
}

#[test]
fn a_no_op_goes_round() {
    let Some(mut ring) = ring(8, 16) else { return };
    assert!(!ring.needs_enter());
    push(&mut ring, nop(7));
    assert!(ring.needs_enter());
    let out = collect(&mut ring, 1);
    assert_eq!(out, [Completion { user_data: 7, result: 0, flags: 0 }]);
    assert!(!out[0].has_more() && !out[0].is_notification() && out[0].buffer().is_none());
    assert!(!ring.needs_enter());
    assert_eq!(ring.in_kernel(), 0);
    assert!(ring.supports(opcode::PollAdd::CODE) && !ring.supports(255));
}

#[test]
fn a_full_queue_is_nobodys_business() {
    let Some(mut ring) = ring(64, 4096) else { return };
    (0..3000).for_each(|number| _ = push(&mut ring, nop(number)));
    let mut out = Vec::new();
    ring.enter(false, None, &mut out).expect("enter");
    assert_all(&out, 3000);
    assert!(out.is_sorted_by_key(|completion| completion.user_data), "handed over in another order");
}

#[test]
fn a_completion_queue_may_overflow() {
    let Some(mut ring) = ring(64, 64) else { return };
    (0..640).for_each(|number| _ = push(&mut ring, nop(number)));
    // Hands over without looking at completions, as a kernel that completes a burst at once would fill it.
    for _ in 0..10 {
        ring.submit_only();
    }
    let mut out = Vec::new();
    ring.reap_only(&mut out);
    assert_eq!(out.len(), 64);
    assert!(ring.overflowed() && ring.needs_enter());
    (640..3000).for_each(|number| _ = push(&mut ring, nop(number)));
    ring.enter(false, None, &mut out).expect("enter");
    assert_all(&out, 3000);
    assert!(!ring.overflowed() && !ring.needs_enter());
}

#[test]
fn what_was_revoked_never_runs() {
    let Some(mut ring) = ring(8, 16) else { return };
    let tickets: Vec<_> = (0..20).map(|number| push(&mut ring, nop(number))).collect();
    for revoked in [0, 3, 19] {
        assert!(ring.revoke(tickets[revoked]));
        assert!(!ring.revoke(tickets[revoked]), "revoked twice");
    }
    let out = collect(&mut ring, 17);
    assert!(out.iter().all(|completion| ![0, 3, 19].contains(&completion.user_data)));
    assert!(!ring.revoke(tickets[5]), "it ran");
    let alone = push(&mut ring, nop(20));
    assert!(ring.revoke(alone) && !ring.needs_enter());
}

#[test]
fn a_wait_ends_with_its_timeout() {
    let Some(mut ring) = ring(8, 16) else { return };
    let silent = eventfd();
    let mut out = Vec::new();
    let limit = Duration::from_micros(700);
    for submits in [false, true] {
        if submits {
            push(&mut ring, poll(&silent, 1));
        }
        let start = std::time::Instant::now();
        ring.enter(true, Some(limit), &mut out).expect("a timeout is no error");
        assert!(start.elapsed() >= limit, "submits {submits}: early");
        assert!(out.is_empty() && !ring.needs_enter());
        assert_eq!(ring.in_kernel(), usize::from(submits));
    }
    ring.enter(true, Some(Duration::ZERO), &mut out).expect("enter");
    assert!(out.is_empty());
    assert!(ring.drain(None, &mut out));
}

#[test]
fn the_longest_timeout_does_not_wrap() {
    let Some(mut ring) = ring(8, 16) else { return };
    let soon = io_uring::types::Timespec::new().nsec(2_000_000);
    // The second is the last that the kernel's nanoseconds can hold. Some kernels take care of the sum, some do not.
    for limit in [Duration::MAX, Duration::from_secs(9_223_372_036)] {
        let nanoseconds = timespec(limit).seconds.checked_mul(1_000_000_000);
        assert!(nanoseconds.is_some_and(|limit| limit.checked_add(1 << 60).is_some()));
        push(&mut ring, opcode::Timeout::new(&soon).build().user_data(5));
        let mut out = Vec::new();
        ring.enter(true, Some(limit), &mut out).expect("enter");
        assert_eq!(out, [Completion { user_data: 5, result: -libc::ETIME, flags: 0 }], "{limit:?}");
    }
}

#[test]
fn completions_that_are_there_forbid_sleep() {
    let Some(mut ring) = ring(8, 16) else { return };
    let silent = eventfd();
    push(&mut ring, nop(0));
    ring.submit_only();
    push(&mut ring, poll(&silent, 1));
    let mut out = Vec::new();
    // Without end: it would hang.
    ring.enter(true, None, &mut out).expect("enter");
    assert_all(&out, 1);
    // More entries than a round takes: completions of the first rounds count, too.
    (2..30).for_each(|number| _ = push(&mut ring, nop(number)));
    push(&mut ring, poll(&silent, 30));
    out.clear();
    ring.enter(true, None, &mut out).expect("enter");
    assert_eq!((out.len(), ring.in_kernel()), (28, 2));
    // And no round sleeps before the last.
    (31..50).for_each(|number| _ = push(&mut ring, poll(&silent, number)));
    push(&mut ring, nop(50));
    out.clear();
    ring.enter(true, None, &mut out).expect("enter");
    assert_eq!((out.len(), out[0].user_data), (1, 50));
    assert!(ring.drain(None, &mut out));
}

#[test]
fn the_eventfd_says_when_to_enter() {
    let Some(mut ring) = ring(8, 16) else { return };
    let (mut watched, mut writer) = std::io::pipe().expect("a pipe");
    let bell = eventfd();
    ring.signal_through(bell.as_raw_fd()).expect("register the eventfd");
    push(&mut ring, poll(&watched, 9));
    let mut out = Vec::new();
    ring.enter(false, None, &mut out).expect("enter");
    assert!(out.is_empty() && !ring.needs_enter() && !is_readable(&bell, 0));
    writer.write_all(b"x").expect("write");
    assert!(is_readable(&bell, 0) && ring.needs_enter(), "deferred work is not announced");
    ring.enter(false, None, &mut out).expect("enter");
    assert_eq!((out.len(), out[0].user_data, out[0].result & 1), (1, 9, libc::POLLIN.into()));
    assert!(!ring.needs_enter());
    watched.read_exact(&mut [0]).expect("read");
}

/// Out of an eventfd's own wake-up the kernel puts the signal off, but sends it.
#[test]
fn an_eventfd_that_is_watched_signals_late() {
    let Some(mut ring) = ring(8, 16) else { return };
    let (watched, bell) = (eventfd(), eventfd());
    ring.signal_through(bell.as_raw_fd()).expect("register the eventfd");
    push(&mut ring, poll(&watched, 9));
    let mut out = Vec::new();
    ring.enter(false, None, &mut out).expect("enter");
    signal(&watched);
    assert!(ring.needs_enter(), "the flag is set at once");
    assert!(is_readable(&bell, -1));
    assert_eq!(collect(&mut ring, 1)[0].user_data, 9);
}

#[test]
fn a_drain_ends_everything() {
    let Some(mut ring) = ring(64, 64) else { return };
    let silent = eventfd();
    (0..500).for_each(|number| _ = push(&mut ring, poll(&silent, number)));
    let mut out = Vec::new();
    ring.enter(false, None, &mut out).expect("enter");
    assert_eq!((out.len(), ring.in_kernel()), (0, 500));
    (500..600).for_each(|number| _ = push(&mut ring, nop(number)));
    assert!(ring.drain(Some(Duration::from_secs(60)), &mut out));
    assert_all(&out, 600);
    assert!(out.iter().all(|completion| completion.result == -libc::ECANCELED), "also what was only queued");
    assert_eq!(ring.in_kernel(), 0);
    // It can be used again.
    push(&mut ring, nop(0));
    assert_all(&collect(&mut ring, 1), 1);
}

/// No cancel finds a timeout that went off, and the kernel does not report so many at once.
#[test]
fn a_drain_waits_for_what_no_cancel_finds() {
    let Some(mut ring) = ring(64, 4096) else { return };
    let now = io_uring::types::Timespec::new().nsec(1);
    (0..500).for_each(|number| _ = push(&mut ring, opcode::Timeout::new(&now).build().user_data(number)));
    let mut out = Vec::new();
    ring.enter(false, None, &mut out).expect("enter");
    assert!(ring.drain(None, &mut out));
    assert_all(&out, 500);
}

#[test]
fn a_ring_that_was_made_elsewhere_belongs_to_its_starter() {
    let mut ring = match make(8) {
        Ok(ring) => ring,
        Err(Unavailable { why, .. }) => return println!("skipped: {why}"),
    };
    let mut ring = std::thread::spawn(move || {
        ring.start().expect("start");
        push(&mut *ring, nop(0));
        assert_all(&collect(&mut *ring, 1), 1);
        ring
    })
    .join()
    .expect("the owner");
    push(&mut *ring, nop(1));
    let mut out = Vec::new();
    assert!(ring.drain(None, &mut out), "nothing was in the kernel");
    assert_eq!(out, [Completion { user_data: 1, result: -libc::ECANCELED, flags: 0 }]);
}

#[test]
fn a_stranger_drains_nothing() {
    let Some(mut ring) = ring(8, 16) else { return };
    let silent = eventfd();
    push(&mut ring, poll(&silent, 1));
    ring.submit_only();
    let mut ring = std::thread::spawn(move || {
        assert!(!ring.drain(None, &mut Vec::new()));
        ring
    })
    .join()
    .expect("the stranger");
    assert!(ring.drain(None, &mut Vec::new()));
}

#[test]
fn registered_places_are_given_back() {
    // The kernel has 16 places a thread.
    for number in 0..40 {
        let Some(mut ring) = ring(8, 16) else { return };
        assert!(ring.has_a_place(), "ring {number}");
        push(&mut ring, nop(0));
        assert_all(&collect(&mut ring, 1), 1);
    }
}
