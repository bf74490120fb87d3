//! Why a verb ended early.

use std::fmt;
use std::io;
use std::path::Path;

pub(crate) type Result<T = ()> = std::result::Result<T, Stop>;

/// Why a verb ended early. `ci` lists the first as failed and the second as skipped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Something was checked, or tried, and is wrong.
    Failed(String),
    /// Nothing could be checked, because a tool is not there.
    Absent(String),
}

impl Stop {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    pub(crate) fn absent(message: impl Into<String>) -> Self {
        Self::Absent(message.into())
    }

    /// Returns a closure for `map_err` that says what could not be done, and to which path.
    pub(crate) fn io<'a>(action: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |error| Self::Failed(format!("cannot {action} {}: {error}", path.display()))
    }

    /// Returns 1 for a failure, 2 where something has to be installed first.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Absent(_) => 2,
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(message) | Self::Absent(message) => f.write_str(message),
        }
    }
}
