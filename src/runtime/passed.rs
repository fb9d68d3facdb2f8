//! Descriptors that come with messages.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The process that sent, as a descriptor, where the program asked the kernel for that (Linux 6.5).
const SCM_PIDFD: i32 = 4;

/// The descriptors that came with a message.
///
/// # Safety
/// The message was received, and its descriptors are nobody's yet.
pub(crate) unsafe fn take_fds(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the headers lie within the control data, which the kernel wrote; each descriptor is new and taken once.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(message);
        while let Some(header) = at.as_ref() {
            // No header of the kernel's is shorter than itself.
            let Some(len) = header.cmsg_len.checked_sub(libc::CMSG_LEN(0) as usize) else { break };
            let count = len / size_of::<RawFd>();
            let data = libc::CMSG_DATA(header).cast::<RawFd>();
            let came = (0..count).map(|at| data.add(at).read_unaligned());
            match (header.cmsg_level, header.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => fds.extend(came.map(|fd| OwnedFd::from_raw_fd(fd))),
                // Nobody would know of it, so it is closed. An errno where the kernel could make none.
                (libc::SOL_SOCKET, SCM_PIDFD) => {
                    came.filter(|&fd| fd >= 0).for_each(|fd| drop(OwnedFd::from_raw_fd(fd)))
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(message, header);
        }
    }
    fds
}
