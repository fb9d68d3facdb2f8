//! What is sent: parcels, whose memory is the library's or an operation's, and what leaves together.

use super::super::buffers::Lease;
use super::super::io::Errno;
use super::blob::{BlobUse, copy_of};
use super::request::Request;
use super::splice::Inflow;
use super::*;
use crate::primitives::inbox::Node;
use crate::primitives::pack::Field;
use crate::primitives::sync::{AtomicPtr, AtomicU64, Ordering::*};
use libc::{iovec, msghdr};

#[cfg(all(test, loom))]
mod loom_tests;

/// A parcel of few bytes, with what malloc adds.
const MEMORY_OF_ONE: usize = 160;
/// What a lease of few bytes holds.
const PAGE: usize = 4096;
/// How much of the memory that it holds a parcel weighs at least.
const MEMORY_SHARE: usize = 4;

/// How many pieces, and about how many bytes, leave together.
pub(super) const MOST_PARTS: usize = 64;
pub(super) const MOST_TOGETHER: usize = 1 << 20;

/// Whether the holder of the baton has an operation's memory in its hands: `| generation 32 | state 32 |`. The holder takes
/// the turn before it lets the kernel read the memory, and puts it back or ends it after; a cancel that comes first wins.
#[derive(Debug, Default)]
pub(super) struct Turn(AtomicU64);

const STATE: Field = Field::low(32);
const LIFE: Field = STATE.above(32);

const WAITS: u64 = 1;
const TAKEN: u64 = 2;
/// Taken, and to be ended rather than put back.
const UNWANTED: u64 = 3;

fn turn(life: u32, state: u64) -> u64 {
    LIFE.set(state, life.into())
}

impl Turn {
    /// The owner: the operation enters a stream's queue.
    pub(super) fn begin(&self, life: u32) {
        self.0.store(turn(life, WAITS), Release);
    }

    fn change(&self, life: u32, from: u64, to: u64) -> bool {
        self.0.compare_exchange(turn(life, from), turn(life, to), AcqRel, Acquire).is_ok()
    }

    /// The holder: false if the operation was cancelled, and may have another life.
    pub(super) fn take(&self, life: u32) -> bool {
        self.change(life, WAITS, TAKEN)
    }

    /// The holder: true if the operation was cancelled before anything of it was taken, and may have another life.
    pub(super) fn is_out(&self, life: u32) -> bool {
        let now = self.0.load(Acquire);
        LIFE.get(now) != life.into() || STATE.get(now) == 0
    }

    /// The holder: false if the operation is not wanted any more. Then the holder ends it.
    pub(super) fn put_back(&self, life: u32) -> bool {
        self.change(life, TAKEN, WAITS)
    }

    /// The owner: true if the operation is out of the holder's reach from now on. False: the holder has it, or had it, and
    /// will end it; also when it is asked again.
    pub(super) fn cancel(&self, life: u32) -> bool {
        let mut now = self.0.load(Acquire);
        loop {
            // The holder may put the turn back between two looks, so what was seen is what is replaced.
            let (next, is_out) = match (LIFE.get(now) == life.into(), STATE.get(now)) {
                (true, WAITS) => (turn(life, 0), true),
                (true, TAKEN) => (turn(life, UNWANTED), false),
                (true, UNWANTED) => return false,
                _ => return true,
            };
            match self.0.compare_exchange_weak(now, next, AcqRel, Acquire) {
                Ok(_) => return is_out,
                Err(seen) => now = seen,
            }
        }
    }
}

/// Something to be sent.
pub(crate) struct Parcel {
    link: AtomicPtr<Parcel>,
    pub(super) content: Content,
    pub(super) len: usize,
    /// How much of it went. The holder's.
    pub(super) sent: usize,
    /// It could not be sent with those behind it, of which one may be to blame: it is tried alone. The holder's.
    pub(super) is_suspect: bool,
}

// SAFETY: the link is the baton's while the parcel is pushed. Parcels are boxed, and so aligned to a word.
unsafe impl Node for Parcel {
    fn link(&self) -> &AtomicPtr<Self> {
        &self.link
    }
}

