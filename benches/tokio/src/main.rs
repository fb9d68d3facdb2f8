//! An echo server on tokio: a task for each connection, which reads and writes all, with a buffer of its own.
//!
//! Usage: tokio-echo [--port P] [--workers N]. 0, the default, is the current-thread flavour.

use std::io;
use std::net::Ipv4Addr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// What all servers read at once.
const BUFFER: usize = 16 * 1024;

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Not zeroed, so that an idle connection has touched no more of it than it received.
    let mut buf = Vec::with_capacity(BUFFER);
    while stream.read_buf(&mut buf).await? > 0 {
        stream.write_all(&buf).await?;
        buf.clear();
    }
    Ok(())
}

async fn accept(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(echo(stream))),
            Err(e) => eprintln!("accept: {e}"),
        }
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(4096)
}

async fn serve(port: u16) -> io::Result<()> {
    let listener = listen(port)?;
    let mut end = signal(SignalKind::terminate())?;
    println!("listening on {} (tokio)", listener.local_addr()?);
    // On a worker, where there are any, and not on the thread that blocks here.
    tokio::spawn(accept(listener));
    end.recv().await;
    Ok(())
}

fn runtime(workers: usize) -> io::Result<Runtime> {
    if workers == 0 {
        return Builder::new_current_thread().enable_all().build();
    }
    Builder::new_multi_thread().worker_threads(workers).enable_all().build()
}

fn main() -> io::Result<()> {
    let (mut port, mut workers) = (0, 0);
    let mut args = std::env::args().skip(1);
    while let (Some(name), value) = (args.next(), args.next().and_then(|text| text.parse::<u16>().ok())) {
        match (name.as_str(), value) {
            ("--port", Some(n)) => port = n,
            ("--workers", Some(n)) => workers = usize::from(n),
            _ => return Err(io::Error::other("usage: tokio-echo [--port P] [--workers N]")),
        }
    }
    runtime(workers)?.block_on(serve(port))
}
