//! Parses a URL query (URL standard, application/x-www-form-urlencoded). Text that is not UTF-8 is
//! refused, because a replacement character could make two different names equal.

use percent_encoding::percent_decode_str;

/// Why a query is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueryError {
    /// A name or a value is not UTF-8.
    #[error("'{0}' in the query is not UTF-8 (percent-encoded)")]
    NotText(String),
    /// The query has a field that is not known.
    #[error("the query has an unknown field '{0}', there are {1}")]
    Unknown(String, String),
    /// The query has a field twice.
    #[error("the query has {0} twice")]
    Twice(&'static str),
    /// A required field is missing.
    #[error("the query lacks {0}")]
    Missing(&'static str),
}

/// Number of characters of a query that an error quotes.
const QUOTED_CHARS: usize = 60;

/// Parses the query. Returns the values of the fields in `names`, in that order.
pub(super) fn fields<const N: usize>(
    query: &str,
    names: [&'static str; N],
) -> Result<[Option<String>; N], QueryError> {
    let mut values = [const { None }; N];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (text(name)?, text(value)?);
        let Some(slot) = names.iter().position(|known| *known == name) else {
            return Err(QueryError::Unknown(quoted(&name), names.join(", ")));
        };
        if values[slot].replace(value).is_some() {
            return Err(QueryError::Twice(names[slot]));
        }
    }
    Ok(values)
}

fn text(part: &str) -> Result<String, QueryError> {
    let spaced = part.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(QueryError::NotText(quoted(part))),
    }
}

fn quoted(text: &str) -> String {
    let text: String = text.chars().take(QUOTED_CHARS).collect();
    text.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<[Option<String>; 2], String> {
        fields(query, ["room", "name"]).map_err(|error| error.to_string())
    }

    #[test]
    fn fields_are_decoded_and_nothing_is_replaced() {
        let [room, name] = read("name=A+b%2Bc&room=%CE%A3%2F%26%3D%25").unwrap();
        assert_eq!(room.as_deref(), Some("Σ/&=%"));
        assert_eq!(name.as_deref(), Some("A b+c"));
        assert_eq!(read("room"), Ok([Some(String::new()), None]));
        assert_eq!(read("&&"), Ok([None, None]));
        for (query, said) in [
            ("room=%FF", "'%FF' in the query is not UTF-8"),
            ("room=%ED%A0%BD", "is not UTF-8"),
            ("room=a&room=b", "has room twice"),
            ("rum=a", "unknown field 'rum', there are room, name"),
        ] {
            let refused = read(query).unwrap_err();
            assert!(refused.contains(said), "{query}: {refused}");
        }
    }
}
