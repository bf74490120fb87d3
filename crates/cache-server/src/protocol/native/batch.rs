//! Questions about many things at once.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use cache_core::{Digest, Key, Namespace};
use futures_util::stream::unfold;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::BodyExt;
use serde::Deserialize;

use super::{JSON, SMALL, blobs, ensure_few, entries, facts, question};
use crate::Protocol;
use crate::app::{App, Call};
use crate::counters::add;
use crate::outgoing::Outgoing;
use crate::reply::{Refusal, empty, with_content};
use crate::vault::{Found, Place};

/// Bytes of the largest thing that comes in a batch; one is in memory at a time.
pub(super) const MAX_BATCHED: u64 = SMALL;
/// Bytes of all things in a batch: what takes longer should be able to go on where it broke off.
const MAX_BATCH: u64 = 64 << 20;
/// The type of an answer with many things.
pub(super) const BATCH: HeaderValue = HeaderValue::from_static("application/vnd.vitte-cache.batch");

/// It is not there.
const ABSENT: u8 = 0;
/// It follows.
const HERE: u8 = 1;
/// It is there, and too large for a batch, or for what is left of this one.
const LARGE: u8 = 2;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Digests {
    digests: Vec<Digest>,
}

pub(super) async fn missing(call: &Call<'_>, body: &mut Body) -> Result<Response, Refusal> {
    let Digests { digests } = question(call, body).await?;
    ensure_few(digests.len())?;
    let found = blobs::find(call.app, &call.namespace, &digests).await;
    let missing: Vec<&Digest> =
        digests.iter().zip(found).filter(|(_, found)| found.is_none()).map(|(digest, _)| digest).collect();
    add(&call.counters().hits, (digests.len() - missing.len()) as u64);
    add(&call.counters().misses, missing.len() as u64);
    Ok(with_content(StatusCode::OK, JSON, serde_json::json!({ "missing": missing }).to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    entries: Vec<Key>,
    #[serde(default)]
    blobs: Vec<Digest>,
}

enum Item {
    Entry(Key),
    Blob(Digest),
}

/// What is left of a batch.
struct Rest {
    app: Arc<App>,
    namespace: Namespace,
    items: std::vec::IntoIter<Item>,
    bytes: u64,
}

pub(super) async fn get(call: &Call<'_>, body: &mut Body) -> Result<Response, Refusal> {
    let Wanted { entries, blobs } = question(call, body).await?;
    ensure_few(entries.len() + blobs.len())?;
    let items = entries.into_iter().map(Item::Entry).chain(blobs.into_iter().map(Item::Blob));
    let items = items.collect::<Vec<_>>().into_iter();
    let (app, namespace) = (Arc::clone(call.app), call.namespace.clone());
    let rest = Rest { app, namespace, items, bytes: MAX_BATCH };
    let frames = unfold(rest, |mut rest| async move {
        let item = rest.items.next()?;
        let frame = rest.frame(&item).await;
        Some((Ok::<_, Infallible>(frame), rest))
    });
    let mut response = empty(StatusCode::OK);
    response.headers_mut().insert(CONTENT_TYPE, BATCH);
    *response.body_mut() = Body::from_stream(frames);
    Ok(response)
}

impl Rest {
    /// Returns what the answer says about `item`.
    async fn frame(&mut self, item: &Item) -> Bytes {
        let name = match item {
            Item::Entry(key) => facts::name(key),
            Item::Blob(digest) => blobs::name(digest),
        };
        let place = Place { namespace: &self.namespace, protocol: Protocol::Native, name: &name };
        let found = match item {
            Item::Entry(key) => entries::find(&self.app, &self.namespace, key).await,
            Item::Blob(_) => self.app.vault.find(&place).await,
        };
        let counters = self.app.totals.of(Protocol::Native);
        let Some(found) = found else {
            add(&counters.misses, 1);
            return Bytes::from_static(&[ABSENT]);
        };
        if found.len > MAX_BATCHED.min(self.bytes) {
            return Bytes::from_static(&[LARGE]);
        }
        let Some(content) = content(&self.app, &place, &found).await else {
            add(&counters.misses, 1);
            return Bytes::from_static(&[ABSENT]);
        };
        add(&counters.hits, 1);
        add(&counters.bytes_read, found.len);
        self.bytes -= found.len;
        here(&content)
    }
}

/// Returns what an answer says about something that is there: a byte, its length as four, and `content`.
fn here(content: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(5 + content.len());
    frame.push(HERE);
    frame.extend_from_slice(&(content.len() as u32).to_le_bytes());
    frame.extend_from_slice(content);
    frame.into()
}

#[cfg(feature = "fuzzing")]
pub(in crate::protocol) mod fuzzing {
    use bytes::Bytes;

    /// Returns what a batch says about something: that it is not there, its content, or that it is too large.
    pub fn frame(found: Option<Result<&[u8], ()>>) -> Bytes {
        match found {
            None => Bytes::from_static(&[super::ABSENT]),
            Some(Ok(content)) => super::here(content),
            Some(Err(())) => Bytes::from_static(&[super::LARGE]),
        }
    }

    /// Returns about how many things bytes are a question, if they are one.
    pub fn question(body: &[u8]) -> Option<usize> {
        let missing = serde_json::from_slice(body).map(|super::Digests { digests }| digests.len());
        let batch = || {
            serde_json::from_slice(body).map(|super::Wanted { entries, blobs }| entries.len() + blobs.len())
        };
        missing.or_else(|_| batch()).ok()
    }
}

/// Returns all of what was found at `place`; nothing if it cannot be read.
async fn content(app: &App, place: &Place<'_>, found: &Found) -> Option<Bytes> {
    let content = app.vault.open(place, found, None).await?;
    Some(Outgoing::new(content, found.len).collect().await.ok()?.to_bytes())
}
