//! One connection, from its acceptance to its end.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use http::{Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::ServerOptions;
use crate::app::{App, Peer, answer};
use crate::counters::add;
use crate::idle::Idle;
use crate::listen::Stream;
use crate::sendfile::{Direct, Hope, Lane};
use crate::slots::Slot;

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

/// What somebody reads who speaks HTTP where HTTPS is spoken.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 55\r\nConnection: close\r\n\r\n\
    this port speaks TLS: the address begins with https://\n";

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

/// What serves one connection.
pub(crate) struct Connection {
    pub(crate) peer: Peer,
    pub(crate) app: Arc<App>,
    /// Changes when the server stops.
    pub(crate) stop: watch::Receiver<bool>,
    /// Its place among those that are allowed at a time.
    pub(crate) _slot: Slot,
}

impl Connection {
    /// Serves the connection until it ends, or until the server stops and its requests are done.
    pub(crate) async fn serve(mut self, stream: Stream) {
        let app = Arc::clone(&self.app);
        app.totals.connections.fetch_add(1, Ordering::Relaxed);
        add(&app.totals.accepted, 1);
        let _open = Open(&app);
        let settings = app.settings();
        let timeouts = settings.options.timeouts;
        let tls = settings.tls.as_ref().filter(|_| matches!(stream, Stream::Tcp(_)));
        let result = match tls {
            None => {
                let stream = Direct::new(stream);
                let lane = stream.lane();
                let stream = Idle::new(stream, timeouts.header, timeouts.idle, self.peer.answers.clone());
                self.talk(stream, &settings.builder, Some(lane)).await
            }
            Some(tls) => {
                let shaken = tokio::select! {
                    shaken = tokio::time::timeout(timeouts.header, shake_hands(tls, stream)) => shaken,
                    _ = self.stop.changed() => return,
                };
                let shaken = shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                match shaken {
                    Ok(stream) => {
                        let stream =
                            Idle::new(stream, timeouts.header, timeouts.idle, self.peer.answers.clone());
                        self.talk(stream, &settings.builder, None).await
                    }
                    Err(error) => {
                        add(&app.totals.handshakes_failed, 1);
                        Err(error.into())
                    }
                }
            }
        };
        if let Err(error) = result {
            tracing::debug!(peer = %self.peer.address, error, "a connection failed");
        }
    }

    /// Speaks HTTP until the connection ends, or until the server stops and its requests are done. Files are sent through the
    /// `lane` where there is one.
    pub(crate) async fn talk<S>(
        &mut self,
        stream: S,
        builder: &Builder<TokioExecutor>,
        lane: Option<Arc<Lane>>,
    ) -> Result<(), Box<dyn Error + Send + Sync>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (peer, app) = (self.peer.clone(), Arc::clone(&self.app));
        let service = service_fn(move |request: Request<Incoming>| {
            let (peer, app) = (peer.clone(), Arc::clone(&app));
            // HTTP/2 has frames of its own.
            let lane = lane.clone().filter(|_| request.version() < Version::HTTP_2);
            async move {
                let response = answer(app, peer, request.map(Body::new)).await;
                if let Some(lane) = lane {
                    Hope::fulfil(&response, &lane);
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            result = connection.as_mut() => result,
            // An error means that the server is gone, which is as good a reason to stop.
            _ = self.stop.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    }
}

/// Begins TLS. Who begins without it is told so.
async fn shake_hands(tls: &TlsAcceptor, stream: Stream) -> io::Result<TlsStream<Stream>> {
    if stream.first_byte().await?.is_some_and(|byte| byte.is_ascii_uppercase()) {
        // Whether it arrives is the client's luck: it is closed in any case.
        let _ = stream.try_write(PLAIN);
        return Err(io::Error::other("it began in clear text where TLS is spoken"));
    }
    tls.accept(stream).await
}

/// Counts a connection as open until it is dropped.
struct Open<'a>(&'a App);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.totals.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
