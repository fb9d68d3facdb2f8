//! Watches, whose functions hear of all bytes and of each time, one at a time on their worker, and not after their end; and
//! connects by one call, of which nothing is left however they end.

use super::Outsiders;
use super::bytes::outcome;
use super::ledger::{Act, Ledger, Life};
use crate::Notify;
use crate::driver::fake::Random;
use crate::net::{address, unix};
use crate::readiness::{Interest, Ready};
use crate::runtime::operation::{OpName, submit_errand};
use crate::runtime::owned::{Io, in_task};
use crate::runtime::{IoName, RuntimeRef, now};
use crate::sim::{stand_by, thread};
use crate::task::JoinHandle;
use crate::watch::{self, Watcher};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::Poll;

/// What the watches of one worker share, and whoever waits for them.
struct Desk {
    ledger: Arc<Ledger>,
    /// A function is called: there is one at a time.
    busy: AtomicBool,
    heard: [AtomicBool; 2],
    told: Notify,
    handles: [AtomicU64; 2],
}

impl Desk {
    /// What the watch waited for has come, or will not.
    fn is_over(&self, which: usize) {
        self.heard[which].store(true, Relaxed);
        self.told.notify_one();
    }

    /// A change, of a watch that may have ended.
    fn change(&self, which: usize, change: impl FnOnce(u64) -> Result<(), i32>) {
        let changed = change(self.handles[which].load(Relaxed));
        assert!(changed.is_ok() || self.heard[which].load(Relaxed) || self.ledger.is_ending(), "a watch is gone");
    }
}

/// The watch of a descriptor, or of the time.
struct Ear {
    life: Life,
    desk: Arc<Desk>,
    random: Random,
    from: Option<UnixStream>,
    /// What is still to come: bytes or times.
    left: u64,
    at: u64,
}

impl Ear {
    fn hear(&mut self, ready: Ready) {
        let Some(from) = &mut self.from else {
            assert!(ready.is_empty() && now() >= self.at, "early");
            self.left -= 1;
            self.at = now() + self.random.below(100_000);
            let at = if self.left == 0 { u64::MAX } else { self.at };
            return self.desk.change(1, |watch| watch::wait_until(watch, at));
        };
        assert!(ready.intersects(Ready::READABLE));
        let mut some = vec![0; 1 + self.random.below(20) as usize];
        let n = from.read(&mut some).expect("the kernel was asked");
        for byte in &some[..n] {
            assert_eq!(u64::from(*byte), self.left % 251, "another byte");
            self.left -= 1;
        }
    }
}

impl Watcher for Ear {
    fn call(&mut self, ready: Ready) {
        self.life.poll_begins();
        assert!(!self.desk.busy.swap(true, Relaxed), "two functions at a time");
        self.hear(ready);
        if self.left == 0 {
            let which = usize::from(self.from.is_none());
            self.desk.change(which, |watch| watch::wait_for(watch, None));
            self.desk.is_over(which);
        }
        self.desk.busy.store(false, Relaxed);
        self.life.poll_ends();
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.life.check_idle();
    }
}

/// Opens a watch, as often as memory is out.
fn open(desk: &Arc<Desk>, near: Option<u32>, mut ear: Ear) -> Option<u64> {
    let which = usize::from(ear.from.is_none());
    let runtime = RuntimeRef::enter(desk.ledger.runtime.load(Relaxed)).ok()?;
    loop {
        let fd = ear.from.as_ref().map(AsRawFd::as_raw_fd);
        ear = match watch::open(&runtime, near, fd, ear, |raw| desk.handles[which].store(raw, Relaxed)) {
            Ok(()) => return Some(desk.handles[which].load(Relaxed)),
            Err((libc::ENOMEM, ear)) => ear,
            Err((errno, _ear)) => {
                assert!(desk.ledger.is_ending(), "a watch was refused: {errno}");
                return None;
            }
        };
        thread::yield_now();
    }
}

