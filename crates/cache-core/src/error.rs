//! What can go wrong with a store, by what the caller can do about it.

use std::io;

use crate::Digest;

/// The result of a store's operation. A miss is not an error: it is `Ok(None)`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused an operation.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted, on which path: "cannot read /home/me/.cache/vitte-cache/files-v1/format".
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// There is no room, although as much as possible was evicted. Nothing was stored.
    #[error("no room left in the cache at {place}: {why}")]
    Full {
        /// Which cache.
        place: String,
        /// Which limit was met and what to do.
        why: String,
    },
    /// The content does not have the digest that it was announced with. Nothing was stored.
    #[error("the content has the digest {found}, not {expected} as announced; it was not stored")]
    DigestMismatch {
        /// What was announced.
        expected: Digest,
        /// What arrived.
        found: Digest,
    },
    /// The content does not have the length that it was announced with. Nothing was stored.
    #[error("the content has {found} bytes, not {expected} as announced; it was not stored")]
    LengthMismatch {
        /// What was announced.
        expected: u64,
        /// What arrived; at least this much, if it was too long.
        found: u64,
    },
    /// Something is larger than the store or the caller allows.
    #[error("{what} has {size} bytes, and the limit is {limit}")]
    TooLarge {
        /// What it is.
        what: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// An entry names a blob that is not there, so it was not stored.
    #[error("the entry names the blob {digest}, which is not in the store; write blobs before the entry")]
    Incomplete {
        /// The first blob that is missing.
        digest: Digest,
    },
    /// The place is not safe to use: somebody else could have put wrong bytes there.
    #[error("{what}")]
    Untrusted {
        /// Which place, why, and what to do.
        what: String,
    },
    /// A newer version of this program made it; it is left alone.
    #[error("{what} was made by a newer version (format {found}, this one knows {known}); it is left alone")]
    NewerFormat {
        /// What it is.
        what: String,
        /// The version found.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The store cannot do this, as its capabilities say.
    #[error("{store} cannot {operation}")]
    Unsupported {
        /// Which store.
        store: String,
        /// What it cannot do.
        operation: &'static str,
    },
    /// The store is out of reach for now.
    #[error("{store} is unavailable: {why}")]
    Unavailable {
        /// Which store.
        store: String,
        /// What happened.
        why: String,
    },
    /// The store was closed.
    #[error("{store} is closed")]
    Closed {
        /// Which store.
        store: String,
    },
}

impl Error {
    /// Returns an [`Error::Io`]; made for `map_err(|e| Error::io("cannot read", path, e))`.
    pub fn io(what: &str, path: &std::path::Path, source: io::Error) -> Self {
        Self::Io { what: format!("{what} {}", path.display()), source }
    }

    /// Returns whether the same call may succeed later although nobody changed anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::Interrupted
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::WouldBlock
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
            ),
            _ => false,
        }
    }
}
