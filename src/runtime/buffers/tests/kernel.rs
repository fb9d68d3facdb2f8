//! The real kernel fills buffers.

use super::*;
use io_uring::{IoUring, cqueue, opcode, types};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

const GROUP: u16 = 7;

#[test]
fn a_multishot_receive_fills_what_it_was_given_until_nothing_is_left() {
    let mut pool = Pool::new(2);
    let mut ring = match IoUring::new(8) {
        Ok(ring) => ring,
        Err(error) => return println!("skipped: no io_uring here: {error}"),
    };
    let (base, entries) = pool.buffers.ring_memory().expect("memory");
    // SAFETY: the pool, and with it this memory, was made before the ring and is dropped after it.
    if let Err(error) = unsafe { ring.submitter().register_buf_ring_with_flags(base as u64, entries, GROUP, 0) } {
        return println!("skipped: no provided-buffer rings here: {error}");
    }
    assert!(pool.buffers.refill());

    let (mut peer, socket) = UnixStream::pair().expect("sockets");
    let receive = opcode::RecvMulti::new(types::Fd(socket.as_raw_fd()), GROUP).build();
    let mut leases = Vec::new();
    for round in 0..3u8 {
        // SAFETY: the socket is open until the ring has ended the operation, which the loop waits for.
        unsafe { ring.submission().push(&receive) }.expect("room");
        for n in 0..2 {
            peer.write_all(&[round, n]).expect("room");
            ring.submit_and_wait(1).expect("a completion");
            let completion = ring.completion().next().expect("a completion");
            if completion.result() == -libc::EINVAL {
                return println!("skipped: no multishot receive here");
            }
            assert_eq!(completion.result(), 2);
            let number = cqueue::buffer_select(completion.flags()).expect("a buffer");
            let lease = pool.buffers.filled(number, 2, n.into()).expect("the kernel had it");
            // SAFETY: a live lease of two bytes.
            assert_eq!(unsafe { lease.bytes().0.cast::<[u8; 2]>().read() }, [round, n]);
            leases.push(lease.hand_out().lease);
        }
        assert_eq!(pool.buffers.at_hand(), 0);
        peer.write_all(b"more").expect("room");
        ring.submit_and_wait(1).expect("a completion");
        let completion = ring.completion().next().expect("a completion");
        assert_eq!(completion.result(), -libc::ENOBUFS);
        assert!(!cqueue::more(completion.flags()));
        leases.drain(..).for_each(|lease| assert_eq!(release(lease), Ok(())));
        assert!(pool.buffers.collect(|_| {}) && pool.buffers.refill());
        pool.buffers.used.iter().for_each(|buffer| assert_eq!(buffer.place, Place::Kernel));
        std::io::Read::read_exact(&mut &socket, &mut [0; 4]).expect("what did not fit");
    }
}
