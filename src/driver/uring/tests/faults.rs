//! System calls that are refused. A filter holds for one thread, for good, so each of these tests has a thread of its own.

use super::*;
use std::mem::offset_of;
use std::sync::mpsc;

/// Which calls fail, by their second argument: how many entries `io_uring_enter` is to take.
#[derive(Clone, Copy)]
enum When {
    Always,
    Submitting,
    SubmittingExactly(u32),
}

/// Makes calls fail with `errno` on this thread.
fn refuse(call: libc::c_long, errno: i32, when: When) {
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let give = (libc::BPF_RET | libc::BPF_K) as u16;
    let second = (offset_of!(libc::seccomp_data, args) + 8) as u32;
    // SAFETY: these only put four numbers together.
    let mut program = unsafe {
        [
            libc::BPF_STMT(load, offset_of!(libc::seccomp_data, nr) as u32),
            libc::BPF_JUMP(equal, call as u32, 0, 3),
            libc::BPF_STMT(load, second),
            match when {
                When::Always => libc::BPF_JUMP(equal, 0, 0, 0),
                When::Submitting => libc::BPF_JUMP(equal, 0, 1, 0),
                When::SubmittingExactly(entries) => libc::BPF_JUMP(equal, entries, 0, 1),
            },
            libc::BPF_STMT(give, libc::SECCOMP_RET_ERRNO | errno as u32),
            libc::BPF_STMT(give, libc::SECCOMP_RET_ALLOW),
        ]
    };
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program outlives the calls, which copy it.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter), 0);
    }
}

/// Runs on a thread that ends.
fn apart<T: std::marker::Send + 'static>(test: impl FnOnce() -> T + std::marker::Send + 'static) -> T {
    std::thread::spawn(test).join().expect("the test's thread")
}

fn works_here() -> bool {
    match prove() {
        Ok(()) => true,
        Err(Unavailable { why, .. }) => {
            println!("skipped: {why}");
            false
        }
    }
}

#[test]
fn refusals_are_told_in_a_sentence() {
    if !works_here() {
        return;
    }
    for (call, errno, words) in [
        (libc::SYS_io_uring_setup, libc::EPERM, "a seccomp filter or another sandbox refuses io_uring_setup"),
        (libc::SYS_io_uring_setup, libc::ENOSYS, "the kernel was built without io_uring, or a sandbox hides it"),
        (libc::SYS_io_uring_setup, libc::EACCES, "a security module refuses io_uring_setup"),
        (libc::SYS_io_uring_setup, libc::ENOMEM, "no memory for a ring"),
        (libc::SYS_io_uring_setup, libc::EINVAL, "the kernel is too old: io_uring is used from Linux 6.1 on, this is "),
        (libc::SYS_io_uring_setup, libc::EMFILE, "RLIMIT_NOFILE"),
        (libc::SYS_io_uring_register, libc::EPERM, "refuses io_uring_register"),
        (libc::SYS_io_uring_enter, libc::EPERM, "refuses io_uring_enter"),
    ] {
        let told = apart(move || {
            refuse(call, errno, When::Always);
            prove().expect_err("refused")
        });
        assert_eq!(told.errno, errno);
        assert!(told.why.contains(words), "{words:?} is not in {:?}", told.why);
    }
}

#[test]
fn an_administrators_switch_is_named() {
    assert!(setup::forbidden("2").contains("switched off for everybody (kernel.io_uring_disabled is 2)"));
    assert!(setup::forbidden("1").contains("kernel.io_uring_group (kernel.io_uring_disabled is 1)"));
    for other in ["0", ""] {
        assert!(setup::forbidden(other).contains("sandbox"));
    }
}

