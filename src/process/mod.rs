//! Child processes, by pidfds: SIGCHLD is the program's.
//!
//! A pidfd is readable when its process ended, and names no other one ever. Who finds it readable reaps the child, once, and
//! the outcome is kept for everybody.

mod child;
mod reaper;
mod spawn;

use crate::primitives::handle::Kind;
use crate::primitives::shelf::Shelf;
use crate::primitives::sync::process_static;
use crate::readiness::Interest;
use crate::runtime::{Errno, Error, Io, IoPoll, PollContext, Runtime, RuntimeRef};
use child::Child;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::task::{Poll, ready};

pub(crate) use spawn::{Program, Stdio};

process_static! {
    static PROCESSES: Shelf<Process> = Shelf::new(Kind::Process);
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// What it exited with; 0 if a signal ended it.
    pub code: i32,
    /// The signal that ended it; 0 if it exited.
    pub signal: i32,
    /// Whether the signal left a core file.
    pub core_dumped: bool,
}

/// A child process. Dropping it leaves the process alone; one that the library spawned is reaped when it ends.
#[derive(Debug)]
pub struct Process {
    runtime: u64,
    child: Arc<Child>,
    io: Io,
    /// Our ends of the pipes that nobody took.
    pipes: Mutex<[Option<Io>; 3]>,
}

impl Process {
    /// A child that the program made, and that nobody else waits for. Whoever waits here reaps it.
    pub fn open(runtime: &Runtime, pid: i32) -> Result<Self, Error> {
        Ok(Self::open_in(&runtime.enter()?, pid)?)
    }

    fn open_in(runtime: &RuntimeRef, pid: i32) -> Result<Self, Errno> {
        Self::new(runtime, Arc::new(Child::open(pid, false)?), Default::default())
    }

    fn new(runtime: &RuntimeRef, child: Arc<Child>, pipes: [Option<Io>; 3]) -> Result<Self, Errno> {
        let io = Io::borrowing(runtime, child.fd(), Interest::READABLE)?;
        Ok(Self { runtime: runtime.shared().handle, child, io, pipes: Mutex::new(pipes) })
    }

    /// Waits for its end.
    pub async fn wait(&self) -> io::Result<Exit> {
        loop {
            if let Some(outcome) = self.child.look() {
                return outcome.map_err(io::Error::from_raw_os_error);
            }
            let seen = self.io.ready(Interest::READABLE).await?;
            if self.child.look().is_none() {
                self.io.clear(seen);
            }
        }
    }

    /// Sends a signal to this process, and never to another one.
    pub fn signal(&self, signum: i32) -> io::Result<()> {
        self.signal_errno(signum).map_err(io::Error::from_raw_os_error)
    }

    /// The same, for who wants a number.
    pub(crate) fn signal_errno(&self, signum: i32) -> Result<(), Errno> {
        self.child.signal(signum)
    }

    /// The number of the process. Once it was reaped the number may be another's.
    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    /// Waits, in a poll, for its end.
    pub(crate) fn poll(&self, cx: &PollContext) -> IoPoll<Exit> {
        if let Some(outcome) = self.child.known() {
            if !cx.can_spend() {
                return Poll::Pending;
            }
            cx.spend();
            return Poll::Ready(outcome);
        }
        let name = match self.io.name() {
            Ok(name) => name,
            Err(errno) => return Poll::Ready(Err(errno)),
        };
        let mut found = None;
        let tried = ready!(name.poll_try(cx, Interest::READABLE, |_pidfd| {
            found = self.child.look();
            if found.is_some() { 0 } else { -i64::from(libc::EAGAIN) }
        }));
        Poll::Ready(tried.and_then(|_| found.unwrap_or(Err(libc::ENOTRECOVERABLE))))
    }

    /// Our end of a pipe, once. `ENOENT`: there is none, or it was taken.
    pub(crate) fn take_pipe(&self, which: usize) -> Result<Io, Errno> {
        self.pipes.lock().get_mut(which).ok_or(libc::EINVAL)?.take().ok_or(libc::ENOENT)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The reaper registers the same descriptor.
        self.io.close();
        if self.child.is_ours() && self.child.look().is_none() {
            reaper::leave(self.runtime, self.child.clone());
        }
    }
}

/// Spawns a program, as a process with a handle.
///
/// # Safety
/// As for `Process::spawn`.
pub(crate) unsafe fn spawn(runtime: &RuntimeRef, program: &Program) -> Result<u64, Errno> {
    // SAFETY: the caller says so.
    let process = Arc::new(unsafe { Process::spawn(runtime, program) }?);
    PROCESSES.put(process.clone()).ok_or_else(|| {
        let _ = process.child.signal(libc::SIGKILL);
        libc::ENOMEM
    })
}

/// A child that the program made, as a process with a handle.
pub(crate) fn open(runtime: &RuntimeRef, pid: i32) -> Result<u64, Errno> {
    PROCESSES.put(Arc::new(Process::open_in(runtime, pid)?)).ok_or(libc::ENOMEM)
}

/// The process that a handle names.
pub(crate) fn find(raw: u64) -> Result<Arc<Process>, Errno> {
    Ok(PROCESSES.enter(raw).ok_or(libc::EBADF)?.clone())
}

/// Makes the handle stale, and wakes who waits.
pub(crate) fn close(raw: u64) -> Result<(), Errno> {
    PROCESSES.remove(raw).ok_or(libc::EBADF)?.io.close();
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::runtime::Config;
    use std::process::Command;

    #[test]
    #[expect(clippy::zombie_processes, reason = "it is waited for as a process of ours")]
    fn a_child_of_the_standard_librarys_is_waited_for() {
        let runtime = Runtime::new(Config::default()).expect("a runtime");
        let child = Command::new("sleep").arg("1000").spawn().expect("a child");
        let process = Process::open(&runtime, child.id() as i32).expect("a process");
        process.signal(libc::SIGTERM).expect("it runs");
        let exit = runtime.block_on(async move { process.wait().await.expect("it ends") });
        let expected = Exit { code: 0, signal: libc::SIGTERM, core_dumped: false };
        assert_eq!(exit.expect("runs").expect("ends"), expected);
        assert_eq!(Process::open(&runtime, std::process::id() as i32).expect_err("no child").errno(), libc::ECHILD);
    }
}
