//! Changes while the server runs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::app::App;
use crate::settings::Settings;
use crate::{Listen, ServerError, ServerOptions};

/// Changes a server while it runs, from anywhere.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    app: Arc<App>,
    listen: Vec<Listen>,
    /// One reload at a time.
    turn: Mutex<()>,
}

/// What became of new options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Reloaded {
    /// Options that differ and stay as they are until the server starts again, by name.
    pub needs_restart: Vec<&'static str>,
}

impl Control {
    pub(crate) fn new(app: Arc<App>, listen: Vec<Listen>) -> Self {
        Self(Arc::new(Inner { app, listen, turn: Mutex::default() }))
    }

    /// Takes over `options`: rights, protocols, limits and timeouts of requests for those that begin from now on; certificates,
    /// streams and the timeouts `header` and `idle` for new connections. Certificates are read anew also if nothing else has
    /// changed. Requests under way end as they began.
    ///
    /// It reads small files on the calling thread.
    ///
    /// # Errors
    /// As [`Server::bind`](crate::Server::bind). Nothing has changed then.
    pub fn reload(&self, options: ServerOptions) -> Result<Reloaded, ServerError> {
        let _turn = self.0.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.take_over(options)
    }

    /// Reads the files of the certificates anew.
    ///
    /// # Errors
    /// [`ServerError::Tls`] if they cannot be used. The ones that were read before stay in force then.
    pub fn reload_certificates(&self) -> Result<(), ServerError> {
        let _turn = self.0.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.take_over(self.0.app.settings().options.clone()).map(|_| ())
    }

    fn take_over(&self, mut options: ServerOptions) -> Result<Reloaded, ServerError> {
        let Inner { app, listen, .. } = &*self.0;
        // They have to be right for where the server listens, and for where it would after a restart.
        options.check(&options.listen)?;
        options.check(listen)?;
        let before = app.settings();
        let mut reloaded = Reloaded::default();
        if options.listen != before.options.listen {
            reloaded.needs_restart.push("listen");
            options.listen.clone_from(&before.options.listen);
        }
        if options.spool_dir != before.options.spool_dir {
            reloaded.needs_restart.push("spool_dir");
            options.spool_dir.clone_from(&before.options.spool_dir);
        }
        app.apply(Settings::new(options)?);
        tracing::debug!(needs_restart = ?reloaded.needs_restart, "took over new options");
        Ok(reloaded)
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("listen", &self.0.listen).finish_non_exhaustive()
    }
}
