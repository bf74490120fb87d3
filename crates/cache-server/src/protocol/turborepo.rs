//! Turborepo's remote cache, version 8 of its API.
//!
//! The team that a client names in its query is part of the name of a value, the slug before the id: two teams that share a
//! token do not share results. What keeps them apart against their will is a namespace, as everywhere.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::Response;
use http::header::{ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::value;
use crate::app::Call;
use crate::reply::{Refusal, empty, with_content};
use crate::target::segment;

/// Milliseconds that the task took.
pub(super) const DURATION: HeaderName = HeaderName::from_static("x-artifact-duration");
/// The client's own signature of the artifact, which it wants back to the byte.
pub(super) const TAG: HeaderName = HeaderName::from_static("x-artifact-tag");
/// The commit that the artifact was made from, and a digest of what was changed since.
pub(super) const SHA: HeaderName = HeaderName::from_static("x-artifact-sha");
pub(super) const DIRTY_HASH: HeaderName = HeaderName::from_static("x-artifact-dirty-hash");

/// What a client may send with an upload. Without `Authorization` among them it would send no token.
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, User-Agent, x-artifact-client-ci, x-artifact-client-interactive, \
     x-artifact-dirty-hash, x-artifact-duration, x-artifact-sha, x-artifact-tag",
);
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, PUT, POST, OPTIONS");
/// Longest list of hashes in bytes, which are read into memory. A hash has 16 to 64 digits.
const MAX_QUERY: usize = 256 << 10;
/// Most hashes in one list. Each one is a look into the store.
const MAX_HASHES: usize = 1_000;

/// Returns whether a path has this protocol's shape, below its version.
pub(super) fn is_path(rest: &[String]) -> bool {
    matches!(rest, [artifacts] | [artifacts, _] if artifacts == "artifacts")
}

pub(super) async fn answer(call: &Call<'_>, path: &[String], body: &mut Body) -> Result<Response, Refusal> {
    let method = &call.parts.method;
    if *method == Method::OPTIONS {
        return Ok(preflight());
    }
    match path.first().map(String::as_str) {
        Some("status") if *method == Method::GET => {
            Ok(with_content(StatusCode::OK, JSON, "{\"status\":\"enabled\"}".to_owned()))
        }
        Some("status") => Err(Refusal::method("GET, OPTIONS")),
        // Statistics of what was hit where, which the counters have already.
        Some("events") if *method == Method::POST => Ok(empty(StatusCode::OK)),
        Some("events") => Err(Refusal::method("POST, OPTIONS")),
        Some(hash) => artifact(call, hash, body).await,
        None if *method == Method::POST => query(call, body).await,
        None => Err(Refusal::method("POST, OPTIONS")),
    }
}

const JSON: &str = "application/json";

fn preflight() -> Response {
    let mut response = empty(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
    headers.insert(ALLOW, ALLOWED_METHODS);
    response
}

async fn artifact(call: &Call<'_>, hash: &str, body: &mut Body) -> Result<Response, Refusal> {
    let name = team(call.parts.uri.query())?.name(hash);
    match call.parts.method {
        Method::GET | Method::HEAD => value::get(call, &name).await,
        Method::PUT => {
            let facts = facts(&call.parts.headers)?;
            value::put(call, &name, body, &call.expected(None), facts).await?;
            Ok(with_content(StatusCode::OK, JSON, "{\"urls\":[]}".to_owned()))
        }
        _ => Err(Refusal::method("GET, HEAD, PUT, OPTIONS")),
    }
}

/// Returns what is to be given back with an artifact. What could not be given back as it is is refused: for a client that
/// signs, an artifact without its tag is an error and no miss.
fn facts(headers: &HeaderMap) -> Result<BTreeMap<String, String>, Refusal> {
    let mut facts = BTreeMap::new();
    for name in [DURATION, TAG, SHA, DIRTY_HASH] {
        let Some(value) = headers.get(&name) else { continue };
        let text = value.to_str().ok().filter(|text| text.len() <= value::MAX_FACT).ok_or_else(|| {
            let message =
                format!("{name} has more than {} bytes, or some that are not ASCII", value::MAX_FACT);
            Refusal::new(StatusCode::BAD_REQUEST, message)
        })?;
        if name == DURATION && milliseconds(text).is_none() {
            let message = format!("{DURATION} is not a number of milliseconds");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
        }
        facts.insert(name.as_str().to_owned(), text.to_owned());
    }
    Ok(facts)
}

fn milliseconds(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|c| c.is_ascii_digit()))
}

