//! Resume keys: proof that a socket's owner was a certain participant of a certain room.

use serde::{Deserialize, Serialize};

use super::Keys;
use crate::ids::{Identity, ParticipantId, RoomName};
use crate::limits::RESUME_KEY_SECONDS;

const USE: &str = "spillway-resume";

/// What a resume key binds together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeClaims {
    iss: String,
    #[serde(rename = "use")]
    purpose: String,
    participant: ParticipantId,
    identity: Identity,
    room: RoomName,
    exp: u64,
}

/// Why a resume key proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResumeRefused {
    /// Not made by us, or a token used as one.
    #[error("resume key is not one of ours")]
    Invalid,
    /// Too late.
    #[error("resume key expired")]
    Expired,
    /// Given in another room.
    #[error("resume key belongs to another room")]
    OtherRoom,
    /// Somebody else's.
    #[error("resume key belongs to another participant")]
    OtherParticipant,
}

impl Keys {
    /// The key that lets `participant` of `room` come back.
    pub fn resume_key(
        &self,
        room: &RoomName,
        participant: &ParticipantId,
        identity: &Identity,
        unix_s: u64,
    ) -> String {
        self.sign_any(&ResumeClaims {
            iss: self.first().key.clone(),
            purpose: USE.to_owned(),
            participant: participant.clone(),
            identity: identity.clone(),
            room: room.clone(),
            exp: unix_s + RESUME_KEY_SECONDS,
        })
    }

    /// Checks that `key` was given to `participant` of `room`, who is `identity`.
    pub fn check_resume(
        &self,
        key: &str,
        (room, participant, identity): (&RoomName, &ParticipantId, &Identity),
        unix_s: u64,
    ) -> Result<(), ResumeRefused> {
        let claims: ResumeClaims = self.open(key).map_err(|_| ResumeRefused::Invalid)?;
        if claims.purpose != USE {
            return Err(ResumeRefused::Invalid);
        }
        if claims.exp < unix_s {
            return Err(ResumeRefused::Expired);
        }
        if claims.room != *room {
            return Err(ResumeRefused::OtherRoom);
        }
        if (&claims.participant, &claims.identity) != (participant, identity) {
            return Err(ResumeRefused::OtherParticipant);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_its_own_door_for_a_day() {
        let keys = Keys::new(vec!["A:0123456789abcdef".parse().unwrap()]).unwrap();
        let other_keys = Keys::new(vec!["A:another-secret-here".parse().unwrap()]).unwrap();
        let (room, other): (RoomName, RoomName) = ("r".parse().unwrap(), "s".parse().unwrap());
        let identity: Identity = "ann".parse().unwrap();
        let participant = ParticipantId::random();
        let key = keys.resume_key(&room, &participant, &identity, 1000);
        let owner = (&room, &participant, &identity);
        assert_eq!(keys.check_resume(&key, owner, 1000 + 86_400), Ok(()));
        let late = keys.check_resume(&key, owner, 1001 + 86_400);
        assert_eq!(late, Err(ResumeRefused::Expired));
        let elsewhere = keys.check_resume(&key, (&other, &participant, &identity), 1000);
        assert_eq!(elsewhere, Err(ResumeRefused::OtherRoom));
        let somebody = ParticipantId::random();
        let stolen = keys.check_resume(&key, (&room, &somebody, &identity), 1000);
        assert_eq!(stolen, Err(ResumeRefused::OtherParticipant));
        let forged = other_keys.check_resume(&key, owner, 1000);
        assert_eq!(forged, Err(ResumeRefused::Invalid));
        // A resume key is no token either.
        assert!(keys.check(&key, 1000).is_err());
    }
}
