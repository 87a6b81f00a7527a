//! Properties of tokens and resume keys: what is signed is read back, and nothing else is accepted.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::ids::{Epoch, ParticipantId};
use crate::limits::{RESUME_KEY_SECONDS, STAY_SECONDS};
use crate::properties::config;

const LEEWAY: u64 = 60;

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn a_token_is_read_as_it_was_signed(claims in claims(), now in 0..4_000_000_000_u64) {
        let entry = match ours().check(&ours().sign(claims.clone()), now, LEEWAY) {
            Ok(entry) => entry,
            Err(refused) => {
                let is_early = claims.nbf.is_some_and(|nbf| nbf > now + LEEWAY);
                prop_assert!(is_early, "{}", refused);
                return Ok(());
            }
        };
        prop_assert!(claims.nbf.is_none_or(|nbf| nbf <= now + LEEWAY));
        prop_assert_eq!((entry.room.as_str(), entry.identity.as_str()), (&*claims.video.room, &*claims.sub));
        let name = if claims.name.is_empty() { &claims.sub } else { &claims.name };
        prop_assert_eq!(&entry.name, name);
        let VideoGrant { can_publish, can_publish_sources, can_subscribe, can_publish_data, hidden, .. } = claims.video;
        prop_assert_eq!(entry.grants.publish, can_publish.unwrap_or(true) && !hidden);
        prop_assert_eq!(entry.grants.subscribe, can_subscribe.unwrap_or(true));
        prop_assert_eq!((entry.grants.data, entry.grants.hidden), (can_publish_data.unwrap_or(true), hidden));
        // An empty list allows all sources, unknown names allow none.
        let names = can_publish_sources.filter(|names| !names.is_empty());
        let known = |names: Vec<String>| names.iter().filter(|name| *name != "hologram").count();
        prop_assert_eq!(entry.grants.sources.map(|sources| sources.len()), names.map(known));
        prop_assert_eq!(entry.ends_s, claims.exp);
        prop_assert_eq!(entry.expired, (now >= claims.exp + LEEWAY).then(|| now - claims.exp));
        prop_assert!(!entry.is_demo);
    }

    #[test]
    fn a_token_expires_at_its_second_and_starts_at_its_second(
        claims in claims(),
        leeway in 0..=300_u64,
        around in -3..=3_i64,
    ) {
        let claims = Claims { nbf: None, ..claims };
        let token = ours().sign(claims.clone());
        let now = (claims.exp + leeway).saturating_add_signed(around);
        let entry = ours().check(&token, now, leeway).unwrap();
        prop_assert_eq!(entry.expired.is_some(), around >= 0);
        let nbf = claims.exp;
        let token = ours().sign(Claims { nbf: Some(nbf), exp: nbf + 1_000, ..claims });
        let now = (nbf - leeway).saturating_add_signed(around);
        prop_assert_eq!(ours().check(&token, now, leeway).is_ok(), around >= 0);
    }

    #[test]
    fn a_changed_byte_is_refused(claims in claims(), at in any::<Index>(), byte in "[ -~é]") {
        let claims = Claims { nbf: None, ..claims };
        let token = ours().sign(claims);
        let at = at.index(token.len());
        let mut changed = token.clone();
        changed.replace_range(at..=at, &byte);
        prop_assume!(changed != token);
        prop_assert!(ours().check(&changed, 1_000, LEEWAY).is_err(), "{}", changed);
        for cut in [&token[..at], &token[at + 1..]] {
            prop_assert!(ours().check(cut, 1_000, LEEWAY).is_err());
        }
    }

    #[test]
    fn only_our_keys_open_a_room(claims in claims(), secret in "[a-z0-9]{16,40}") {
        let claims = Claims { nbf: None, ..claims };
        prop_assume!(secret != FIRST && secret != SECOND);
        for key in ["first", "second", "third"] {
            let theirs = keys(&[(key, &secret)]);
            prop_assert!(ours().check(&theirs.sign(claims.clone()), 1_000, LEEWAY).is_err());
        }
        let second = keys(&[("second", SECOND), ("first", FIRST)]);
        prop_assert!(ours().check(&second.sign(claims), 1_000, LEEWAY).is_ok());
    }

    #[test]
    fn any_text_is_refused(
        text in prop_oneof!["\\PC{0,60}", "[A-Za-z0-9_-]{0,30}\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{43}"],
    ) {
        prop_assert!(ours().check(&text, 1_000, LEEWAY).is_err());
    }

    #[test]
    fn a_resume_key_is_its_owner_s_for_a_day(
        (claims, since, given_s) in (claims(), any::<u32>(), 0..4_000_000_000_u64),
        (late_s, at, byte) in (-3..=3_i64, any::<Index>(), "[ -~]"),
    ) {
        let resume = ResumeClaims {
            participant: ParticipantId::random(),
            identity: claims.sub.parse().unwrap(),
            room: claims.video.room.parse().unwrap(),
            epoch: Epoch::random(),
            since: since.into(),
            grants: Grants::from_claims(&claims.video).unwrap(),
            token_ends_s: claims.exp,
            joined_s: given_s,
        };
        let key = ours().resume_key(resume.clone(), given_s);
        let owner = (&resume.room, &resume.participant, &resume.identity);
        let ends_s = given_s + RESUME_KEY_SECONDS;
        let found = ours().check_resume(&key, owner, ends_s.saturating_add_signed(late_s));
        let expected = if late_s > 0 { Err(ResumeRefused::Expired) } else { Ok(resume.clone()) };
        prop_assert_eq!(found, expected);
        let somebody = ParticipantId::random();
        let stolen = (&resume.room, &somebody, &resume.identity);
        prop_assert!(ours().check_resume(&key, stolen, given_s).is_err());
        // A resume key is no token, and a token is no resume key.
        prop_assert!(ours().check(&key, given_s, LEEWAY).is_err());
        prop_assert!(ours().check_resume(&ours().sign(claims), owner, given_s).is_err());
        let at = at.index(key.len());
        let mut changed = key.clone();
        changed.replace_range(at..=at, &byte);
        prop_assert!(changed == key || ours().check_resume(&changed, owner, given_s).is_err());
    }

    #[test]
    fn a_stay_ends_with_the_token_or_the_day(
        claims in claims(),
        (joined_s, allowance_s) in any::<(u64, u64)>(),
    ) {
        let resume = ResumeClaims {
            participant: ParticipantId::random(),
            identity: claims.sub.parse().unwrap(),
            room: claims.video.room.parse().unwrap(),
            epoch: Epoch::random(),
            since: 0,
            grants: Grants::from_claims(&claims.video).unwrap(),
            token_ends_s: claims.exp,
            joined_s,
        };
        let until = u128::from(resume.stays_until(allowance_s));
        let sum = |a: u64, b: u64| u128::from(a) + u128::from(b);
        let most = sum(claims.exp, allowance_s).min(sum(joined_s, STAY_SECONDS));
        prop_assert_eq!(until, most.min(u64::MAX.into()));
    }

    #[test]
    fn texts_are_equal_only_to_themselves(
        (a, b) in (vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..20)),
        at in any::<Index>(),
    ) {
        prop_assert!(equal_in_constant_time(&a, &a));
        prop_assert_eq!(equal_in_constant_time(&a, &b), a == b);
        let mut changed = a.clone();
        if let Some(byte) = changed.get_mut(at.index(a.len().max(1))) {
            *byte ^= 1;
            prop_assert!(!equal_in_constant_time(&a, &changed));
        }
    }
}

