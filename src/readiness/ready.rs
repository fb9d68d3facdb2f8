//! Sets of readiness, and of interest in it.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign};

/// What is ready. The low bits of a `ScheduledIo`'s word.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Ready(u8);

impl Ready {
    /// Nothing.
    pub const EMPTY: Self = Self(0);
    /// There is something to read.
    pub const READABLE: Self = Self(1);
    /// There is room to write.
    pub const WRITABLE: Self = Self(1 << 1);
    /// Out-of-band data, or another exceptional condition.
    pub const PRIORITY: Self = Self(1 << 2);
    /// An error is pending. Wakes both directions.
    pub const ERROR: Self = Self(1 << 3);
    /// The peer will send no more, or the read side was shut. Survives a clear.
    pub const READ_CLOSED: Self = Self(1 << 4);
    /// Nothing can be written any more. Survives a clear.
    pub const WRITE_CLOSED: Self = Self(1 << 5);
    /// Everything.
    pub const ALL: Self = Self(0x3f);

    /// Final states.
    pub(crate) const CLOSED: Self = Self(Self::READ_CLOSED.0 | Self::WRITE_CLOSED.0);

    /// What the outcome of one direction's call says nothing of: the kernel alone knows whether it is still so. An error may be
    /// what somebody else waits for, as that of a queue of its own.
    pub(crate) const LASTING: Self = Self(Self::CLOSED.0 | Self::ERROR.0);

    /// The set with these bits; others are dropped.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// True if nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True if both have something in common.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The set without what is in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The part that a clear may take away.
    #[must_use]
    pub(crate) const fn clearable(self) -> Self {
        self.without(Self::CLOSED)
    }

    /// True if a final state is among it.
    pub(crate) const fn is_closed(self) -> bool {
        self.intersects(Self::CLOSED)
    }

    /// What an epoll mask says.
    ///
    /// EPOLLERR alone is kept as ERROR, which is part of what every direction waits for. EPOLLRDHUP closes the read side
    /// with or without data before it; EPOLLHUP closes both.
    pub(crate) fn from_epoll(mask: u32) -> Self {
        const MAP: [(i32, Ready); 6] = [
            (libc::EPOLLIN, Ready::READABLE),
            (libc::EPOLLOUT, Ready::WRITABLE),
            (libc::EPOLLPRI, Ready::PRIORITY),
            (libc::EPOLLERR, Ready::ERROR),
            (libc::EPOLLRDHUP, Ready::READ_CLOSED),
            (libc::EPOLLHUP, Ready::CLOSED),
        ];
        MAP.into_iter().filter(|&(bit, _)| mask & bit as u32 != 0).fold(Self::EMPTY, |all, (_, ready)| all | ready)
    }
}

impl BitOr for Ready {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Ready {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Ready {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 6] = ["READABLE", "WRITABLE", "PRIORITY", "ERROR", "READ_CLOSED", "WRITE_CLOSED"];
        let mut set = f.debug_set();
        for (bit, name) in NAMES.iter().enumerate() {
            if self.0 & (1 << bit) != 0 {
                set.entry(&format_args!("{name}"));
            }
        }
        set.finish()
    }
}

/// What somebody wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interest(u8);

impl Interest {
    /// Reading.
    pub const READABLE: Self = Self(1);
    /// Writing.
    pub const WRITABLE: Self = Self(1 << 1);
    /// Out-of-band data.
    pub const PRIORITY: Self = Self(1 << 2);
    /// Errors alone.
    pub const ERROR: Self = Self(1 << 3);

    /// The interest with these bits. `None` if there are none, or unknown ones.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits == 0 || bits & !0xf != 0 { None } else { Some(Self(bits)) }
    }

    /// The bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// True if all of the other is in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The readiness that satisfies it. Errors and hang-ups concern every direction that they end.
    #[inline]
    pub const fn ready(self) -> Ready {
        const ANSWERS: [Ready; 16] = {
            let mut answers = [Ready::ERROR; 16];
            let mut bits = 0;
            while bits < 16 {
                answers[bits] = Interest(bits as u8).satisfied_by();
                bits += 1;
            }
            answers
        };
        ANSWERS[(self.0 & 0xf) as usize]
    }

    const fn satisfied_by(self) -> Ready {
        let mut bits = Ready::ERROR.0;
        if self.contains(Self::READABLE) {
            bits |= Ready::READABLE.0 | Ready::READ_CLOSED.0;
        }
        if self.contains(Self::WRITABLE) {
            bits |= Ready::WRITABLE.0 | Ready::WRITE_CLOSED.0;
        }
        if self.contains(Self::PRIORITY) {
            bits |= Ready::PRIORITY.0 | Ready::READ_CLOSED.0;
        }
        Ready(bits)
    }
}

impl BitOr for Interest {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Readiness as it was seen, with the tick that a clear must name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyEvent {
    /// What was ready, of what was asked for.
    pub ready: Ready,
    /// When it was seen.
    pub tick: u32,
}
