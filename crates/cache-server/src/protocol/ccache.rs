//! ccache's HTTP storage. Whichever layout a client uses, the same key is the same value.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::Response;
use http::{Method, StatusCode};

use super::value;
use crate::app::Call;
use crate::reply::{Refusal, empty};

/// Digits of a key since 4.13; older ones have fewer of a larger alphabet.
const HEX_KEY: usize = 40;
/// Digits of a key before 4.13.
const OLD_KEY: usize = 33;

pub(super) async fn answer(call: &Call<'_>, path: &[String], body: &mut Body) -> Result<Response, Refusal> {
    let Some(name) = name(path) else {
        return Err(match call.parts.method {
            Method::GET | Method::HEAD => Refusal::miss(),
            _ => Refusal::new(StatusCode::BAD_REQUEST, "this is no key of ccache, in none of its layouts"),
        });
    };
    match call.parts.method {
        Method::GET | Method::HEAD => value::get(call, &name).await,
        Method::PUT => {
            // Answering with nothing would be an error for the client, and it never stores nothing.
            if call.expected(None).len == Some(0) {
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "the value is empty"));
            }
            value::put(call, &name, body, &call.expected(None), BTreeMap::new()).await?;
            Ok(empty(StatusCode::OK))
        }
        Method::DELETE => {
            // Anything but success makes ccache give up on the server, also when it asks for what is gone already.
            value::remove(call, &name).await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        _ => Err(Refusal::method("GET, HEAD, PUT, DELETE")),
    }
}

/// Returns the key that a path means: `<key>`, `<2 digits>/<rest>`, or `ac/<key><its first 24 digits>`, below any prefix that
/// the client was configured with.
fn name(path: &[String]) -> Option<String> {
    let (last, before) = path.split_last()?;
    let is_hex = |text: &str| text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    let is_key = |text: &str| match text.len() {
        HEX_KEY => is_hex(text),
        OLD_KEY => text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'v')),
        _ => false,
    };
    let (key, prefix) = match before.split_last() {
        Some((ac, prefix)) if ac == "ac" && last.len() == 64 && is_hex(last) => {
            let (key, again) = last.split_at(HEX_KEY);
            key.starts_with(again).then(|| (key.to_owned(), prefix))?
        }
        Some((two, prefix)) if two.len() == 2 && is_key(&format!("{two}{last}")) => {
            (format!("{two}{last}"), prefix)
        }
        _ => is_key(last).then(|| (last.clone(), before))?,
    };
    Some(if prefix.is_empty() { key } else { format!("{}/{key}", prefix.join("/")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_layouts_lead_to_one_name() {
        let key = "0123456789abcdef0123456789abcdef01234567";
        let old = "0123456789abcdefghijklmnopqrstuv0";
        let name = |path: String| name(&path.split('/').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(name(key.to_owned()).as_deref(), Some(key));
        assert_eq!(name(format!("{}/{}", &key[..2], &key[2..])).as_deref(), Some(key));
        assert_eq!(name(format!("ac/{key}{}", &key[..24])).as_deref(), Some(key));
        assert_eq!(name(old.to_owned()).as_deref(), Some(old));
        assert_eq!(name(format!("{}/{}", &old[..2], &old[2..])).as_deref(), Some(old));
        assert_eq!(name(format!("team/{}/{}", &key[..2], &key[2..])), Some(format!("team/{key}")));
        for bad in [
            "",
            "x",
            "ac/x",
            &format!("ac/{}", "0".repeat(63)),
            &format!("ac/{}1", "0".repeat(63)),
            &"w".repeat(33),
        ] {
            assert_eq!(name(bad.to_owned()), None, "{bad}");
        }
    }
}
