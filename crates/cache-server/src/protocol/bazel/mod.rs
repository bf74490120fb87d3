//! Bazel's HTTP cache: results of actions under `ac/`, contents under `cas/`.
//!
//! Contents are verified against their SHA-256 and are the same for all instances of a namespace. Results belong to their
//! instance and are stored as they were sent; they are served while everything is there that they name, as protobuf or, to those
//! who ask for it, as JSON. Other values under the names of results, such as ccache's, are served as they are.

mod complete;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod json;
mod message;
mod scan;
#[cfg(test)]
mod tests;
mod time;

use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::Response;
use cache_core::coding::Coding;
use cache_core::{Digest, HashFunction};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;

use super::coding::{self, lists};
use super::value;
use crate::app::Call;
use crate::counters::add;
use crate::outgoing::Outgoing;
use crate::reply::{Refusal, empty, with_content};
use crate::vault::{Expected, Found};

/// SHA-256 of nothing, which clients expect to be everywhere.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// Largest result of an action in bytes. Real ones have kilobytes, and clients that parse them hold them in memory.
const MAX_RESULT: u64 = 64 << 20;
/// The type of the JSON form.
const JSON: &str = "application/json";
/// How contents may be coded, as in bazel-remote.
const CODINGS: [Coding; 1] = [Coding::Zstd];
/// Largest window of an upload, as a power of two: the 8 MiB that RFC 8878 asks of decoders (section 3.1.1.1.2).
const MAX_WINDOW: u32 = 23;
/// Results that are converted from or to JSON at a time, over all servers of the process. Each is in memory in both forms,
/// beyond what a request may hold otherwise; it takes milliseconds.
static CONVERSIONS: Semaphore = Semaphore::const_new(4);

/// Returns whether a path has this protocol's shape.
pub(super) fn is_path(segments: &[String]) -> bool {
    let [.., kind, hex] = segments else { return false };
    matches!(kind.as_str(), "ac" | "cas") && Digest::from_hex(HashFunction::Sha256, hex).is_ok()
}

pub(super) async fn answer(call: &Call<'_>, path: &[String], body: &mut Body) -> Result<Response, Refusal> {
    let [instance @ .., kind, hex] = path else { return Err(Refusal::miss()) };
    if !matches!(call.parts.method, Method::GET | Method::HEAD | Method::PUT) {
        return Err(Refusal::method("GET, HEAD, PUT"));
    }
    match (kind == "cas", call.parts.method == Method::PUT) {
        (true, true) => put_content(call, hex, body).await,
        (true, false) => get_content(call, hex).await,
        (false, put) => {
            let name = format!("ac/{hex}/{}", instance.join("/"));
            if put { put_result(call, &name, body).await } else { get_result(call, &name).await }
        }
    }
}

/// Returns the name of a content.
fn content_name(hex: &str) -> String {
    format!("cas/{hex}")
}

