//! Tracks and their packets as shards know them, and what one subscriber gets of a track. No IO, no sessions.

pub mod audio_level; // how loud a track is
pub mod codec; // what a track can be sent as
pub mod extensions; // header extensions that are carried
pub mod layer_allocation; // which layer each subscription of a session gets
pub mod layer_meter; // the bit rate of each layer
pub mod packet; // one packet
pub mod subscription; // one subscriber's view of a track
pub mod track; // what a track is
