//! Sockets: names, addresses, and how TCP, Unix and UDP sockets are made.
//!
//! A socket that is made here is non-blocking, close-on-exec, and registered for reading and writing with a runtime, which
//! is named by its handle: what waits for a connection must not keep the runtime alive.

pub(crate) mod address;
pub(crate) mod owned;
pub(crate) mod resolve;
pub(crate) mod tcp;
pub(crate) mod udp;
pub(crate) mod unix;

#[cfg(all(test, not(loom)))]
mod tests;

use crate::readiness::Interest;
use crate::runtime::{Errno, Io, IoFlags, RuntimeRef};
use crate::time::timeout_at;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

fn errno_of(error: std::io::Error) -> Errno {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// Registers a socket, whose descriptor is closed with the result, or now if that fails.
fn register(runtime: u64, socket: Socket) -> Result<Io, Errno> {
    let flags = IoFlags { interest: Some(Interest::READABLE | Interest::WRITABLE), ..IoFlags::default() };
    let name = RuntimeRef::enter(runtime)?.shared().register(socket.as_raw_fd(), flags)?;
    std::mem::forget(socket);
    Ok(Io::new(name))
}

/// What the future comes to, or `ETIME`.
async fn within<T>(deadline: u64, future: impl Future<Output = Result<T, Errno>>) -> Result<T, Errno> {
    timeout_at(deadline, future).await.unwrap_or(Err(libc::ETIME))
}

/// An option that socket2 does not know.
fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> Result<(), Errno> {
    // SAFETY: four readable bytes, as the length says; the descriptor is open while it is borrowed.
    match unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), 4) } {
        0 => Ok(()),
        _ => Err(errno_of(std::io::Error::last_os_error())),
    }
}

/// The same, to be asked for.
fn option(fd: BorrowedFd<'_>, level: i32, name: i32) -> Result<i32, Errno> {
    let (mut value, mut len) = (0, 4);
    // SAFETY: four writable bytes, as the length says; the descriptor is open while it is borrowed.
    match unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast(), &mut len) } {
        0 => Ok(value),
        _ => Err(errno_of(std::io::Error::last_os_error())),
    }
}

/// Where a socket is.
pub(crate) fn local(fd: BorrowedFd<'_>) -> Result<SockAddr, Errno> {
    SockRef::from(&fd).local_addr().map_err(errno_of)
}

/// Where its peer is.
pub(crate) fn peer(fd: BorrowedFd<'_>) -> Result<SockAddr, Errno> {
    SockRef::from(&fd).peer_addr().map_err(errno_of)
}

/// How much the kernel buffers; 0: as it likes.
fn set_buffers(socket: &Socket, send: u32, receive: u32) -> Result<(), Errno> {
    if send > 0 {
        socket.set_send_buffer_size(send as usize).map_err(errno_of)?;
    }
    if receive > 0 {
        socket.set_recv_buffer_size(receive as usize).map_err(errno_of)?;
    }
    Ok(())
}

/// A socket of the address's family.
fn socket_for(address: SocketAddr, kind: Type, protocol: Protocol) -> Result<Socket, Errno> {
    Socket::new(Domain::for_address(address), kind.nonblocking(), Some(protocol)).map_err(errno_of)
}

/// A socket at an address of this machine. Without a host it is every address, of both families where there are two.
fn bound(
    host: Option<&str>,
    port: u16,
    v6_only: bool,
    make: impl Fn(SocketAddr) -> Result<Socket, Errno>,
) -> Result<Socket, Errno> {
    let at = |address: SocketAddr| {
        let socket = make(address)?;
        if address.is_ipv6() {
            // The system's default is anybody's guess.
            socket.set_only_v6(v6_only).map_err(errno_of)?;
        }
        socket.bind(&SockAddr::from(address)).map_err(errno_of)?;
        Ok(socket)
    };
    let any = |ip: IpAddr| at((ip, port).into());
    match host {
        Some(host) => at(address::parse_ip(host, port).ok_or(libc::EINVAL)??),
        None => match any(Ipv6Addr::UNSPECIFIED.into()) {
            // A system that has IPv6 turned off.
            Err(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL) if !v6_only => any(Ipv4Addr::UNSPECIFIED.into()),
            socket => socket,
        },
    }
}
