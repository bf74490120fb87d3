//! Entries, each in its envelope.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use cache_core::envelope::{EnvelopeError, Limits, decode_entry};
use cache_core::{Digest, Entry, Key, Namespace, PutMode, PutOutcome};
use http::StatusCode;
use http::header::{CONTENT_TYPE, IF_NONE_MATCH};

use super::{MAX_ENTRY, MAX_VALUE, SMALL, blobs, facts};
use crate::Protocol;
use crate::app::{App, Call};
use crate::conditions::matches;
use crate::counters::add;
use crate::protocol::value;
use crate::reply::{Refusal, empty};
use crate::vault::{Expected, Found, Place, Upload};

/// The type of an entry's envelope.
pub(super) const ENVELOPE: &str = "application/vnd.vitte-cache.entry";
/// Most blobs that an answer says are missing.
const MOST_NAMED: usize = 1_000;
/// Where the length of the decoded payload is in an envelope.
const PAYLOAD_LEN: std::ops::Range<usize> = 20..28;

fn key(hex: &str) -> Result<Key, Refusal> {
    hex.parse()
        .map_err(|error: cache_core::ParseKeyError| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))
}

/// Returns what is stored for the entry under `key` in `namespace`, if its blobs are there.
pub(super) async fn find(app: &App, namespace: &Namespace, key: &Key) -> Option<Found> {
    let name = facts::name(key);
    let found = app.vault.find(&Place { namespace, protocol: Protocol::Native, name: &name }).await?;
    let named = facts::named(&found.others)?;
    missing(app, namespace, &named).await.is_empty().then_some(found)
}

/// Returns those of `blobs` that `namespace` does not have in their length.
async fn missing(app: &App, namespace: &Namespace, blobs: &[(Digest, u64)]) -> Vec<Digest> {
    let digests: Vec<Digest> = blobs.iter().map(|(digest, _)| *digest).collect();
    let found = blobs::find(app, namespace, &digests).await;
    let pairs = blobs.iter().zip(found);
    pairs.filter(|((_, len), found)| *found != Some(*len)).map(|((digest, _), _)| *digest).collect()
}

pub(super) async fn get(call: &Call<'_>, hex: &str) -> Result<Response, Refusal> {
    let key = key(hex)?;
    let Some(mut found) = find(call.app, &call.namespace, &key).await else {
        add(&call.counters().misses, 1);
        return Err(Refusal::miss());
    };
    // They are the client's facts about its entry, not about the envelope.
    found.facts.clear();
    found.facts.insert(CONTENT_TYPE.as_str().to_owned(), ENVELOPE.to_owned());
    value::give(call, &facts::name(&key), &found).await
}

pub(super) async fn put(call: &Call<'_>, hex: &str, body: &mut Body) -> Result<Response, Refusal> {
    let key = key(hex)?;
    call.may_write()?;
    let mode = match call.parts.headers.get(IF_NONE_MATCH) {
        None => PutMode::Overwrite,
        Some(_) if matches(&call.parts.headers, &IF_NONE_MATCH, "*") => PutMode::IfAbsent,
        Some(_) => {
            let message = "the only condition that a PUT can have here is If-None-Match: *";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
        }
    };
    if mode == PutMode::IfAbsent && is_there(call, &key).await? {
        return Err(present());
    }
    let expected = call.expected(None);
    let expected = Expected { limit: expected.limit.min(MAX_ENTRY), ..expected };
    let mut upload = call.app.vault.spool.receive(body, &expected).await?;
    let (entry, size) = checked(call, &key, &mut upload).await?;
    let len = upload.len;
    let named = facts::blobs(&entry);
    let missing = missing(call.app, &call.namespace, &named).await;
    if let Some(first) = missing.first() {
        let message = format!(
            "the entry names {} blobs that this namespace does not have, such as {first}; send them before the entry",
            missing.len()
        );
        let list: Vec<String> = missing.iter().take(MOST_NAMED).map(ToString::to_string).collect();
        let about = Some(("missing", list.into()));
        return Err(Refusal::new(StatusCode::CONFLICT, message).coded("missing-blobs", about));
    }
    let name = facts::name(&key);
    let place = call.place(&name);
    let entry = facts::wrap(&place, entry, size)
        .ok_or_else(|| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "the entry cannot be described"))?;
    match call.app.vault.put_as(&place, upload, entry, mode).await {
        Ok(PutOutcome::Stored) => {
            add(&call.counters().stored, 1);
            add(&call.counters().bytes_stored, len);
            Ok(empty(StatusCode::NO_CONTENT))
        }
        Ok(PutOutcome::Present) => Err(present()),
        Err(error) => {
            tracing::warn!(%key, %error, "an entry could not be stored");
            Err(Refusal::from_write(&error))
        }
    }
}

fn present() -> Refusal {
    Refusal::new(StatusCode::PRECONDITION_FAILED, "there is an entry under this key already, and it stays")
}

/// Returns whether there is an entry under `key`. One that lost a blob is none, and is removed to make room.
async fn is_there(call: &Call<'_>, key: &Key) -> Result<bool, Refusal> {
    let name = facts::name(key);
    if call.app.vault.find(&call.place(&name)).await.is_none() {
        return Ok(false);
    }
    // One at a time: nobody removes what somebody else just put into that room.
    let _turn = call.app.native.repair.lock().await;
    if find(call.app, &call.namespace, key).await.is_some() {
        return Ok(true);
    }
    value::remove(call, &name).await?;
    Ok(false)
}

/// Returns the entry that was sent, without its value, and its size, if it is whole and belongs under `key`.
async fn checked(call: &Call<'_>, key: &Key, upload: &mut Upload) -> Result<(Entry, u64), Refusal> {
    let small = if upload.len <= SMALL { Some(upload.bytes().await?) } else { None };
    let _large;
    let bytes = match small {
        Some(bytes) if payload_len(&bytes) <= SMALL => bytes,
        _ => {
            _large = call.app.native.large.acquire().await;
            upload.bytes().await?
        }
    };
    let limits = Limits { metadata: MAX_ENTRY as u32, payload: MAX_VALUE };
    let (found, entry) = decode_entry(&bytes, limits).map_err(|error| refused(&error))?;
    if found != *key {
        let message = format!("the entry says that it belongs under {found}, not under {key}");
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, message).coded("other-key", None));
    }
    let size = entry.size();
    Ok((Entry { value: Bytes::new(), ..entry }, size))
}

/// Returns how large an envelope says that its value is.
fn payload_len(envelope: &[u8]) -> u64 {
    let bytes = envelope.get(PAYLOAD_LEN).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}

fn refused(error: &EnvelopeError) -> Refusal {
    let (status, code) = match error {
        EnvelopeError::Newer(_) => (StatusCode::UNPROCESSABLE_ENTITY, "newer-format"),
        EnvelopeError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, "damaged"),
    };
    Refusal::new(status, format!("the entry cannot be stored: {error}")).coded(code, None)
}

pub(super) async fn remove(call: &Call<'_>, hex: &str) -> Result<Response, Refusal> {
    if value::remove(call, &facts::name(&key(hex)?)).await? {
        Ok(empty(StatusCode::NO_CONTENT))
    } else {
        Err(Refusal::miss())
    }
}
