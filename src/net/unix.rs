//! Unix sockets: listeners and connections, and what goes along with bytes: descriptors, and who sends them.

use super::{address, errno_of, option, register, within};
use crate::runtime::{Errno, Io, IoName, IoPoll, NEVER, PollContext, now, take_fds};
use crate::time::Sleep;
use socket2::{Domain, SockAddr, Socket, Type};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::task::{Poll, ready};

/// How many descriptors go with one message at most.
pub(crate) const MOST_FDS: usize = 253;

/// The pauses between tries while a listener's queue is full, for which there is no event.
const PAUSES: std::ops::RangeInclusive<u64> = 1_000_000..=50_000_000;

/// How sockets are made.
#[derive(Clone, Debug)]
pub struct Options {
    /// `SOCK_STREAM` or `SOCK_SEQPACKET`.
    pub kind: i32,
    /// To listen: a socket that nobody listens on is removed to make place.
    pub unlink_stale: bool,
    /// To listen: the permissions of the socket's file; without it the mask of the process says.
    pub mode: Option<u32>,
    /// How many connections may wait to be accepted. The system has a limit of its own.
    pub backlog: i32,
    /// When an attempt to connect is given up, in the nanoseconds of [`now`](crate::now()). `u64::MAX`: never.
    pub deadline: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { kind: libc::SOCK_STREAM, unlink_stale: false, mode: None, backlog: 4096, deadline: NEVER }
    }
}

fn socket(kind: i32) -> Result<Socket, Errno> {
    Socket::new(Domain::UNIX, Type::from(kind).nonblocking(), None).map_err(errno_of)
}

/// The file of a name that has one.
fn file_of(name: &[u8]) -> Option<PathBuf> {
    (name.first() != Some(&b'@')).then(|| OsStr::from_bytes(name).into())
}

/// Listens at a path, or at "@name".
pub(crate) fn listen(runtime: u64, name: &[u8], options: &Options) -> Result<Io, Errno> {
    let address = address::unix(name)?;
    let socket = socket(options.kind)?;
    let Some(path) = file_of(name) else {
        socket.bind(&address).map_err(errno_of)?;
        socket.listen(options.backlog).map_err(errno_of)?;
        return register(runtime, socket);
    };
    // From the bind to the listen a socket looks stale: those who remove such sockets must not meet.
    let _lock = options.unlink_stale.then(|| lock_directory(&path));
    let bound = socket.bind(&address).map_err(errno_of);
    if bound == Err(libc::EADDRINUSE) && options.unlink_stale && is_stale(&path, &address, options.kind)? {
        fs::remove_file(&path).map_err(errno_of)?;
        socket.bind(&address).map_err(errno_of)?;
    } else {
        bound?;
    }
    let listening = permit(&path, options.mode)
        .and_then(|()| socket.listen(options.backlog).map_err(errno_of))
        .and_then(|()| register(runtime, socket));
    listening.inspect_err(|_| {
        // The file is ours: it was not there before.
        let _ = fs::remove_file(&path);
    })
}

/// Nobody can connect before the socket listens, so nobody slips in before the mode is right.
fn permit(path: &Path, mode: Option<u32>) -> Result<(), Errno> {
    match mode {
        Some(mode) => fs::set_permissions(path, PermissionsExt::from_mode(mode)).map_err(errno_of),
        None => Ok(()),
    }
}

/// Keeps others out who remove stale sockets of this directory, until dropped. `None`: it cannot be read, and so not locked.
fn lock_directory(path: &Path) -> Option<File> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = File::open(parent).ok()?;
    // SAFETY: the call takes no pointers. The lock ends with the descriptor.
    while unsafe { libc::flock(directory.as_raw_fd(), libc::LOCK_EX) } != 0 {
        if errno_of(std::io::Error::last_os_error()) != libc::EINTR {
            return None;
        }
    }
    Some(directory)
}

/// True for a socket that refuses connections, since whoever listened on it is gone.
fn is_stale(path: &Path, address: &SockAddr, kind: i32) -> Result<bool, Errno> {
    let is_socket = |file: Metadata| file.file_type().is_socket();
    if !fs::symlink_metadata(path).is_ok_and(is_socket) {
        return Ok(false);
    }
    let refused = socket(kind)?.connect(address).map_err(errno_of);
    Ok(refused == Err(libc::ECONNREFUSED))
}

/// Connects to a path, or to "@name".
pub(crate) async fn connect(runtime: u64, address: SockAddr, options: Options) -> Result<Io, Errno> {
    within(options.deadline, async {
        let socket = socket(options.kind)?;
        let mut pause = *PAUSES.start();
        loop {
            match socket.connect(&address).map_err(errno_of) {
                Err(libc::EINTR) => continue,
                Err(libc::EAGAIN) => Sleep::until(now().saturating_add(pause)).await,
                connected => break connected?,
            }
            pause = (2 * pause).min(*PAUSES.end());
        }
        register(runtime, socket)
    })
    .await
}

