//! The noun Unix socket.

use super::context::rt_cx;
use super::io::buffer_is_valid;
use super::net::{give, or_default, poll_making, sized_or_default, spawn_making, whole};
use super::operation::rt_op;
use super::readiness::rt_io;
use super::runtime::rt_runtime;
use super::task::rt_task;
use super::{Errno, check, context, guarded, init_sized, io_name, not_null, polled};
use crate::net::{address, unix};
use crate::runtime::{Made, NEVER};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::future::Future;
use std::os::fd::IntoRawFd;
use std::task::{Poll, ready};

/// For `rt_unix_opts::flags`, to listen: a socket at the path that refuses connections is removed first.
pub const RT_UNIX_UNLINK_STALE: u32 = 1;

/// For `*flags` of `rt_poll_recv_fds`: more descriptors were sent than there was room for, and the others were closed.
pub const RT_FDS_TRUNCATED: u32 = 1;

/// How Unix sockets are made. Set by `rt_unix_opts_init`; zero means the default in every field.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_unix_opts {
    /// The size of this struct as the program knows it.
    pub size: u32,
    /// `RT_UNIX_UNLINK_STALE`.
    pub flags: u32,
    /// `SOCK_STREAM`, the default, or `SOCK_SEQPACKET`.
    pub kind: i32,
    /// To listen: the permissions of the socket's file, such as 0600; who may write may connect. Default: 0777 without the bits of
    /// the process's umask.
    pub mode: u32,
    /// To listen: how many connections may wait to be accepted. Default: 4096. The system has a limit of its own.
    pub backlog: u32,
    /// Zero.
    pub reserved: u32,
    /// To connect: when the attempt ends in `-ETIME`. 0 and `RT_NEVER`: never.
    pub deadline: u64,
}

/// Who is at the other end of a Unix socket.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_unix_cred {
    /// The process. 0 if it is in a namespace that cannot be seen from here.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

/// # Safety
/// `opts` is null, or as its `size` says.
unsafe fn unix_options(opts: *const rt_unix_opts) -> Result<unix::Options, Errno> {
    // SAFETY: the caller says so.
    let opts = unsafe { sized_or_default(opts) }?;
    let default = unix::Options::default();
    let kind = or_default(opts.kind, default.kind);
    let is_known = opts.flags & !RT_UNIX_UNLINK_STALE == 0 && opts.mode & !0o7777 == 0 && opts.reserved == 0;
    if !is_known || !matches!(kind, libc::SOCK_STREAM | libc::SOCK_SEQPACKET) {
        return Err(libc::EINVAL);
    }
    Ok(unix::Options {
        kind,
        unlink_stale: opts.flags & RT_UNIX_UNLINK_STALE != 0,
        mode: (opts.mode != 0).then_some(opts.mode),
        backlog: or_default(whole(opts.backlog)? as i32, default.backlog),
        deadline: or_default(opts.deadline, NEVER),
    })
}

/// # Safety
/// `path` is null or a string, which outlives the result.
unsafe fn path_text<'a>(path: *const c_char) -> Result<&'a [u8], Errno> {
    not_null(path)?;
    // SAFETY: the caller says so.
    Ok(unsafe { CStr::from_ptr(path) }.to_bytes())
}

/// Sets every field to its default. Call it as `rt_unix_opts_init(&opts, sizeof opts)`.
///
/// Returns 0, or `-EINVAL` for NULL or a size that is too small. Any thread.
///
/// # Safety
/// `opts` has `size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_unix_opts_init(opts: *mut rt_unix_opts, size: usize) -> i64 {
    // SAFETY: the caller says so.
    guarded(|| unsafe { init_sized(opts, size) })
}

