//! zstd on the way, as bazel-remote has it: a content may be sent compressed, and is answered compressed to those who say that
//! they read that.
//!
//! What is stored is the content itself: its digest is that of the uncompressed bytes, and other protocols share it.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::Body;
use axum::response::Response;
use bytes::{Buf, Bytes};
use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::Frame;
use tokio::sync::{Semaphore, SemaphorePermit};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};
use zstd::stream::write::Encoder;

use crate::reply::Refusal;
use crate::vault::Unreadable;

/// Says how long a compressed upload is when it is not.
const SIZE: HeaderName = HeaderName::from_static("x-digest-sizebytes");
/// Contents below this many bytes fit in one packet of the network either way.
const WORTH_IT: u64 = 1 << 10;
/// Level of compression: the fastest of the usual ones, as it happens while somebody waits.
const LEVEL: i32 = 1;
/// Window of a compressed answer, as a power of two: with its tables, a compressor takes less than 1 MiB.
const WINDOW: u32 = 17;
/// Largest window of an upload, as a power of two: the 8 MiB that RFC 8878 asks of decoders (section 3.1.1.1.2).
const MAX_WINDOW: u32 = 23;
/// Bytes that are compressed at a time, or come out of a decompressor: one block of zstd.
const BLOCK: usize = 128 << 10;
/// Answers that are compressed at a time, over all servers of the process; further ones are sent as they are.
static COMPRESSORS: Semaphore = Semaphore::const_new(32);
/// Compressed uploads at a time, over all servers of the process; further ones wait. Each may take its window.
static DECOMPRESSORS: Semaphore = Semaphore::const_new(16);

/// Returns whether an upload is compressed.
///
/// # Errors
/// If it is compressed with anything but zstd.
pub(super) fn of_upload(headers: &HeaderMap) -> Result<bool, Refusal> {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    match (codings.next().map(HeaderValue::as_bytes), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"identity") || coding.is_empty() => Ok(false),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"zstd") => Ok(true),
        _ => Err(bad("zstd is the only content encoding that is known here")),
    }
}

/// Returns the length that a compressed upload has when it is not.
pub(super) fn announced(headers: &HeaderMap) -> Result<u64, Refusal> {
    let size = headers.get(SIZE).and_then(|size| size.to_str().ok());
    size.and_then(|size| size.parse().ok())
        .ok_or_else(|| bad("a compressed upload needs its uncompressed length as X-Digest-SizeBytes"))
}

fn bad(why: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, why)
}

/// Returns an answer of a whole content of `len` bytes compressed, any other as it is. A compressed one is sent in chunks: its
/// length is known only at its end.
pub(super) fn compress(response: Response, len: u64) -> Response {
    let whole = response.status() == StatusCode::OK && !response.headers().contains_key(CONTENT_ENCODING);
    if !whole || len < WORTH_IT {
        return response;
    }
    let Ok(permit) = COMPRESSORS.try_acquire() else { return response };
    let Ok(encoder) = encoder(len) else { return response };
    let (mut parts, inner) = response.into_parts();
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("zstd"));
    // These are of the content as it is.
    for name in [CONTENT_LENGTH, ETAG, ACCEPT_RANGES] {
        parts.headers.remove(name);
    }
    let body = Compressed { inner, piece: Bytes::new(), encoder: Some(encoder), _permit: permit };
    Response::from_parts(parts, Body::new(body))
}

fn encoder(len: u64) -> io::Result<Encoder<'static, Vec<u8>>> {
    let mut encoder = Encoder::new(Vec::new(), LEVEL)?;
    encoder.window_log(WINDOW)?;
    encoder.set_pledged_src_size(Some(len))?;
    Ok(encoder)
}

/// A body on its way out.
struct Compressed {
    inner: Body,
    /// What is still to be compressed of the last piece.
    piece: Bytes,
    /// Nothing after the end.
    encoder: Option<Encoder<'static, Vec<u8>>>,
    _permit: SemaphorePermit<'static>,
}

impl http_body::Body for Compressed {
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
                    return Poll::Ready(end.map(|end| Ok(Frame::data(end?.into()))));
                }
            }
        }
        let Some(encoder) = &mut this.encoder else { return Poll::Ready(None) };
        let block = this.piece.split_to(this.piece.len().min(BLOCK));
        // Flushed, so that something goes out for each block and nobody waits.
        let written = encoder.write_all(&block).and_then(|()| encoder.flush());
        if let Err(error) = written {
            this.encoder = None;
            return Poll::Ready(Some(Err(error.into())));
        }
        Poll::Ready(Some(Ok(Frame::data(std::mem::take(encoder.get_mut()).into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.encoder.is_none()
    }
}

/// A compressed upload as what it is when it is not.
pub(super) struct Decompressed<'a> {
    inner: &'a mut Body,
    decoder: Decoder<'static>,
    input: Bytes,
    /// Whether the decoder has output that did not fit.
    more: bool,
    /// Whether a frame of zstd has begun and not ended.
    open: bool,
    _permit: SemaphorePermit<'static>,
}

impl<'a> Decompressed<'a> {
    /// Waits for its turn, but not longer than `patience`.
    pub(super) async fn new(inner: &'a mut Body, patience: Duration) -> Result<Self, Refusal> {
        let busy = || {
            let why = "the server has too many compressed uploads to do";
            Refusal::later(StatusCode::SERVICE_UNAVAILABLE, why, 1)
        };
        let turn = tokio::time::timeout(patience, DECOMPRESSORS.acquire()).await;
        let permit = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        let mut decoder = Decoder::new().map_err(|_| busy())?;
        decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW)).map_err(|_| busy())?;
        Ok(Self { inner, decoder, input: Bytes::new(), more: false, open: false, _permit: permit })
    }
}

impl http_body::Body for Decompressed<'_> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let fail = |why| Poll::Ready(Some(Err(BoxError::from(Unreadable(why)))));
        loop {
            if this.more || !this.input.is_empty() {
                let mut block = Vec::with_capacity(BLOCK);
                let mut output = OutBuffer::around(&mut block);
                let mut input = InBuffer::around(&this.input);
                let Ok(expects) = this.decoder.run(&mut input, &mut output) else {
                    return fail(
                        "the content is not zstd, or needs a window of more than 8 MiB; nothing was stored",
                    );
                };
                let (taken, full) = (input.pos(), output.pos() == output.capacity());
                this.input.advance(taken);
                this.open = expects != 0;
                this.more = this.open && full;
                if !block.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(block.into()))));
                }
                continue;
            }
            match ready!(Pin::new(&mut *this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => this.input = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None if this.open => return fail("the zstd content ends too early; nothing was stored"),
                None => return Poll::Ready(None),
            }
        }
    }
}