#[test]
fn a_shortage_leaves_everything_queued() {
    if !works_here() {
        return;
    }
    for errno in [libc::EAGAIN, libc::ENOMEM, libc::EBUSY] {
        apart(move || {
            let Some(mut ring) = ring(8, 16) else { return };
            let (watched, mut out) = (eventfd(), Vec::new());
            push(&mut ring, poll(&watched, 1));
            ring.enter(false, None, &mut out).expect("enter");
            refuse(libc::SYS_io_uring_enter, errno, When::Submitting);
            (2..22).for_each(|number| _ = push(&mut ring, nop(number)));
            let last = push(&mut ring, nop(22));
            let error = ring.enter(true, None, &mut out).expect_err("nothing moved");
            assert_eq!((error.raw_os_error(), out.len()), (Some(errno), 0));
            assert!(ring.needs_enter() && ring.revoke(last));
            // What is in the kernel still comes, and that is progress.
            signal(&watched);
            ring.enter(true, None, &mut out).expect("a completion came");
            assert_eq!((out.len(), out[0].user_data), (1, 1));
            assert!(ring.needs_enter());
            assert!(!ring.drain(Some(Duration::from_millis(1)), &mut out), "it cannot hand over its cancel");
        });
    }
}

#[test]
fn a_shortage_after_some_rounds_is_no_error() {
    if !works_here() {
        return;
    }
    apart(|| {
        let Some(mut ring) = ring(8, 16) else { return };
        let (silent, mut out) = (eventfd(), Vec::new());
        refuse(libc::SYS_io_uring_enter, libc::EAGAIN, When::SubmittingExactly(5));
        (0..13).for_each(|number| _ = push(&mut ring, poll(&silent, number)));
        ring.enter(true, None, &mut out).expect("eight were handed over");
        assert!(out.is_empty() && ring.needs_enter());
        // Six, and with them the five that were refused.
        push(&mut ring, nop(13));
        ring.enter(true, None, &mut out).expect("enter");
        assert_eq!((out.len(), ring.in_kernel()), (1, 13));
        assert!(ring.drain(None, &mut out));
    });
}

#[test]
fn other_errors_are_told() {
    if !works_here() {
        return;
    }
    apart(|| {
        let Some(mut ring) = ring(8, 16) else { return };
        refuse(libc::SYS_io_uring_enter, libc::ENXIO, When::Submitting);
        push(&mut ring, nop(1));
        let error = ring.enter(true, None, &mut Vec::new()).expect_err("refused");
        assert_eq!(error.raw_os_error(), Some(libc::ENXIO));
        assert!(ring.needs_enter() && !ring.drain(None, &mut Vec::new()));
    });
}

#[test]
fn a_ring_without_a_registered_descriptor_works() {
    if !works_here() {
        return;
    }
    apart(|| {
        let Ok(mut ring) = setup::build(8, 16) else { return };
        ring.start_unregistered();
        assert!(!ring.has_a_place());
        push(&mut ring, nop(0));
        assert_all(&collect(&mut ring, 1), 1);
    });
}

/// A signal ends a sleep: the wait has no end of its own, so without that this test hangs.
#[test]
fn a_signal_ends_a_wait() {
    extern "C" fn nothing(_: libc::c_int) {}
    if !works_here() {
        return;
    }
    // SAFETY: all zeros are a valid sigaction; the handler does nothing, and SA_RESTART is not set. No other test uses
    // this signal.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        assert_eq!(libc::sigaction(libc::SIGURG, &action, std::ptr::null_mut()), 0);
    }
    let (tell, told) = mpsc::channel();
    let (ended, end) = mpsc::channel::<()>();
    let sleeper = std::thread::spawn(move || {
        let Some(mut ring) = ring(8, 16) else { return };
        // SAFETY: it takes nothing.
        tell.send(unsafe { libc::pthread_self() }).expect("the test listens");
        let mut out = Vec::new();
        ring.enter(true, None, &mut out).expect("a signal is no error");
        assert!(out.is_empty());
        drop(ended);
    });
    let Ok(thread) = told.recv() else { return };
    // One signal might come before the sleep, so they come until it ended.
    while end.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
        if !sleeper.is_finished() {
            // SAFETY: the thread is not joined yet, so its identifier is valid.
            unsafe { libc::pthread_kill(thread, libc::SIGURG) };
        }
        std::thread::yield_now();
    }
    sleeper.join().expect("the sleeper");
}
