//! Sockets for use in Rust.

use super::udp::{Batch, Datagram};
use super::{address, tcp, udp, unix};
use crate::runtime::{Error, Io, Made, Runtime, in_task};
use crate::task::JoinHandle;
use socket2::{SockAddr, SockAddrStorage};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::task::{Poll, ready};

/// Listens for TCP connections at an address of this machine, or without one at all of them. With a port of 0 the kernel
/// chooses one: see [`Io::local_addr`].
pub fn tcp_listen(runtime: &Runtime, host: Option<&str>, port: u16, options: &tcp::Options) -> Result<Io, Error> {
    Ok(tcp::listen(runtime.enter()?.handle(), host, port, options)?)
}

/// Connects to a host, by name or address: spawns a task that tries its addresses until one answers. A connection that
/// nobody takes is closed.
pub fn tcp_connect(
    runtime: &Runtime,
    host: &str,
    port: u16,
    options: &tcp::Options,
) -> Result<JoinHandle<io::Result<Io>>, Error> {
    connecting(runtime, |runtime| tcp::connect(runtime, host.to_owned(), port, options.clone()))
}

/// Listens for connections at a path, or at "@name": an abstract name, without a file. The file stays when the listener is
/// closed.
pub fn unix_listen(runtime: &Runtime, path: impl AsRef<Path>, options: &unix::Options) -> Result<Io, Error> {
    Ok(unix::listen(runtime.enter()?.handle(), name_of(path.as_ref()), options)?)
}

/// Connects to a path, or to "@name": spawns a task. While the listener's queue is full it tries again. A connection that
/// nobody takes is closed.
pub fn unix_connect(
    runtime: &Runtime,
    path: impl AsRef<Path>,
    options: &unix::Options,
) -> Result<JoinHandle<io::Result<Io>>, Error> {
    let address = address::unix(name_of(path.as_ref()))?;
    connecting(runtime, |runtime| unix::connect(runtime, address, options.clone()))
}

/// Makes two Unix sockets, each the other's peer, of a kind such as `SOCK_STREAM`.
pub fn unix_pair(runtime: &Runtime, kind: i32) -> Result<[Io; 2], Error> {
    Ok(unix::pair(runtime.enter()?.handle(), kind)?)
}

/// Makes a UDP socket at an address of this machine, or without one at all of them.
pub fn udp_bind(runtime: &Runtime, host: Option<&str>, port: u16, options: &udp::Options) -> Result<Io, Error> {
    Ok(udp::bind(runtime.enter()?.handle(), host, port, options)?)
}

fn name_of(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// Spawns a task that makes a connection.
fn connecting<F>(runtime: &Runtime, begin: impl FnOnce(u64) -> F) -> Result<JoinHandle<io::Result<Io>>, Error>
where
    F: Future<Output = Made> + Send + 'static,
{
    let connecting = begin(runtime.enter()?.handle());
    runtime.spawn(async { connecting.await.map_err(io::Error::from_raw_os_error) })
}

/// Sockets.
impl Io {
    /// Where a socket is. `EAFNOSUPPORT` for one that is not of the internet.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.ask(super::local)
    }

    /// Where its peer is.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.ask(super::peer)
    }

    fn ask(&self, ask: fn(BorrowedFd<'_>) -> Result<SockAddr, i32>) -> io::Result<SocketAddr> {
        let address = self.with_fd(ask).and_then(|address| address?.as_socket().ok_or(libc::EAFNOSUPPORT));
        address.map_err(io::Error::from_raw_os_error)
    }

    /// Receives one datagram of UDP, and who sent it. What the buffer has no room for is lost.
    ///
    /// With [`UdpOptions::gro`](udp::Options::gro) several of one sender may come as one, which does not say where each ends.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        in_task(|cx| {
            let mut from = SockAddrStorage::zeroed();
            let datagram = Datagram {
                buffer: buffer.as_mut_ptr(),
                len: buffer.len(),
                address: (&raw mut from).cast(),
                address_len: from.size_of(),
                segment: 0,
            };
            let mut batch = Batch::new(std::iter::once(datagram));
            // SAFETY: the buffer and the address are ours, and writable, until the call returns.
            let came = ready!(unsafe { batch.poll_recv(self.name()?, cx) });
            Poll::Ready(came.and_then(|_one| {
                let arrived = batch.arrived(0);
                // SAFETY: the kernel wrote an address of this length.
                let from = unsafe { SockAddr::new(from, arrived.address_len) };
                Ok((arrived.len, from.as_socket().ok_or(libc::EAFNOSUPPORT)?))
            }))
        })
        .await
    }

    /// Sends one datagram of UDP.
    pub async fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let to = SockAddr::from(to);
        in_task(|cx| {
            let datagram = Datagram {
                buffer: bytes.as_ptr().cast_mut(),
                len: bytes.len(),
                address: to.as_ptr().cast_mut().cast(),
                address_len: to.len(),
                segment: 0,
            };
            // SAFETY: the bytes and the address are there, and only read, until the call returns.
            let sent = unsafe { Batch::new(std::iter::once(datagram)).poll_send(self.name()?, cx) };
            sent.map(|sent| sent.map(drop))
        })
        .await
    }
}
