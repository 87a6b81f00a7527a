//! Values derived from a TURN secret that do not reveal it: an id, by which the planes detect different secrets, and
//! the user names of credentials.

use crate::stun::hmac_sha256;

const ID_BYTES: usize = 4;
const PURPOSE: &[u8] = b"spillway turn secret id";
/// Bytes of a user id: 80 bits, so that millions of users have different ids.
const USER_BYTES: usize = 10;
const USER_PURPOSE: &[u8] = b"spillway turn user";
/// Separator, which cannot occur in names of rooms and identities.
const BETWEEN: &[u8] = b"\0";

/// Id of a secret: eight hexadecimal digits of an HMAC-SHA-256 with `secret`.
pub fn secret_id(secret: &[u8]) -> String {
    hexadecimal(&hmac_sha256(secret, &[PURPOSE])[..ID_BYTES])
}

/// User name for the TURN credentials of `identity` in `room`: twenty hexadecimal digits of an HMAC-SHA-256 with
/// `secret`. It is the same each time the identity joins, and does not reveal the names.
pub fn user_id(secret: &[u8], room: &str, identity: &str) -> String {
    let parts = [
        USER_PURPOSE,
        BETWEEN,
        room.as_bytes(),
        BETWEEN,
        identity.as_bytes(),
    ];
    hexadecimal(&hmac_sha256(secret, &parts)[..USER_BYTES])
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_secrets_apart() {
        // Computed by: printf 'spillway turn secret id' | openssl dgst -sha256 -hmac a-secret-of-two-planes
        assert_eq!(secret_id(b"a-secret-of-two-planes"), "70cb55e0");
        assert_ne!(secret_id(b"a-secret-of-two-planes"), secret_id(b"another"));
    }

    #[test]
    fn an_identity_of_a_room_is_one_user_and_no_other_is_the_same() {
        let ann = user_id(b"north", "standup", "ann");
        // printf 'spillway turn user\0standup\0ann' | openssl dgst -sha256 -hmac north
        assert_eq!(ann, "316bc39070a47b387ccd");
        for (secret, room, identity) in [
            (&b"north"[..], "standup", "bob"),
            (b"north", "retro", "ann"),
            (b"north", "ann", "standup"),
            (b"north", "standupa", "nn"),
            (b"south", "standup", "ann"),
        ] {
            let other = user_id(secret, room, identity);
            assert_ne!(other, ann, "{room} {identity}");
            assert_eq!(other.len(), 2 * USER_BYTES);
        }
        assert!(!ann.contains("ann"), "names are not shown");
    }
}
