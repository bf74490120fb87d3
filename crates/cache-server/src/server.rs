//! The server: it listens, serves, and stops.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::Store;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::app::{App, Peer};
use crate::vault::{Spool, Vault};
use crate::{ServerError, ServerOptions, connection};

/// How long to wait after the system refused to accept a connection, most often because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What a connection beyond the limit reads before it is closed. It is sent without waiting, or not at all.
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A cache server that listens already. Clients that connect before it runs wait.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Drained {
    /// Connections whose requests were not done in time, and which were cut off.
    pub cut_off: usize,
}

impl Server {
    /// Returns a server of `store` that listens. It has to be called inside a tokio runtime with its drivers enabled.
    ///
    /// # Errors
    /// [`ServerError::Open`] if others could reach it and need no credential, and if the address or the spool directory cannot
    /// be used.
    ///
    /// # Cancel safety
    /// Dropping the future stops listening.
    pub async fn bind(options: ServerOptions, store: Arc<dyn Store>) -> Result<Self, ServerError> {
        let address = options.listen;
        if options.rights.is_open()
            && !options.insecure_anonymous
            && !address.ip().to_canonical().is_loopback()
        {
            return Err(ServerError::Open { address });
        }
        let limits = options.limits;
        for (what, is_zero) in [
            ("the limit of connections", limits.connections == 0),
            ("the limit of requests", limits.requests == 0),
            ("the limit of streams", limits.streams == 0),
        ] {
            if is_zero {
                return Err(ServerError::Limit { what });
            }
        }
        let spool = Spool::open(options.spool_dir.as_deref(), limits.spool_bytes, options.timeouts.body)?;
        let failed = |source| ServerError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, app: Arc::new(App::new(options, Vault::new(store, spool))) })
    }

    /// Returns where the server listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is ready. Then it stops accepting, lets requests under way end for as long as
    /// [`Timeouts::drain`](crate::Timeouts::drain) says, cuts off the rest, and flushes the store.
    ///
    /// # Cancel safety
    /// Dropping the future cuts off all connections. What was acknowledged is stored.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Drained {
        let Self { listener, address, app } = self;
        let limit = app.options.limits.connections.min(Semaphore::MAX_PERMITS);
        let connections = Arc::new(Semaphore::new(limit));
        let (router, builder) = (Arc::clone(&app).router(), connection::builder(&app.options));
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        tracing::info!(%address, store = app.vault.store().name(), "serving");
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = tasks.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Err(error) => pause(&error).await,
                    Ok((stream, peer)) => match Arc::clone(&connections).try_acquire_owned() {
                        Err(_) => turn_away(&stream),
                        Ok(permit) => {
                            let (app, router, builder) = (Arc::clone(&app), router.clone(), builder.clone());
                            let peer = Peer(peer.ip().to_canonical());
                            tasks.spawn(connection::serve(stream, peer, app, router, builder, stopped.clone(), permit));
                        }
                    },
                },
            }
        }
        drop(listener);
        app.stopping.store(true, Ordering::Relaxed);
        let _ = stop.send(true);
        let drained = drain(tasks, app.options.timeouts.drain).await;
        if let Err(error) = app.vault.store().flush().await {
            tracing::error!(%error, "the store could not be flushed");
        }
        tracing::info!(cut_off = drained.cut_off, "stopped");
        drained
    }
}

async fn drain(mut tasks: JoinSet<()>, time: Duration) -> Drained {
    let all = async { while tasks.join_next().await.is_some() {} };
    let in_time = tokio::time::timeout(time, all).await.is_ok();
    let cut_off = if in_time { 0 } else { tasks.len() };
    tasks.shutdown().await;
    Drained { cut_off }
}

async fn pause(error: &io::Error) {
    // A client that went away before it was accepted is nobody's trouble.
    if error.kind() != io::ErrorKind::ConnectionAborted {
        tracing::warn!(%error, "cannot accept a connection");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

fn turn_away(stream: &TcpStream) {
    // Whether it arrives is the client's luck: it is closed in any case.
    let _ = stream.try_write(BUSY);
}
