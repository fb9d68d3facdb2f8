//! The nouns address and TCP.

use super::context::rt_cx;
use super::operation::{op_name, rt_op};
use super::readiness::rt_io;
use super::runtime::rt_runtime;
use super::task::rt_task;
use super::{Errno, check, context, copy_text, guarded, init_sized, io_name, not_null, polled, runtime_ref, sized};
use crate::net::{self, address, tcp};
use crate::runtime::{Made, NEVER, OpName, submit_errand};
use socket2::SockAddr;
use std::ffi::{CStr, c_char};
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::task::{Poll, ready};

/// A socket address of any family: `len` bytes of `storage` are a `struct sockaddr`, to be passed to system calls as such. A
/// `len` of 0 is no address.
///
/// Methods: `rt_addr_parse`, `rt_addr_text`, `rt_addr_port`. Of a socket: `rt_local_addr`, `rt_peer_addr`.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_addr {
    /// How many bytes of `storage` are the address.
    pub len: u32,
    /// Zero.
    pub reserved: u32,
    /// The address.
    pub storage: [u64; 16],
}

impl From<&SockAddr> for rt_addr {
    fn from(address: &SockAddr) -> Self {
        let mut out = Self { len: 0, reserved: 0, storage: [0; 16] };
        let len = (address.len() as usize).min(size_of_val(&out.storage));
        // SAFETY: the address has its length of bytes, and the room was compared.
        unsafe { std::ptr::copy_nonoverlapping(address.as_ptr().cast::<u8>(), out.storage.as_mut_ptr().cast(), len) };
        out.set_len(address.len());
        out
    }
}

impl From<SocketAddr> for rt_addr {
    fn from(address: SocketAddr) -> Self {
        Self::from(&SockAddr::from(address))
    }
}

impl rt_addr {
    /// What the storage begins with.
    fn family(&self) -> i32 {
        // SAFETY: the storage is larger, aligned for it, and any bytes are a number.
        unsafe { self.storage.as_ptr().cast::<libc::sa_family_t>().read() }.into()
    }

    /// As long as the system says that what it put here is. It counts a NUL behind the path of a Unix socket also where there is
    /// no room for one, and takes no address as long as that.
    pub(super) fn set_len(&mut self, len: u32) {
        if len == 0 {
            // Nothing was put there: there is no family to look at.
            (self.len, self.reserved) = (0, 0);
            return;
        }
        let room = match self.family() {
            libc::AF_UNIX => size_of::<libc::sockaddr_un>(),
            _ => size_of_val(&self.storage),
        };
        (self.len, self.reserved) = (len.min(room as u32), 0);
    }

    /// How many bytes an address of its family has at least.
    fn least_len(&self) -> usize {
        match self.family() {
            libc::AF_INET => size_of::<libc::sockaddr_in>(),
            // Once there was no scope in it, and the system still takes one without.
            libc::AF_INET6 => std::mem::offset_of!(libc::sockaddr_in6, sin6_scope_id),
            _ => size_of::<libc::sa_family_t>(),
        }
    }

    fn to_socket_address(self) -> Result<SockAddr, Errno> {
        let len = self.len as usize;
        if len < self.least_len() || len > size_of_val(&self.storage) {
            return Err(libc::EINVAL);
        }
        // SAFETY: the storage is as large as ours, and all zeros but for the bytes that are copied.
        let made = unsafe {
            SockAddr::try_init(|storage, room| {
                std::ptr::copy_nonoverlapping(self.storage.as_ptr().cast::<u8>(), storage.cast(), len);
                *room = self.len;
                Ok(())
            })
        };
        made.map(|((), address)| address).map_err(|_| libc::EINVAL)
    }
}

/// # Safety
/// `address` is null or readable.
pub(super) unsafe fn read_address(address: *const rt_addr) -> Result<SockAddr, Errno> {
    not_null(address)?;
    // SAFETY: the caller says so.
    unsafe { *address }.to_socket_address()
}

