//! The Rust side of servers, on both engines; the rest is tested from C.

use crate::runtime::{NEVER, in_task};
use crate::{Config, Engine, Io, Runtime, ServeOptions, Server, TcpOptions, serve, tcp_connect, tcp_listen};
use std::future::Future;
use std::io;
use std::net::SocketAddr;

/// Runs a test on each engine that there is.
fn on_both(test: impl Fn(Runtime)) {
    for engine in [Engine::Epoll, Engine::Uring] {
        match Runtime::new(Config { engine, workers: 2, ..Config::default() }) {
            Ok(runtime) => test(runtime),
            Err(_) => assert_eq!(engine, Engine::Uring, "epoll is everywhere"),
        }
    }
}

fn block_on<T: Send + 'static>(runtime: &Runtime, future: impl Future<Output = T> + Send + 'static) -> T {
    runtime.block_on(future).expect("a running runtime").expect("no panic")
}

fn served<F>(runtime: &Runtime, connection: impl Fn(Io) -> F + Send + Sync + 'static) -> (Server, SocketAddr)
where
    F: Future<Output: Send> + Send + 'static,
{
    let listener = tcp_listen(runtime, Some("127.0.0.1"), 0, &TcpOptions::default()).expect("a port");
    let address = listener.local_addr().expect("bound");
    (serve(runtime, listener, &ServeOptions::default(), connection).expect("it listens"), address)
}

async fn echo(io: Io) -> io::Result<()> {
    let mut buffer = [0; 256];
    loop {
        match io.read(&mut buffer).await? {
            0 => return Ok(()),
            n => io.write_all(&buffer[..n]).await?,
        }
    }
}

#[test]
fn a_server_echoes_and_drains() {
    on_both(|runtime| {
        let (server, address) = served(&runtime, echo);
        let clients = (0..50).map(|n: u8| {
            let connecting =
                tcp_connect(&runtime, "localhost", address.port(), &TcpOptions::default()).expect("spawned");
            let client = runtime.spawn(async move {
                let io = connecting.await.expect("no panic").expect("somebody listens");
                assert_eq!(io.peer_addr().expect("connected"), address);
                let mut answer = [0; 1];
                io.write_all(&[n]).await.expect("room");
                assert_eq!(io.read(&mut answer).await.expect("an answer"), 1);
                assert_eq!(answer, [n]);
            });
            client.expect("spawned")
        });
        for client in clients.collect::<Vec<_>>() {
            block_on(&runtime, client).expect("no panic");
        }
        let stats = block_on(&runtime, async move {
            assert_eq!(server.drain(u64::MAX).await.expect("drains"), 0);
            server.draining().await.expect("it is over");
            server.stats().expect("still there")
        });
        assert_eq!((stats.accepted, stats.refused, stats.live), (50, 0, 0));
        let late = tcp_connect(&runtime, "127.0.0.1", address.port(), &TcpOptions::default()).expect("spawned");
        let refused = block_on(&runtime, late).expect("no panic").expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn what_is_left_at_the_deadline_is_cut() {
    on_both(|runtime| {
        let (server, address) = served(&runtime, echo);
        let client = tcp_connect(&runtime, "127.0.0.1", address.port(), &TcpOptions::default()).expect("spawned");
        block_on(&runtime, async move {
            let client = client.await.expect("no panic").expect("somebody listens");
            client.write_all(b"x").await.expect("room");
            assert_eq!(client.read(&mut [0; 8]).await.expect("it is served"), 1);
            assert_eq!(server.drain(crate::now()).await.expect("drains"), 1);
            assert_eq!(client.read(&mut [0; 8]).await.expect("it was closed"), 0);
        });
    });
}

/// Whoever is in a call when the server is freed may only then note that it waits.
#[test]
fn a_drain_that_meets_the_end_of_the_handle_does_not_wait() {
    on_both(|runtime| {
        let (server, address) = served(&runtime, echo);
        let client = tcp_connect(&runtime, "127.0.0.1", address.port(), &TcpOptions::default()).expect("spawned");
        block_on(&runtime, async move {
            let client = client.await.expect("no panic").expect("somebody listens");
            client.write_all(b"x").await.expect("room");
            assert_eq!(client.read(&mut [0; 8]).await.expect("it is served"), 1);
            let used = super::Server::enter(server.raw()).expect("it serves");
            drop(server);
            let drained = in_task(|cx| super::Server::poll_drain(&used, cx, NEVER)).await;
            assert_eq!(drained.expect_err("it goes on").raw_os_error(), Some(libc::EBADF));
            drop(client);
        });
    });
}

#[test]
fn a_panic_refuses_a_connection_and_ends_nothing() {
    on_both(|runtime| {
        let first = std::sync::atomic::AtomicBool::new(true);
        let (server, address) = served(&runtime, move |io| {
            // It calls no hook, which would print.
            if first.swap(false, std::sync::atomic::Ordering::Relaxed) {
                std::panic::resume_unwind(Box::new(()));
            }
            echo(io)
        });
        let connect = || tcp_connect(&runtime, "127.0.0.1", address.port(), &TcpOptions::default()).expect("spawned");
        let refused = block_on(&runtime, connect()).expect("no panic").expect("somebody listens");
        block_on(&runtime, async move { assert_eq!(refused.read(&mut [0; 8]).await.expect("it was closed"), 0) });
        let client = block_on(&runtime, connect()).expect("no panic").expect("somebody listens");
        block_on(&runtime, async move {
            client.write_all(b"x").await.expect("room");
            assert_eq!(client.read(&mut [0; 8]).await.expect("it is served"), 1);
        });
        let stats = server.stats().expect("it serves");
        assert_eq!((stats.accepted, stats.refused), (1, 1));
        drop(server);
    });
}
