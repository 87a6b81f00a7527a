//! Key derivation and packets compared with vectors of the RFCs, and packets that must not decrypt.

use super::outgoing::Outgoing;
use super::*;

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len() / 2)
        .map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

#[test]
fn session_keys_are_those_of_rfc_3711_appendix_b_3() {
    let master = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
    let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
    let keys = derive::session_keys(&master, &salt, derive::Use::Rtp);
    assert_eq!(keys.key, hex("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(keys.salt, hex("30CBBC08863D8C85D49DB34A9AE1"));
    assert_eq!(
        keys.auth[..],
        hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4")
    );
}

/// RFC 7714 section 16.1: the packet of the AEAD examples.
#[test]
fn gcm_packets_are_those_of_rfc_7714_section_16() {
    let salt: [u8; 12] = hex("517569642070726f2071756f").try_into().unwrap();
    let packet = hex(
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
                      69736120 696e2070 61727465 73207472 6573",
    );
    for (profile, key, sealed) in [
        (
            Profile::AeadAes128Gcm,
            "000102030405060708090a0b0c0d0e0f",
            "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f
             42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
        ),
        (
            Profile::AeadAes256Gcm,
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3
             b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
        ),
    ] {
        let keys = derive::SessionKeys {
            key: hex(key),
            auth: [0; 20],
            salt: salt.to_vec(),
        };
        for choice in [AeadChoice::Auto, AeadChoice::Library] {
            let outgoing = Outgoing::new(profile, &keys, choice);
            let is_ours = choice == AeadChoice::Auto && gcm::is_available();
            assert_eq!(matches!(outgoing, Outgoing::Ours { .. }), is_ours);
            assert_eq!(choice.sealer(), if is_ours { "ours" } else { "library" });
            let mut room = packet.clone();
            room.resize(packet.len() + outgoing.tag_bytes(), 0);
            outgoing.seal(&mut room, 12, 0x5501_a0b2, 0xf17b);
            assert_eq!(room, hex(sealed), "{profile:?} {choice:?}");
        }
    }
}

fn pair(profile: Profile) -> (Sealer, RtcpOpener) {
    let (key, salt) = profile.lengths();
    let material: Vec<u8> = (0..2 * (key + salt) as u8).collect();
    let (client, server) = MasterKey::split(profile, &material).unwrap();
    assert!(MasterKey::split(profile, &material[1..]).is_none());
    let server = Keys::new(&server, &client, AeadChoice::Auto);
    (Sealer::new(&client, AeadChoice::Auto), server.rtcp_opener)
}

const PROFILES: [Profile; 3] = [
    Profile::Aes128CmSha1,
    Profile::AeadAes128Gcm,
    Profile::AeadAes256Gcm,
];

#[test]
fn rtcp_opens_once_and_only_with_every_bit_in_place() {
    let plain = hex("80c90001 01020304 aabbccdd 11223344");
    for profile in PROFILES {
        let (mut ours, mut theirs) = pair(profile);
        let mut sealed = plain.clone();
        sealed.resize(plain.len() + 64, 0);
        let length = ours.seal_rtcp(&mut sealed, plain.len());
        sealed.truncate(length);
        assert_eq!(sealed[..8], plain[..8], "the first header stays readable");
        assert_ne!(sealed[8..16], plain[8..16]);
        for bit in 0..sealed.len() * 8 {
            let mut bent = sealed.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(theirs.open(&mut bent, 32).is_err(), "{profile:?} bit {bit}");
        }
        for end in 0..sealed.len() {
            assert!(theirs.open(&mut sealed[..end].to_vec(), 32).is_err());
        }
        assert_eq!(theirs.open(&mut sealed.clone(), 32).unwrap(), plain);
        assert_eq!(
            theirs.open(&mut sealed, 32),
            Err(OpenError::Replayed(1)),
            "{profile:?}"
        );
    }
}

#[test]
fn rtcp_may_come_out_of_order_within_the_window() {
    let (mut ours, mut theirs) = pair(Profile::AeadAes128Gcm);
    let packets: Vec<Vec<u8>> = (0..100)
        .map(|_| {
            let mut packet = hex("80c90001 01020304 aabbccdd 11223344");
            packet.resize(80, 0);
            let length = ours.seal_rtcp(&mut packet, 16);
            packet.truncate(length);
            packet
        })
        .collect();
    for index in [0, 70, 30, 99, 98] {
        assert!(
            theirs.open(&mut packets[index].clone(), 32).is_ok(),
            "{index}"
        );
    }
    for index in [0, 30, 98, 99, 5] {
        let mut again = packets[index].clone();
        assert_eq!(
            theirs.open(&mut again, 32),
            Err(OpenError::Replayed(index as u32 + 1))
        );
    }
}

#[test]
fn each_sender_of_a_client_counts_its_own_rtcp() {
    let profile = Profile::AeadAes256Gcm;
    let (mut busy, mut theirs) = pair(profile);
    let (mut quiet, _) = pair(profile);
    let seal = |sealer: &mut Sealer, ssrc: u32| {
        let mut packet = hex("80c90001 00000000 aabbccdd 11223344");
        packet[4..8].copy_from_slice(&ssrc.to_be_bytes());
        packet.resize(80, 0);
        let length = sealer.seal_rtcp(&mut packet, 16);
        packet.truncate(length);
        packet
    };
    for _ in 0..1_000 {
        assert!(theirs.open(&mut seal(&mut busy, 0xfa17_fa17), 32).is_ok());
    }
    for index in 1..10 {
        let mut packet = seal(&mut quiet, 1);
        assert!(theirs.open(&mut packet.clone(), 32).is_ok(), "{index}");
        assert_eq!(
            theirs.open(&mut packet, 32),
            Err(OpenError::Replayed(index))
        );
    }
}
