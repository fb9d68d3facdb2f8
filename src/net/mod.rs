//! Names, addresses and connections.

pub(crate) mod resolve;
