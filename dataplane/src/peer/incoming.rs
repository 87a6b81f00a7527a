//! Authenticates packets of a publish session before the session layer sees them: forged and replayed packets are
//! dropped here.
//!
//! The session layer maps an unknown SSRC to the m-line and layer named in the packet's header extensions, and removes
//! the SSRC that was mapped there before, all before it authenticates the packet. So one forged packet could silence a
//! track. Packets whose SSRC the session layer already receives media from are passed to it directly: it authenticates
//! them before they change any state. The exception is a payload type of retransmissions, which starts the sequence
//! numbers of the RTX stream. No client sends it with a media SSRC, so such packets are authenticated here, too.

use std::collections::HashMap;

use spillway_wire::{rtcp, rtp};
use str0m::Rtc;
use str0m::rtp::Ssrc;

use super::sdp::answer::PayloadRoutes;
use crate::drop_reason::DropReason;
use crate::key::LayerIndex;
use crate::limits::{MAX_DATAGRAM_BYTES, MAX_SSRCS_PER_SESSION};
use crate::srtp::{Keys, RtcpOpener, Verifier, packet_index};

/// The client's keys, and the SSRCs that it has used.
#[derive(Default)]
pub(super) struct Incoming {
    keys: Option<(RtcpOpener, Verifier)>,
    source_by_ssrc: HashMap<u32, Source>,
    /// Bitmap of the payload types that are retransmissions.
    resend_types: u128,
    /// m-line by payload type, for offers without SSRCs and mid extension; `None` for other offers.
    routes: Option<Box<PayloadRoutes>>,
}

/// State of an SSRC with at least one authenticated packet.
#[derive(Default)]
struct Source {
    /// Highest packet index that was authenticated here.
    highest: Option<u64>,
    /// Track and layer of the SSRC: `None` before the first look-up, `Some(None)` if it has none.
    route: Option<Option<(usize, LayerIndex)>>,
}

/// Why a packet does not reach the session layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The packet is dropped for this reason.
    Drop(DropReason),
    /// The client has used more SSRCs than allowed: the session ends.
    TooManySsrcs,
}

impl Incoming {
    /// Sets the client's keys after the DTLS handshake.
    pub(super) fn keyed(&mut self, keys: Keys) {
        self.keys = Some((keys.rtcp_opener, keys.verifier));
    }

    /// Ok if an SRTP packet may be passed to the session layer; the value is true if it was authenticated here.
    pub(super) fn admit_rtp(&mut self, rtc: &mut Rtc, packet: &[u8]) -> Result<bool, Refusal> {
        let header = rtp::Received::read(packet).ok_or(Refusal::Drop(DropReason::Rejected))?;
        let is_resend = self.resend_types & 1 << header.payload_type != 0;
        if header.ssrc != PROBE_SSRC && !is_resend && receives_from(rtc, header.ssrc) {
            return Ok(false);
        }
        let keys = self.keys.as_ref();
        let (_, verifier) = keys.ok_or(Refusal::Drop(DropReason::NotConnected))?;
        let known = self.source_by_ssrc.get(&header.ssrc);
        let index = packet_index(known.and_then(|source| source.highest), header.seq);
        if !verifier.verifies(packet, header.length, header.ssrc, index) {
            return Err(Refusal::Drop(DropReason::BadSrtp));
        }
        self.source(header.ssrc)?.received(index);
        let routes = self.routes.as_ref();
        let route = routes.and_then(|routes| routes[usize::from(header.payload_type & 0x7f)]);
        if let Some(mid) =
            route.filter(|_| header.ssrc != PROBE_SSRC && !receives_from(rtc, header.ssrc))
        {
            let mut api = rtc.direct_api();
            api.expect_stream_rx(header.ssrc.into(), None, mid, None);
        }
        Ok(true)
    }

