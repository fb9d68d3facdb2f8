//! The deadlines of a connection.
//!
//! Nothing is set or cancelled when bytes move: whoever moves them leaves a note with the descriptor, and the deadlines look
//! at the notes, for an idle one four times in its length. An idle connection is cut when it is seen unchanged for that long,
//! so never early, and a quarter late at most.

use crate::runtime::{IoName, NEVER, now};
use crate::time::Sleep;

/// How long a connection may take, in nanoseconds. 0: no limit.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) first_byte: u64,
    pub(super) idle: u64,
    pub(super) total: u64,
}

/// Why a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    FirstByte,
    Idle,
    Total,
}

fn after(begun: u64, span: u64) -> u64 {
    if span == 0 { NEVER } else { begun.saturating_add(span) }
}

/// Completes when the connection is to be cut. What is closed has received what it will, and is not idle.
pub(super) async fn expire(io: IoName, limits: Limits, begun: u64) -> Cut {
    let (mut first_byte, total) = (after(begun, limits.first_byte), after(begun, limits.total));
    let mut idle = limits.idle;
    let mut seen = io.activity();
    // The time is asked after the notes, here and below: they are not younger than that.
    let mut active = now();
    let mut looked = active;
    loop {
        let look = after(looked, idle.div_ceil(4)).min(after(active, idle));
        let next = look.min(first_byte).min(total);
        if next == NEVER {
            return std::future::pending().await;
        }
        Sleep::until(next).await;
        let activity = io.activity();
        looked = now();
        if looked >= total {
            return Cut::Total;
        }
        match activity {
            None => (first_byte, idle) = (NEVER, 0),
            Some(activity) if activity.has_received() => first_byte = NEVER,
            Some(_) if looked >= first_byte => return Cut::FirstByte,
            Some(_) => {}
        }
        if activity != seen {
            (seen, active) = (activity, looked);
        } else if idle != 0 && looked - active >= idle {
            return Cut::Idle;
        }
    }
}
