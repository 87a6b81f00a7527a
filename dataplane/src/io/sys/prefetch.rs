//! A hint that memory is needed soon: the packets of a session use about 12 places of memory that are no longer in the
//! cache.

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Asks for the first `lines` cache lines of `value`, as many as it has. Changes nothing but time.
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
