//! Why inputs cannot be listed or digested.

use std::io;
use std::path::{Path, PathBuf};

use super::MAX_INPUTS;

/// Why inputs cannot be listed or digested. Each says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// A pattern makes no sense.
    #[error("the input pattern `{pattern}` {why}")]
    BadPattern {
        /// As it was given.
        pattern: String,
        /// What is wrong, and what to write instead.
        why: String,
    },
    /// A path that was named literally is not there.
    #[error("the input `{pattern}` does not exist in {}; create it, correct the name, or write a glob, which may match nothing", cwd.display())]
    NotFound {
        /// As it was given.
        pattern: String,
        /// What it was looked up from.
        cwd: PathBuf,
    },
    /// Something has no content that could be digested.
    #[error("the input {} is a FIFO, socket or device, which has no content; exclude it with -i '!{}'", path.display(), path.display())]
    Special {
        /// Where it is.
        path: PathBuf,
    },
    /// A file or directory may not be read.
    #[error("permission denied for the input {}; make it readable, or exclude it with -i '!{}'", path.display(), path.display())]
    Denied {
        /// Where it is.
        path: PathBuf,
    },
    /// The system reports something else.
    #[error("cannot read the input {}: {source}; exclude it with -i '!{}' if the command does not read it", path.display(), path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file did not stay the same while it was read.
    #[error("the input {} keeps changing while it is read; run again when it is complete, or exclude it with -i '!{}'", path.display(), path.display())]
    KeepsChanging {
        /// Which file.
        path: PathBuf,
    },
    /// There is no end to the inputs.
    #[error(
        "the input patterns match more than {MAX_INPUTS} files; exclude what the command does not read, such as -i '!**/node_modules'"
    )]
    TooMany,
    /// A file name cannot be part of a key.
    #[error("an input has a name that cannot be part of a key: {0}; rename or exclude it")]
    Path(#[from] cache_core::PathError),
    /// `@git:` does not work here.
    #[error("@git: cannot list the files below {}: {why}; use plain patterns there, or -i @git: inside a git checkout", path.display())]
    Git {
        /// Whose files were wanted.
        path: PathBuf,
        /// What git, or the attempt to start it, said.
        why: String,
    },
}

impl InputError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        if source.kind() == io::ErrorKind::PermissionDenied {
            return Self::Denied { path };
        }
        Self::Io { path, source }
    }

    pub(crate) fn pattern(pattern: &str, why: impl Into<String>) -> Self {
        Self::BadPattern { pattern: pattern.to_owned(), why: why.into() }
    }
}
