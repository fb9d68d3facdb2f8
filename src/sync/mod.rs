//! What tasks and threads tell each other by.

pub(crate) mod event;
