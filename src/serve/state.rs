//! What is decided about a server: one lock, one function a decision.

use super::Server;
use super::connection::Place;
use super::deadlines::Cut;
use crate::primitives::crowd::Crowd;
use crate::runtime::NEVER;
use crate::task::TaskName;
use std::collections::HashMap;
use std::mem::take;
use std::sync::Arc;
use std::task::Waker;

/// Where a server is in its life. Only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Its acceptors are being made.
    Opening,
    Serving,
    /// It accepts what had come before it was stopped, and nothing more.
    Draining,
    /// Connections that are left are aborted.
    Cutting,
}

/// Counters of a server, from its beginning.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Connections that got a task.
    pub accepted: u64,
    /// Those that got none, because the program said so or the task could not be made.
    pub refused: u64,
    /// Connections whose task has not ended.
    pub live: u64,
    /// Connections that were cut because no byte came.
    pub cut_first_byte: u64,
    /// Connections that were cut because nothing moved.
    pub cut_idle: u64,
    /// Connections that were cut because their time was over.
    pub cut_total: u64,
    /// Connections that were closed at once for want of descriptors.
    pub shed: u64,
}

/// Tasks and contexts that wait for the same thing.
pub(super) type Waiters = Crowd<usize, Waker>;

/// See the module.
pub(super) struct State {
    pub(super) phase: Phase,
    /// The handle is stale.
    pub(super) freed: bool,
    stats: Stats,
    /// The number of the next connection.
    next: u64,
    /// Connections, and places that acceptors hold for what they are about to accept.
    held: u64,
    live: HashMap<u64, TaskName>,
    acceptors: Vec<TaskName>,
    /// Acceptors that have not ended.
    accepting: usize,
    /// Acceptors that found no place. Only they are woken by a free one: whoever had it for nothing would come back.
    turned_away: Vec<TaskName>,
    /// Connections that the end of the drain's time cut.
    pub(super) cut: u64,
    /// When the connections are cut, and who does that.
    pub(super) cut_at: u64,
    pub(super) reapers: Vec<TaskName>,
    /// Who waits for the server to drain, and to have drained.
    pub(super) await_drain: Waiters,
    pub(super) await_end: Waiters,
}

/// Who is to be told of a change, after the lock.
#[derive(Default)]
pub(super) struct News {
    wakers: Vec<Waker>,
    tasks: Vec<TaskName>,
    aborted: Vec<TaskName>,
}

impl News {
    /// No lock is held. A task that is over needs to be told nothing.
    pub(super) fn tell(self) {
        self.aborted.into_iter().for_each(|task| drop(task.abort()));
        self.tasks.into_iter().for_each(|task| drop(task.wake()));
        self.wakers.into_iter().for_each(Waker::wake);
    }
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Opening,
            freed: false,
            stats: Stats::default(),
            next: 0,
            held: 0,
            live: HashMap::new(),
            acceptors: Vec::new(),
            accepting: 0,
            turned_away: Vec::new(),
            cut: 0,
            cut_at: NEVER,
            reapers: Vec::new(),
            await_drain: Waiters::default(),
            await_end: Waiters::default(),
        }
    }

    /// Nothing is left of a server that was stopped.
    pub(super) fn is_over(&self) -> bool {
        self.phase >= Phase::Draining && self.held == 0 && self.accepting == 0
    }

    fn advance(&mut self, phase: Phase, news: &mut News) {
        if self.phase >= phase {
            return;
        }
        self.phase = phase;
        news.tasks.extend(&self.acceptors);
        if phase >= Phase::Draining {
            news.wakers.extend(take(&mut self.await_drain).into_values());
        }
        if phase == Phase::Cutting {
            news.aborted.extend(self.live.values());
        }
    }

    fn look_at_end(&mut self, news: &mut News) {
        if self.is_over() {
            news.wakers.extend(take(&mut self.await_end).into_values());
            news.tasks.append(&mut self.reapers);
        }
    }
}

