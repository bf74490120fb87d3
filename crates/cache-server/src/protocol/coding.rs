//! Contents that are coded on their way: sent compressed, and answered compressed to those who say that they read that.
//!
//! What is stored is the content itself: its digest is that of the uncompressed bytes, and other protocols share it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use cache_core::coding::{Coding, Decoder, Encoder};
use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::reply::Refusal;
use crate::vault::Unreadable;

/// Says how long a content is when it is not coded. The name is bazel-remote's.
pub(super) const SIZE: HeaderName = HeaderName::from_static("x-digest-sizebytes");
/// Contents below this many bytes fit in one packet of the network either way.
const WORTH_IT: u64 = 1 << 10;
/// Bytes that are coded at a time.
const BLOCK: usize = 128 << 10;
/// Answers that are coded at a time, over all servers of the process; further ones are sent as they are.
static ENCODERS: Semaphore = Semaphore::const_new(32);
/// MiB of windows of all coded uploads that arrive at a time, over all servers of the process; further ones wait.
static WINDOWS: Semaphore = Semaphore::const_new(128);

/// Returns how an upload is coded, if it is.
///
/// # Errors
/// If it is in no coding of `known`.
pub(super) fn of_upload(headers: &HeaderMap, known: &[Coding]) -> Result<Option<Coding>, Refusal> {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    let (coding, more) = (codings.next(), codings.next());
    let Some(coding) = coding else { return Ok(None) };
    let name = coding.to_str().ok().filter(|_| more.is_none());
    if name.is_some_and(|name| name.is_empty() || name.eq_ignore_ascii_case("identity")) {
        return Ok(None);
    }
    let coding = name.and_then(Coding::named).filter(|coding| known.contains(coding));
    coding.map(Some).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|coding| coding.name()).collect();
        let what = format!("the content encodings that are known here: {}", names.join(", "));
        Refusal::new(StatusCode::BAD_REQUEST, what)
    })
}

/// Returns the length that a coded upload has when it is not.
pub(super) fn announced(headers: &HeaderMap) -> Result<u64, Refusal> {
    let size = headers.get(SIZE).and_then(|size| size.to_str().ok());
    size.and_then(|size| size.parse().ok()).ok_or_else(|| {
        let why = "a compressed upload needs its uncompressed length as X-Digest-SizeBytes";
        Refusal::new(StatusCode::BAD_REQUEST, why)
    })
}

/// Returns whether a header lists `wanted`, and does not list it as refused.
pub(super) fn lists(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| {
            let mut parts = item.split(';').map(str::trim);
            let is_wanted = parts.next().is_some_and(|value| value.eq_ignore_ascii_case(wanted));
            let refused = |part: &str| {
                let quality = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
                quality.and_then(|quality| quality.parse::<f32>().ok()) == Some(0.0)
            };
            is_wanted && !parts.any(refused)
        })
}

/// Returns an answer of a whole content of `len` bytes coded, if its first piece promises that this pays; any other as it is. A
/// coded one is sent in chunks: its length is known only at its end.
pub(super) async fn encode(response: Response, coding: Coding, len: u64) -> Response {
    let whole = response.status() == StatusCode::OK && !response.headers().contains_key(CONTENT_ENCODING);
    if !whole || len < WORTH_IT {
        return response;
    }
    let Ok(permit) = ENCODERS.try_acquire() else { return response };
    let (mut parts, mut rest) = response.into_parts();
    let first = match rest.frame().await {
        Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        // It was logged where it happened, and there will be less than was announced.
        Some(Err(_)) | None => return Response::from_parts(parts, rest),
    };
    let begun = Begun { first, rest };
    let encoder = Some(coding).filter(|coding| coding.pays(&begun.first));
    let Some(Ok(encoder)) = encoder.map(|coding| Encoder::new(coding, len)) else {
        return Response::from_parts(parts, Body::new(begun));
    };
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    parts.headers.insert(SIZE, len.into());
    // These are of the content as it is.
    for name in [CONTENT_LENGTH, ETAG, ACCEPT_RANGES] {
        parts.headers.remove(name);
    }
    let body = Encoded { inner: begun, piece: Bytes::new(), encoder: Some(encoder), _permit: permit };
    Response::from_parts(parts, Body::new(body))
}

/// A body of which the first piece was looked at.
struct Begun {
    first: Bytes,
    rest: Body,
}

impl http_body::Body for Begun {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.first.is_empty() {
            return Pin::new(&mut this.rest).poll_frame(cx);
        }
        Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.first)))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, first) = (self.rest.size_hint(), self.first.len() as u64);
        rest.exact().map_or_else(SizeHint::default, |rest| SizeHint::with_exact(rest + first))
    }
}

/// A body on its way out.
struct Encoded {
    inner: Begun,
    /// What is still to be coded of the last piece.
    piece: Bytes,
    /// Nothing after the end.
    encoder: Option<Encoder>,
    _permit: SemaphorePermit<'static>,
}

impl http_body::Body for Encoded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        while this.piece.is_empty() && this.encoder.is_some() {
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => this.piece = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    this.encoder = None;
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => {
                    let end = this.encoder.take().map(Encoder::finish);
                    return Poll::Ready(end.map(|end| Ok(Frame::data(end?))));
                }
            }
        }
        let Some(encoder) = &mut this.encoder else { return Poll::Ready(None) };
        let block = this.piece.split_to(this.piece.len().min(BLOCK));
        let coded = encoder.push(&block).map(Frame::data);
        if coded.is_err() {
            this.encoder = None;
        }
        Poll::Ready(Some(coded.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.encoder.is_none()
    }
}

/// A coded upload as what it is when it is not.
pub(super) struct Decoded<B> {
    inner: B,
    coding: Coding,
    decoder: Decoder,
    _permit: SemaphorePermit<'static>,
}

impl<B> Decoded<B> {
    /// Waits for its turn, but not longer than `patience`. The window may have two to the power of `window` bytes, at least 1 MiB.
    pub(super) async fn new(
        inner: B,
        coding: Coding,
        window: u32,
        patience: Duration,
    ) -> Result<Self, Refusal> {
        let busy = || {
            let why = "the server has too many compressed uploads to do";
            Refusal::later(StatusCode::SERVICE_UNAVAILABLE, why, 1)
        };
        let turn = tokio::time::timeout(patience, WINDOWS.acquire_many(1 << window.saturating_sub(20))).await;
        let permit = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        let decoder = Decoder::new(coding, window).map_err(|_| busy())?;
        Ok(Self { inner, coding, decoder, _permit: permit })
    }
}

impl<B> http_body::Body for Decoded<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let fail = |why| Poll::Ready(Some(Err(BoxError::from(Unreadable(why)))));
        loop {
            match this.decoder.take() {
                Ok(Some(block)) => return Poll::Ready(Some(Ok(Frame::data(block)))),
                Ok(None) => {}
                Err(_) => {
                    return fail(match this.coding {
                        Coding::Zstd => {
                            "the content is not zstd, or has too large a window; nothing was stored"
                        }
                        Coding::Lz4 => {
                            "the content is not lz4 in independent blocks of up to 256 KiB; nothing was stored"
                        }
                    });
                }
            }
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => this.decoder.push(frame.into_data().unwrap_or_default()),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None if this.decoder.is_open() => {
                    return fail("the compressed content ends too early; nothing was stored");
                }
                None => return Poll::Ready(None),
            }
        }
    }
}
