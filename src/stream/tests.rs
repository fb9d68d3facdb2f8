//! What a stream holds while it waits, and the Rust side of it, on both engines.

use super::{Stream, StreamOptions};
use crate::{Config, Engine, Interest, Runtime};
use std::future::{Future, poll_fn};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::Poll;

/// Runs a test on each engine that there is.
fn on_both(test: impl Fn(Runtime)) {
    for engine in [Engine::Epoll, Engine::Uring] {
        match Runtime::new(Config { engine, workers: 2, ..Config::default() }) {
            Ok(runtime) => test(runtime),
            Err(_) => assert_eq!(engine, Engine::Uring, "epoll is everywhere"),
        }
    }
}

fn pair(runtime: &Runtime, options: &StreamOptions) -> (Stream, UnixStream) {
    let (near, far) = UnixStream::pair().expect("sockets");
    let io = runtime.register(near.into(), Interest::READABLE | Interest::WRITABLE).expect("a socket");
    (Stream::new(io, options).expect("it does not block"), far)
}

fn block_on<T: Send + 'static>(runtime: &Runtime, future: impl Future<Output = T> + Send + 'static) -> T {
    runtime.block_on(future).expect("a running runtime").expect("no panic")
}

/// Polls once. True if it is ready.
async fn once<T>(future: impl Future<Output = T>) -> bool {
    let mut future = pin!(future);
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await
}

#[test]
fn an_idle_stream_holds_no_buffer() {
    on_both(|runtime| {
        let (mut stream, mut far) = pair(&runtime, &StreamOptions::default());
        block_on(&runtime, async move {
            // It is known to be writable then.
            stream.write_all(b"answer").await.expect("room");
            stream.flush().await.expect("room");
            far.read_exact(&mut [0; 6]).expect("it was sent");
            for _ in 0..3 {
                far.write_all(b"a line\nand half").expect("room");
                assert_eq!(stream.read_until(b'\n').await.expect("a line"), b"a line\n");
                assert!(!once(stream.read_until(b'\n')).await);
                far.write_all(b" of one\n").expect("room");
                assert_eq!(stream.read_until(b'\n').await.expect("a line"), b"and half of one\n");
                stream.write_all(b"answer").await.expect("room");
                assert!(stream.channel.writer.held() > 0);
                assert!(!once(stream.read_until(b'\n')).await);
                assert_eq!((stream.channel.reader.held(), stream.channel.writer.held()), (0, 0));
                far.read_exact(&mut [0; 6]).expect("it was sent before the wait");
            }
        });
    });
}

#[test]
fn bytes_are_searched_once() {
    on_both(|runtime| {
        let (mut stream, mut far) = pair(&runtime, &StreamOptions::default());
        block_on(&runtime, async move {
            for n in 1..100 {
                far.write_all(b"x").expect("room");
                stream.fill(n).await.expect("bytes");
                assert!(!once(stream.read_until(b'\n')).await);
                assert_eq!(stream.channel.reader.searched(), n);
            }
            far.write_all(b"\nx\n").expect("room");
            assert_eq!(stream.read_until(b'\n').await.expect("a line").len(), 100);
            assert_eq!(stream.read_until(b'\n').await.expect("a line"), b"x\n");
        });
    });
}

#[test]
fn a_future_that_is_dropped_loses_nothing() {
    on_both(|runtime| {
        let (mut stream, mut far) = pair(&runtime, &StreamOptions::default());
        block_on(&runtime, async move {
            far.write_all(b"01234").expect("room");
            stream.fill(5).await.expect("bytes");
            let mut buffer = [0; 8];
            assert!(!once(stream.read_exact(&mut buffer)).await);
            far.write_all(b"567").expect("room");
            stream.read_exact(&mut buffer).await.expect("enough");
            assert_eq!(&buffer, b"01234567");
            drop(far);
            let end = stream.read_exact(&mut buffer).await.expect_err("nothing comes");
            assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
            assert_eq!(stream.read(&mut buffer).await.expect("the end"), 0);
            assert_eq!(stream.read_until(b'\n').await.expect("the end"), b"");
        });
    });
}

#[test]
fn a_large_write_goes_with_what_was_buffered() {
    on_both(|runtime| {
        let (mut stream, mut far) = pair(&runtime, &StreamOptions { write_buffer: 16, ..StreamOptions::default() });
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            far.read_to_end(&mut all).expect("bytes");
            all
        });
        let large = vec![7; 1 << 20];
        let expected = [&b"small"[..], &large, b"end"].concat();
        block_on(&runtime, async move {
            stream.write_all(b"small").await.expect("room");
            stream.write_all(&large).await.expect("a reader");
            stream.write_all(b"end").await.expect("room");
            stream.flush().await.expect("a reader");
            drop(stream.into_io().await);
        });
        assert!(reader.join().expect("no panic") == expected);
    });
}

#[test]
fn what_is_left_of_a_stream_reads_on() {
    on_both(|runtime| {
        let (mut stream, mut far) = pair(&runtime, &StreamOptions::default());
        block_on(&runtime, async move {
            far.write_all(b"a line\n").expect("room");
            assert_eq!(stream.read_until(b'\n').await.expect("a line"), b"a line\n");
            let io = stream.into_io().await;
            far.write_all(b"more").expect("room");
            let mut buffer = [0; 8];
            assert_eq!(io.read(&mut buffer).await.expect("bytes"), 4);
        });
    });
}
