//! A connection's task, and its place in the server.

use super::deadlines::{Cut, expire};
use super::{Arrival, Program, Server};
use crate::runtime::{IoName, RuntimeRef, now};
use crate::task::{Runs, TaskName, header_of};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A place among the connections that a server may have. It is free again when this is dropped.
pub(super) struct Place {
    server: Arc<Server>,
    number: u64,
    /// The connection's task returned.
    returned: bool,
}

impl Place {
    pub(super) fn new(server: Arc<Server>, number: u64) -> Self {
        Self { server, number, returned: false }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.leave_place(self.number, self.returned);
    }
}

type Watch = Pin<Box<dyn Future<Output = Cut> + Send>>;

/// The program's task with what the server adds to it. Its fields are dropped in their order: the place is free after the
/// program dropped its state.
struct Served<F> {
    future: F,
    /// Where the connection has deadlines.
    watch: Option<Watch>,
    place: Place,
}

impl<F: Runs> Runs for Served<F> {
    fn first_look(&self) -> *const () {
        self.future.first_look()
    }
}

impl<F: Future> Future for Served<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the future is not moved out of what is pinned, and nothing else in here minds.
        let this = unsafe { self.get_unchecked_mut() };
        if let Some(watch) = &mut this.watch
            && let Poll::Ready(why) = watch.as_mut().poll(context)
        {
            this.watch = None;
            this.place.server.count_cut(why);
            // The abort that everybody else would ask for: it is not polled again, and its operations end first.
            if let Some(task) = header_of(context.waker()) {
                let _ = TaskName::of(task).abort();
            }
            return Poll::Pending;
        }
        // SAFETY: as above.
        let polled = unsafe { Pin::new_unchecked(&mut this.future) }.poll(context);
        this.place.returned = polled.is_ready();
        polled
    }
}

/// Makes a connection a task of the program's, or closes it.
pub(super) fn begin<P: Program>(runtime: &RuntimeRef, program: &P, io: IoName, place: Place) {
    let (server, number) = (place.server.clone(), place.number);
    let watch = server.limits().map(|limits| {
        // Without memory for notes it counts as closed: there is nothing to go by.
        let _ = io.note_activity();
        Box::pin(expire(io, limits, now())) as Watch
    });
    let refuse = || {
        // Counted before its client can know.
        server.count_refused();
        let _ = io.close();
    };
    let Some(Arrival { future, home, label }) = program.connect(io) else {
        // The place is kept until the descriptor is free.
        refuse();
        return drop(place);
    };
    if let Some(home) = home {
        // Where it cannot be moved, its events come from another worker.
        let _ = io.rehome(runtime.handle(), home);
    }
    let (mut name, mut too_late) = (None, false);
    let spawned =
        runtime.spawn_task(Served { future, watch, place }, Some(home.unwrap_or_else(|| io.home())), false, |made| {
            if let Some(label) = label {
                made.set_label(label);
            }
            name = Some(made);
            too_late = server.connection_begins(number, made);
        });
    match (spawned, name) {
        // The program's state is dropped as that of a task that was aborted before it ran.
        (Err((_, served)), _) => {
            drop(served);
            refuse();
        }
        (Ok(()), Some(name)) if too_late => drop(name.abort()),
        _ => {}
    }
}