/// Makes an address of a text: "1.2.3.4", "1.2.3.4:80", "::1", "[::1]:80", "[fe80::1%eth0]:80", "unix:/path", or "unix:@name" for the
/// abstract name of a Unix socket. `port` is for a text without one. No host is looked up: that is `rt_poll_resolve`.
///
/// Returns 0 and the address in `*out`; `-EINVAL` for NULL, or a text that is none of these; `-ENODEV` for an interface that does
/// not exist; `-ENAMETOOLONG` for more than 108 bytes of a path, or 107 of a name behind the '@'. On failure `out->len` is 0. Any
/// thread. Does not block.
///
/// # Safety
/// `text` is a string; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_addr_parse(text: *const c_char, port: u16, out: *mut rt_addr) -> i64 {
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so, and so below.
        unsafe { (*out).len = 0 };
        not_null(text)?;
        // SAFETY: as above.
        let text = unsafe { CStr::from_ptr(text) };
        let parsed = address::parse(text.to_bytes(), port)?;
        // SAFETY: as above.
        unsafe { out.write((&parsed).into()) };
        Ok(0)
    })
}

/// The text of an address, which `rt_addr_parse` understands: "1.2.3.4:80", "[::1]:80", "[fe80::1%2]:80", "unix:/path",
/// "unix:@name". A Unix socket without a name is "unix:", and a NUL in an abstract name is shown as '@'.
///
/// Writes at most `len` bytes with the NUL to `out`, and returns the length of the whole text without it; `-EAFNOSUPPORT` for
/// other families; `-EINVAL` for NULL, or what is no address. Any thread. Does not block.
///
/// # Safety
/// `addr` is readable; `out` is NULL or has `len` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_addr_text(addr: *const rt_addr, out: *mut c_char, len: usize) -> i64 {
    guarded(|| {
        // SAFETY: the caller says so, and so below.
        let text = address::text(&unsafe { read_address(addr) }?)?;
        // SAFETY: as above.
        unsafe { copy_text(&text, out, len) }
    })
}

/// The port of an IPv4 or IPv6 address.
///
/// Returns it; `-EAFNOSUPPORT` for other families; `-EINVAL` for NULL, or what is no address. Any thread. Does not block.
///
/// # Safety
/// `addr` is readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_addr_port(addr: *const rt_addr) -> i64 {
    guarded(|| {
        // SAFETY: the caller says so.
        let address = unsafe { read_address(addr) }?.as_socket().ok_or(libc::EAFNOSUPPORT)?;
        Ok(address.port().into())
    })
}

/// Writes what a socket says of itself.
///
/// # Safety
/// `out` is null or writable.
unsafe fn tell(io: rt_io, out: *mut rt_addr, ask: fn(BorrowedFd<'_>) -> Result<SockAddr, Errno>) -> i64 {
    guarded(|| {
        not_null(out)?;
        let address = io_name(io)?.with_fd(ask)??;
        // SAFETY: the caller says so.
        unsafe { out.write((&address).into()) };
        Ok(0)
    })
}

/// Where a socket is: the address, and the port that the kernel chose for a port of 0.
///
/// Returns 0 and the address in `*out`; `-EBADF`; `-ENOTSOCK`; `-EINVAL` for NULL. Any thread. Does not block.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_local_addr(io: rt_io, out: *mut rt_addr) -> i64 {
    // SAFETY: the caller says so.
    unsafe { tell(io, out, net::local) }
}

/// Where a socket's peer is. As `rt_local_addr`; also `-ENOTCONN`.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_peer_addr(io: rt_io, out: *mut rt_addr) -> i64 {
    // SAFETY: the caller says so.
    unsafe { tell(io, out, net::peer) }
}

/// For `rt_tcp_opts::flags`: small writes may wait for each other, as TCP would have it. Without it TCP_NODELAY is set.
pub const RT_TCP_NODELAY_OFF: u32 = 1;
/// For `rt_tcp_opts::flags`: several sockets may listen at the address (SO_REUSEPORT), and share its connections.
pub const RT_TCP_REUSEPORT: u32 = 1 << 1;
/// For `rt_tcp_opts::flags`: a listener of IPv6 takes no connections of IPv4.
pub const RT_TCP_V6ONLY: u32 = 1 << 2;
/// For `rt_tcp_opts::flags`: a connection is accepted when its first bytes came, or after some seconds.
pub const RT_TCP_DEFER_ACCEPT: u32 = 1 << 3;

