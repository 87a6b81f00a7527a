//! Serves requests below the public path of a reverse proxy like requests at the root.

use axum::Router;
use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use tower::ServiceExt as _;

use crate::config::PublicPath;

/// How the path of a request relates to the public path.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// The path is not under the public path.
    Outside,
    /// The public path without its trailing slash. It redirects to the path with the slash, because
    /// relative URLs need it.
    WithoutSlash(String),
    /// The path is below the public path; here without it.
    Below(Uri),
}

impl PublicPath {
    /// Serves `routes` at the root and below this path.
    pub(super) fn serve_below(&self, routes: Router) -> Router {
        if self.as_str() == "/" {
            return routes;
        }
        let path = self.clone();
        Router::new().fallback(move |request: Request| async move {
            match path.answer(request, routes).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    }

    async fn answer(
        &self,
        mut request: Request,
        routes: Router,
    ) -> Result<Response, std::convert::Infallible> {
        match self.target(request.uri()) {
            Target::Outside => {}
            Target::Below(uri) => *request.uri_mut() = uri,
            Target::WithoutSlash(location) => {
                let to = [(header::LOCATION, location)];
                return Ok((StatusCode::PERMANENT_REDIRECT, to).into_response());
            }
        }
        routes.oneshot(request).await
    }

    fn target(&self, uri: &Uri) -> Target {
        let query = uri
            .query()
            .map_or_else(String::new, |query| format!("?{query}"));
        let bare = &self.as_str()[..self.as_str().len() - 1];
        let Some(rest) = uri.path().strip_prefix(bare) else {
            return Target::Outside;
        };
        if rest.is_empty() {
            return Target::WithoutSlash(format!("{self}{query}"));
        }
        let rest: Option<PathAndQuery> = match rest.starts_with('/') {
            true => format!("{rest}{query}").parse().ok(),
            false => None,
        };
        let mut parts = uri.clone().into_parts();
        match rest {
            None => Target::Outside,
            Some(rest) => {
                parts.path_and_query = Some(rest);
                Uri::from_parts(parts).map_or(Target::Outside, Target::Below)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_it_is_answered_as_without_it() {
        let path: PublicPath = "/calls/".parse().unwrap();
        let below = |text: &str| Target::Below(text.parse().unwrap());
        for (asked, target) in [
            ("/calls/", below("/")),
            ("/calls/?room=a%2Fb", below("/?room=a%2Fb")),
            ("/calls/v1/signal", below("/v1/signal")),
            ("/calls/calls/", below("/calls/")),
            ("/calls//x", below("//x")),
            (
                "http://h:1/calls/v1/signal?x",
                below("http://h:1/v1/signal?x"),
            ),
            ("/calls", Target::WithoutSlash("/calls/".to_owned())),
            (
                "/calls?room=x",
                Target::WithoutSlash("/calls/?room=x".to_owned()),
            ),
            ("/", Target::Outside),
            ("/callsx/", Target::Outside),
            ("/v1/signal", Target::Outside),
        ] {
            assert_eq!(path.target(&asked.parse().unwrap()), target, "{asked}");
        }
    }
}
