//! UDP sockets, and many datagrams with one call.

use super::{bound, errno_of, option, register, set_buffers, set_option, socket_for};
use crate::runtime::{Errno, Io, IoName, IoPoll, PollContext, take_fds};
use libc::{iovec, mmsghdr, sockaddr, socklen_t};
use socket2::{Protocol, SockAddr, SockRef, Type};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::task::{Poll, ready};

/// How many datagrams one call moves at most.
pub(crate) const MOST: usize = 64;

/// How sockets are made. Zero: as the system likes.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Several sockets may be bound to the address (SO_REUSEPORT), and share its datagrams.
    pub reuse_port: bool,
    /// Others may be bound to the address (SO_REUSEADDR), as for multicast.
    pub reuse_address: bool,
    /// A socket of IPv6 takes no datagrams of IPv4.
    pub v6_only: bool,
    /// Datagrams may be sent to broadcast addresses.
    pub broadcast: bool,
    /// Datagrams of one sender come together, up to 64 KiB.
    pub gro: bool,
    /// SO_SNDBUF, in bytes.
    pub send_buffer: u32,
    /// SO_RCVBUF, in bytes.
    pub receive_buffer: u32,
}

/// A socket at an address of this machine, or at all of them.
pub(crate) fn bind(runtime: u64, host: Option<&str>, port: u16, options: &Options) -> Result<Io, Errno> {
    let socket = bound(host, port, options.v6_only, |address| {
        let socket = socket_for(address, Type::DGRAM, Protocol::UDP)?;
        set_buffers(&socket, options.send_buffer, options.receive_buffer)?;
        socket.set_reuse_port(options.reuse_port).map_err(errno_of)?;
        socket.set_reuse_address(options.reuse_address).map_err(errno_of)?;
        socket.set_broadcast(options.broadcast).map_err(errno_of)?;
        if options.gro {
            set_option(socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1)?;
        }
        Ok(socket)
    })?;
    register(runtime, socket)
}

/// Sets, or without an address takes away, the peer of a socket with datagrams.
pub(crate) fn connect(fd: BorrowedFd<'_>, address: Option<&SockAddr>) -> Result<(), Errno> {
    if option(fd, libc::SOL_SOCKET, libc::SO_TYPE)? != libc::SOCK_DGRAM {
        return Err(libc::EPROTOTYPE);
    }
    match address {
        Some(address) => SockRef::from(&fd).connect(address).map_err(errno_of),
        None => disconnect(fd),
    }
}

/// The system takes a port that it chose itself away with the peer, and nothing would come any more: it is bound again.
fn disconnect(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let socket = SockRef::from(&fd);
    let local = || socket.local_addr().ok().and_then(|local| local.as_socket());
    let before = local();
    let nobody = sockaddr { sa_family: libc::AF_UNSPEC as _, sa_data: [0; 14] };
    // SAFETY: an address that is as long as the call says; the descriptor is open while it is borrowed.
    if unsafe { libc::connect(fd.as_raw_fd(), &nobody, size_of_val(&nobody) as socklen_t) } < 0 {
        return Err(errno_of(std::io::Error::last_os_error()));
    }
    let (Some(before), Some(mut now)) = (before, local()) else { return Ok(()) };
    if now.port() != 0 || before.port() == 0 {
        return Ok(());
    }
    now.set_port(before.port());
    // An address that came with the peer has gone with it. One that was bound is the same, but for the scope, which is forgotten.
    let address = if before.ip() == now.ip() { before } else { now };
    socket.bind(&address.into()).map_err(errno_of)
}

/// One datagram of a batch.
#[derive(Clone, Copy)]
pub(crate) struct Datagram {
    pub(crate) buffer: *mut u8,
    pub(crate) len: usize,
    /// Where it goes, or where to write where it came from.
    pub(crate) address: *mut sockaddr,
    pub(crate) address_len: socklen_t,
    /// To be cut into datagrams of so many bytes; 0: it is one.
    pub(crate) segment: u16,
}

/// What is known of a datagram that came.
pub(crate) struct Arrived {
    pub(crate) len: usize,
    pub(crate) address_len: socklen_t,
    pub(crate) truncated: bool,
    /// It is several that the kernel put together, of so many bytes each; 0: it is one.
    pub(crate) segment: u32,
}

/// Room for one number of control data, and for what else a program may have asked the kernel to send along.
type Control = [u64; 16];

/// The arrays that one call works on.
pub(crate) struct Batch {
    count: usize,
    messages: [mmsghdr; MOST],
    parts: [iovec; MOST],
    controls: [Control; MOST],
}