/// How TCP sockets are made. Set by `rt_tcp_opts_init`; zero means the default in every field.
///
/// Accepted connections inherit TCP_NODELAY, the keepalive and the buffers of their listener.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_tcp_opts {
    /// The size of this struct as the program knows it.
    pub size: u32,
    /// `RT_TCP_NODELAY_OFF`, `RT_TCP_REUSEPORT`, `RT_TCP_V6ONLY`, `RT_TCP_DEFER_ACCEPT`.
    pub flags: u32,
    /// How many connections may wait to be accepted. Default: 4096. The system has a limit of its own.
    pub backlog: u32,
    /// The peer is asked whether it is still there after so many seconds of silence, at most 32,767. Any of these three turns that
    /// on; the others are the system's then. Default: off.
    pub keepalive_s: u32,
    /// Seconds between such questions, at most 32,767.
    pub keepalive_interval_s: u32,
    /// How many stay unanswered before the connection is given up, at most 127.
    pub keepalive_count: u32,
    /// SO_SNDBUF, in bytes. Default: the system adapts it.
    pub send_buffer: u32,
    /// SO_RCVBUF, in bytes. Default: the system adapts it.
    pub receive_buffer: u32,
    /// To connect: when the attempt ends in `-ETIME`. 0 and `RT_NEVER`: when the system gives up.
    pub deadline: u64,
    /// To connect: the address that connections come from, of IPv4 or IPv6; only peers of that family are tried. Its port may be 0.
    /// Copied. May be NULL.
    pub local: *const rt_addr,
}

/// Options may be absent.
///
/// # Safety
/// As for `sized`.
pub(super) unsafe fn sized_or_default<T: Copy>(opts: *const T) -> Result<T, Errno> {
    if opts.is_null() {
        // SAFETY: the caller says that all zeros are a valid `T`.
        return Ok(unsafe { std::mem::zeroed() });
    }
    // SAFETY: the caller says so.
    unsafe { sized(opts) }
}

/// A number that the system takes as an `int`.
pub(super) fn whole(number: u32) -> Result<u32, Errno> {
    i32::try_from(number).map(|_| number).map_err(|_| libc::EINVAL)
}

/// A number, or what stands for 0.
pub(super) fn or_default<T: Default + PartialEq>(number: T, default: T) -> T {
    if number == T::default() { default } else { number }
}

/// What the kernel takes at most of a keepalive: two times in seconds, and a count.
const MOST_KEEPALIVE: [u32; 3] = [32767, 32767, 127];

/// # Safety
/// `opts` is null, or as its `size` says, with a local address that is null or readable.
unsafe fn tcp_options(opts: *const rt_tcp_opts) -> Result<tcp::Options, Errno> {
    // SAFETY: the caller says so, and so below.
    let opts = unsafe { sized_or_default(opts) }?;
    if opts.flags & !(RT_TCP_NODELAY_OFF | RT_TCP_REUSEPORT | RT_TCP_V6ONLY | RT_TCP_DEFER_ACCEPT) != 0 {
        return Err(libc::EINVAL);
    }
    let keepalive = [opts.keepalive_s, opts.keepalive_interval_s, opts.keepalive_count];
    if keepalive.iter().zip(MOST_KEEPALIVE).any(|(&asked, most)| asked > most) {
        return Err(libc::EINVAL);
    }
    let local = match opts.local.is_null() {
        true => None,
        // SAFETY: as above.
        false => Some(unsafe { read_address(opts.local) }?.as_socket().ok_or(libc::EAFNOSUPPORT)?),
    };
    let default = tcp::Options::default();
    Ok(tcp::Options {
        no_delay: opts.flags & RT_TCP_NODELAY_OFF == 0,
        reuse_port: opts.flags & RT_TCP_REUSEPORT != 0,
        v6_only: opts.flags & RT_TCP_V6ONLY != 0,
        defer_accept: opts.flags & RT_TCP_DEFER_ACCEPT != 0,
        backlog: or_default(whole(opts.backlog)? as i32, default.backlog),
        keepalive,
        send_buffer: whole(opts.send_buffer)?,
        receive_buffer: whole(opts.receive_buffer)?,
        local,
        deadline: or_default(opts.deadline, NEVER),
    })
}

