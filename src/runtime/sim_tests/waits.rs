//! Waits for connections, and waits that nobody satisfies: each is ended, for the reason that is told.

use super::Outsiders;
use super::bytes::{begin, operate, outcome, pair};
use super::ledger::{Act, Ledger, pause};
use crate::readiness::Interest;
use crate::runtime::operation::{OpName, Request};
use crate::runtime::owned::Io;
use crate::runtime::{NEVER, now};
use crate::sim::nature::TROUBLE;
use crate::sim::{stand_by, thread};
use crate::task::JoinHandle;
use std::io::{ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

static LISTENERS: AtomicU64 = AtomicU64::new(0);

/// A listener, and where it listens.
pub(super) fn listener(act: &Act) -> Option<(Io, SocketAddr)> {
    let name = format!("asyncio-sim-{}-{}", std::process::id(), LISTENERS.fetch_add(1, Relaxed));
    let address = SocketAddr::from_abstract_name(name).expect("a name");
    let listener = UnixListener::bind_addr(&address).expect("a listener");
    Some((act.register(listener.into())?, address))
}

/// Connections from a thread: each is accepted once, and says what it came to say.
pub(super) fn accepts(act: &mut Act, outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    let Some((listener, address)) = listener(act) else { return Vec::new() };
    let listener = Arc::new(listener);
    let (connections, ledger) = (1 + act.random.below(6), act.ledger.clone());
    let (mut waits, taken) = (Vec::new(), Arc::new(AtomicU64::new(0)));
    // Accepting without memory for a handle costs the connection.
    let lost = Arc::new(AtomicU64::new(0));
    for _ in 0..1 + act.random.below(2) {
        let (listener, taken, lost, mut branch) = (listener.clone(), taken.clone(), lost.clone(), act.branch());
        waits.extend(act.spawn(async move {
            while let Some(io) = accept(&mut branch, &listener, &lost).await {
                let mut one = [0];
                match io.read(&mut one).await {
                    Ok(n) => assert_eq!((n, one), (1, [42])),
                    Err(error) => assert!(branch.ledger.is_ending(), "{error}"),
                }
                if taken.fetch_add(1, Relaxed) + 1 == connections {
                    listener.close();
                }
            }
        }));
    }
    outsiders.push(thread::spawn("connects", move || {
        let mut streams = Vec::new();
        for _ in 0..connections {
            thread::yield_now();
            match UnixStream::connect_addr(&address) {
                Ok(mut stream) => {
                    let _ = stream.write_all(&[42]);
                    streams.push(stream);
                }
                Err(error) => assert!(ledger.is_ending(), "{error}"),
            }
        }
        if TROUBLE.load(Relaxed) == 0 {
            return;
        }
        streams.into_iter().for_each(|stream| await_end(stream, &ledger));
        // One that is told to be lost was closed before.
        while taken.load(Relaxed) + lost.load(Relaxed) < connections && !ledger.is_ending() {
            stand_by(100_000);
        }
        listener.close();
    }));
    waits
}

/// Waits until the other end is closed.
fn await_end(mut stream: UnixStream, ledger: &Ledger) {
    let mut patience = 10_000;
    stream.set_nonblocking(true).expect("a socket");
    while stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock) && !ledger.is_ending() {
        stand_by(patience);
        patience = (2 * patience).min(50_000_000);
    }
}

async fn accept(act: &mut Act, listener: &Io, lost: &AtomicU64) -> Option<Io> {
    let no_memory = |errno| lost.fetch_add(u64::from(errno == libc::ENOMEM), Relaxed);
    loop {
        match act.random.below(2) {
            0 => match listener.accept().await {
                Ok(io) => return Some(io),
                Err(error) => match error.raw_os_error() {
                    Some(errno @ (libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)) => _ = no_memory(errno),
                    // Closed by whoever took the last one.
                    _ => return None,
                },
            },
            _ => match operate(listener, Request::Accept).await {
                io @ 0.. => return Some(Io::new(crate::runtime::IoName::parse(io as u64).expect("a descriptor"))),
                errno => match -errno as i32 {
                    errno @ (libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => _ = no_memory(errno),
                    _ => return None,
                },
            },
        }
        pause().await;
    }
}

/// Waits that nobody satisfies, ended by a close, a deadline, or a cancel, whichever comes first.
pub(super) fn ended(act: &mut Act, outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    let [io, peer] = pair();
    let Some(io) = act.register(io) else { return Vec::new() };
    let (io, mut waits) = (Arc::new(io), Vec::new());
    let cancelled = Arc::new(AtomicBool::new(false));
    let ops = Arc::new(parking_lot::Mutex::new(Vec::new()));
    for _ in 0..1 + act.random.below(3) {
        let (io, ledger, cancelled, ops) = (io.clone(), act.ledger.clone(), cancelled.clone(), ops.clone());
        let way = act.random.below(3);
        let at = if act.random.chance(500) { NEVER } else { now() + act.random.below(1_000_000) };
        waits.extend(act.spawn(async move {
            match way {
                0 => assert!(io.ready(Interest::READABLE).await.is_err() || ledger.is_ending()),
                1 => {
                    let read = io.read(&mut [0; 10]).await.expect_err("nothing was written");
                    // Beside an operation a direct call is refused.
                    let expected = [libc::EBADF, libc::ESHUTDOWN, libc::EBUSY, libc::ECANCELED];
                    assert!(expected.contains(&read.raw_os_error().unwrap_or(0)), "{read}");
                }
                _ => quiet_operation(&io, at, &ledger, &cancelled, &ops).await,
            }
        }));
    }
    let mut branch = act.branch();
    outsiders.push(thread::spawn("closes", move || {
        for _ in 0..branch.random.below(3) {
            stand_by(branch.random.below(100_000));
        }
        if branch.random.chance(500) {
            cancelled.store(true, Relaxed);
            let ops = std::mem::take(&mut *ops.lock());
            for op in ops {
                let _ = OpName::parse(op).expect("a handle").cancel();
            }
            stand_by(branch.random.below(100_000));
        }
        io.close();
        drop(peer);
    }));
    waits
}

async fn quiet_operation(
    io: &Io,
    at: u64,
    ledger: &Ledger,
    cancelled: &AtomicBool,
    ops: &parking_lot::Mutex<Vec<u64>>,
) {
    let mut buffer = vec![0; 16];
    let begun = begin(io, Request::Recv { buffer: buffer.as_mut_ptr(), len: buffer.len(), flags: 0 }, at);
    let op = match begun.await {
        Ok(op) => op,
        Err(error) => {
            let expected = [libc::EBADF, libc::ESHUTDOWN, libc::EBUSY];
            return assert!(expected.contains(&error.raw_os_error().unwrap_or(0)), "{error}");
        }
    };
    ops.lock().push(op);
    match outcome(op).await as i32 {
        errno if errno == -libc::ETIME => assert!(now() >= at, "a deadline is early"),
        errno if errno == -libc::ECANCELED => {
            assert!(cancelled.load(Relaxed) || ledger.is_ending() || io.name().is_ok_and(|io| !io.is_open()));
        }
        errno if errno == -libc::EBADF || errno == -libc::ESHUTDOWN => {}
        other => assert!(ledger.is_ending() || !io.name().is_ok_and(|io| io.is_open()), "outcome {other}"),
    }
}
