//! What comes next is asked for before it is looked at.
//!
//! With a thousand connections nothing of one is in the caches any more when its next message comes, and little when its
//! task's turn comes after that, for the system calls of the others had use for them. Each line is then waited for, some tens
//! of nanoseconds and more where its page is not known either, unless its way overlaps with something else. Where the next
//! lines are stands in those before, so that all is done in steps.

use super::super::local::List;
use super::super::worker::Worker;
use super::life::neighbour;
use super::*;
use crate::driver::Completion;
use crate::primitives::prefetch::{MANY, prefetch};

impl Worker {
    /// What completions are about, of all of them before the first is looked at.
    pub(super) fn foresee(&self, completions: &[Completion]) {
        if completions.len() < MANY {
            return;
        }
        let named = completions.iter().filter_map(|completion| Handle::parse(completion.user_data, Kind::Op));
        let found = named.filter_map(|handle| Some((OPS.get(handle.index)?, handle.generation)));
        found.clone().for_each(|(op, _)| op.foresee());
        let ours = found.filter(|(op, generation)| self.owns(op, *generation)).map(|(op, _)| (op, op.body(self)));
        for (op, body) in ours.clone() {
            prefetch(op.task.load(Relaxed), 0);
            body.foresee();
        }
        ours.for_each(|(_, body)| body.foresee_traffic());
    }

    /// What a task looks at that is about to run, and the pinned ones whose turns come next: a step further with each of them
    /// before every run, and no earlier than it takes, lest the tasks between push it out again.
    pub(in super::super) fn foresee_runs(&self, task: &Header, pinned: &List) {
        if pinned.len() < MANY as u32 {
            return;
        }
        let latest = |task: &Header| if task.has_ops() { neighbour(task.first_op()) } else { None };
        latest(task).into_iter().for_each(|op| op.body(self).foresee());
        let mut next = pinned.iter();
        let Some(task) = next.next() else { return };
        latest(task).into_iter().for_each(Operation::foresee);
        // SAFETY: here and below, the task is in a list that this worker alone takes tasks from.
        unsafe { task.ask_ahead(true) };
        let Some(task) = next.next() else { return };
        // SAFETY: as above.
        unsafe { task.ask_ahead(false) };
        next.next().into_iter().for_each(|task| prefetch(task, 0));
    }
}

impl Operation {
    fn foresee(&self) {
        prefetch(self, 0);
        prefetch(self, 1);
    }
}

impl Body {
    fn foresee(&self) {
        self.ios[0].into_iter().for_each(|io| prefetch(io.io, 0));
        if let Some(many) = &self.many {
            prefetch(&raw const **many, 0);
            prefetch(&raw const **many, 1);
        }
    }

    fn foresee_traffic(&self) {
        let traffic = self.ios[0].and_then(IoName::traffic_if_any);
        traffic.into_iter().for_each(|traffic| prefetch(traffic, 0));
    }
}