/// A host's name or address. `None` for null.
///
/// # Safety
/// `host` is null or a string, which outlives the result.
pub(super) unsafe fn host_text<'a>(host: *const c_char) -> Result<Option<&'a str>, Errno> {
    if host.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller says so.
    unsafe { CStr::from_ptr(host) }.to_str().map(Some).map_err(|_| libc::EINVAL)
}

/// Writes the descriptor that was made, or 0.
///
/// # Safety
/// `out` is null or writable.
pub(super) unsafe fn give(out: *mut rt_io, make: impl FnOnce() -> Made) -> i64 {
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so, and so below.
        unsafe { out.write(0) };
        let io = make()?;
        // SAFETY: as above.
        unsafe { out.write(io.into_raw()) };
        Ok(0)
    })
}

/// Spawns a task that makes a descriptor.
///
/// # Safety
/// `out` is null or writable.
pub(super) unsafe fn spawn_making<F>(rt: rt_runtime, out: *mut rt_task, begin: impl FnOnce() -> Result<F, Errno>) -> i64
where
    F: Future<Output = Made> + Send + 'static,
{
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so, and so below.
        unsafe { out.write(0) };
        let runtime = runtime_ref(rt)?;
        // SAFETY: as above. Written before the task can run.
        let spawned = runtime.spawn(begin()?, None, true, |name| unsafe { out.write(name.raw()) });
        spawned.map_err(|(error, _)| error.errno())?;
        Ok(0)
    })
}

/// Has a descriptor made by an operation, which the slot keeps.
///
/// # Safety
/// `cx` is the context of this poll; `slot` and `out` are null or writable.
pub(super) unsafe fn poll_making<F>(
    cx: *mut rt_cx,
    slot: *mut rt_op,
    out: *mut rt_io,
    begin: impl FnOnce(rt_runtime) -> Result<F, Errno>,
) -> i64
where
    F: Future<Output = Made> + Send + 'static,
{
    polled(|| {
        check!(not_null(slot).and(not_null(out)));
        // SAFETY: the caller says so, and so below.
        let cx = check!(unsafe { context(cx) });
        // SAFETY: as above.
        let op = match unsafe { slot.read() } {
            0 => check!(begin(cx.runtime()).and_then(|work| submit_errand(cx, work))),
            op => op,
        };
        let polled = match op_name(op) {
            Ok(name) => name.poll_made(cx),
            Err(errno) => Poll::Ready(Err(errno)),
        };
        // An operation of somebody else's stays in its slot.
        let is_spent = !OpName::parse(op).is_some_and(OpName::is_live);
        // SAFETY: as above.
        unsafe { slot.write(if is_spent { 0 } else { op }) };
        let outcome = check!(ready!(polled));
        if outcome > 0 {
            // SAFETY: as above.
            unsafe { out.write(outcome as rt_io) };
        }
        Poll::Ready(Ok(outcome.min(0)))
    })
}

/// Sets every field to its default. Call it as `rt_tcp_opts_init(&opts, sizeof opts)`.
///
/// Returns 0, or `-EINVAL` for NULL or a size that is too small. Any thread.
///
/// # Safety
/// `opts` has `size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_tcp_opts_init(opts: *mut rt_tcp_opts, size: usize) -> i64 {
    // SAFETY: the caller says so.
    guarded(|| unsafe { init_sized(opts, size) })
}

/// Listens for TCP connections at an address of this machine: `host` is an IPv4 or IPv6 address (no name), or NULL for all of them, of
/// both families, or of IPv4 only where the system has no IPv6. With a `port` of 0 the kernel chooses one: see `rt_local_addr`. `opts`
/// may be NULL. An address that another listener just left can be had at once (SO_REUSEADDR).
///
/// Returns 0 and the listener in `*out`, which the caller must close: non-blocking, close-on-exec, for `RT_READABLE | RT_WRITABLE`,
/// owned. On failure `*out` is 0: `-EADDRINUSE`, `-EADDRNOTAVAIL`, `-EACCES` and others of the system's; `-EINVAL` for NULL, for
/// what is no address, for options out of range; `-ENODEV` for the scope of an address; `-EBADF`; `-ENOMEM`. Any thread.
/// Does not block.
///
/// # Safety
/// `host` is NULL or a string; `opts` is NULL or as its `size` says; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_tcp_listen(
    rt: rt_runtime,
    host: *const c_char,
    port: u16,
    opts: *const rt_tcp_opts,
    out: *mut rt_io,
) -> i64 {
    let listen = || {
        // SAFETY: the caller says so, and so below.
        let options = unsafe { tcp_options(opts) }?;
        // SAFETY: as above.
        tcp::listen(rt, unsafe { host_text(host) }?, port, &options)
    };
    // SAFETY: the caller says so.
    unsafe { give(out, listen) }
}

