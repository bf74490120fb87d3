//! What a server goes by at one moment.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;
use tokio_rustls::TlsAcceptor;

use crate::{ServerError, ServerOptions, connection};

/// Options, and what is made of them once for all connections.
pub(crate) struct Settings {
    pub(crate) options: ServerOptions,
    pub(crate) builder: Builder<TokioExecutor>,
    pub(crate) tls: Option<TlsAcceptor>,
}

impl Settings {
    /// Returns the settings of `options`. It reads the certificates.
    pub(crate) fn new(options: ServerOptions) -> Result<Self, ServerError> {
        let tls = options.tls.as_ref().map(crate::TlsOptions::acceptor).transpose()?;
        Ok(Self { builder: connection::builder(&options), tls, options })
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.options.fmt(f)
    }
}

/// The settings that are in force. Whoever has begun with some ends with them.
#[derive(Debug)]
pub(crate) struct Current(RwLock<Arc<Settings>>);

impl Current {
    pub(crate) fn new(settings: Settings) -> Self {
        Self(RwLock::new(Arc::new(settings)))
    }

    pub(crate) fn get(&self) -> Arc<Settings> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self, settings: Settings) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }
}
