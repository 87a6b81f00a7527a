//! The only file that reads the system's random source.

use std::cell::RefCell;
use std::time::Duration;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

thread_local! {
    static SEEDED: RefCell<Option<fastrand::Rng>> = const { RefCell::new(None) };
}

/// From now on this thread takes random numbers from `seed` instead of the system. Only for the simulator, whose runs must
/// repeat: such numbers can be predicted.
pub fn seed_thread(seed: u64) {
    SEEDED.set(Some(fastrand::Rng::with_seed(seed)));
}

fn fill(bytes: &mut [u8]) {
    SEEDED.with_borrow_mut(|seeded| match seeded {
        Some(rng) => rng.fill(bytes),
        None => getrandom::fill(bytes).expect("the system's random source works"),
    });
}

/// `length` characters of 6 random bits each, safe in URLs and file names.
pub fn secret(length: usize) -> String {
    let mut bytes = vec![0; length];
    fill(&mut bytes);
    let char_of = |byte: u8| char::from(ALPHABET[usize::from(byte & 63)]);
    bytes.into_iter().map(char_of).collect()
}

/// `length` letters and digits, uniformly distributed.
pub fn alphanumeric(length: usize) -> String {
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 32];
    while text.len() < length {
        fill(&mut bytes);
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
    fill(&mut bytes);
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
