//! One decrypted packet of a track, as it is passed from the publisher's session to subscribers.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use spillway_wire::vp8;

use super::extensions::CarriedExtensions;
use crate::key::{LayerIndex, TrackKey};

/// One decrypted packet of a track. Cloning copies no payload bytes.
#[derive(Debug, Clone)]
pub struct MediaPacket {
    /// The track of the packet.
    pub track: TrackKey,
    /// Layer of the track.
    pub layer: LayerIndex,
    /// Codec of the packet, as an index into [`TrackInfo::codecs`].
    pub codec: u8,
    /// Newest block of an RFC 2198 payload, for subscribers that did not negotiate redundancy. `None` for other
    /// payloads.
    pub primary: Option<Arc<[u8]>>,
    /// Epoch of the layer's sequence numbers: numbers are continuous within one epoch; later epochs are higher.
    pub epoch: u32,
    /// Extended sequence number of the publisher.
    pub seq: u64,
    /// RTP timestamp of the publisher.
    pub time: u32,
    /// Last packet of a frame (video), first packet of a talk spurt (audio).
    pub marker: bool,
    /// First packet of a frame that can be decoded without other frames.
    pub keyframe: bool,
    /// VP8 payload descriptor; `None` for other codecs.
    pub vp8: Option<vp8::Descriptor>,
    /// Level in -dBov (0 is loudest) and voice activity flag (RFC 6464).
    pub audio_level: Option<(u8, bool)>,
    /// Value of the video orientation (CVO) header extension.
    pub orientation: Option<u8>,
    /// Header extensions that are forwarded unchanged.
    pub extensions: CarriedExtensions,
    /// The publisher's latest sender report for this layer: wall clock and the RTP timestamp at that time.
    pub sender_report: Option<(SystemTime, u32)>,
    /// RTP payload, shared by all subscribers on the shard.
    pub payload: Arc<[u8]>,
    /// Time when the decrypting shard received the datagram.
    pub arrived: Instant,
}

impl MediaPacket {
    /// A copy with payload bytes of its own, so that shards share no reference count.
    #[must_use]
    pub fn copy_for_shard(&self) -> Self {
        Self {
            payload: Arc::from(&self.payload[..]),
            primary: self.primary.as_deref().map(Arc::from),
            extensions: self.extensions.copy_for_shard(),
            ..self.clone()
        }
    }
}
