//! Tasks: what a scheduler runs. A Rust future and a C poll function are the same kind of task.
//!
//! A task is one entry of the process-wide, type-stable slab of cells (`cell.rs`). One word (`state.rs`) holds its
//! generation, its flags and its reference count; every edge between states is one function there, and every edge is one
//! read-modify-write, or none where nothing changes. Who may touch what:
//! - the stage (the future, later its output): whoever set RUNNING; after COMPLETE whoever cleared JOIN_INTEREST, or the
//!   runner if it was clear already;
//! - the link: the queue that holds the task;
//! - the joiners, and the calls (`calls.rs`): under their locks;
//! - everything else is written before the task's first reference is given away, and is constant until the last is gone.
//!
//! Each cell holds a count on its scheduler, so a wake that comes after the runtime was freed finds a closed inbox. A free cell
//! that a scheduler keeps for its next task (`Spare`) holds it, too.

mod calls;
mod cell;
mod join;
mod life;
mod name;
mod raw;
mod state;
mod waker;

#[cfg(all(test, loom))]
pub(crate) mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

pub(crate) use calls::{Call, Calls, Tie, Tied, Ties};
pub(crate) use cell::{Header, Plain, Runs};
pub use join::{JoinError, JoinHandle};
pub(crate) use life::{Spare, SpawnError, spawn};
pub(crate) use name::{Stale, TaskName, cells, live_tasks};
pub(crate) use raw::{Notified, Ran, Schedule};
pub(crate) use waker::{WAKER_VTABLE, header_of, is_dead};
