//! RTP headers (RFC 3550 section 5.1, RFC 8285): a writer, and a reader for packets that are not authenticated yet.

/// Bytes of a header without CSRCs and extensions.
pub const FIXED_BYTES: usize = 12;
/// Maximum padding in bytes: the count must fit the last byte.
pub const MAX_PADDING_BYTES: usize = 255;
/// Range of identifiers of one-byte extension headers.
pub const EXTENSION_IDS: std::ops::RangeInclusive<u8> = 1..=14;

const VERSION: u8 = 2 << 6;
const PADDING: u8 = 1 << 5;
const EXTENSION: u8 = 1 << 4;
const MARKER: u8 = 1 << 7;
/// Profile of one-byte extension headers (RFC 8285 section 4.2).
const ONE_BYTE_PROFILE: u16 = 0xbede;
/// Profile of two-byte extension headers; its last four bits are defined by the application (section 4.3).
const TWO_BYTE_PROFILE: u16 = 0x1000;
const TWO_BYTE_MASK: u16 = 0xfff0;
/// Identifier that ends one-byte extension headers (section 4.2).
const ONE_BYTE_STOP: u8 = 15;

/// Form of the elements in a header extension (RFC 8285).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum ExtensionForm {
    /// Identifiers of 1 to 14, values of 1 to 16 bytes.
    #[default]
    OneByte,
    /// Identifiers of 1 to 255, values of up to 255 bytes: only for a receiver with `a=extmap-allow-mixed` in its SDP.
    TwoByte,
}

impl ExtensionForm {
    /// True when an element with this identifier and value can be written.
    pub fn fits(self, id: u8, value: &[u8]) -> bool {
        match self {
            Self::OneByte => EXTENSION_IDS.contains(&id) && (1..=16).contains(&value.len()),
            Self::TwoByte => id != 0 && value.len() <= usize::from(u8::MAX),
        }
    }

    /// Bytes before each value.
    fn head_bytes(self) -> usize {
        match self {
            Self::OneByte => 1,
            Self::TwoByte => 2,
        }
    }

    /// Length of a header with `count` extension elements and `values` bytes of values in total.
    pub fn length(self, count: usize, values: usize) -> usize {
        match count {
            0 => FIXED_BYTES,
            _ => FIXED_BYTES + 4 + (count * self.head_bytes() + values).next_multiple_of(4),
        }
    }
}

/// The fixed part of an RTP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Marker bit of the RTP header.
    pub marker: bool,
    /// True when the packet ends with padding.
    pub padded: bool,
    /// Payload type, 7 bits.
    pub payload_type: u8,
    /// Sequence number, 16 bits.
    pub seq: u16,
    /// RTP timestamp in units of the codec's clock.
    pub time: u32,
    /// SSRC of the stream.
    pub ssrc: u32,
}

impl Header {
    /// Writes the header with `extensions` (identifier, value) to the start of `out`. Returns its length. Each
    /// extension must [fit](ExtensionForm::fits) `form`.
    ///
    /// `out` must have space for [`ExtensionForm::length`].
    pub fn write<'a>(
        &self,
        out: &mut [u8],
        form: ExtensionForm,
        extensions: impl Iterator<Item = (u8, &'a [u8])>,
    ) -> usize {
        let mut at = FIXED_BYTES + 4;
        for (id, value) in extensions {
            debug_assert!(form.fits(id, value));
            match form {
                ExtensionForm::OneByte => out[at] = id << 4 | (value.len() - 1) as u8,
                ExtensionForm::TwoByte => {
                    out[at..at + 2].copy_from_slice(&[id, value.len() as u8]);
                }
            }
            at += form.head_bytes();
            out[at..at + value.len()].copy_from_slice(value);
            at += value.len();
        }
        let has_extensions = at > FIXED_BYTES + 4;
        let end = if has_extensions {
            let end = at.next_multiple_of(4);
            out[at..end].fill(0);
            let words = ((end - FIXED_BYTES - 4) / 4) as u16;
            let profile = match form {
                ExtensionForm::OneByte => ONE_BYTE_PROFILE,
                ExtensionForm::TwoByte => TWO_BYTE_PROFILE,
            };
            out[FIXED_BYTES..FIXED_BYTES + 2].copy_from_slice(&profile.to_be_bytes());
            out[FIXED_BYTES + 2..FIXED_BYTES + 4].copy_from_slice(&words.to_be_bytes());
            end
        } else {
            FIXED_BYTES
        };
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out[0] = VERSION | flag(self.padded, PADDING) | flag(has_extensions, EXTENSION);
        out[1] = flag(self.marker, MARKER) | self.payload_type;
        out[2..4].copy_from_slice(&self.seq.to_be_bytes());
        out[4..8].copy_from_slice(&self.time.to_be_bytes());
        out[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        end
    }
}

/// Header fields of a received packet, which is not authenticated yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Payload type, 7 bits.
    pub payload_type: u8,
    /// Sequence number of the packet.
    pub seq: u16,
    /// SSRC of the packet's stream.
    pub ssrc: u32,
    /// Length of the header in bytes, with CSRCs and extensions.
    pub length: usize,
}

