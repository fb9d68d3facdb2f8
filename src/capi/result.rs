//! Results, and what they are called.

use std::ffi::{CStr, c_char};

/// What an `rt_poll_*` call returns when it is not ready: the task that called it will be woken. No other call returns it,
/// and no error has this value.
pub const RT_PENDING: i64 = -4096;

/// A deadline, or a timeout, that never comes.
pub const RT_NEVER: u64 = u64::MAX;

/// True for errors only: not for results, and not for `RT_PENDING`.
///
/// Any thread; also in signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn rt_failed(result: i64) -> bool {
    result < 0 && result != RT_PENDING
}

/// What a result means, in words that begin with the error's name. The text is constant and never freed.
///
/// Knows every value: results that are no errors, `RT_PENDING`, the library's own codes, and those of the system.
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn rt_strerror(result: i64) -> *const c_char {
    if result >= 0 {
        return c"success".as_ptr();
    }
    if result == RT_PENDING {
        return c"pending: the task will be woken".as_ptr();
    }
    let errno = i32::try_from(result.saturating_neg()).unwrap_or(0);
    match ERRORS.binary_search_by_key(&errno, |&(known, _)| known) {
        Ok(at) => ERRORS[at].1.as_ptr(),
        Err(_) => c"unknown error".as_ptr(),
    }
}

