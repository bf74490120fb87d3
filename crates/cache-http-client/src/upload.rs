//! A blob on its way there. Its last piece is not sent before the whole is proved right, so that a server which keeps what is
//! whole never keeps what is wrong.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cache_core::coding::{Coding, Encoder};
use cache_core::{Body, Digest, Error, Hasher, Result};
use futures_util::FutureExt as _;
use futures_util::future::Fuse;
use futures_util::stream::{iter, try_unfold};
use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use tokio::sync::oneshot;
use tokio::time::{Instant, interval_at};

use crate::coded;
use crate::failure::Failure;
use crate::server::{Answer, Server};

/// Content of at most this many bytes is taken into memory first, so that it can be sent again.
pub(crate) const WHOLE: u64 = 128 << 10;

/// Returns all of `body` if it is the content announced.
///
/// # Errors
/// If it is not, as soon as that is known, or what `body` reports.
///
/// # Cancel safety
/// Dropping the future loses the content.
pub(crate) async fn whole(digest: &Digest, len: u64, mut body: Body) -> Result<Bytes> {
    let mut content = BytesMut::new();
    let mut first = Bytes::new();
    while let Some(piece) = body.next().await? {
        let found = (first.len() + content.len() + piece.len()) as u64;
        if found > len {
            return Err(Error::LengthMismatch { expected: len, found });
        }
        if first.is_empty() && content.is_empty() {
            first = piece;
            continue;
        }
        content.extend_from_slice(&std::mem::take(&mut first));
        content.extend_from_slice(&piece);
    }
    let content = if content.is_empty() { first } else { content.freeze() };
    let mut hasher = Hasher::new(digest.function());
    hasher.update(&content);
    ensure_announced(digest, len, &hasher)?;
    Ok(content)
}

/// Says how `body` is not the content announced, if it is not.
///
/// # Cancel safety
/// Dropping the future loses the content.
pub(crate) async fn prove(digest: &Digest, len: u64, mut body: Body) -> Result<()> {
    let mut hasher = Hasher::new(digest.function());
    while let Some(piece) = body.next().await? {
        hasher.update(&piece);
        if hasher.len() > len {
            break;
        }
    }
    ensure_announced(digest, len, &hasher)
}

/// Says how what `hasher` saw is not the content announced, if it is not.
pub(crate) fn ensure_announced(digest: &Digest, len: u64, hasher: &Hasher) -> Result<()> {
    if hasher.len() != len {
        return Err(Error::LengthMismatch { expected: len, found: hasher.len() });
    }
    let found = hasher.finish();
    if found != *digest {
        return Err(Error::DigestMismatch { expected: *digest, found });
    }
    Ok(())
}

/// Bytes of a piece of content that is in memory.
const PIECE: usize = 256 << 10;

/// Not everything is sent yet.
const OPEN: u8 = 0;
/// Everything is sent: the server may keep it.
const RELEASED: u8 = 1;
/// Nobody wants it any more, and it will never be sent as a whole.
const ABANDONED: u8 = 2;

/// What the sender of an upload and the one who waits for the answer know of each other.
#[derive(Default)]
struct Shared {
    /// Why the content was not sent to its end.
    error: Mutex<Option<Error>>,
    sent: AtomicU64,
    /// Whether the content itself is waited for, and not the server.
    is_waiting: AtomicBool,
    state: AtomicU8,
}

struct Sending {
    body: Body,
    encoder: Option<Encoder>,
    digest: Digest,
    len: u64,
    hasher: Hasher,
    held: Option<Bytes>,
    is_done: bool,
    shared: Arc<Shared>,
}

impl Sending {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        while !self.is_done {
            self.shared.is_waiting.store(true, Ordering::SeqCst);
            let piece = self.body.next().await;
            self.shared.is_waiting.store(false, Ordering::SeqCst);
            let Some(piece) = piece? else {
                ensure_announced(&self.digest, self.len, &self.hasher)?;
                let state = &self.shared.state;
                if state.compare_exchange(OPEN, RELEASED, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                    return Err(Error::Invalid("the upload was abandoned".to_owned()));
                }
                self.is_done = true;
                break;
            };
            let found = self.hasher.len() + piece.len() as u64;
            if found > self.len {
                return Err(Error::LengthMismatch { expected: self.len, found });
            }
            if piece.is_empty() {
                continue;
            }
            self.hasher.update(&piece);
            if let Some(before) = self.held.replace(piece) {
                self.shared.sent.fetch_add(before.len() as u64, Ordering::SeqCst);
                return Ok(Some(before));
            }
        }
        Ok(self.held.take())
    }

    /// Returns what goes out next.
    async fn next_coded(&mut self) -> Result<Option<Bytes>> {
        let trouble = |source| Error::Io { what: "cannot compress an upload".to_owned(), source };
        loop {
            let piece = self.next().await?;
            let Some(encoder) = &mut self.encoder else { return Ok(piece) };
            let Some(piece) = piece else {
                return self.encoder.take().map(Encoder::finish).transpose().map_err(trouble);
            };
            let coded = encoder.push(&piece).map_err(trouble)?;
            if !coded.is_empty() {
                return Ok(Some(coded));
            }
        }
    }
}

