//! Prefetches memory: the packets of a session use about 12 cache lines that are not in the cache any more.

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Prefetches the first `lines` cache lines of `value`, at most all of them. Has no other effect.
#[inline]
pub fn prefetch<T: ?Sized>(value: &T, lines: usize) {
    let start: *const i8 = std::ptr::from_ref(value).cast();
    let lines = size_of_val(value).div_ceil(LINE_BYTES).min(lines);
    for line in 0..lines {
        let address = start.wrapping_add(line * LINE_BYTES);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch may be given any address and never faults; SSE is part of x86-64.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = address;
    }
}