    /// Ok if an SRTCP packet may be passed to the session layer, as for [`admit_rtp`](Self::admit_rtp). A publisher
    /// receives no media, so its feedback is dropped: it could claim far more packets than it contains.
    pub(super) fn admit_rtcp(&mut self, packet: &[u8]) -> Result<bool, Refusal> {
        let keys = self.keys.as_mut();
        let (opener, _) = keys.ok_or(Refusal::Drop(DropReason::NotConnected))?;
        let mut room = [0; MAX_DATAGRAM_BYTES];
        let room = room.get_mut(..packet.len());
        let room = room.ok_or(Refusal::Drop(DropReason::Truncated))?;
        room.copy_from_slice(packet);
        let bad = Refusal::Drop(DropReason::BadRtcp);
        let compound = opener.open(room, MAX_SSRCS_PER_SESSION).map_err(|_| bad)?;
        let is_feedback = |packet| {
            !matches!(
                packet,
                Ok(rtcp::Packet::SenderReport { .. }
                    | rtcp::Packet::ReceiverReport { .. }
                    | rtcp::Packet::Bye
                    | rtcp::Packet::Other)
            )
        };
        match rtcp::packets(compound).any(is_feedback) {
            true => Err(bad),
            false => Ok(true),
        }
    }

    /// Track and layer of an authenticated media packet. `find` is called the first time for each SSRC.
    pub(super) fn route(
        &mut self,
        ssrc: Ssrc,
        index: u64,
        find: impl FnOnce() -> Option<(usize, LayerIndex)>,
    ) -> Result<Option<(usize, LayerIndex)>, Refusal> {
        let source = self.source(*ssrc)?;
        source.received(index);
        Ok(*source.route.get_or_insert_with(find))
    }

    /// Resets the mapping of SSRCs after an accepted offer, because tracks and payload types may have changed.
    pub(super) fn negotiated(&mut self, rtc: &Rtc, routes: PayloadRoutes) {
        let has_routes = routes.iter().any(Option::is_some);
        self.routes = has_routes.then(|| Box::new(routes));
        let resend = rtc
            .codec_config()
            .params()
            .iter()
            .filter_map(|params| params.resend());
        self.resend_types = resend.fold(0, |types, pt| types | 1 << *pt);
        self.source_by_ssrc
            .values_mut()
            .for_each(|source| source.route = None);
    }

    fn source(&mut self, ssrc: u32) -> Result<&mut Source, Refusal> {
        let is_full = self.source_by_ssrc.len() >= MAX_SSRCS_PER_SESSION;
        if is_full && !self.source_by_ssrc.contains_key(&ssrc) {
            return Err(Refusal::TooManySsrcs);
        }
        Ok(self.source_by_ssrc.entry(ssrc).or_default())
    }
}

impl Source {
    fn received(&mut self, index: u64) {
        self.highest = self.highest.max(Some(index));
    }
}

/// SSRC of padding in bandwidth probes. The session layer accepts it with any payload type.
const PROBE_SSRC: u32 = 0;

