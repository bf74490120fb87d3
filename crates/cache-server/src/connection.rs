//! One connection, from its acceptance to its end.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tower::ServiceExt;

use crate::ServerOptions;
use crate::app::{App, Peer};
use crate::idle::Idle;

/// Bytes of a connection's buffer for what comes in; its header must fit.
const BUFFER: usize = 64 << 10;
/// Most headers of a request.
const MAX_HEADERS: usize = 100;
/// Bytes of all headers of a request over HTTP/2.
const MAX_HEADER_LIST: u32 = 32 << 10;
/// Bytes that a client may send ahead on one stream, and on all of a connection. With small ones a distant client is slow.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes that are waiting to be sent on one stream.
const SEND_BUFFER: usize = 256 << 10;
/// Streams that a client may open and reset before it is cut off ("rapid reset").
const MAX_RESETS: usize = 64;

/// Returns how connections are served.
pub(crate) fn builder(options: &ServerOptions) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.timeouts.header)
        .max_buf_size(BUFFER)
        .max_headers(MAX_HEADERS)
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.limits.streams)
        .max_header_list_size(MAX_HEADER_LIST)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_RESETS);
    builder
}

/// Serves a connection until it ends, or until `stop` changes and its requests are done.
pub(crate) async fn serve(
    stream: TcpStream,
    peer: Peer,
    app: Arc<App>,
    router: Router,
    builder: Builder<TokioExecutor>,
    mut stop: watch::Receiver<bool>,
    permit: OwnedSemaphorePermit,
) {
    // Answers are small and somebody waits for each; that they may come late is no reason to refuse a connection.
    let _ = stream.set_nodelay(true);
    let timeouts = app.options.timeouts;
    let io = TokioIo::new(Idle::new(stream, timeouts.header, timeouts.idle));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let router = router.clone();
        async move {
            Ok::<_, Infallible>(
                router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {}),
            )
        }
    });
    app.totals.connections.fetch_add(1, Ordering::Relaxed);
    let _open = Open(&app);
    let connection = builder.serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        // An error means that the server is gone, which is as good a reason to stop.
        _ = stop.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(peer = %peer.0, error, "a connection failed");
    }
    drop(permit);
}

/// Counts a connection as open until it is dropped.
struct Open<'a>(&'a App);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.totals.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
