//! Every order in which a worker that ends can meet those who have an operation of its.

use super::super::super::io::{IoName, traits};
use super::super::{Goods, traffics};
use super::*;
use crate::readiness::{IOS, Ready};
use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;

/// The runtime that ends, and another one.
const ENDING: u64 = 1;
const OTHER: u64 = 2;

fn make_pump(runtime: u64) -> &'static Operation {
    make(runtime, 0, None, Request::Pump, [None, None], || None).expect("memory")
}

/// A worker that ends, as those see it who tell its operations something.
struct Ending {
    mail: Inbox<Operation>,
    /// The runtime's handle is stale, so that nobody comes as far as the mailbox.
    is_stale: bool,
}

impl Ending {
    /// As `Operation::mail` does it from elsewhere.
    fn mail(&self, op: &'static Operation) -> bool {
        !self.is_stale && self.mail.push(op.into()) != Pushed::Closed
    }

    /// As `Worker::end_operations` does it.
    fn end(&self) {
        for op in self.mail.close() {
            // SAFETY: what is mailed is an entry of the slab.
            end_for_good(unsafe { op.as_ref() });
        }
        for (_, op) in OPS.iter() {
            let Some(life) = op.word.life() else { continue };
            if op.runtime.load(Relaxed) == ENDING && op.take_mark(life, || ()) {
                end_for_good(op);
            }
        }
    }
}

fn end_for_good(op: &'static Operation) {
    if op.open_mail().is_some() {
        op.drop_body();
        op.end();
    }
}

/// A pump is begun from elsewhere, and woken, while its worker ends: one of the two ends it, once. What begins next in its
/// place is another runtime's, and hears nothing.
fn pump_begins(is_stale: bool) {
    loom::model(move || {
        let ending = Arc::new(Ending { mail: Inbox::new(), is_stale });
        let worker = thread::spawn({
            let ending = ending.clone();
            move || ending.end()
        });
        let pump = make_pump(ENDING);
        let waking = thread::spawn({
            let ending = ending.clone();
            move || {
                if pump.word.tell(None, News::TRY) == Told::Post && !ending.mail(pump) {
                    let _ = pump.open_mail();
                }
            }
        });
        if !ending.mail(pump) {
            pump.unmake();
        }
        let next = make_pump(OTHER);
        waking.join().expect("no panic");
        worker.join().expect("no panic");
        let news = next.open_mail().expect("it lives");
        assert!(news.has(News::TRY) && !news.has(News::CANCEL), "ended by a worker that is not its own");
        next.drop_body();
        next.end();
        assert_freed_once();
    });
}

#[test]
fn loom_operation_pump_begins_as_its_worker_ends() {
    pump_begins(false);
}

#[test]
fn loom_operation_pump_begins_as_its_runtime_is_freed() {
    pump_begins(true);
}

/// What somebody has in hand is done, and somebody else cancels it, while its worker ends: the worker hears of it, or it is ended
/// unheard, and that once.
fn done_beside_a_cancel(is_stale: bool) {
    loom::model(move || {
        let ending = Arc::new(Ending { mail: Inbox::new(), is_stale });
        let (index, op) = OPS.alloc().expect("memory");
        op.index.store(index, Relaxed);
        op.runtime.store(ENDING, Relaxed);
        let life = op.word.open();
        let unheard = Arc::new(AtomicU32::new(0));
        let tellers = [News::DONE, News::CANCEL].map(|news| {
            let (ending, unheard) = (ending.clone(), unheard.clone());
            thread::spawn(move || {
                // As `Operation::post` does it.
                if op.word.tell_life(life, news) == Told::Post
                    && !ending.mail(op)
                    && op.open_mail().is_some_and(|news| news.has(News::DONE))
                {
                    unheard.fetch_add(1, AcqRel);
                }
            })
        });
        let mut heard = 0;
        let mut hear = |op: &Operation| heard += u32::from(op.open_mail().is_some_and(|news| news.has(News::DONE)));
        for op in ending.mail.close() {
            // SAFETY: what is mailed is an entry of the slab.
            hear(unsafe { op.as_ref() });
        }
        assert!(op.take_mark(life, || ()));
        hear(op);
        tellers.into_iter().for_each(|teller| teller.join().expect("no panic"));
        assert_eq!(heard + unheard.load(Acquire), 1, "never ended, or twice");
        op.end();
        assert_freed_once();
    });
}

#[test]
fn loom_operation_done_as_its_worker_ends() {
    done_beside_a_cancel(false);
}

#[test]
fn loom_operation_done_as_its_runtime_is_freed() {
    done_beside_a_cancel(true);
}

/// A socket that takes nothing.
static FULL: LazyLock<RawFd> = LazyLock::new(|| {
    let (near, far) = UnixStream::pair().expect("sockets");
    std::mem::forget(far);
    near.set_nonblocking(true).expect("a socket");
    while std::io::Write::write(&mut &near, &[0; 4096]).is_ok() {}
    near.into_raw_fd()
});

/// A send to a socket that is full, and a close of it, while the runtime is freed: the pump that nobody is told of is ended
/// by its maker alone, and no lock is taken twice.
#[test]
fn loom_operation_send_beside_a_close_and_a_free() {
    loom::model(|| {
        let (index, io) = IOS.alloc().expect("memory");
        let generation = io.guard.next_generation();
        io.begin(generation, Ready::EMPTY);
        io.owner.store(ENDING, Relaxed);
        io.fd.store(*FULL as u32, Relaxed);
        io.traits.store(traits::SOCKET | traits::STREAM | traits::NONBLOCK | traits::BORROWED, Relaxed);
        io.guard.open();
        let name = IoName::new(io, generation, index);
        let ending = thread::spawn(|| Ending { mail: Inbox::new(), is_stale: true }.end());
        let closer = thread::spawn(move || name.close().expect("it is open"));
        let sent = name.send(Goods::Copy(b"x"));
        assert!(matches!(sent, Ok(1) | Err((libc::EBADF, None))));
        closer.join().expect("no panic");
        ending.join().expect("no panic");
        assert_freed_once();
        assert_eq!(traffics(), 0, "a user is left, or the queue with the parcel");
    });
}
