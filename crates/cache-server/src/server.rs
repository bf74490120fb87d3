//! The server: it listens, serves, and stops.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::Store;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::answers::Answers;
use crate::app::{App, Peer};
use crate::connection::Connection;
use crate::counters::add;
use crate::listen::{Listeners, Stream};
use crate::settings::Settings;
use crate::vault::{Spool, Vault};
use crate::{Control, Listen, ServerError, ServerOptions};

/// How long to wait after the system refused to accept a connection, most often because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What a connection beyond the limit reads before it is closed. It is sent without waiting, or not at all.
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A cache server that listens already. Clients that connect before it runs wait.
#[derive(Debug)]
pub struct Server {
    listeners: Listeners,
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
    /// [`ServerError::Open`] if others could reach it and need no credential, and if an address, the certificates or the spool
    /// directory cannot be used.
    ///
    /// # Cancel safety
    /// Dropping the future stops listening.
    pub async fn bind(options: ServerOptions, store: Arc<dyn Store>) -> Result<Self, ServerError> {
        options.check(&options.listen)?;
        let settings = Settings::new(options)?;
        let ServerOptions { listen, spool_dir, limits, timeouts, .. } = &settings.options;
        let spool = Spool::open(spool_dir.as_deref(), limits.spool_bytes, timeouts.body)?;
        let vault = Vault::new(store, spool, timeouts);
        let listeners = Listeners::bind(listen).await?;
        Ok(Self { listeners, app: Arc::new(App::new(settings, vault)) })
    }

    /// Returns where the server listens, in the order of [`ServerOptions::listen`], with the ports that were taken.
    pub fn local_addrs(&self) -> &[Listen] {
        self.listeners.addresses()
    }

    /// Returns the first TCP address that the server listens on, if there is any.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addrs().iter().find_map(Listen::tcp)
    }

    /// Returns what changes the server while it runs.
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.app), self.local_addrs().to_vec())
    }

    /// Serves until `shutdown` is ready. Then it stops accepting, lets requests under way end for as long as
    /// [`Timeouts::drain`](crate::Timeouts::drain) says, cuts off the rest, and flushes the store.
    ///
    /// # Cancel safety
    /// Dropping the future cuts off all connections. What was acknowledged is stored.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Drained {
        let Self { mut listeners, app } = self;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        for address in listeners.addresses() {
            tracing::debug!(%address, store = app.vault.store().name(), "serving");
        }
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = tasks.join_next() => {}
                accepted = listeners.accept() => match accepted {
                    Err(error) => pause(&error).await,
                    Ok((stream, peer)) => match app.connections.try_enter() {
                        None => {
                            add(&app.totals.turned_away, 1);
                            turn_away(&stream);
                        }
                        Some(slot) => {
                            let connection = Connection {
                                peer: Peer { address: peer, answers: Answers::default() },
                                app: Arc::clone(&app),
                                stop: stopped.clone(),
                                _slot: slot,
                            };
                            tasks.spawn(connection.serve(stream));
                        }
                    },
                },
            }
        }
        drop(listeners);
        app.stopping.store(true, Ordering::Relaxed);
        let _ = stop.send(true);
        let patience = app.settings().options.timeouts.drain;
        let drained = drain(tasks, patience).await;
        match tokio::time::timeout(patience, app.vault.store().flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the store could not be flushed"),
            Err(_) => tracing::error!(?patience, "the store was not flushed in time"),
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

fn turn_away(stream: &Stream) {
    // Whether it arrives is the client's luck: it is closed in any case.
    let _ = stream.try_write(BUSY);
}
