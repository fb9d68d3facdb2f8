//! What a scenario knows of its operations, descriptors and leases; and what must hold.

use super::super::OpName;
use super::actor::give_back;
use super::backing::Backing;
use crate::driver::fake::{Kernel, Random};
use crate::runtime::{IoFlags, IoName, Lease, RuntimeRef, now};
use parking_lot::Mutex;
use std::io::Read;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    /// A connection or a file.
    Makes,
    Accepts,
    Receives,
    /// A frame to the stream of a subject.
    Sends(usize, u32),
    Closes,
}

/// How tasks end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With everything cancelled and taken.
    Finish,
    /// At once.
    Leave,
    /// By somebody else.
    Wait,
}

struct Record {
    task: usize,
    kind: Kind,
    memory: Option<usize>,
    cancelled: bool,
    deadline: Option<u64>,
    /// Nobody will tell the outcome.
    silent: bool,
    forgotten: bool,
    over: bool,
    next: u8,
}

/// A descriptor for operations.
pub(super) struct Subject {
    pub(super) io: IoName,
    pub(super) is_file: bool,
    pub(super) is_listener: bool,
    /// The other end of a stream that sends are for.
    pub(super) peer: Option<UnixStream>,
    got: Vec<u8>,
    /// Frames whose sends succeeded.
    sent: Vec<u32>,
}

pub(super) struct World {
    pub(super) random: Random,
    pub(super) kernel: Kernel,
    pub(super) backing: Arc<Mutex<Backing>>,
    pub(super) subjects: Vec<Subject>,
    pub(super) end: Option<End>,
    /// Every descriptor was closed at the end of tasks.
    pub(super) closed: bool,
    /// Memory for the request that is being made.
    pub(super) lent: Option<usize>,
    /// In the order in which they were begun, which does not depend on what ran before.
    records: Vec<(u64, Record)>,
    ios: Vec<IoName>,
    leases: Vec<u64>,
    frames: u32,
    pub(super) tasks_dropped: usize,
}

fn listener() -> OwnedFd {
    use std::os::linux::net::SocketAddrExt;
    process_unique(|name| {
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).expect("a name");
        UnixListener::bind_addr(&address).expect("a listener").into()
    })
}

