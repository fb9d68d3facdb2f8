//! Servers: every connection is answered, and a drain ends when the last one has.

use super::Outsiders;
use super::ledger::{Act, Ledger};
use super::waits::listener;
use crate::runtime::owned::{Io, Runtime};
use crate::runtime::{NEVER, now};
use crate::serve::owned::serve;
use crate::serve::{Mode, Options};
use crate::sim::nature::TROUBLE;
use crate::sim::{stand_by, thread};
use crate::task::JoinHandle;
use crate::time::Sleep;
use std::io::{ErrorKind, Read, Write};
use std::mem::ManuallyDrop;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

pub(super) fn server(act: &mut Act, outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    let options = Options {
        mode: [Mode::Shared, Mode::Exclusive][act.random.below(2) as usize],
        max_connections: act.random.below(3),
        ..Options::default()
    };
    // Borrowed: it is the scenario's.
    let runtime = ManuallyDrop::new(Runtime(act.ledger.runtime.load(Relaxed)));
    let served = Arc::new(AtomicU64::new(0));
    let answers = served.clone();
    let (server, address) = loop {
        let Some((listener, address)) = listener(act) else { return Vec::new() };
        let answers = answers.clone();
        match serve(&runtime, listener, &options, move |io| answer(io, answers.clone())) {
            Ok(server) => break (server, address),
            Err(error) => assert_eq!(error.errno(), libc::ENOMEM, "a server was refused"),
        }
    };
    // Clients may be left without an answer by a server that is drained too early, or has no descriptors.
    let early = act.random.chance(300);
    let lax = early || TROUBLE.load(Relaxed) > 0;
    let (done, clients) = (Arc::new(AtomicBool::new(false)), 1 + act.random.below(5));
    let (told, ledger, mut branch) = (done.clone(), act.ledger.clone(), act.branch());
    outsiders.push(thread::spawn("clients", move || {
        let mut connections = Vec::new();
        for _ in 0..clients {
            match connect(&address) {
                Ok(client) => connections.push(client),
                Err(error) => assert!(lax || ledger.is_ending(), "{error}"),
            }
            if branch.random.chance(500) {
                connections.drain(..).for_each(|client| hear(client, lax, &ledger));
            }
        }
        connections.into_iter().for_each(|client| hear(client, lax, &ledger));
        told.store(true, Relaxed);
    }));
    let mut branch = act.branch();
    let drains = act.spawn(async move {
        branch.pause().await;
        let mut patience = 10_000;
        while !done.load(Relaxed) && !early {
            Sleep::until(now() + patience).await;
            patience = (2 * patience).min(50_000_000);
        }
        let cut = server.drain(NEVER).await;
        assert!(cut.is_ok_and(|cut| cut == 0) || branch.ledger.is_ending(), "nobody was to be cut");
        assert!(lax || served.load(Relaxed) == clients || branch.ledger.is_ending());
    });
    drains.into_iter().collect()
}

async fn answer(io: Io, served: Arc<AtomicU64>) {
    let mut one = [0];
    if io.read(&mut one).await.is_ok_and(|n| n == 1) && io.write_all(&one).await.is_ok() {
        served.fetch_add(1, Relaxed);
    }
}

fn connect(address: &SocketAddr) -> std::io::Result<UnixStream> {
    let mut client = UnixStream::connect_addr(address)?;
    client.set_nonblocking(true)?;
    client.write_all(&[9])?;
    Ok(client)
}

fn hear(mut client: UnixStream, lax: bool, ledger: &Ledger) {
    let (mut one, mut patience) = ([0], 10_000);
    loop {
        match client.read(&mut one) {
            Ok(1) => return assert_eq!(one, [9]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                stand_by(patience);
                patience = (2 * patience).min(50_000_000);
            }
            other => return assert!(lax || ledger.is_ending(), "{other:?} instead of an answer"),
        }
        if ledger.is_ending() {
            return;
        }
    }
}
