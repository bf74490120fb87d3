//! What is told of a request when it is over.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use cache_core::Namespace;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body::{Body as _, Frame, SizeHint};
use tracing::{Span, field};

use crate::Protocol;
use crate::answers::Answer;
use crate::app::{App, Peer};
use crate::counters::add;
use crate::slots::Slot;

/// Bytes of a `traceparent`, in the only version that there is: <https://www.w3.org/TR/trace-context/#traceparent-header>.
const TRACEPARENT: usize = 55;

/// A request under way. When it is dropped, because the last byte of its answer is sent or because its client is gone, it is
/// counted, logged and no longer under way.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) protocol: Option<Protocol>,
    pub(crate) namespace: Option<Namespace>,
    /// Its place among the running.
    pub(crate) slot: Option<Slot>,
    app: Arc<App>,
    id: String,
    peer: Peer,
    method: Method,
    uri: Uri,
    /// The trace that it is a part of, as its client says.
    traceparent: Option<String>,
    started: Instant,
    /// Lasts as long as the request, for those who collect traces.
    span: Span,
    status: Option<StatusCode>,
    /// Bytes of content that were sent.
    bytes: u64,
    /// Whether all of the answer was sent.
    complete: bool,
    /// Whether the connection was ended because the answer was read too slowly.
    slow: bool,
}

impl Record {
    pub(crate) fn new(app: Arc<App>, id: String, peer: Peer, parts: &Parts) -> Self {
        let traceparent = traceparent(&parts.headers);
        let span = tracing::info_span!(
            target: "vitte_cache::request",
            parent: None,
            "request",
            id,
            method = %parts.method,
            traceparent,
            protocol = field::Empty,
            namespace = field::Empty,
            status = field::Empty,
            bytes = field::Empty,
            micros = field::Empty,
        );
        Self {
            protocol: None,
            namespace: None,
            slot: None,
            app,
            id,
            peer,
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            traceparent: traceparent.map(str::to_owned),
            started: Instant::now(),
            span,
            status: None,
            bytes: 0,
            complete: false,
            slow: false,
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Returns `response` as it is to be sent. The request is over when that is done, or takes longer than `patience` allows.
    pub(crate) fn follow(mut self, response: Response, patience: Duration) -> Response {
        self.status = Some(response.status());
        if response.body().is_end_stream() || self.method == Method::HEAD {
            self.complete = true;
            return response;
        }
        let answer = self.peer.answers.begin(patience);
        response.map(|body| Body::new(Sending { body, answer, record: self }))
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        add(&self.app.totals.slow_readers, u64::from(self.slow));
        if let Some(protocol) = self.protocol {
            self.app.totals.of(protocol).durations.of(&self.method).add(duration);
        }
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let status = self.status.map(|status| status.as_u16());
        let protocol = self.protocol.map(Protocol::name);
        let namespace = self.namespace.as_ref().map(Namespace::as_str);
        self.span.record("protocol", protocol);
        self.span.record("namespace", namespace);
        self.span.record("status", status);
        self.span.record("bytes", self.bytes);
        self.span.record("micros", micros);
        tracing::info!(
            target: "vitte_cache::access",
            parent: None,
            id = self.id,
            peer = %self.peer.address,
            method = %self.method,
            path = self.uri.path(),
            protocol,
            namespace,
            status,
            bytes = self.bytes,
            complete = self.complete,
            slow = self.slow,
            micros,
            traceparent = self.traceparent,
        );
    }
}

/// Returns the `traceparent` of a request, unless it is something else: it is written to logs.
fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    let is_one = value.len() == TRACEPARENT
        && value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    is_one.then_some(value)
}

/// The body of an answer, with the record of its request.
#[derive(Debug)]
struct Sending {
    body: Body,
    answer: Answer,
    record: Record,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.record.slow = self.answer.is_late();
    }
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let len = frame.data_ref().map_or(0, |data| data.len() as u64);
                this.record.bytes += len;
                this.record.complete = this.body.is_end_stream();
                // The last piece is the connection's.
                if !this.record.complete {
                    this.answer.sends(len);
                }
            }
            Poll::Ready(None) => this.record.complete = true,
            Poll::Ready(Some(Err(_))) => {}
            Poll::Pending => this.answer.pauses(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
