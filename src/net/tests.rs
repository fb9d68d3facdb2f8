//! What needs addresses that no resolver gives, and the Rust side; the rest is tested from C.

use super::tcp::{Options, connect_any, interleave};
use crate::runtime::{Config, Engine, Errno, Io, Made, NEVER, Runtime, RuntimeRef, create, free, join_thread, now};
use socket2::{Domain, SockRef, Socket, Type};
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

/// The address of a socket on the loopback.
fn address_of(socket: &impl AsFd) -> SocketAddr {
    SockRef::from(socket).local_addr().expect("bound").as_socket().expect("of the internet")
}

/// A socket whose address refuses connections, as long as it lives.
fn refusing() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
    socket
}

/// Sockets; at the first one's address connections hang, for the others fill its queue.
fn hanging() -> Vec<Socket> {
    let listener = refusing();
    listener.listen(0).expect("listens");
    let address = address_of(&listener).into();
    let filling = (0..4).map(|_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).expect("a socket");
        let _ = socket.connect(&address);
        socket
    });
    let filling: Vec<_> = filling.collect();
    std::iter::once(listener).chain(filling).collect()
}

/// Connects to the first that answers. Returns where that is, and how long it took.
fn connects(found: Vec<SocketAddr>, options: Options) -> (Result<SocketAddr, Errno>, u64) {
    let runtime = create(Config { workers: 1, ..Config::default() }).expect("a runtime");
    let begun = now();
    let mut name = None;
    let used = RuntimeRef::enter(runtime).expect("just made");
    let connecting = async move { connect_any(runtime, found, &options).await };
    used.spawn(connecting, None, true, |made| name = Some(made)).map_err(|_| ()).expect("spawned");
    let made = join_thread::<Made>(&used, name.expect("named"), NEVER).expect("joined").expect("no panic");
    let took = now() - begun;
    let peer = |io: Io| io.with_fd(super::peer).and_then(|peer| peer).map(|peer| peer.as_socket().expect("known"));
    let peer = made.and_then(peer);
    drop(used);
    free(runtime).expect("freed");
    (peer, took)
}

const HEAD_START: u64 = 250_000_000;

#[test]
fn families_take_turns() {
    let list = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("an address")).collect::<Vec<SocketAddr>>();
    let found = list(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"]);
    assert_eq!(interleave(found), list(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]));
    let found = list(&["1.1.1.1:1", "[::1]:1", "[::2]:1"]);
    assert_eq!(interleave(found), list(&["1.1.1.1:1", "[::1]:1", "[::2]:1"]));
    assert_eq!(interleave(Vec::new()), []);
}

#[test]
fn a_refusal_lets_the_next_one_begin_at_once() {
    let (refusing, listener) = (refusing(), std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    let mut found = vec![address_of(&refusing); 12];
    found.push(address_of(&listener));
    let (peer, took) = connects(found, Options::default());
    assert_eq!(peer, Ok(address_of(&listener)));
    assert!(took < 12 * HEAD_START, "no pauses after refusals");
}

#[test]
fn one_that_hangs_has_its_head_start_and_is_left_then() {
    let (hanging, refusing) = (hanging(), refusing());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut found = vec![address_of(&hanging[0])];
    found.extend([address_of(&refusing); 12]);
    found.push(address_of(&listener));
    let (peer, took) = connects(found, Options::default());
    assert_eq!(peer, Ok(address_of(&listener)));
    assert!(took >= HEAD_START, "not before its time");
    assert!(took < 12 * HEAD_START, "a refusal beside one that hangs counts as well");
}

#[test]
fn the_last_failure_counts() {
    let (refusing, broadcast) = (refusing(), SocketAddr::from((Ipv4Addr::BROADCAST, 1)));
    let fails = |found| connects(found, Options::default()).0;
    assert_eq!(fails(vec![broadcast, address_of(&refusing)]), Err(libc::ECONNREFUSED));
    assert_eq!(fails(vec![address_of(&refusing), broadcast]), Err(libc::ENETUNREACH));
    assert_eq!(fails(Vec::new()), Err(libc::EAFNOSUPPORT));
}

#[test]
fn only_peers_of_the_local_address_s_family_are_tried() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let local = |text: &str| Options { local: Some(text.parse().expect("an address")), ..Options::default() };
    let found = vec!["[::1]:1".parse().expect("an address"), address_of(&listener)];
    assert_eq!(connects(found, local("127.0.0.7:0")).0, Ok(address_of(&listener)));
    assert_eq!(listener.accept().expect("came").1.ip(), Ipv4Addr::new(127, 0, 0, 7));
    assert_eq!(connects(vec![address_of(&listener)], local("[::1]:0")).0, Err(libc::EAFNOSUPPORT));
}

