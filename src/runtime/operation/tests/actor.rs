//! A task that does at random what a program may do, and holds the library to its word.

use super::super::parcel::Goods;
use super::super::submit::{poll_quiesce, submit};
use super::super::{CURRENT, Delivered, OpName, Request};
use super::world::{End, Kind, World};
use crate::runtime::context::PollContext;
use crate::runtime::{IoName, NEVER, claim_lease, now};
use crate::task::header_of;
use parking_lot::Mutex;
use std::cell::Cell;
use std::ffi::c_void;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

pub(super) struct Actor {
    pub(super) id: usize,
    pub(super) world: Arc<Mutex<World>>,
    /// Operations whose outcome it will take.
    ops: Vec<u64>,
}

impl Actor {
    pub(super) fn new(id: usize, world: Arc<Mutex<World>>) -> Self {
        Self { id, world, ops: Vec::new() }
    }
}

/// What `forget` gave away.
struct Report {
    world: Arc<Mutex<World>>,
    name: u64,
}

unsafe extern "C" fn reported(arg: *mut c_void, outcome: i64) {
    // SAFETY: the box that was given away with the function, which is called once.
    let report = unsafe { Box::from_raw(arg.cast::<Report>()) };
    // Nobody unwinds through a function of C's.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _noted = Noted;
        report.world.lock().outcome(report.name, outcome);
    }));
}

thread_local! {
    /// A check failed where the runtime catches panics.
    pub(super) static FAILED: Cell<bool> = const { Cell::new(false) };
}

struct Noted;

impl Drop for Noted {
    fn drop(&mut self) {
        if std::thread::panicking() {
            FAILED.set(true);
        }
    }
}

impl Future for Actor {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let _noted = Noted;
        let cx = PollContext::of_worker().expect("a worker polls");
        let _polling = cx.enter(header_of(context.waker()).expect("a task's waker"));
        let shared = self.world.clone();
        let world = &mut *shared.lock();
        match world.end {
            None => {
                for _ in 0..world.random.below(5) {
                    self.act(cx, world, &shared);
                }
                Poll::Pending
            }
            Some(End::Leave) => Poll::Ready(()),
            Some(End::Wait) => Poll::Pending,
            Some(End::Finish) => {
                for &name in &self.ops {
                    world.cancel(name);
                }
                let ops = std::mem::take(&mut self.ops);
                self.ops = ops.into_iter().filter(|&name| !take(cx, world, name)).collect();
                // What was forgotten cannot be cancelled; only a close ends it.
                let quiet = !world.closed || poll_quiesce(cx).is_ready();
                if self.ops.is_empty() && quiet { Poll::Ready(()) } else { Poll::Pending }
            }
        }
    }
}

/// Takes what an operation has. True if that was the last.
fn take(cx: &PollContext, world: &mut World, name: u64) -> bool {
    let op = OpName::parse(name).expect("a handle");
    match world.kind(name) {
        Kind::Accepts => loop {
            match op.poll_accepted(cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(io)) => world.connection(io),
                Poll::Ready(Err(libc::EMFILE | libc::ENOMEM)) if op.is_live() => {}
                Poll::Ready(Err(errno)) => {
                    world.outcome(name, -i64::from(errno));
                    break;
                }
            }
        },
        Kind::Receives => loop {
            match op.poll_received(cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(Delivered::Data(lease))) => world.received(name, lease),
                Poll::Ready(Ok(Delivered::Last(outcome))) => {
                    world.outcome(name, outcome);
                    break;
                }
                Poll::Ready(Err(errno)) => panic!("a receiver that is alive: {errno}"),
            }
        },
        _ => match op.poll(cx) {
            Poll::Pending => return false,
            Poll::Ready(Ok(outcome)) => world.outcome(name, outcome),
            Poll::Ready(Err(errno)) => panic!("an operation that is alive: {errno}"),
        },
    }
    assert_eq!(op.poll(cx), Poll::Ready(Err(libc::EBADF)), "an outcome is taken once");
    assert_eq!(op.cancel(), Err(libc::EBADF));
    true
}

