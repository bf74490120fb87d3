//! How a verb ends when it does not end well: an exit code, and at most one sentence.

use std::fmt::Display;
use std::io;

use crate::output;

/// The exit code of everything that goes wrong while a verb works; of a miss and of damage found, too.
pub(crate) const FAILED: i32 = 1;
/// The exit code of bad usage: the same call cannot work however often it is tried.
pub(crate) const USAGE: i32 = 2;
/// What `run` answers when it refuses before the command starts. The shells leave this code to such wrappers.
pub(crate) const REFUSED: i32 = 125;

/// The end of a verb.
#[derive(Debug)]
pub(crate) struct Failure {
    code: i32,
    message: Option<String>,
}

pub(crate) type Result<T = (), E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Ends with `code` and without a word.
    pub(crate) fn quiet(code: i32) -> Self {
        Self { code, message: None }
    }

    pub(crate) fn failed(message: impl Display) -> Self {
        Self { code: FAILED, message: Some(message.to_string()) }
    }

    pub(crate) fn usage(message: impl Display) -> Self {
        Self { code: USAGE, message: Some(message.to_string()) }
    }

    /// Returns the same failure with another exit code, unless it is the quiet end of a reader that went away.
    pub(crate) fn with_code(self, code: i32) -> Self {
        if self.message.is_none() { self } else { Self { code, ..self } }
    }

    /// Says what there is to say and returns the exit code.
    pub(crate) fn report(&self) -> i32 {
        if let Some(message) = &self.message {
            output::complain(message);
        }
        self.code
    }

    pub(crate) fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }
}

impl From<io::Error> for Failure {
    /// Takes an error of our standard output. A reader that has seen enough, as in `| head`, is no failure.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::quiet(0),
            _ => Self::failed(format_args!("cannot write to standard output: {error}")),
        }
    }
}

impl From<cache_core::Error> for Failure {
    fn from(error: cache_core::Error) -> Self {
        Self::failed(sentence(&error))
    }
}

/// Returns `error` in one sentence, with what can be done about it by this command.
pub(crate) fn sentence(error: &cache_core::Error) -> String {
    match error {
        cache_core::Error::NewerFormat { .. } => {
            format!("{error}; use that version, or name another directory with --dir")
        }
        other => other.to_string(),
    }
}