pub(super) enum Content {
    Bytes(Box<[u8]>),
    Blob(BlobUse),
    /// Some bytes of a lease.
    Lease {
        _lease: Lease,
        start: *const u8,
    },
    /// An operation's memory. It is the program's as long as the turn is taken, or can be.
    Send {
        of: Owed,
        parts: Box<[iovec]>,
        message: *const msghdr,
        flags: i32,
    },
    Shutdown {
        of: Owed,
        how: i32,
    },
    Splice(Inflow),
}

// SAFETY: memory in it is ours, or the program's, which promised that it may be used from any thread.
unsafe impl Send for Parcel {}

/// An operation that wants to be told.
#[derive(Clone, Copy)]
pub(super) struct Owed {
    pub(super) op: &'static Operation,
    pub(super) life: u32,
}

/// Something that the library owns until it was sent.
pub(crate) enum Goods<'a> {
    /// To be copied, as far as it does not go at once.
    Copy(&'a [u8]),
    Blob(BlobUse),
    Lease(Lease, *const u8, usize),
}

impl Goods<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Copy(bytes) => bytes,
            Self::Blob(blob) => blob.bytes(),
            // SAFETY: whoever made this saw to it that the bytes are within the lease.
            Self::Lease(_, start, len) => unsafe { std::slice::from_raw_parts(*start, *len) },
        }
    }

    /// An error is a copy's for which there is no memory. A lease becomes a parcel always.
    pub(super) fn into_parcel(self, sent: usize) -> Result<Box<Parcel>, Errno> {
        let len = self.bytes().len();
        let (content, len, sent) = match self {
            Self::Copy(bytes) => (Content::Bytes(copy_of(&bytes[sent..])?), len - sent, 0),
            Self::Blob(blob) => (Content::Blob(blob), len, sent),
            Self::Lease(lease, start, _) => (Content::Lease { _lease: lease, start }, len, sent),
        };
        Ok(Parcel::new(content, len, sent))
    }
}

impl Parcel {
    pub(super) fn new(content: Content, len: usize, sent: usize) -> Box<Self> {
        Box::new(Self { link: AtomicPtr::default(), content, len, sent, is_suspect: false })
    }

    pub(super) fn owed(&self) -> Option<Owed> {
        match &self.content {
            Content::Send { of, .. } | Content::Shutdown { of, .. } => Some(*of),
            Content::Splice(inflow) => Some(inflow.of),
            _ => None,
        }
    }

    /// How many bytes it is among what is queued: at least a part of the memory that it holds, or the limit would be none for
    /// what is sent in small pieces. An empty message is one, so that who flushes waits for it.
    pub(super) fn weight(&self) -> usize {
        let least = match &self.content {
            Content::Bytes(_) | Content::Blob(_) => MEMORY_OF_ONE / MEMORY_SHARE,
            Content::Lease { .. } => self.len.max(1).next_multiple_of(PAGE) / MEMORY_SHARE,
            Content::Send { .. } | Content::Splice(_) => usize::from(self.len == 0),
            Content::Shutdown { .. } => 0,
        };
        least.max(self.len - self.sent)
    }

    /// True if it must leave alone: it has an address, control data or flags of its own.
    pub(super) fn is_special(&self) -> bool {
        matches!(&self.content, Content::Send { message, flags, .. } if !message.is_null() || *flags != 0)
    }

    /// True for nothing but bytes.
    pub(super) fn is_plain(&self) -> bool {
        !self.is_special() && !self.is_shutdown() && !matches!(self.content, Content::Splice(_))
    }

    pub(super) fn is_shutdown(&self) -> bool {
        matches!(self.content, Content::Shutdown { .. })
    }

