//! Our own protocol, below `/v1/`: a [`Store`](cache_core::Store) over the wire, exactly.
//!
//! **Entries** travel and are stored as [envelopes](cache_core::envelope), byte for byte as the client made them, so that what
//! is signed stays signed. Under the key of the client there is an entry of ours in its namespace: its value is the
//! envelope, and it says which blobs the envelope names. **Blobs** are values like those of other protocols.
//!
//! **Namespaces.** Keys and digests of clients are never keys of the store: what the store has is derived from the
//! namespace, the protocol and the client's name for it, as for every protocol. So a client cannot reach, overwrite or probe
//! for anything that was not sent to its own namespace, whatever it asks for, not even a blob that is there through another
//! namespace; nor can it put values where other protocols look for theirs. The same content is stored once all the same.
//!
//! **Complete.** An entry is there only while its namespace has each blob that it names.

mod batch;
#[cfg(feature = "fuzzing")]
pub(super) use batch::fuzzing;
mod blobs;
mod entries;
mod facts;
mod list;
mod openapi;
mod query;
mod routes;
mod uploads;

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::ACCEPT_ENCODING;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, Semaphore};

use crate::app::Call;
use crate::reply::{Refusal, with_content};
use crate::vault::Expected;
use routes::Action;
use uploads::Uploads;

/// Largest value of an entry in bytes: that of the disk store, so that entries move between them.
const MAX_VALUE: u64 = 16 << 20;
/// Largest entry in bytes, as sent: the largest value, and facts about a hundred thousand outputs.
const MAX_ENTRY: u64 = 24 << 20;
/// Entries and bodies of questions of at most this many bytes are looked at without waiting for each other.
const SMALL: u64 = 256 << 10;
/// Most things that one question is about: it fits into [`SMALL`].
const MAX_ITEMS: usize = 2_000;
/// The type of JSON.
const JSON: &str = "application/json";

/// What requests of this protocol share.
#[derive(Debug)]
pub(crate) struct State {
    /// The right to have a large entry in memory, to check it: at most `MAX_ENTRY + MAX_VALUE` bytes are.
    large: Semaphore,
    /// The right to remove an entry that lost a blob.
    repair: Mutex<()>,
    /// Blobs that come in parts.
    uploads: Arc<Uploads>,
}

impl Default for State {
    fn default() -> Self {
        Self { large: Semaphore::new(1), repair: Mutex::new(()), uploads: Arc::default() }
    }
}

/// Returns whether the path below `/v1/` is one of this protocol's: other protocols and instances may live there as well.
pub(super) fn is_path(path: &[String]) -> bool {
    routes::ROUTES.iter().any(|route| route.root() == path.first().map_or("", String::as_str))
}

pub(super) async fn answer(call: &Call<'_>, path: &[String], body: &mut Body) -> Result<Response, Refusal> {
    let (action, names) = routes::find(&call.parts.method, path)?;
    let answer = act(call, action, &names, body).await;
    if !action.is_about_blobs() {
        return answer;
    }
    // Clients send nothing coded before they know that it is taken (RFC 7694).
    match answer {
        Ok(mut response) => {
            response.headers_mut().insert(ACCEPT_ENCODING, blobs::CODINGS);
            Ok(response)
        }
        Err(refusal) if refusal.status() == StatusCode::NOT_FOUND => {
            Err(refusal.with(ACCEPT_ENCODING, blobs::CODINGS))
        }
        Err(refusal) => Err(refusal),
    }
}

async fn act(call: &Call<'_>, action: Action, names: &[&str], body: &mut Body) -> Result<Response, Refusal> {
    match (action, names) {
        (Action::Describe, _) => Ok(describe(call)),
        (Action::OpenApi, _) => Ok(with_content(StatusCode::OK, JSON, openapi::document().to_string())),
        (Action::List, _) => list::list(call).await,
        (Action::GetEntry, [key]) => entries::get(call, key).await,
        (Action::PutEntry, [key]) => entries::put(call, key, body).await,
        (Action::RemoveEntry, [key]) => entries::remove(call, key).await,
        (Action::GetBlob, [function, hex]) => blobs::get(call, function, hex).await,
        (Action::PutBlob, [function, hex]) => blobs::put(call, function, hex, body).await,
        (Action::DeleteBlob, [function, hex]) => blobs::delete(call, function, hex).await,
        (Action::BeginUpload, [function, hex]) => uploads::begin(call, function, hex),
        (Action::FindUpload, [id]) => uploads::find(call, id).await,
        (Action::Append, [id]) => uploads::append(call, id, body).await,
        (Action::GiveUp, [id]) => uploads::give_up(call, id),
        (Action::Missing, _) => batch::missing(call, body).await,
        (Action::Batch, _) => batch::get(call, body).await,
        _ => Err(Refusal::miss()),
    }
}

/// Returns what the client can do here.
fn describe(call: &Call<'_>) -> Response {
    let content = serde_json::json!({
        "protocol": 1,
        "server": concat!("vitte-cache ", env!("CARGO_PKG_VERSION")),
        "namespace": call.namespace,
        "write": call.may_write().is_ok(),
        "max_value": MAX_VALUE,
        "max_entry": MAX_ENTRY,
        "max_blob": call.expected(None).limit,
        "max_items": MAX_ITEMS,
        "max_batched": batch::MAX_BATCHED,
    });
    with_content(StatusCode::OK, JSON, content.to_string())
}

/// Takes the body as a question in JSON.
async fn question<T: DeserializeOwned>(call: &Call<'_>, body: &mut Body) -> Result<T, Refusal> {
    let expected = Expected { limit: SMALL, ..call.expected(None) };
    let content = call.app.vault.spool.receive(body, &expected).await?.bytes().await?;
    serde_json::from_slice(&content).map_err(|error| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("the body is not the JSON that is wanted here: {error}"),
        )
    })
}

/// Returns that a question is about `count` things, which is too many, if it is.
fn ensure_few(count: usize) -> Result<(), Refusal> {
    if count <= MAX_ITEMS {
        return Ok(());
    }
    let message = format!("the question is about {count} things, and the limit is {MAX_ITEMS}; ask in parts");
    Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message))
}
