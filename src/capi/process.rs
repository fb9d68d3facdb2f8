//! The noun process: children, and how they end.

use super::context::rt_cx;
use super::readiness::rt_io;
use super::runtime::rt_runtime;
use super::{Errno, blocking, check, context, guarded, init_sized, not_null, polled, runtime_ref, sized};
use crate::process::{self, Exit, Program, Stdio};
use std::ffi::{c_char, c_int};
use std::task::{Poll, ready};

/// A child process.
///
/// It is held by a pidfd, which never names another process, whatever becomes of its number. The library neither handles nor
/// needs SIGCHLD, and reaps no child but those that are processes here; the program in turn must not reap them: no
/// `wait(NULL)`, no `waitpid(-1, ..)`. Nor may it ignore SIGCHLD (SIG_IGN, which may be inherited, or SA_NOCLDWAIT), for then
/// the kernel throws away how children ended: `rt_poll_process` says `-ECHILD` if the outcome went one of these ways.
///
/// 0 is never a process. The handle is good until `rt_process_close`, which may come after the runtime was freed.
///
/// Methods: `rt_poll_process`, `rt_process_stdio`, `rt_process_signal`, `rt_process_pid`, `rt_process_close`. Made by
/// `rt_process_spawn`, `rt_process_open`.
///
/// Threads: any thread may call any method, also several at once.
#[allow(non_camel_case_types)]
pub type rt_process = u64;

/// For `rt_process_opts::stdin_fd` and its kin: the child has what this process has there.
pub const RT_STDIO_INHERIT: i32 = 0;
/// For `rt_process_opts::stdin_fd` and its kin: /dev/null.
pub const RT_STDIO_NULL: i32 = -1;
/// For `rt_process_opts::stdin_fd` and its kin: a pipe, whose other end is for `rt_process_stdio`.
pub const RT_STDIO_PIPE: i32 = -2;

/// What to run, and how. Set by `rt_process_opts_init`; zero means the default in every field but `file`. Everything is copied, or
/// used during the call only.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_process_opts {
    /// The size of this struct as the program knows it.
    pub size: u32,
    /// None is known: 0.
    pub flags: u32,
    /// The program: a path if it has a slash (a relative one is relative to `cwd`), else searched for on this process' PATH.
    pub file: *const c_char,
    /// Its arguments, the first of which is its name, ended by NULL. NULL: `file` alone.
    pub argv: *const *mut c_char,
    /// Its environment, ended by NULL. NULL: this process'.
    pub envp: *const *mut c_char,
    /// Where it runs. NULL: where this process does.
    pub cwd: *const c_char,
    /// Its descriptor 0: `RT_STDIO_INHERIT`, `RT_STDIO_NULL`, `RT_STDIO_PIPE`, or the number (> 0) of one to copy, which stays the
    /// caller's.
    pub stdin_fd: i32,
    /// The same, for its descriptor 1.
    pub stdout_fd: i32,
    /// The same, for its descriptor 2.
    pub stderr_fd: i32,
}

/// How a process ended.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_exit {
    /// What it exited with, 0 to 255; 0 if a signal ended it.
    pub code: i32,
    /// The signal that ended it; 0 if it exited.
    pub signal: i32,
    /// Not 0 if the signal left a core file.
    pub core_dumped: u32,
}

impl From<Exit> for rt_exit {
    fn from(exit: Exit) -> Self {
        Self { code: exit.code, signal: exit.signal, core_dumped: exit.core_dumped.into() }
    }
}

fn to_stdio(fd: i32) -> Result<Stdio, Errno> {
    match fd {
        RT_STDIO_INHERIT => Ok(Stdio::Inherit),
        RT_STDIO_NULL => Ok(Stdio::Null),
        RT_STDIO_PIPE => Ok(Stdio::Pipe),
        fd if fd > 0 => Ok(Stdio::Copy(fd)),
        _ => Err(libc::EINVAL),
    }
}

/// Sets every field to its default. Call it as `rt_process_opts_init(&opts, sizeof opts)`.
///
/// Returns 0, or `-EINVAL` for NULL or a size that is too small. Any thread.
///
/// # Safety
/// `opts` has `size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_process_opts_init(opts: *mut rt_process_opts, size: usize) -> i64 {
    // SAFETY: the caller says so.
    guarded(|| unsafe { init_sized(opts, size) })
}

