//! Blobs.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::Response;
use cache_core::coding::Coding;
use cache_core::{Digest, HashFunction, Namespace, PutMode};
use http::header::{ACCEPT_ENCODING, VARY};
use http::{HeaderValue, Method, StatusCode};

use crate::Protocol;
use crate::app::{App, Call};
use crate::counters::add;
use crate::protocol::coding::{self, Decoded};
use crate::protocol::value;
use crate::reply::{Refusal, empty};
use crate::vault::{Expected, Place, Upload};

/// How blobs may be coded on their way, as a header says it.
pub(super) const CODINGS: HeaderValue = HeaderValue::from_static("zstd, lz4");
/// Largest window of an upload in zstd, as a power of two: what the program `zstd` uses unless it is told to try hard.
const MAX_WINDOW: u32 = 21;
/// Blobs that are looked for at a time: together, what is kept in their entries fits into one piece of a download.
const AT_A_TIME: usize = 16;

/// Returns what the blob is called in the storage of all protocols.
pub(super) fn name(digest: &Digest) -> String {
    format!("blob/{}/{}", digest.function().name(), digest.to_hex())
}

pub(super) fn digest(function: &str, hex: &str) -> Result<Digest, Refusal> {
    let function: Result<HashFunction, _> = function.parse();
    function
        .and_then(|function| Digest::from_hex(function, hex))
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))
}

pub(super) async fn get(call: &Call<'_>, function: &str, hex: &str) -> Result<Response, Refusal> {
    let name = name(&digest(function, hex)?);
    let found = value::find(call, &name).await?;
    let mut response = value::give(call, &name, &found).await?;
    let headers = &call.parts.headers;
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    let wanted = |coding: &Coding| coding::lists(headers, &ACCEPT_ENCODING, coding.name());
    match Coding::ALL.into_iter().find(wanted) {
        Some(coding) if call.parts.method == Method::GET => {
            Ok(coding::encode(response, coding, found.len).await)
        }
        _ => Ok(response),
    }
}

/// Returns how an upload is coded, if it is.
pub(super) fn coding_of(call: &Call<'_>) -> Result<Option<Coding>, Refusal> {
    coding::of_upload(&call.parts.headers, &Coding::ALL).map_err(|refusal| {
        let message = refusal.message().to_owned();
        Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message).with(ACCEPT_ENCODING, CODINGS)
    })
}

/// Returns the content of a coded upload, once it is its turn.
pub(super) async fn decoded<B>(call: &Call<'_>, coding: Coding, body: B) -> Result<Decoded<B>, Refusal> {
    Decoded::new(body, coding, MAX_WINDOW, call.options().timeouts.turn).await
}

pub(super) async fn put(
    call: &Call<'_>,
    function: &str,
    hex: &str,
    body: &mut Body,
) -> Result<Response, Refusal> {
    let digest = digest(function, hex)?;
    call.may_write()?;
    let sha256 = (digest.function() == HashFunction::Sha256).then_some(digest);
    let (sent, spool) = (call.expected(sha256), &call.app.vault.spool);
    let upload = match coding_of(call)? {
        None => spool.receive(body, &sent).await?,
        Some(_) if sent.len.is_some_and(|len| len > sent.limit) => {
            return Err(Refusal::too_large(sent.limit));
        }
        Some(coding) => {
            let expected = Expected { len: Some(coding::announced(&call.parts.headers)?), ..sent };
            spool.receive(&mut decoded(call, coding, body).await?, &expected).await?
        }
    };
    store(call.app, &call.namespace, &digest, upload).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Stores `upload`, whose SHA-256 is right if that is its name, as the blob `digest`.
pub(super) async fn store(
    app: &App,
    namespace: &Namespace,
    digest: &Digest,
    upload: Upload,
) -> Result<(), Refusal> {
    let found = upload.digest;
    if digest.function() == HashFunction::Blake3 && found != *digest {
        let message =
            format!("the content has the digest {found}, not {digest} as announced; it was not stored");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
    }
    let (name, len) = (name(digest), upload.len);
    // Whatever was there is the same.
    let place = Place { namespace, protocol: Protocol::Native, name: &name };
    let put = app.vault.put(&place, upload, BTreeMap::new(), PutMode::Overwrite).await;
    if let Err(error) = put {
        tracing::warn!(name, %error, "a blob could not be stored");
        return Err(Refusal::from_write(&error));
    }
    let counters = app.totals.of(Protocol::Native);
    add(&counters.stored, 1);
    add(&counters.bytes_stored, len);
    Ok(())
}

pub(super) async fn delete(call: &Call<'_>, function: &str, hex: &str) -> Result<Response, Refusal> {
    if value::remove(call, &name(&digest(function, hex)?)).await? {
        Ok(empty(StatusCode::NO_CONTENT))
    } else {
        Err(Refusal::miss())
    }
}

/// Returns what `namespace` has of `digests`, in their order. What is there counts as used.
pub(super) async fn find(app: &App, namespace: &Namespace, digests: &[Digest]) -> Vec<Option<u64>> {
    let mut all = Vec::with_capacity(digests.len());
    for some in digests.chunks(AT_A_TIME) {
        let names: Vec<String> = some.iter().map(name).collect();
        let place = |name| Place { namespace, protocol: Protocol::Native, name };
        let places: Vec<Place<'_>> = names.iter().map(|name| place(name)).collect();
        all.extend(app.vault.lengths(&places).await);
    }
    all
}
