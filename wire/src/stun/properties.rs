//! Properties of STUN messages for generated input: framing, integrity, fingerprint and addresses.

use std::net::{IpAddr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::hostile;
use crate::properties::{config, damaged};

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn any_bytes_are_read_inside_the_message(bytes in damaged(signed().prop_map(|signed| signed.bytes))) {
        hostile::stun(&bytes);
        if let Ok(message) = Message::parse(&bytes) {
            let _ = (message.fingerprint(), message.integrity_sha256(), message.has_use_candidate());
        }
    }

    #[test]
    fn what_is_written_is_read_back(signed in signed(), before in vec(any::<u8>(), 0..5)) {
        let mut out = before.clone();
        signed.write(&mut out);
        prop_assert_eq!(&out[before.len()..], &signed.bytes);
        let message = Message::parse(&signed.bytes).unwrap();
        prop_assert_eq!(message.kind(), signed.kind);
        prop_assert_eq!(message.transaction(), TransactionId(signed.transaction));
        let read: Vec<_> = message.attributes().map(|read| (read.kind, read.value.to_vec())).collect();
        prop_assert_eq!(&read[..signed.attributes.len()], &signed.attributes[..]);
        let kinds: Vec<_> = read[signed.attributes.len()..].iter().map(|(kind, _)| *kind).collect();
        let signatures = [kinds::MESSAGE_INTEGRITY, kinds::MESSAGE_INTEGRITY_SHA256, kinds::FINGERPRINT];
        prop_assert_eq!(kinds, signatures);
    }

    #[test]
    fn a_message_of_any_other_length_is_an_error(signed in signed(), tail in vec(any::<u8>(), 1..30)) {
        for cut in 0..signed.bytes.len() {
            prop_assert!(Message::parse(&signed.bytes[..cut]).is_err(), "{} bytes", cut);
        }
        prop_assert!(Message::parse(&[&signed.bytes[..], &tail].concat()).is_err());
    }

    #[test]
    fn integrity_fits_its_key_alone(signed in signed(), at in any::<Index>(), change in 1..=u8::MAX) {
        let mut other = signed.key.clone();
        other[at.index(signed.key.len())] ^= change;
        let message = Message::parse(&signed.bytes).unwrap();
        let sha1 = message.integrity().unwrap();
        let sha256 = message.integrity_sha256().unwrap();
        prop_assert!(sha1.fits(&signed.key) && !sha1.fits(&other));
        prop_assert!(sha256.fits(&signed.key) && !sha256.fits(&other));
        prop_assert_eq!(message.fingerprint(), Fingerprint::Fits);
    }

    #[test]
    fn a_changed_byte_is_noticed(signed in signed(), at in any::<Index>(), change in 1..=u8::MAX) {
        let mut bytes = signed.bytes.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        let Ok(message) = Message::parse(&bytes) else { return Ok(()) };
        prop_assert_ne!(message.fingerprint(), Fingerprint::Fits);
        let end = bytes.len() - 8;
        let sha1_fits = message.integrity().is_some_and(|found| found.fits(&signed.key));
        prop_assert_eq!(sha1_fits, at >= end - 36, "byte {} of {}", at, bytes.len());
        let sha256_fits = message.integrity_sha256().is_some_and(|found| found.fits(&signed.key));
        prop_assert_eq!(sha256_fits, at >= end, "byte {} of {}", at, bytes.len());
    }

    #[test]
    fn an_attribute_is_protected_before_the_integrity_alone(
        signed in signed(),
        value in vec(any::<u8>(), 0..9),
        is_before in any::<bool>(),
    ) {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, BINDING_REQUEST, TransactionId(signed.transaction));
        let mut attributes = signed.attributes.clone();
        attributes.retain(|(kind, _)| *kind != kinds::USE_CANDIDATE);
        attributes.iter().for_each(|(kind, value)| {
            writer.attribute(*kind, value);
        });
        if is_before {
            writer.attribute(kinds::USE_CANDIDATE, &value).integrity_sha1(&signed.key);
        } else {
            writer.integrity_sha1(&signed.key).attribute(kinds::USE_CANDIDATE, &value);
        }
        let message = Message::parse(&out).unwrap();
        prop_assert!(message.find(kinds::USE_CANDIDATE).is_some());
        prop_assert_eq!(message.has_use_candidate(), is_before);
    }

    #[test]
    fn an_address_is_read_back_and_a_wrong_size_is_not(
        (ip, port) in any::<(IpAddr, u16)>(),
        id in any::<[u8; 12]>(),
    ) {
        let (address, transaction) = (SocketAddr::new(ip, port), TransactionId(id));
        let written = Address::xor(address, &transaction);
        prop_assert_eq!(xor_address(written.value(), &transaction), Some(address));
        for cut in 0..written.value().len() {
            prop_assert_eq!(xor_address(&written.value()[..cut], &transaction), None);
        }
        prop_assert_eq!(xor_address(&[written.value(), &[0]].concat(), &transaction), None);
    }

    #[test]
    fn a_kind_is_its_method_and_class(
        kind in prop_oneof![0..0x4000_u16, (0..16_u16, any::<u16>()).prop_map(|(method, class)| method | class & 0x0110)],
    ) {
        let class = Class::of(kind);
        let is_known = matches!(kind & !0x0110, 1 | 3 | 4 | 6..=9);
        prop_assert_eq!(Method::of(kind).map(|method| method.kind(class)), is_known.then_some(kind));
    }
}

/// A message, and what was written to it; integrity of both kinds and a fingerprint are its last attributes.
#[derive(Debug, Clone)]
struct Signed {
    kind: u16,
    transaction: [u8; 12],
    key: Vec<u8>,
    attributes: Vec<(u16, Vec<u8>)>,
    bytes: Vec<u8>,
}

impl Signed {
    fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out, self.kind, TransactionId(self.transaction));
        for (kind, value) in &self.attributes {
            writer.attribute(*kind, value);
        }
        writer
            .integrity_sha1(&self.key)
            .integrity_sha256(&self.key)
            .fingerprint();
        assert_eq!(writer.length() % 4, 0);
    }
}

fn signed() -> impl Strategy<Value = Signed> {
    let known = prop::sample::select(vec![
        kinds::USERNAME,
        kinds::REALM,
        kinds::DATA,
        kinds::PRIORITY,
        kinds::USE_CANDIDATE,
        kinds::XOR_PEER_ADDRESS,
    ]);
    let kind =
        prop_oneof![3 => known, 1 => any::<u16>()].prop_filter("written at the end", |kind| {
            !matches!(
                *kind,
                kinds::MESSAGE_INTEGRITY | kinds::MESSAGE_INTEGRITY_SHA256 | kinds::FINGERPRINT
            )
        });
    let attributes = vec((kind, vec(any::<u8>(), 0..24)), 0..6);
    // A key of more than a block would be hashed, and zeros at its end would not count.
    let fields = (
        0..0x4000_u16,
        any::<[u8; 12]>(),
        vec(any::<u8>(), 1..=64),
        attributes,
    );
    fields.prop_map(|(kind, transaction, key, attributes)| {
        let mut signed = Signed {
            kind,
            transaction,
            key,
            attributes,
            bytes: Vec::new(),
        };
        let mut bytes = Vec::new();
        signed.write(&mut bytes);
        signed.bytes = bytes;
        signed
    })
}