pub(super) fn watches(act: &mut Act, outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    let (reader, mut writer) = UnixStream::pair().expect("descriptors");
    reader.set_nonblocking(true).expect("a socket");
    let desk = Arc::new(Desk {
        ledger: act.ledger.clone(),
        busy: AtomicBool::default(),
        heard: Default::default(),
        told: Notify::default(),
        handles: Default::default(),
    });
    let total = 1 + act.random.below(200);
    let mut ear = |from, left| Ear {
        life: act.ledger.begin("watches"),
        desk: desk.clone(),
        random: Random::new(act.random.next()),
        from,
        left,
        at: now() + act.random.below(100_000),
    };
    let (bytes, times) = (ear(Some(reader), total), ear(None, 1 + total % 5));
    let first = times.at;
    let Some(hears) = open(&desk, None, bytes) else { return Vec::new() };
    let near = RuntimeRef::enter(act.ledger.runtime.load(Relaxed)).and_then(|runtime| watch::home_of(hears, &runtime));
    let Some(ticks) = near.ok().and_then(|near| open(&desk, Some(near), times)) else { return Vec::new() };
    desk.change(1, |_| watch::wait_until(ticks, first));

    let (mut branch, shared) = (act.branch(), desk.clone());
    let gives_up = act.random.chance(200);
    outsiders.push(thread::spawn("feeds", move || {
        let mut left = total;
        while left > 0 {
            let some = (1 + branch.random.below(30)).min(left);
            let piece: Vec<u8> = (0..some).map(|i| ((left - i) % 251) as u8).collect();
            // Nobody may listen any more.
            let _ = writer.write_all(&piece);
            left -= some;
            let interest = branch.random.chance(700).then_some(Interest::READABLE);
            shared.change(0, |watch| watch::wait_for(watch, interest));
            stand_by(branch.random.below(50_000));
            if gives_up && branch.random.chance(300) {
                shared.is_over(0);
                let _ = watch::close(hears);
            }
        }
        shared.change(0, |watch| watch::wait_for(watch, Some(Interest::READABLE)));
        // The end would be something to read.
        while !shared.heard[0].load(Relaxed) && !shared.ledger.is_ending() {
            stand_by(50_000);
        }
        drop(writer);
    }));
    let ends = act.spawn(async move {
        while !desk.heard.iter().all(|heard| heard.load(Relaxed)) {
            desk.told.notified().await;
        }
        // Its task looks as it is closed.
        for interest in [Some(Interest::READABLE), None] {
            desk.change(0, |watch| watch::wait_for(watch, interest));
        }
        for (which, handle) in desk.handles.iter().enumerate() {
            let closed = watch::close(handle.load(Relaxed));
            let given_up = gives_up && which == 0;
            assert!(closed.is_ok() || given_up || desk.ledger.is_ending(), "nobody else closes it");
        }
    });
    ends.into_iter().collect()
}

/// Connects that are taken, cancelled, or left.
pub(super) fn connects(act: &mut Act, _outsiders: &mut Outsiders) -> Vec<JoinHandle<()>> {
    let Some((listener, at)) = super::waits::listener(act) else { return Vec::new() };
    let (listener, mut waits) = (Arc::new(listener), Vec::new());
    for _ in 0..1 + act.random.below(4) {
        let (listener, at, mut branch) = (listener.clone(), at.clone(), act.branch());
        let (cancels, leaves) = (branch.random.chance(300), branch.random.chance(300));
        waits.extend(act.spawn(async move {
            let runtime = branch.ledger.runtime.load(Relaxed);
            let Some(op) = dial(&branch, runtime, &at).await else { return };
            branch.pause().await;
            if cancels {
                let _ = OpName::parse(op).expect("a handle").cancel();
            }
            if leaves {
                return;
            }
            match outcome(op).await {
                io @ 0.. => drop(Io::new(IoName::parse(io as u64).expect("a descriptor"))),
                errno => {
                    let mine = cancels && errno == -i64::from(libc::ECANCELED);
                    // Its runner may find no memory.
                    let poor = errno == -i64::from(libc::ENOMEM);
                    assert!(mine || poor || branch.ledger.is_ending(), "not connected: {errno}");
                }
            }
            drop(listener);
        }));
    }
    waits
}

async fn dial(act: &Act, runtime: u64, at: &std::os::unix::net::SocketAddr) -> Option<u64> {
    use std::os::linux::net::SocketAddrExt;
    let name = [b"@", at.as_abstract_name().expect("a name")].concat();
    loop {
        let begun = in_task(|cx| {
            let address = address::unix(&name).expect("a name");
            Poll::Ready(submit_errand(cx, unix::connect(runtime, address, unix::Options::default())))
        });
        match begun.await {
            Ok(op) => return Some(op),
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => super::ledger::pause().await,
            Err(error) => {
                assert!(act.ledger.is_ending(), "a connect was refused: {error}");
                return None;
            }
        }
    }
}
