//! Constant bytes that are sent to many.

use super::super::io::Errno;
use crate::primitives::guard::{Guard, Left};
use crate::primitives::handle::{Handle, Kind};
use crate::primitives::slab::{Entry, Slab};
use crate::primitives::sync::{AtomicU32, UnsafeCell, process_static};

process_static! {
    static BLOBS: Slab<Blob> = Slab::new();
}

/// The program's reference is the open guard; every send that is queued is a user.
#[derive(Default)]
#[repr(C, align(64))]
pub(crate) struct Blob {
    guard: Guard,
    next_free: AtomicU32,
    /// Written before the guard is opened, and constant until its last user left.
    bytes: UnsafeCell<Option<Box<[u8]>>>,
}

// SAFETY: all zeros are a free guard, and no bytes.
unsafe impl Entry for Blob {
    fn next_free(&self) -> &AtomicU32 {
        &self.next_free
    }
}

// SAFETY: the bytes are constant while there are users.
unsafe impl Sync for Blob {}
// SAFETY: as above.
unsafe impl Send for Blob {}

/// The use of a blob, which lives as long as this.
pub(crate) struct BlobUse {
    blob: &'static Blob,
    index: u32,
}

/// A copy of bytes whose number is the program's, so that there may be no room for them.
pub(super) fn copy_of(bytes: &[u8]) -> Result<Box<[u8]>, Errno> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len()).map_err(|_| libc::ENOMEM)?;
    copy.extend_from_slice(bytes);
    Ok(copy.into())
}

/// Makes a blob of the bytes.
pub(crate) fn new_blob(bytes: &[u8]) -> Result<u64, Errno> {
    let bytes = copy_of(bytes)?;
    let (index, blob) = BLOBS.alloc().ok_or(libc::ENOMEM)?;
    let generation = blob.guard.next_generation();
    // SAFETY: a free entry is the caller's alone.
    blob.bytes.with_mut(|place| unsafe { *place = Some(bytes) });
    blob.guard.open();
    Ok(Handle { generation, index }.pack(Kind::Blob))
}

/// How many blobs there are.
pub(crate) fn blobs() -> u64 {
    BLOBS.in_use()
}

/// Gives up the program's reference.
pub(crate) fn free_blob(raw: u64) -> Result<(), Errno> {
    let (handle, blob) = find(raw)?;
    if !blob.guard.close(handle.generation) {
        return Err(libc::EBADF);
    }
    drop(BlobUse { blob, index: handle.index });
    Ok(())
}

fn find(raw: u64) -> Result<(Handle, &'static Blob), Errno> {
    let handle = Handle::parse(raw, Kind::Blob).ok_or(libc::EBADF)?;
    Ok((handle, BLOBS.get(handle.index).ok_or(libc::EBADF)?))
}

impl BlobUse {
    /// Becomes a user of the blob.
    pub(crate) fn enter(raw: u64) -> Result<Self, Errno> {
        let (handle, blob) = find(raw)?;
        if blob.guard.enter(handle.generation) { Ok(Self { blob, index: handle.index }) } else { Err(libc::EBADF) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: we are a user, so the bytes are there and constant.
        self.blob.bytes.with(|bytes| unsafe { (*bytes).as_deref() }).unwrap_or_default()
    }
}

impl Drop for BlobUse {
    fn drop(&mut self) {
        if self.blob.guard.leave() == Left::Last {
            // SAFETY: the last user left, so nobody else looks at them.
            drop(self.blob.bytes.with_mut(|bytes| unsafe { (*bytes).take() }));
            if self.blob.guard.recycle(u32::MAX) {
                BLOBS.free(self.index);
            }
        }
    }
}
