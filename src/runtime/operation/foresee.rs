//! What many completions are about is asked for before they are looked at, one after the other.
//!
//! With a thousand connections nothing of one is in the caches any more when its next message comes. Each of its lines is
//! then waited for, some tens of nanoseconds, unless the way of one overlaps with those of others.

use super::super::worker::Worker;
use super::*;
use crate::driver::Completion;
use crate::primitives::prefetch::prefetch;

/// Of fewer connections much is still there.
const MANY: usize = 16;

impl Worker {
    /// In rounds, since where the next lines are stands in those of the round before.
    pub(super) fn foresee(&self, completions: &[Completion]) {
        if completions.len() < MANY {
            return;
        }
        let named = completions.iter().filter_map(|completion| Handle::parse(completion.user_data, Kind::Op));
        let found = named.filter_map(|handle| Some((OPS.get(handle.index)?, handle.generation)));
        for (op, _) in found.clone() {
            prefetch(op, 0);
            prefetch(op, 1);
        }
        let ours = found.filter(|(op, generation)| self.owns(op, *generation)).map(|(op, _)| (op, op.body(self)));
        for (op, body) in ours.clone() {
            prefetch(op.task.load(Relaxed), 0);
            body.ios[0].into_iter().for_each(|io| prefetch(io.io, 0));
            if let Some(many) = &body.many {
                prefetch(&raw const **many, 0);
                prefetch(&raw const **many, 1);
            }
        }
        for (_, body) in ours {
            let traffic = body.ios[0].and_then(IoName::traffic_if_any);
            traffic.into_iter().for_each(|traffic| prefetch(traffic, 0));
        }
    }
}