async fn get_result(call: &Call<'_>, name: &str) -> Result<Response, Refusal> {
    let found = value::find(call, name).await?;
    if call.checks_references() && !complete::is_servable(call, name, &found).await {
        return Err(value::miss(call));
    }
    let json =
        if lists(&call.parts.headers, &ACCEPT, JSON) { as_json(call, name, &found).await } else { None };
    let mut response = match json {
        Some(json) => {
            add(&call.counters().hits, 1);
            add(&call.counters().bytes_read, json.len() as u64);
            with_content(StatusCode::OK, JSON, json)
        }
        None => value::give(call, name, &found).await?,
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Returns a result as JSON; nothing if it is none, or is too large for that.
async fn as_json(call: &Call<'_>, name: &str, found: &Found) -> Option<String> {
    if found.len > json::MAX as u64 {
        return None;
    }
    let _turn = CONVERSIONS.acquire().await.ok()?;
    let content = call.app.vault.open(&call.place(name), found, None).await?;
    let bytes = Outgoing::new(content, found.len).collect().await.ok()?.to_bytes();
    tokio::task::spawn_blocking(move || json::from_protobuf(&bytes)).await.ok()?
}

async fn put_result(call: &Call<'_>, name: &str, body: &mut Body) -> Result<Response, Refusal> {
    call.may_write()?;
    if coding::of_upload(&call.parts.headers, &CODINGS)?.is_some() {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "results come without a content encoding"));
    }
    let expected = call.expected(None);
    if !lists(&call.parts.headers, &CONTENT_TYPE, JSON) {
        let expected = Expected { limit: expected.limit.min(MAX_RESULT), ..expected };
        value::put(call, name, body, &expected, BTreeMap::new()).await?;
        return Ok(empty(StatusCode::OK));
    }
    let limit = usize::try_from(expected.limit).unwrap_or(json::MAX).min(json::MAX);
    let json = call.app.vault.spool.read(body, limit).await?;
    let protobuf = {
        let _turn = CONVERSIONS.acquire().await.map_err(|_| failed())?;
        let converted = tokio::task::spawn_blocking(move || json::to_protobuf(&json)).await;
        converted.map_err(|_| failed())?.map_err(|error| {
            Refusal::new(StatusCode::BAD_REQUEST, format!("this is no ActionResult in JSON: {error}"))
        })?
    };
    let expected = Expected { len: Some(protobuf.len() as u64), ..expected };
    value::put(call, name, &mut Body::from(protobuf), &expected, BTreeMap::new()).await?;
    Ok(empty(StatusCode::OK))
}

fn failed() -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the result could not be converted; see the server's log")
}

async fn get_content(call: &Call<'_>, hex: &str) -> Result<Response, Refusal> {
    if hex == EMPTY {
        add(&call.counters().hits, 1);
        return Ok(empty(StatusCode::OK));
    }
    let name = content_name(hex);
    let found = value::find(call, &name).await?;
    let mut response = value::give(call, &name, &found).await?;
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    if call.parts.method == Method::GET && lists(&call.parts.headers, &ACCEPT_ENCODING, Coding::Zstd.name()) {
        response = coding::encode(response, Coding::Zstd, found.len).await;
    }
    Ok(response)
}

async fn put_content(call: &Call<'_>, hex: &str, body: &mut Body) -> Result<Response, Refusal> {
    call.may_write()?;
    let coding = coding::of_upload(&call.parts.headers, &CODINGS)?;
    let digest = Digest::from_hex(HashFunction::Sha256, hex)
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    let sent = call.expected(Some(digest));
    let name = content_name(hex);
    if let Some(coding) = coding {
        let expected = Expected { len: Some(coding::announced(&call.parts.headers)?), ..sent };
        if sent.len.is_some_and(|len| len > sent.limit) {
            return Err(Refusal::too_large(sent.limit));
        }
        let mut body = coding::Decoded::new(body, coding, MAX_WINDOW, call.options().timeouts.turn).await?;
        store_content(call, &name, &mut body, &expected).await?;
        return Ok(empty(StatusCode::OK));
    }
    // Bazel asks for nothing before it sends everything, so most of it is there. That is read and compared with nothing:
    // nothing of it is kept.
    if let Some(len) = sent.len.filter(|len| *len > 0) {
        let there = call.app.vault.find(&call.place(&name)).await;
        if there.is_some_and(|found| found.len == len) {
            return match call.app.vault.spool.discard(body, len).await {
                received if received == len => Ok(empty(StatusCode::OK)),
                received => Err(Refusal::cut_off(received)),
            };
        }
    }
    store_content(call, &name, body, &sent).await?;
    Ok(empty(StatusCode::OK))
}

/// Stores a content, unless it is the empty one.
async fn store_content<B>(
    call: &Call<'_>,
    name: &str,
    body: &mut B,
    expected: &Expected,
) -> Result<(), Refusal>
where
    B: http_body::Body<Data = bytes::Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    if name == content_name(EMPTY) {
        call.app.vault.spool.receive(body, expected).await?;
        return Ok(());
    }
    value::put(call, name, body, expected, BTreeMap::new()).await
}
