//! Authentication: tokens contain grants, resume keys prove the participant of a returning client. No clock
//! and no I/O.

mod claims; // claims of a token
mod grants; // grants of a token
mod keys; // API keys and their secrets
mod resume; // resume keys
mod token; // LiveKit's claim layout, HS256

pub use claims::VideoGrant;
pub use grants::Grants;
pub use keys::{ApiKey, ApiKeyError, Keys};
pub use resume::{ResumeClaims, ResumeRefused};
pub(crate) use token::Entry;
pub use token::{Claims, TokenRefused};

/// Compares two texts in a time that does not depend on the position of a difference.
pub fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |all, (x, y)| all | (x ^ y));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use super::equal_in_constant_time;

    #[test]
    fn only_equal_bytes_are_equal() {
        assert!(equal_in_constant_time(b"token", b"token"));
        assert!(!equal_in_constant_time(b"token", b"tokex"));
        assert!(!equal_in_constant_time(b"token", b"toke"));
        assert!(!equal_in_constant_time(b"", b"x"));
    }
}
