//! The addresses of a host.

use crate::runtime::Errno;
use std::net::{SocketAddr, ToSocketAddrs};

/// On this thread.
pub(crate) async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, Errno> {
    (host, port).to_socket_addrs().map(Iterator::collect).map_err(|_| libc::ENOENT)
}
