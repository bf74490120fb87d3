//! Bazel's HTTP cache: results of actions under `ac/`, contents under `cas/`.
//!
//! Contents are verified against their SHA-256 and are the same for all instances of a namespace. Results are opaque, because
//! ccache and others keep bytes of their own there, and belong to their instance.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::Response;
use cache_core::{Digest, HashFunction};
use http::{Method, StatusCode};

use super::value;
use crate::app::Call;
use crate::counters::add;
use crate::reply::{Refusal, empty};
use crate::vault::Expected;

/// SHA-256 of nothing, which clients expect to be everywhere.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// Largest result of an action. Real ones have kilobytes, and clients that parse them hold them in memory.
const MAX_RESULT: u64 = 64 << 20;

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
    if kind == "cas" { content(call, hex, body).await } else { result(call, instance, hex, body).await }
}

async fn result(
    call: &Call<'_>,
    instance: &[String],
    hex: &str,
    body: &mut Body,
) -> Result<Response, Refusal> {
    let name = format!("ac/{hex}/{}", instance.join("/"));
    if call.parts.method != Method::PUT {
        return value::get(call, &name).await;
    }
    let expected = call.expected(None);
    let expected = Expected { limit: expected.limit.min(MAX_RESULT), ..expected };
    value::put(call, &name, body, &expected, BTreeMap::new()).await?;
    Ok(empty(StatusCode::OK))
}

async fn content(call: &Call<'_>, hex: &str, body: &mut Body) -> Result<Response, Refusal> {
    let name = format!("cas/{hex}");
    if call.parts.method != Method::PUT {
        if hex == EMPTY {
            add(&call.counters().hits, 1);
            return Ok(empty(StatusCode::OK));
        }
        return value::get(call, &name).await;
    }
    let digest = Digest::from_hex(HashFunction::Sha256, hex)
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    let expected = call.expected(Some(digest));
    if hex == EMPTY {
        call.may_write()?;
        call.app.vault.spool.receive(body, &expected).await?;
    } else {
        value::put(call, &name, body, &expected, BTreeMap::new()).await?;
    }
    Ok(empty(StatusCode::OK))
}
