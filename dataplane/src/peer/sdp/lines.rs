//! m-lines of a publish session as the session library knows them.
//!
//! The library has one m-line for each usable audio or video m-line that the client offered, in order of first use.
//! Unsupported m-lines, such as a data channel, do not change the positions of others, not even when they become video
//! later (RFC 8829 section 5.2.2: an m-line with port 0 is used again with a new mid).

use str0m::media::Mid;

use super::extensions::{EXTENSION_IDS, Extensions, carried};
use super::formats::PAYLOAD_TYPES;
use crate::media::codec::MediaKind;
use crate::media::extensions::ExtensionKind;

/// Kinds of forwarded header extensions, by identifier.
pub(in crate::peer) type CarriedById = [Option<ExtensionKind>; EXTENSION_IDS];

/// Values that earlier offers of the session have fixed.
#[derive(Clone)]
pub(in crate::peer) struct Lines {
    pub(super) slots: Vec<Slot>,
    pub(super) payload_types: PayloadTypes,
    /// URI of each extension id, in the whole BUNDLE group (RFC 8843 section 9).
    pub(super) extensions: Extensions,
}

/// An m-line of the session library.
#[derive(Clone)]
pub(super) struct Slot {
    /// The client's mid, complete.
    pub(super) mid: String,
    /// The library's mid, at most 16 bytes.
    pub(super) name: Mid,
    pub(super) kind: MediaKind,
    /// Payload types and their attribute lines in the last offer to the library.
    pub(super) formats: Written,
    pub(super) state: SlotState,
}

/// Payload types of an m-line, and their attribute lines.
#[derive(Clone, Default)]
pub(super) struct Written {
    pub(super) pts: String,
    pub(super) lines: String,
}

/// State of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotState {
    /// The client has an m-line with this mid.
    Live,
    /// The client's latest offer does not have this mid any more.
    Ending,
    /// The library knows that the m-line has ended: the slot can be used for another m-line.
    Free,
}

/// Meaning of each payload type, in the whole BUNDLE group (RFC 8843 section 9.1).
#[derive(Clone)]
pub(super) struct PayloadTypes {
    uses: [Option<Use>; PAYLOAD_TYPES],
}

/// Meaning of a payload type. A codec is identified by its payload type in our own codec list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Codec(u8),
    /// Retransmissions of the codec with this payload type.
    Resend(u8),
    /// Redundancy of the codec with this payload type.
    Redundancy(u8),
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            payload_types: PayloadTypes {
                uses: [None; PAYLOAD_TYPES],
            },
            extensions: [None; EXTENSION_IDS],
        }
    }
}

impl Lines {
    /// Kinds of forwarded extensions, by identifier.
    pub(in crate::peer) fn carried(&self) -> CarriedById {
        let kind_of = |uri: &'static str| carried(uri, MediaKind::Video);
        self.extensions.map(|uri| uri.and_then(kind_of))
    }

    /// The library's mid for the client's m-line `mid`.
    pub(in crate::peer) fn name_of(&self, mid: &str) -> Option<Mid> {
        self.place_of(mid).map(|place| self.slots[place].name)
    }

    /// True if no offer was accepted before.
    pub(in crate::peer) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn place_of(&self, mid: &str) -> Option<usize> {
        let is_it = |slot: &Slot| slot.state == SlotState::Live && slot.mid == mid;
        self.slots.iter().position(is_it)
    }

    /// A slot for a new m-line: a free one, if possible.
    pub(super) fn take(&mut self, mid: &str, kind: MediaKind) -> usize {
        let slot = Slot {
            mid: mid.to_owned(),
            name: self.unused_name(mid),
            kind,
            formats: Written::default(),
            state: SlotState::Live,
        };
        let free = self
            .slots
            .iter()
            .position(|slot| slot.state == SlotState::Free);
        match free {
            Some(place) => self.slots[place] = slot,
            None => self.slots.push(slot),
        }
        free.unwrap_or(self.slots.len() - 1)
    }

    /// A mid that is unique in the library, which stores 16 bytes of a mid and reads as many from the header extension.
    /// If two mids start with the same 16 bytes, packets of the second are identified by SSRC only.
    fn unused_name(&self, mid: &str) -> Mid {
        let is_used = |name: Mid| self.slots.iter().any(|slot| slot.name == name);
        let numbered = (0..=self.slots.len()).map(|n| Mid::from(format!("spillway-{n}").as_str()));
        let mut names = std::iter::once(Mid::from(mid)).chain(numbered);
        let unused = names.find(|name| !is_used(*name));
        unused.expect("there are more names than slots")
    }
}

impl PayloadTypes {
    /// True if `pt` can mean `wanted`, given earlier offers.
    pub(super) fn allow(&self, pt: u8, wanted: Use) -> bool {
        self.uses[usize::from(pt)].is_none_or(|used| used == wanted)
    }

    pub(super) fn fix_meaning(&mut self, pt: u8, used: Use) {
        self.uses[usize::from(pt)] = Some(used);
    }

    /// The payload types that mean `codec`.
    pub(super) fn of(&self, codec: u8) -> impl Iterator<Item = u8> + '_ {
        let uses = self.uses.iter().enumerate();
        uses.filter(move |(_, used)| **used == Some(Use::Codec(codec)))
            .map(|(pt, _)| pt as u8)
    }
}
