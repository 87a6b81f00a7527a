//! Which secret credentials are minted with, without saying it: planes that do not share one find out before their
//! clients do.

use crate::stun::hmac_sha256;

const ID_BYTES: usize = 4;
const PURPOSE: &[u8] = b"spillway turn secret id";

/// Eight hexadecimal digits, of an HMAC-SHA-256 under `secret`.
pub fn secret_id(secret: &[u8]) -> String {
    let tag = hmac_sha256(secret, &[PURPOSE]);
    tag[..ID_BYTES]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_secrets_apart() {
        // From the command: printf 'spillway turn secret id' | openssl dgst -sha256 -hmac a-secret-of-two-planes
        assert_eq!(secret_id(b"a-secret-of-two-planes"), "70cb55e0");
        assert_ne!(secret_id(b"a-secret-of-two-planes"), secret_id(b"another"));
    }
}
