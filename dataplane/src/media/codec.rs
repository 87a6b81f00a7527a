//! Kinds of media, and codecs with the parameters that decide which receivers can decode them.

use std::fmt;

/// Audio or video. Decides which codecs, history and layers a track has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Audio, such as speech.
    Audio,
    /// Video, such as a camera or a screen.
    Video,
}

/// A codec as a publisher may send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodecSpec {
    /// The codec with its parameters (`a=fmtp`).
    pub codec: Codec,
    /// Clock rate of the RTP timestamps, in Hz.
    pub clock_hz: u32,
    /// Number of audio channels in `a=rtpmap`.
    pub channels: Option<u8>,
}

/// A codec and its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Opus (RTP payload format: RFC 7587).
    Opus,
    /// VP8 (RTP payload format: RFC 7741).
    Vp8,
    /// VP9 (RTP payload format: RFC 9628).
    Vp9 {
        /// profile-id: 0 if absent.
        profile: u32,
    },
    /// H.264 (RTP payload format: RFC 6184).
    H264 {
        /// profile-level-id, three bytes; `None` if absent.
        profile_level_id: Option<u32>,
        /// packetization-mode: 0 if absent.
        packetization_mode: u8,
    },
    /// The AV1 payload format of AOMedia.
    Av1 {
        /// Profile of the sequence: 0 if absent.
        profile: u8,
        /// Level of the sequence: 5 (level 3.1) if absent.
        level_idx: u8,
        /// Tier of the sequence: 0 if absent.
        tier: u8,
    },
}

impl fmt::Display for MediaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Audio => "audio",
            Self::Video => "video",
        })
    }
}

impl MediaKind {
    /// True for audio codecs.
    pub fn is_audio(self) -> bool {
        self == Self::Audio
    }

    /// True for video codecs.
    pub fn is_video(self) -> bool {
        self == Self::Video
    }
}