/// Listens for connections at a path, or at "@name": an abstract name, without a file. `opts` may be NULL. The mode is set before
/// anybody can connect. The file stays when the listener is closed; the program removes it, or begins with `RT_UNIX_UNLINK_STALE`.
///
/// Returns 0 and the listener in `*out`, which the caller must close: non-blocking, close-on-exec, for `RT_READABLE | RT_WRITABLE`,
/// owned. On failure `*out` is 0, and a file that was made is removed: `-EADDRINUSE` when there is a file, or with `RT_UNIX_UNLINK_STALE` one
/// that is no socket, or a socket that somebody listens on; `-ENAMETOOLONG` for more than 108 bytes; `-ENOENT`, `-EACCES` and others
/// of the system's; `-EINVAL` for NULL, for an empty path, for options out of range; `-EBADF`; `-ENOMEM`.
///
/// Any thread. Does not block, but with `RT_UNIX_UNLINK_STALE` waits for others that do the same in the directory at that moment (it
/// is locked by flock(2)).
///
/// # Safety
/// `path` is a string; `opts` is NULL or as its `size` says; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_unix_listen(
    rt: rt_runtime,
    path: *const c_char,
    opts: *const rt_unix_opts,
    out: *mut rt_io,
) -> i64 {
    let listen = || {
        // SAFETY: the caller says so, and so below.
        let options = unsafe { unix_options(opts) }?;
        // SAFETY: as above.
        unix::listen(rt, unsafe { path_text(path) }?, &options)
    };
    // SAFETY: the caller says so.
    unsafe { give(out, listen) }
}

/// Connects to a path, or to "@name": spawns a task. While the listener's queue is full it tries again, until the deadline. `opts`
/// may be NULL.
///
/// Returns 0, and the task in `*out`, which the caller must join or detach. Its join yields the connection, an `rt_io`, as that of
/// `rt_tcp_connect` does; or the system's error, such as `-ECONNREFUSED`, `-ENOENT`, `-EACCES`, `-EPROTOTYPE` for a socket of another kind;
/// or `-ETIME` at the deadline.
///
/// On failure `*out` is 0: `-ENAMETOOLONG` for more than 108 bytes; `-EINVAL` for NULL, for an empty path, for options out of range;
/// `-EBADF`; `-ESHUTDOWN`; `-ENOMEM`. Any thread. Does not block.
///
/// # Safety
/// `path` is a string; `opts` is NULL or as its `size` says; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_unix_connect(
    rt: rt_runtime,
    path: *const c_char,
    opts: *const rt_unix_opts,
    out: *mut rt_task,
) -> i64 {
    // SAFETY: the caller says so, and so below.
    let connect = || unsafe { connecting(rt, path, opts) };
    // SAFETY: as above.
    unsafe { spawn_making(rt, out, connect) }
}

/// # Safety
/// As for `rt_unix_connect`.
unsafe fn connecting(
    rt: rt_runtime,
    path: *const c_char,
    opts: *const rt_unix_opts,
) -> Result<impl Future<Output = Made> + Send + 'static, Errno> {
    // SAFETY: the caller says so, and so below.
    let options = unsafe { unix_options(opts) }?;
    // SAFETY: as above.
    let address = address::unix(unsafe { path_text(path) }?)?;
    Ok(unix::connect(rt, address, options))
}

/// Connects to a path, or to "@name", as `rt_unix_connect` does, for the task that is polled. The slot, and what is copied and returned,
/// are as for `rt_poll_tcp_connect`; the errors those of `rt_unix_connect` and of its join.
///
/// # Safety
/// `cx` is the context of this poll; `slot` and `out` are writable; the others as for `rt_unix_connect`, in the first call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_unix_connect(
    cx: *mut rt_cx,
    slot: *mut rt_op,
    path: *const c_char,
    opts: *const rt_unix_opts,
    out: *mut rt_io,
) -> i64 {
    // SAFETY: the caller says so, and so below.
    unsafe { poll_making(cx, slot, out, |rt| connecting(rt, path, opts)) }
}

/// Makes two Unix sockets, each the other's peer. `kind` is `SOCK_STREAM`, `SOCK_SEQPACKET` or `SOCK_DGRAM`.
///
/// Returns 0 and the two in `out[0]` and `out[1]`, which the caller must close: non-blocking, close-on-exec, for
/// `RT_READABLE | RT_WRITABLE`, owned. On failure both are 0: `-EMFILE` and others of the system's; `-EINVAL` for NULL, or another kind;
/// `-EBADF`; `-ENOMEM`. Any thread. Does not block.
///
/// # Safety
/// `out` has room for two.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_unix_pair(rt: rt_runtime, kind: c_int, out: *mut rt_io) -> i64 {
    guarded(|| {
        not_null(out)?;
        let out = out.cast::<[rt_io; 2]>();
        // SAFETY: the caller says so, and so below.
        unsafe { out.write([0; 2]) };
        if !matches!(kind, libc::SOCK_STREAM | libc::SOCK_SEQPACKET | libc::SOCK_DGRAM) {
            return Err(libc::EINVAL);
        }
        let pair = unix::pair(rt, kind)?;
        // SAFETY: as above.
        unsafe { out.write(pair.map(|io| io.into_raw())) };
        Ok(0)
    })
}

