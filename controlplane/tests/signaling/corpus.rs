//! Untrusted messages: a committed corpus, and variations of it. The parser does not panic, errors
//! are short, and accepted messages match the schema.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use spillway_controlplane::json;
use spillway_controlplane::signaling::{self, TokenBucket};

const VARIATIONS: usize = 300;
const ERROR_BYTES: usize = 1_500;

fn corpus() -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/signaling/messages");
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    let read = |path: &std::path::PathBuf| {
        (
            path.file_name().unwrap().to_string_lossy().into_owned(),
            fs::read(path).unwrap(),
        )
    };
    files.iter().map(read).collect()
}

fn schema() -> jsonschema::Validator {
    let text = include_str!("../../../docs/protocol.schema.json");
    let mut schema: Value = serde_json::from_str(text).unwrap();
    schema["$ref"] = Value::from("#/$defs/ClientMessage");
    jsonschema::validator_for(&schema).unwrap()
}

/// Decodes a message. True if it is accepted.
fn feed(bytes: &[u8], schema: &jsonschema::Validator) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false; // a WebSocket's text frame is UTF-8, or it ends
    };
    match signaling::decode(text) {
        Ok(_) => {
            let value = json::parse(text).unwrap();
            schema
                .validate(&value)
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            true
        }
        Err(undecodable) => {
            let said = undecodable.refusal.message;
            assert!(said.len() <= ERROR_BYTES, "{} bytes of error", said.len());
            false
        }
    }
}

/// A random generator with a fixed seed, so that failures repeat.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap()
    }
}

fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    const PIECES: [&[u8]; 12] = [
        b"{",
        b"}",
        b"[",
        b"\"",
        b"null",
        b"-1",
        b"1e999",
        b"\\u0000",
        b"\xf0\x9f\x92\xa5",
        b":",
        b"4294967296",
        b"true",
    ];
    let mut out = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(out.len() + 1);
        match random.below(5) {
            0 => out.truncate(at),
            1 => {
                let piece = PIECES[random.below(PIECES.len())];
                out.splice(at..at, piece.iter().copied());
            }
            2 if at < out.len() => out[at] ^= 1 << random.below(8),
            3 if at < out.len() => {
                out.remove(at);
            }
            _ => {
                let end = (at + random.below(16)).min(out.len());
                let copy = out[at..end].to_vec();
                out.splice(at..at, copy);
            }
        }
    }
    out
}

#[test]
fn the_corpus_and_its_variations_never_panic() {
    let (schema, corpus) = (schema(), corpus());
    assert!(corpus.len() >= 20, "the corpus is committed");
    let mut understood = 0;
    for (seed, (_, bytes)) in corpus.iter().enumerate() {
        feed(bytes, &schema);
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (seed as u64 + 1));
        for _ in 0..VARIATIONS {
            understood += usize::from(feed(&mutate(bytes, &mut random), &schema));
        }
    }
    assert!(understood > 0, "some variations must get past the parser");
}

#[test]
fn names_of_corpus_files_say_what_becomes_of_them() {
    let schema = schema();
    for (name, bytes) in corpus() {
        let good = feed(&bytes, &schema);
        assert_eq!(good, name.starts_with("good-"), "{name}");
    }
}

#[test]
fn a_bucket_survives_any_rate() {
    let now = Instant::now();
    let mut full = TokenBucket::new(u32::MAX, u32::MAX, now);
    assert!(full.take(now));
    let mut never = TokenBucket::new(0, 0, now);
    assert!(!never.take(now + std::time::Duration::from_secs(1_000_000)));
}
