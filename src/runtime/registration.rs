//! Taking a descriptor in: finding out what it is, and whether its number stands for another one already.

use super::context::Current;
use super::io::{Errno, IoFlags, IoName, errno_of, traits};
use super::operation::OpName;
use super::shared::Shared;
use crate::primitives::sync::Ordering::*;
use crate::readiness::{IOS, Interest, Ready};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

impl Shared {
    /// Registers a descriptor. On failure it is the caller's, unchanged but for O_NONBLOCK.
    pub(crate) fn register(&self, fd: RawFd, flags: IoFlags) -> Result<IoName, Errno> {
        let known = inspect(fd, flags)?;
        let in_set = known & traits::WATCHED != 0;
        let identity = if in_set { 0 } else { identity(fd) };
        self.register_known(fd, known, identity, Ready::EMPTY, self.pick_home())
    }

    /// Registers one of several descriptors of a listener, for a worker. `exclusive`: it is the same socket that others watch.
    /// On failure it is closed.
    pub(super) fn register_listener(&self, fd: OwnedFd, home: u32, exclusive: bool) -> Result<IoName, Errno> {
        let readable = IoFlags { interest: Some(Interest::READABLE), set_nonblock: true, borrowed: false };
        let known = inspect(fd.as_raw_fd(), readable)? | if exclusive { traits::EXCLUSIVE } else { 0 };
        let name = self.register_known(fd.as_raw_fd(), known, 0, Ready::EMPTY, home)?;
        let _ = fd.into_raw_fd();
        Ok(name)
    }

    /// Registers a descriptor of which everything is known.
    pub(super) fn register_known(
        &self,
        fd: RawFd,
        known: u16,
        identity: u64,
        ready: Ready,
        home: u32,
    ) -> Result<IoName, Errno> {
        let (index, io) = IOS.alloc().ok_or(libc::ENOMEM)?;
        let generation = io.guard.next_generation();
        let name = IoName::new(io, generation, index);
        io.fd.store(fd as u32, Relaxed);
        io.owner.store(self.handle, Release);
        io.home.store(home as u16, Relaxed);
        io.traits.store(known, Relaxed);
        io.identity.store(identity, Relaxed);
        io.begin(generation, ready);
        io.guard.open();
        if let Err(errno) = self.introduce(name) {
            // Nobody else knows the handle: letting go of it closes nothing.
            let _ = name.forget();
            return Err(errno);
        }
        if self.is_closed() {
            io.shut_down(generation);
        }
        Ok(name)
    }

    /// Enters a registration into the table, and into its driver's set, at once for all who look: the one who finds it there
    /// and not in the set takes it for one that was closed behind us.
    fn introduce(&self, name: IoName) -> Result<(), Errno> {
        let mut numbers = self.fds.numbers(name.fd()).lock();
        let old = numbers.holder(name.fd());
        if old.is_some_and(|old| self.is_still_there(old)) {
            return Err(libc::EEXIST);
        }
        if name.has(traits::WATCHED) {
            name.add_to_set(self, name.home())?;
        }
        numbers.enter(name.fd(), name.raw());
        drop(numbers);
        // It was closed behind us. Somebody else may be about to let go of it.
        Current::inside(self, || {
            let _ = old.map(IoName::forget);
        });
        Ok(())
    }

    /// Registers a connection that a listener of this family gave, for a worker. It is connected, so it is writable; it
    /// enters the driver's set when somebody waits for it. On failure it is closed.
    pub(super) fn adopt(&self, fd: RawFd, family: u16, home: u32) -> Result<IoName, Errno> {
        let both = Interest::READABLE | Interest::WRITABLE;
        let known = u16::from(both.bits()) | family | traits::NONBLOCK;
        self.register_known(fd, known, identity(fd), Ready::WRITABLE, home).inspect_err(|_| close(fd))
    }

    /// Registers a file that an operation opened. On failure it is closed.
    pub(super) fn adopt_file(&self, fd: RawFd) -> Result<IoName, Errno> {
        let known = inspect(fd, IoFlags::default()).inspect_err(|_| close(fd))?;
        // The number is fresh, so who stands for it was closed behind us, be it that its file was the same.
        let old = self.fds.numbers(fd).lock().holder(fd);
        let _ = old.map(IoName::forget);
        self.register_known(fd, known, identity(fd), Ready::EMPTY, self.pick_home()).inspect_err(|_| close(fd))
    }

