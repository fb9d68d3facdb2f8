//! Bytes through sockets: all of them, in their order, whichever way they go.

use super::Outsiders;
use super::ledger::{Act, insist};
use crate::runtime::operation::{CURRENT, Delivered, Goods, OpName, Request, submit};
use crate::runtime::owned::{Io, in_task};
use crate::runtime::{Lease, NEVER};
use crate::sim::nature::TROUBLE;
use crate::sim::{stand_by, thread};
use crate::task::JoinHandle;
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// A pair of sockets with little room.
pub(super) fn pair() -> [OwnedFd; 2] {
    let (one, two) = UnixStream::pair().expect("descriptors");
    for end in [&one, &two] {
        let room: i32 = 1;
        // SAFETY: the option is four readable bytes.
        let set = unsafe {
            libc::setsockopt(end.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, (&raw const room).cast(), 4)
        };
        assert_eq!(set, 0);
    }
    [one.into(), two.into()]
}

fn byte(at: u64) -> u8 {
    (at % 251) as u8
}

fn bytes(from: u64, len: usize) -> Vec<u8> {
    (from..from + len as u64).map(byte).collect()
}

/// Bytes one way, or both.
pub(super) fn stream(act: &mut Act, _outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    let [one, two] = pair().map(|end| act.register(end).map(Arc::new));
    let (Some(one), Some(two)) = (one, two) else { return Vec::new() };
    let mut waits = flow(act, &one, &two);
    if act.random.chance(500) {
        waits.extend(flow(act, &two, &one));
    }
    waits
}

/// One task writes, one reads, each in a way of its own.
fn flow(act: &mut Act, from: &Arc<Io>, to: &Arc<Io>) -> Vec<JoinHandle<()>> {
    let (from, to) = (from.clone(), to.clone());
    let total = 1 + act.random.below(12_000);
    let cut = Arc::new(AtomicBool::new(false));
    let told = cut.clone();
    let (mut writer, mut reader) = (act.branch(), act.branch());
    let write = act.spawn(async move {
        match writer.random.below(3) {
            0 => write_direct(&mut writer, &from, total).await,
            1 => write_by_operations(&mut writer, &from, total, &told).await,
            _ => write_queued(&mut writer, &from, total, &told).await,
        }
        // SAFETY: takes no pointers.
        let _ = from.with_fd(|fd| unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_WR) });
    });
    let read = act.spawn(async move {
        let got = match reader.random.below(4) {
            0 => read_direct(&mut reader, &to).await,
            1 => read_by_operations(&mut reader, &to).await,
            2 => read_pooled(&mut reader, &to).await,
            _ => receive_many(&mut reader, &to).await,
        };
        assert!(got == total || cut.load(Relaxed) || reader.ledger.is_ending(), "{got} bytes of {total}");
    });
    write.into_iter().chain(read).collect()
}

fn piece(act: &mut Act, left: u64) -> usize {
    let most = [1, 10, 300, 5000][act.random.below(4) as usize].min(left);
    1 + act.random.below(most) as usize
}

async fn write_direct(act: &mut Act, io: &Io, total: u64) {
    let mut at = 0;
    while at < total {
        let data = bytes(at, piece(act, total - at));
        match io.write(&data).await {
            Ok(n) => at += n as u64,
            Err(error) => return assert!(act.ledger.is_ending(), "{error}"),
        }
        if act.random.chance(200) {
            act.pause().await;
        }
    }
}

async fn read_direct(act: &mut Act, io: &Io) -> u64 {
    let (mut buffer, mut at) = ([0; 512], 0);
    loop {
        let len = 1 + act.random.below(512) as usize;
        match io.read(&mut buffer[..len]).await {
            Ok(0) => return at,
            Ok(n) => at = check(at, &buffer[..n]),
            Err(error) => {
                assert!(act.ledger.is_ending(), "{error}");
                return at;
            }
        }
        if act.random.chance(200) {
            act.pause().await;
        }
    }
}

fn check(at: u64, got: &[u8]) -> u64 {
    for (place, &got) in (at..).zip(got) {
        assert_eq!(got, byte(place), "byte {place} of the stream");
    }
    at + got.len() as u64
}

/// A request on its way into its task.
struct Sent(Request);

// SAFETY: the memory that it names is its task's.
unsafe impl Send for Sent {}

