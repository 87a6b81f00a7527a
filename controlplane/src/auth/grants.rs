//! The one place where grants are enforced.
//!
//! A session asks [`Grants::permit`] before any request reaches the room; nothing behind it checks
//! again.

use serde::{Deserialize, Serialize};

use super::VideoGrant;
use crate::history::Source;
use crate::signaling::Request;

/// What a participant may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// May publish tracks.
    pub publish: bool,
    /// Of these sources alone; absent means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<Source>>,
    /// May receive the tracks of others.
    pub subscribe: bool,
    /// May send messages.
    pub data: bool,
    /// Is not shown to the others, and therefore publishes nothing.
    #[serde(default)]
    pub hidden: bool,
}

/// The grant that is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("token lacks the grant {grant}")]
pub struct NotPermitted {
    /// In the words of the token's claims.
    pub grant: String,
}

impl Grants {
    /// `None` when the claims let nobody join. Grants left out are given (docs/protocol.md, Tokens).
    pub fn from_claims(video: &VideoGrant) -> Option<Self> {
        let sources = video.can_publish_sources.as_ref();
        video.room_join.then(|| Self {
            publish: video.can_publish.unwrap_or(true) && !video.hidden,
            sources: sources.filter(|names| !names.is_empty()).map(|names| {
                names
                    .iter()
                    .filter_map(|name| Source::from_claim(name))
                    .collect()
            }),
            subscribe: video.can_subscribe.unwrap_or(true),
            data: video.can_publish_data.unwrap_or(true),
            hidden: video.hidden,
        })
    }

    /// Whether sessions that were made under `earlier` grants may go on as they are.
    pub fn covers(&self, earlier: &Self) -> bool {
        let sources = match (&self.sources, &earlier.sources) {
            (None, _) => true,
            (Some(_), None) => !earlier.publish,
            (Some(now), Some(then)) => then.iter().all(|source| now.contains(source)),
        };
        sources
            && (self.publish || !earlier.publish)
            && (self.subscribe || !earlier.subscribe)
            && self.hidden == earlier.hidden
    }

    /// Whether the participant may ask this.
    pub fn permit(&self, request: &Request) -> Result<(), NotPermitted> {
        match request {
            Request::Offer(offer) => {
                need(self.publish, "canPublish")?;
                for track in &offer.tracks {
                    let source = track.source;
                    let allowed = self
                        .sources
                        .as_ref()
                        .is_none_or(|list| list.contains(&source));
                    need(allowed, &format!("canPublishSources: {}", source.as_str()))?;
                }
                Ok(())
            }
            Request::Mute { .. } => need(self.publish, "canPublish"),
            Request::Answer { .. } | Request::Subscribe { .. } | Request::Unsubscribe { .. } => {
                need(self.subscribe, "canSubscribe")
            }
            Request::Candidate { pc, .. } => match pc {
                crate::ids::Half::Publish => need(self.publish, "canPublish"),
                crate::ids::Half::Subscribe => need(self.subscribe, "canSubscribe"),
            },
            Request::Message { .. } => need(self.data, "canPublishData"),
            Request::Join(_) | Request::IceServers {} | Request::Ping {} | Request::Leave {} => {
                Ok(())
            }
        }
    }
}

fn need(given: bool, grant: &str) -> Result<(), NotPermitted> {
    let grant = || grant.to_owned();
    given
        .then_some(())
        .ok_or_else(|| NotPermitted { grant: grant() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signaling::decode;

    fn grants(change: impl Fn(&mut VideoGrant)) -> Grants {
        let mut video = VideoGrant {
            room_join: true,
            ..VideoGrant::default()
        };
        change(&mut video);
        Grants::from_claims(&video).unwrap()
    }

    fn asked(grants: &Grants, request: &str) -> Result<(), String> {
        let request = decode(request).unwrap().request;
        grants.permit(&request).map_err(|refused| refused.grant)
    }

    const OFFER: &str =
        r#"{"type":"offer","sdp":"v=0","tracks":[{"mid":"0","kind":"video","source":"camera"}]}"#;
    const MESSAGE: &str = r#"{"type":"message","topic":"t","payload":1}"#;
    const UNSUBSCRIBE: &str = r#"{"type":"unsubscribe","tracks":[]}"#;

    #[test]
    fn what_the_token_leaves_out_is_given() {
        let all = grants(|_| ());
        for request in [OFFER, MESSAGE, UNSUBSCRIBE] {
            assert_eq!(asked(&all, request), Ok(()));
        }
        assert_eq!(Grants::from_claims(&VideoGrant::default()), None);
    }

    #[test]
    fn the_missing_grant_is_named() {
        let refuse = |change: fn(&mut VideoGrant), request| asked(&grants(change), request);
        let publish = refuse(|v| v.can_publish = Some(false), OFFER);
        assert_eq!(publish, Err("canPublish".to_owned()));
        let subscribe = refuse(|v| v.can_subscribe = Some(false), UNSUBSCRIBE);
        assert_eq!(subscribe, Err("canSubscribe".to_owned()));
        let data = refuse(|v| v.can_publish_data = Some(false), MESSAGE);
        assert_eq!(data, Err("canPublishData".to_owned()));
        let hidden = refuse(|v| v.hidden = true, OFFER);
        assert_eq!(hidden, Err("canPublish".to_owned()));
    }

    #[test]
    fn grants_that_take_something_away_do_not_cover_those_before() {
        let all = grants(|_| ());
        let deaf = grants(|v| v.can_subscribe = Some(false));
        let mute = grants(|v| v.can_publish = Some(false));
        let hidden = grants(|v| v.hidden = true);
        let microphone = grants(|v| v.can_publish_sources = Some(vec!["microphone".to_owned()]));
        for less in [&deaf, &mute, &hidden, &microphone] {
            assert!(!less.covers(&all), "{less:?}");
            assert!(less.covers(less));
        }
        assert!(all.covers(&deaf) && all.covers(&mute) && all.covers(&microphone));
        assert!(!all.covers(&hidden), "it becomes visible");
        let silent = grants(|v| v.can_publish_data = Some(false));
        assert!(silent.covers(&all), "messages belong to no session");
    }

    #[test]
    fn sources_are_an_allow_list() {
        let microphone = grants(|v| v.can_publish_sources = Some(vec!["microphone".to_owned()]));
        let refused = asked(&microphone, OFFER);
        assert_eq!(refused, Err("canPublishSources: camera".to_owned()));
        let both = grants(|v| {
            v.can_publish_sources = Some(vec!["microphone".to_owned(), "camera".to_owned()]);
        });
        assert_eq!(asked(&both, OFFER), Ok(()));
    }
}
