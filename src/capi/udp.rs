//! The noun UDP socket.

use super::context::rt_cx;
use super::io::buffer_is_valid;
use super::net::{give, host_text, read_address, rt_addr, sized_or_default, whole};
use super::readiness::rt_io;
use super::runtime::rt_runtime;
use super::{Errno, check, context, guarded, init_sized, io_name, not_null, polled};
use crate::net::udp::{self, Batch, Datagram};
use std::ffi::{c_char, c_void};
use std::task::{Poll, ready};

/// For `rt_udp_opts::flags`: several sockets may be bound to the address (SO_REUSEPORT), and share its datagrams.
pub const RT_UDP_REUSEPORT: u32 = 1;
/// For `rt_udp_opts::flags`: others may be bound to the address (SO_REUSEADDR), as for multicast.
pub const RT_UDP_REUSEADDR: u32 = 1 << 1;
/// For `rt_udp_opts::flags`: a socket of IPv6 takes no datagrams of IPv4.
pub const RT_UDP_V6ONLY: u32 = 1 << 2;
/// For `rt_udp_opts::flags`: datagrams may be sent to broadcast addresses.
pub const RT_UDP_BROADCAST: u32 = 1 << 3;
/// For `rt_udp_opts::flags`: datagrams of one sender may come together: see `rt_datagram::segment`. Buffers should have 64 KiB.
pub const RT_UDP_GRO: u32 = 1 << 4;

/// For `rt_datagram::flags`: the datagram was longer than the buffer, and its rest is lost.
pub const RT_DATAGRAM_TRUNCATED: u32 = 1;

/// How many datagrams `rt_poll_recv_many` and `rt_poll_send_many` move at most with one call.
pub const RT_DATAGRAMS_MAX: u32 = 64;

const _: () = assert!(RT_DATAGRAMS_MAX as usize == udp::MOST);

/// How UDP sockets are made. Set by `rt_udp_opts_init`; zero means the default in every field.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_udp_opts {
    /// The size of this struct as the program knows it.
    pub size: u32,
    /// `RT_UDP_REUSEPORT`, `RT_UDP_REUSEADDR`, `RT_UDP_V6ONLY`, `RT_UDP_BROADCAST`, `RT_UDP_GRO`.
    pub flags: u32,
    /// SO_SNDBUF, in bytes. Default: the system's.
    pub send_buffer: u32,
    /// SO_RCVBUF, in bytes: what comes beyond it is lost. Default: the system's.
    pub receive_buffer: u32,
}

/// One datagram of many.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_datagram {
    /// The bytes.
    pub buf: *mut c_void,
    /// To send: how many bytes. To receive: how many `buf` has room for, and afterwards how many came.
    pub len: usize,
    /// To send: where to, or a `len` of 0 for the socket's own peer. Received: where from.
    pub addr: rt_addr,
    /// Received: `RT_DATAGRAM_TRUNCATED`. To send: not looked at.
    pub flags: u32,
    /// To send: if it is not 0, `buf` is cut into datagrams of so many bytes, the last of which may be shorter. Received, with
    /// `RT_UDP_GRO`: if it is not 0, several datagrams of so many bytes came, the last of which may be shorter.
    pub segment: u32,
}

/// Sets every field to its default. Call it as `rt_udp_opts_init(&opts, sizeof opts)`.
///
/// Returns 0, or `-EINVAL` for NULL or a size that is too small. Any thread.
///
/// # Safety
/// `opts` has `size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_udp_opts_init(opts: *mut rt_udp_opts, size: usize) -> i64 {
    // SAFETY: the caller says so.
    guarded(|| unsafe { init_sized(opts, size) })
}

/// # Safety
/// `opts` is null, or as its `size` says.
unsafe fn udp_options(opts: *const rt_udp_opts) -> Result<udp::Options, Errno> {
    // SAFETY: the caller says so.
    let opts = unsafe { sized_or_default(opts) }?;
    let known = RT_UDP_REUSEPORT | RT_UDP_REUSEADDR | RT_UDP_V6ONLY | RT_UDP_BROADCAST | RT_UDP_GRO;
    if opts.flags & !known != 0 {
        return Err(libc::EINVAL);
    }
    Ok(udp::Options {
        reuse_port: opts.flags & RT_UDP_REUSEPORT != 0,
        reuse_address: opts.flags & RT_UDP_REUSEADDR != 0,
        v6_only: opts.flags & RT_UDP_V6ONLY != 0,
        broadcast: opts.flags & RT_UDP_BROADCAST != 0,
        gro: opts.flags & RT_UDP_GRO != 0,
        send_buffer: whole(opts.send_buffer)?,
        receive_buffer: whole(opts.receive_buffer)?,
    })
}

/// Makes a UDP socket at an address of this machine: `host` and `port` are as for `rt_tcp_listen`. `opts` may be NULL.
///
/// Returns 0 and the socket in `*out`, which the caller must close: non-blocking, close-on-exec, for `RT_READABLE | RT_WRITABLE`,
/// owned. Errors as for `rt_tcp_listen`; `-ENOPROTOOPT` for `RT_UDP_GRO` on a system without it (before Linux 5.0). Any thread. Does not
/// block.
///
/// # Safety
/// `host` is NULL or a string; `opts` is NULL or as its `size` says; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_udp_bind(
    rt: rt_runtime,
    host: *const c_char,
    port: u16,
    opts: *const rt_udp_opts,
    out: *mut rt_io,
) -> i64 {
    let bind = || {
        // SAFETY: the caller says so, and so below.
        let options = unsafe { udp_options(opts) }?;
        // SAFETY: as above.
        udp::bind(rt, unsafe { host_text(host) }?, port, &options)
    };
    // SAFETY: the caller says so.
    unsafe { give(out, bind) }
}

