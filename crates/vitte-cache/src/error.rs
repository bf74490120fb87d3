//! What can go wrong with a cache, apart from misses.

#[cfg(feature = "fs")]
use std::path::PathBuf;

use crate::encoding::EncodeError;

/// The result of a cache's operation. A miss is not an error: it is `Ok(None)`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a cache could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk or the directory does not allow it.
    #[error(transparent)]
    Store(#[from] cache_core::Error),
    /// The name of the namespace is none.
    #[error(transparent)]
    Namespace(#[from] cache_core::NamespaceError),
    /// Values of this type cannot be cached. It is the type, not this value: change the type.
    #[error("{0}")]
    Type(String),
    /// The cache was opened to be read only.
    #[cfg(feature = "fs")]
    #[error("the cache in {} is open for reading only; open it without `read_only` to change it", dir.display())]
    ReadOnly {
        /// Where the cache is.
        dir: PathBuf,
    },
    /// The cache was closed.
    #[error("{cache} is closed; open it again")]
    Closed {
        /// Which cache: `the cache in DIRECTORY`, or `the cache in memory`.
        cache: String,
    },
}

impl From<EncodeError> for Error {
    fn from(error: EncodeError) -> Self {
        Self::Type(error.to_string())
    }
}