/// Returns a body of `content` in pieces, by which progress is seen.
fn in_pieces(mut content: Bytes) -> Body {
    Body::Stream(Box::pin(iter(std::iter::from_fn(move || {
        let piece = content.split_to(content.len().min(PIECE));
        (!piece.is_empty()).then_some(Ok(piece))
    }))))
}

/// Sends the `len` bytes of `body`, once, in `coding` if that pays, and returns the answer. When `gone` ends, nobody waits for it any more.
///
/// # Errors
/// As [`Store::write`](cache_core::Store::write); the server has not got all of it then.
///
/// # Cancel safety
/// Dropping the future closes the connection; the server may have got everything.
pub(crate) async fn stream(
    server: &Server,
    path: &str,
    digest: Digest,
    len: u64,
    body: Body,
    coding: Option<Coding>,
    gone: oneshot::Receiver<()>,
) -> Result<Answer> {
    let part = Part {
        method: Method::PUT,
        path,
        headers: HeaderMap::new(),
        digest,
        len,
        hasher: Hasher::new(digest.function()),
        coding,
    };
    send(server, part, body, &mut gone.fuse()).await.map_err(|failure| failure.error)
}

/// The end of some content, and the request that it goes with.
pub(crate) struct Part<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) headers: HeaderMap,
    /// Of the whole content.
    pub(crate) digest: Digest,
    pub(crate) len: u64,
    /// It has seen everything before the part.
    pub(crate) hasher: Hasher,
    /// How it is coded if that pays.
    pub(crate) coding: Option<Coding>,
}

/// Sends `body`, once, and returns the answer. When `gone` ends, nobody waits for it any more.
///
/// # Errors
/// As [`stream`].
///
/// # Cancel safety
/// As [`stream`].
pub(crate) async fn send(
    server: &Server,
    part: Part<'_>,
    body: Body,
    gone: &mut Fuse<oneshot::Receiver<()>>,
) -> Result<Answer, Failure> {
    let Part { method, path, headers, digest, len, hasher, coding } = part;
    let rest = len.saturating_sub(hasher.len());
    let body = match body {
        Body::Bytes(content) => in_pieces(content),
        other => other,
    };
    let (coding, body) = match coding {
        None => (None, body),
        Some(coding) => tokio::select! {
            sampled = coded::sampled(coding, body) => {
                let (pays, body) = sampled.map_err(Failure::lasting)?;
                (Some(coding).filter(|_| pays), body)
            }
            _ = &mut *gone => return Err(abandoned(server)),
        },
    };
    let encoder = coding.and_then(|coding| Encoder::new(coding, rest).ok());
    let is_coded = encoder.is_some();
    let shared = Arc::new(Shared::default());
    let sending = Sending {
        body,
        encoder,
        digest,
        len,
        hasher,
        held: None,
        is_done: false,
        shared: Arc::clone(&shared),
    };
    let pieces = try_unfold(sending, |mut sending| async move {
        match sending.next_coded().await {
            Ok(piece) => Ok(piece.map(|piece| (piece, sending))),
            Err(error) => {
                *sending.shared.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                // The connection is cut, and the server knows from the length that something is missing.
                Err(io::Error::other("the content is not what was announced"))
            }
        }
    });
    let body = reqwest::Body::wrap_stream(pieces);
    let mut request = server.request(method.clone(), path, Some(body))?;
    request.headers_mut().extend(headers);
    match coding.filter(|_| is_coded) {
        Some(coding) => request.headers_mut().extend(coded::headers(coding, rest)),
        None => drop(request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(rest))),
    }
    let stall = server.options.stall;
    let mut ticks = interval_at(Instant::now() + stall, stall);
    let mut before = None;
    let mut waited = Duration::ZERO;
    let mut exchange = std::pin::pin!(server.exchange(request));
    let answer = loop {
        tokio::select! {
            answer = &mut exchange => break answer,
            _ = &mut *gone => {
                let state = &shared.state;
                if state.compare_exchange(OPEN, ABANDONED, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                    return Err(abandoned(server));
                }
            }
            _ = ticks.tick() => {
                let now = (shared.sent.load(Ordering::SeqCst), shared.state.load(Ordering::SeqCst));
                if before == Some(now) && !shared.is_waiting.load(Ordering::SeqCst) {
                    return Err(server.passing("it takes nothing of an upload for too long"));
                }
                before = Some(now);
                if !shared.is_waiting.load(Ordering::SeqCst) {
                    waited += stall;
                }
                if waited > server.options.patience(now.0) {
                    return Err(Failure::lasting(server.unavailable("it takes an upload too slowly")));
                }
            }
        }
    };
    if let Some(error) = shared.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(Failure::lasting(error));
    }
    server.expected(answer?, &method, len)
}

fn abandoned(server: &Server) -> Failure {
    Failure::lasting(server.unavailable("the upload was abandoned"))
}
