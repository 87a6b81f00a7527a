//! Negotiation with a subscriber: offers, one at a time, and answers. Decides which m-line each subscription uses.

use str0m::Rtc;
use str0m::change::{SdpAnswer, SdpApi};
use str0m::media::Direction;

use super::{Outstanding, Slot, SlotFormats, SlotState, Subscriber};
use crate::key::{SubscriptionIndex, TrackKey};
use crate::limits::{ANSWER_BYTES_BESIDES, ANSWER_BYTES_PER_M_LINE, MAX_BAD_ANSWERS, MAX_REOFFERS};
use crate::media::codec::CodecSpec;
use crate::media::subscription::SyncGroup;
use crate::media::track::{TrackFormats, TrackInfo};
use crate::peer::command::{CommandError, CommandReply, CommandResult};
use crate::peer::output::OfferOut;
use crate::peer::output::{Output, PeerEvent};
use crate::peer::sdp::ours::{self, OfferedLine};
use crate::peer::sdp::theirs::{Answer, OutstandingOffer};
use crate::peer::{codecs, sdp};
use crate::send::stream::Stream;

impl Subscriber {
    /// Handles the client's answer to the outstanding offer.
    pub(in crate::peer) fn accept_answer(
        &mut self,
        rtc: &mut Rtc,
        revision: u64,
        text: &str,
        out: &mut Output,
    ) -> CommandResult {
        // Parsing an answer costs time, so only the answer to the outstanding offer is parsed.
        let outstanding = self.negotiation.outstanding.as_ref();
        let outstanding = outstanding.map(|outstanding| outstanding.offer.revision);
        if outstanding != Some(revision) {
            if revision == self.negotiation.accepted {
                return Ok(CommandReply::Done); // a repeated command
            }
            let outstanding = outstanding.map_or("none".into(), |revision| revision.to_string());
            return Err(CommandError::StaleAnswer {
                got: revision,
                outstanding,
            });
        }
        let limit = ANSWER_BYTES_BESIDES + ANSWER_BYTES_PER_M_LINE * self.slots.len();
        let read = match text.len() <= limit {
            true => self.read_answer(text),
            false => Err(CommandError::TooMany {
                what: "bytes of an answer",
                got: text.len(),
                limit,
            }),
        };
        let (answer, parsed) = read.inspect_err(|error| self.bad_answer(error, out))?;
        let outstanding = self.negotiation.outstanding.take();
        let Outstanding { pending, .. } = outstanding.expect("it is the outstanding one");
        self.negotiation.bad_answers = 0;
        let accepted = parsed.map(|parsed| rtc.sdp_api().accept_answer(pending, parsed));
        if let Some(Err(error)) = accepted {
            // The two sides have different m-lines now, and no later offer can repair this.
            out.events
                .push(PeerEvent::Closed(format!("bad answer: {error}")));
            return Err(CommandError::BadSdp(error.to_string()));
        }
        self.negotiation.accepted = revision;
        self.answered(answer, out);
        out.events.push(PeerEvent::Negotiated);
        if self.negotiation.dirty {
            self.negotiate(rtc, out);
        }
        Ok(CommandReply::Done)
    }

    /// Parses the client's answer; also returns the normalised answer that the session layer reads.
    fn read_answer(&self, text: &str) -> Result<(Answer, Option<SdpAnswer>), CommandError> {
        let outstanding = self.negotiation.outstanding.as_ref();
        let asked = OutstandingOffer {
            written: outstanding.map_or("", |outstanding| &outstanding.written),
            offered_formats: self
                .slots
                .iter()
                .map(|slot| &slot.formats.offered_formats)
                .collect(),
            forgotten: self.forgotten.len(),
            transport: self.transport.as_deref(),
        };
        let answer = Answer::read(text, &asked)?;
        let parsed = answer.normalised.as_deref().map(SdpAnswer::from_sdp_string);
        let parsed = parsed.transpose();
        let parsed = parsed.map_err(|error| CommandError::BadSdp(error.to_string()))?;
        Ok((answer, parsed))
    }

