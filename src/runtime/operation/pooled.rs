//! Direct reads into the pool's buffers, for those who have nothing at hand while nothing comes: a buffer is taken when there
//! is something to read, so that who waits for it holds none.
//!
//! Nobody waits for a buffer: a read that finds half of the pool in use has one of its own, a pool of one that ends with the
//! read and whose memory ends with the lease. Operations may have to wait, since their buffers fill whether their task looks or
//! not; so the other half is theirs. A task that reads has as many as it keeps.

use super::super::buffers::{Buffers, Lease, Taken};
use super::super::context::{Current, PollContext};
use super::super::io::{IoName, IoPoll};
use super::super::worker::Worker;
use std::task::Poll;

/// A buffer to read into, and the pool that it is from if that is not the worker's. Goes to `Worker::kept` or `not_kept`.
#[must_use]
pub(super) struct Borrowed {
    taken: Taken,
    extra: Option<Box<Buffers>>,
}

impl Borrowed {
    fn of_pool(taken: Taken) -> Self {
        Self { taken, extra: None }
    }

    pub(super) fn ptr(&self) -> *mut u8 {
        self.taken.ptr()
    }
}

impl IoName {
    /// Reads into a buffer that is taken when there is something. `None` is the end of the stream. `EPERM` where there is no
    /// worker, whose buffers these are.
    pub(crate) fn poll_read_pooled(self, cx: &PollContext) -> IoPoll<Option<Lease>> {
        Current::with_worker(|worker| match worker.filter(|worker| std::ptr::eq(worker.context(), cx)) {
            Some(worker) => worker.read_pooled(cx, self),
            None => Poll::Ready(Err(libc::EPERM)),
        })
    }
}

impl Worker {
    fn read_pooled(&self, cx: &PollContext, io: IoName) -> IoPoll<Option<Lease>> {
        let mut borrowed = None;
        let polled = io.poll_read_by(cx, self.shared().config.buffer_size as usize, |reading| {
            if borrowed.is_none() {
                borrowed = self.borrow_buffer();
            }
            match &borrowed {
                // SAFETY: the buffer is ours until it is kept or put back.
                Some(borrowed) => unsafe { reading.read(borrowed.ptr()) },
                None => Err(libc::ENOMEM),
            }
        });
        let Some(borrowed) = borrowed else { return polled.map(|result| result.map(|_| None)) };
        match polled {
            Poll::Ready(Ok(n @ 1..)) => Poll::Ready(Ok(Some(self.kept(borrowed, n as u32, 0)))),
            polled => {
                self.not_kept(borrowed);
                polled.map(|result| result.map(|_| None))
            }
        }
    }

    /// `None`: there is no memory for one.
    fn borrow_buffer(&self) -> Option<Borrowed> {
        let taken = self.ops().buffers.borrow_mut().take_if_plenty();
        taken.map(Borrowed::of_pool).or_else(|| self.borrow_outside(|| {}))
    }

    /// A buffer that is not the pool's, whose memory ends with its lease, and with that what `with_it` owns. `None`: there is no
    /// memory for one.
    pub(super) fn borrow_outside(&self, with_it: impl Fn() + Send + Sync + 'static) -> Option<Borrowed> {
        let mut extra = Buffers::new(self.shared().config.buffer_size, 1, Box::new(with_it));
        Some(Borrowed { taken: extra.take()?, extra: Some(Box::new(extra)) })
    }

    /// Something was read into it. A pool that is not the worker's ends with it.
    pub(super) fn kept(&self, Borrowed { taken, extra }: Borrowed, len: u32, owner: u64) -> Lease {
        match extra {
            Some(mut extra) => extra.keep(taken, len, owner),
            None => self.ops().buffers.borrow_mut().keep(taken, len, owner),
        }
    }

    /// Nothing was.
    pub(super) fn not_kept(&self, Borrowed { taken, extra }: Borrowed) {
        match extra {
            Some(mut extra) => extra.put_back(taken),
            None => self.ops().buffers.borrow_mut().put_back(taken),
        }
    }
}