    /// True if the descriptor at its number is still the one that was registered, and not a later one. The caller holds the
    /// number's lock, and the handle stands there.
    fn is_still_there(&self, old: IoName) -> bool {
        if !old.has(traits::WATCHED) {
            return old.io.identity.load(Relaxed) == identity(old.fd());
        }
        // Arming anew succeeds only for the very descriptor that was added; it also reports its state once more, which
        // does no harm.
        match self.remote(old.home()).driver.rearm(old.fd(), old.raw(), old.interest()) {
            Ok(()) => true,
            // An exclusive member is found, and refuses.
            Err(error) => old.has(traits::EXCLUSIVE) && errno_of(error) == libc::EINVAL,
        }
    }

    /// The worker of this thread, if it is one of this runtime's.
    pub(crate) fn here(&self) -> Option<u32> {
        Current::worker_of(self).map(|worker| worker.index())
    }
}

/// Listeners that starve try again.
pub(super) fn feed(starved: Vec<u64>) {
    for starved in starved {
        if let Some(listener) = IoName::parse(starved) {
            listener.io.deliver(listener.generation, Ready::READABLE);
        }
        // Or an operation that accepts.
        OpName::parse(starved).into_iter().for_each(OpName::retry);
    }
}

/// Closes a descriptor that nobody has heard of.
fn close(fd: RawFd) {
    // SAFETY: the caller owns it.
    unsafe { libc::close(fd) };
}

/// Finds out what must be known of a descriptor, and makes it non-blocking if asked.
fn inspect(fd: RawFd, flags: IoFlags) -> Result<u16, Errno> {
    // SAFETY: fcntl with these commands takes no pointers.
    let mut status = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if status < 0 {
        return Err(errno_of(std::io::Error::last_os_error()));
    }
    let mode = Inode::of(fd)?.mode & libc::S_IFMT;
    // All of them can be read and written at any time, whatever their poll methods say, and then wait for a disk or a server. Some
    // of the system's own tell of changes, which is for epoll to know.
    if matches!(mode, libc::S_IFREG | libc::S_IFDIR) && flags.interest.is_some_and(moves_bytes) {
        return Err(libc::EPERM);
    }
    if flags.set_nonblock && status & libc::O_NONBLOCK == 0 {
        // SAFETY: as above.
        if unsafe { libc::fcntl(fd, libc::F_SETFL, status | libc::O_NONBLOCK) } < 0 {
            return Err(errno_of(std::io::Error::last_os_error()));
        }
        status |= libc::O_NONBLOCK;
    }
    let mut known = flags.interest.map_or(0, |interest| interest.bits().into());
    known |= match mode {
        libc::S_IFREG | libc::S_IFBLK if deceives(fd, status) => traits::FILE | traits::DECEPTIVE,
        libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK => traits::FILE,
        _ => 0,
    };
    known |= if flags.borrowed { traits::BORROWED } else { 0 };
    known |= if status & libc::O_NONBLOCK != 0 { traits::NONBLOCK } else { 0 };
    known |= match mode {
        libc::S_IFSOCK => inspect_socket(fd),
        _ if known & traits::FILE == 0 && !has_writes(fd) => traits::WATCHED | traits::PAST_RING,
        _ => traits::WATCHED,
    };
    // Without an interest it enters the set when an operation waits for it.
    Ok(if flags.interest.is_some() { known } else { known & !traits::WATCHED })
}

/// True for an interest in more than news of another kind.
fn moves_bytes(interest: Interest) -> bool {
    interest.contains(Interest::READABLE) || interest.contains(Interest::WRITABLE)
}

/// What does not change about the file behind a descriptor.
struct Inode {
    mode: libc::mode_t,
    number: u64,
    device: u64,
}

