//! Resume keys: a signed proof that the client was a certain participant, with its grants and the
//! start of the history that it may see. They are signed like tokens (HS256), but are not accepted
//! as tokens.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::grants::Grants;
use super::keys::Keys;
use crate::ids::{Epoch, Identity, ParticipantId, RoomName};
use crate::limits::{RESUME_KEY_SECONDS, STAY_SECONDS};

const USE: &str = "spillway-resume";
/// Version of the claims. Keys of other versions are refused.
const VERSION: u32 = 2;

/// Claims of a resume key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it
pub struct ResumeClaims {
    pub participant: ParticipantId,
    pub identity: Identity,
    pub room: RoomName,
    /// The participant may see events of this epoch after offset `since`.
    pub epoch: Epoch,
    pub since: u64,
    /// Grants of the participant's latest valid token, and the expiry of that token in seconds
    /// since 1970.
    pub grants: Grants,
    pub token_ends_s: u64,
    /// Time of the participant's first join, seconds since 1970.
    pub joined_s: u64,
}

/// The signed JSON object: claims, purpose, version and expiry.
#[derive(Debug, Serialize, Deserialize)]
struct Signed {
    iss: String,
    #[serde(rename = "use")]
    purpose: String,
    #[serde(rename = "v")]
    version: u32,
    exp: u64,
    #[serde(flatten)]
    claims: ResumeClaims,
}

/// Purpose and version, which are checked before the other claims are parsed.
#[derive(Debug, Deserialize)]
struct Form {
    #[serde(rename = "use")]
    purpose: String,
    /// Absent in version 1.
    #[serde(rename = "v", default)]
    version: u32,
}

/// Why a resume key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResumeRefused {
    /// The signature is wrong, or the text is a token.
    #[error("resume key is not one of ours")]
    Invalid,
    /// The key has expired, or has another version.
    #[error("resume key expired")]
    Expired,
    /// The key was issued in another room.
    #[error("resume key belongs to another room")]
    OtherRoom,
    /// The key was issued to another participant or identity.
    #[error("resume key belongs to another participant")]
    OtherParticipant,
}

impl ResumeClaims {
    /// End of a stay without a new valid token, seconds since 1970.
    pub fn stays_until(&self, allowance_s: u64) -> u64 {
        let by_token = self.token_ends_s.saturating_add(allowance_s);
        by_token.min(self.joined_s.saturating_add(STAY_SECONDS))
    }
}

impl Keys {
    /// Signs a resume key.
    pub fn resume_key(&self, claims: ResumeClaims, unix_s: u64) -> String {
        self.sign_any(&Signed {
            iss: self.first().key.clone(),
            purpose: USE.to_owned(),
            version: VERSION,
            exp: unix_s + RESUME_KEY_SECONDS,
            claims,
        })
    }

    /// Checks a key of `participant` in `room` with `identity`.
    pub fn check_resume(
        &self,
        key: &str,
        (room, participant, identity): (&RoomName, &ParticipantId, &Identity),
        unix_s: u64,
    ) -> Result<ResumeClaims, ResumeRefused> {
        let signed = Value::Object(self.open(key).map_err(|_| ResumeRefused::Invalid)?);
        let form = Form::deserialize(&signed).map_err(|_| ResumeRefused::Invalid)?;
        if form.purpose != USE {
            return Err(ResumeRefused::Invalid);
        }
        if form.version != VERSION {
            return Err(ResumeRefused::Expired);
        }
        let signed = Signed::deserialize(&signed).map_err(|_| ResumeRefused::Invalid)?;
        let Signed { exp, claims, .. } = signed;
        if exp < unix_s {
            return Err(ResumeRefused::Expired);
        }
        if claims.room != *room {
            return Err(ResumeRefused::OtherRoom);
        }
        if (&claims.participant, &claims.identity) != (participant, identity) {
            return Err(ResumeRefused::OtherParticipant);
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::VideoGrant;

    fn claims() -> ResumeClaims {
        let video = VideoGrant {
            room_join: true,
            ..VideoGrant::default()
        };
        ResumeClaims {
            participant: ParticipantId::random(),
            identity: "ann".parse().unwrap(),
            room: "r".parse().unwrap(),
            epoch: Epoch::random(),
            since: 7,
            grants: Grants::from_claims(&video).unwrap(),
            token_ends_s: 2_000,
            joined_s: 1_000,
        }
    }

    #[test]
    fn a_key_opens_its_own_door_for_a_day() {
        let keys = Keys::new(vec!["A:0123456789abcdef".parse().unwrap()]).unwrap();
        let other_keys = Keys::new(vec!["A:another-secret-here".parse().unwrap()]).unwrap();
        let other: RoomName = "s".parse().unwrap();
        let claims = claims();
        let key = keys.resume_key(claims.clone(), 1000);
        let owner = (&claims.room, &claims.participant, &claims.identity);
        let same = keys.check_resume(&key, owner, 1000 + 86_400);
        assert_eq!(same, Ok(claims.clone()));
        let late = keys.check_resume(&key, owner, 1001 + 86_400);
        assert_eq!(late, Err(ResumeRefused::Expired));
        let elsewhere = (&other, &claims.participant, &claims.identity);
        let elsewhere = keys.check_resume(&key, elsewhere, 1000);
        assert_eq!(elsewhere, Err(ResumeRefused::OtherRoom));
        let somebody = ParticipantId::random();
        let stolen = keys.check_resume(&key, (&claims.room, &somebody, &claims.identity), 1000);
        assert_eq!(stolen, Err(ResumeRefused::OtherParticipant));
        let forged = other_keys.check_resume(&key, owner, 1000);
        assert_eq!(forged, Err(ResumeRefused::Invalid));
        // A resume key is not accepted as a token.
        assert!(keys.check(&key, 1000, 60).is_err());
    }

    #[test]
    fn a_key_of_another_form_proves_nothing() {
        let keys = Keys::new(vec!["A:0123456789abcdef".parse().unwrap()]).unwrap();
        let claims = claims();
        let owner = (&claims.room, &claims.participant, &claims.identity);
        for version in [None, Some(1), Some(3)] {
            let key = keys.sign_any(&serde_json::json!({
                "iss": "A", "use": USE, "v": version.unwrap_or(0), "exp": 5_000,
                "participant": claims.participant, "identity": "ann", "room": "r",
            }));
            let refused = keys.check_resume(&key, owner, 1000);
            assert_eq!(refused, Err(ResumeRefused::Expired), "{version:?}");
        }
        let first = keys.sign_any(&serde_json::json!({
            "iss": "A", "use": USE, "exp": 5_000,
            "participant": claims.participant, "identity": "ann", "room": "r",
        }));
        let refused = keys.check_resume(&first, owner, 1000);
        assert_eq!(refused, Err(ResumeRefused::Expired));
    }

    #[test]
    fn a_stay_without_another_token_ends_with_the_token_or_the_day() {
        let mut claims = claims();
        assert_eq!(claims.stays_until(600), 2_600);
        assert_eq!(claims.stays_until(0), 2_000);
        claims.token_ends_s = u64::MAX;
        assert_eq!(claims.stays_until(600), 1_000 + 86_400);
    }
}
