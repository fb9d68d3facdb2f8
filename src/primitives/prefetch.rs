//! A hint to the processor.

/// Of fewer connections that have news at a time much is in the caches, and asking for it costs more than it saves.
pub(crate) const MANY: usize = 16;

/// Asks for a cache line of what will be looked at soon: with others to be asked for meanwhile, their ways to the cache
/// overlap. Nothing depends on it.
#[inline]
pub(crate) fn prefetch<T>(soon: *const T, line: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch has no effect that the program could see, and does not fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(soon.cast::<i8>().wrapping_add(64 * line)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (soon, line);
}
