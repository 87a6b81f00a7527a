//! Names and ids. Each has its own type, which is validated and cheap to clone. [`crate::name`]
//! defines the syntax of names.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::entropy;
use crate::name::{self, NameError};

/// Why a text is not a valid name or id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is not a name.
    #[error("{what} {why}")]
    Name {
        /// Kind of the identifier, such as `room`.
        what: &'static str,
        /// Error of the name.
        why: NameError,
    },
    /// The text is not the prefix followed by 16 letters or digits.
    #[error("{what} '{text}' is not {prefix} and 16 letters or digits")]
    Form {
        /// Kind of the identifier, such as `track`.
        what: &'static str,
        /// Required prefix of the identifier.
        prefix: &'static str,
        /// The offending text, shortened.
        text: String,
    },
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let check: fn(&str) -> Result<Cow<'_, str>, IdError> = $check;
                check(text).map(|text| Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id!(
    /// A room's name, normalized.
    RoomName,
    |text| check_name("room", text)
);
text_id!(
    /// Identity of a participant: the token's `sub`, normalized.
    Identity,
    |text| check_name("identity", text)
);
text_id!(
    /// Id of a participant, from a join to its leave: `PA_` and 16 characters.
    ParticipantId,
    |text| check_form("participant", "PA_", text)
);
text_id!(
    /// Id of a track, from publish to unpublish: `TR_` and 16 characters.
    TrackId,
    |text| check_form("track", "TR_", text)
);
text_id!(
    /// A node's name in the fleet.
    NodeId,
    |text| check_name("node", text)
);
text_id!(
    /// Epoch of a room's history; new when the history starts over.
    Epoch,
    |text| check_name("epoch", text)
);

impl RoomName {
    /// The name as part of a store key or of a URL path.
    pub fn percent_encoded(&self) -> Cow<'_, str> {
        name::percent_encoded(&self.0)
    }
}

impl ParticipantId {
    /// A new random id.
    pub fn random() -> Self {
        Self(format!("PA_{}", entropy::alphanumeric(16)).into())
    }

    /// The publish or subscribe session of this participant in `generation`.
    pub fn session(&self, half: Half, generation: Generation) -> SessionId {
        SessionId {
            participant: self.clone(),
            half,
            generation,
        }
    }

    /// Both sessions of this participant in `generation`.
    pub fn sessions(&self, generation: Generation) -> [SessionId; 2] {
        [Half::Publish, Half::Subscribe].map(|half| self.session(half, generation))
    }
}

impl TrackId {
    /// A new random id.
    pub fn random() -> Self {
        Self(format!("TR_{}", entropy::alphanumeric(16)).into())
    }
}

impl Epoch {
    /// A new random epoch.
    pub fn random() -> Self {
        Self(entropy::alphanumeric(12).into())
    }
}

/// One of a participant's two peer connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Half {
    /// The client sends media. The client makes the offers.
    Publish,
    /// The client receives media. The node makes the offers.
    Subscribe,
}

/// Generation of a participant's sessions. It increases when the participant moves to another node.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u32);

impl Generation {
    /// The generation of a participant's first sessions.
    pub const MIN: Self = Self(0);
    /// The highest possible generation.
    pub const MAX: Self = Self(u32::MAX);
}

/// Id of a session. As text `<participant>:p` or `<participant>:s`, followed by `:<generation>`
/// unless the generation is 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    /// The participant that the session belongs to.
    pub participant: ParticipantId,
    /// The peer connection of the session.
    pub half: Half,
    /// Generation of the session.
    pub generation: Generation,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let half = match self.half {
            Half::Publish => 'p',
            Half::Subscribe => 's',
        };
        write!(f, "{}:{half}", self.participant)?;
        match self.generation {
            Generation(0) => Ok(()),
            Generation(number) => write!(f, ":{number}"),
        }
    }
}

/// The id has another format: another control plane created the session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("session '{0}' is of another control plane")]
pub struct ForeignSession(String);

impl FromStr for SessionId {
    type Err = ForeignSession;
    fn from_str(text: &str) -> Result<Self, ForeignSession> {
        let parse = || {
            let mut parts = text.split(':');
            let participant = parts.next()?.parse().ok()?;
            let half = match parts.next()? {
                "p" => Half::Publish,
                "s" => Half::Subscribe,
                _ => return None,
            };
            let generation = match parts.next() {
                None => Generation(0),
                Some(number) => Generation(number.parse().ok().filter(|number| *number > 0)?),
            };
            let id = Self {
                participant,
                half,
                generation,
            };
            // Each session has exactly one text: numbers like `+1` and `01` are refused.
            (parts.next().is_none() && id.to_string() == text).then_some(id)
        };
        parse().ok_or_else(|| ForeignSession(text.chars().take(60).collect()))
    }
}

fn check_name<'a>(what: &'static str, text: &'a str) -> Result<Cow<'a, str>, IdError> {
    name::normalized(text).map_err(|why| IdError::Name { what, why })
}

fn check_form<'a>(
    what: &'static str,
    prefix: &'static str,
    text: &'a str,
) -> Result<Cow<'a, str>, IdError> {
    let rest = text.strip_prefix(prefix).unwrap_or("");
    if rest.len() == 16 && rest.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Ok(text.into());
    }
    let text = text.chars().take(40).collect();
    Err(IdError::Form { what, prefix, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_limits_that_are_named() {
        assert!("team@9.30:a_b-c".parse::<RoomName>().is_ok());
        let long = "x".repeat(513).parse::<RoomName>().unwrap_err();
        let said = long.to_string();
        assert_eq!(said, "room has 513 bytes in UTF-8, the limit is 512");
        assert!("".parse::<Identity>().is_err());
        let bell = "a\u{7}b".parse::<Identity>().unwrap_err().to_string();
        assert!(bell.starts_with("identity has U+0007"), "{bell}");
    }

    #[test]
    fn ids_round_trip_and_foreign_ones_are_refused() {
        let participant = ParticipantId::random();
        assert_eq!(participant.as_str().parse(), Ok(participant.clone()));
        assert!("TR_short".parse::<TrackId>().is_err());
        assert!(participant.as_str().parse::<TrackId>().is_err());
    }

    #[test]
    fn a_session_has_one_text_and_foreign_ones_are_refused() {
        let participant = ParticipantId::random();
        for (half, letter) in [(Half::Publish, "p"), (Half::Subscribe, "s")] {
            for (number, suffix) in [(0, ""), (1, ":1"), (u32::MAX, ":4294967295")] {
                let session = participant.session(half, Generation(number));
                assert_eq!(
                    session.to_string(),
                    format!("{participant}:{letter}{suffix}")
                );
                assert_eq!(session.to_string().parse(), Ok(session));
            }
        }
        let foreign = [
            "",
            ":x",
            ":p:",
            ":p:0",
            ":p:01",
            ":p:+1",
            ":p:1:1",
            ":p:4294967296",
        ];
        for suffix in foreign {
            let text = format!("{participant}{suffix}");
            assert!(text.parse::<SessionId>().is_err(), "{text}");
        }
        assert!("PA_x:p".parse::<SessionId>().is_err());
    }
}