impl Inode {
    /// What is known of it. Where attributes are a server's, as on FUSE and NFS, fstat(2) waits for an answer.
    fn of(fd: RawFd) -> Result<Self, Errno> {
        // SAFETY: an all-zero structure is valid.
        let mut known = unsafe { std::mem::zeroed::<libc::statx>() };
        let (flags, mask) = (libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC, libc::STATX_TYPE | libc::STATX_INO);
        // SAFETY: the path is a C string, and the call fills the structure in or fails.
        if unsafe { libc::statx(fd, c"".as_ptr(), flags, mask, &mut known) } == 0 {
            let device = libc::makedev(known.stx_dev_major, known.stx_dev_minor);
            return Ok(Self { mode: known.stx_mode.into(), number: known.stx_ino, device });
        }
        // A filter that is older than the call refuses it.
        // SAFETY: as above.
        let mut stat = unsafe { std::mem::zeroed::<libc::stat>() };
        // SAFETY: the call fills the structure in or fails.
        match unsafe { libc::fstat(fd, &mut stat) } {
            0 => Ok(Self { mode: stat.st_mode, number: stat.st_ino, device: stat.st_dev }),
            _ => Err(errno_of(std::io::Error::last_os_error())),
        }
    }
}

/// True for a file that a ring takes for one which knows how not to wait, and calls on the worker's thread. It believes whoever has
/// a poll method, as all files of FUSE have, and O_NONBLOCK; what such a file answers to a poll comes from its server, too.
/// Disks, and network file systems, have none of both: where they do not know NOWAIT, the ring leaves them to a thread by itself.
fn deceives(fd: RawFd, status: i32) -> bool {
    // No file is an epoll set, and one without a poll method is refused before that is found.
    // SAFETY: a removal takes no event.
    let polls = unsafe { libc::epoll_ctl(fd, libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) } < 0
        && errno_of(std::io::Error::last_os_error()) == libc::EINVAL;
    polls || status & libc::O_NONBLOCK != 0 && !knows_nowait(fd)
}

/// Whether a read may be asked not to wait. The place is behind the end of every file. What cannot be read does not say it.
fn knows_nowait(fd: RawFd) -> bool {
    let mut byte = 0u8;
    let part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: one part of one writable byte.
    let read = unsafe { libc::preadv2(fd, &part, 1, i64::MAX - 1, libc::RWF_NOWAIT) };
    // A file that is read around the cache wants more than a byte.
    read >= 0 || matches!(errno_of(std::io::Error::last_os_error()), libc::EAGAIN | libc::EINVAL)
}

/// False for what knows no writes, such as a pidfd. A ring waits for its room before it asks, and that never comes.
fn has_writes(fd: RawFd) -> bool {
    // SAFETY: no parts are read, nor any asked for.
    let wrote = unsafe { libc::writev(fd, std::ptr::null(), 0) };
    wrote >= 0 || errno_of(std::io::Error::last_os_error()) != libc::EINVAL
}

/// True for a socket with a peer.
pub(super) fn is_connected(fd: RawFd) -> bool {
    let (mut address, mut len) = ([0u64; 16], size_of::<[u64; 16]>() as libc::socklen_t);
    // SAFETY: the address is as large as `len` says.
    unsafe { libc::getpeername(fd, address.as_mut_ptr().cast(), &mut len) == 0 }
}

fn inspect_socket(fd: RawFd) -> u16 {
    let option = |name| {
        let (mut value, mut len) = (0i32, 4 as libc::socklen_t);
        // SAFETY: four writable bytes, as `len` says.
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &mut len) };
        value
    };
    let (kind, protocol) = (option(libc::SO_TYPE), option(libc::SO_PROTOCOL));
    let connected = is_connected(fd);
    let stream = matches!(kind, libc::SOCK_STREAM | libc::SOCK_SEQPACKET);
    let late = stream && !connected && option(libc::SO_ACCEPTCONN) == 0;
    let family = match kind {
        libc::SOCK_STREAM if protocol == libc::IPPROTO_TCP => traits::STREAM | traits::TCP,
        libc::SOCK_STREAM => traits::STREAM,
        _ => traits::PAST_RING,
    };
    traits::SOCKET | family | if late { traits::LATE } else { traits::WATCHED }
}

