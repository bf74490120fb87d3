//! Runs a command, passes its output on as it comes, and records it.
//!
//! To whoever watches, the command behaves as if it ran alone: its output appears at once and on the stream it was
//! written to, a closed output closes its own, signals reach it, and its exit code is the result.
//!
//! # What cannot be the same
//! - Standard output and standard error of the command are pipes, not the terminal.
//! - Which of two streams was written to first is seen only if some time lies between; bytes that wait in both pipes
//!   at once are taken as standard output first.
//! - A background process that still holds the output when the command has ended is listened to for [`GRACE`] more;
//!   then its output is closed.

mod log;
mod program;
#[cfg(unix)]
mod pump;
#[cfg(unix)]
mod signals;
#[cfg(windows)]
mod threads;

pub use log::{CHUNK_BYTES, Lengths, LogError, StdioLog, check, replay};
pub use program::{Search, SpawnError, resolve_program};

use log::{Lost, Recorder};
#[cfg(unix)]
use pump as platform;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
#[cfg(windows)]
use threads as platform;

/// How long the output of a command is awaited after it has ended, when a background process holds it open.
///
/// Long enough for a filter such as `cmd | tee` in a shell to end, short enough that a started daemon is no nuisance.
pub const GRACE: Duration = Duration::from_secs(2);

/// One of the two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdout => "standard output",
            Self::Stderr => "standard error",
        })
    }
}

/// What the command reads.
#[derive(Debug)]
pub enum Stdin {
    /// Nothing.
    Null,
    /// A file, from where it stands.
    File(File),
    /// What this process would read.
    Inherit,
}

/// A command, all of it: nothing is taken from the environment of this process.
#[derive(Debug)]
pub struct Command<'a> {
    /// The file to run, as [`resolve_program`] found it.
    pub program: &'a Path,
    /// The name that the program sees as its own (`argv[0]`), as it was typed; not used on Windows.
    pub arg0: &'a OsStr,
    /// The arguments after the name.
    pub args: &'a [OsString],
    /// The directory to run in; `None` is that of this process.
    pub cwd: Option<&'a Path>,
    /// The complete environment.
    pub env: &'a [(OsString, OsString)],
    /// What the command reads.
    pub stdin: Stdin,
}

/// How much of the output is recorded.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// The most bytes of both streams together; a command that writes more goes on, but is not recorded.
    pub max_log: u64,
    /// The bytes of log that are kept in memory before they go to a temporary file.
    pub memory: usize,
    /// Where the temporary file is made; `None` is the system's directory for such files.
    pub spool_dir: Option<&'a Path>,
}

/// Where the output goes while the command runs; `None` drops it.
#[derive(Debug)]
pub struct Sink {
    /// Takes standard output.
    pub stdout: Option<File>,
    /// Takes standard error.
    pub stderr: Option<File>,
}

impl Sink {
    /// Returns the standard output and standard error of this process.
    ///
    /// # Errors
    /// When the process has too many open files.
    pub fn stdio() -> io::Result<Self> {
        // What this process has printed so far comes before what the command prints.
        let _ = io::stdout().flush();
        let [stdout, stderr] = platform::stdio()?;
        Ok(Self { stdout: Some(stdout), stderr: Some(stderr) })
    }

    /// Returns a sink that drops everything.
    pub fn discard() -> Self {
        Self { stdout: None, stderr: None }
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; 128 + n for a command that signal n ended.
    pub code: i32,
    /// The signal that ended the command.
    pub signal: Option<i32>,
    /// Whether this process was asked to stop (`SIGINT`, `SIGQUIT`, `SIGTERM` or `SIGHUP`; Ctrl-C on Windows) while it
    /// ran the command, whatever the command made of it. Such a run is never stored.
    pub interrupted: bool,
    /// What the command wrote.
    pub recording: Recording,
    /// The time from the start of the command to its end.
    pub wall: Duration,
}

/// What became of the recording. Only a complete one can be replayed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Recording {
    /// Every byte.
    Complete(StdioLog),
    /// More bytes than [`Limits::max_log`].
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// A background process still held the output [`GRACE`] after the command had ended.
    HeldOpen,
    /// This process was asked to stop after the command had ended and before its output had been passed on.
    CutShort,
    /// Output could not be passed on, and the command's own end of that stream was closed. A broken pipe means that the
    /// reader had enough; anything else, such as a full disk, means that bytes are lost that the command believes
    /// written, so its success is none.
    NotForwarded {
        /// The stream.
        stream: Stream,
        /// What the system said.
        source: io::Error,
    },
    /// The temporary file cannot be written.
    SpoolFailed {
        /// The directory of the temporary file.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Runs a command to its end, passing its output to `sink` and recording it.
///
/// On Unix, signals that ask this process to stop are passed on to the command, also one that arrives while it is being
/// started: `SIGTERM` and `SIGHUP` always, `SIGINT` and `SIGQUIT` unless the terminal has already sent them to the
/// command as well. The command stays in this process group, so stopping and continuing a job stops and continues
/// both. What was ignored on entry (`nohup`) stays ignored on Linux. Outside of runs the signals end this process as they
/// would without this module.
///
/// # Errors
/// As [`SpawnError`] says; the command did not start then.
pub fn run(command: &Command<'_>, limits: &Limits<'_>, sink: Sink) -> Result<Finished, SpawnError> {
    platform::run(command, sink, Recorder::new(limits), limits.max_log)
}

/// Returns the command with `program` and `args` in place of its own.
fn prepare<'a>(
    command: &Command<'_>,
    program: &Path,
    args: impl Iterator<Item = &'a OsStr>,
) -> io::Result<std::process::Command> {
    let mut prepared = std::process::Command::new(program);
    prepared.args(args).env_clear().envs(command.env.iter().map(|(name, value)| (name, value)));
    prepared.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(match &command.stdin {
        Stdin::Null => Stdio::null(),
        Stdin::File(file) => file.try_clone()?.into(),
        Stdin::Inherit => Stdio::inherit(),
    });
    if let Some(cwd) = command.cwd {
        prepared.current_dir(cwd);
    }
    Ok(prepared)
}

/// Decides what became of the recording when all output was read and passed on.
fn recording(recorder: Recorder, limit: u64) -> Recording {
    match recorder.finish() {
        Ok(log) => Recording::Complete(log),
        Err(Lost::TooLarge) => Recording::TooLarge { limit },
        Err(Lost::Spool { dir, source }) => Recording::SpoolFailed { dir, source },
    }
}