/// The answer to an acceptor that wants to accept.
pub(super) enum Admission {
    /// There is room. True: only for what has come before now.
    Place(Place, bool),
    /// The acceptor will be woken.
    Wait,
    /// Nothing is accepted any more.
    Over,
}

impl Server {
    /// Runs one decision under the lock, and tells of it.
    fn decide<R>(&self, decision: impl FnOnce(&mut State, &mut News) -> R) -> R {
        let mut news = News::default();
        let result = decision(&mut self.state.lock(), &mut news);
        news.tell();
        result
    }

    pub(super) fn acceptor_begins(&self, name: Option<TaskName>) {
        self.decide(|state, _| match name {
            Some(name) => state.acceptors.push(name),
            None => state.accepting += 1,
        });
    }

    /// An acceptor has closed its listener. Without it the server is not what it was: the others end as well.
    pub(super) fn acceptor_ends(&self) {
        self.decide(|state, news| {
            state.accepting -= 1;
            state.advance(Phase::Draining, news);
            state.look_at_end(news);
        });
    }

    /// All acceptors are there.
    pub(super) fn open(&self) {
        self.decide(|state, news| state.advance(Phase::Serving, news));
    }

    pub(super) fn admit(server: &Arc<Self>, acceptor: TaskName) -> Admission {
        let (most, mut state) = (server.options.max_connections, server.state.lock());
        match state.phase {
            Phase::Opening => Admission::Wait,
            Phase::Cutting => Admission::Over,
            _ if most != 0 && state.held >= most => {
                if !state.turned_away.contains(&acceptor) {
                    state.turned_away.push(acceptor);
                }
                Admission::Wait
            }
            phase => {
                state.held += 1;
                state.next += 1;
                Admission::Place(Place::new(server.clone(), state.next), phase == Phase::Draining)
            }
        }
    }

    /// A place is free again: nobody came, or the connection's task is over.
    pub(super) fn leave_place(&self, number: u64, ended_by_itself: bool) {
        self.decide(|state, news| {
            state.held -= 1;
            let was_live = state.live.remove(&number).is_some();
            if was_live && state.phase == Phase::Cutting && !ended_by_itself {
                state.cut += 1;
            }
            news.tasks.append(&mut state.turned_away);
            state.look_at_end(news);
        });
    }

    /// A connection's task was made, and has not run. True: it must be aborted as soon as it can be.
    pub(super) fn connection_begins(&self, number: u64, name: TaskName) -> bool {
        self.decide(|state, _| {
            state.stats.accepted += 1;
            state.live.insert(number, name);
            state.phase == Phase::Cutting
        })
    }

    pub(super) fn count_refused(&self) {
        self.state.lock().stats.refused += 1;
    }

    pub(super) fn count_shed(&self) {
        self.state.lock().stats.shed += 1;
    }

    pub(super) fn count_cut(&self, why: Cut) {
        let stats = &mut self.state.lock().stats;
        *match why {
            Cut::FirstByte => &mut stats.cut_first_byte,
            Cut::Idle => &mut stats.cut_idle,
            Cut::Total => &mut stats.cut_total,
        } += 1;
    }

    pub(super) fn stats(&self) -> Stats {
        let state = self.state.lock();
        Stats { live: state.live.len() as u64, ..state.stats }
    }

    pub(super) fn stop(&self) {
        self.decide(|state, news| {
            state.advance(Phase::Draining, news);
            state.look_at_end(news);
        });
    }

    /// The handle is stale: whoever waits is to see that.
    pub(super) fn leave(&self) {
        self.decide(|state, news| {
            state.freed = true;
            state.advance(Phase::Draining, news);
            news.wakers.extend(take(&mut state.await_end).into_values());
        });
    }

    /// The time is over.
    pub(super) fn cut_all(&self) {
        self.decide(|state, news| {
            state.advance(Phase::Cutting, news);
            state.look_at_end(news);
        });
    }
}
