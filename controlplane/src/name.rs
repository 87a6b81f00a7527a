//! Syntax of room names and identities: graphic characters of Unicode, with spaces only between
//! them, in Normalization Form C, up to a length in bytes. Two different texts must not become the
//! same name. So nothing is removed or replaced: a text that is not a name is refused, and the
//! error names the character.
//!
//! Canonically equivalent texts (UAX #15) are the same name, because readers cannot distinguish
//! them. Display names are not checked here, because they need not be unique.

use std::borrow::Cow;
use std::fmt::Write as _;

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;

use crate::limits::NAME_BYTES;

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("is empty")]
    Empty,
    /// The text has this many bytes, more than the limit.
    #[error("has {0} bytes in UTF-8, the limit is {NAME_BYTES}")]
    Long(usize),
    /// A character is invisible, or has no agreed meaning.
    #[error("has U+{:04X} at character {}, {}", u32::from(*.character), .place, .why)]
    Character {
        /// The first such character.
        character: char,
        /// Position of the character, counted from 1.
        place: usize,
        /// The kind of character that is refused.
        why: &'static str,
    },
    /// White space at the start or end, which is invisible.
    #[error("begins or ends with white space (U+{:04X})", u32::from(*.0))]
    OuterSpace(char),
}

/// Checks `text`, and returns it in Normalization Form C.
pub fn normalized(text: &str) -> Result<Cow<'_, str>, NameError> {
    // Composition shrinks a text to a third of its bytes at best (three jamo become one syllable).
    // A longer text cannot fit, and is not composed.
    if text.len() > 3 * NAME_BYTES {
        return Err(NameError::Long(text.len()));
    }
    let name = ComposingNormalizerBorrowed::new_nfc().normalize(text);
    if name.len() > NAME_BYTES {
        return Err(NameError::Long(name.len()));
    }
    let (Some(first), Some(last)) = (name.chars().next(), name.chars().next_back()) else {
        return Err(NameError::Empty);
    };
    for (place, character) in (1..).zip(name.chars()) {
        if let Some(why) = refusal(character) {
            return Err(NameError::Character {
                character,
                place,
                why,
            });
        }
    }
    match [first, last].into_iter().find(|c| c.is_whitespace()) {
        Some(space) => Err(NameError::OuterSpace(space)),
        None => Ok(name),
    }
}

/// The reason to refuse `character`. Letters, marks, numbers, punctuation, symbols and spaces are
/// allowed: these are the graphic characters (Unicode Standard section 2.4).
fn refusal(character: char) -> Option<&'static str> {
    // Decoders insert it for unreadable bytes, so it may stand for any character.
    if character == char::REPLACEMENT_CHARACTER {
        return Some("which stands for text that could not be read");
    }
    match CodePointMapData::<GeneralCategory>::new().get(character) {
        GeneralCategory::Control => Some("a control character"),
        GeneralCategory::Format => Some("a format character, which is not shown"),
        GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator => {
            Some("a line separator")
        }
        GeneralCategory::PrivateUse => Some("a private character, which means nothing to others"),
        // A later Unicode version may give it a different Normalization Form C.
        GeneralCategory::Unassigned => Some("which Unicode does not assign"),
        _ => None,
    }
}

/// Percent-encodes all bytes of `name` except `A-Z a-z 0-9 _ - . : @` (RFC 3986 section 2.1): for a
/// segment of a path, or a part of a key.
pub fn percent_encoded(name: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:@".contains(&byte);
    if name.bytes().all(is_plain) {
        return name.into();
    }
    let mut encoded = String::with_capacity(3 * name.len());
    for byte in name.bytes() {
        if is_plain(byte) {
            encoded.push(byte.into());
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    encoded.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_script_and_of_identity_providers_stay_as_they_are() {
        for name in [
            "Συμβούλιο",
            "Совет",
            "会議　室",
            "اجتماع",
            "ישיבה",
            "परिषद",
            "สภา",
            "Zoë's room",
            "a+b@example.com",
            "auth0|5f7c8ec7c33c6c004bbafe82",
            "google-oauth2|103547991597142817347",
            "https://issuer.example/users/7?tenant=1#x",
            "uid=ann,ou=people",
            "team@9.30:a_b-c",
            "{room}",
            "a/b\\c%2F",
            "..",
            "🎉",
            "<b>&amp;",
        ] {
            assert_eq!(normalized(name).as_deref(), Ok(name));
        }
    }

    #[test]
    fn equivalent_texts_are_one_name() {
        assert_eq!(normalized("Zoe\u{308}").as_deref(), Ok("Zoë"));
        assert_eq!(normalized("\u{212b}").as_deref(), Ok("Å"));
        assert_eq!(normalized("\u{1100}\u{1161}").as_deref(), Ok("가"));
        // Compatibility equivalents are different names.
        assert_ne!(normalized("ﬁ"), normalized("fi"));
    }

    #[test]
    fn what_is_not_shown_is_refused_by_its_number() {
        for (text, said) in [
            ("a\u{0}", "has U+0000 at character 2, a control character"),
            ("\n", "has U+000A at character 1, a control character"),
            ("a\u{7f}b", "U+007F"),
            ("a\u{85}b", "U+0085 at character 2, a control"),
            ("a\u{200b}b", "U+200B at character 2, a format"),
            ("a\u{200d}b", "U+200D"),
            ("\u{202e}abc", "U+202E at character 1, a format"),
            ("\u{feff}a", "U+FEFF"),
            ("a\u{ad}b", "U+00AD"),
            ("a\u{2028}b", "U+2028 at character 2, a line separator"),
            ("a\u{e000}", "U+E000 at character 2, a private"),
            ("a\u{378}", "U+0378 at character 2, which Unicode"),
            ("a\u{ffff}", "U+FFFF"),
            ("a\u{e0041}", "U+E0041"),
            ("a\u{fffd}", "U+FFFD at character 2, which stands for"),
            (" a", "begins or ends with white space (U+0020)"),
            ("a\u{a0}", "white space (U+00A0)"),
            ("\u{3000}a", "white space (U+3000)"),
            (" ", "white space"),
            ("", "is empty"),
        ] {
            let refused = normalized(text).unwrap_err().to_string();
            assert!(refused.contains(said), "{text:?}: {refused}");
        }
    }

    #[test]
    fn the_limit_is_one_of_bytes_after_normalization() {
        assert!(normalized(&"x".repeat(512)).is_ok());
        assert!(normalized(&"界".repeat(170)).is_ok());
        let long = normalized(&"界".repeat(171)).unwrap_err().to_string();
        assert_eq!(long, "has 513 bytes in UTF-8, the limit is 512");
        // 768 bytes that become 512.
        assert!(normalized(&"e\u{301}".repeat(256)).is_ok());
        // U+0958 is never composed: 510 bytes that become 1,020.
        assert_eq!(
            normalized(&"\u{958}".repeat(170)),
            Err(NameError::Long(1_020))
        );
        assert_eq!(
            normalized(&"x".repeat(100_000)),
            Err(NameError::Long(100_000))
        );
    }

    #[test]
    fn encoded_names_are_one_segment_and_stay_apart() {
        assert_eq!(percent_encoded("team@9.30:a_b-c"), "team@9.30:a_b-c");
        assert_eq!(
            percent_encoded("a/b {c}?%2F|é"),
            "a%2Fb%20%7Bc%7D%3F%252F%7C%C3%A9"
        );
    }
}
