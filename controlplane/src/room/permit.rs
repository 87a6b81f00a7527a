//! Grants of tokens, checked for each request. No other file enforces grants.

use super::Request;
use crate::auth::Grants;
use crate::ids::Half;

/// A request needs a grant that the token does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("token lacks the grant {grant}")]
pub struct NotPermitted {
    /// Name of the missing grant in the token's claims.
    pub grant: String,
}

impl Request {
    /// Checks the grants. The signaling session calls this before it passes a request to the room,
    /// which does not check again.
    pub fn permitted_by(&self, grants: &Grants) -> Result<(), NotPermitted> {
        match self {
            Self::Offer(offer) => {
                need(grants.publish, "canPublish")?;
                for track in &offer.tracks {
                    let source = track.source;
                    let allowed = grants
                        .sources
                        .as_ref()
                        .is_none_or(|list| list.contains(&source));
                    need(allowed, &format!("canPublishSources: {}", source.as_str()))?;
                }
                Ok(())
            }
            Self::Mute { .. } => need(grants.publish, "canPublish"),
            Self::Answer { .. } | Self::Subscribe { .. } | Self::Unsubscribe { .. } => {
                need(grants.subscribe, "canSubscribe")
            }
            Self::Candidate { half, .. } => match half {
                Half::Publish => need(grants.publish, "canPublish"),
                Half::Subscribe => need(grants.subscribe, "canSubscribe"),
            },
            Self::Message { .. } => need(grants.data, "canPublishData"),
            Self::IceServers | Self::Leave => Ok(()),
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
    use crate::auth::VideoGrant;
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
        let request = decode(request)
            .unwrap()
            .request
            .into_room_request()
            .unwrap();
        request
            .permitted_by(grants)
            .map_err(|refused| refused.grant)
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