impl Actor {
    fn act(&mut self, cx: &PollContext, world: &mut World, shared: &Arc<Mutex<World>>) {
        let pick = |world: &mut World, ops: &[u64]| (!ops.is_empty()).then(|| world.random.below(ops.len() as u64));
        match world.random.below(20) {
            0..8 if self.ops.len() < 16 => self.submit(cx, world),
            0..11 => {
                let ops = std::mem::take(&mut self.ops);
                self.ops =
                    ops.into_iter().filter(|&name| !(world.random.chance(500) && take(cx, world, name))).collect();
            }
            choice @ 11..14 => {
                let Some(at) = pick(world, &self.ops) else { return };
                let (at, name) = (at as usize, self.ops[at as usize]);
                let op = OpName::parse(name).expect("a handle");
                match choice {
                    11 => world.cancel(name),
                    12 => {
                        let at = [1, now(), now() + 10_000_000_000, NEVER][world.random.below(4) as usize];
                        assert_eq!(op.set_deadline(at), Ok(()));
                        world.has_deadline(name, at);
                    }
                    _ if matches!(world.kind(name), Kind::Accepts | Kind::Receives) => {
                        assert_eq!(op.forget(None, std::ptr::null_mut()), Err(libc::EINVAL));
                    }
                    _ => {
                        self.ops.swap_remove(at);
                        let report = Box::into_raw(Box::new(Report { world: shared.clone(), name }));
                        let asks = world.forgets(name);
                        assert_eq!(op.forget(asks.then_some(reported), report.cast()), Ok(()));
                        if !asks {
                            // SAFETY: nobody was given the function that it is for.
                            drop(unsafe { Box::from_raw(report) });
                        }
                        assert_eq!(op.poll(cx), Poll::Ready(Err(libc::EBADF)), "forgotten");
                    }
                }
            }
            14 => world.close_something(),
            15 => world.release_something(),
            16 => {
                let _ = poll_quiesce(cx);
            }
            17 => {
                if let Some(name) = world.of_another(self.id) {
                    let polled = OpName::parse(name).expect("a handle").poll(cx);
                    assert_eq!(polled, Poll::Ready(Err(libc::EPERM)), "another task's");
                }
            }
            _ => send_something(world),
        }
    }

    fn submit(&mut self, cx: &PollContext, world: &mut World) {
        let (kind, request, io) = request(world);
        let memory = world.lent.take();
        match submit(cx, request, [io, None]) {
            Ok(name) => {
                self.ops.push(name);
                world.begun(name, self.id, kind, memory);
            }
            Err(libc::EBADF | libc::EAGAIN) => world.give_back(memory),
            Err(errno) => panic!("a submission was refused: {errno}"),
        }
    }
}

fn request(world: &mut World) -> (Kind, Request, Option<IoName>) {
    let at = world.random.below(world.subjects.len() as u64) as usize;
    let len = 1 + world.random.below(200) as usize;
    let subject = &world.subjects[at];
    let (io, is_file, is_listener, stream) = (subject.io, subject.is_file, subject.is_listener, subject.peer.is_some());
    let choice = world.random.below(if is_listener { 3 } else { 10 });
    let (kind, request) = match choice {
        _ if world.random.chance(40) => (Kind::Closes, Request::Close),
        _ if world.random.chance(60) => {
            let path = c"somewhere".to_owned();
            return (Kind::Makes, Request::Open { path, flags: 0, mode: 0 }, None);
        }
        0 if is_listener => (Kind::Makes, Request::Accept),
        _ if is_listener => (Kind::Accepts, Request::AcceptMany),
        0 if is_file => (Kind::Plain, Request::Sync { data_only: true }),
        1 if is_file => (Kind::Plain, Request::Truncate { len: 5 }),
        2 if is_file => (Kind::Plain, Request::Allocate { mode: 0, offset: 0, len: 5 }),
        _ if is_file && choice < 6 => (Kind::Plain, Request::Read { buffer: world.lend(len), len, offset: 7 }),
        _ if is_file => (Kind::Plain, Request::Write { buffer: world.lend(len), len, offset: 7, flags: 0 }),
        0 if stream && world.random.chance(100) => (Kind::Plain, Request::Shutdown { how: libc::SHUT_WR }),
        0..4 => (Kind::Receives, Request::RecvMany),
        4 => (Kind::Plain, Request::Recv { buffer: world.lend(len), len, flags: 0 }),
        5 => (Kind::Plain, Request::Read { buffer: world.lend(len), len, offset: CURRENT }),
        _ if stream => {
            let (buffer, len, frame) = world.frame();
            (Kind::Sends(at, frame), Request::Send { buffer, len, flags: 0 })
        }
        _ => (Kind::Plain, Request::Send { buffer: world.lend(len), len, flags: 0 }),
    };
    (kind, request, Some(io))
}

/// Gives a stream something that the library then owns.
fn send_something(world: &mut World) {
    let at = world.random.below(world.subjects.len() as u64) as usize;
    let io = world.subjects[at].io;
    if world.subjects[at].peer.is_none() {
        return;
    }
    let (start, len, _frame) = world.frame();
    let memory = world.lent.take();
    // SAFETY: lent until it is given back below.
    let bytes = unsafe { std::slice::from_raw_parts(start, len) };
    match io.send(Goods::Copy(bytes)) {
        Ok(sent) => assert_eq!(sent, len),
        Err((libc::EBADF | libc::EPIPE | libc::EAGAIN | libc::ECANCELED, _)) => {}
        Err((errno, _)) => panic!("a send was refused: {errno}"),
    }
    world.give_back(memory);
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _noted = Noted;
        self.world.lock().task_dropped(self.id);
    }
}

/// Takes a lease back that was handed out, as the program's release does.
pub(super) fn give_back(lease: u64) {
    drop(claim_lease(lease).expect("the program has it"));
    assert!(claim_lease(lease).is_err(), "given back once");
}
