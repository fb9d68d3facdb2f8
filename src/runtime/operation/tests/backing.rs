//! What stands behind the fake kernel: real descriptors with numbers that nobody else in the process gets, and the memory
//! that operations were given. It decides results, and sees when the kernel is asked for something that is gone.

use crate::driver::fake::{Random, Sqe};
use io_uring::opcode;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const SELECTS_BUFFER: u8 = 1 << 5;

/// Memory that an operation may have.
struct Block {
    bytes: Box<[u8]>,
    live: bool,
}

pub(super) struct Backing {
    random: Random,
    next: i32,
    /// What stands for a connection or an open file, and for a number that must not be closed again.
    spare: OwnedFd,
    /// True: it was closed, and a sentinel is in its place.
    numbers: BTreeMap<i32, bool>,
    blocks: BTreeMap<usize, Block>,
    /// Sockets to which sends are real.
    pub(super) streams: Vec<i32>,
    /// How far each receiver's bytes have been counted.
    received: HashMap<u64, u8>,
}

/// Far above what the tests beside us open, and far below what the system allows.
fn first_number() -> i32 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is writable.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    (limit.rlim_cur / 4).min(5000) as i32
}

fn is_open(fd: i32) -> bool {
    // SAFETY: takes no pointers.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

impl Backing {
    pub(super) fn new(seed: u64) -> Self {
        // SAFETY: a new descriptor, which is ours.
        let spare = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)) };
        Self {
            random: Random::new(seed ^ 0xbac),
            next: first_number(),
            spare,
            numbers: BTreeMap::new(),
            blocks: BTreeMap::new(),
            streams: Vec::new(),
            received: HashMap::new(),
        }
    }

    /// Moves a descriptor to a number of ours.
    pub(super) fn place(&mut self, fd: &OwnedFd) -> i32 {
        // SAFETY: takes no pointers.
        let placed = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, self.next) };
        assert_eq!(placed, self.next, "the number was free");
        self.numbers.insert(placed, false);
        self.next += 1;
        placed
    }

    fn make(&mut self) -> i32 {
        let spare = self.spare.try_clone().expect("a descriptor");
        self.place(&spare)
    }

    /// Notes what was closed, and puts a sentinel there that nobody may close.
    pub(super) fn look(&mut self) {
        for (&fd, closed) in &mut self.numbers {
            match (*closed, is_open(fd)) {
                (false, true) | (true, true) => {}
                (true, false) => panic!("descriptor {fd} was closed twice"),
                (false, false) => {
                    *closed = true;
                    // SAFETY: takes no pointers; the number is free.
                    unsafe { libc::dup3(self.spare.as_raw_fd(), fd, libc::O_CLOEXEC) };
                }
            }
        }
    }

    /// True if it was not closed.
    pub(super) fn is_good(&mut self, fd: i32) -> bool {
        self.look();
        self.numbers.get(&fd) == Some(&false)
    }

    pub(super) fn was_closed(&self, fd: i32) -> bool {
        self.numbers.get(&fd) == Some(&true)
    }

    pub(super) fn open_numbers(&mut self) -> Vec<i32> {
        self.look();
        self.numbers.iter().filter(|(_, closed)| !**closed).map(|(&fd, _)| fd).collect()
    }

    /// A number that was ours and is a sentinel's now.
    pub(super) fn sentinel(&self) -> Option<i32> {
        self.numbers.iter().find(|(_, closed)| **closed).map(|(&fd, _)| fd)
    }

    // Memory.

    /// Memory for an operation, until it is retired.
    pub(super) fn lend(&mut self, len: usize) -> *mut u8 {
        let mut block = Block { bytes: vec![0; len].into(), live: true };
        let start = block.bytes.as_mut_ptr();
        self.blocks.insert(start.addr(), block);
        start
    }

    pub(super) fn retire(&mut self, start: usize) {
        self.blocks.get_mut(&start).expect("it was lent").live = false;
    }

    /// Somebody uses this memory: if it is a program's, it must not have been given back. True if it is a program's.
    fn check(&self, start: usize, len: usize, sqe: &Sqe) -> bool {
        let Some((from, block)) = self.blocks.range(..=start).next_back() else { return false };
        if start >= from + block.bytes.len() {
            return false;
        }
        assert!(
            block.live && start + len <= from + block.bytes.len(),
            "the kernel uses memory that was given back: {sqe:?}"
        );
        true
    }

    // Answers.

    fn transfer(&mut self, sqe: &Sqe) -> i32 {
        let (address, len) = (sqe.addr as usize, sqe.len as usize);
        let chosen = sqe.flags & SELECTS_BUFFER != 0;
        assert!(chosen || self.check(address, len, sqe), "memory that nobody lent");
        match self.random.below(100) {
            0..45 => return -libc::EAGAIN,
            45 if chosen => return 0,
            _ => {}
        }
        if matches!(sqe.opcode, opcode::Recv::CODE | opcode::Read::CODE) {
            let next = self.received.entry(sqe.user_data).or_default();
            for at in 0..len {
                // SAFETY: the buffer is the kernel's, or memory that is lent, as was seen above.
                unsafe { *(address as *mut u8).add(at) = *next };
                *next = next.wrapping_add(u8::from(chosen));
            }
        }
        len as i32
    }

    /// Sends for real, and often less than there is.
    fn send_message(&mut self, sqe: &Sqe) -> i32 {
        // SAFETY: an entry's message stays until its last completion; that is what is tested.
        let message = unsafe { &*(sqe.addr as *const libc::msghdr) };
        let parts = match message.msg_iovlen {
            0 => &[],
            // SAFETY: as above.
            n => unsafe { std::slice::from_raw_parts(message.msg_iov, n) },
        };
        for part in parts {
            self.check(part.iov_base.addr(), part.iov_len, sqe);
        }
        if !self.streams.contains(&sqe.fd) {
            return parts.iter().map(|part| part.iov_len).sum::<usize>() as i32;
        }
        let mut parts = parts.to_vec();
        if let Some(last) = parts.last_mut()
            && self.random.chance(400)
        {
            last.iov_len = self.random.below(last.iov_len as u64 + 1) as usize;
        }
        let message = libc::msghdr { msg_iov: parts.as_mut_ptr(), msg_iovlen: parts.len(), ..*message };
        // SAFETY: the message is on this stack, and its parts are alive.
        match unsafe { libc::sendmsg(sqe.fd, &message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) } {
            -1 => -std::io::Error::last_os_error().raw_os_error().expect("an error of the system"),
            sent => sent as i32,
        }
    }

    pub(super) fn answer(&mut self, sqe: &Sqe) -> i32 {
        match sqe.opcode {
            opcode::PollAdd::CODE => {
                let mut entry = libc::pollfd { fd: sqe.fd, events: sqe.op_flags as i16, revents: 0 };
                // SAFETY: one writable entry.
                unsafe { libc::poll(&mut entry, 1, 0) };
                if entry.revents == 0 { -libc::EAGAIN } else { entry.revents.into() }
            }
            opcode::Accept::CODE => match self.random.below(100) {
                0..60 => -libc::EAGAIN,
                60..63 => -libc::ECONNABORTED,
                63 => -libc::EMFILE,
                _ => self.make(),
            },
            opcode::OpenAt::CODE => self.make(),
            opcode::Close::CODE => {
                // SAFETY: what the ring was given to close, which the look afterwards checks.
                assert_eq!(unsafe { libc::close(sqe.fd) }, 0, "descriptor {} is closed once", sqe.fd);
                self.look();
                [0, 0, 0, 0, 0, 0, -libc::EIO, -libc::EINTR][self.random.below(8) as usize]
            }
            opcode::Recv::CODE | opcode::Read::CODE | opcode::Send::CODE | opcode::Write::CODE => self.transfer(sqe),
            opcode::SendMsg::CODE => self.send_message(sqe),
            _ if self.random.chance(300) => -libc::EAGAIN,
            _ => 0,
        }
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        for &fd in self.numbers.keys() {
            // SAFETY: the numbers are ours.
            unsafe { libc::close(fd) };
        }
    }
}
