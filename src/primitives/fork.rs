//! Detecting that this process is a fork's child, in which the workers do not exist and any lock may be held for ever.

use std::io;
use std::sync::atomic::{AtomicPtr, Ordering::*};

/// A page that holds 1 in the process that made it, and that the kernel wipes in a child. Null until the first runtime. No model
/// needs to see it: it decides nothing between threads.
static COOKIE: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());

const PAGE: usize = 4096;

/// Makes the cookie, once a process.
pub(crate) fn plant_cookie() -> io::Result<()> {
    if !COOKIE.load(Acquire).is_null() {
        return Ok(());
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh anonymous mapping, owned by this function until it is published, then by the process.
    let page =
        unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is ours and PAGE bytes long. Where the kernel cannot wipe it, a child is not detected, and all
    // else works.
    unsafe {
        libc::madvise(page, PAGE, libc::MADV_WIPEONFORK);
        page.cast::<u8>().write(1);
    }
    if COOKIE.compare_exchange(std::ptr::null_mut(), page.cast(), AcqRel, Acquire).is_err() {
        // SAFETY: another thread was faster; nobody knows of this mapping.
        unsafe { libc::munmap(page, PAGE) };
    }
    Ok(())
}

/// True in a child that was forked after the first runtime was made. Looked at before any lock.
#[inline]
pub(crate) fn is_forked() -> bool {
    let cookie = COOKIE.load(Acquire);
    // SAFETY: a published cookie is never unmapped. Volatile, because the kernel writes it.
    !cookie.is_null() && unsafe { cookie.read_volatile() } == 0
}
