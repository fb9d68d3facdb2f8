//! The noun address.

use std::net::SocketAddr;

/// A socket address of any family: the first `len` bytes of `storage` are a `struct sockaddr`. Plain data, which may be copied.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_addr {
    /// How many bytes the address has.
    pub len: u32,
    /// Zero.
    pub reserved: u32,
    /// The address, aligned for any family.
    pub storage: [u64; 16],
}

const _: () = assert!(size_of::<libc::sockaddr_storage>() <= size_of::<[u64; 16]>());

impl From<SocketAddr> for rt_addr {
    fn from(address: SocketAddr) -> Self {
        let mut out = Self { len: 0, reserved: 0, storage: [0; 16] };
        let place = (&raw mut out.storage).cast::<libc::sockaddr_storage>();
        // SAFETY: the storage is large enough and aligned for both kinds, which are plain data.
        unsafe {
            match address {
                SocketAddr::V4(address) => {
                    out.len = size_of::<libc::sockaddr_in>() as u32;
                    place.cast::<libc::sockaddr_in>().write(libc::sockaddr_in {
                        sin_family: libc::AF_INET as libc::sa_family_t,
                        sin_port: address.port().to_be(),
                        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
                        sin_zero: [0; 8],
                    });
                }
                SocketAddr::V6(address) => {
                    out.len = size_of::<libc::sockaddr_in6>() as u32;
                    place.cast::<libc::sockaddr_in6>().write(libc::sockaddr_in6 {
                        sin6_family: libc::AF_INET6 as libc::sa_family_t,
                        sin6_port: address.port().to_be(),
                        sin6_flowinfo: address.flowinfo(),
                        sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                        sin6_scope_id: address.scope_id(),
                    });
                }
            }
        }
        out
    }
}
