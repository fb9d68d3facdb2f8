//! What an operation does: one table of kinds. Each says what it prepares for the ring, how it is done by a system call
//! that may block, how it is tried by one that may not, and what it yields.

use super::super::context::PollContext;
use super::super::io::{IoName, IoPoll, traits};
use super::super::sigpipe::RWF_NOSIGNAL;
use super::super::transfer::{Attempted, MOST_BYTES, attempted};
use super::errand::Errand;
use super::progress::errno_outcome;
use super::question::Question;
use super::splice::Splice;
use crate::driver::Entry;
use io_uring::{opcode, types};
use libc::{iovec, mode_t, msghdr};
use std::cell::Cell;
use std::ffi::{CString, c_void};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::task::{Poll, ready};

/// An offset that means the file's own position.
pub(crate) const CURRENT: u64 = u64::MAX;

/// A socket address that the library keeps.
pub(crate) struct Address {
    pub(crate) storage: libc::sockaddr_storage,
    pub(crate) len: libc::socklen_t,
}

/// Memory is the program's, which keeps it until the operation's outcome was taken; what is boxed here is ours.
pub(crate) enum Request {
    Accept,
    AcceptMany,
    Connect(Box<Address>),
    Recv {
        buffer: *mut u8,
        len: usize,
        flags: i32,
    },
    RecvMany,
    RecvMsg {
        message: *mut msghdr,
        flags: i32,
    },
    /// A place in the queue of sends, of a stream or of packets; elsewhere one datagram.
    Send {
        buffer: *const u8,
        len: usize,
        flags: i32,
    },
    SendMsg {
        message: *const msghdr,
        flags: i32,
    },
    Read {
        buffer: *mut u8,
        len: usize,
        offset: u64,
    },
    /// The flags are those of pwritev2(2), for files.
    Write {
        buffer: *const u8,
        len: usize,
        offset: u64,
        flags: i32,
    },
    Readv {
        parts: Box<[iovec]>,
        offset: u64,
    },
    Writev {
        parts: Box<[iovec]>,
        offset: u64,
        flags: i32,
    },
    Sync {
        data_only: bool,
    },
    Allocate {
        mode: i32,
        offset: u64,
        len: u64,
    },
    Truncate {
        len: u64,
    },
    /// A place in the queue of sends, into what has one.
    Splice(Splice),
    Shutdown {
        how: i32,
    },
    Close,
    Open {
        path: CString,
        flags: i32,
        mode: mode_t,
    },
    Stat {
        path: CString,
        flags: i32,
        mask: u32,
        into: *mut libc::statx,
    },
    Unlink {
        path: CString,
        flags: i32,
    },
    Rename {
        from: CString,
        to: CString,
        flags: u32,
    },
    MakeDir {
        path: CString,
        mode: mode_t,
    },
    /// A function of the program's, which may block.
    Call {
        run: Function,
        arg: *mut c_void,
    },
    /// Asks the name servers.
    Resolve(Arc<Question>),
    /// Has a task do it.
    Errand(Errand),
    /// The library's own: sends what a stream has queued.
    Pump,
}

/// A function of the program's. What it returns is the outcome, whatever it is.
pub(crate) type Function = unsafe extern "C" fn(arg: *mut c_void) -> i64;

/// What an operation yields beside a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Yields {
    Number,
    /// A connected socket.
    Connection,
    /// An open file.
    File,
}

/// The descriptors of an operation.
#[derive(Clone, Copy)]
pub(super) struct Fds {
    pub(super) first: RawFd,
    pub(super) second: RawFd,
}

fn ring_len(len: usize) -> u32 {
    len.min(MOST_BYTES) as u32
}

impl Request {
    pub(super) fn yields(&self) -> Yields {
        match self {
            Self::Accept | Self::AcceptMany => Yields::Connection,
            Self::Open { .. } => Yields::File,
            _ => Yields::Number,
        }
    }

    pub(super) fn is_many(&self) -> bool {
        matches!(self, Self::AcceptMany | Self::RecvMany)
    }

    /// True for what reads from a stream, the first of its descriptors, beside which no direct call may read.
    pub(super) fn receives(&self) -> bool {
        let receives = matches!(self, Self::Recv { .. } | Self::RecvMany | Self::RecvMsg { .. });
        receives || matches!(self, Self::Read { .. } | Self::Readv { .. } | Self::Splice(_))
    }

