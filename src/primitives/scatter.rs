//! Tables whose keys are addresses and numbers of the library's own, which nobody chooses: a multiplication spreads them.

use std::hash::{BuildHasherDefault, Hasher};

pub(crate) type Scattered = BuildHasherDefault<Scatter>;

/// Hashes an address, and what else there is in a key.
#[derive(Default)]
pub(crate) struct Scatter(u64);

impl Hasher for Scatter {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_usize(&mut self, address: usize) {
        self.write_u64(address as u64);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
