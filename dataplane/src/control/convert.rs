//! Converts gRPC messages to our types and back, and checks their values.

use spillway_wire::dataplane as proto;

use super::directory::Directory;
use crate::key::TrackKey;
use crate::limits::{
    MAX_ANNOTATION_BYTES, MAX_ID_BYTES, MAX_LAYERS, MAX_MID_BYTES, MAX_RID_BYTES,
    MAX_SYNC_NAME_BYTES,
};
use crate::media::codec::MediaKind;
use crate::media::layer_allocation::SubscriptionParams;
use crate::media::subscription::SyncGroup;
use crate::media::track::{LayerSpec, TrackSpec};
use crate::peer::command::CommandError;
use crate::peer::output::OfferOut;
use crate::peer::sdp::simulcast::is_rid;

pub(super) fn check_id(what: &str, id: &str) -> Result<(), CommandError> {
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        let length = id.len();
        let message = format!("{what} id of {length} bytes is outside 1..={MAX_ID_BYTES}");
        return Err(CommandError::Invalid(message));
    }
    Ok(())
}

/// An empty owner is allowed: the session then has no lease.
pub(super) fn check_owner(owner: &str) -> Result<(), CommandError> {
    match owner.is_empty() {
        true => Ok(()),
        false => check_id("owner", owner),
    }
}

/// Names of a lip sync group are written into SDP and RTCP, so only token characters are allowed (RFC 8830 section 2).
pub(super) fn group(group: Option<&proto::SyncGroup>) -> Result<Option<SyncGroup>, CommandError> {
    let Some(proto::SyncGroup { stream, cname }) = group else {
        return Ok(None);
    };
    for (what, name) in [("stream", stream), ("cname", cname)] {
        let length = name.len();
        if !(1..=MAX_SYNC_NAME_BYTES).contains(&length) {
            let limit = MAX_SYNC_NAME_BYTES;
            let message = format!("{what} of {length} bytes is outside 1..={limit}");
            return Err(CommandError::Invalid(message));
        }
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`{|}~".contains(c);
        if let Some(other) = name.chars().find(|c| !is_token(*c)) {
            let message = format!("{what} '{name}' has {other:?}, which is no token character");
            return Err(CommandError::Invalid(message));
        }
    }
    Ok(Some(SyncGroup {
        stream: stream.as_str().into(),
        cname: cname.as_str().into(),
    }))
}

pub(super) fn check_annotation(annotation: &[u8]) -> Result<(), CommandError> {
    let (got, limit) = (annotation.len(), MAX_ANNOTATION_BYTES);
    if got > limit {
        return Err(CommandError::TooMany {
            what: "annotation bytes",
            got,
            limit,
        });
    }
    Ok(())
}

pub(super) fn kind(kind: i32, track: &str) -> Result<MediaKind, CommandError> {
    match proto::Kind::try_from(kind) {
        Ok(proto::Kind::Audio) => Ok(MediaKind::Audio),
        Ok(proto::Kind::Video) => Ok(MediaKind::Video),
        Ok(proto::Kind::Unspecified) | Err(_) => Err(CommandError::Invalid(format!(
            "track '{track}' has no kind"
        ))),
    }
}

pub(super) fn kind_to_proto(kind: MediaKind) -> proto::Kind {
    if kind.is_audio() {
        proto::Kind::Audio
    } else {
        proto::Kind::Video
    }
}

pub(super) fn track_spec(key: TrackKey, track: &proto::Track) -> Result<TrackSpec, CommandError> {
    let invalid = |message: String| Err(CommandError::Invalid(message));
    let id = &track.track;
    if track.mid.is_empty() || track.mid.len() > MAX_MID_BYTES {
        return invalid(format!(
            "track '{id}': mid '{}' is not 1..={MAX_MID_BYTES} bytes",
            track.mid
        ));
    }
    if track.layers.len() > MAX_LAYERS {
        let (what, got) = ("layers of a track", track.layers.len());
        return Err(CommandError::TooMany {
            what,
            got,
            limit: MAX_LAYERS,
        });
    }
    if let Some(bad) = track
        .layers
        .iter()
        .find(|l| l.rid.len() > MAX_RID_BYTES || !is_rid(&l.rid))
    {
        return invalid(format!(
            "track '{id}': rid '{}' is not 1..={MAX_RID_BYTES} letters, digits, '-' or '_'",
            bad.rid
        ));
    }
    let layers = track.layers.iter();
    let layers = layers.map(|layer| LayerSpec {
        rid: layer.rid.clone(),
        height: layer.height,
    });
    Ok(TrackSpec {
        key,
        id: id.as_str().into(),
        mid: track.mid.clone(),
        kind: kind(track.kind, id)?,
        layers: layers.collect(),
    })
}

pub(super) fn subscription_params(params: Option<proto::Wish>) -> SubscriptionParams {
    let params = params.unwrap_or_default();
    SubscriptionParams {
        paused: params.paused,
        max_height: params.max_height,
        priority: params.priority,
    }
}

pub(super) fn params_to_proto(params: SubscriptionParams) -> proto::Wish {
    proto::Wish {
        paused: params.paused,
        max_height: params.max_height,
        priority: params.priority,
    }
}

pub(super) fn offer(directory: &Directory, session: String, offer: OfferOut) -> proto::Offer {
    let mids = offer.mids.into_iter().filter_map(|(mid, track)| {
        let track = directory.track_id(track)?.to_string();
        Some(proto::MidTrack { mid, track })
    });
    proto::Offer {
        session,
        revision: offer.revision,
        sdp: offer.sdp,
        mids: mids.collect(),
    }
}