/// The library's version, such as "0.1.0". The text is constant.
///
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn rt_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Sorted by number.
static ERRORS: &[(i32, &CStr)] = &[
    (libc::EPERM, c"EPERM: not from this thread, context or process, or not for this kind of descriptor"),
    (libc::ENOENT, c"ENOENT: does not exist"),
    (libc::ESRCH, c"ESRCH: no such process"),
    (libc::EINTR, c"EINTR: interrupted by a signal"),
    (libc::EIO, c"EIO: input or output failed"),
    (libc::ENXIO, c"ENXIO: no such device or address"),
    (libc::E2BIG, c"E2BIG: too long"),
    (libc::ENOEXEC, c"ENOEXEC"),
    (libc::EBADF, c"EBADF: the handle is stale or was never valid, or the descriptor is closed"),
    (libc::ECHILD, c"ECHILD: no such child"),
    (libc::EAGAIN, c"EAGAIN: not now; try again"),
    (libc::ENOMEM, c"ENOMEM: out of memory"),
    (libc::EACCES, c"EACCES: permission denied"),
    (libc::EFAULT, c"EFAULT: a pointer is not valid"),
    (libc::ENOTBLK, c"ENOTBLK"),
    (libc::EBUSY, c"EBUSY: in use"),
    (libc::EEXIST, c"EEXIST: registered already, or exists already"),
    (libc::EXDEV, c"EXDEV: crosses file systems"),
    (libc::ENODEV, c"ENODEV: no such device"),
    (libc::ENOTDIR, c"ENOTDIR: not a directory"),
    (libc::EISDIR, c"EISDIR: is a directory"),
    (libc::EINVAL, c"EINVAL: an argument is not valid"),
    (libc::ENFILE, c"ENFILE: the system has too many descriptors"),
    (libc::EMFILE, c"EMFILE: the process has too many descriptors"),
    (libc::ENOTTY, c"ENOTTY: not for this kind of descriptor"),
    (libc::ETXTBSY, c"ETXTBSY: the program is being run"),
    (libc::EFBIG, c"EFBIG: the file would be too large"),
    (libc::ENOSPC, c"ENOSPC: no space, or no quota, left"),
    (libc::ESPIPE, c"ESPIPE: cannot seek"),
    (libc::EROFS, c"EROFS: the file system is read-only"),
    (libc::EMLINK, c"EMLINK"),
    (libc::EPIPE, c"EPIPE: the other side reads no more"),
    (libc::EDOM, c"EDOM: outside of the domain"),
    (libc::ERANGE, c"ERANGE: out of range"),
    (libc::EDEADLK, c"EDEADLK: the call would wait for its own caller"),
    (libc::ENAMETOOLONG, c"ENAMETOOLONG: the name is too long"),
    (libc::ENOLCK, c"ENOLCK"),
    (libc::ENOSYS, c"ENOSYS: not offered by this system or this version"),
    (libc::ENOTEMPTY, c"ENOTEMPTY: the directory is not empty"),
    (libc::ELOOP, c"ELOOP: too many symbolic links"),
    (libc::ENOMSG, c"ENOMSG"),
    (libc::EIDRM, c"EIDRM"),
    (libc::ECHRNG, c"ECHRNG"),
    (libc::EL2NSYNC, c"EL2NSYNC"),
    (libc::EL3HLT, c"EL3HLT"),
    (libc::EL3RST, c"EL3RST"),
    (libc::ELNRNG, c"ELNRNG"),
    (libc::EUNATCH, c"EUNATCH"),
    (libc::ENOCSI, c"ENOCSI"),
    (libc::EL2HLT, c"EL2HLT"),
    (libc::EBADE, c"EBADE"),
    (libc::EBADR, c"EBADR"),
    (libc::EXFULL, c"EXFULL"),
    (libc::ENOANO, c"ENOANO"),
    (libc::EBADRQC, c"EBADRQC"),
    (libc::EBADSLT, c"EBADSLT"),
    (libc::EBFONT, c"EBFONT"),
    (libc::ENOSTR, c"ENOSTR"),
    (libc::ENODATA, c"ENODATA"),
    (libc::ETIME, c"ETIME: the deadline came first"),
    (libc::ENOSR, c"ENOSR"),
    (libc::ENONET, c"ENONET"),
    (libc::ENOPKG, c"ENOPKG"),
    (libc::EREMOTE, c"EREMOTE"),
    (libc::ENOLINK, c"ENOLINK"),
    (libc::EADV, c"EADV"),
    (libc::ESRMNT, c"ESRMNT"),
    (libc::ECOMM, c"ECOMM"),
    (libc::EPROTO, c"EPROTO: a protocol error"),
    (libc::EMULTIHOP, c"EMULTIHOP"),
    (libc::EDOTDOT, c"EDOTDOT"),
    (libc::EBADMSG, c"EBADMSG"),
    (libc::EOVERFLOW, c"EOVERFLOW: too large for its type"),
    (libc::ENOTUNIQ, c"ENOTUNIQ"),
    (libc::EBADFD, c"EBADFD"),
    (libc::EREMCHG, c"EREMCHG"),
    (libc::ELIBACC, c"ELIBACC"),
    (libc::ELIBBAD, c"ELIBBAD"),
    (libc::ELIBSCN, c"ELIBSCN"),
    (libc::ELIBMAX, c"ELIBMAX"),
    (libc::ELIBEXEC, c"ELIBEXEC"),
    (libc::EILSEQ, c"EILSEQ"),
    (libc::ERESTART, c"ERESTART"),
    (libc::ESTRPIPE, c"ESTRPIPE"),
    (libc::EUSERS, c"EUSERS"),
    (libc::ENOTSOCK, c"ENOTSOCK: not a socket"),
    (libc::EDESTADDRREQ, c"EDESTADDRREQ: needs an address to send to"),
    (libc::EMSGSIZE, c"EMSGSIZE: the message is too long"),
    (libc::EPROTOTYPE, c"EPROTOTYPE"),
    (libc::ENOPROTOOPT, c"ENOPROTOOPT: no such option"),
    (libc::EPROTONOSUPPORT, c"EPROTONOSUPPORT: the protocol is not supported"),
    (libc::ESOCKTNOSUPPORT, c"ESOCKTNOSUPPORT"),
    (libc::EOPNOTSUPP, c"EOPNOTSUPP: not supported"),
    (libc::EPFNOSUPPORT, c"EPFNOSUPPORT"),
    (libc::EAFNOSUPPORT, c"EAFNOSUPPORT: the address family is not supported"),
    (libc::EADDRINUSE, c"EADDRINUSE: the address is in use"),
    (libc::EADDRNOTAVAIL, c"EADDRNOTAVAIL: the address is not of this machine"),
    (libc::ENETDOWN, c"ENETDOWN: the network is down"),
    (libc::ENETUNREACH, c"ENETUNREACH: no route to that network"),
    (libc::ENETRESET, c"ENETRESET"),
    (libc::ECONNABORTED, c"ECONNABORTED: the connection was given up"),
    (libc::ECONNRESET, c"ECONNRESET: the peer reset the connection"),
    (libc::ENOBUFS, c"ENOBUFS: the kernel is out of buffers"),
    (libc::EISCONN, c"EISCONN: connected already"),
    (libc::ENOTCONN, c"ENOTCONN: not connected"),
    (libc::ESHUTDOWN, c"ESHUTDOWN: the runtime is shutting down, or has shut down"),
    (libc::ETOOMANYREFS, c"ETOOMANYREFS"),
    (libc::ETIMEDOUT, c"ETIMEDOUT: the peer did not answer"),
    (libc::ECONNREFUSED, c"ECONNREFUSED: nobody listens there"),
    (libc::EHOSTDOWN, c"EHOSTDOWN: the host is down"),
    (libc::EHOSTUNREACH, c"EHOSTUNREACH: no route to that host"),
    (libc::EALREADY, c"EALREADY: has begun before"),
    (libc::EINPROGRESS, c"EINPROGRESS: has begun"),
    (libc::ESTALE, c"ESTALE: the file is stale"),
    (libc::EUCLEAN, c"EUCLEAN"),
    (libc::ENOTNAM, c"ENOTNAM"),
    (libc::ENAVAIL, c"ENAVAIL"),
    (libc::EISNAM, c"EISNAM"),
    (libc::EREMOTEIO, c"EREMOTEIO"),
    (libc::EDQUOT, c"EDQUOT: over the quota"),
    (libc::ENOMEDIUM, c"ENOMEDIUM"),
    (libc::EMEDIUMTYPE, c"EMEDIUMTYPE"),
    (libc::ECANCELED, c"ECANCELED: the task was cancelled"),
    (libc::ENOKEY, c"ENOKEY"),
    (libc::EKEYEXPIRED, c"EKEYEXPIRED"),
    (libc::EKEYREVOKED, c"EKEYREVOKED"),
    (libc::EKEYREJECTED, c"EKEYREJECTED"),
    (libc::EOWNERDEAD, c"EOWNERDEAD"),
    (libc::ENOTRECOVERABLE, c"ENOTRECOVERABLE: a panic inside the library or a task"),
    (libc::ERFKILL, c"ERFKILL"),
    (libc::EHWPOISON, c"EHWPOISON"),
];

#[cfg(all(test, not(loom)))]
mod tests {
    #[test]
    fn the_table_is_sorted() {
        assert!(super::ERRORS.is_sorted_by_key(|&(errno, _)| errno));
    }
}
