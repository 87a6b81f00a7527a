//! Parses untrusted JSON (RFC 8259), and finds the `id` in texts that cannot be parsed.
//!
//! Where the RFC permits several behaviours: an unpaired surrogate escape becomes U+FFFD (section
//! 8.2), a byte order mark at the start is skipped (8.1), and of several members with one name the
//! last one counts (4), as in JSON.parse. Nesting is limited to [`JSON_DEPTH`] (9). Numbers are
//! doubles or 64-bit integers (6).

use std::borrow::Cow;

use serde_json::Value;

use crate::limits::JSON_DEPTH;

/// Why a text cannot be parsed.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The text violates the grammar, or has a number that is too large for a double.
    #[error("not JSON: {0}")]
    Grammar(serde_json::Error),
    /// Arrays and objects are nested too deep.
    #[error("JSON is nested deeper than {JSON_DEPTH}")]
    Depth,
}

/// Parses `text`, which may start with a byte order mark.
pub fn parse(text: &str) -> Result<Value, JsonError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str(&paired(text)).map_err(|error| {
        // The library reports this only in the text of the error.
        match error.to_string().starts_with("recursion limit exceeded") {
            true => JsonError::Depth,
            false => JsonError::Grammar(error),
        }
    })
}

/// Finds the `id` of a message that may violate the grammar, be truncated, or be nested too deep.
/// It is the last member with this name in the outermost object, if its value is a valid id.
pub fn id_of(text: &str) -> Option<u32> {
    let bytes = text.strip_prefix('\u{feff}').unwrap_or(text).as_bytes();
    let mut at = after_space(bytes, 0);
    if bytes.get(at) != Some(&b'{') {
        return None;
    }
    at += 1;
    let (mut depth, mut id, mut is_name) = (1_usize, None, true);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => {
                let Some(end) = string_end(bytes, at) else {
                    break;
                };
                let name = &bytes[at - 1..=end];
                at = end + 1;
                if depth == 1 && std::mem::take(&mut is_name) && is_id(name) {
                    let colon = after_space(bytes, at);
                    if bytes.get(colon) == Some(&b':') {
                        id = number(bytes, after_space(bytes, colon + 1));
                    }
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => break,
            b'}' | b']' => depth -= 1,
            b',' if depth == 1 => is_name = true,
            _ => {}
        }
    }
    id
}

/// The number as an integer; it may be written with a fraction or an exponent (section 6).
pub fn whole(number: &serde_json::Number) -> Option<u64> {
    /// From here on, the distance between two doubles is more than 1.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let is_whole = |float: &f64| float.fract() == 0.0 && (0.0..=EXACT).contains(float);
    number
        .as_u64()
        .or_else(|| number.as_f64().filter(is_whole).map(|float| float as u64))
}

/// Replaces each unpaired surrogate escape by U+FFFD. Does not change invalid JSON otherwise.
fn paired(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let (mut at, mut copied) = (0, 0);
    let mut out = String::new();
    while let Some(&byte) = bytes.get(at) {
        if byte != b'\\' {
            at += 1;
            continue;
        }
        match surrogate(bytes, at) {
            Some(0xd800..=0xdbff) if matches!(surrogate(bytes, at + 6), Some(0xdc00..)) => at += 12,
            Some(_) => {
                out.push_str(&text[copied..at]);
                out.push_str("\\ufffd");
                at += 6;
                copied = at;
            }
            // The character after the backslash does not start an escape.
            None => at += 2,
        }
    }
    if copied == 0 {
        return text.into();
    }
    out.push_str(&text[copied..]);
    out.into()
}

/// The surrogate code unit of the escape at `at`.
fn surrogate(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(escape).ok()?;
    // The standard library would accept a sign.
    let is_hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let unit = u16::from_str_radix(digits, 16).ok()?;
    (is_hexadecimal && (0xd800..=0xdfff).contains(&unit)).then_some(unit)
}

/// Position of the closing quote of the string whose content starts at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn is_id(name: &[u8]) -> bool {
    /// Length if both characters are escaped, with quotes.
    const LONGEST: usize = 14;
    name == b"\"id\""
        || (name.len() <= LONGEST
            && serde_json::from_slice::<String>(name).is_ok_and(|name| name == "id"))
}

