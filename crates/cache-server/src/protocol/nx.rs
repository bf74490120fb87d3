//! Nx's self-hosted remote cache.
//!
//! Nx fails the whole run when an answer is none of the few that it knows: 200 and 404 for a read; 200, 409 and 403 for a write,
//! the latter two of which it takes as "not stored". So a read that the server cannot do is a miss, and an upload that it does
//! not take, for whatever reason, is forbidden.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::Response;
use cache_core::PutMode;
use http::{Method, StatusCode};

use super::{is_trouble, value};
use crate::app::Call;
use crate::reply::{Refusal, empty};

/// Returns whether a path has this protocol's shape, below its version.
pub(super) fn is_path(rest: &[String]) -> bool {
    matches!(rest, [cache, _hash] if cache == "cache")
}

pub(super) async fn answer(call: &Call<'_>, path: &[String], body: &mut Body) -> Result<Response, Refusal> {
    let [hash] = path else { return Err(Refusal::miss()) };
    match call.parts.method {
        Method::GET | Method::HEAD => value::get(call, hash).await,
        Method::PUT => {
            let stored = store(call, hash, body).await;
            if stored.is_err() {
                value::discard(call, body).await;
            }
            stored.map(|()| empty(StatusCode::OK))
        }
        _ => Err(Refusal::method("GET, HEAD, PUT")),
    }
}

async fn store(call: &Call<'_>, hash: &str, body: &mut Body) -> Result<(), Refusal> {
    let expected = call.expected(None);
    // What is stored here stays, so it must be known to be whole.
    if expected.len.is_none() {
        return Err(Refusal::new(StatusCode::LENGTH_REQUIRED, "an upload has to say its Content-Length"));
    }
    call.may_write()?;
    if call.app.vault.find(&call.place(hash)).await.is_some() {
        return Err(present());
    }
    let stored = value::put_in_mode(call, hash, body, &expected, BTreeMap::new(), PutMode::IfAbsent).await;
    stored.map_err(|refusal| match refusal.status() {
        StatusCode::PRECONDITION_FAILED => present(),
        _ => refusal,
    })
}

fn present() -> Refusal {
    Refusal::new(StatusCode::CONFLICT, "there is a value already, and it stays")
}

/// Returns what Nx reads instead of `refusal`.
pub(super) fn refuse(method: &Method, refusal: Refusal) -> Refusal {
    let status = refusal.status();
    match *method {
        Method::GET | Method::HEAD if is_trouble(status) => Refusal::miss(),
        Method::PUT
            if is_trouble(status)
                || matches!(status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::NOT_FOUND) =>
        {
            Refusal::new(StatusCode::FORBIDDEN, refusal.message().to_owned())
        }
        _ => refusal,
    }
}
