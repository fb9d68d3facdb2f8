//! Direct reads into the pool's buffers, for those who have nothing at hand while nothing comes: a buffer is taken when there
//! is something to read, so that who waits for it holds none.
//!
//! Nobody waits for a buffer: a read that finds half of the pool in use has one of its own, a pool of one that ends with the
//! read and whose memory ends with the lease. Operations do wait, since their buffers fill whether their task looks or not;
//! so the other half is theirs. A task that reads has as many as it keeps.

use super::super::buffers::{Buffers, Lease, Taken};
use super::super::context::{Current, PollContext};
use super::super::io::{IoName, IoPoll};
use super::super::worker::Worker;
use std::task::Poll;

/// A buffer to read into, and the pool that it is from if that is not the worker's.
struct Borrowed {
    taken: Taken,
    extra: Option<Buffers>,
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
                Some(Borrowed { taken, .. }) => unsafe { reading.read(taken.ptr()) },
                None => Err(libc::ENOMEM),
            }
        });
        let Some(Borrowed { taken, extra }) = borrowed else { return polled.map(|result| result.map(|_| None)) };
        self.in_pool(extra, |pool| match polled {
            Poll::Ready(Ok(n @ 1..)) => Poll::Ready(Ok(Some(pool.keep(taken, n as u32, 0)))),
            polled => {
                pool.put_back(taken);
                polled.map(|result| result.map(|_| None))
            }
        })
    }

    /// `None`: there is no memory for one.
    fn borrow_buffer(&self) -> Option<Borrowed> {
        if let Some(taken) = self.ops().buffers.borrow_mut().take_if_plenty() {
            return Some(Borrowed { taken, extra: None });
        }
        let mut extra = Buffers::new(self.shared().config.buffer_size, 1, Box::new(|| {}));
        Some(Borrowed { taken: extra.take()?, extra: Some(extra) })
    }

    /// Runs `f` with the pool that a buffer is from. One that is not the worker's ends with it.
    fn in_pool<R>(&self, extra: Option<Buffers>, f: impl FnOnce(&mut Buffers) -> R) -> R {
        match extra {
            Some(mut extra) => f(&mut extra),
            None => f(&mut self.ops().buffers.borrow_mut()),
        }
    }
}
