//! Tests: sessions end with the lease of their owner.

use super::*;
use crate::config::{Config, Host, SETTINGS};
use crate::control::AdvertisedAddresses;
use crate::ice::credentials::IceKey;
use crate::io::clock;
use crate::io::entropy::Entropy;
use crate::limits::LOBBY_WAIT;
use crate::mesh::mailbox::Mesh;
use crate::peer::build::PeerFactory;
use crate::srtp::AeadChoice;

fn control() -> Control {
    let command = spillway_settings::command(clap::Command::new("test"), SETTINGS);
    let matches = command.get_matches_from(["test"]);
    let host = Host {
        name: "host".into(),
        cores: vec![0],
        addresses: vec!["127.0.0.1".parse().unwrap()],
    };
    let values = spillway_settings::Values::gather(&matches, SETTINGS).unwrap();
    let config = Config::check(&values, &host).unwrap();
    let factory = PeerFactory::new(
        IceKey::generate(&mut Entropy::System),
        Vec::new(),
        false,
        AeadChoice::Auto,
    )
    .unwrap();
    let advertised = AdvertisedAddresses {
        addresses: Vec::new(),
        turn_urls: Vec::new(),
        turn_secret_ids: Vec::new(),
    };
    Control::new(
        config,
        advertised,
        factory,
        Mesh::new(1).unwrap(),
        Entropy::System,
        clock::now(),
    )
}

fn subscribe(control: &mut Control, session: &str, owner: &str) {
    let request = proto::PutSubscribeRequest {
        session: session.to_owned(),
        annotation: Vec::new(),
        owner: owner.to_owned(),
    };
    control.put_subscribe(request, clock::now()).unwrap();
}

fn renew(control: &mut Control, owner: &str, now: Instant) {
    let request = proto::RenewLeaseRequest {
        owner: owner.to_owned(),
        time_ms: 10_000,
    };
    control.renew_lease(&request, now).unwrap();
}

fn sessions(control: &Control) -> Vec<String> {
    let mut ids: Vec<String> = control
        .directory
        .iter()
        .map(|(_, r)| r.id.clone())
        .collect();
    ids.sort();
    ids
}

#[test]
fn a_session_that_is_never_negotiated_ends_unless_a_lease_keeps_it() {
    let mut control = control();
    subscribe(&mut control, "nobody's", "");
    subscribe(&mut control, "ann's", "a");
    let now = clock::now();
    control.tick(now + LOBBY_WAIT / 2);
    assert_eq!(sessions(&control), ["ann's", "nobody's"]);
    control.tick(now + LOBBY_WAIT);
    assert_eq!(sessions(&control), ["ann's"]);
}

#[test]
fn sessions_end_with_the_lease_of_their_owner_and_others_do_not() {
    let mut control = control();
    let start = clock::now();
    renew(&mut control, "dead", start);
    for (session, owner) in [("1", "dead"), ("2", "dead"), ("3", "alive"), ("4", "")] {
        subscribe(&mut control, session, owner);
    }
    let moved = proto::TakeSessionsRequest {
        owner: "alive".to_owned(),
        sessions: vec!["2".to_owned(), "gone".to_owned()],
    };
    control.take_sessions(&moved).unwrap();
    let mut events = control.events().subscribe();
    for seconds in 0..6 {
        renew(
            &mut control,
            "alive",
            start + Duration::from_secs(2 * seconds),
        );
    }
    assert_eq!(sessions(&control), ["2", "3", "4"]);
    let event = events.try_recv().unwrap().event;
    let Some(proto::event::Event::Closed(closed)) = event else {
        panic!("{event:?}");
    };
    assert_eq!(
        (&*closed.session, &*closed.reason),
        ("1", "its server is gone")
    );
}

#[test]
fn owners_have_names_and_a_put_without_one_changes_no_owner() {
    let mut control = control();
    subscribe(&mut control, "1", "a");
    subscribe(&mut control, "1", "");
    assert_eq!(control.directory.owned_by("a").len(), 1);
    let long = "a".repeat(crate::limits::MAX_ID_BYTES + 1);
    for owner in ["", &long] {
        let request = proto::RenewLeaseRequest {
            owner: owner.to_owned(),
            time_ms: 10_000,
        };
        let refused = control.renew_lease(&request, clock::now()).err().unwrap();
        assert!(refused.to_string().contains("owner id of"), "{refused}");
    }
}
