//! The RTP header of an outgoing packet with its extensions: written here, or forwarded from the publisher, with the
//! receiver's identifiers.

use spillway_wire::rtp::{ExtensionForm, Header};

use crate::limits::CARRIED_EXTENSION_BYTES;
use crate::media::codec::MediaKind;
use crate::media::extensions::{
    CarriedExtensions, EXTENSION_KINDS, ExtensionKind, set_frame_number,
};
use crate::media::packet::MediaPacket;

/// Negotiated extensions of one stream.
pub(super) struct HeaderLayout {
    mid: MidBytes,
    ids: ExtensionIds,
}

/// Identifiers of the header extensions we write, where negotiated.
#[derive(Debug, Default, Clone, Copy)]
pub struct ExtensionIds {
    /// Identifier of the mid extension (RFC 9143).
    pub mid: Option<u8>,
    /// Identifier of the transport-wide sequence number extension.
    pub transport_cc: Option<u8>,
    /// Identifier of the audio level extension (RFC 6464).
    pub audio_level: Option<u8>,
    /// Identifier of the video orientation (CVO) extension.
    pub orientation: Option<u8>,
    /// Identifiers of extensions that are forwarded from the publisher.
    pub carried: CarriedIds,
}

/// Identifiers of the forwarded header extensions; `None` for an extension that was not negotiated.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CarriedIds {
    by_kind: [Option<u8>; EXTENSION_KINDS],
    /// True if the receiver takes values of more than 16 bytes (RFC 8285 section 4.1.2).
    allows_two_byte: bool,
}

impl CarriedIds {
    /// No extensions, for a receiver that takes long values or not.
    pub fn none(allows_two_byte: bool) -> Self {
        Self {
            allows_two_byte,
            ..Self::default()
        }
    }

    /// Sets the identifier of `kind`.
    pub fn set(&mut self, kind: ExtensionKind, id: u8) {
        self.by_kind[kind as usize] = Some(id);
    }

    /// The elements of `extensions` that the receiver negotiated.
    fn elements(
        self,
        extensions: &CarriedExtensions,
    ) -> impl Iterator<Item = (u8, ExtensionKind, &[u8])> + Clone {
        let all = extensions.iter();
        let known =
            all.filter_map(move |(kind, value)| Some((self.by_kind[kind as usize]?, kind, value)));
        known.filter(move |(id, _, value)| {
            self.allows_two_byte || ExtensionForm::OneByte.fits(*id, value)
        })
    }

    /// One-byte or two-byte form (RFC 8285), as the longest value and highest identifier require.
    fn form(self, extensions: &CarriedExtensions) -> ExtensionForm {
        let fits =
            |(id, _, value): (u8, ExtensionKind, &[u8])| ExtensionForm::OneByte.fits(id, value);
        match self.elements(extensions).all(fits) {
            true => ExtensionForm::OneByte,
            false => ExtensionForm::TwoByte,
        }
    }
}

/// Properties of a packet that decide how long its header is.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeaderNeeds {
    /// True if the receiver has reported on the SSRC, so packets need no mid.
    pub(super) is_bound: bool,
    /// True if the packet has a transport-wide sequence number.
    pub(super) is_measured: bool,
}

/// Values of the header extensions of one packet.
pub(super) struct HeaderExtras<'a> {
    /// The media packet; `None` for a padding packet.
    pub(super) packet: Option<&'a MediaPacket>,
    pub(super) is_bound: bool,
    pub(super) transport_seq: Option<[u8; 2]>,
    /// Outgoing frame number of the packet's dependency descriptor, if it has one.
    pub(super) frame_number: u16,
}

/// The mid of an m-line as the header extension carries it: at most 16 bytes (RFC 8285 section 4.2).
#[derive(Debug, Clone, Copy)]
struct MidBytes {
    bytes: [u8; 16],
    length: u8,
}

impl HeaderLayout {
    /// Layout for packets of `kind` on m-line `mid`.
    pub(super) fn new(mid: &str, ids: ExtensionIds, kind: MediaKind) -> Self {
        Self {
            mid: MidBytes::of(mid),
            ids: ids.of_use(kind),
        }
    }

    /// True when packets carry transport-wide sequence numbers.
    pub(super) fn is_measured(&self) -> bool {
        self.ids.transport_cc.is_some()
    }

