//! A log that goes on when somebody has put a new store into the place of its own.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Log, Settings};

/// An open log, which is opened again when its store is no more the one in its directory: somebody has deleted the store
/// while this process was running.
#[derive(Debug)]
pub(crate) struct Handle {
    log: RwLock<Arc<Log>>,
    root: PathBuf,
    settings: Settings,
}

impl Handle {
    /// Takes over an open log.
    pub(crate) fn new(log: Arc<Log>, root: PathBuf, settings: Settings) -> Self {
        Self { log: RwLock::new(log), root, settings }
    }

    /// Opens the log in `root`, and makes it if it is absent.
    pub(crate) fn open_or_create(root: PathBuf, settings: Settings) -> io::Result<Self> {
        let log = Log::open_or_create(&root, settings.clone())?;
        Ok(Self { log: RwLock::new(log), root, settings })
    }

    /// Returns the log as it was last opened.
    pub(crate) fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `work`, and once more on the new store if the old one proves to be gone.
    pub(crate) fn run<T>(&self, work: impl Fn(&Arc<Log>) -> io::Result<T>) -> io::Result<T> {
        let log = self.log();
        match work(&log) {
            Err(e) if is_made_anew(&e) => {
                self.renew(&log)?;
                work(&self.log())
            }
            done => done,
        }
    }

    /// Sees to it that what comes next is done on the new store, if `error` says that the old one is gone.
    pub(crate) fn heal(&self, error: &io::Error) {
        if is_made_anew(error) {
            // What comes next fails as well then, and says why.
            let _ = self.renew(&self.log());
        }
    }

    fn renew(&self, old: &Arc<Log>) -> io::Result<()> {
        let mut log = self.log.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been faster.
        if Arc::ptr_eq(&log, old) && !self.settings.read_only {
            *log = Log::open_or_create(&self.root, self.settings.clone())?;
        }
        Ok(())
    }
}

/// Returns the error of a process whose store another one has replaced: what it writes would be in nobody's way, and
/// nobody's help.
pub(super) fn made_anew() -> io::Error {
    io::Error::other(MadeAnew)
}

fn is_made_anew(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(inner) if inner.is::<MadeAnew>())
}

#[derive(Debug)]
struct MadeAnew;

impl std::fmt::Display for MadeAnew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("another process has made the store anew; open it again")
    }
}

impl std::error::Error for MadeAnew {}
