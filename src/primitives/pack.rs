//! Fields of a packed 64-bit word. Widths are stated once, shifts and masks follow.

/// A run of bits in a `u64`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    shift: u32,
    width: u32,
}

impl Field {
    /// The field that starts at bit 0.
    pub(crate) const fn low(width: u32) -> Self {
        assert!(width > 0 && width < 64);
        Self { shift: 0, width }
    }

    /// The field right above this one.
    pub(crate) const fn above(self, width: u32) -> Self {
        let shift = self.shift + self.width;
        assert!(width > 0 && shift + width <= 64);
        Self { shift, width }
    }

    /// The largest value that fits.
    pub(crate) const fn max(self) -> u64 {
        u64::MAX >> (64 - self.width)
    }

    /// The field's bits, in place.
    pub(crate) const fn mask(self) -> u64 {
        self.max() << self.shift
    }

    /// The value 1 of the field, in place.
    pub(crate) const fn one(self) -> u64 {
        1 << self.shift
    }

    pub(crate) const fn get(self, word: u64) -> u64 {
        (word >> self.shift) & self.max()
    }

    /// `word` with this field replaced and every other field kept. Bits of `value` that do not fit are cut.
    #[must_use]
    pub(crate) const fn set(self, word: u64, value: u64) -> u64 {
        (word & !self.mask()) | ((value & self.max()) << self.shift)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Field;

    const A: Field = Field::low(8);
    const B: Field = A.above(28);
    const C: Field = B.above(28);

    #[test]
    fn fields_do_not_touch_their_neighbours() {
        let word = C.set(B.set(A.set(0, 0xab), 0x123_4567), 0xfed_cba9);
        assert_eq!((A.get(word), B.get(word), C.get(word)), (0xab, 0x123_4567, 0xfed_cba9));
        let word = B.set(word, 0);
        assert_eq!((A.get(word), B.get(word), C.get(word)), (0xab, 0, 0xfed_cba9));
    }

    #[test]
    fn a_value_too_large_is_cut_and_never_spills() {
        let word = B.set(0, u64::MAX);
        assert_eq!(word, B.mask());
        assert_eq!(A.get(word), 0);
        assert_eq!(C.get(word), 0);
    }

    #[test]
    fn the_last_field_may_end_at_bit_63() {
        assert_eq!(A.mask() | B.mask() | C.mask(), u64::MAX);
    }
}
