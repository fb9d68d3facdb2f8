//! TCP: listeners, and connecting to the first of a host's addresses that answers.

use super::{bound, errno_of, option, register, resolve, set_buffers, set_option, socket_for, within};
use crate::readiness::Interest;
use crate::runtime::{Errno, Io, NEVER, now};
use crate::time::Sleep;
use socket2::{Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

/// How long an attempt is alone before the next address is tried beside it.
const HEAD_START: u64 = 250_000_000;

/// How long a connection may keep its listener waiting for its first byte, in seconds.
const DEFER: i32 = 5;

/// How sockets are made. Zero: as the system likes.
#[derive(Clone, Debug)]
pub struct Options {
    /// Small writes do not wait for each other (TCP_NODELAY).
    pub no_delay: bool,
    /// Several sockets may listen at the address (SO_REUSEPORT), and share its connections.
    pub reuse_port: bool,
    /// A listener of IPv6 takes no connections of IPv4.
    pub v6_only: bool,
    /// A connection is accepted when its first bytes came, or after some seconds.
    pub defer_accept: bool,
    /// How many connections may wait to be accepted. The system has a limit of its own.
    pub backlog: i32,
    /// After how many seconds of silence the peer is asked whether it is still there, how many seconds are between such
    /// questions, and how many stay unanswered before the connection is given up. All zero: it is not asked.
    pub keepalive: [u32; 3],
    /// SO_SNDBUF, in bytes.
    pub send_buffer: u32,
    /// SO_RCVBUF, in bytes.
    pub receive_buffer: u32,
    /// Where connections come from; only peers of its family are tried.
    pub local: Option<SocketAddr>,
    /// When an attempt to connect is given up, in the nanoseconds of [`now`](crate::now()). `u64::MAX`: never.
    pub deadline: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            no_delay: true,
            reuse_port: false,
            v6_only: false,
            defer_accept: false,
            backlog: 4096,
            keepalive: [0; 3],
            send_buffer: 0,
            receive_buffer: 0,
            local: None,
            deadline: NEVER,
        }
    }
}

impl Options {
    /// A socket with what both listeners and connections have. Buffers are told before the handshake, which settles the
    /// window's scale.
    fn socket(&self, address: SocketAddr) -> Result<Socket, Errno> {
        let socket = socket_for(address, Type::STREAM, Protocol::TCP)?;
        set_buffers(&socket, self.send_buffer, self.receive_buffer)?;
        if self.no_delay {
            socket.set_tcp_nodelay(true).map_err(errno_of)?;
        }
        if self.reuse_port {
            socket.set_reuse_port(true).map_err(errno_of)?;
        }
        if self.keepalive != [0; 3] {
            socket.set_tcp_keepalive(&self.keepalive()).map_err(errno_of)?;
        }
        Ok(socket)
    }

    fn keepalive(&self) -> TcpKeepalive {
        let [idle, interval, count] = self.keepalive;
        let seconds = |n: u32| Duration::from_secs(n.into());
        let mut keepalive = TcpKeepalive::new();
        if idle > 0 {
            keepalive = keepalive.with_time(seconds(idle));
        }
        if interval > 0 {
            keepalive = keepalive.with_interval(seconds(interval));
        }
        if count > 0 {
            keepalive = keepalive.with_retries(count);
        }
        keepalive
    }

