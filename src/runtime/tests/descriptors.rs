//! Registered descriptors through the Rust interface, in both flavours.

use super::*;
use crate::primitives::handle::{Handle, Kind};
use crate::readiness::IOS;
use crate::runtime::io::{IoFlags, IoName};
use crate::{Interest, Io, Ready, Sleep, now};
use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

fn registered_pipe(runtime: &Runtime) -> (Io, PipeReader, PipeWriter) {
    let (reader, writer) = pipe().expect("a pipe");
    let io = runtime.register(OwnedFd::from(reader.try_clone().expect("a descriptor")), Interest::READABLE);
    (io.expect("a pipe can be registered"), reader, writer)
}

#[test]
fn a_pipe_is_readable_when_something_was_written() {
    in_both(|runtime| {
        let (io, mut reader, mut writer) = registered_pipe(&runtime);
        let (round_begins, mut buffer) = (Gate::default(), [0; 8]);
        let begins = round_begins.clone();
        let task = runtime.spawn(async move {
            let mut bytes = Vec::<u8>::new();
            begins.open();
            while bytes.len() < 6 {
                let seen = io.ready(Interest::READABLE).await.expect("running");
                match reader.read(&mut buffer) {
                    Ok(n) => bytes.extend(&buffer[..n]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => io.clear(seen),
                    Err(error) => panic!("{error}"),
                }
            }
            bytes
        });
        block_on(&runtime, round_begins.passed());
        let thread = std::thread::spawn(move || {
            for part in [b"ab", b"cd", b"ef"] {
                writer.write_all(part).expect("room");
            }
            writer
        });
        assert_eq!(block_on(&runtime, task.expect("running")).expect("no panic"), b"abcdef");
        drop(thread.join().expect("no panic"));
    });
}

#[test]
fn readiness_stays_until_it_is_cleared() {
    in_both(|runtime| {
        let (io, mut reader, mut writer) = registered_pipe(&runtime);
        writer.write_all(b"x").expect("room");
        block_on(&runtime, async move {
            for _ in 0..3 {
                assert_eq!(io.ready(Interest::READABLE).await.expect("running").ready, Ready::READABLE);
            }
            reader.read_exact(&mut [0]).expect("written");
            let stale = io.ready(Interest::READABLE).await.expect("running");
            io.clear(stale);
            let mut wait = Box::pin(io.ready(Interest::READABLE));
            poll_fn(|context| {
                assert!(wait.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
            writer.write_all(b"y").expect("room");
            assert_eq!(wait.await.expect("running").ready, Ready::READABLE);
            drop(writer);
            let closed = io.ready(Interest::READABLE).await.expect("running");
            assert!(closed.ready.intersects(Ready::READABLE | Ready::READ_CLOSED));
        });
    });
}

#[test]
fn many_tasks_wait_for_one_descriptor() {
    in_both(|runtime| {
        let (io, _reader, mut writer) = registered_pipe(&runtime);
        let io = Arc::new(io);
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let (io, waits) = (io.clone(), Gate::default());
                let here = waits.clone();
                let task = runtime.spawn(async move {
                    let mut wait = Box::pin(io.ready(Interest::READABLE));
                    poll_fn(|context| {
                        let polled = wait.as_mut().poll(context);
                        here.open();
                        polled
                    })
                    .await
                });
                block_on(&runtime, waits.passed());
                task.expect("running")
            })
            .collect();
        writer.write_all(b"x").expect("room");
        block_on(&runtime, async {
            for task in tasks {
                assert_eq!(task.await.expect("no panic").expect("running").ready, Ready::READABLE);
            }
        });
    });
}

#[test]
fn a_descriptor_is_closed_with_its_registration_or_given_back() {
    in_both(|runtime| {
        let (mut reader, writer) = pipe().expect("a pipe");
        let io = runtime.register(writer.into(), Interest::WRITABLE).expect("a pipe can be registered");
        let writer = io.into_fd().expect("registered");
        PipeWriter::from(writer.try_clone().expect("a descriptor")).write_all(b"x").expect("it is open");
        reader.read_exact(&mut [0]).expect("written");
        drop(runtime.register(writer, Interest::WRITABLE).expect("it may be registered again"));
        assert_eq!(reader.read(&mut [0]).expect("no error"), 0, "the end of the last writer");
    });
}

#[test]
fn a_file_has_no_readiness() {
    in_both(|runtime| {
        let file = std::fs::File::open(std::env::current_exe().expect("a path")).expect("readable");
        assert_eq!(runtime.register(file.into(), Interest::READABLE).expect_err("a file").errno(), libc::EPERM);
    });
}

#[test]
fn a_file_that_is_opened_takes_a_number_from_the_same_file_that_was_closed_behind_us() {
    in_both(|runtime| {
        let open = || std::fs::File::open(std::env::current_exe().expect("a path")).expect("readable").into_raw_fd();
        let (runtime, fd) = (runtime.enter().expect("it runs"), open());
        let old = runtime.shared().register(fd, IoFlags::default()).expect("for operations");
        let copy = open();
        // SAFETY: both are open; the first becomes a copy of the second, in one step.
        unsafe { libc::dup3(copy, fd, libc::O_CLOEXEC) };
        let twice = runtime.shared().register(fd, IoFlags::default());
        assert_eq!(twice.err(), Some(libc::EEXIST), "nothing tells the two apart");
        let new = runtime.shared().adopt_file(fd).expect("it was opened just now");
        assert_eq!(old.close(), Err(libc::EBADF));
        assert_eq!(new.close(), Ok(()));
        // SAFETY: it is ours.
        unsafe { libc::close(copy) };
    });
}

#[test]
fn a_descriptor_outlives_the_shutdown_but_nobody_waits_for_it() {
    in_both(|runtime| {
        let (io, _reader, _writer) = registered_pipe(&runtime);
        assert_eq!(runtime.shutdown(None).expect("not inside"), 0);
        let mut wait = Box::pin(io.ready(Interest::READABLE));
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Err(error)) = wait.as_mut().poll(&mut context) else { panic!("it waits, or is ready") };
        assert_eq!(error.raw_os_error(), Some(libc::ESHUTDOWN));
    });
}

#[test]
fn a_wait_outside_of_tasks_ends_with_the_runtime() {
    in_both(|runtime| {
        let (io, _reader, _writer) = registered_pipe(&runtime);
        let gate = Gate::default();
        let ended = gate.clone();
        struct Wakes(Gate);
        impl Wake for Wakes {
            fn wake(self: Arc<Self>) {
                self.0.open();
            }
        }
        let waker = Arc::new(Wakes(gate)).into();
        let mut context = Context::from_waker(&waker);
        let mut wait = Box::pin(io.ready(Interest::READABLE));
        assert!(wait.as_mut().poll(&mut context).is_pending());
        drop(runtime);
        assert!(ended.0.0.load(Acquire), "nobody was told");
        let Poll::Ready(Err(error)) = wait.as_mut().poll(&mut context) else { panic!("it waits, or is ready") };
        assert!(matches!(error.raw_os_error(), Some(libc::ESHUTDOWN | libc::EBADF)), "{error}");
    });
}

#[test]
fn a_waker_that_panics_is_nobody_elses_harm() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("planted");
        }
    }
    in_both(|runtime| {
        let waker: Waker = Arc::new(Panics).into();
        let mut context = Context::from_waker(&waker);
        let pipes: Vec<_> = (0..8).map(|_| registered_pipe(&runtime)).collect();
        let mut waits: Vec<_> = pipes.iter().map(|(io, ..)| Box::pin(io.ready(Interest::READABLE))).collect();
        assert!(waits.iter_mut().all(|wait| wait.as_mut().poll(&mut context).is_pending()));
        for (_, _, writer) in &pipes {
            assert_eq!((&*writer).write(b"x").expect("room"), 1);
        }
        let naps = [0, 1].map(|_| {
            let waker = waker.clone();
            runtime.spawn(async move {
                let soon = now() + 1_000_000;
                let mut planted = Box::pin(Sleep::until(soon));
                let _ = planted.as_mut().poll(&mut Context::from_waker(&waker));
                Sleep::until(soon + 1_000_000).await;
                planted.await;
            })
        });
        for nap in naps {
            block_on(&runtime, nap.expect("running")).expect("no panic");
        }
        let (mut context, end) = (Context::from_waker(Waker::noop()), Instant::now() + Duration::from_secs(10));
        for wait in &mut waits {
            while wait.as_mut().poll(&mut context).is_pending() {
                assert!(Instant::now() < end, "its event was lost");
                block_on(&runtime, async {});
            }
        }
        assert_eq!(runtime.shutdown(None).expect("not inside"), 0);
    });
}

/// No entry's first life is 0: such a handle is forged, also where an entry that never lived, or ended, says 0.
#[test]
fn a_handle_of_generation_0_names_nothing() {
    let (index, _entry) = IOS.alloc().expect("memory");
    let forged = Handle { generation: 0, index }.pack(Kind::Io);
    assert!(IoName::parse(forged).is_none());
    IOS.free(index);
}