/// Who is at the other end of a Unix socket: who connected, or listened, or made the pair, as it was then.
///
/// Returns 0 and who in `*out`; `-ENOTCONN`; `-EAFNOSUPPORT` for another socket; `-ENOTSOCK`; `-EBADF`; `-EINVAL` for NULL. Any thread. Does
/// not block.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_unix_peer(io: rt_io, out: *mut rt_unix_cred) -> i64 {
    guarded(|| {
        not_null(out)?;
        let peer = io_name(io)?.with_fd(unix::peer_credentials)??;
        // SAFETY: the caller says so.
        unsafe { out.write(rt_unix_cred { pid: peer.pid, uid: peer.uid, gid: peer.gid }) };
        Ok(0)
    })
}

/// Sends, in a poll, bytes over a Unix socket, and `count` descriptors, which go with the first of them. The caller keeps its
/// descriptors, and may close them when this returned.
///
/// Returns how many bytes went, which may be fewer: then the rest is to be sent without descriptors, for all of them went.
/// `RT_PENDING`: nothing was sent, and the call is to be repeated. Errors as for `rt_poll_write`; `-EINVAL` also for more than 253
/// descriptors, and for some without a byte to go with; `-EAFNOSUPPORT` for descriptors over another socket; `-ETOOMANYREFS` when too
/// many are on their way; for a number that is no descriptor `-EBADF`, as for a stale handle. Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `buf` has `n` readable bytes; `fds` has `count` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_send_fds(
    cx: *mut rt_cx,
    io: rt_io,
    buf: *const c_void,
    n: usize,
    fds: *const c_int,
    count: u32,
) -> i64 {
    polled(|| {
        check!(buffer_is_valid(buf, n));
        check!(buffer_is_valid(fds.cast(), count as usize));
        // SAFETY: the caller says so, and so below.
        let cx = check!(unsafe { context(cx) });
        let name = check!(io_name(io));
        // SAFETY: as above.
        let bytes = if n == 0 { &[] } else { unsafe { std::slice::from_raw_parts(buf.cast::<u8>(), n) } };
        // SAFETY: as above.
        let fds = if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(fds, count as usize) } };
        unix::poll_send_fds(name, cx, bytes, fds).map(|sent| sent.map(|sent| sent as i64))
    })
}

/// Receives, in a poll, bytes from a Unix socket, and the descriptors that came with them. `*count` is how many descriptors `fds` has
/// room for; 253 is enough for all that can come at once. A receive ends where descriptors come with the next bytes.
///
/// Returns how many bytes came, 0 at the end of the stream; `*count` is then how many descriptors are in `fds`, which are close-on-exec
/// and the caller's to close. Bytes are never lost for the sake of descriptors: those without room, here or in the process, are
/// closed, and `*flags`, which may be NULL, is `RT_FDS_TRUNCATED`, else 0. `RT_PENDING`, after which nothing changed and the call is to be
/// repeated. Errors as for `rt_poll_read`; then `*count` is as it was. Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `buf` has `n` writable bytes; `count` is writable, and `fds` has room for `*count`; `flags` is
/// NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_recv_fds(
    cx: *mut rt_cx,
    io: rt_io,
    buf: *mut c_void,
    n: usize,
    fds: *mut c_int,
    count: *mut u32,
    flags: *mut u32,
) -> i64 {
    polled(|| {
        check!(buffer_is_valid(buf, n));
        check!(not_null(count));
        // SAFETY: the caller says so, and so below.
        let room = unsafe { *count } as usize;
        check!(buffer_is_valid(fds.cast_const().cast(), room));
        // SAFETY: as above.
        let cx = check!(unsafe { context(cx) });
        // SAFETY: as above.
        let received = check!(ready!(unsafe { unix::poll_recv_fds(check!(io_name(io)), cx, buf.cast(), n) }));
        let truncated = received.truncated || received.fds.len() > room;
        let mut given = 0;
        for fd in received.fds.into_iter().take(room) {
            // SAFETY: as above.
            unsafe { fds.add(given).write(fd.into_raw_fd()) };
            given += 1;
        }
        // SAFETY: as above.
        unsafe {
            count.write(given as u32);
            if let Some(flags) = flags.as_mut() {
                *flags = if truncated { RT_FDS_TRUNCATED } else { 0 };
            }
        }
        Poll::Ready(Ok(received.bytes as i64))
    })
}
