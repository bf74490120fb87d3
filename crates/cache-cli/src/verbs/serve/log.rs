//! The log, on standard error.

mod writer;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use self::writer::Writer;
use crate::config::Config;
use crate::failure::{Failure, Result};
use crate::output::Color;
use crate::settings::Id;

/// What is logged of everything.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The log of this process.
#[derive(Debug)]
pub(super) struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    writer: Writer,
}

impl Log {
    /// Begins to log as the settings say.
    pub(super) fn start(config: &Config) -> Result<Self> {
        let (filter, handle) = reload::Layer::new(filter(config)?);
        let writer = Writer::start().map_err(|error| {
            Failure::failed(format_args!("cannot start a thread: {error}; allow this user more of them"))
        })?;
        let lines = tracing_subscriber::fmt::layer().with_writer(writer.clone());
        let lines = if config.word(Id::ServerLog) == "json" {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        } else {
            lines.with_ansi(Color::named(config.word(Id::Color)).stderr().is_on()).boxed()
        };
        tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(Failure::failed)?;
        Ok(Self { filter: handle, writer })
    }

    /// Changes what is logged.
    pub(super) fn set(&self, filter: EnvFilter) {
        // It fails only if the log is gone, at the very end.
        let _ = self.filter.reload(filter);
    }

    /// Waits until everything is written, but not for a reader that does not read.
    pub(super) fn finish(&self) {
        self.writer.wait();
    }
}

/// Returns what is to be logged.
///
/// # Errors
/// If the setting is not understood.
pub(super) fn filter(config: &Config) -> Result<EnvFilter> {
    let text = config.word(Id::ServerLogLevel);
    // A word that is no level would be taken for the name of a part, and everything else would not be logged.
    let is_clear = |part: &str| part.contains('=') || LEVELS.contains(&part.trim());
    let filter = text.split(',').all(is_clear).then(|| EnvFilter::try_new(text).ok()).flatten();
    filter.ok_or_else(|| {
        Failure::usage(format_args!(
            "{}: `{text}` is not allowed: write error, warn, info, debug or trace, or parts such as \
             info,vitte_cache::access=off",
            config.origin(Id::ServerLogLevel)
        ))
    })
}