    /// True for what says by its outcome how many bytes it moved.
    pub(super) fn moves_bytes(&self) -> bool {
        let sends = matches!(self, Self::Send { .. } | Self::SendMsg { .. } | Self::Write { .. } | Self::Writev { .. });
        sends || self.receives()
    }

    /// True for what waits on a descriptor's readiness, as opposed to a disk.
    pub(super) fn is_on(&self, is_file: bool) -> bool {
        match self {
            Self::Accept | Self::AcceptMany | Self::Connect(_) | Self::Recv { .. } | Self::RecvMany => true,
            Self::RecvMsg { .. } | Self::Send { .. } | Self::SendMsg { .. } => true,
            Self::Read { .. } | Self::Write { .. } | Self::Readv { .. } | Self::Writev { .. } => !is_file,
            _ => false,
        }
    }

    /// The ring's opcode, where the ring is the way to do it.
    pub(super) fn opcode(&self, io: Option<IoName>) -> Option<u8> {
        let is_file = io.is_some_and(|io| io.has(traits::FILE));
        let plain = |flags: i32| flags & (libc::MSG_OOB | libc::MSG_ERRQUEUE) == 0;
        Some(match self {
            // Of what is no socket the system says so, and a ring may wait for it, or have other words.
            Self::Accept | Self::AcceptMany if io.is_some_and(|io| !io.has(traits::SOCKET)) => return None,
            Self::Accept => opcode::Accept::CODE,
            Self::AcceptMany => opcode::AcceptMulti::CODE,
            // The ring waits for data only, not for what these ask for.
            Self::Recv { flags, .. } | Self::RecvMsg { flags, .. } if !plain(*flags) => return None,
            Self::Recv { .. } => opcode::Recv::CODE,
            Self::RecvMany => opcode::RecvMulti::CODE,
            Self::RecvMsg { .. } => opcode::RecvMsg::CODE,
            // A message, for bytes have their stream. It leaves before whatever is done to the socket next.
            Self::Send { .. } | Self::SendMsg { .. } => return None,
            // Writes to what may raise SIGPIPE go the ring's way only with the flag against that.
            Self::Write { .. } | Self::Writev { .. } if !is_file && io.is_none_or(|io| io.has(traits::PAST_RING)) => {
                return None;
            }
            // A ring calls a read of nothing done, and read(2) asks what is read. With readv(2) it is the other way round.
            Self::Read { len: 0, .. } => return None,
            Self::Readv { parts, .. } if parts.iter().all(|part| part.iov_len == 0) => return None,
            Self::Read { .. } => opcode::Read::CODE,
            Self::Write { .. } => opcode::Write::CODE,
            Self::Readv { .. } => opcode::Readv::CODE,
            Self::Writev { .. } => opcode::Writev::CODE,
            Self::Sync { .. } => opcode::Fsync::CODE,
            Self::Allocate { .. } => opcode::Fallocate::CODE,
            Self::Truncate { .. } => opcode::Ftruncate::CODE,
            Self::Close => opcode::Close::CODE,
            Self::Open { .. } => opcode::OpenAt::CODE,
            Self::Stat { .. } => opcode::Statx::CODE,
            Self::Unlink { .. } => opcode::UnlinkAt::CODE,
            Self::Rename { .. } => opcode::RenameAt::CODE,
            Self::MakeDir { .. } => opcode::MkDirAt::CODE,
            // What is sent after it was submitted must find it begun, whoever sends.
            Self::Connect(_) => return None,
            // Never blocks, so the call itself is cheaper.
            Self::Shutdown { .. } | Self::Splice(_) | Self::Pump => return None,
            // A thread's, or a task's.
            Self::Call { .. } | Self::Resolve(_) | Self::Errand(_) => return None,
        })
    }

    /// True for what the ring would try on the worker's thread at first, where it may wait for a disk or a server. Of an open only the
    /// walk to the file does not wait.
    pub(super) fn leaves_worker(&self, io: Option<IoName>) -> bool {
        matches!(self, Self::Open { .. }) || io.is_some_and(IoName::is_deceptive)
    }

