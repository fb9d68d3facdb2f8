//! A simulated world for the library: who runs next, what time it is, and what goes wrong, is all drawn from one seed.
//!
//! A world is a process of its own (`run.rs`), so every seed begins with the same memory. Its threads are real ones, with
//! their own stacks and thread-local values, but only one runs at a time: the one that has the baton. The baton may be
//! passed on wherever the library does something that another thread could see: at every atomic access, lock, and wait
//! (`sync.rs`, which `primitives/sync.rs` puts in the place of the real ones). So a seed says everything about a run.
//!
//! Real threads rather than coroutines: the library's statics are made once and its slabs are never given back, it has
//! thread-local values, and asks the system for the thread's name. All that stays as it is.
//!
//! What is not simulated is the memory model: accesses are sequentially consistent here. Weak orderings are loom's matter.

pub(crate) mod nature;
pub(crate) mod run;
pub(crate) mod sync;
pub(crate) mod thread;
mod world;

pub(crate) use world::{Probe, Woken, block, fail, point, stand_by, trace};