    /// Appends the pieces that have not been sent, to `most` in all. Returns their bytes.
    pub(super) fn append_to(&self, parts: &mut Vec<iovec>, most: usize) -> usize {
        let one;
        let (pieces, mut skip) = match &self.content {
            Content::Bytes(bytes) => (
                std::slice::from_ref({
                    one = piece(bytes.as_ptr(), bytes.len());
                    &one
                }),
                self.sent,
            ),
            Content::Blob(blob) => {
                one = piece(blob.bytes().as_ptr(), self.len);
                (std::slice::from_ref(&one), self.sent)
            }
            Content::Lease { start, .. } => {
                one = piece(*start, self.len);
                (std::slice::from_ref(&one), self.sent)
            }
            Content::Send { parts, .. } => (&**parts, self.sent),
            Content::Shutdown { .. } | Content::Splice(_) => return 0,
        };
        let mut bytes = 0;
        for part in pieces {
            let passed = skip.min(part.iov_len);
            skip -= passed;
            if part.iov_len > passed && parts.len() < most {
                bytes += part.iov_len - passed;
                parts.push(piece(part.iov_base.cast::<u8>().wrapping_add(passed), part.iov_len - passed));
            }
        }
        bytes
    }
}

fn piece(start: *const u8, len: usize) -> iovec {
    iovec { iov_base: start.cast_mut().cast(), iov_len: len }
}

/// What leaves together: the first parcels of a queue, their turns taken.
pub(super) struct Batch {
    pub(super) parts: Vec<iovec>,
    pub(super) header: msghdr,
    pub(super) parcels: usize,
    pub(super) flags: i32,
    /// What a splice that is first comes from: the pump waits for that.
    pub(super) source: Option<IoName>,
}

impl Default for Batch {
    fn default() -> Self {
        // SAFETY: an all-zero header is an empty message.
        Self { parts: Vec::new(), header: unsafe { std::mem::zeroed() }, parcels: 0, flags: 0, source: None }
    }
}

impl Batch {
    /// The message, good as long as the batch stays where it is and is not changed.
    pub(super) fn message(&mut self) -> *const msghdr {
        self.header.msg_iov = self.parts.as_mut_ptr();
        self.header.msg_iovlen = self.parts.len() as _;
        &raw const self.header
    }
}

impl Turn {
    /// The holder: true if the turn is its own, wanted or not.
    pub(super) fn is_taken(&self, life: u32) -> bool {
        let now = self.0.load(Acquire);
        now == turn(life, TAKEN) || now == turn(life, UNWANTED)
    }
}

fn nothing() -> Box<Parcel> {
    Parcel::new(Content::Bytes(Box::default()), 0, 0)
}

pub(super) fn parcel_of(of: Owed, body: &Body) -> Box<Parcel> {
    let no_message = std::ptr::null();
    match &body.request {
        Request::Send { buffer, len, flags } => {
            let parts = Box::new([piece(*buffer, *len)]);
            Parcel::new(Content::Send { of, parts, message: no_message, flags: *flags }, *len, 0)
        }
        Request::SendMsg { message, flags } => {
            // SAFETY: the message, and its parts, are the program's until it takes the outcome.
            let (parts, message): (Box<[iovec]>, _) = unsafe {
                let header = &**message;
                let parts = match header.msg_iovlen {
                    0 => &[],
                    n => std::slice::from_raw_parts(header.msg_iov, n),
                };
                (parts.into(), *message)
            };
            let len = parts.iter().map(|part| part.iov_len).sum();
            Parcel::new(Content::Send { of, parts, message, flags: *flags }, len, 0)
        }
        Request::Writev { parts, .. } => {
            let len = parts.iter().map(|part| part.iov_len).sum();
            Parcel::new(Content::Send { of, parts: parts.clone(), message: no_message, flags: 0 }, len, 0)
        }
        Request::Shutdown { how } => Parcel::new(Content::Shutdown { of, how: *how }, 0, 0),
        Request::Splice(splice) => match body.ios[0] {
            // How much it will move is not known. It counts for a byte, so that who flushes waits for it.
            Some(from) => Parcel::new(Content::Splice(Inflow { of, from, splice: *splice }), 1, 0),
            None => nothing(),
        },
        _ => nothing(),
    }
}
