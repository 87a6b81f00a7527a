//! The path under which a reverse proxy serves this server, such as `/calls/`. This server answers
//! below the path and at the root, so the proxy may keep or remove the path.

use std::fmt;
use std::str::FromStr;

/// The path: `/`, or segments with a slash at both ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicPath(String);

/// The text is not such a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no path such as / or /calls/: segments are letters, digits and - . _ ~")]
pub struct NoPublicPath;

impl PublicPath {
    /// The path as text, with slashes at both ends.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PublicPath {
    type Err = NoPublicPath;

    /// Parses the path; its trailing slash is optional.
    fn from_str(text: &str) -> Result<Self, NoPublicPath> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let inner = text.strip_prefix('/').ok_or(NoPublicPath)?;
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if inner.is_empty() && text != "//" {
            return Ok(Self("/".to_owned()));
        }
        let is_segment =
            |segment: &str| !["", ".", ".."].contains(&segment) && segment.bytes().all(is_plain);
        match inner.split('/').all(is_segment) {
            true => Ok(Self(format!("/{inner}/"))),
            false => Err(NoPublicPath),
        }
    }
}

impl fmt::Display for PublicPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_plain_segments() {
        for (text, path) in [
            ("/", "/"),
            ("/calls/", "/calls/"),
            ("/calls", "/calls/"),
            ("/a/b.c/~d_e-1", "/a/b.c/~d_e-1/"),
        ] {
            assert_eq!(text.parse::<PublicPath>().unwrap().to_string(), path);
        }
        for text in [
            "", "calls", "calls/", "//", "//calls", "/a//b", "/../", "/a b/", "/a?b", "/a#", "/ü/",
            "/%61/",
        ] {
            assert_eq!(text.parse::<PublicPath>(), Err(NoPublicPath), "{text}");
        }
    }
}
