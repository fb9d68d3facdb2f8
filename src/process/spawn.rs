//! Making a child.
//!
//! Between the spawn and the opening of its pidfd a child may end, but its number stays its own until somebody reaps it:
//! nobody does, unless SIGCHLD is ignored, which is refused.

use super::Process;
use super::child::Child;
use crate::readiness::Interest;
use crate::runtime::{Errno, Io, IoFlags, RuntimeRef, errno_of};
use libc::{c_char, posix_spawn_file_actions_t, posix_spawnattr_t};
use std::fs::OpenOptions;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// What a child gets for one of its first three descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stdio {
    /// What we have there.
    Inherit,
    Null,
    /// A pipe, whose other end is ours.
    Pipe,
    /// A copy of this descriptor.
    Copy(RawFd),
}

/// What to run.
pub(crate) struct Program {
    /// Searched for on our PATH unless it has a slash.
    pub(crate) file: *const c_char,
    /// Null: the file's name alone.
    pub(crate) argv: *const *mut c_char,
    /// Null: ours.
    pub(crate) envp: *const *mut c_char,
    /// Null: ours.
    pub(crate) cwd: *const c_char,
    pub(crate) stdio: [Stdio; 3],
}

unsafe extern "C" {
    static environ: *const *mut c_char;
}

impl Process {
    /// Spawns a program. On failure there is no child.
    ///
    /// # Safety
    /// The program's pointers are texts, and arrays of texts that end with null; the environment does not change meanwhile.
    pub(super) unsafe fn spawn(runtime: &RuntimeRef, program: &Program) -> Result<Self, Errno> {
        if are_children_ignored() {
            return Err(libc::ECHILD);
        }
        let mut pipes = [const { None }; 3];
        let mut ends = [const { None }; 3];
        for (which, stdio) in program.stdio.into_iter().enumerate() {
            (ends[which], pipes[which]) = prepare(runtime, which, stdio)?;
        }
        // SAFETY: the caller says so.
        let pid = unsafe { start(program, &ends) }?;
        let child = Child::open(pid, true).inspect_err(|&errno| {
            // Of one that somebody reaped the number may be another's.
            if errno != libc::ECHILD {
                destroy(pid);
            }
        });
        let child = Arc::new(child?);
        Self::new(runtime, child.clone(), pipes).inspect_err(|_| child.destroy())
    }
}

/// True if the kernel reaps our children as they end, so that their numbers may be others' at any time.
fn are_children_ignored() -> bool {
    // SAFETY: an all-zero structure is valid, and the call fills it in; nothing is changed.
    let action = unsafe {
        let mut action = std::mem::zeroed::<libc::sigaction>();
        libc::sigaction(libc::SIGCHLD, std::ptr::null(), &mut action);
        action
    };
    action.sa_sigaction == libc::SIG_IGN || action.sa_flags & libc::SA_NOCLDWAIT != 0
}

/// The child's end of one descriptor, and ours.
fn prepare(runtime: &RuntimeRef, which: usize, stdio: Stdio) -> Result<(Option<OwnedFd>, Option<Io>), Errno> {
    let end = match stdio {
        Stdio::Inherit => return Ok((None, None)),
        Stdio::Copy(fd) => copy_aside(fd)?,
        Stdio::Null => {
            let null = OpenOptions::new().read(true).write(true).open("/dev/null").map_err(errno_of)?;
            copy_aside(null.as_raw_fd())?
        }
        Stdio::Pipe => {
            let (reader, writer) = pipe()?;
            let (theirs, ours, interest) = match which {
                0 => (reader, writer, Interest::WRITABLE),
                _ => (writer, reader, Interest::READABLE),
            };
            let end = copy_aside(theirs.as_raw_fd())?;
            let flags = IoFlags { interest: Some(interest), set_nonblock: true, borrowed: false };
            let io = Io::new(runtime.shared().register(ours.as_raw_fd(), flags)?);
            // It is the registration's from now on.
            let _ = ours.into_raw_fd();
            return Ok((Some(end), Some(io)));
        }
    };
    Ok((Some(end), None))
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut ends = [0; 2];
    // SAFETY: two writable numbers.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
        return Err(errno_of(io::Error::last_os_error()));
    }
    // SAFETY: both are fresh, and nobody else's.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// A copy beyond the first three numbers, so that none of these is overwritten in the child before it was copied.
fn copy_aside(fd: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: no pointers.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(errno_of(io::Error::last_os_error()));
    }
    // SAFETY: the descriptor is fresh, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Kills a child that has no pidfd, and reaps it.
fn destroy(pid: i32) {
    // SAFETY: the child was not reaped, so the number is its own. A killed one ends at once.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        while libc::waitpid(pid, std::ptr::null_mut(), 0) < 0 && errno_of(io::Error::last_os_error()) == libc::EINTR {}
    }
}

/// What the child does before it becomes the program.
struct Actions(posix_spawn_file_actions_t);

/// What the child is.
struct Attributes(posix_spawnattr_t);

fn checked(errno: Errno) -> Result<(), Errno> {
    if errno == 0 { Ok(()) } else { Err(errno) }
}

impl Actions {
    fn new() -> Result<Self, Errno> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the call initialises it, or fails.
        checked(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: as above.
        Ok(Self(unsafe { actions.assume_init() }))
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: `new` initialised it.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

impl Attributes {
    /// No signal blocked: workers block them all, and the mask is inherited. Handlers end with the program, so what the
    /// library handles is at its default in the child; what the program ignores stays ignored.
    fn new() -> Result<Self, Errno> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the call initialises it, or fails.
        checked(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: as above.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        // SAFETY: the set is plain data, initialised by sigemptyset.
        unsafe {
            let mut none = std::mem::zeroed::<libc::sigset_t>();
            libc::sigemptyset(&mut none);
            checked(libc::posix_spawnattr_setsigmask(&mut attributes.0, &none))?;
            checked(libc::posix_spawnattr_setflags(&mut attributes.0, libc::POSIX_SPAWN_SETSIGMASK as _))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: `new` initialised it.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}

/// # Safety
/// As for `Process::spawn`.
unsafe fn start(program: &Program, ends: &[Option<OwnedFd>; 3]) -> Result<i32, Errno> {
    let mut actions = Actions::new()?;
    for (which, end) in ends.iter().enumerate() {
        if let Some(end) = end {
            // SAFETY: the actions were initialised. The copy is not close-on-exec.
            checked(unsafe { libc::posix_spawn_file_actions_adddup2(&mut actions.0, end.as_raw_fd(), which as i32) })?;
        }
    }
    if !program.cwd.is_null() {
        // SAFETY: as above, and the caller says that it is a text, which is copied.
        checked(unsafe { libc::posix_spawn_file_actions_addchdir_np(&mut actions.0, program.cwd) })?;
    }
    let attributes = Attributes::new()?;
    let own_name = [program.file.cast_mut(), std::ptr::null_mut()];
    let argv = if program.argv.is_null() { own_name.as_ptr() } else { program.argv };
    // SAFETY: the C library's own variable; the caller says that nobody changes it meanwhile.
    let envp = if program.envp.is_null() { unsafe { environ } } else { program.envp };
    let mut pid = 0;
    // SAFETY: the caller says so of the texts and the arrays; the rest was initialised above, and lives during the call.
    checked(unsafe { libc::posix_spawnp(&mut pid, program.file, &actions.0, &attributes.0, argv, envp) })?;
    Ok(pid)
}