impl Sent {
    /// It is given away whether it is taken or refused.
    fn again(&self) -> Request {
        match self.0 {
            Request::Accept => Request::Accept,
            Request::Send { buffer, len, flags } => Request::Send { buffer, len, flags },
            Request::Recv { buffer, len, flags } => Request::Recv { buffer, len, flags },
            Request::Read { buffer, len, offset } => Request::Read { buffer, len, offset },
            Request::RecvMany => Request::RecvMany,
            _ => unreachable!("no part begins it"),
        }
    }
}

/// Begins an operation, with a deadline.
pub(super) fn begin(io: &Io, request: Request, at: u64) -> impl Future<Output = std::io::Result<u64>> + Send {
    let (name, request) = (io.name().expect("a handle"), Sent(request));
    in_task(move |cx| {
        let op = insist(|| submit(cx, request.again(), [Some(name), None]));
        if let Ok(op) = op
            && at != NEVER
        {
            insist(|| OpName::parse(op).expect("a handle").set_deadline(at)).expect("it is alive");
        }
        std::task::Poll::Ready(op)
    })
}

/// Makes a request, and waits for its outcome.
pub(super) fn operate(io: &Io, request: Request) -> impl Future<Output = i64> + Send {
    let begun = begin(io, request, NEVER);
    async move {
        match begun.await {
            Ok(op) => outcome(op).await,
            Err(error) => -i64::from(error.raw_os_error().unwrap_or(libc::EIO)),
        }
    }
}

pub(super) async fn outcome(op: u64) -> i64 {
    let op = OpName::parse(op).expect("a handle");
    in_task(|cx| op.poll(cx)).await.expect("it is this task's")
}

/// A full stream that finds no memory for what goes on with it fails, for good. `cut` is told.
fn is_cut(errno: i32, cut: &AtomicBool) -> bool {
    let is_cut = TROUBLE.load(Relaxed) > 0 && [libc::ENOMEM, libc::EPIPE].contains(&errno);
    cut.fetch_or(is_cut, Relaxed);
    is_cut
}

async fn write_by_operations(act: &mut Act, io: &Io, total: u64, cut: &AtomicBool) {
    let mut at = 0;
    while at < total {
        // The task's frame is dropped after its operations ended, so the memory is there for them.
        let data = bytes(at, piece(act, total - at));
        let n = operate(io, Request::Send { buffer: data.as_ptr(), len: data.len(), flags: 0 }).await;
        if n < 0 {
            return assert!(is_cut(-n as i32, cut) || act.ledger.is_ending(), "a send failed: {n}");
        }
        at += n as u64;
    }
}

async fn read_by_operations(act: &mut Act, io: &Io) -> u64 {
    let (mut buffer, mut at) = (vec![0; 512], 0);
    loop {
        let len = 1 + act.random.below(512) as usize;
        let into = buffer.as_mut_ptr();
        let request = match act.random.below(2) {
            0 => Request::Recv { buffer: into, len, flags: 0 },
            _ => Request::Read { buffer: into, len, offset: CURRENT },
        };
        match operate(io, request).await {
            0 => return at,
            n @ 1.. => at = check(at, &buffer[..n as usize]),
            errno => {
                assert!(act.ledger.is_ending(), "a receive failed: {errno}");
                return at;
            }
        }
    }
}

/// Sends that the library queues, up to its limit.
async fn write_queued(act: &mut Act, io: &Io, total: u64, cut: &AtomicBool) {
    let (mut at, name) = (0, io.name().expect("a handle"));
    while at < total {
        let data = bytes(at, piece(act, (total - at).min(4000)));
        match name.send(Goods::Copy(&data)) {
            Ok(n) => at += n as u64,
            Err((libc::EAGAIN, _)) => {
                if let Err(error) = in_task(|cx| name.poll_flush(cx, 0)).await {
                    return assert!(is_cut(errno_of(&error), cut) || act.ledger.is_ending(), "{error}");
                }
            }
            Err((errno, _)) => {
                return assert!(is_cut(errno, cut) || act.ledger.is_ending(), "a send was refused: {errno}");
            }
        }
        if act.random.chance(200) {
            act.pause().await;
        }
    }
    if let Err(error) = in_task(|cx| name.poll_flush(cx, 0)).await {
        assert!(is_cut(errno_of(&error), cut) || act.ledger.is_ending(), "{error}");
    }
}

