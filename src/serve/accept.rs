//! Acceptors: a task for each listener of a server.

use super::connection::{self, Place};
use super::state::Admission;
use super::{Program, Server};
use crate::readiness::Interest;
use crate::runtime::{Errno, Family, Io, IoName, IoPoll, PollContext, RuntimeRef, placeholder};
use crate::task::{TaskName, header_of};
use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Counts an acceptor, from before it is spawned until its listener was closed.
struct Counted(Arc<Server>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.acceptor_ends();
    }
}

/// Accepts connections until the server stops. Its fields are dropped in their order: when the server is over, its listeners
/// are closed.
pub(super) struct Acceptor<P: Program> {
    listener: Option<Io>,
    name: IoName,
    family: Family,
    home: u32,
    program: Arc<P>,
    /// A descriptor to be given up when no other can be had, so that a connection can be accepted, and closed, which tells its
    /// client more than silence.
    reserve: Option<OwnedFd>,
    /// Since the server was stopped: how many connections may still be taken out of the backlog.
    left: Option<u32>,
    /// Since then: the last try failed, so the next one has its time.
    starved: bool,
    counted: Counted,
}

/// What came of one try.
enum Accepted {
    Connection(OwnedFd),
    /// One that was closed at once.
    Shed,
    /// Nothing, and a later try may have more.
    Nothing,
    /// The listener is of no use any more.
    Over,
}

/// True for what a listener says that will give nothing any more. Everything else is the affair of one connection, or of the
/// system, and passes.
fn is_end(errno: Errno) -> bool {
    matches!(errno, libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::ESHUTDOWN | libc::ENOTRECOVERABLE)
}

impl<P: Program> Acceptor<P> {
    pub(super) fn new(server: &Arc<Server>, program: &Arc<P>, listener: Io, name: IoName, home: u32) -> Self {
        server.acceptor_begins(None);
        Self {
            listener: Some(listener),
            name,
            family: name.connections(),
            home,
            program: program.clone(),
            reserve: placeholder(),
            left: None,
            starved: false,
            counted: Counted(server.clone()),
        }
    }

    /// Spawns the acceptor, on the worker that watches its listener.
    pub(super) fn begin(self, runtime: &RuntimeRef) -> Result<(), (Errno, Self)> {
        let (server, home) = (self.counted.0.clone(), Some(self.home));
        let named = |name| server.acceptor_begins(Some(name));
        runtime.spawn(self, home, false, named).map_err(|(error, acceptor)| (error.errno(), acceptor))
    }

    /// The listener stays the caller's.
    pub(super) fn give_back(mut self) {
        std::mem::forget(self.listener.take());
    }

    fn server(&self) -> &Arc<Server> {
        &self.counted.0
    }

    /// Runs `f` with a context that is marked as this task's poll. The program is called outside of that mark: it is in nobody's
    /// poll then.
    fn within<R>(context: &Context<'_>, f: impl FnOnce(&PollContext) -> IoPoll<R>) -> IoPoll<R> {
        let (Some(cx), Some(task)) = (PollContext::of_worker(), header_of(context.waker())) else {
            return Poll::Ready(Err(libc::ENOTRECOVERABLE));
        };
        let _polling = cx.enter(task);
        f(cx)
    }

    fn try_accept(&mut self, context: &Context<'_>, is_last: bool) -> IoPoll<OwnedFd> {
        let (name, starved) = (self.name, self.starved);
        let tried = Self::within(context, |cx| {
            if !is_last {
                return name.poll_accept_owned(cx);
            }
            // The look and the try are one result: what the look took must not keep the try waiting.
            if starved {
                if let Err(errno) = ready!(name.poll_ready(cx, Interest::READABLE)) {
                    return Poll::Ready(Err(errno));
                }
            } else if cx.can_spend() {
                cx.spend();
            } else {
                return Poll::Pending;
            }
            Poll::Ready(name.accept_now())
        });
        self.starved &= tried.is_pending();
        tried
    }

    fn accept(&mut self, context: &Context<'_>, runtime: &RuntimeRef, is_last: bool) -> Poll<Accepted> {
        self.reserve = self.reserve.take().or_else(placeholder);
        let mut tried = self.try_accept(context, is_last);
        let mut shed = false;
        if matches!(tried, Poll::Ready(Err(libc::EMFILE | libc::ENFILE))) && self.reserve.take().is_some() {
            // Without the reserve the kernel would say that no matter whether there is a connection.
            tried = self.try_accept(context, is_last);
            shed = true;
        }
        let accepted = match tried {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(fd)) if shed => {
                // Counted before its client can know, and closed before the reserve is taken again.
                self.server().count_shed();
                drop(fd);
                Accepted::Shed
            }
            Poll::Ready(Ok(fd)) => Accepted::Connection(fd),
            // The backlog is empty.
            Poll::Ready(Err(libc::EAGAIN)) if is_last => Accepted::Over,
            Poll::Ready(Err(errno)) if is_end(errno) => Accepted::Over,
            Poll::Ready(Err(_)) => {
                runtime.starve(self.name);
                self.starved = is_last;
                Accepted::Nothing
            }
        };
        Poll::Ready(accepted)
    }

    fn take_in(&self, runtime: &RuntimeRef, fd: OwnedFd, place: Place) {
        let home = self.server().next_home(runtime, self.home);
        match runtime.adopt(fd, self.family, home) {
            Ok(io) => connection::begin(runtime, &*self.program, io, place),
            Err(_) => self.server().count_refused(),
        }
    }
}

impl<P: Program> Future for Acceptor<P> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Ok(runtime) = RuntimeRef::enter(this.server().runtime) else { return Poll::Ready(()) };
        let Some(me) = header_of(context.waker()).map(TaskName::of) else { return Poll::Ready(()) };
        loop {
            let (place, is_last) = match Server::admit(this.server(), me) {
                Admission::Wait => return Poll::Pending,
                Admission::Over => return Poll::Ready(()),
                Admission::Place(place, is_last) => (place, is_last),
            };
            // What comes after a stop need not be served.
            if is_last && *this.left.get_or_insert_with(|| this.name.backlog()) == 0 {
                return Poll::Ready(());
            }
            match this.accept(context, &runtime, is_last) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Accepted::Connection(fd)) => this.take_in(&runtime, fd, place),
                Poll::Ready(Accepted::Shed) => {}
                Poll::Ready(Accepted::Nothing) => continue,
                Poll::Ready(Accepted::Over) => return Poll::Ready(()),
            }
            this.left = this.left.map(|left| left.saturating_sub(1));
        }
    }
}
