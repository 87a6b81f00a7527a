//! Types of tracks and packets, and one subscriber's view of a track. No IO, no sessions.

pub mod audio_level; // smoothed audio level of a track
pub mod codec; // codecs and their parameters
pub mod extensions; // header extensions that are forwarded
pub mod layer_allocation; // choice of layers from the bandwidth
pub mod layer_meter; // the bit rate of each layer
pub mod packet; // one decrypted packet
pub mod subscription; // one subscriber's view of a track
pub mod track; // description of a track
