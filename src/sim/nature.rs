//! What the library asks the world for: the time, and what goes wrong.

use super::world::{is_inside, now as virtual_now, point, roll};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

fn base() -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    *BASE.get_or_init(Instant::now)
}

/// Nanoseconds of the monotonic clock.
pub(crate) fn now() -> u64 {
    if !is_inside() {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the structure is writable; the monotonic clock always exists.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
        return time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
    }
    point();
    virtual_now()
}

/// The present, for condition variables.
pub(crate) fn instant() -> Instant {
    if is_inside() { base() + Duration::from_nanos(now()) } else { Instant::now() }
}

/// The virtual time that `instant` stands for.
pub(super) fn time_of(instant: Instant) -> u64 {
    instant.saturating_duration_since(base()).as_nanos() as u64
}

/// How often something goes wrong, in a thousand.
pub(crate) static TROUBLE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

fn trouble() -> bool {
    let chance = TROUBLE.load(std::sync::atomic::Ordering::Relaxed);
    chance > 0 && roll(1000) < chance
}

/// What a system call fails with before it is made, if it does: one of these.
pub(crate) fn fault(errnos: &[i32]) -> Option<i32> {
    point();
    trouble().then(|| errnos[roll(errnos.len() as u64) as usize])
}

/// How many bytes a transfer may move that asks for so many.
pub(crate) fn short(len: usize) -> usize {
    if len > 1 && trouble() { 1 + roll(len as u64) as usize } else { len }
}

pub(crate) fn sleep(time: Duration) {
    match is_inside() {
        true => super::stand_by(time.as_nanos() as u64),
        false => std::thread::sleep(time),
    }
}
