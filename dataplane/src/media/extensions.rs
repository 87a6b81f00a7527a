//! RTP header extensions that are forwarded unchanged from the publisher to its subscribers.
//!
//! Extensions that a shard reads or writes itself (mid, rid, transport-wide numbers, audio level, orientation) are not
//! included. Identifiers differ between sessions, so values are stored by kind. The values stay valid when a subscriber
//! switches to another layer:
//!
//! * absolute capture time belongs to the packet's own frame, in the publisher's clock;
//! * playout delay is a request of the sender, the same for all layers;
//! * a layers allocation names the RTP stream it was sent on and describes all layers of the publisher, so it is valid
//!   for each layer that a subscriber can get;
//! * a dependency descriptor counts the frames of its own stream. The [`Rewriter`](crate::send::rewriter) makes this
//!   number continuous, because a receiver drops a frame whose number steps back. Everything else in the descriptor is
//!   relative to this number, or is repeated with the keyframe at a switch.

use std::sync::Arc;

use crate::limits::CARRIED_EXTENSION_BYTES;

/// A header extension that is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExtensionKind {
    /// Capture time of the picture or sound.
    AbsoluteCaptureTime,
    /// Minimum and maximum delay before a receiver plays the frame.
    PlayoutDelay,
    /// Dependencies and layers of a frame (the AV1 payload format, appendix A).
    DependencyDescriptor,
    /// Layers of the publisher with their bit rates.
    LayersAllocation,
}

/// Number of kinds of extensions.
pub const EXTENSION_KINDS: usize = ExtensionKind::ALL.len();

impl ExtensionKind {
    /// All kinds, in order of importance: if a packet has too many values, the first kinds are kept.
    pub const ALL: [Self; 4] = [
        Self::DependencyDescriptor,
        Self::AbsoluteCaptureTime,
        Self::PlayoutDelay,
        Self::LayersAllocation,
    ];

    /// URI of the extension in SDP.
    pub fn uri(self) -> &'static str {
        match self {
            Self::AbsoluteCaptureTime => {
                "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"
            }
            Self::PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
            Self::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
            Self::LayersAllocation => {
                "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00"
            }
        }
    }

    /// True if audio packets may have the extension, too.
    pub fn is_of_audio(self) -> bool {
        self == Self::AbsoluteCaptureTime
    }

    fn of_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Forwarded extensions of one packet: kind, length and value of each, one after another. `None` without extensions.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct CarriedExtensions(Option<Arc<[u8]>>);

/// Offset of the frame number in a dependency descriptor, behind start and end of the frame and the template, in bytes.
const FRAME_NUMBER_AT: usize = 1;

impl CarriedExtensions {
    /// Stores `values`, each kind once, as many as fit.
    pub fn new<'a>(values: impl Iterator<Item = (ExtensionKind, &'a [u8])> + Clone) -> Self {
        let mut bytes = [0; CARRIED_EXTENSION_BYTES];
        let mut end = 0;
        for kind in ExtensionKind::ALL {
            let mut of_kind = values.clone().filter(|(found, _)| *found == kind);
            let Some((_, value)) = of_kind.next() else {
                continue;
            };
            let Some(room) = bytes.get_mut(end..end + 2 + value.len()) else {
                continue;
            };
            room[0] = kind as u8;
            room[1] = value.len() as u8; // at most CARRIED_EXTENSION_BYTES
            room[2..].copy_from_slice(value);
            end += room.len();
        }
        Self((end > 0).then(|| Arc::from(&bytes[..end])))
    }

    /// Each carried extension with its value.
    pub fn iter(&self) -> impl Iterator<Item = (ExtensionKind, &[u8])> + Clone {
        let mut rest = self.0.as_deref().unwrap_or_default();
        std::iter::from_fn(move || {
            let [kind, length, values @ ..] = rest else {
                return None;
            };
            let (value, after) = values.split_at(usize::from(*length));
            rest = after;
            Some((ExtensionKind::of_byte(*kind)?, value))
        })
    }

    /// True when the packet has no forwarded extension.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Frame number of the dependency descriptor, if the packet has one.
    pub fn frame_number(&self) -> Option<u16> {
        let mut all = self.iter();
        let (_, descriptor) = all.find(|(kind, _)| *kind == ExtensionKind::DependencyDescriptor)?;
        let number = descriptor.get(FRAME_NUMBER_AT..FRAME_NUMBER_AT + 2)?;
        Some(u16::from_be_bytes([number[0], number[1]]))
    }

    /// A copy with payload bytes of its own, for another shard.
    #[must_use]
    pub fn copy_for_shard(&self) -> Self {
        Self(self.0.as_deref().map(Arc::from))
    }
}

/// Writes the frame number `number` into `descriptor`, a dependency descriptor with a frame number.
pub fn set_frame_number(descriptor: &mut [u8], number: u16) {
    if let Some(place) = descriptor.get_mut(FRAME_NUMBER_AT..FRAME_NUMBER_AT + 2) {
        place.copy_from_slice(&number.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::ExtensionKind::{
        AbsoluteCaptureTime, DependencyDescriptor, LayersAllocation, PlayoutDelay,
    };
    use super::*;

    #[test]
    fn each_kind_is_kept_once_and_none_past_the_room() {
        let long = [7; CARRIED_EXTENSION_BYTES];
        let (most, over) = (&long[..CARRIED_EXTENSION_BYTES - 2], &long[1..]);
        type Given<'a> = &'a [(ExtensionKind, &'a [u8])];
        type Kept<'a> = &'a [(ExtensionKind, usize)];
        let table: [(Given<'_>, Kept<'_>); 6] = [
            (&[], &[]),
            (&[(PlayoutDelay, &[1, 2, 3])], &[(PlayoutDelay, 3)]),
            (
                &[
                    (PlayoutDelay, &[1]),
                    (PlayoutDelay, &[1, 2]),
                    (LayersAllocation, &[]),
                ],
                &[(PlayoutDelay, 1), (LayersAllocation, 0)],
            ),
            (
                &[(LayersAllocation, most)],
                &[(LayersAllocation, most.len())],
            ),
            (
                &[(LayersAllocation, over), (PlayoutDelay, &[1])],
                &[(PlayoutDelay, 1)],
            ),
            (
                &[(AbsoluteCaptureTime, &[1; 8]), (DependencyDescriptor, most)],
                &[(DependencyDescriptor, most.len())],
            ),
        ];
        for (values, expected) in table {
            let carried = CarriedExtensions::new(values.iter().copied());
            let kept: Vec<_> = carried
                .iter()
                .map(|(kind, value)| (kind, value.len()))
                .collect();
            assert_eq!(kept, expected);
            assert_eq!(carried.is_empty(), expected.is_empty());
            assert_eq!(carried.copy_for_shard(), carried);
        }
    }

    #[test]
    fn a_frame_number_is_read_and_changed_where_there_is_one() {
        let mut descriptor = [0x80, 0x12, 0x34, 0x56];
        let of = |descriptor: &[u8]| {
            let value = (DependencyDescriptor, descriptor);
            CarriedExtensions::new([value].into_iter()).frame_number()
        };
        assert_eq!(of(&descriptor), Some(0x1234));
        set_frame_number(&mut descriptor, 0xfffe);
        assert_eq!(descriptor, [0x80, 0xff, 0xfe, 0x56]);
        assert_eq!(of(&descriptor[..2]), None);
        set_frame_number(&mut descriptor[..2], 1); // too short for a frame number: unchanged
        assert_eq!(descriptor[1], 0xff);
    }
}