/// Gives a UDP socket a peer: datagrams without an address go to it, only its datagrams come, and what the network says of it is an
/// error of a later call. NULL takes the peer away, and leaves the socket its port. What comes meanwhile to one that the system chose
/// may be lost, as that is bound again.
///
/// Returns 0; the system's errors, such as `-ENETUNREACH`, or `-EADDRINUSE`: the peer is gone, and so is the port, to another socket;
/// `-EPROTOTYPE` for a socket without datagrams; `-ENOTSOCK`; `-EBADF`; `-EINVAL` for what is no address. Any thread. Does not block.
///
/// # Safety
/// `addr` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_udp_connect(io: rt_io, addr: *const rt_addr) -> i64 {
    guarded(|| {
        let address = match addr.is_null() {
            true => None,
            // SAFETY: the caller says so.
            false => Some(unsafe { read_address(addr) }?),
        };
        io_name(io)?.with_fd(|fd| udp::connect(fd, address.as_ref()))??;
        Ok(0)
    })
}

/// The datagrams of one call.
///
/// # Safety
/// `v` has `n` entries, as long as the result is used.
unsafe fn entries<'a>(v: *mut rt_datagram, n: u32) -> Result<&'a mut [rt_datagram], Errno> {
    not_null(v)?;
    if n == 0 {
        return Err(libc::EINVAL);
    }
    // SAFETY: the caller says so.
    let entries = unsafe { std::slice::from_raw_parts_mut(v, n.min(RT_DATAGRAMS_MAX) as usize) };
    entries.iter().try_for_each(|entry| buffer_is_valid(entry.buf, entry.len))?;
    Ok(entries)
}

/// Receives, in a poll, up to `n` datagrams with one call, as many as are there, from any socket with datagrams. Descriptors
/// that come along, to a Unix socket, are closed: those are for `rt_poll_recv_fds`.
///
/// Returns how many came, at least 1 and at most `RT_DATAGRAMS_MAX`: the first so many of `v` are filled in, and their `len` is to be set
/// anew before they are used again. `RT_PENDING`, after which nothing changed and the call is to be repeated. Errors: `-ECONNREFUSED` and
/// others that the network told a socket with a peer, else as for `rt_poll_read`; `-EINVAL` also for an `n` of 0. Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `v` has `n` entries, whose buffers are writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_recv_many(cx: *mut rt_cx, io: rt_io, v: *mut rt_datagram, n: u32) -> i64 {
    polled(|| {
        // SAFETY: the caller says so, and so below.
        let cx = check!(unsafe { context(cx) });
        let name = check!(io_name(io));
        // SAFETY: as above.
        let entries = check!(unsafe { entries(v, n) });
        let mut batch = Batch::new(entries.iter_mut().map(|entry| Datagram {
            buffer: entry.buf.cast(),
            len: entry.len,
            address: entry.addr.storage.as_mut_ptr().cast(),
            address_len: size_of_val(&entry.addr.storage) as u32,
            segment: 0,
        }));
        // SAFETY: as above.
        let came = check!(ready!(unsafe { batch.poll_recv(name, cx) }));
        for (at, entry) in entries[..came].iter_mut().enumerate() {
            let arrived = batch.arrived(at);
            entry.len = arrived.len;
            entry.addr.set_len(arrived.address_len);
            entry.flags = if arrived.truncated { RT_DATAGRAM_TRUNCATED } else { 0 };
            entry.segment = arrived.segment;
        }
        Poll::Ready(Ok(came as i64))
    })
}

/// Sends, in a poll, up to `n` datagrams with one call, in their order, as many as there is room for.
///
/// Returns how many went, at least 1 and at most `RT_DATAGRAMS_MAX`; `v` stays as it is. `RT_PENDING`: none went, and the call is to be
/// repeated. Errors are those of the first that did not go, once those before it went: `-EMSGSIZE` for one that is too long, or whose segments
/// are; `-EDESTADDRREQ` for one without an address; `-ECONNREFUSED` and others that the network told; else as for `rt_poll_write`.
/// `-EINVAL` also for an `n` of 0, an address that is none, a `segment` of more than 65535 bytes, more segments than the
/// kernel takes (64, or 128 since Linux 6.9), and any segments on a socket that is not UDP's, or a kernel without them (before Linux
/// 4.18); `-EIO` where the network cannot have its checksums made. Does not block.
///
/// # Safety
/// `cx` is the context of this poll; `v` has `n` entries, whose buffers are readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_send_many(cx: *mut rt_cx, io: rt_io, v: *mut rt_datagram, n: u32) -> i64 {
    polled(|| {
        // SAFETY: the caller says so, and so below.
        let cx = check!(unsafe { context(cx) });
        let name = check!(io_name(io));
        // SAFETY: as above.
        let entries = check!(unsafe { entries(v, n) });
        let is_sound = |entry: &rt_datagram| {
            entry.addr.len as usize <= size_of_val(&entry.addr.storage) && entry.segment <= u16::MAX.into()
        };
        if !entries.iter().all(is_sound) {
            return Poll::Ready(Err(libc::EINVAL));
        }
        let mut batch = Batch::new(entries.iter_mut().map(|entry| Datagram {
            buffer: entry.buf.cast(),
            len: entry.len,
            address: entry.addr.storage.as_mut_ptr().cast(),
            address_len: entry.addr.len,
            segment: entry.segment as u16,
        }));
        // SAFETY: as above.
        unsafe { batch.poll_send(name, cx) }.map(|sent| sent.map(|sent| sent as i64))
    })
}