/// Tells the open file behind a number from a later one. For a socket a number that no other has or had; for others the
/// inode, which eventfds and their kin all share.
pub(super) fn identity(fd: RawFd) -> u64 {
    let (mut cookie, mut len) = (0u64, 8 as libc::socklen_t);
    // SAFETY: eight writable bytes, as `len` says.
    if unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_COOKIE, (&raw mut cookie).cast(), &mut len) } == 0 {
        return cookie;
    }
    Inode::of(fd).map_or(u64::MAX, |inode| inode.number ^ inode.device.rotate_left(32))
}

/// What epoll and poll(2) say of a stream socket on which no connect was begun, and is not so: that it is hung up, and that there
/// is room. A connect gives a socket a peer, or a port of its own at least. Nothing, if one was begun.
pub(super) fn said_too_early(fd: RawFd) -> Ready {
    // SAFETY: an all-zero address is valid.
    let mut address = unsafe { std::mem::zeroed::<libc::sockaddr_storage>() };
    let mut len = size_of_val(&address) as libc::socklen_t;
    let pointer = (&raw mut address).cast::<libc::sockaddr>();
    // SAFETY: the address is as large as `len` says. Where it cannot be had, its family is none.
    unsafe { libc::getsockname(fd, pointer, &mut len) };
    let family = i32::from(address.ss_family);
    let begun = if matches!(family, libc::AF_INET | libc::AF_INET6) {
        // SAFETY: the kernel filled in an address of this family. The port is at the same place in both.
        unsafe { (*pointer.cast::<libc::sockaddr_in>()).sin_port != 0 }
    } else {
        // A Unix socket whose peer is gone still has its name.
        is_connected(fd) || errno_of(std::io::Error::last_os_error()) != libc::ENOTCONN
    };
    match begun {
        true => Ready::EMPTY,
        // Its connect is made at once, and there is no event that would tell of the room then.
        false if family == libc::AF_UNIX => Ready::CLOSED,
        false => Ready::ALL,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use libc::{AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM};
    use std::os::fd::FromRawFd;

    /// The traits among these of a socket. `None`: there are none of this kind here.
    fn traits_of(domain: i32, kind: i32, protocol: i32) -> Option<u16> {
        // SAFETY: the call takes no pointers; what it returns is nobody else's.
        let fd = unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) };
        // SAFETY: as above.
        let socket = (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })?;
        Some(inspect_socket(socket.as_raw_fd()) & (traits::STREAM | traits::TCP | traits::PAST_RING))
    }

    #[test]
    fn sockets_are_told_apart() {
        /// Netlink's, with the number of TCP.
        const NETLINK_XFRM: i32 = 6;
        for (domain, kind, protocol, expected) in [
            (AF_INET, SOCK_STREAM, 0, traits::STREAM | traits::TCP),
            (AF_INET6, SOCK_STREAM, 0, traits::STREAM | traits::TCP),
            (AF_UNIX, SOCK_STREAM, 0, traits::STREAM),
            (AF_INET, SOCK_DGRAM, 0, traits::PAST_RING),
            (AF_INET6, SOCK_DGRAM, 0, traits::PAST_RING),
            (AF_INET, SOCK_DGRAM, libc::IPPROTO_ICMP, traits::PAST_RING),
            (AF_INET, SOCK_RAW, libc::IPPROTO_UDP, traits::PAST_RING),
            (AF_INET, SOCK_RAW, libc::IPPROTO_TCP, traits::PAST_RING),
            (AF_UNIX, SOCK_DGRAM, 0, traits::PAST_RING),
            (AF_UNIX, SOCK_SEQPACKET, 0, traits::PAST_RING),
            (AF_NETLINK, SOCK_DGRAM, 0, traits::PAST_RING),
            (AF_NETLINK, SOCK_RAW, NETLINK_XFRM, traits::PAST_RING),
        ] {
            let found = traits_of(domain, kind, protocol);
            // Some are for the privileged, or none of this kernel's.
            let is_rare = kind == SOCK_RAW || protocol == libc::IPPROTO_ICMP;
            if is_rare && found.is_none() {
                println!("skipped: no socket of family {domain}, type {kind}, protocol {protocol}");
                continue;
            }
            assert_eq!(found, Some(expected), "family {domain}, type {kind}, protocol {protocol}");
        }
    }
}
