//! Blobs that come in parts, so that an upload which broke off goes on. In the spirit of the IETF's draft "Resumable Uploads
//! for HTTP" (draft-ietf-httpbis-resumable-upload).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use cache_core::{Digest, Namespace};
use http::header::LOCATION;
use http::{HeaderName, HeaderValue, StatusCode};
use http_body_util::Either;
use tokio::sync::{Mutex as Turn, watch};
use tokio::time::{Instant, sleep};

use super::blobs;
use crate::app::Call;
use crate::reply::{Refusal, empty};
use crate::vault::Partial;

/// Most uploads that are open at a time: each has an open file, and there are no more requests at a time either.
const MAX_OPEN: usize = 256;
/// How long an upload waits for its next byte: a client goes on within seconds, a computer that changes networks within
/// minutes, and whoever comes later begins again.
const MAX_AGE: Duration = Duration::from_mins(10);
/// Seconds after which a client may find that an upload has ended, or that another one left room.
const RETRY: u64 = 1;
/// Random bytes of an upload's name: beyond guessing.
const ID: usize = 32;

const LENGTH: HeaderName = HeaderName::from_static("upload-length");
const OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// The uploads that are open. A restart forgets them, and their files have no names.
#[derive(Debug, Default)]
pub(super) struct Uploads(Mutex<HashMap<String, Arc<Open>>>);

#[derive(Debug)]
struct Open {
    namespace: Namespace,
    digest: Digest,
    len: u64,
    /// Whoever has it appends.
    partial: Arc<Turn<Partial>>,
    /// Changed when whoever appends is to end with what has come.
    interrupt: watch::Sender<()>,
}

impl Uploads {
    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<Open>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>, id: String, upload: Open) -> Result<(), Refusal> {
        let mut open = self.open();
        if open.len() >= MAX_OPEN {
            let message =
                format!("{MAX_OPEN} uploads are open, the limit here; send the blob in one request");
            return Err(Refusal::later(StatusCode::SERVICE_UNAVAILABLE, message, RETRY));
        }
        open.insert(id.clone(), Arc::new(upload));
        drop(open);
        tokio::spawn(forget(Arc::downgrade(self), id));
        Ok(())
    }

    fn find(&self, id: &str, namespace: &Namespace) -> Result<Arc<Open>, Refusal> {
        let open = self.open().get(id).filter(|open| open.namespace == *namespace).cloned();
        open.ok_or_else(Refusal::miss)
    }

    /// Removes the uploads of which nothing has come for too long.
    fn remove_old(&self, now: Instant) {
        self.open().retain(|_, open| {
            let Ok(partial) = open.partial.try_lock() else { return true };
            now.saturating_duration_since(partial.last) < MAX_AGE
        });
    }
}

/// Removes the upload `id` when it has become too old: before it is twice that age.
async fn forget(uploads: Weak<Uploads>, id: String) {
    loop {
        sleep(MAX_AGE).await;
        let Some(uploads) = uploads.upgrade() else { return };
        uploads.remove_old(Instant::now());
        if !uploads.open().contains_key(&id) {
            return;
        }
    }
}

/// Answers where the parts of a blob go.
pub(super) fn begin(call: &Call<'_>, function: &str, hex: &str) -> Result<Response, Refusal> {
    let digest = blobs::digest(function, hex)?;
    call.may_write()?;
    let len = number(call, &LENGTH)?;
    let limit = call.expected(None).limit;
    if len > limit {
        return Err(Refusal::too_large(limit));
    }
    let mut id = [0; ID];
    getrandom::fill(&mut id).map_err(|error| {
        tracing::error!(%error, "the system has no random numbers for the name of an upload");
        Refusal::later(StatusCode::SERVICE_UNAVAILABLE, "uploads in parts cannot be named right now", RETRY)
    })?;
    let id = blake3::Hash::from_bytes(id).to_hex().to_string();
    let namespace = call.namespace.clone();
    let below = if namespace == Namespace::default() { String::new() } else { format!("/ns/{namespace}") };
    let location = HeaderValue::from_str(&format!("{below}/v1/uploads/{id}"))
        .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "the namespace cannot stand in a header"))?;
    let partial = Turn::new(call.app.vault.spool.begin(digest, len)).into();
    let open = Open { namespace, digest, len, partial, interrupt: watch::Sender::new(()) };
    call.app.native.uploads.begin(id, open)?;
    let mut response = at(StatusCode::CREATED, 0);
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// Answers how many bytes are there. A part that is still arriving ends: who asks has lost that connection.
pub(super) async fn find(call: &Call<'_>, id: &str) -> Result<Response, Refusal> {
    call.may_write()?;
    let open = call.app.native.uploads.find(id, &call.namespace)?;
    open.interrupt.send_replace(());
    let offset = open.partial.lock().await.offset();
    offset.map(|offset| at(StatusCode::NO_CONTENT, offset)).ok_or_else(Refusal::miss)
}