    /// True for what may exceed the limit that the process has on the size of files. Whoever tries that is sent a SIGXFSZ, which
    /// workers and threads of the kernel's do not take, and a thread of the program's does. The limit may change at any time.
    pub(super) fn is_limited(&self) -> bool {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        matches!(self, Self::Write { .. } | Self::Writev { .. })
            // SAFETY: the structure is writable.
            && (unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) } != 0 || limit.rlim_cur != libc::RLIM_INFINITY)
    }

    /// How many bytes of a stream must come for it to be over.
    pub(super) fn whole(&self) -> Option<usize> {
        match self {
            Self::Recv { len, flags, .. } if flags & libc::MSG_WAITALL != 0 => Some(*len),
            _ => None,
        }
    }

    /// The ring's entry. Only where `opcode` gave one. What it points to is stable: the program's, or boxed here. `moved` is how
    /// much came before of what must be whole. The ring is asked for one piece after the other: it looks for more but so often
    /// (128 times), and then blocks a thread of the kernel's for it.
    pub(super) fn entry(&self, fds: Fds, is_file: bool, moved: usize) -> Option<Entry> {
        let fd = types::Fd(fds.first);
        // What is no file has no flags but that.
        let write_flags = |given: i32| if is_file { given } else { RWF_NOSIGNAL };
        Some(match self {
            Self::Accept => opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut())
                .flags(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
                .build(),
            Self::AcceptMany => opcode::AcceptMulti::new(fd).flags(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC).build(),
            Self::Recv { buffer, len, .. } if self.whole().is_some() => {
                opcode::Recv::new(fd, buffer.wrapping_add(moved), ring_len(len - moved)).build()
            }
            Self::Recv { buffer, len, flags } => opcode::Recv::new(fd, *buffer, ring_len(*len)).flags(*flags).build(),
            // Made where the buffers are.
            Self::RecvMany => return None,
            Self::RecvMsg { message, flags } => opcode::RecvMsg::new(fd, *message).flags(*flags as u32).build(),
            Self::Read { buffer, len, offset } => {
                opcode::Read::new(fd, *buffer, ring_len(*len)).offset(*offset).build()
            }
            Self::Write { buffer, len, offset, flags } => {
                opcode::Write::new(fd, *buffer, ring_len(*len)).offset(*offset).rw_flags(write_flags(*flags)).build()
            }
            Self::Readv { parts, offset } => {
                opcode::Readv::new(fd, parts.as_ptr(), parts.len() as u32).offset(*offset).build()
            }
            Self::Writev { parts, offset, flags } => opcode::Writev::new(fd, parts.as_ptr(), parts.len() as u32)
                .offset(*offset)
                .rw_flags(write_flags(*flags))
                .build(),
            Self::Sync { data_only } => {
                let flags = if *data_only { types::FsyncFlags::DATASYNC } else { types::FsyncFlags::empty() };
                opcode::Fsync::new(fd).flags(flags).build()
            }
            Self::Allocate { mode, offset, len } => {
                opcode::Fallocate::new(fd, *len).offset(*offset).mode(*mode).build()
            }
            Self::Truncate { len } => opcode::Ftruncate::new(fd, *len).build(),
            Self::Close => opcode::Close::new(fd).build(),
            Self::Open { path, flags, mode } => {
                opcode::OpenAt::new(fd, path.as_ptr()).flags(*flags | libc::O_CLOEXEC).mode(*mode).build()
            }
            Self::Stat { path, flags, mask, into } => {
                opcode::Statx::new(fd, path.as_ptr(), into.cast()).flags(*flags).mask(*mask).build()
            }
            Self::Unlink { path, flags } => opcode::UnlinkAt::new(fd, path.as_ptr()).flags(*flags).build(),
            Self::Rename { from, to, flags } => {
                opcode::RenameAt::new(fd, from.as_ptr(), types::Fd(fds.second), to.as_ptr()).flags(*flags).build()
            }
            Self::MakeDir { path, mode } => opcode::MkDirAt::new(fd, path.as_ptr()).mode(*mode).build(),
            Self::Connect(_) | Self::Send { .. } | Self::SendMsg { .. } => return None,
            Self::Shutdown { .. } | Self::Splice(_) | Self::Pump => return None,
            Self::Call { .. } | Self::Resolve(_) | Self::Errand(_) => return None,
        })
    }

    /// Does it where it may block, on a thread of the pool, and says what the outcome is.
    ///
    /// # Safety
    /// Everything that the request points to is alive, and the descriptors stay open during the call.
    pub(super) unsafe fn work(&self, fds: Fds) -> i64 {
        if let Self::Call { run, arg } = self {
            // SAFETY: the program promised that the function may be called with the argument on any thread.
            return unsafe { run(*arg) };
        }
        loop {
            // SAFETY: the caller says so.
            match unsafe { self.call(fds) } {
                // A close that was interrupted has closed.
                Err(libc::EINTR) if matches!(self, Self::Close) => return 0,
                Err(libc::EINTR) => {}
                done => return errno_outcome(done),
            }
        }
    }

    /// Does it by a system call that may block.
    ///
    /// # Safety
    /// Everything that the request points to is alive, and the descriptors stay open during the call.
    unsafe fn call(&self, fds: Fds) -> Attempted {
        let fd = fds.first;
        // SAFETY: the caller says so, for all of these.
        unsafe {
            match self {
                Self::Read { buffer, len, offset: CURRENT } => attempted(libc::read(fd, buffer.cast(), *len)),
                Self::Read { buffer, len, offset } => attempted(libc::pread(fd, buffer.cast(), *len, *offset as i64)),
                Self::Write { buffer, len, offset, flags } => {
                    let part = iovec { iov_base: buffer.cast_mut().cast(), iov_len: *len };
                    write_at(fd, &[part], *offset, *flags)
                }
                Self::Readv { parts, offset: CURRENT } => {
                    attempted(libc::readv(fd, parts.as_ptr(), parts.len() as i32))
                }
                Self::Readv { parts, offset } => {
                    attempted(libc::preadv(fd, parts.as_ptr(), parts.len() as i32, *offset as i64))
                }
                Self::Writev { parts, offset, flags } => write_at(fd, parts, *offset, *flags),
                Self::Sync { data_only: true } => attempted(libc::fdatasync(fd) as isize),
                Self::Sync { data_only: false } => attempted(libc::fsync(fd) as isize),
                Self::Allocate { mode, offset, len } => {
                    attempted(libc::fallocate(fd, *mode, *offset as i64, *len as i64) as isize)
                }
                Self::Truncate { len } => attempted(libc::ftruncate(fd, *len as i64) as isize),
                Self::Close => attempted(libc::close(fd) as isize),
                Self::Open { path, flags, mode } => {
                    attempted(libc::openat(fd, path.as_ptr(), *flags | libc::O_CLOEXEC, *mode) as isize)
                }
                Self::Stat { path, flags, mask, into } => {
                    attempted(libc::statx(fd, path.as_ptr(), *flags, *mask, *into) as isize)
                }
                Self::Unlink { path, flags } => attempted(libc::unlinkat(fd, path.as_ptr(), *flags) as isize),
                Self::Rename { from, to, flags } => {
                    let moved = libc::syscall(
                        libc::SYS_renameat2,
                        i64::from(fd),
                        from.as_ptr(),
                        i64::from(fds.second),
                        to.as_ptr(),
                        i64::from(*flags),
                    );
                    attempted(moved as isize)
                }
                Self::MakeDir { path, mode } => attempted(libc::mkdirat(fd, path.as_ptr(), *mode) as isize),
                Self::Splice(splice) => splice.call(fds),
                _ => Err(libc::ENOSYS),
            }
        }
    }

    /// A read that is answered from memory, or not at all. `None`: it must be done where it may block.
    ///
    /// # Safety
    /// As for `call`.
    pub(super) unsafe fn read_cached(&self, fd: RawFd) -> Option<usize> {
        let one;
        let (parts, offset, whole) = match self {
            // As vectors nothing is read without asking.
            Self::Read { len: 0, .. } => return None,
            Self::Read { buffer, len, offset } => {
                one = [iovec { iov_base: buffer.cast(), iov_len: *len }];
                (&one[..], *offset, *len)
            }
            Self::Readv { parts, offset } => (&**parts, *offset, parts.iter().map(|part| part.iov_len).sum()),
            _ => return None,
        };
        // What moves the file's position could not be done over.
        if offset == CURRENT {
            return None;
        }
        // SAFETY: the caller says so.
        let read = unsafe { libc::preadv2(fd, parts.as_ptr(), parts.len() as i32, offset as i64, libc::RWF_NOWAIT) };
        // A part of it may be what is in memory, or what there is: done over, that is told apart.
        usize::try_from(read).ok().filter(|&read| read == whole)
    }

    /// Tries it without blocking, waiting for readiness.
    ///
    /// # Safety
    /// Everything that the request points to is alive.
    pub(super) unsafe fn poll(
        &self,
        io: IoName,
        second: Option<IoName>,
        cx: &PollContext,
        moved: &Cell<usize>,
    ) -> IoPoll<usize> {
        // SAFETY: the caller says so, for all of these.
        unsafe {
            match self {
                Self::Accept => io.poll_accept_fd(cx).map(|accepted| accepted.map(|fd| fd as usize)),
                Self::Connect(_) if !io.has(traits::SOCKET) => Poll::Ready(Err(libc::ENOTSOCK)),
                Self::Connect(address) => io
                    .poll_connect(cx, (&raw const address.storage).cast(), address.len, moved)
                    .map(|connected| connected.map(|()| 0)),
                Self::Recv { buffer, len, flags } if self.whole().is_some() => {
                    poll_recv_whole(io, cx, *buffer, *len, *flags, moved)
                }
                Self::Recv { buffer, len, flags } => io.poll_recv(cx, *buffer, *len, *flags),
                Self::RecvMsg { message, flags } => io.poll_recvmsg(cx, *message, *flags),
                Self::Send { buffer, len, flags } => io.poll_send(cx, *buffer, *len, *flags),
                Self::SendMsg { message, flags } => io.poll_sendmsg(cx, *message, *flags),
                Self::Read { buffer, len, .. } => io.poll_read(cx, *buffer, *len),
                Self::Write { buffer, len, .. } => io.poll_write(cx, *buffer, *len),
                Self::Readv { parts, .. } => io.poll_readv(cx, parts.as_ptr(), parts.len() as i32),
                Self::Writev { parts, .. } => io.poll_writev(cx, parts.as_ptr(), parts.len() as i32),
                Self::Splice(splice) => splice.poll(io, second, cx, moved),
                _ => Poll::Ready(Err(libc::ENOSYS)),
            }
        }
    }
}

