//! The only file that reads the system's random source.

use std::time::Duration;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// `length` characters of 6 random bits each, safe in URLs and file names.
pub fn secret(length: usize) -> String {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).expect("the system's random source works");
    let char_of = |byte: u8| char::from(ALPHABET[usize::from(byte & 63)]);
    bytes.into_iter().map(char_of).collect()
}

/// `length` letters and digits, uniformly distributed.
pub fn alphanumeric(length: usize) -> String {
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 32];
    while text.len() < length {
        getrandom::fill(&mut bytes).expect("the system's random source works");
        // Bytes above 247 are skipped, because they would make the first characters more likely.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        let chars = fair.map(|byte| char::from(ALPHANUMERIC[usize::from(byte % 62)]));
        text.extend(chars.take(length - text.len()));
    }
    text
}

/// A random part of `time`, uniformly distributed.
pub fn part_of(time: Duration) -> Duration {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).expect("the system's random source works");
    time.mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_wanted_length_and_alphabet_and_differ() {
        for length in [0, 1, 16, 43, 100] {
            assert_eq!(secret(length).len(), length);
            assert_eq!(alphanumeric(length).len(), length);
        }
        assert!(alphanumeric(999).chars().all(|c| c.is_ascii_alphanumeric()));
        assert_ne!(secret(16), secret(16));
        assert_ne!(alphanumeric(16), alphanumeric(16));
    }
}