    /// Size in bytes of the header of `packet`, or of a padding packet (`None`).
    pub(super) fn bytes(&self, packet: Option<&MediaPacket>, needs: HeaderNeeds) -> usize {
        let (mut count, mut values) = (0, 0);
        let mut add = |present: bool, bytes: usize| {
            count += usize::from(present);
            values += if present { bytes } else { 0 };
        };
        add(
            self.ids.mid.is_some() && !needs.is_bound,
            usize::from(self.mid.length),
        );
        add(self.ids.transport_cc.is_some() && needs.is_measured, 2);
        let level = packet.is_some_and(|packet| packet.audio_level.is_some());
        add(self.ids.audio_level.is_some() && level, 1);
        let orientation = packet.is_some_and(|packet| packet.orientation.is_some());
        add(self.ids.orientation.is_some() && orientation, 1);
        let mut form = ExtensionForm::OneByte;
        if let Some(packet) = packet.filter(|packet| !packet.extensions.is_empty()) {
            form = self.ids.carried.form(&packet.extensions);
            for (_, _, value) in self.ids.carried.elements(&packet.extensions) {
                add(true, value.len());
            }
        }
        form.length(count, values)
    }

    /// Writes `header` with its extensions to `room`. Returns the length.
    pub(super) fn write(
        &self,
        room: &mut [u8],
        header: Header,
        extras: &HeaderExtras<'_>,
    ) -> usize {
        let packet = extras.packet;
        let level = packet.and_then(|packet| packet.audio_level);
        // V in the highest bit, then the level (RFC 6464 section 3).
        let level = level.map(|(dbov, voice)| [u8::from(voice) << 7 | dbov & 0x7f]);
        let orientation = packet.and_then(|packet| packet.orientation);
        let orientation = orientation.map(|orientation| [orientation]);
        let elements: [Option<(u8, &[u8])>; 4] = [
            self.ids
                .mid
                .filter(|_| !extras.is_bound)
                .map(|id| (id, self.mid.get())),
            self.ids
                .transport_cc
                .zip(extras.transport_seq.as_ref().map(|seq| &seq[..])),
            self.ids
                .audio_level
                .zip(level.as_ref().map(|level| &level[..])),
            self.ids
                .orientation
                .zip(orientation.as_ref().map(|value| &value[..])),
        ];
        let elements = elements.into_iter().flatten();
        let Some(packet) = packet.filter(|packet| !packet.extensions.is_empty()) else {
            return header.write(room, ExtensionForm::OneByte, elements);
        };
        // The dependency descriptor, with the outgoing frame number.
        let mut descriptor = [0; CARRIED_EXTENSION_BYTES];
        let mut all = packet.extensions.iter();
        let found = all.find(|(kind, _)| *kind == ExtensionKind::DependencyDescriptor);
        let descriptor = found.map(|(_, value)| {
            let copy = &mut descriptor[..value.len()];
            copy.copy_from_slice(value);
            set_frame_number(copy, extras.frame_number);
            &*copy
        });
        let carried = self.ids.carried.elements(&packet.extensions);
        let carried = carried.map(|(id, kind, value)| match (kind, descriptor) {
            (ExtensionKind::DependencyDescriptor, Some(descriptor)) => (id, descriptor),
            _ => (id, value),
        });
        let form = self.ids.carried.form(&packet.extensions);
        header.write(room, form, elements.chain(carried))
    }
}

impl MidBytes {
    fn of(mid: &str) -> Self {
        let mut bytes = [0; 16];
        let length = mid.len().min(bytes.len());
        bytes[..length].copy_from_slice(&mid.as_bytes()[..length]);
        Self {
            bytes,
            length: length as u8,
        }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl ExtensionIds {
    /// The extensions that are written to packets of `kind`.
    fn of_use(self, kind: MediaKind) -> Self {
        let is_video = kind.is_video();
        Self {
            mid: self.mid,
            // Audio is not measured: it needs little bandwidth and is sent at any estimate.
            transport_cc: self.transport_cc.filter(|_| is_video),
            audio_level: self.audio_level.filter(|_| !is_video),
            orientation: self.orientation.filter(|_| is_video),
            carried: self.carried,
        }
    }
}