/// Writes to a file. Only what has flags needs the call that has them, which sandboxes may not have heard of; the offset `CURRENT` is
/// its own way to say that.
///
/// # Safety
/// The parts are readable memory.
unsafe fn write_at(fd: RawFd, parts: &[iovec], offset: u64, flags: i32) -> Attempted {
    let (first, count) = (parts.as_ptr(), parts.len() as i32);
    // SAFETY: the caller says so.
    attempted(unsafe {
        match (flags, offset) {
            (0, CURRENT) => libc::writev(fd, first, count),
            (0, _) => libc::pwritev(fd, first, count, offset as i64),
            _ => libc::pwritev2(fd, first, count, offset as i64, flags),
        }
    })
}

/// Receives from a stream until the buffer is full, the stream ends, or an error comes. What came so far is less than `len`.
///
/// # Safety
/// `buffer` has `len` writable bytes.
unsafe fn poll_recv_whole(
    io: IoName,
    cx: &PollContext,
    buffer: *mut u8,
    len: usize,
    flags: i32,
    moved: &Cell<usize>,
) -> IoPoll<usize> {
    loop {
        let before = moved.get();
        // SAFETY: the caller says so.
        let received = unsafe { io.poll_recv(cx, buffer.add(before), len - before, flags & !libc::MSG_WAITALL) };
        match ready!(received) {
            Ok(0) => return Poll::Ready(Ok(before)),
            Err(errno) if before > 0 => {
                io.broke(errno);
                return Poll::Ready(Ok(before));
            }
            Err(errno) => return Poll::Ready(Err(errno)),
            Ok(n) if before + n >= len => return Poll::Ready(Ok(before + n)),
            Ok(n) => moved.set(before + n),
        }
    }
}