fn errno_of(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// Reads into buffers of the library's, of which some are kept while more are read.
async fn read_pooled(act: &mut Act, io: &Io) -> u64 {
    let (mut at, mut kept, name) = (0, Vec::new(), io.name().expect("a handle"));
    loop {
        match in_task(|cx| name.poll_read_pooled(cx)).await {
            Ok(Some(lease)) => {
                let buffer = Leased::hand_out(lease);
                at = check(at, buffer.bytes());
                kept.push(buffer);
            }
            Ok(None) => return at,
            Err(error) => {
                if errno_of(&error) != libc::ENOMEM {
                    assert!(act.ledger.is_ending(), "{error}");
                    return at;
                }
            }
        }
        if kept.len() > 20 || act.random.chance(200) {
            kept.clear();
        }
        if act.random.chance(200) {
            act.pause().await;
        }
    }
}

/// A receiver with buffers of the library's, some of which are kept for a while.
async fn receive_many(act: &mut Act, io: &Io) -> u64 {
    let (mut at, mut kept) = (0, Vec::new());
    let Ok(op) = begin(io, Request::RecvMany, NEVER).await else {
        assert!(act.ledger.is_ending());
        return 0;
    };
    let mut op = OpName::parse(op).expect("a handle");
    loop {
        match in_task(|cx| op.poll_received(cx)).await.expect("it is this task's") {
            Delivered::Data(lease) => {
                let buffer = Leased::hand_out(lease);
                at = check(at, buffer.bytes());
                kept.push(buffer);
            }
            Delivered::Last(0) => return at,
            Delivered::Last(errno) if errno == -i64::from(libc::ENOMEM) => {
                match begin(io, Request::RecvMany, NEVER).await {
                    Ok(again) => op = OpName::parse(again).expect("a handle"),
                    Err(error) => {
                        assert!(act.ledger.is_ending(), "{error}");
                        return at;
                    }
                }
            }
            Delivered::Last(errno) => {
                assert!(act.ledger.is_ending(), "a receiver failed: {errno}");
                return at;
            }
        }
        if act.random.chance(500) {
            kept.clear();
        }
        // There is one more for each receiver that there may be.
        if kept.len() > 1 {
            let at = act.random.below(kept.len() as u64) as usize;
            kept.swap_remove(at);
        }
        if act.random.chance(200) {
            act.pause().await;
        }
    }
}

/// A lease as a program has it. Given back when dropped.
struct Leased {
    lease: u64,
    ptr: *const u8,
    len: u32,
}

// SAFETY: the memory is whose the lease is.
unsafe impl Send for Leased {}

impl Leased {
    fn hand_out(lease: Lease) -> Self {
        let buffer = lease.hand_out();
        Self { lease: buffer.lease, ptr: buffer.ptr, len: buffer.len }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the lease is ours until the drop.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len as usize) }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        drop(crate::runtime::claim_lease(self.lease).expect("it is ours"));
    }
}

/// A thread writes and reads the other end of a socket, which blocks nobody.
pub(super) fn echo(act: &mut Act, outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    let [io, peer] = pair();
    let Some(io) = act.register(io) else { return Vec::new() };
    let (rounds, ledger, mut branch) = (1 + act.random.below(8), act.ledger.clone(), act.branch());
    let task = act.spawn(async move {
        let mut buffer = [0; 16];
        loop {
            match io.read(&mut buffer).await {
                Ok(0) => return,
                Ok(n) => match io.write_all(&buffer[..n]).await {
                    Ok(()) => branch.pause().await,
                    Err(error) => return assert!(branch.ledger.is_ending(), "{error}"),
                },
                Err(error) => return assert!(branch.ledger.is_ending(), "{error}"),
            }
        }
    });
    outsiders.push(thread::spawn("talks", move || {
        // SAFETY: takes no pointers; the descriptor is ours.
        let mut peer = unsafe {
            libc::fcntl(peer.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK);
            std::fs::File::from_raw_fd(std::os::fd::IntoRawFd::into_raw_fd(peer))
        };
        for round in 0..rounds {
            if peer.write_all(&bytes(round, 10)).is_err() {
                return assert!(ledger.is_ending());
            }
            let (mut got, mut buffer, mut patience) = (Vec::<u8>::new(), [0; 16], 10_000);
            while got.len() < 10 {
                match peer.read(&mut buffer) {
                    Ok(0) => return assert!(ledger.is_ending(), "the echo ended"),
                    Ok(n) => got.extend(&buffer[..n]),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        stand_by(patience);
                        patience = (2 * patience).min(50_000_000);
                        if ledger.is_ending() {
                            return;
                        }
                    }
                    Err(error) => return assert!(ledger.is_ending(), "{error}"),
                }
            }
            assert_eq!(got, bytes(round, 10));
        }
    }));
    task.into_iter().collect()
}