const FIRST: &str = "0123456789abcdef";
const SECOND: &str = "fedcba9876543210";

fn ours() -> Keys {
    keys(&[("first", FIRST), ("second", SECOND)])
}

fn keys(pairs: &[(&str, &str)]) -> Keys {
    let parse = |(key, secret): &(&str, &str)| format!("{key}:{secret}").parse().expect("a key");
    Keys::new(pairs.iter().map(parse).collect()).expect("a list")
}

/// Claims that let a participant join.
fn claims() -> impl Strategy<Value = Claims> {
    let name = || "[a-zäß中 ._-]{0,20}[a-z0-9]";
    let flag = || prop::option::of(any::<bool>());
    let source = prop::sample::select(vec![
        "camera",
        "microphone",
        "screen_share",
        "other",
        "hologram",
    ]);
    let sources = prop::option::of(vec(source.prop_map(str::to_owned), 0..4));
    let grants = (flag(), sources, flag(), flag(), any::<bool>());
    let times = (
        prop::option::weighted(0.3, 0..4_000_000_000_u64),
        1_000..4_000_000_000_u64,
    );
    (name(), name(), "[ -~]{0,128}", times, grants).prop_map(
        |(
            room,
            sub,
            name,
            (nbf, exp),
            (can_publish, can_publish_sources, can_subscribe, can_publish_data, hidden),
        )| {
            Claims {
                iss: String::new(),
                sub: sub.trim().to_owned(),
                name,
                nbf,
                exp,
                video: VideoGrant {
                    room: room.trim().to_owned(),
                    room_join: true,
                    can_publish,
                    can_publish_sources,
                    can_subscribe,
                    can_publish_data,
                    hidden,
                },
            }
        },
    )
}
