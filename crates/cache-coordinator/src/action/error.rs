//! Why an execution was not recorded.

use cache_core::RelPath;

use super::files::FileError;
use super::miss::Miss;

/// Why an execution was not recorded. It is as if it had not been: a build goes on without.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// An input is not as it was before the execution, so nobody knows which state was used.
    #[error("not recorded, as an input changed while it was used: {0}")]
    InputChanged(Miss),
    /// An output that was announced is not there.
    #[error("not recorded, as the output {path} was not made")]
    OutputMissing {
        /// Which one.
        path: RelPath,
    },
    /// There is no end to the outputs.
    #[error("not recorded, as there are more than {limit} outputs; name fewer files or smaller directories")]
    TooMany {
        /// How many there may be.
        limit: usize,
    },
    /// An output cannot be read.
    #[error("not recorded: {0}")]
    File(#[from] FileError),
    /// The store refused.
    #[error("not recorded: {0}")]
    Store(#[from] cache_core::Error),
    /// Looking at files ended before its time.
    #[error("not recorded, as looking at its files was interrupted; this is a mistake in the program")]
    Interrupted,
}
