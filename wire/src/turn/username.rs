//! Usernames of credentials with an expiry: `expiry:user`, or only the expiry, as in coturn's REST scheme.

/// A username of TURN credentials, parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Username<'a> {
    /// Expiry of the credentials, seconds since 1970; `None` if absent.
    pub expiry_s: Option<u64>,
    /// The user: everything but the expiry, or the whole text if there is nothing else. So credentials with only an
    /// expiry have a user per expiry.
    pub user: &'a [u8],
}

impl<'a> Username<'a> {
    /// Parses `bytes`. A user may contain colons.
    pub fn read(bytes: &'a [u8]) -> Self {
        let Some(colon) = bytes.iter().position(|&byte| byte == b':') else {
            return Self {
                expiry_s: number(bytes),
                user: bytes,
            };
        };
        Self {
            expiry_s: number(&bytes[..colon]),
            user: &bytes[colon + 1..],
        }
    }
}

/// Parses digits only: "+5" is a number for the standard library.
fn number(digits: &[u8]) -> Option<u64> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_username_is_an_expiry_and_a_user() {
        for (bytes, expiry_s, user) in [
            ("123:me", Some(123), "me"),
            ("0123:me", Some(123), "me"),
            ("123:a:b", Some(123), "a:b"),
            ("123:", Some(123), ""),
            ("18446744073709551615:me", Some(u64::MAX), "me"),
            ("18446744073709551616:me", None, "me"),
            ("+123:me", None, "me"),
            ("-1:me", None, "me"),
            (" 123:me", None, "me"),
            ("12 3:me", None, "me"),
            (":me", None, "me"),
            ("123", Some(123), "123"),
            ("0123", Some(123), "0123"),
            ("123a", None, "123a"),
            ("+123", None, "+123"),
            ("18446744073709551616", None, "18446744073709551616"),
            ("", None, ""),
        ] {
            let user = user.as_bytes();
            let expected = Username { expiry_s, user };
            assert_eq!(Username::read(bytes.as_bytes()), expected, "{bytes}");
        }
    }
}
