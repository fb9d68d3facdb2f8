//! The threads of workers, how much stack threads of the library's have, and the signals that they do not take.

use super::shared::Shared;
use super::worker::Worker;
use crate::primitives::fork::is_forked;
use crate::primitives::sync::{UnsafeCell, thread};
use std::ffi::CStr;

/// A worker on its way to its thread.
struct Moving(UnsafeCell<Worker>);

// SAFETY: a worker is used by one thread at a time, and this moves it to its only one.
unsafe impl Send for Moving {}

pub(super) fn spawn_thread(shared: &Shared, worker: Worker) -> std::io::Result<thread::JoinHandle<()>> {
    let name = shared.config.thread_name.to_string_lossy().into_owned();
    let moving = Moving(UnsafeCell::new(worker));
    let builder = thread::Builder::new().name(name).stack_size(stack_for(shared.config.stack_size));
    // Signals are the program's: a worker's thread takes none, and inherits that from here.
    let _masked = SignalMask::block_sent();
    builder.spawn(move || {
        let moving = moving;
        // SAFETY: the worker was moved here; nobody else has it.
        moving.0.with(|worker| unsafe { (*worker).main() });
        // A child's last thread ends here, and the child with it; what the worker has is the parent's.
        if is_forked() {
            std::mem::forget(moving);
        }
    })
}

/// Calls the thread that asks by these very bytes, or as many as the kernel keeps. std calls it by what is UTF-8 of them.
pub(super) fn take_name(name: &CStr) {
    // SAFETY: a text that ends with a NUL.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// What to ask for, so that a thread has a stack of this size. glibc takes the thread-local data of the program, and of all libraries
/// that were loaded with it, out of the stack, and tells how much that is at least; as it tells std, which makes no smaller stacks.
pub(super) fn stack_for(size: usize) -> usize {
    type Least = unsafe extern "C" fn(*const libc::pthread_attr_t) -> libc::size_t;
    // SAFETY: the name is one; where there is such a function, it has this type. The attributes are made before they are read.
    let taken = unsafe {
        let least = libc::dlsym(libc::RTLD_DEFAULT, c"__pthread_get_minstack".as_ptr());
        std::mem::transmute::<*mut libc::c_void, Option<Least>>(least).map_or(0, |least| {
            let mut attributes = std::mem::zeroed::<libc::pthread_attr_t>();
            libc::pthread_attr_init(&mut attributes);
            let taken = least(&attributes);
            libc::pthread_attr_destroy(&mut attributes);
            taken
        })
    };
    size.saturating_add(taken)
}

/// Signals that are sent to the process blocked on this thread, until dropped.
pub(super) struct SignalMask(libc::sigset_t);

impl SignalMask {
    pub(super) fn block_sent() -> Self {
        // SAFETY: the sets are plain data, written by the calls.
        unsafe {
            let (mut all, mut before) = std::mem::zeroed::<(libc::sigset_t, libc::sigset_t)>();
            libc::sigfillset(&mut all);
            // But for those that a thread raises by what it does itself, and a profiler's.
            for own in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS] {
                libc::sigdelset(&mut all, own);
            }
            libc::sigdelset(&mut all, libc::SIGABRT);
            libc::sigdelset(&mut all, libc::SIGPROF);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            Self(before)
        }
    }
}

impl Drop for SignalMask {
    fn drop(&mut self) {
        // SAFETY: the mask that this thread had before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}