impl Received {
    /// Reads the header of `packet`; `None` when it is not RTP, or the header exceeds the packet.
    pub fn read(packet: &[u8]) -> Option<Self> {
        let (fixed, rest) = packet.split_first_chunk::<FIXED_BYTES>()?;
        if fixed[0] >> 6 != VERSION >> 6 {
            return None;
        }
        let sources = usize::from(fixed[0] & 0x0f) * 4;
        let mut length = FIXED_BYTES + sources;
        if fixed[0] & EXTENSION != 0 {
            let words = rest.get(sources + 2..sources + 4)?;
            length += 4 + usize::from(u16::from_be_bytes([words[0], words[1]])) * 4;
        }
        (length <= packet.len()).then_some(Self {
            payload_type: fixed[1] & 0x7f,
            seq: u16::from_be_bytes([fixed[2], fixed[3]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            length,
        })
    }
}

/// The header extensions of `packet` (identifier, value), in either form; none if the length of the header is wrong.
pub fn extensions(packet: &[u8]) -> Extensions<'_> {
    let found = || {
        let header = Received::read(packet)?;
        if packet[0] & EXTENSION == 0 {
            return None;
        }
        let at = FIXED_BYTES + usize::from(packet[0] & 0x0f) * 4;
        let profile = u16::from_be_bytes([packet[at], packet[at + 1]]);
        let form = match profile {
            ONE_BYTE_PROFILE => ExtensionForm::OneByte,
            _ if profile & TWO_BYTE_MASK == TWO_BYTE_PROFILE => ExtensionForm::TwoByte,
            _ => return None,
        };
        let rest = &packet[at + 4..header.length];
        Some(Extensions { rest, form })
    };
    found().unwrap_or_default()
}

/// Iterator over header extensions, see [`extensions`].
#[derive(Debug, Default, Clone)]
pub struct Extensions<'a> {
    rest: &'a [u8],
    form: ExtensionForm,
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // Zero bytes between and behind elements are padding.
        let start = self.rest.iter().position(|byte| *byte != 0)?;
        let rest = &self.rest[start..];
        let (id, length, head) = match (self.form, rest) {
            (ExtensionForm::OneByte, [head, ..]) => (head >> 4, usize::from(head & 0x0f) + 1, 1),
            (ExtensionForm::TwoByte, [id, length, ..]) => (*id, usize::from(*length), 2),
            _ => (0, 0, 0),
        };
        let is_over = self.form == ExtensionForm::OneByte && matches!(id, 0 | ONE_BYTE_STOP);
        match rest
            .get(head..head + length)
            .filter(|_| id != 0 && !is_over)
        {
            Some(value) => {
                self.rest = &rest[head + length..];
                Some((id, value))
            }
            None => {
                self.rest = &[];
                None
            }
        }
    }
}

/// Fills `padding`, so that the last byte contains its length (RFC 3550 section 5.1).
pub fn fill_padding(padding: &mut [u8]) {
    debug_assert!(padding.len() <= MAX_PADDING_BYTES);
    let count = padding.len() as u8;
    if let Some((last, rest)) = padding.split_last_mut() {
        rest.fill(0);
        *last = count;
    }
}

#[cfg(test)]
mod tests {
    use super::ExtensionForm::{OneByte, TwoByte};
    use super::*;

    const HEADER: Header = Header {
        marker: true,
        padded: false,
        payload_type: 96,
        seq: 0x0102,
        time: 0x0304_0506,
        ssrc: 0x0708_090a,
    };

