//! AES-GCM against published vectors, and against the library at every packet length.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::*;
use crate::srtp::tests::hex;

const KEY: &str = "feffe9928665731c6d6a8f9467308308";
const NONCE: &str = "cafebabefacedbaddecaf888";
const CLEAR: &str = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
const PLAIN: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
                     1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";

/// Test cases 1, 4, 13 and 16 of McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B.
#[test]
fn what_is_sealed_is_what_the_designers_of_gcm_say() {
    let twice = format!("{KEY}{KEY}");
    let zeros = "00".repeat(32);
    for (key, nonce, clear, plain, sealed, tag) in [
        (
            &zeros[..32],
            &zeros[..24],
            "",
            "",
            "",
            "58e2fccefa7e3061367f1d57a4e7455a",
        ),
        (
            KEY,
            NONCE,
            CLEAR,
            PLAIN,
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e
             21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
            "5bc94fbc3221a5db94fae95ae7121a47",
        ),
        (
            &zeros,
            &zeros[..24],
            "",
            "",
            "",
            "530f8afbc74536b9a963b4f1c4cb738b",
        ),
        (
            &twice,
            NONCE,
            CLEAR,
            PLAIN,
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
            "76fc6ece0f4e1768cddf8853bb2d551b",
        ),
    ] {
        let Some(key) = Key::new(&hex(key)) else {
            eprintln!("not tested: this processor lacks AVX-512 or VAES");
            return;
        };
        let nonce = hex(nonce).try_into().unwrap();
        let mut body = hex(plain);
        let got = key.seal(&nonce, &hex(clear), &mut body);
        assert_eq!(body, hex(sealed));
        assert_eq!(got[..], hex(tag));
    }
}

/// Without our implementation the library would encrypt everything, and the other tests here would test nothing.
#[test]
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn the_code_is_used_where_the_processor_has_the_instructions() {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let flags = about
        .lines()
        .find(|line| line.starts_with("flags"))
        .unwrap();
    let has = |wanted: &str| flags.split_whitespace().any(|flag| flag == wanted);
    let has_all = [
        "aes",
        "avx512bw",
        "avx512f",
        "avx512vl",
        "pclmulqdq",
        "vaes",
        "vpclmulqdq",
    ]
    .into_iter()
    .all(has);
    for bytes in [16, 32] {
        assert_eq!(Key::new(&vec![1; bytes]).is_some(), has_all);
    }
}

/// Whole groups, partial groups, partial blocks, with clear parts of each header length and longer. Bytes beside the
/// packet must not change.
#[test]
fn packets_of_every_length_are_sealed_as_the_library_does() {
    const BESIDE: usize = 64;
    let longest = crate::limits::MAX_DATAGRAM_BYTES;
    for (bytes, algorithm) in [(16, &AES_128_GCM), (32, &AES_256_GCM)] {
        let secret: Vec<u8> = (0..bytes).map(|i| 37 * i as u8 + 11).collect();
        let Some(key) = Key::new(&secret) else {
            return;
        };
        let library = LessSafeKey::new(UnboundKey::new(algorithm, &secret).unwrap());
        let mut random = fastrand::Rng::with_seed(7);
        for length in 0..=longest {
            let clear: Vec<u8> = (0..length * 7 % 141).map(|_| random.u8(..)).collect();
            let nonce: super::Nonce = std::array::from_fn(|_| random.u8(..));
            let mut room: Vec<u8> = (0..length + 2 * BESIDE).map(|_| random.u8(..)).collect();
            let mut expected = room.clone();
            let body = BESIDE..BESIDE + length;
            let tag = key.seal(&nonce, &clear, &mut room[body.clone()]);
            let library_tag = library
                .seal_in_place_separate_tag(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::from(&clear),
                    &mut expected[body],
                )
                .unwrap();
            let what = format!("key {bytes}, packet {length}, clear {}", clear.len());
            assert!(room == expected, "{what}");
            assert_eq!(tag, library_tag.as_ref(), "{what}");
        }
    }
}