    /// Applies the answer for each m-line: subscriptions on rejected m-lines end.
    fn answered(&mut self, answer: Answer, out: &mut Output) {
        if let Some((credentials, lines)) = answer.transport {
            self.credentials = Some(credentials);
            self.transport = Some(lines);
        }
        let mut rejected = Vec::new();
        for (slot, line) in self.slots.iter_mut().zip(answer.lines) {
            slot.formats.accepted = Some(line.accepted);
            slot.formats.carried = line.carried;
            match slot.state {
                SlotState::Playing(sub) if !line.is_taken => {
                    rejected.push(self.subscriptions[sub].track);
                    slot.state = SlotState::Refused;
                }
                SlotState::Free | SlotState::Ending if line.is_rejected => {
                    slot.state = SlotState::Refused;
                }
                SlotState::Playing(_)
                | SlotState::Free
                | SlotState::Ending
                | SlotState::Refused => {}
            }
        }
        if answer.normalised.is_none() {
            // The session layer knows nothing of these m-lines: the next ones take their positions (RFC 8829 section
            // 5.2.2).
            for (index, slot) in self.slots.drain(..).enumerate() {
                let line = ours::forgotten(&slot.mid, &slot.formats.offered_formats);
                match self.forgotten.get_mut(index) {
                    Some(known) => *known = line,
                    None => self.forgotten.push(line),
                }
            }
        }
        let ended = rejected
            .iter()
            .filter_map(|track| self.end(*track))
            .collect();
        out.events
            .extend(rejected.into_iter().map(PeerEvent::Rejected));
        out.events.push(PeerEvent::Unsubscribed(ended));
    }

    /// Counts an answer that could not be parsed. The client may try again, up to `MAX_BAD_ANSWERS` times.
    fn bad_answer(&mut self, error: &CommandError, out: &mut Output) {
        self.negotiation.bad_answers += 1;
        if self.negotiation.bad_answers > MAX_BAD_ANSWERS {
            let reason = format!("more than {MAX_BAD_ANSWERS} bad answers: {error}");
            out.events.push(PeerEvent::Closed(reason));
        }
    }

    /// Stores the formats that the publisher of subscription `index` may send. Its m-line must offer all of them.
    pub(super) fn learn(&mut self, index: SubscriptionIndex, published: &TrackInfo) {
        let mut formats = TrackFormats {
            codecs: published.codecs.clone(),
            is_stereo: published.is_stereo,
        };
        let subscription = &self.subscriptions[index];
        let first = subscription.offered_first.map(usize::from);
        if let Some(first) = first.and_then(|first| published.codecs.get(first)) {
            formats.put_first(first);
        }
        if self.formats_by_sub.get(&index) == Some(&formats) {
            return;
        }
        let offered_formats = codecs::offered_formats(subscription.kind, Some(&formats));
        self.formats_by_sub.insert(index, formats);
        let slot = subscription.slot.map(|slot| &mut self.slots[slot]);
        if let Some(slot) =
            slot.filter(|slot| !slot.formats.offered_formats.covers(&offered_formats))
        {
            slot.formats.is_outdated = true;
            self.negotiation.dirty = true;
        }
    }

    /// Handles a publisher that sends its codec number `codec`, for which subscription `index` negotiated no decoder.
    /// Some clients answer only with the first codec of an offer, and never change the codec of an m-line. So the codec
    /// is offered first, on another m-line. False when this was tried already: then the subscriber must be told.
    pub fn offer_first(
        &mut self,
        rtc: &mut Rtc,
        (index, codec): (SubscriptionIndex, u8),
        published: &TrackInfo,
        out: &mut Output,
    ) -> bool {
        let Some(subscription) = self.subscriptions.get_mut(index) else {
            return true;
        };
        if self.negotiation.outstanding.is_some() {
            subscription.reset_undecodable(); // the outstanding offer may help
            return true;
        }
        let Some(slot) = subscription.slot else {
            return false;
        };
        let was_offered = |sent: &CodecSpec| {
            let first = self.slots[slot].formats.offered_formats.codecs.first();
            first.is_some_and(|first| codecs::decodes(first, sent))
        };
        let sent = published.codecs.get(usize::from(codec));
        if sent.is_none_or(was_offered) || subscription.reoffers >= MAX_REOFFERS {
            return false;
        }
        subscription.reoffers += 1;
        subscription.offered_first = Some(codec);
        subscription.reset_undecodable();
        subscription.unpublished(); // until the new m-line is negotiated
        subscription.slot = None;
        self.slots[slot].state = SlotState::Ending;
        self.learn(index, published);
        self.negotiation.dirty = true;
        self.negotiate(rtc, out);
        true
    }