#[test]
fn nobody_is_his_own_peer() {
    let port = address_of(&refusing()).port();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // The kernel is made to choose the port that is connected to.
    let options = Options { local: Some(address), ..Options::default() };
    assert_eq!(connects(vec![address], options).0, Err(libc::ECONNREFUSED));
}

#[test]
fn a_socket_that_is_made_is_closed_on_exec_and_does_not_block() {
    let runtime = create(Config { workers: 1, ..Config::default() }).expect("a runtime");
    let io = super::tcp::listen(runtime, Some("127.0.0.1"), 0, &Options::default()).expect("listens");
    // SAFETY: the calls take no pointers.
    let flags = |name| io.with_fd(|fd| unsafe { libc::fcntl(fd.as_raw_fd(), name) }).expect("open");
    assert_ne!(flags(libc::F_GETFD) & libc::FD_CLOEXEC, 0);
    assert_ne!(flags(libc::F_GETFL) & libc::O_NONBLOCK, 0);
    drop(io);
    free(runtime).expect("freed");
}

/// Runs a test as a task, on each engine that there is.
fn on_both<F>(test: impl Fn(&Runtime) -> F)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    for engine in [Engine::Epoll, Engine::Uring] {
        match Runtime::new(Config { engine, workers: 2, ..Config::default() }) {
            Ok(runtime) => {
                let task = test(&runtime);
                runtime.block_on(task).expect("a running runtime").expect("no panic").expect("no error");
            }
            Err(_) => assert_eq!(engine, Engine::Uring, "epoll is everywhere"),
        }
    }
}

#[test]
fn a_listener_accepts_who_connects_by_name() {
    on_both(|runtime| {
        let options = crate::TcpOptions::default();
        let listener = crate::tcp_listen(runtime, Some("127.0.0.1"), 0, &options).expect("a port");
        let address = listener.local_addr().expect("bound");
        let connecting = crate::tcp_connect(runtime, "localhost", address.port(), &options).expect("spawned");
        async move {
            let accepted = listener.accept().await?;
            let client = connecting.await.expect("no panic")?;
            assert_eq!(client.peer_addr()?, address);
            assert_eq!(accepted.peer_addr()?, client.local_addr()?);
            client.write_all(b"hello").await?;
            drop(client);
            let mut buffer = [0; 8];
            assert_eq!(accepted.read(&mut buffer).await?, 5);
            assert_eq!(&buffer[..5], b"hello");
            assert_eq!(accepted.read(&mut buffer).await?, 0);
            Ok(())
        }
    });
}

#[test]
fn unix_sockets_are_listened_on_and_come_in_pairs() {
    on_both(|runtime| {
        let (options, name) = (crate::UnixOptions::default(), format!("@asyncio-{}", std::process::id()));
        let [one, other] = crate::unix_pair(runtime, libc::SOCK_STREAM).expect("a pair");
        let listener = crate::unix_listen(runtime, &name, &options).expect("a name");
        let connecting = crate::unix_connect(runtime, &name, &options).expect("spawned");
        async move {
            let mut buffer = [0; 8];
            one.write_all(b"x").await?;
            assert_eq!(other.read(&mut buffer).await?, 1);
            let (accepted, client) = (listener.accept().await?, connecting.await.expect("no panic")?);
            accepted.write_all(b"xy").await?;
            assert_eq!(client.read(&mut buffer).await?, 2);
            assert_eq!(client.peer_addr().map_err(|error| error.raw_os_error()), Err(Some(libc::EAFNOSUPPORT)));
            Ok(())
        }
    });
}

#[test]
fn datagrams_have_senders() {
    on_both(|runtime| {
        let bound = || crate::udp_bind(runtime, Some("127.0.0.1"), 0, &crate::UdpOptions::default()).expect("a port");
        let (one, other) = (bound(), bound());
        async move {
            one.send_to(b"hello", other.local_addr()?).await?;
            let mut buffer = [0; 8];
            assert_eq!(other.recv_from(&mut buffer).await?, (5, one.local_addr()?));
            assert_eq!(&buffer[..5], b"hello");
            Ok(())
        }
    });
}