/// What a client asks about several artifacts.
#[derive(Deserialize)]
struct Query {
    hashes: Vec<String>,
}

/// What a client learns about one artifact.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Known {
    size: u64,
    task_duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dirty_hash: Option<String>,
}

async fn query(call: &Call<'_>, body: &mut Body) -> Result<Response, Refusal> {
    let team = team(call.parts.uri.query())?;
    let read = call.app.vault.spool.read(body, MAX_QUERY).await?;
    let mut known = BTreeMap::new();
    for hash in hashes(&read)? {
        // With a slash it would be the name of another team's artifact.
        let name = Some(team.name(&hash)).filter(|_| !hash.contains('/'));
        let found = match name {
            Some(name) => call.app.vault.find(&call.place(&name)).await,
            None => None,
        };
        let found = found.map(|mut found| {
            let mut fact = |name: HeaderName| found.facts.remove(name.as_str());
            Known {
                size: found.len,
                task_duration_ms: fact(DURATION).as_deref().and_then(milliseconds).unwrap_or(0),
                tag: fact(TAG),
                sha: fact(SHA),
                dirty_hash: fact(DIRTY_HASH),
            }
        });
        known.insert(hash, found);
    }
    let json = serde_json::to_string(&known)
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(with_content(StatusCode::OK, JSON, json))
}

fn hashes(body: &[u8]) -> Result<Vec<String>, Refusal> {
    let bad = |message: String| Refusal::new(StatusCode::BAD_REQUEST, message);
    let Query { hashes } = serde_json::from_slice(body)
        .map_err(|error| bad(format!("the body is not {{\"hashes\": […]}}: {error}")))?;
    if hashes.len() > MAX_HASHES {
        return Err(bad(format!("there are more than {MAX_HASHES} hashes; ask in several requests")));
    }
    Ok(hashes)
}

/// The team that a request names, if any.
struct Team(Option<String>);

impl Team {
    /// Returns the name of the artifact `hash`, which is one part of a path.
    fn name(&self, hash: &str) -> String {
        match &self.0 {
            Some(team) => format!("{team}/{hash}"),
            None => hash.to_owned(),
        }
    }
}

/// Returns the team in a query. A client that is linked to a team sends its id, one that is configured its slug, some both.
fn team(query: Option<&str>) -> Result<Team, Refusal> {
    let parameter = |wanted: &str| {
        let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(name, _)| *name == wanted).map(|(_, value)| value).find(|value| !value.is_empty())
    };
    let Some(raw) = parameter("slug").or_else(|| parameter("teamId")) else { return Ok(Team(None)) };
    // It becomes a part of a name like those of paths.
    segment(&raw.replace('+', " "))
        .map(|team| Team(Some(team)))
        .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "the team in the query cannot be read"))
}

/// Returns `refusal` as Turborepo's own errors are: it reads them for the reason of a 403.
pub(super) fn refuse(refusal: Refusal) -> Response {
    let status = refusal.status();
    let code = match status {
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::TOO_MANY_REQUESTS => "rate_limited",
        _ if status.is_server_error() => "unavailable",
        _ => "bad_request",
    };
    let json = serde_json::json!({"error": {"code": code, "message": refusal.message()}}).to_string();
    let mut response = refusal.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    *response.body_mut() = Body::from(json);
    response
}

/// What the fuzz targets call.
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing {
    /// Returns the name of the artifact `k` for a text that is taken for a query.
    pub fn team(query: &str) -> Option<String> {
        super::team(Some(query)).ok().map(|team| team.name("k"))
    }

    /// Returns how many hashes are in bytes that are taken for a list of them.
    pub fn hashes(body: &[u8]) -> Option<usize> {
        super::hashes(body).ok().map(|hashes| hashes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn teams_are_part_of_the_name() {
        let name = |query: &str| team(Some(query)).map(|team| team.name("k"));
        assert_eq!(name("").unwrap(), "k");
        assert_eq!(name("slug=&teamId=").unwrap(), "k");
        assert_eq!(name("teamId=team_1").unwrap(), "team_1/k");
        assert_eq!(name("teamId=team_1&slug=my+te%61m").unwrap(), "my team/k");
        for bad in [
            "slug=%0a",
            "slug=%f",
            "slug=%ff",
            "slug=..",
            "slug=%2e%2e",
            "slug=a/b",
            "slug=a%5Cb",
            &format!("slug={}", "x".repeat(256)),
        ] {
            assert_eq!(name(bad).unwrap_err().status(), StatusCode::BAD_REQUEST, "{bad}");
        }
    }
}