fn process_unique<R>(f: impl FnOnce(&[u8]) -> R) -> R {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    f(format!("asyncio-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed)).as_bytes())
}

impl World {
    pub(super) fn new(seed: u64, kernel: Kernel, backing: Arc<Mutex<Backing>>) -> Self {
        Self {
            random: Random::new(seed ^ 0x3031d),
            kernel,
            backing,
            subjects: Vec::new(),
            end: None,
            closed: false,
            lent: None,
            records: Vec::new(),
            ios: Vec::new(),
            leases: Vec::new(),
            frames: 0,
            tasks_dropped: 0,
        }
    }

    /// A new descriptor for operations.
    pub(super) fn add_subject(&mut self, runtime: &RuntimeRef) {
        let (mut peer, choice) = (None, self.random.below(4));
        let fd: OwnedFd = match choice {
            0 => listener(),
            // The only messages whose sends go to a ring.
            1 => UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").into(),
            2 => {
                let (ours, theirs) = UnixStream::pair().expect("a pair");
                let least = 0i32;
                // SAFETY: four readable bytes.
                unsafe {
                    let option = (&raw const least).cast();
                    libc::setsockopt(ours.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, option, 4);
                }
                theirs.set_nonblocking(true).expect("a socket");
                peer = Some(theirs);
                ours.into()
            }
            // SAFETY: a new descriptor, which is ours; the name ends with a zero.
            _ => unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"file".as_ptr(), libc::MFD_CLOEXEC)) },
        };
        let placed = self.backing.lock().place(&fd);
        if peer.is_some() {
            self.backing.lock().streams.push(placed);
        }
        let flags = IoFlags { interest: None, set_nonblock: true, borrowed: false };
        let io = runtime.shared().register(placed, flags).expect("a descriptor of a kind that is known");
        let (got, sent) = (Vec::new(), Vec::new());
        self.subjects.push(Subject { io, is_file: choice == 3, is_listener: choice == 0, peer, got, sent });
    }

    // Memory.

    pub(super) fn lend(&mut self, len: usize) -> *mut u8 {
        let start = self.backing.lock().lend(len);
        self.lent = Some(start.addr());
        start
    }

    pub(super) fn give_back(&mut self, memory: Option<usize>) {
        memory.into_iter().for_each(|start| self.backing.lock().retire(start));
    }

    /// A frame for a stream, which says its number and its length.
    pub(super) fn frame(&mut self) -> (*mut u8, usize, u32) {
        self.frames += 1;
        let len = 8 + self.random.below(3000) as usize;
        let start = self.lend(len);
        // SAFETY: lent to us.
        let bytes = unsafe { std::slice::from_raw_parts_mut(start, len) };
        bytes.fill(self.frames as u8);
        bytes[..4].copy_from_slice(&self.frames.to_le_bytes());
        bytes[4..8].copy_from_slice(&(len as u32).to_le_bytes());
        (start, len, self.frames)
    }

    // Operations.

    pub(super) fn begun(&mut self, name: u64, task: usize, kind: Kind, memory: Option<usize>) {
        let record = Record {
            task,
            kind,
            memory,
            cancelled: false,
            deadline: None,
            silent: false,
            forgotten: false,
            over: false,
            next: 0,
        };
        assert!(self.records.iter().all(|(other, _)| *other != name), "a handle is given once");
        self.records.push((name, record));
    }

    fn record(&mut self, name: u64) -> &mut Record {
        &mut self.records.iter_mut().find(|(other, _)| *other == name).expect("it was begun").1
    }

    pub(super) fn kind(&self, name: u64) -> Kind {
        self.records.iter().find(|(other, _)| *other == name).expect("it was begun").1.kind
    }

    pub(super) fn cancel(&mut self, name: u64) {
        self.record(name).cancelled = true;
        assert_eq!(OpName::parse(name).expect("a handle").cancel(), Ok(()), "its outcome was not taken");
    }

    pub(super) fn has_deadline(&mut self, name: u64, at: u64) {
        let record = self.record(name);
        record.deadline = Some(record.deadline.unwrap_or(at).min(at));
    }

    /// True if the outcome is to be told.
    pub(super) fn forgets(&mut self, name: u64) -> bool {
        let asks = self.random.chance(700);
        let record = self.record(name);
        (record.forgotten, record.silent) = (true, !asks);
        asks
    }

    /// An operation that another task has not taken, nor forgotten.
    pub(super) fn of_another(&self, task: usize) -> Option<u64> {
        let alive = self.records.iter().find(|(_, record)| record.task != task && !record.over && !record.forgotten);
        alive.map(|&(name, _)| name)
    }

    /// The names of operations that are over.
    pub(super) fn dead(&self) -> Vec<u64> {
        self.records.iter().filter(|(_, record)| record.over).map(|&(name, _)| name).collect()
    }

    /// All that are not, to be cancelled from outside.
    pub(super) fn alive(&self) -> Vec<u64> {
        let alive = self.records.iter().filter(|(_, record)| !record.over && !record.forgotten);
        alive.map(|&(name, _)| name).collect()
    }

    /// The outcome of an operation, which is given once, after the kernel let go of it.
    pub(super) fn outcome(&mut self, name: u64, outcome: i64) {
        assert!(!self.kernel.held_entries().iter().any(|entry| entry.user_data == name), "the kernel still has it");
        let record = self.record(name);
        assert!(!std::mem::replace(&mut record.over, true), "an outcome is given once");
        let (kind, memory) = (record.kind, record.memory.take());
        let errno = outcome.checked_neg().unwrap_or(0) as i32;
        let internal = [libc::EAGAIN, libc::EINTR].contains(&errno);
        assert!(!internal, "{kind:?}, cancelled: {}: outcome {outcome}", record.cancelled);
        assert!(kind != Kind::Receives || errno != libc::ENOBUFS, "cancelled: {}: ENOBUFS", record.cancelled);
        if errno == libc::ETIME {
            assert!(record.deadline.is_some_and(|at| at <= now()), "no deadline has come");
        }
        self.give_back(memory);
        match kind {
            Kind::Makes if outcome >= 0 => {
                self.connection(IoName::parse(outcome as u64).expect("a new descriptor"));
            }
            Kind::Sends(at, frame) if outcome >= 0 => self.subjects[at].sent.push(frame),
            _ => {}
        }
    }

    pub(super) fn connection(&mut self, io: IoName) {
        let number = io.number().expect("it is open");
        assert!(self.backing.lock().is_good(number), "a connection that was closed");
        self.ios.push(io);
    }

    pub(super) fn received(&mut self, name: u64, lease: Lease) {
        let buf = lease.hand_out();
        // SAFETY: the lease is ours.
        let bytes = unsafe { std::slice::from_raw_parts(buf.ptr, buf.len as usize) };
        let record = self.record(name);
        for &byte in bytes {
            assert_eq!(byte, record.next, "bytes come in order, and all of them");
            record.next = record.next.wrapping_add(1);
        }
        self.leases.push(buf.lease);
    }

    /// A task's state is dropped: nothing of it goes on.
    pub(super) fn task_dropped(&mut self, task: usize) {
        self.tasks_dropped += 1;
        let entries = self.kernel.held_entries();
        let mut memory = Vec::new();
        for &mut (name, ref mut record) in
            self.records.iter_mut().filter(|(_, record)| record.task == task && !record.over)
        {
            assert!(!record.forgotten || record.silent, "a forgotten operation's end was not told");
            assert!(!entries.iter().any(|entry| entry.user_data == name), "the kernel still has an operation of it");
            assert!(OpName::parse(name).expect("a handle").cancel().is_err(), "an operation outlives its task");
            record.over = true;
            memory.extend(record.memory.take());
        }
        memory.into_iter().for_each(|start| self.give_back(Some(start)));
    }

    // Descriptors and leases.

    pub(super) fn close_something(&mut self) {
        if !self.ios.is_empty() && self.random.chance(800) {
            let at = self.random.below(self.ios.len() as u64) as usize;
            assert_eq!(self.ios.swap_remove(at).close(), Ok(()));
        } else if self.random.chance(200) {
            let at = self.random.below(self.subjects.len() as u64) as usize;
            // It may have been closed before.
            let _ = self.subjects[at].io.close();
        }
    }

    pub(super) fn close_everything(&mut self) {
        for io in self.ios.drain(..) {
            assert_eq!(io.close(), Ok(()));
        }
        for subject in &self.subjects {
            let _ = subject.io.close();
        }
    }

    pub(super) fn release_something(&mut self) {
        for _ in 0..self.random.below(8) {
            if self.leases.is_empty() {
                return;
            }
            let at = self.random.below(self.leases.len() as u64) as usize;
            give_back(self.leases.swap_remove(at));
        }
    }

    pub(super) fn release_everything(&mut self) {
        self.leases.drain(..).for_each(give_back);
    }

    /// The peers of streams read some.
    pub(super) fn peers_read(&mut self, rounds: usize) {
        for subject in &mut self.subjects {
            let Some(peer) = &mut subject.peer else { continue };
            let mut bytes = [0; 2000];
            for _ in 0..rounds {
                match peer.read(&mut bytes) {
                    Ok(n) if n > 0 => subject.got.extend(&bytes[..n]),
                    _ => break,
                }
            }
        }
    }

    // Invariants.

    /// What must hold after every turn.
    pub(super) fn check(&mut self) {
        let mut backing = self.backing.lock();
        backing.look();
        for entry in self.kernel.held_entries() {
            assert!(!backing.was_closed(entry.fd), "a descriptor was closed under an operation: {entry:?}");
        }
    }

    /// What must hold when all is over.
    pub(super) fn check_end(&mut self) {
        for (name, record) in &self.records {
            assert!(record.over, "operation {name:#x} was lost: {:?}", record.kind);
        }
        self.peers_read(usize::MAX);
        for subject in &self.subjects {
            check_frames(&subject.got, &subject.sent);
        }
    }
}

/// Frames are whole and in order, those that were sent with success are there, and nothing comes after one that was cut.
fn check_frames(mut got: &[u8], sent: &[u32]) {
    let mut seen = Vec::new();
    while let Some((head, rest)) = got.split_at_checked(8) {
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let (number, len) = (word(0), word(4) as usize - 8);
        assert!(seen.last().is_none_or(|&last| last < number), "out of order: {seen:?}, then {number}");
        let body = &rest[..len.min(rest.len())];
        assert!(body.iter().all(|&byte| byte == number as u8), "frame {number} is broken");
        if body.len() < len {
            break;
        }
        seen.push(number);
        got = &rest[len..];
    }
    for number in sent {
        assert!(seen.contains(number), "frame {number} was sent, and is not there: {seen:?}");
    }
}
