//! Sets of readiness and of interest.

use super::{READ, WRITE};
use crate::readiness::ready::{Interest, Ready};

#[test]
fn every_epoll_mask_becomes_the_readiness_it_means() {
    let bits = [
        (libc::EPOLLIN, Ready::READABLE),
        (libc::EPOLLOUT, Ready::WRITABLE),
        (libc::EPOLLPRI, Ready::PRIORITY),
        (libc::EPOLLERR, Ready::ERROR),
        (libc::EPOLLRDHUP, Ready::READ_CLOSED),
        (libc::EPOLLHUP, Ready::READ_CLOSED | Ready::WRITE_CLOSED),
    ];
    let known = bits.iter().fold(0, |all, &(bit, _)| all | bit as u32);
    for mask in 0..1 << bits.len() {
        let chosen = || bits.iter().enumerate().filter(|(n, _)| mask & (1 << n) != 0).map(|(_, pair)| pair);
        let epoll = chosen().fold(0, |all, &(bit, _)| all | bit as u32);
        let ready = chosen().fold(Ready::EMPTY, |all, &(_, ready)| all | ready);
        assert_eq!(Ready::from_epoll(epoll), ready, "{epoll:#x}");
        assert_eq!(Ready::from_epoll(epoll | !known), ready, "bits that mean nothing here, with {epoll:#x}");
    }
}

#[test]
fn an_interest_is_satisfied_by_its_own_state_and_by_what_ends_it() {
    let cases = [
        (READ, Ready::READABLE | Ready::READ_CLOSED | Ready::ERROR),
        (WRITE, Ready::WRITABLE | Ready::WRITE_CLOSED | Ready::ERROR),
        (Interest::PRIORITY, Ready::PRIORITY | Ready::READ_CLOSED | Ready::ERROR),
        (Interest::ERROR, Ready::ERROR),
    ];
    for bits in 1..16u8 {
        let interest = Interest::from_bits(bits).expect("known bits");
        let wanted = cases.iter().filter(|(one, _)| interest.contains(*one));
        let wanted = wanted.fold(Ready::EMPTY, |all, &(_, ready)| all | ready);
        assert_eq!(interest.ready(), wanted, "{interest:?}");
    }
    assert_eq!((Interest::from_bits(0), Interest::from_bits(16), Interest::from_bits(0xff)), (None, None, None));
    assert_eq!(Ready::from_bits(0xff), Ready::ALL);
}