impl Batch {
    /// Of at most `MOST` datagrams.
    pub(crate) fn new(datagrams: impl Iterator<Item = Datagram>) -> Self {
        // SAFETY: all zeros are empty messages, and null pointers with no length.
        let mut batch = unsafe { std::mem::zeroed::<Self>() };
        for datagram in datagrams.take(MOST) {
            let at = batch.count;
            batch.parts[at] = iovec { iov_base: datagram.buffer.cast(), iov_len: datagram.len };
            let header = &mut batch.messages[at].msg_hdr;
            if datagram.address_len > 0 {
                (header.msg_name, header.msg_namelen) = (datagram.address.cast(), datagram.address_len);
            }
            header.msg_iovlen = 1;
            if datagram.segment > 0 {
                header.msg_controllen = put_segment(&mut batch.controls[at], datagram.segment);
            }
            batch.count += 1;
        }
        batch
    }

    /// Points the messages to their parts, where they are now.
    fn settle(&mut self) {
        for at in 0..self.count {
            let header = &mut self.messages[at].msg_hdr;
            header.msg_iov = &raw mut self.parts[at];
            header.msg_control = self.controls[at].as_mut_ptr().cast();
        }
    }

    /// Receives as many as are there, one at least. Returns how many. Descriptors that came along, to a Unix socket, are closed.
    ///
    /// # Safety
    /// The buffers, and where the addresses go, are writable.
    pub(crate) unsafe fn poll_recv(&mut self, io: IoName, cx: &PollContext) -> IoPoll<usize> {
        self.settle();
        for message in &mut self.messages[..self.count] {
            message.msg_hdr.msg_controllen = size_of::<Control>();
        }
        // SAFETY: the caller says so, and the rest is ours.
        let came = ready!(unsafe { io.poll_recvmmsg(cx, self.messages.as_mut_ptr(), self.count as u32) });
        for message in &self.messages[..came.unwrap_or(0)] {
            // SAFETY: the kernel filled the message in, and its control data is where it was.
            drop(unsafe { take_fds(&message.msg_hdr) });
        }
        Poll::Ready(came)
    }

    /// Sends them in their order, as many as there is room for, one at least. Returns how many.
    ///
    /// # Safety
    /// The buffers and the addresses are readable.
    pub(crate) unsafe fn poll_send(&mut self, io: IoName, cx: &PollContext) -> IoPoll<usize> {
        let cuts = self.messages[..self.count].iter().any(|message| message.msg_hdr.msg_controllen > 0);
        if cuts && let Err(errno) = io.with_fd(knows_segments).and_then(|known| known) {
            return Poll::Ready(Err(errno));
        }
        self.settle();
        // SAFETY: the caller says so, and the rest is ours.
        unsafe { io.poll_sendmmsg(cx, self.messages.as_mut_ptr(), self.count as u32) }
    }

    /// What is known of one that was received.
    pub(crate) fn arrived(&self, at: usize) -> Arrived {
        let message = &self.messages[at];
        Arrived {
            len: message.msg_len as usize,
            address_len: message.msg_hdr.msg_namelen,
            truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            // SAFETY: the call pointed the message to its control data, and the batch is borrowed, so it is where it was.
            segment: unsafe { segment_of(&message.msg_hdr) },
        }
    }
}

/// `EINVAL` for a socket without segments, which would pass over the wish for them.
fn knows_segments(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    match option(fd, libc::SOL_UDP, libc::UDP_SEGMENT) {
        Ok(_) => Ok(()),
        Err(libc::ENOTSOCK) => Err(libc::ENOTSOCK),
        Err(_) => Err(libc::EINVAL),
    }
}

/// Asks for a datagram to be cut. Returns how long the control data is.
fn put_segment(control: &mut Control, segment: u16) -> usize {
    // SAFETY: an all-zero message is empty.
    let mut message = unsafe { std::mem::zeroed::<libc::msghdr>() };
    (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), size_of::<Control>());
    // SAFETY: the control data has room for a header and two bytes.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&message);
        ((*header).cmsg_level, (*header).cmsg_type) = (libc::SOL_UDP, libc::UDP_SEGMENT);
        (*header).cmsg_len = libc::CMSG_LEN(2) as _;
        libc::CMSG_DATA(header).cast::<u16>().write_unaligned(segment);
        libc::CMSG_SPACE(2) as usize
    }
}

/// # Safety
/// The kernel wrote the message's control data.
unsafe fn segment_of(message: &libc::msghdr) -> u32 {
    // SAFETY: the headers lie within the control data.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(message);
        while let Some(header) = at.as_ref() {
            if (header.cmsg_level, header.cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO) {
                return libc::CMSG_DATA(header).cast::<u32>().read_unaligned();
            }
            at = libc::CMSG_NXTHDR(message, header);
        }
    }
    0
}
