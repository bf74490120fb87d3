//! What most protocols do with a value: give it, take it, remove it.

use std::collections::BTreeMap;

use axum::BoxError;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use cache_core::{PutMode, PutOutcome};
use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPECT,
    IF_NONE_MATCH, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::turborepo;
use crate::app::Call;
use crate::conditions::{Wanted, matches, wanted};
use crate::counters::add;
use crate::outgoing::Outgoing;
use crate::reply::{Refusal, empty};
use crate::vault::{Expected, Found};

/// Type of a value of which nothing else is known.
const OPAQUE: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// Longest header that is kept with a value, in bytes.
pub(super) const MAX_FACT: usize = 256;
/// Headers that are given back as they came with the value, where a protocol keeps them.
const KEPT: [HeaderName; 6] = [
    CONTENT_TYPE,
    CONTENT_ENCODING,
    turborepo::DURATION,
    turborepo::TAG,
    turborepo::SHA,
    turborepo::DIRTY_HASH,
];

/// Answers a GET or HEAD of the value called `name`, or a miss.
pub(super) async fn get(call: &Call<'_>, name: &str) -> Result<Response, Refusal> {
    let found = find(call, name).await?;
    give(call, name, &found).await
}

/// Returns what is known of the value called `name`, or a miss.
pub(super) async fn find(call: &Call<'_>, name: &str) -> Result<Found, Refusal> {
    call.app.vault.find(&call.place(name)).await.ok_or_else(|| miss(call))
}

/// Counts a miss and returns it.
pub(super) fn miss(call: &Call<'_>) -> Refusal {
    add(&call.counters().misses, 1);
    Refusal::miss()
}

/// Answers a GET or HEAD with a value, or with the part of it that the request wants.
pub(super) async fn give(call: &Call<'_>, name: &str, found: &Found) -> Result<Response, Refusal> {
    let counters = call.counters();
    let etag = etag(found);
    let mut response = empty(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(ETAG, etag.clone());
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(modified) = HeaderValue::from_str(&httpdate::fmt_http_date(found.created)) {
        headers.insert(LAST_MODIFIED, modified);
    }
    let range = match wanted(&call.parts.headers, etag.to_str().unwrap_or_default(), found.len) {
        Wanted::Unchanged => {
            add(&counters.hits, 1);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        Wanted::Nothing => {
            let length = format!("bytes */{}", found.len);
            let refusal = Refusal::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "the range begins behind the end of the value",
            );
            return Err(match HeaderValue::from_str(&length) {
                Ok(length) => refusal.with(CONTENT_RANGE, length),
                Err(_) => refusal,
            });
        }
        Wanted::Whole => None,
        Wanted::Part(range) => Some(range),
    };
    headers.insert(CONTENT_TYPE, OPAQUE);
    for name in KEPT {
        if let Some(fact) = found.facts.get(name.as_str()).and_then(|fact| HeaderValue::from_str(fact).ok()) {
            headers.insert(name, fact);
        }
    }
    let len = range.as_ref().map_or(found.len, |range| range.end - range.start);
    headers.insert(CONTENT_LENGTH, len.into());
    if let Some(range) = &range {
        let text = format!("bytes {}-{}/{}", range.start, range.end - 1, found.len);
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(CONTENT_RANGE, value);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    if call.parts.method != Method::HEAD {
        let content = call.app.vault.open(&call.place(name), found, range).await;
        let content = content.ok_or_else(|| miss(call))?;
        let (body, hope) = Outgoing::new(content, len).hoping();
        *response.body_mut() = Body::new(body);
        if let Some(hope) = hope {
            response.extensions_mut().insert(hope);
        }
        add(&counters.bytes_read, len);
    }
    add(&counters.hits, 1);
    Ok(response)
}

fn etag(found: &Found) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{:032x}\"", found.validator())).unwrap_or(OPAQUE)
}

/// Takes the body as the value called `name`, which has to be `expected`. With `If-None-Match: *` what is there stays.
pub(super) async fn put<B>(
    call: &Call<'_>,
    name: &str,
    body: &mut B,
    expected: &Expected,
    facts: BTreeMap<String, String>,
) -> Result<(), Refusal>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let only_if_absent = matches(&call.parts.headers, &IF_NONE_MATCH, "*");
    let mode = if only_if_absent { PutMode::IfAbsent } else { PutMode::Overwrite };
    put_in_mode(call, name, body, expected, facts, mode).await
}

/// Takes the body as the value called `name`, which has to be `expected`. What is there already stays or goes as `mode` says;
/// if it stays, the answer is 412.
pub(super) async fn put_in_mode<B>(
    call: &Call<'_>,
    name: &str,
    body: &mut B,
    expected: &Expected,
    facts: BTreeMap<String, String>,
    mode: PutMode,
) -> Result<(), Refusal>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    call.may_write()?;
    let upload = call.app.vault.spool.receive(body, expected).await?;
    let len = upload.len;
    match call.app.vault.put(&call.place(name), upload, facts, mode).await {
        Ok(PutOutcome::Stored) => {
            add(&call.counters().stored, 1);
            add(&call.counters().bytes_stored, len);
            Ok(())
        }
        Ok(PutOutcome::Present) => {
            Err(Refusal::new(StatusCode::PRECONDITION_FAILED, "there is a value already, and it stays"))
        }
        Err(error) => {
            tracing::warn!(name, %error, "a value could not be stored");
            Err(Refusal::from_write(&error))
        }
    }
}

/// Reads the rest of a refused upload, as large as any that is taken. A client that sends all before it reads anything would see a
/// reset connection in place of the answer, and not all of them take that as lightly.
pub(super) async fn discard(call: &Call<'_>, body: &mut Body) {
    let limit = call.max_value();
    // Who asked whether to send it has not sent it, and what nobody could store is not worth the way.
    let asked = call.parts.headers.contains_key(EXPECT);
    if !asked && call.expected(None).len.is_none_or(|len| len <= limit) {
        call.app.vault.spool.discard(body, limit).await;
    }
}

/// Removes the value called `name` and returns whether there was one.
pub(super) async fn remove(call: &Call<'_>, name: &str) -> Result<bool, Refusal> {
    call.may_write()?;
    match call.app.vault.remove(&call.place(name)).await {
        Ok(removed) => {
            add(&call.counters().deleted, u64::from(removed));
            Ok(removed)
        }
        Err(error) => {
            tracing::warn!(name, %error, "a value could not be removed");
            Err(Refusal::from_write(&error))
        }
    }
}

/// Returns the headers that say what the content is, to be given back with it.
pub(super) fn described(headers: &HeaderMap) -> BTreeMap<String, String> {
    let fact = |name: HeaderName| {
        let text = headers.get(&name)?.to_str().ok().filter(|text| text.len() <= MAX_FACT)?;
        Some((name.as_str().to_owned(), text.to_owned()))
    };
    [CONTENT_TYPE, CONTENT_ENCODING].into_iter().filter_map(fact).collect()
}