/// Two sockets, each the other's peer.
pub(crate) fn pair(runtime: u64, kind: i32) -> Result<[Io; 2], Errno> {
    let (one, other) = Socket::pair(Domain::UNIX, Type::from(kind).nonblocking(), None).map_err(errno_of)?;
    Ok([register(runtime, one)?, register(runtime, other)?])
}

fn is_unix(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN)? == libc::AF_UNIX)
}

/// Who made the other end, at the time that it connected, or listened.
pub(crate) fn peer_credentials(fd: BorrowedFd<'_>) -> Result<libc::ucred, Errno> {
    if !is_unix(fd)? {
        return Err(libc::EAFNOSUPPORT);
    }
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut len = size_of_val(&peer) as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    // SAFETY: the structure is as large as `len` says; the descriptor is open while it is borrowed.
    match unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut peer).cast(), &mut len) } {
        0 if peer.uid == u32::MAX => Err(libc::ENOTCONN),
        0 => Ok(peer),
        _ => Err(errno_of(std::io::Error::last_os_error())),
    }
}

/// Control data: room for the most descriptors, and for what a program may have asked the kernel to send along.
#[repr(C, align(8))]
struct Control([u8; 2048]);

/// A message with one part and control data, as recvmsg and sendmsg want it.
fn message(part: &mut libc::iovec, control: &mut Control, control_len: usize) -> libc::msghdr {
    // SAFETY: an all-zero message is empty.
    let mut message = unsafe { std::mem::zeroed::<libc::msghdr>() };
    (message.msg_iov, message.msg_iovlen) = (part, 1);
    if control_len > 0 {
        (message.msg_control, message.msg_controllen) = (control.0.as_mut_ptr().cast(), control_len);
    }
    message
}

/// Says why these descriptors cannot be sent with these bytes.
fn check_fds(io: IoName, bytes: &[u8], fds: &[RawFd]) -> Result<(), Errno> {
    if fds.is_empty() {
        return Ok(());
    }
    if fds.len() > MOST_FDS || bytes.is_empty() {
        return Err(libc::EINVAL);
    }
    // Others would send the bytes, and say nothing of the descriptors.
    match io.with_fd(is_unix)?? {
        true => Ok(()),
        false => Err(libc::EAFNOSUPPORT),
    }
}

/// Sends bytes, and the descriptors with the first of them.
pub(crate) fn poll_send_fds(io: IoName, cx: &PollContext, bytes: &[u8], fds: &[RawFd]) -> IoPoll<usize> {
    if let Err(errno) = check_fds(io, bytes, fds) {
        return Poll::Ready(Err(errno));
    }
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = Control([0; 2048]);
    let size = size_of_val(fds) as u32;
    // SAFETY: these only compute.
    let (space, len) = unsafe { (libc::CMSG_SPACE(size) as usize, libc::CMSG_LEN(size) as usize) };
    let message = message(&mut part, &mut control, if fds.is_empty() { 0 } else { space });
    // SAFETY: the first header is the start of the control data, if there is any, which has room for all descriptors.
    unsafe {
        if let Some(header) = libc::CMSG_FIRSTHDR(&message).as_mut() {
            (header.cmsg_level, header.cmsg_type, header.cmsg_len) = (libc::SOL_SOCKET, libc::SCM_RIGHTS, len as _);
            std::ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), libc::CMSG_DATA(header), size as usize);
        }
        // SAFETY: the message is valid until the call returns.
        io.poll_sendmsg(cx, &message, 0)
    }
}

/// What came.
pub(crate) struct Received {
    pub(crate) bytes: usize,
    pub(crate) fds: Vec<OwnedFd>,
    /// The process had no room for all descriptors that were sent.
    pub(crate) truncated: bool,
}

/// Receives bytes, and the descriptors that came with them.
///
/// # Safety
/// `buffer` has `len` writable bytes.
pub(crate) unsafe fn poll_recv_fds(io: IoName, cx: &PollContext, buffer: *mut u8, len: usize) -> IoPoll<Received> {
    let mut part = libc::iovec { iov_base: buffer.cast(), iov_len: len };
    let mut control = Control([0; 2048]);
    let room = control.0.len();
    let mut message = message(&mut part, &mut control, room);
    // SAFETY: the message is valid until the call returns, and the caller vouches for the buffer.
    let received = ready!(unsafe { io.poll_recvmsg(cx, &raw mut message, libc::MSG_CMSG_CLOEXEC) });
    Poll::Ready(received.map(|bytes| Received {
        bytes,
        // SAFETY: the kernel filled the message in, and its control data is still there.
        fds: unsafe { take_fds(&message) },
        truncated: message.msg_flags & libc::MSG_CTRUNC != 0,
    }))
}