    /// Makes the next offer, if something changed and no offer is outstanding.
    pub(super) fn negotiate(&mut self, rtc: &mut Rtc, out: &mut Output) {
        if !self.negotiation.dirty || self.negotiation.outstanding.is_some() {
            return;
        }
        self.negotiation.dirty = false;
        let mut api = rtc.sdp_api();
        self.change_lines(&mut api);
        let Some((offer, pending)) = api.apply() else {
            return;
        };
        self.negotiation.revision += 1;
        let written = offer.to_sdp_string();
        let slots = self.slots.iter();
        let lines = slots.map(|slot| OfferedLine {
            offered_formats: &slot.formats.offered_formats,
            is_refused: slot.state == SlotState::Refused,
        });
        let lines: Vec<OfferedLine<'_>> = lines.collect();
        let sdp = ours::with_formats(&written, &lines, &self.forgotten);
        let sdp = sdp::candidates::with_candidates(&sdp, &self.tcp_candidates);
        let offer = OfferOut {
            revision: self.negotiation.revision,
            sdp: sdp::groups::with_groups(&sdp, |mid| self.group_on(mid)),
            mids: self.mids(),
        };
        self.negotiation.outstanding = Some(Outstanding {
            pending,
            written,
            offer: offer.clone(),
        });
        out.events.push(PeerEvent::Offer(offer));
    }

    /// Sets m-lines of ended subscriptions to inactive, and assigns m-lines to new subscriptions.
    fn change_lines(&mut self, api: &mut SdpApi<'_>) {
        let mut free: Vec<usize> = (0..self.slots.len())
            .filter(|slot| self.slots[*slot].state == SlotState::Free)
            .collect();
        for slot in &mut self.slots {
            if slot.state == SlotState::Ending {
                api.set_direction(slot.mid, Direction::Inactive);
                slot.state = SlotState::Free;
            }
            if let SlotState::Playing(index) = slot.state
                && std::mem::take(&mut slot.formats.is_outdated)
            {
                slot.formats.offered_formats =
                    codecs::offered_formats(slot.kind, self.formats_by_sub.get(&index));
                // The session layer makes an offer only after a change that it knows of.
                api.set_direction(slot.mid, Direction::Inactive);
                api.set_direction(slot.mid, Direction::SendOnly);
            }
        }
        for (index, subscription) in self.subscriptions.iter_mut() {
            if subscription.slot.is_some() {
                continue;
            }
            let is_like = |slot: &usize| self.slots[*slot].kind == subscription.kind;
            let is_fresh = subscription.reoffers > 0; // see `offer_first`
            let again = free.iter().position(is_like).filter(|_| !is_fresh);
            let slot = if let Some(position) = again {
                let slot = free.swap_remove(position);
                api.set_direction(self.slots[slot].mid, Direction::SendOnly);
                slot
            } else {
                let mid = api.add_media(
                    subscription.kind.into(),
                    Direction::SendOnly,
                    None,
                    None,
                    None,
                );
                self.slots.push(Slot {
                    mid,
                    stream: Stream::new(subscription.kind, &mut self.entropy),
                    kind: subscription.kind,
                    state: SlotState::Free,
                    formats: Box::default(),
                });
                self.slots.len() - 1
            };
            let formats = self.formats_by_sub.get(&index);
            *self.slots[slot].formats = SlotFormats {
                offered_formats: codecs::offered_formats(subscription.kind, formats),
                ..SlotFormats::default()
            };
            self.slots[slot].state = SlotState::Playing(index);
            subscription.slot = Some(slot);
        }
    }

    /// The lip sync group of the track on m-line `mid`.
    fn group_on(&self, mid: &str) -> Option<&SyncGroup> {
        let slot = self.slots.iter().find(|slot| *slot.mid == *mid)?;
        self.subscriptions[slot.playing()?].group.as_deref()
    }

    pub(super) fn mids(&self) -> Vec<(String, TrackKey)> {
        let playing = self.slots.iter().filter_map(|slot| {
            let subscription = &self.subscriptions[slot.playing()?];
            Some((slot.mid.to_string(), subscription.track))
        });
        playing.collect()
    }
}
