//! What servers need of listeners: the descriptors of several workers, and connections for a worker of their choice.

use super::io::{Errno, IoName, errno_of, traits};
use super::owned::Io;
use super::runtimes::RuntimeRef;
use crate::readiness::Interest;
use std::io::Error;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

/// What a connection has from its listener.
#[derive(Clone, Copy)]
pub(crate) struct Family(u16);

impl RuntimeRef {
    pub(crate) fn handle(&self) -> u64 {
        self.shared().handle
    }

    pub(crate) fn workers(&self) -> u32 {
        self.shared().remotes.len() as u32
    }

    /// Takes in one of several descriptors of a listener, for a worker. `exclusive`: others watch the same socket.
    pub(crate) fn add_listener(&self, fd: OwnedFd, home: u32, exclusive: bool) -> Result<(Io, IoName, u32), Errno> {
        let name = self.shared().register_listener(fd, home, exclusive)?;
        Ok((Io::new(name), name, home))
    }

    /// Takes in a connection, for a worker. On failure it is closed.
    pub(crate) fn adopt(&self, fd: OwnedFd, family: Family, home: u32) -> Result<IoName, Errno> {
        self.shared().adopt(fd.into_raw_fd(), family.0, home)
    }

    /// A listener got no descriptor: it tries again when one is free, or after a while.
    pub(crate) fn starve(&self, listener: IoName) {
        listener.starve(self.shared());
    }
}

impl IoName {
    pub(crate) fn connections(self) -> Family {
        Family(self.family())
    }

    /// Says why a server of this runtime cannot have the descriptor as its listener.
    pub(crate) fn check_listener(self, runtime: &RuntimeRef) -> Result<(), Errno> {
        let _in_use = self.enter()?;
        if self.owner()? != runtime.handle() {
            return Err(libc::EPERM);
        }
        if !self.has(traits::SOCKET) {
            return Err(libc::ENOTSOCK);
        }
        let listens = self.option(libc::SOL_SOCKET, libc::SO_ACCEPTCONN)? != 0;
        if !listens || !self.has(traits::NONBLOCK) || !self.has(Interest::READABLE.bits().into()) {
            return Err(libc::EINVAL);
        }
        if self.has_traffic() { Err(libc::EBUSY) } else { Ok(()) }
    }

    /// A number that the socket is set to.
    pub(crate) fn option(self, level: i32, name: i32) -> Result<i32, Errno> {
        let _in_use = self.enter()?;
        let value = get(self.fd(), level, name)?;
        value.as_slice().try_into().map(i32::from_ne_bytes).map_err(|_other_size| libc::EINVAL)
    }

