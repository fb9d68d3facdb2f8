//! Addresses as texts: "1.2.3.4:80", "[::1]:80", "unix:/path", "unix:@name".

use super::errno_of;
use crate::runtime::Errno;
use socket2::SockAddr;
use std::ffi::CString;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

const UNIX: &[u8] = b"unix:";

/// The longest name of a Unix socket: the address's room. A path may do without the NUL behind it; an abstract name has one before it,
/// for its '@'.
const LONGEST: usize = size_of::<libc::sockaddr_un>() - NAME_AT;

/// Where it is in the address.
const NAME_AT: usize = std::mem::offset_of!(libc::sockaddr_un, sun_path);

/// The address that a text stands for. A text without a port gets `port`.
pub(crate) fn parse(text: &[u8], port: u16) -> Result<SockAddr, Errno> {
    if let Some(path) = text.strip_prefix(UNIX) {
        return unix(path);
    }
    let text = std::str::from_utf8(text).map_err(|_| libc::EINVAL)?;
    if let Some(address) = parse_ip(text, port) {
        return Ok(address?.into());
    }
    let (ip, port) = text.rsplit_once(':').ok_or(libc::EINVAL)?;
    // An IPv6 address has colons of its own, so with a port it needs the brackets.
    if ip.contains(':') && !ip.starts_with('[') {
        return Err(libc::EINVAL);
    }
    let port = number(port).ok_or(libc::EINVAL)?;
    Ok(parse_ip(ip, port).ok_or(libc::EINVAL)??.into())
}

/// A number without a sign.
fn number<T: std::str::FromStr>(digits: &str) -> Option<T> {
    if digits.starts_with('+') { None } else { digits.parse().ok() }
}

/// An address without a port. `None`: it is none; an error: its scope is none.
pub(crate) fn parse_ip(text: &str, port: u16) -> Option<Result<SocketAddr, Errno>> {
    let bare = text.strip_prefix('[').map_or(Some(text), |rest| rest.strip_suffix(']'))?;
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Some(Ok((ip, port).into()));
    }
    let (ip, scope) = bare.split_once('%').map_or((bare, None), |(ip, scope)| (ip, Some(scope)));
    let ip = ip.parse::<Ipv6Addr>().ok()?;
    Some(scope.map_or(Ok(0), scope_of).map(|scope| SocketAddrV6::new(ip, port, 0, scope).into()))
}

/// The number of an interface, which may be given as such.
fn scope_of(name: &str) -> Result<u32, Errno> {
    if let Some(scope) = number(name) {
        return Ok(scope);
    }
    // The kernel would look at what is before the colon, and take no notice of a port behind it.
    if name.contains(':') {
        return Err(libc::EINVAL);
    }
    let name = CString::new(name).map_err(|_| libc::EINVAL)?;
    // SAFETY: a text that ends with a NUL.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(libc::ENODEV),
        index => Ok(index),
    }
}

/// The address of a Unix socket: a path, or "@name" without a file.
pub(crate) fn unix(path: &[u8]) -> Result<SockAddr, Errno> {
    let is_abstract = path.first() == Some(&b'@');
    match path {
        [] | [b'@'] => return Err(libc::EINVAL),
        _ if path.len() > LONGEST => return Err(libc::ENAMETOOLONG),
        _ => {}
    }
    // SAFETY: the storage is all zeros and has room for any address; the name was compared to the room that is for it.
    let made = unsafe {
        SockAddr::try_init(|storage, len| {
            let address = storage.cast::<libc::sockaddr_un>();
            (*address).sun_family = libc::AF_UNIX as libc::sa_family_t;
            let name = (&raw mut (*address).sun_path).cast::<u8>();
            name.copy_from_nonoverlapping(path.as_ptr(), path.len());
            if is_abstract {
                name.write(0);
            }
            // With the NUL behind a path, where there is room for that.
            *len = (NAME_AT + (path.len() + usize::from(!is_abstract)).min(LONGEST)) as libc::socklen_t;
            Ok(())
        })
    };
    made.map(|((), address)| address).map_err(errno_of)
}

/// The text of an address, which `parse` understands, unless a Unix socket has no name, or a strange one.
pub(crate) fn text(address: &SockAddr) -> Result<Vec<u8>, Errno> {
    if let Some(address) = address.as_socket() {
        let mut text = String::new();
        let _ = write!(text, "{address}");
        return Ok(text.into_bytes());
    }
    if !address.is_unix() {
        return Err(libc::EAFNOSUPPORT);
    }
    // SAFETY: the address has its length of bytes, and begins with the family.
    let bytes = unsafe { std::slice::from_raw_parts(address.as_ptr().cast::<u8>(), address.len() as usize) };
    let mut text = UNIX.to_vec();
    match &bytes[size_of::<libc::sa_family_t>()..] {
        [] => {}
        [0, name @ ..] => {
            text.push(b'@');
            // A NUL would end a C string.
            text.extend(name.iter().map(|&byte| if byte == 0 { b'@' } else { byte }));
        }
        path => {
            if path.first() == Some(&b'@') {
                text.extend(b"./");
            }
            // Behind it there may be a NUL, or several.
            text.extend(path.iter().take_while(|&&byte| byte != 0));
        }
    }
    Ok(text)
}