/// Appends the body. It goes on when the request is dropped because its connection broke, so that what arrived stays.
pub(super) async fn append(call: &Call<'_>, id: &str, body: &mut Body) -> Result<Response, Refusal> {
    call.may_write()?;
    let open = call.app.native.uploads.find(id, &call.namespace)?;
    let offset = number(call, &OFFSET)?;
    let Ok(mut partial) = Arc::clone(&open.partial).try_lock_owned() else {
        let message = "another part is arriving; ask for the offset, which ends it";
        return Err(Refusal::later(StatusCode::LOCKED, message, RETRY));
    };
    let there = partial.offset().ok_or_else(Refusal::miss)?;
    if offset != there {
        let message = format!("{there} bytes are there, and the part begins at {offset}");
        let refusal = Refusal::new(StatusCode::CONFLICT, message).coded("other-offset", None);
        return Err(refusal.with(OFFSET, there.into()));
    }
    let body = std::mem::take(body);
    // What of a coded part arrived before it broke off stays as well, and the offset counts what it is when it is not coded.
    let mut body = match blobs::coding_of(call)? {
        None => Either::Left(body),
        Some(coding) => Either::Right(blobs::decoded(call, coding, body).await?),
    };
    let (app, id) = (Arc::clone(call.app), id.to_owned());
    let task = tokio::spawn(async move {
        let mut interrupt = open.interrupt.subscribe();
        let appended = app.vault.spool.append(&mut partial, &mut body, &mut interrupt).await;
        let done = match partial.offset() {
            Some(offset) if offset < open.len => return appended.map(|()| offset),
            Some(_) => partial.finish(),
            None => return appended.map(|()| 0).inspect_err(|_| drop(app.native.uploads.open().remove(&id))),
        };
        // It is over, whatever comes of it: what is whole is right or wrong.
        let stored = match done {
            Ok(upload) => blobs::store(&app, &open.namespace, &open.digest, upload).await,
            Err(refusal) => Err(refusal),
        };
        app.native.uploads.open().remove(&id);
        stored.map(|()| open.len)
    });
    let offset = task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a part of an upload was lost");
        Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the part was lost; see the server's log"))
    })?;
    Ok(at(StatusCode::NO_CONTENT, offset))
}

/// Gives an upload up.
pub(super) fn give_up(call: &Call<'_>, id: &str) -> Result<Response, Refusal> {
    call.may_write()?;
    let uploads = &call.app.native.uploads;
    let open = uploads.find(id, &call.namespace)?;
    uploads.open().remove(id);
    open.interrupt.send_replace(());
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Returns an answer that says how many bytes are there.
fn at(status: StatusCode, offset: u64) -> Response {
    let mut response = empty(status);
    response.headers_mut().insert(OFFSET, offset.into());
    response
}

/// Returns the number in a header that has to be there once.
fn number(call: &Call<'_>, name: &HeaderName) -> Result<u64, Refusal> {
    let mut values = call.parts.headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none());
    let digits = value.and_then(|value| value.to_str().ok());
    // What is parsed would have a sign as well.
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("the header {name} has to be there once, with a number"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Spool;

    #[tokio::test]
    async fn what_waits_too_long_is_forgotten() {
        let spool = Spool::open(None, 1 << 20, Duration::from_mins(1)).unwrap();
        let uploads = Arc::new(Uploads::default());
        let namespace = Namespace::default();
        let digest = Digest::blake3(b"x");
        let partial = Turn::new(spool.begin(digest, 1)).into();
        let interrupt = watch::Sender::new(());
        let open = Open { namespace: namespace.clone(), digest, len: 1, partial, interrupt };
        uploads.begin("a".to_owned(), open).unwrap();
        let now = Instant::now();
        uploads.remove_old(now);
        let open = uploads.find("a", &namespace).unwrap();
        // Something is arriving.
        let turn = open.partial.lock().await;
        uploads.remove_old(now + MAX_AGE);
        assert!(uploads.find("a", &namespace).is_ok());
        drop(turn);
        uploads.remove_old(now + MAX_AGE);
        assert_eq!(uploads.find("a", &namespace).unwrap_err().status(), StatusCode::NOT_FOUND);
    }
}
