//! The part of an address behind the question mark.

use std::collections::BTreeMap;

use http::StatusCode;

use crate::reply::Refusal;
use crate::target::decode;

/// Longest query in bytes, as sent: a cursor, a namespace, a kind and a name.
const MAX_QUERY: usize = 8 << 10;

/// Returns the parameters of `query`, each of which is one of `known`.
pub(super) fn parameters<'a>(
    query: Option<&str>,
    known: &[&'a str],
) -> Result<BTreeMap<&'a str, String>, Refusal> {
    let bad = |why: String| Refusal::new(StatusCode::BAD_REQUEST, why);
    let query = query.unwrap_or_default();
    if query.len() > MAX_QUERY {
        let message = format!("the query has {} bytes, and the limit is {MAX_QUERY}", query.len());
        return Err(Refusal::new(StatusCode::URI_TOO_LONG, message));
    }
    let mut found = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(name) = known.iter().find(|known| **known == name) else {
            return Err(bad(format!("there is no parameter {name:?} here; there are {}", known.join(", "))));
        };
        let value = decode(&value.replace('+', "%20")).and_then(|bytes| String::from_utf8(bytes).ok());
        let value = value.ok_or_else(|| bad(format!("the parameter {name} is not percent-encoded UTF-8")))?;
        if found.insert(*name, value).is_some() {
            return Err(bad(format!("the parameter {name} is there twice")));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_known_and_decoded() {
        let read = |query| parameters(Some(query), &["kind", "name"]);
        assert_eq!(
            read("kind=a%26b+c&name=").unwrap(),
            [("kind", "a&b c".into()), ("name", String::new())].into()
        );
        assert_eq!(parameters(None, &[]).unwrap(), BTreeMap::new());
        for bad in ["x=1", "kind=%", "kind=%ff", "kind=a&kind=b"] {
            assert_eq!(read(bad).unwrap_err().status(), StatusCode::BAD_REQUEST, "{bad}");
        }
        assert_eq!(read(&"&".repeat(9_000)).unwrap_err().status(), StatusCode::URI_TOO_LONG);
    }
}
