//! The m-lines of a publish session as the session library knows them.
//!
//! The library has one m-line for each audio or video m-line that the client offered and that could be used, in the order
//! in which they first came: an m-line that it does not know, such as a data channel, does not move the others, also when
//! it becomes a video later (RFC 8829 section 5.2.2: an m-line with port 0 is used again under a new mid).

use str0m::media::Mid;

use super::extensions::{EXTENSION_IDS, Extensions, carried};
use super::formats::PAYLOAD_TYPES;
use crate::media::codec::MediaKind;
use crate::media::extensions::ExtensionKind;

/// Header extensions that are carried as they are, by their identifiers.
pub(in crate::peer) type CarriedById = [Option<ExtensionKind>; EXTENSION_IDS];

/// State that earlier offers of the session fixed.
#[derive(Clone)]
pub(in crate::peer) struct Lines {
    pub(super) slots: Vec<Slot>,
    pub(super) payload_types: PayloadTypes,
    /// Meaning of each id of a header extension, in the whole BUNDLE group (RFC 8843 section 9).
    pub(super) extensions: Extensions,
}

/// An m-line of the session library.
#[derive(Clone)]
pub(super) struct Slot {
    /// The client's name of it, whole.
    pub(super) mid: String,
    /// The library's, which is 16 bytes.
    pub(super) name: Mid,
    pub(super) kind: MediaKind,
    /// The payload types and the lines about them that the library took last.
    pub(super) formats: Written,
    pub(super) state: SlotState,
}

/// Payload types of an m-line, and the lines about them.
#[derive(Clone, Default)]
pub(super) struct Written {
    pub(super) pts: String,
    pub(super) lines: String,
}

/// State of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotState {
    /// The client has an m-line of its mid.
    Live,
    /// The client's latest offer has no such mid any more.
    Ending,
    /// The library was told so: another m-line may have the slot.
    Free,
}

/// Meaning of each payload type, in the whole BUNDLE group (RFC 8843 section 9.1).
#[derive(Clone)]
pub(super) struct PayloadTypes {
    uses: [Option<Use>; PAYLOAD_TYPES],
}

/// Use of a payload type; a codec is identified by its payload type in our own list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Codec(u8),
    /// Retransmissions of the codec with that payload type.
    Resend(u8),
    /// Redundancy of the codec with that payload type.
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
    /// Forwarded extensions, by their identifier.
    pub(in crate::peer) fn carried(&self) -> CarriedById {
        let kind_of = |uri: &'static str| carried(uri, MediaKind::Video);
        self.extensions.map(|uri| uri.and_then(kind_of))
    }

    /// The library's name of the client's m-line `mid`.
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

    /// A slot for an m-line that is new; one that the library knows to be free, if there is one.
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

    /// The library keeps 16 bytes of a mid, and reads as many from the header extension. Where two mids begin alike, the
    /// second is known by its SSRCs alone.
    fn unused_name(&self, mid: &str) -> Mid {
        let is_used = |name: Mid| self.slots.iter().any(|slot| slot.name == name);
        let numbered = (0..=self.slots.len()).map(|n| Mid::from(format!("spillway-{n}").as_str()));
        let mut names = std::iter::once(Mid::from(mid)).chain(numbered);
        let unused = names.find(|name| !is_used(*name));
        unused.expect("there are more names than slots")
    }
}

impl PayloadTypes {
    /// True if `pt` may mean `wanted`, given earlier offers.
    pub(super) fn allow(&self, pt: u8, wanted: Use) -> bool {
        self.uses[usize::from(pt)].is_none_or(|used| used == wanted)
    }

    pub(super) fn settle(&mut self, pt: u8, used: Use) {
        self.uses[usize::from(pt)] = Some(used);
    }

    /// The payload types that mean `codec`.
    pub(super) fn of(&self, codec: u8) -> impl Iterator<Item = u8> + '_ {
        let uses = self.uses.iter().enumerate();
        uses.filter(move |(_, used)| **used == Some(Use::Codec(codec)))
            .map(|(pt, _)| pt as u8)
    }
}