/// Spawns a child process, whose end a runtime tells.
///
/// The child has no signal blocked; signals that this process handles, for listeners too, are at their default there, and those
/// that it ignores are ignored. It inherits the program's descriptors that are not close-on-exec, and none of the library's.
///
/// Returns 0, and the process in `*out`, which the caller must close. On failure `*out` is 0, and there is no child: `-ENOENT`,
/// `-EACCES`, `-ENOEXEC` and so on for the file or `cwd`; `-EINVAL` for NULL, a bad size, unknown flags or a negative descriptor;
/// `-EBADF` for the runtime, and for a descriptor that is closed; `-ECHILD` if this process ignores SIGCHLD; `-EMFILE`, `-ENFILE`,
/// `-EAGAIN`, `-ENOMEM`, `-ENOSPC` as for `rt_register_fd`; `-ENOSYS` on a kernel without pidfds (before Linux 5.4). If one of these runs
/// out when the child runs already, it is killed.
///
/// Any thread, and in polls. Blocks until the system has loaded the program.
///
/// # Safety
/// `opts` is as its `size` says, its texts and arrays end as they should, and nobody changes the environment meanwhile. `out` is
/// writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_process_spawn(rt: rt_runtime, opts: *const rt_process_opts, out: *mut rt_process) -> i64 {
    blocking(|| {
        not_null(out)?;
        // SAFETY: the caller says so, and so below.
        unsafe { out.write(0) };
        let runtime = runtime_ref(rt)?;
        // SAFETY: as above.
        let opts = unsafe { sized(opts) }?;
        not_null(opts.file)?;
        if opts.flags != 0 {
            return Err(libc::EINVAL);
        }
        let program = Program {
            file: opts.file,
            argv: opts.argv,
            envp: opts.envp,
            cwd: opts.cwd,
            stdio: [to_stdio(opts.stdin_fd)?, to_stdio(opts.stdout_fd)?, to_stdio(opts.stderr_fd)?],
        };
        // SAFETY: as above.
        unsafe { out.write(process::spawn(&runtime, &program)?) };
        Ok(0)
    })
}

/// Makes a process of a child that the program forked itself. From then on the program must not wait for it by other means; it
/// is reaped when `rt_poll_process` finds that it ended, and not by `rt_process_close`. A child may be opened several times; the
/// first that finds it ended learns how, the others see `-ECHILD`.
///
/// Returns 0, and the process in `*out`, which the caller must close. On failure `*out` is 0: `-ECHILD` if `pid` is no child of this
/// process, or was reaped; `-EINVAL` for NULL; `-EBADF` for the runtime; `-EMFILE`, `-ENFILE`, `-ENOMEM`, `-ENOSYS`. Any thread. Does
/// not block.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_process_open(rt: rt_runtime, pid: i32, out: *mut rt_process) -> i64 {
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so.
        unsafe { out.write(0) };
        let process = process::open(&runtime_ref(rt)?, pid)?;
        // SAFETY: as above.
        unsafe { out.write(process) };
        Ok(0)
    })
}

/// Waits for a process to end.
///
/// Returns 0 when it has ended, and in `*exit` (which may be NULL) how; it stays so for later calls. `RT_PENDING`: it goes on. Any
/// number of tasks, of any runtimes, may wait; all are woken and told. What it wrote to its pipes may not have been read yet.
///
/// Errors: `-ECHILD`: it has ended, and somebody else took the outcome, or SIGCHLD is ignored; it stays so; `-EBADF`, also when the
/// process is closed meanwhile; `-ESHUTDOWN`; `-EINVAL`, `-EPERM` for the context. In a poll, or with a context of the program's own.
/// Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `exit` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_process(cx: *mut rt_cx, process: rt_process, exit: *mut rt_exit) -> i64 {
    polled(|| {
        // SAFETY: the caller says so.
        let cx = check!(unsafe { context(cx) });
        let ended = check!(ready!(check!(process::find(process)).poll(cx)));
        if !exit.is_null() {
            // SAFETY: the caller says so.
            unsafe { exit.write(ended.into()) };
        }
        Poll::Ready(Ok(0))
    })
}

/// Takes the other end of a pipe that the process was spawned with: `which` is 0 for its stdin, to be written to, 1 and 2 for its
/// stdout and stderr, to be read from. Closing the first is how the child sees the end of its input.
///
/// Returns 0, and the descriptor in `*out`, registered with the runtime, which the caller must close. On failure `*out` is 0:
/// `-ENOENT` if there is no such pipe, or it was taken before; `-EINVAL` for NULL or another number; `-EBADF`. What nobody takes is
/// closed with the process. Any thread. Does not block.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_process_stdio(process: rt_process, which: u32, out: *mut rt_io) -> i64 {
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so.
        unsafe { out.write(0) };
        let io = process::find(process)?.take_pipe(which as usize)?;
        // SAFETY: as above.
        unsafe { out.write(io.into_raw()) };
        Ok(0)
    })
}

/// Sends a signal to a process; 0 sends none, and only checks. It never reaches another process.
///
/// Returns 0; `-ESRCH` once it has ended, whether or not that was asked for yet; `-EPERM` if it runs as another user; `-EINVAL` for
/// what is no signal; `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_process_signal(process: rt_process, signum: c_int) -> i64 {
    guarded(|| process::find(process)?.signal_errno(signum).map(|()| 0))
}

/// The number of a process. It is the process' own until it ended and `rt_poll_process` said so.
///
/// Returns it, or `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_process_pid(process: rt_process) -> i64 {
    guarded(|| Ok(process::find(process)?.pid().into()))
}

/// Closes a process. It is left to itself: neither signalled nor waited for. Who waits in `rt_poll_process` is woken, to see
/// `-EBADF`. Pipes that nobody took are closed. A child that was spawned here and goes on is reaped by its runtime when it ends; if
/// the runtime is freed before that, it stays a zombie from its end to the end of this process.
///
/// Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_process_close(process: rt_process) -> i64 {
    guarded(|| {
        if process != 0 {
            process::close(process)?;
        }
        Ok(0)
    })
}
