//! What a C caller holds instead of a pointer.
//!
//! | generation 32 | kind 5 | index 27 |
//!
//! The index names a slab entry, the kind says which slab, the generation which of the entry's lives. A kind is never 0,
//! so no valid handle is 0.

use super::pack::Field;

const INDEX: Field = Field::low(INDEX_BITS);
const KIND: Field = INDEX.above(5);
const GENERATION: Field = KIND.above(32);

/// How many bits an index has.
pub(crate) const INDEX_BITS: u32 = 27;

/// How many entries a slab may have.
pub(crate) const MAX_INDEX: u32 = INDEX.max() as u32;

/// What a handle names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Runtime = 1,
    Io = 2,
    Task = 3,
    Op = 4,
    Lease = 5,
    Blob = 6,
    Set = 7,
    Timer = 8,
    Signal = 9,
    Process = 10,
    Notify = 11,
    Sem = 12,
    Chan = 13,
    Oneshot = 14,
    Event = 15,
    Stream = 16,
    Server = 17,
    Watch = 18,
    /// Names an operation's cancel on a ring. No handle of a program's has it.
    Cancel = 31,
}

/// A handle that was taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) generation: u32,
    pub(crate) index: u32,
}

impl Handle {
    /// `None` where the bits name another kind, or none. No entry's first life is 0, so a handle with that generation is
    /// forged; it must not meet an entry that never lived, or that marks its end by a 0.
    #[inline]
    pub(crate) fn parse(raw: u64, kind: Kind) -> Option<Self> {
        (KIND.get(raw) == kind as u64 && GENERATION.get(raw) != 0)
            .then(|| Self { generation: GENERATION.get(raw) as u32, index: INDEX.get(raw) as u32 })
    }

    pub(crate) fn pack(self, kind: Kind) -> u64 {
        debug_assert!(self.index <= MAX_INDEX);
        GENERATION.set(KIND.set(INDEX.set(0, self.index.into()), kind as u64), self.generation.into())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_wrong_kind() {
        let handle = Handle { generation: u32::MAX, index: MAX_INDEX };
        let raw = handle.pack(Kind::Io);
        assert_eq!(Handle::parse(raw, Kind::Io), Some(handle));
        assert_eq!(Handle::parse(raw, Kind::Task), None);
        assert_eq!(Handle::parse(0, Kind::Runtime), None);
        assert_eq!(Handle::parse(Handle { generation: 0, index: 1 }.pack(Kind::Io), Kind::Io), None);
    }
}