/// True when the session layer already receives media of `ssrc`, so that it maps packets by their SSRC only.
fn receives_from(rtc: &mut Rtc, ssrc: u32) -> bool {
    rtc.direct_api().stream_rx(&ssrc.into()).is_some()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use str0m::RtcConfig;

    use super::*;
    use crate::srtp::{AeadChoice, MasterKey, Profile, Sealer};

    /// Keys of the client, the authentication, and the session layer behind it.
    fn session() -> (Sealer, Incoming, Rtc) {
        let material: Vec<u8> = (0..56).collect();
        let (client, server) = MasterKey::split(Profile::AeadAes128Gcm, &material).unwrap();
        let mut incoming = Incoming::default();
        incoming.keyed(Keys::new(&server, &client, AeadChoice::Library));
        let crypto = std::sync::Arc::new(str0m::crypto::from_feature_flags());
        let rtc = RtcConfig::new()
            .set_crypto_provider(crypto)
            .build(Instant::now());
        (Sealer::new(&client, AeadChoice::Library), incoming, rtc)
    }

    fn rtp(sealer: &Sealer, ssrc: u32, index: u64) -> Vec<u8> {
        let mut packet = vec![0x80, 96, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        packet[2..4].copy_from_slice(&(index as u16).to_be_bytes());
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        packet.resize(12 + 50 + sealer.rtp_overhead(), 7);
        sealer.seal_rtp(&mut packet, 12, ssrc, index);
        packet
    }

    fn rtcp(sealer: &mut Sealer, compound: &[u8]) -> Vec<u8> {
        let mut packet = compound.to_vec();
        packet.resize(compound.len() + 64, 0);
        let length = sealer.seal_rtcp(&mut packet, compound.len());
        packet.truncate(length);
        packet
    }

    #[test]
    fn a_new_ssrc_has_to_be_the_clients() {
        let (sealer, mut incoming, mut rtc) = session();
        let packet = rtp(&sealer, 9, 40_000);
        let mut forged = packet.clone();
        forged[30] ^= 1;
        let bad = Err(Refusal::Drop(DropReason::BadSrtp));
        assert_eq!(incoming.admit_rtp(&mut rtc, &forged), bad);
        assert!(incoming.source_by_ssrc.is_empty(), "it changed nothing");
        assert_eq!(incoming.admit_rtp(&mut rtc, &packet), Ok(true));
        // The rollover counter follows authenticated packets only.
        for index in [65_535, 65_537, 90_000, 120_000, 140_000] {
            let packet = rtp(&sealer, 9, index);
            assert_eq!(incoming.admit_rtp(&mut rtc, &packet), Ok(true), "{index}");
        }
        let mut early = Incoming::default();
        let no_keys = Err(Refusal::Drop(DropReason::NotConnected));
        assert_eq!(early.admit_rtp(&mut rtc, &packet), no_keys);
    }

    #[test]
    fn a_session_has_only_so_many_ssrcs_in_its_life() {
        let (sealer, mut incoming, mut rtc) = session();
        for ssrc in 1..=MAX_SSRCS_PER_SESSION as u32 {
            let packet = rtp(&sealer, ssrc, 1);
            assert_eq!(incoming.admit_rtp(&mut rtc, &packet), Ok(true));
        }
        let one_more = rtp(&sealer, u32::MAX, 1);
        let ended = Err(Refusal::TooManySsrcs);
        assert_eq!(incoming.admit_rtp(&mut rtc, &one_more), ended);
        let known = rtp(&sealer, 1, 2);
        assert_eq!(incoming.admit_rtp(&mut rtc, &known), Ok(true));
    }

    #[test]
    fn rtcp_is_taken_once_and_only_what_a_publisher_has_to_say() {
        let (mut sealer, mut incoming, _) = session();
        let report = [&[0x80, 200, 0, 6, 0, 0, 0, 9][..], &[0; 20]].concat();
        let packet = rtcp(&mut sealer, &report);
        let bad = Err(Refusal::Drop(DropReason::BadRtcp));
        assert_eq!(incoming.admit_rtcp(&packet), Ok(true));
        assert_eq!(incoming.admit_rtcp(&packet), bad, "it was received before");
        // A feedback message about 65,535 packets in 24 bytes, alone and behind a report.
        let feedback = [
            0x8f, 205, 0, 5, 0, 0, 0, 9, 0, 0, 0, 7, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0x1f, 0xff, 0, 0,
        ];
        assert_eq!(incoming.admit_rtcp(&rtcp(&mut sealer, &feedback)), bad);
        let both = [&report[..], &feedback[..]].concat();
        assert_eq!(incoming.admit_rtcp(&rtcp(&mut sealer, &both)), bad);
        let goodbye = [&report[..], &[0x81, 203, 0, 1, 0, 0, 0, 9]].concat();
        assert_eq!(incoming.admit_rtcp(&rtcp(&mut sealer, &goodbye)), Ok(true));
    }
}
