//! The only place that reads the system's random source.

/// `N` bytes that nobody can predict. Panics when the kernel has no random source, which it reports at
/// start or never.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel provides random bytes");
    bytes
}

/// A random name of `N` bytes in hexadecimal digits.
pub fn name<const N: usize>() -> String {
    bytes::<N>()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
