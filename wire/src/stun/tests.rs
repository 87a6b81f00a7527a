//! The test vectors of RFC 5769, and malformed messages.

use super::*;

const SHORT_TERM_PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";
/// RFC 5769 section 2.1: a request.
const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e740024\
    00046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5\
    b2d3f249c1b571a280280004e57a3bcf";
/// RFC 5769 section 2.2: a response with an IPv4 address.
const RESPONSE_V4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001\
    a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
/// RFC 5769 section 2.3: a response with an IPv6 address.
const RESPONSE_V6: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002\
    a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";
/// RFC 5769 section 2.4: a request with long-term credentials.
const LONG_TERM: &str = "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe382b900\
    000015001c662f2f3439396b39353464364f4c33346f4c39465354767936347341\
    0014000b6578616d706c652e6f72670000080014f67024656dd64a3e02b8e0712e85c9a28ca89666";

fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn the_sample_request_of_rfc_5769_is_read() {
    let bytes = bytes(REQUEST);
    let message = Message::parse(&bytes).unwrap();
    assert!(message.is_binding_request());
    assert_eq!(message.username(), Some("evtj:h6vY"));
    assert_eq!(message.receiver_ufrag(), Some("evtj"));
    assert!(!message.has_use_candidate());
    let integrity = message.integrity().unwrap();
    assert_eq!(integrity.mac[..4], [0x9a, 0xea, 0xa7, 0x0c]);
    assert_eq!(integrity.header[2..4], [0, 0x50]);
    assert_eq!(integrity.attributes.len(), 56);
    assert!(integrity.fits(SHORT_TERM_PASSWORD));
    assert!(!integrity.fits(b"VOkJxbRl1RmTxUk/WvJxBu"));
    assert_eq!(message.fingerprint(), Fingerprint::Fits);
}

#[test]
fn the_sample_responses_of_rfc_5769_are_read() {
    for (text, address) in [
        (RESPONSE_V4, "192.0.2.1:32853"),
        (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ] {
        let bytes = bytes(text);
        let message = Message::parse(&bytes).unwrap();
        let mapped = message.find(kinds::XOR_MAPPED_ADDRESS).unwrap();
        assert_eq!(
            xor_address(mapped.value, &message.transaction()),
            Some(address.parse().unwrap())
        );
        assert!(message.integrity().unwrap().fits(SHORT_TERM_PASSWORD));
        assert_eq!(message.fingerprint(), Fingerprint::Fits);
    }
}

#[test]
fn the_sample_request_of_rfc_5769_with_long_term_credentials_is_read() {
    let bytes = bytes(LONG_TERM);
    let message = Message::parse(&bytes).unwrap();
    let username = message.username().unwrap();
    assert_eq!(username, "マトリックス");
    let key = Key::md5(username.as_bytes(), b"example.org", b"TheMatrIX");
    assert!(message.integrity().unwrap().fits(key.bytes()));
    let other = Key::sha256(username.as_bytes(), b"example.org", b"TheMatrIX");
    assert!(!message.integrity().unwrap().fits(other.bytes()));
    assert_eq!(message.fingerprint(), Fingerprint::Absent);
}

#[test]
fn what_a_bit_changes_no_longer_fits() {
    let sound = bytes(REQUEST);
    // From the type on, over the transaction id and all attributes before the HMAC.
    for at in [1, 8, 19, 25, 60, 75] {
        let mut changed = sound.clone();
        changed[at] ^= 4;
        let Ok(message) = Message::parse(&changed) else {
            panic!("byte {at} is no framing");
        };
        let integrity = message.integrity().unwrap();
        assert!(!integrity.fits(SHORT_TERM_PASSWORD), "byte {at}");
        assert_eq!(message.fingerprint(), Fingerprint::Wrong, "byte {at}");
    }
}

#[test]
fn a_fingerprint_that_is_not_last_is_wrong() {
    let mut out = Vec::new();
    let transaction = TransactionId([1; 12]);
    Writer::new(&mut out, BINDING_REQUEST, transaction)
        .fingerprint()
        .attribute(kinds::SOFTWARE, b"late");
    let message = Message::parse(&out).unwrap();
    assert_eq!(message.fingerprint(), Fingerprint::Wrong);
}

#[test]
fn lying_lengths_are_errors() {
    let bytes = bytes(REQUEST);
    assert_eq!(
        Message::parse(&bytes[..19]).unwrap_err(),
        StunError::Short(19)
    );
    let cut = Message::parse(&bytes[..bytes.len() - 4]).unwrap_err();
    assert_eq!(cut, StunError::Length { said: 88, got: 84 });
    let mut long = bytes.clone();
    long[23] = 0xff;
    assert_eq!(
        Message::parse(&long).unwrap_err(),
        StunError::Attribute {
            kind: 0x8022,
            at: 20
        }
    );
    let mut other = bytes;
    other[4] = 0;
    assert!(matches!(Message::parse(&other), Err(StunError::NotStun(_))));
}