    /// Another descriptor of the same socket.
    pub(crate) fn duplicate(self) -> Result<OwnedFd, Errno> {
        let _in_use = self.enter()?;
        // SAFETY: the call takes no pointers; a descriptor that it returns is ours.
        checked(unsafe { libc::fcntl(self.fd(), libc::F_DUPFD_CLOEXEC, 0) })
            // SAFETY: as above.
            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// Options of a listener that are its connections' as well, or that say how it listens. One that sets another is before that.
const INHERITED: [(i32, i32); 43] = [
    (libc::SOL_SOCKET, libc::SO_REUSEADDR),
    (libc::SOL_SOCKET, libc::SO_REUSEPORT),
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    (libc::SOL_SOCKET, libc::SO_LINGER),
    (libc::SOL_SOCKET, libc::SO_OOBINLINE),
    (libc::SOL_SOCKET, libc::SO_DONTROUTE),
    (libc::SOL_SOCKET, libc::SO_MARK),
    (libc::SOL_SOCKET, libc::SO_BUSY_POLL),
    (libc::SOL_SOCKET, libc::SO_ZEROCOPY),
    (libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE),
    (libc::SOL_SOCKET, SO_BINDTOIFINDEX),
    (libc::IPPROTO_IP, libc::IP_TOS),
    (libc::SOL_SOCKET, libc::SO_PRIORITY),
    (libc::IPPROTO_IP, libc::IP_TTL),
    (libc::IPPROTO_IP, libc::IP_MINTTL),
    (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
    (libc::IPPROTO_IP, libc::IP_FREEBIND),
    (libc::IPPROTO_IP, libc::IP_TRANSPARENT),
    (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
    (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
    (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT),
    (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
    (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND),
    (libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    (libc::IPPROTO_TCP, libc::TCP_MAXSEG),
    (libc::IPPROTO_TCP, libc::TCP_CONGESTION),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
    (libc::IPPROTO_TCP, libc::TCP_SYNCNT),
    (libc::IPPROTO_TCP, libc::TCP_LINGER2),
    (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT),
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
    (libc::IPPROTO_TCP, libc::TCP_FASTOPEN),
    (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT),
    (libc::IPPROTO_TCP, libc::TCP_SAVE_SYN),
    (libc::SOL_SOCKET, libc::SO_RCVLOWAT),
    (libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP),
    (libc::SOL_SOCKET, libc::SO_RCVTIMEO),
    (libc::SOL_SOCKET, libc::SO_SNDTIMEO),
    (libc::SOL_SOCKET, SO_LOCK_FILTER),
];

/// No option above has more bytes: the name of a congestion control.
const LONGEST_OPTION: usize = 16;

/// Whether the filter of a socket may be changed.
const SO_LOCK_FILTER: i32 = 44;

/// The interface that a socket is bound to (Linux 5.1).
const SO_BINDTOIFINDEX: i32 = 62;

/// Whose sizes of buffers the program chose, by the bits of `BUFFERS` (Linux 5.14).
const SO_BUF_LOCK: i32 = 72;
const BUFFERS: [(i32, i32); 2] = [(1, libc::SO_SNDBUF), (2, libc::SO_RCVBUF)];

/// The longest backlog that the kernel allows by default.
const USUAL_BACKLOG: u32 = 4096;

/// More than this is not believed of a backlog: newcomers are taken for a part of it.
const MOST_BACKLOG: u32 = 65_535;

/// The longest backlog that a listener may have. Its own was cut to net.core.somaxconn when it was set, which may have been
/// lowered since then, but hardly below what is usual.
fn longest_backlog() -> u32 {
    let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    let allowed = allowed.and_then(|text| text.trim().parse::<u32>().ok());
    allowed.map_or(USUAL_BACKLOG, |allowed| allowed.clamp(USUAL_BACKLOG, MOST_BACKLOG))
}

impl IoName {
    /// Another listener of the same name, which must have been bound with SO_REUSEPORT. `EINVAL`: the system does not let it be
    /// like this one.
    pub(crate) fn sibling(self) -> Result<OwnedFd, Errno> {
        let _in_use = self.enter()?;
        let number = |name| self.option(libc::SOL_SOCKET, name);
        let (domain, protocol) = (number(libc::SO_DOMAIN)?, number(libc::SO_PROTOCOL)?);
        let kind = number(libc::SO_TYPE)? | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: the call takes no pointers; a descriptor that it returns is ours.
        let fd = checked(unsafe { libc::socket(domain, kind, protocol) })?;
        // SAFETY: as above.
        let sibling = unsafe { OwnedFd::from_raw_fd(fd) };
        // Before it can be reached.
        copy_filter(self.fd(), fd)?;
        for (level, name) in INHERITED {
            // An option of another family is none of this socket's. What was not set is the system's to adapt, so it stays unset.
            if let (Ok(wanted), Ok(usual)) = (get(self.fd(), level, name), get(fd, level, name))
                && wanted != usual
            {
                set(fd, level, name, &wanted).map_err(|_errno| libc::EINVAL)?;
            }
        }
        // What is asked for is doubled when it is set.
        let chosen = number(SO_BUF_LOCK).unwrap_or(0);
        for (_, name) in BUFFERS.into_iter().filter(|(bit, _)| chosen & bit != 0) {
            set(fd, libc::SOL_SOCKET, name, &(number(name)? / 2).to_ne_bytes())?;
        }
        let (mut address, mut len) = ([0u64; 16], size_of::<[u64; 16]>() as libc::socklen_t);
        // SAFETY: the address is as large as `len` says, and the kernel fills in both.
        unsafe {
            checked(libc::getsockname(self.fd(), address.as_mut_ptr().cast(), &mut len))?;
            checked(libc::bind(fd, address.as_ptr().cast(), len))?;
            checked(libc::listen(
                fd,
                self.tcp_info().map_or_else(|_| longest_backlog(), |info| info.tcpi_sacked) as i32,
            ))?;
        }
        Ok(sibling)
    }

    /// How many connections wait to be accepted; of a listener that does not say, no more than this. (A Unix listener takes one
    /// more than its backlog.)
    pub(crate) fn backlog(self) -> u32 {
        self.tcp_info().map_or_else(|_| longest_backlog() + 1, |info| info.tcpi_unacked)
    }

    /// What the kernel says of a TCP socket. Of a listener: in `tcpi_unacked` its backlog, in `tcpi_sacked` the limit to that.
    fn tcp_info(self) -> Result<libc::tcp_info, Errno> {
        let _in_use = self.enter()?;
        // SAFETY: an all-zero structure is valid.
        let mut info = unsafe { std::mem::zeroed::<libc::tcp_info>() };
        let mut len = size_of_val(&info) as libc::socklen_t;
        // SAFETY: as many writable bytes as `len` says.
        checked(unsafe {
            libc::getsockopt(self.fd(), libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &mut len)
        })?;
        Ok(info)
    }
}

/// What an option of a socket is set to.
fn get(fd: i32, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; LONGEST_OPTION];
    let mut len = value.len() as libc::socklen_t;
    // SAFETY: as many writable bytes as `len` says.
    checked(unsafe { libc::getsockopt(fd, level, name, value.as_mut_ptr().cast(), &mut len) })?;
    value.truncate(len as usize);
    Ok(value)
}

fn set(fd: i32, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
    // SAFETY: as many readable bytes as is said.
    checked(unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), value.len() as u32) }).map(drop)
}

/// Gives a socket the filter that another one has. `EINVAL`: that is an eBPF program, which cannot be read.
fn copy_filter(from: i32, to: i32) -> Result<(), Errno> {
    let mut count = 0;
    let count_of = |out: *mut libc::sock_filter, count: &mut libc::socklen_t| {
        // SAFETY: there is room for so many instructions; without any, the kernel says how many there are.
        checked(unsafe { libc::getsockopt(from, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, out.cast(), count) })
    };
    match count_of(std::ptr::null_mut(), &mut count) {
        // What stands for a kernel somewhere, and knows of no filters, has none.
        Err(libc::ENOPROTOOPT) => return Ok(()),
        Err(_errno) => return Err(libc::EINVAL),
        Ok(_) if count == 0 => return Ok(()),
        Ok(_) => {}
    }
    let mut filter = vec![libc::sock_filter { code: 0, jt: 0, jf: 0, k: 0 }; count as usize];
    count_of(filter.as_mut_ptr(), &mut count).map_err(|_errno| libc::EINVAL)?;
    let program = libc::sock_fprog { len: count as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program is as long as it says.
    checked(unsafe {
        let len = size_of_val(&program) as u32;
        libc::setsockopt(to, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, (&raw const program).cast(), len)
    })
    .map(drop)
    .map_err(|_errno| libc::EINVAL)
}

/// A descriptor that stands for nothing.
pub(crate) fn placeholder() -> Option<OwnedFd> {
    // SAFETY: the call takes no pointers; a descriptor that it returns is ours.
    let fd = checked(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }).ok()?;
    // SAFETY: as above.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn checked(returned: i32) -> Result<i32, Errno> {
    if returned < 0 { Err(errno_of(Error::last_os_error())) } else { Ok(returned) }
}
