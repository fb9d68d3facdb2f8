//! Buffered streams: everything that was written arrives, in whatever pieces, also when reads are given up half-way, and when
//! the stream passes from one task to the next.

use super::Outsiders;
use super::bytes::pair;
use super::ledger::Act;
use crate::runtime::now;
use crate::stream::{Stream, StreamOptions};
use crate::task::JoinHandle;
use crate::time::{Sleep, timeout_at};
use std::future::Future;
use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::Arc;

/// The longest line, with its end.
const LONGEST: usize = 200;

/// What is written: lines.
fn text(act: &mut Act) -> Vec<u8> {
    let mut text = Vec::new();
    for line in 0..1 + act.random.below(40) {
        text.extend(std::iter::repeat_n(b'a' + (line % 26) as u8, act.random.below(LONGEST as u64) as usize));
        text.push(b'\n');
    }
    text
}

fn options(act: &mut Act) -> StreamOptions {
    StreamOptions {
        read_buffer: 1 + act.random.below(100) as usize,
        limit: LONGEST,
        write_buffer: act.random.below(300) as usize,
    }
}

fn is_no_memory(error: &Error) -> bool {
    error.raw_os_error() == Some(libc::ENOMEM)
}

pub(super) fn lines(act: &mut Act, _outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    let [one, two] = pair().map(|end| act.register(end));
    let (Some(one), Some(two)) = (one, two) else { return Vec::new() };
    let text = Arc::new(text(act));
    let (mut writer, mut reader) = (act.branch(), act.branch());
    let options = [options(act), options(act)];
    let expected = text.clone();
    let write = act.spawn(async move {
        let mut stream = Stream::new(one, &options[0]).expect("a socket");
        if let Err(error) = write(&mut writer, &mut stream, &text).await {
            assert!(writer.ledger.is_ending(), "{error}");
        }
    });
    let read = act.spawn(async move {
        let stream = Stream::new(two, &options[1]).expect("a socket");
        read(&mut reader, stream, &expected, 0).await;
    });
    write.into_iter().chain(read).collect()
}

async fn write(act: &mut Act, stream: &mut Stream, text: &[u8]) -> Result<()> {
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(1 + act.random.below(rest.len().min(700) as u64) as usize);
        stream.write_all(piece).await?;
        rest = more;
        if act.random.chance(200) {
            stream.flush().await?;
            act.pause().await;
        }
    }
    stream.flush().await
}

/// Reads the rest from `at` on, in this task or in others.
fn read<'a>(
    act: &'a mut Act,
    mut stream: Stream,
    text: &'a Arc<Vec<u8>>,
    mut at: usize,
) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
    Box::pin(async move {
        loop {
            let until = if act.random.chance(300) { now() + act.random.below(30_000) } else { u64::MAX };
            match timeout_at(until, take(act, &mut stream, &text[at..])).await {
                Err(_late) => {}
                Ok(Ok(0)) => break,
                Ok(Ok(n)) => at += n,
                Ok(Err(error)) if is_no_memory(&error) => {}
                Ok(Err(error)) => return assert!(act.ledger.is_ending(), "{error}"),
            }
            match act.random.below(10) {
                0 => act.pause().await,
                1 => Sleep::until(now() + act.random.below(100_000)).await,
                2 => {
                    let (mut branch, text) = (act.branch(), text.clone());
                    let next = act.spawn(async move { read(&mut branch, stream, &text, at).await });
                    if let Some(next) = next {
                        assert!(next.await.is_ok() || act.ledger.is_ending());
                    }
                    return;
                }
                _ => {}
            }
        }
        assert!(at == text.len() || act.ledger.is_ending(), "{at} bytes of {}", text.len());
    })
}

/// Takes some bytes, in one of the ways there are, and compares them. 0: the end.
async fn take(act: &mut Act, stream: &mut Stream, expected: &[u8]) -> Result<usize> {
    let len = 1 + act.random.below(LONGEST as u64) as usize;
    let mut buffer = vec![0; len];
    let n = match act.random.below(4) {
        0 => {
            let line = stream.read_until(b'\n').await?;
            let end = expected.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            // Whoever writes may be aborted within one.
            let cut = act.ledger.is_ending() && expected[..end].starts_with(line);
            assert!(cut || line == &expected[..end], "another line");
            return Ok(line.len());
        }
        1 => {
            let there = stream.fill(len).await?;
            let enough = there.len() >= len.min(expected.len());
            assert!(enough || act.ledger.is_ending(), "{} of {len}, before {} more", there.len(), expected.len());
            let n = there.len().min(len);
            assert_eq!(there[..n], expected[..n]);
            stream.consume(n)?;
            return Ok(n);
        }
        2 => match stream.read_exact(&mut buffer).await {
            Ok(()) => len,
            // It is there for the next call.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => stream.read(&mut buffer).await?,
            Err(error) => return Err(error),
        },
        _ => stream.read(&mut buffer).await?,
    };
    assert!(n <= expected.len() && buffer[..n] == expected[..n], "other bytes");
    Ok(n)
}