/// Connects to a host, by name or address: spawns a task that looks the name up, and tries its addresses, IPv4 and IPv6 in turns,
/// each 250 ms after the one before, or at once when one fails. The first that connects wins, and the others are closed. `opts` may
/// be NULL. This is for threads; a task is served better by `rt_poll_tcp_connect`.
///
/// Returns 0, and the task in `*out`, which the caller must join or detach. Its join yields the connection, an `rt_io`: non-blocking,
/// close-on-exec, for `RT_READABLE | RT_WRITABLE`, owned; or the error of the attempt that failed last: `-ECONNREFUSED`,
/// `-ETIMEDOUT`, `-EHOSTUNREACH` and others of the system's; `-EAFNOSUPPORT` when no address is of the local address's family;
/// those of `rt_poll_resolve` for the name; `-ETIME` at the deadline; `-ESHUTDOWN`. `rt_abort` ends the attempt. A connection that nobody takes,
/// as after `rt_detach`, is closed.
///
/// On failure `*out` is 0: `-EINVAL` for NULL, for a name that is empty or not UTF-8, for options out of range; `-EAFNOSUPPORT` for a
/// local address of another family; `-EBADF`; `-ESHUTDOWN`; `-ENOMEM`. Any thread. Does not block.
///
/// # Safety
/// `host` is a string; `opts` is NULL or as its `size` says; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_tcp_connect(
    rt: rt_runtime,
    host: *const c_char,
    port: u16,
    opts: *const rt_tcp_opts,
    out: *mut rt_task,
) -> i64 {
    // SAFETY: the caller says so, and so below.
    let connect = || unsafe { connecting(rt, host, port, opts) };
    // SAFETY: as above.
    unsafe { spawn_making(rt, out, connect) }
}

/// # Safety
/// As for `rt_tcp_connect`.
unsafe fn connecting(
    rt: rt_runtime,
    host: *const c_char,
    port: u16,
    opts: *const rt_tcp_opts,
) -> Result<impl Future<Output = Made> + Send + 'static, Errno> {
    // SAFETY: the caller says so, and so below.
    let options = unsafe { tcp_options(opts) }?;
    // SAFETY: as above.
    let host = unsafe { host_text(host) }?.filter(|host| !host.is_empty()).ok_or(libc::EINVAL)?;
    Ok(tcp::connect(rt, host.to_owned(), port, options))
}

/// Connects to a host, as `rt_tcp_connect` does, for the task that is polled: on its worker, and with nothing to clean up.
///
/// `*slot` is 0 in the first call and again when this is ready; in between it is an operation of the task, which `rt_cancel` and
/// `rt_op_deadline` accept. A state that is dropped needs to do nothing about it: the attempt ends, and what it made is closed. `host`
/// and `opts` are copied by the first call, and may be NULL in later ones.
///
/// Returns 0 and the connection in `*out`, which the caller must close: as the join of `rt_tcp_connect` yields it. `RT_PENDING`. Errors
/// are those of `rt_tcp_connect` and of its join; `-ECANCELED` after a cancel, `-ETIME` at either deadline; `-EINVAL` also for a
/// `*slot` with another operation, `-EBADF` for a stale one; `-EPERM` outside of tasks. In a poll. Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `slot` and `out` are writable; the others as for `rt_tcp_connect`, in the first call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_tcp_connect(
    cx: *mut rt_cx,
    slot: *mut rt_op,
    host: *const c_char,
    port: u16,
    opts: *const rt_tcp_opts,
    out: *mut rt_io,
) -> i64 {
    // SAFETY: the caller says so, and so below.
    unsafe { poll_making(cx, slot, out, |rt| connecting(rt, host, port, opts)) }
}
