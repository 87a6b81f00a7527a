//! Authentication and grants: tokens give grants, resume keys prove a return.
//!
//! Nothing here reads a clock or the network.

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

/// Compares without telling by its duration where the difference is.
pub fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |all, (x, y)| all | (x ^ y));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

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
