//! Tests: connectivity checks arrive before the client's answer, and the session connects when the answer arrives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spillway_wire::stun;
use str0m::change::SdpOffer;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output as ClientOutput, Rtc, RtcConfig};

use super::build::PeerFactory;
use super::command::Command;
use super::output::{Output, PeerEvent};
use super::paths::Checked;
use super::session::Peer;
use crate::ice::credentials::IceKey;
use crate::io::entropy::Entropy;
use crate::key::{SessionKey, TrackKey};
use crate::media::codec::MediaKind;
use crate::media::layer_allocation::SubscriptionParams;
use crate::media::subscription::Wanted;
use crate::srtp::AeadChoice;

/// Simulated one-way delay of the path.
const HOP: Duration = Duration::from_millis(1);

struct Call {
    peer: Peer,
    client: Rtc,
    /// Our address, and the client's.
    candidate: SocketAddr,
    addr: SocketAddr,
    now: Instant,
    /// Number of checks that the client has sent.
    checks: usize,
    connected: bool,
}

impl Call {
    /// Advances by one hop: datagrams of both sides arrive.
    fn step(&mut self) {
        self.now += HOP;
        let mut out = Output::default();
        self.client.handle_input(Input::Timeout(self.now)).unwrap();
        for datagram in self.said() {
            self.take(&datagram, &mut out);
        }
        if self.peer.deadline() <= self.now {
            self.peer.handle_timeout(self.now, &mut out);
        }
        self.answer(out);
    }

    fn said(&mut self) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        loop {
            match self.client.poll_output().unwrap() {
                ClientOutput::Timeout(_) => return datagrams,
                ClientOutput::Transmit(transmit) => datagrams.push(transmit.contents.to_vec()),
                ClientOutput::Event(Event::Connected) => self.connected = true,
                ClientOutput::Event(_) => {}
            }
        }
    }

    fn take(&mut self, datagram: &[u8], out: &mut Output) {
        if let Ok(message) = stun::Message::parse(datagram)
            && message.is_binding_request()
        {
            self.checks += 1;
            let checked = Checked {
                remote: self.addr,
                local: None,
                nominates: message.has_use_candidate(),
                is_proven: false,
            };
            let transaction = message.transaction();
            self.peer.paths.add(checked, transaction, self.now);
        }
        self.peer
            .receive(self.now, self.addr, self.candidate, datagram, out);
    }

    fn answer(&mut self, out: Output) {
        for transmit in out.transmits {
            let (from, to) = (self.candidate, self.addr);
            let receive = Receive::new(Protocol::Udp, from, to, &transmit.contents).unwrap();
            let input = Input::Receive(self.now, receive);
            self.client.handle_input(input).unwrap();
        }
    }
}

#[test]
fn checks_before_the_answer_cost_no_time() {
    let now = Instant::now();
    let [candidate, addr] = ["127.0.0.1:7", "127.0.0.1:9"].map(|addr| addr.parse().unwrap());
    let factory = PeerFactory::new(
        IceKey::generate(&mut Entropy::System),
        vec![candidate],
        false,
        AeadChoice::Auto,
    )
    .unwrap();
    let mut peer = factory.subscriber(SessionKey(1), &mut Entropy::System, now);
    let wanted = Wanted {
        track: TrackKey(1),
        kind: MediaKind::Video,
        params: SubscriptionParams::default(),
        group: None,
        formats: None,
    };
    let mut out = Output::default();
    let subscribe = Command::Subscribe {
        put: vec![wanted],
        remove: Vec::new(),
    };
    peer.apply(subscribe, now, &mut out).unwrap();
    let offer = out.events.into_iter().find_map(|event| match event {
        PeerEvent::Offer(offer) => Some(offer),
        _ => None,
    });
    let offer = offer.unwrap();
    let mut client = RtcConfig::new()
        .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
        .build(now);
    client.add_local_candidate(Candidate::host(addr, "udp").unwrap());
    let read = SdpOffer::from_sdp_string(&offer.sdp).unwrap();
    let sdp = client.sdp_api().accept_offer(read).unwrap().to_sdp_string();
    let mut call = Call {
        peer,
        client,
        candidate,
        addr,
        now,
        checks: 0,
        connected: false,
    };
    while call.checks < 4 {
        call.step();
        assert!(
            call.now < now + Duration::from_secs(5),
            "{} checks",
            call.checks
        );
    }
    let (revision, answered) = (offer.revision, call.now);
    let mut out = Output::default();
    let answer = Command::Answer { revision, sdp };
    call.peer.apply(answer, answered, &mut out).unwrap();
    call.answer(out);
    while !call.connected {
        call.step();
        let waited = call.now - answered;
        assert!(
            waited < Duration::from_millis(100),
            "still not connected after {waited:?}"
        );
    }
}