    /// A socket to connect to an address.
    fn outgoing(&self, address: SocketAddr) -> Result<Socket, Errno> {
        let socket = self.socket(address)?;
        if let Some(local) = self.local {
            // A port of the kernel's choice is chosen when the peer is known, so that connections to others may share it.
            match local.port() {
                0 => set_option(socket.as_fd(), libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?,
                _ => socket.set_reuse_address(true).map_err(errno_of)?,
            }
            socket.bind(&SockAddr::from(local)).map_err(errno_of)?;
        }
        Ok(socket)
    }
}

/// Listens at an address of this machine, or at all of them.
pub(crate) fn listen(runtime: u64, host: Option<&str>, port: u16, options: &Options) -> Result<Io, Errno> {
    let socket = bound(host, port, options.v6_only, |address| {
        let socket = options.socket(address)?;
        socket.set_reuse_address(true).map_err(errno_of)?;
        Ok(socket)
    })?;
    if options.defer_accept {
        set_option(socket.as_fd(), libc::SOL_TCP, libc::TCP_DEFER_ACCEPT, DEFER)?;
    }
    socket.listen(options.backlog).map_err(errno_of)?;
    register(runtime, socket)
}

/// Connects to a host: to the first of its addresses that answers.
pub(crate) async fn connect(runtime: u64, host: String, port: u16, options: Options) -> Result<Io, Errno> {
    within(options.deadline, async {
        let addresses = resolve::lookup(&host, port).await?;
        connect_any(runtime, addresses, &options).await
    })
    .await
}

/// Connects to the first of these addresses that answers.
pub(super) async fn connect_any(runtime: u64, found: Vec<SocketAddr>, options: &Options) -> Result<Io, Errno> {
    let fits = |address: &SocketAddr| options.local.is_none_or(|local| local.is_ipv4() == address.is_ipv4());
    let addresses = interleave(found.into_iter().filter(fits).collect());
    first(addresses, |address| attempt(runtime, address, options)).await
}

/// The families take turns, each in its order; the one that came first begins.
pub(super) fn interleave(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let begins = found.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| address.is_ipv4() == begins);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    std::iter::from_fn(|| Some([first.next(), second.next()]))
        .take_while(|pair| pair.iter().any(Option::is_some))
        .flatten()
        .flatten()
        .collect()
}

/// The first attempt that succeeds; the others are dropped. The next one begins when the newest one has had its head start,
/// or at once when any fails. If all do, the last failure counts; without an address it is `EAFNOSUPPORT`.
async fn first<F>(addresses: Vec<SocketAddr>, begin: impl Fn(SocketAddr) -> F) -> Result<Io, Errno>
where
    F: Future<Output = Result<Io, Errno>>,
{
    let mut untried = addresses.into_iter();
    let mut tried: Vec<Pin<Box<F>>> = Vec::new();
    let mut head_start = pin!(Sleep::until(0));
    let mut failure = libc::EAFNOSUPPORT;
    poll_fn(|context| {
        loop {
            let before = tried.len();
            for at in (0..before).rev() {
                match tried[at].as_mut().poll(context) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(io)) => return Poll::Ready(Ok(io)),
                    Poll::Ready(Err(errno)) => {
                        failure = errno;
                        drop(tried.remove(at));
                    }
                }
            }
            if untried.len() == 0 {
                return if tried.is_empty() { Poll::Ready(Err(failure)) } else { Poll::Pending };
            }
            let is_due = tried.is_empty() || tried.len() < before;
            if !is_due && head_start.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            tried.extend(untried.next().map(|address| Box::pin(begin(address))));
            head_start.set(Sleep::until(now().saturating_add(HEAD_START)));
        }
    })
    .await
}

/// Connects to one address.
async fn attempt(runtime: u64, address: SocketAddr, options: &Options) -> Result<Io, Errno> {
    let socket = options.outgoing(address)?;
    let goes_on = loop {
        match socket.connect(&address.into()).map_err(errno_of) {
            // The attempt that a signal interrupts goes on, if it was begun: asking again tells.
            Err(libc::EINTR) => {}
            Ok(()) | Err(libc::EISCONN) => break false,
            Err(libc::EINPROGRESS | libc::EALREADY) => break true,
            Err(errno) => return Err(errno),
        }
    };
    // It is registered when the attempt goes on already: before, epoll would call it hung up.
    let io = register(runtime, socket)?;
    if goes_on {
        io.ready(Interest::WRITABLE).await.map_err(errno_of)?;
    }
    io.with_fd(|fd| match option(fd, libc::SOL_SOCKET, libc::SO_ERROR)? {
        0 if is_own_peer(fd, address) => Err(libc::ECONNREFUSED),
        0 => Ok(()),
        errno => Err(errno),
    })??;
    Ok(io)
}

/// True if the kernel gave the connection the very port that it asks for on this machine, where nobody listened: it is
/// its own peer then.
fn is_own_peer(fd: BorrowedFd<'_>, address: SocketAddr) -> bool {
    super::local(fd).is_ok_and(|local| local.as_socket() == Some(address))
}