/// The number at `at`; `None` if the text ends with it, because it may be truncated.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let rest = &bytes[at.min(bytes.len())..];
    let end = rest
        .iter()
        .position(|byte| !b"+-.0123456789eE".contains(byte))?;
    let number: serde_json::Number = serde_json::from_slice(&rest[..end]).ok()?;
    u32::try_from(whole(&number)?).ok()
}

fn after_space(bytes: &[u8], at: usize) -> usize {
    let space = bytes
        .iter()
        .skip(at)
        .take_while(|byte| b" \t\r\n".contains(byte));
    at + space.count()
}

/// Size of `value` as JSON text, without writing the text.
pub fn bytes(value: &Value) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, value)
        .expect("values have text keys, and counting succeeds");
    counter.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn half_a_pair_is_a_replacement_character() {
        for (text, value) in [
            (r#"{"text":"hi \ud83d"}"#, json!({"text": "hi \u{fffd}"})),
            (r#"["\ud83d\ude00"]"#, json!(["😀"])),
            (r#"["\uD83D\uDE00"]"#, json!(["😀"])),
            (r#"["\ude00\ud83d"]"#, json!(["\u{fffd}\u{fffd}"])),
            (r#"["\ud83d\ud83d\ude00"]"#, json!(["\u{fffd}😀"])),
            (r#"["\ud83dx\udfff"]"#, json!(["\u{fffd}x\u{fffd}"])),
            (r#"["\ud83d\n"]"#, json!(["\u{fffd}\n"])),
            (r#"["\\ud83d"]"#, json!(["\\ud83d"])),
            (r#"["\\\ud83d"]"#, json!(["\\\u{fffd}"])),
            (r#"{"\udc00":1}"#, json!({"\u{fffd}": 1})),
            ("\u{feff} [1]", json!([1])),
            (r#"{"a":1,"a":2}"#, json!({"a": 2})),
        ] {
            assert_eq!(parse(text).unwrap(), value, "{text}");
        }
    }

    #[test]
    fn what_is_against_the_grammar_stays_so() {
        for text in [
            r#""\ud8"#,
            r#""\ud83"#,
            r#""\ud83""#,
            r#""\u+d83""#,
            r#""\"#,
            "\"\u{1}\"",
            "[1",
            "01",
            "",
            "NaN",
            "1e400",
            "[1]]",
            "\u{feff}\u{feff}1",
        ] {
            assert!(matches!(parse(text), Err(JsonError::Grammar(_))), "{text}");
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(JSON_DEPTH)).is_ok());
        assert!(matches!(
            parse(&nested(JSON_DEPTH + 1)),
            Err(JsonError::Depth)
        ));
    }

    #[test]
    fn the_id_is_found_in_what_cannot_be_read() {
        let deep = format!(
            r#"{{"payload":{},"id":7}}"#,
            "[".repeat(1_000) + &"]".repeat(1_000)
        );
        for text in [
            &*deep,
            r#"{"id":7,"payload":{"id":8}"#,
            r#"{"id":7,"payload":[{"id":8},"#,
            r#" { "type" : "ping" , "id" : 7 , "x" : "#,
            r#"{"x":"\",\"id\":8","id":7,}"#,
            r#"{"\u0069d":7.0,'x'}"#,
            r#"{"id":8,"id":7e0,"#,
            r#"{"type":"id","id":7}{"id":8}"#,
            r#"{"x":NaN,"id":7}"#,
            r#"{"id":7,"x":"cut off"#,
            r#"{"id":7,"x":"cut off\"#,
            "\u{feff}{\"id\":7,",
        ] {
            assert_eq!(id_of(text), Some(7), "{text}");
        }
        for text in [
            "",
            "7",
            "[{\"id\":7}]",
            r#"{"id":7"#,
            r#"{"id":7.5}"#,
            r#"{"id":-1}"#,
            r#"{"id":4294967296}"#,
            r#"{"id":"7"}"#,
            r#"{"id":"#,
            r#"{"id"#,
            r#"{"a":{"id":7}}"#,
            r#"{"type":"id"}"#,
            r#"{"x":"\"#,
        ] {
            assert_eq!(id_of(text), None, "{text}");
        }
    }
}
