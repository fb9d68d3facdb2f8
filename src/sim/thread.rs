//! Threads of the world. Outside of it they are what they always are.

use super::world::{block, enlist, has_ended, is_inside, join_in, key_of, leave, point};
use std::io;
pub(crate) use std::thread::{Result, current};

const NEVER: u64 = u64::MAX;

/// As std's.
pub(crate) struct Builder {
    inner: std::thread::Builder,
    name: String,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self { inner: std::thread::Builder::new(), name: String::new() }
    }

    pub(crate) fn name(self, name: String) -> Self {
        Self { inner: self.inner.name(name.clone()), name }
    }

    pub(crate) fn stack_size(self, size: usize) -> Self {
        Self { inner: self.inner.stack_size(size), ..self }
    }

    pub(crate) fn spawn<T: Send + 'static>(
        self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        if !is_inside() {
            return self.inner.spawn(body).map(|inner| JoinHandle { inner, number: None });
        }
        if let Some(errno) = super::nature::fault(&[libc::EAGAIN]) {
            return Err(io::Error::from_raw_os_error(errno));
        }
        Ok(start(self.inner, self.name, body))
    }
}

fn start<T: Send + 'static>(
    builder: std::thread::Builder,
    name: String,
    body: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let number = enlist(name);
    let inner = builder.spawn(move || {
        join_in(number);
        let result = body();
        leave(number);
        result
    });
    let handle = JoinHandle { inner: inner.expect("a thread"), number: Some(number) };
    point();
    handle
}

/// As std's.
#[derive(Debug)]
pub(crate) struct JoinHandle<T> {
    inner: std::thread::JoinHandle<T>,
    number: Option<usize>,
}

impl<T> JoinHandle<T> {
    pub(crate) fn thread(&self) -> &std::thread::Thread {
        self.inner.thread()
    }

    pub(crate) fn join(self) -> Result<T> {
        if let Some(number) = self.number.filter(|_| is_inside()) {
            point();
            while !has_ended(number) {
                block(key_of(number), NEVER, None);
            }
        }
        self.inner.join()
    }
}

pub(crate) fn spawn<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    // Threads that cannot be had are the library's trouble, not the scenario's.
    start(std::thread::Builder::new(), name.into(), body)
}

pub(crate) use super::world::yield_now;