    #[test]
    fn headers_are_laid_out_as_the_rfcs_say() {
        let mut out = [0xff; 64];
        let length_plain = HEADER.write(&mut out, OneByte, std::iter::empty());
        assert_eq!(
            out[..length_plain],
            [0x80, 0xe0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
        );
        assert_eq!(length_plain, OneByte.length(0, 0));

        let padded = Header {
            marker: false,
            padded: true,
            ..HEADER
        };
        let extensions = [(3, &[0xaa, 0xbb][..]), (4, &b"video"[..])];
        let end = padded.write(&mut out, OneByte, extensions.into_iter());
        assert_eq!(end, OneByte.length(2, 7));
        assert_eq!(out[..2], [0xb0, 96]);
        let expected = [
            0xbe, 0xde, 0, 3, 0x31, 0xaa, 0xbb, 0x44, b'v', b'i', b'd', b'e', b'o', 0, 0, 0,
        ];
        assert_eq!(out[12..end], expected);
    }

    #[test]
    fn a_received_header_ends_inside_its_packet() {
        let mut out = [0; 64];
        let end = HEADER.write(&mut out, OneByte, [(3, &[1_u8, 2][..])].into_iter());
        let read = |length| {
            Some(Received {
                payload_type: HEADER.payload_type,
                seq: HEADER.seq,
                ssrc: HEADER.ssrc,
                length,
            })
        };
        assert_eq!(Received::read(&out), read(end));
        assert_eq!(Received::read(&out[..end]), read(end));
        for short in 0..end {
            assert_eq!(Received::read(&out[..short]), None, "{short} bytes");
        }
        // Two contributing sources come before the extension.
        let mut with_sources = out[..FIXED_BYTES].to_vec();
        with_sources[0] |= 2;
        with_sources.extend([9; 8]);
        with_sources.extend(&out[FIXED_BYTES..end]);
        assert_eq!(Received::read(&with_sources), read(end + 8));
        with_sources[0] = 0x10;
        assert_eq!(Received::read(&with_sources), None, "version 0");
    }

    #[test]
    fn padding_counts_itself() {
        let mut padding = [0xff; 5];
        fill_padding(&mut padding);
        assert_eq!(padding, [0, 0, 0, 0, 5]);
        fill_padding(&mut []);
    }

    #[test]
    fn extensions_are_read_as_they_are_written_in_both_forms() {
        let long: Vec<u8> = (0..200).collect();
        type Elements<'a> = &'a [(u8, &'a [u8])];
        let table: [(ExtensionForm, Elements<'_>); 4] = [
            (OneByte, &[]),
            (OneByte, &[(14, &[1]), (1, &long[..16]), (7, &[0, 0])]),
            (TwoByte, &[(1, &[]), (200, &long), (15, &[9; 17])]),
            (TwoByte, &[(255, &[0; 255])]),
        ];
        for (form, elements) in table {
            assert!(elements.iter().all(|(id, value)| form.fits(*id, value)));
            let mut out = [0xff; 600];
            let end = HEADER.write(&mut out, form, elements.iter().copied());
            let values = elements.iter().map(|(_, value)| value.len()).sum();
            assert_eq!(end, form.length(elements.len(), values));
            let read: Vec<_> = extensions(&out[..end]).collect();
            assert_eq!(read, elements);
        }
        assert!(!OneByte.fits(15, &[1]) && !OneByte.fits(1, &[]) && !OneByte.fits(1, &[0; 17]));
        assert!(!TwoByte.fits(0, &[1]) && !TwoByte.fits(1, &[0; 256]));
    }

    #[test]
    fn what_lies_about_its_length_or_its_form_has_no_extensions_behind_that() {
        let with = |profile: u16, body: &[u8]| {
            let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
            packet.extend(profile.to_be_bytes());
            packet.extend((body.len() as u16 / 4).to_be_bytes());
            packet.extend(body);
            extensions(&packet)
                .map(|(id, value)| (id, value.len()))
                .collect::<Vec<_>>()
        };
        type Lengths<'a> = &'a [(u8, usize)];
        let table: [(u16, &[u8], Lengths<'_>); 7] = [
            (0xbede, &[0x10, 7, 0x3f, 0], &[(1, 1)]),
            (0xbede, &[0, 0, 0x10, 7], &[(1, 1)]),
            (0xbede, &[0x10, 7, 0xf0, 1], &[(1, 1)]),
            (0xbede, &[0x05, 7, 0x10, 1], &[]),
            (0x1000, &[5, 1, 9, 6], &[(5, 1)]),
            (0x100f, &[5, 3, 9, 6], &[]),
            (0xabac, &[0x10, 7, 0, 0], &[]),
        ];
        for (profile, body, expected) in table {
            assert_eq!(with(profile, body), expected, "{profile:x} {body:x?}");
        }
        assert_eq!(extensions(&[0x90; 13]).count(), 0);
    }
}
