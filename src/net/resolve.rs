//! Names into addresses, by the C library's resolver: hosts files, DNS, and whatever the machine is configured for.

use super::address::parse_ip;
use crate::runtime::{Answer, OpName, PollContext, Question, Request, submit};
use std::ffi::{CStr, CString};
use std::fmt;
use std::future::Future;
use std::io::Error;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A positive errno value.
type Errno = i32;

/// Addresses of IPv4 only.
pub(crate) const V4: u32 = 1;
/// Addresses of IPv6 only.
pub(crate) const V6: u32 = 2;
/// Only what is an address already: nobody is asked.
pub(crate) const NUMERIC: u32 = 4;

/// What there is to do for a name.
pub(crate) enum Name {
    /// Nothing: it is an address, or cannot be a name.
    Known(Answer),
    Ask(Arc<Question>),
}

impl Name {
    pub(crate) fn new(host: &CStr, port: u16, flags: u32) -> Self {
        let family = match flags & (V4 | V6) {
            _ if flags & !(V4 | V6 | NUMERIC) != 0 => return Self::Known(Err(libc::EINVAL)),
            V4 => libc::AF_INET,
            V6 => libc::AF_INET6,
            _ => libc::AF_UNSPEC,
        };
        // In brackets it is an address only where a port may follow.
        let bare = host.to_str().ok().filter(|host| !host.starts_with('['));
        match bare.and_then(|host| parse_ip(host, port)) {
            Some(Ok(address)) if address.is_ipv4() && family == libc::AF_INET6 => Self::Known(Err(libc::ENOENT)),
            Some(Ok(address)) if address.is_ipv6() && family == libc::AF_INET => Self::Known(Err(libc::ENOENT)),
            Some(literal) => Self::Known(literal.map(|address| vec![address])),
            None if flags & NUMERIC != 0 => Self::Known(Err(libc::ENOENT)),
            None => {
                let host = CString::from(host);
                Self::Ask(Arc::new(Question::new(move || ask(&host, port, family))))
            }
        }
    }
}

/// The addresses of a host, with this port, best first. To be awaited inside a task. Dropping it gives the question up.
pub fn lookup(host: &str, port: u16) -> Lookup {
    Lookup(match CString::new(host).map(|host| Name::new(&host, port, 0)) {
        Ok(Name::Ask(question)) => Progress::Asks(question),
        Ok(Name::Known(answer)) => Progress::Known(answer),
        Err(_) => Progress::Known(Err(libc::EINVAL)),
    })
}

/// See [`lookup`]. Yields the addresses, or a positive errno value: `ENOENT` for a name that does not exist or has no
/// address, `EAGAIN` where servers do not answer now, `EIO` where they fail.
pub struct Lookup(Progress);

enum Progress {
    Known(Answer),
    Asks(Arc<Question>),
    Asked(OpName),
    Over,
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").finish_non_exhaustive()
    }
}

impl Lookup {
    fn poll_in(&mut self, cx: &PollContext) -> Poll<Answer> {
        if let Progress::Asks(question) = &self.0 {
            let asked = submit(cx, Request::Resolve(question.clone()), [None, None]);
            self.0 = match asked.map(OpName::parse) {
                Ok(Some(op)) => Progress::Asked(op),
                Ok(None) => Progress::Known(Err(libc::EBADF)),
                Err(errno) => Progress::Known(Err(errno)),
            };
        }
        match std::mem::replace(&mut self.0, Progress::Over) {
            Progress::Known(answer) => Poll::Ready(answer),
            Progress::Asked(op) => {
                let polled = op.poll_answer(cx);
                if polled.is_pending() {
                    self.0 = Progress::Asked(op);
                }
                polled
            }
            Progress::Asks(_) | Progress::Over => Poll::Ready(Err(libc::EINVAL)),
        }
    }
}

impl Future for Lookup {
    type Output = Result<Vec<SocketAddr>, Errno>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        PollContext::within(context, |cx| self.poll_in(cx)).unwrap_or(Poll::Ready(Err(libc::EPERM)))
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        if let Progress::Asked(op) = self.0 {
            op.discard();
        }
    }
}

/// Asks, as long as that takes.
fn ask(host: &CStr, port: u16, family: i32) -> Answer {
    // SAFETY: all zeros are valid hints: null pointers and numbers.
    let mut hints = unsafe { std::mem::zeroed::<libc::addrinfo>() };
    hints.ai_family = family;
    // One entry an address, not one for each kind of socket.
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut list = Found(std::ptr::null_mut());
    loop {
        // SAFETY: the name and the hints live during the call, which writes the list's head if it succeeds.
        match unsafe { libc::getaddrinfo(host.as_ptr(), std::ptr::null(), &hints, &mut list.0) } {
            0 => break,
            libc::EAI_SYSTEM => match Error::last_os_error().raw_os_error() {
                Some(libc::EINTR) => {}
                errno => return Err(errno.filter(|&errno| errno > 0).unwrap_or(libc::EIO)),
            },
            code => return Err(errno_of(code)),
        }
    }
    let addresses: Vec<_> = list.addresses(port).collect();
    if addresses.is_empty() { Err(libc::ENOENT) } else { Ok(addresses) }
}

/// What getaddrinfo says, in the words of the library.
fn errno_of(code: i32) -> Errno {
    // In glibc beside those of POSIX.
    const EAI_ADDRFAMILY: i32 = -9;
    match code {
        libc::EAI_NONAME | libc::EAI_NODATA | EAI_ADDRFAMILY => libc::ENOENT,
        libc::EAI_AGAIN => libc::EAGAIN,
        libc::EAI_MEMORY => libc::ENOMEM,
        libc::EAI_FAMILY | libc::EAI_SERVICE | libc::EAI_SOCKTYPE | libc::EAI_BADFLAGS => libc::EINVAL,
        _ => libc::EIO,
    }
}

/// A list that getaddrinfo made.
struct Found(*mut libc::addrinfo);

impl Found {
    fn addresses(&self, port: u16) -> impl Iterator<Item = SocketAddr> {
        // SAFETY: the list lives as long as this, and its links end in null.
        let first = unsafe { self.0.as_ref() };
        // SAFETY: as above.
        let entries = std::iter::successors(first, |entry| unsafe { entry.ai_next.as_ref() });
        entries.filter_map(move |entry| address_of(entry, port))
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: getaddrinfo made the list, and gave it to us.
            unsafe { libc::freeaddrinfo(self.0) };
        }
    }
}

fn address_of(entry: &libc::addrinfo, port: u16) -> Option<SocketAddr> {
    if entry.ai_addr.is_null() {
        return None;
    }
    match entry.ai_family {
        libc::AF_INET => {
            // SAFETY: the address is of the family that the entry says.
            let found = unsafe { entry.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            let address = Ipv4Addr::from(u32::from_be(found.sin_addr.s_addr));
            Some(SocketAddrV4::new(address, port).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let found = unsafe { entry.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            let address = Ipv6Addr::from(found.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(address, port, found.sin6_flowinfo, found.sin6_scope_id).into())
        }
        _ => None,
    }
}
