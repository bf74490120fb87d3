//! What a user asked for.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use cache_core::Namespace;

use crate::environment::EnvMode;

/// One run of a command through the cache, as the command line and the project file describe it.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Name of the run in the journal and in messages; the program's name if nothing.
    pub label: Option<String>,
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Directory that the command runs in.
    pub cwd: PathBuf,
    /// Directory that paths in the key are relative to; found from `cwd` if nothing.
    pub base: Option<PathBuf>,
    /// The environment that we were called with.
    pub environment: Vec<(OsString, OsString)>,
    /// Input patterns.
    pub inputs: Vec<String>,
    /// Output patterns.
    pub outputs: Vec<String>,
    /// Variables that the command sees and that are part of the key: `NAME`, `PREFIX*`, `NAME=value`.
    pub env: Vec<String>,
    /// Variables that the command sees and that are not part of the key.
    pub pass_env: Vec<String>,
    /// Whether the command sees other variables.
    pub env_mode: EnvMode,
    /// File in which the command names further inputs, in the format of `make`.
    pub depfile: Option<PathBuf>,
    /// How the program is identified: `auto`, `content`, `mtime`, `none`, or a command that prints a version.
    pub tool: String,
    /// Any text: another text, other entries.
    pub salt: String,
    /// Where the entries live.
    pub namespace: Namespace,
    /// What the command reads.
    pub stdin: StdinMode,
    /// How long a stored result is valid.
    pub ttl: Option<Duration>,
    /// Whether an expired result is served while a fresh one is made.
    pub stale: bool,
    /// What the cache may do.
    pub mode: Mode,
    /// Only say what would happen.
    pub dry_run: bool,
    /// Which failures are stored.
    pub failures: Failures,
    /// Percentage of hits that are run again and compared.
    pub verify_percent: u8,
    /// Largest result that is stored, in bytes.
    pub max_entry: u64,
    /// Results that took less are not stored.
    pub min_time: Duration,
    /// How files come back.
    pub restore: RestoreMode,
    /// Which modification time restored files get.
    pub mtime: MtimeMode,
    /// How long to wait for another process that runs the same command.
    pub wait: Duration,
}

impl Spec {
    /// Largest stored result unless told otherwise, in bytes: a tenth of the default cache, so that one run cannot empty it.
    pub const DEFAULT_MAX_ENTRY: u64 = 2_000_000_000;
    /// How long to wait for another process unless told otherwise: longer than most builds, shorter than a coffee with a
    /// stopped one.
    pub const DEFAULT_WAIT: Duration = Duration::from_mins(10);

    /// Returns a run of `command` in `cwd` with everything else as it is by default.
    pub fn new(command: Vec<OsString>, cwd: PathBuf) -> Self {
        Self {
            label: None,
            command,
            cwd,
            base: None,
            environment: std::env::vars_os().collect(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            env: Vec::new(),
            pass_env: Vec::new(),
            env_mode: EnvMode::Strict,
            depfile: None,
            tool: "auto".to_owned(),
            salt: String::new(),
            namespace: Namespace::default(),
            stdin: StdinMode::Null,
            ttl: None,
            stale: false,
            mode: Mode::ReadWrite,
            dry_run: false,
            failures: Failures::None,
            verify_percent: 0,
            max_entry: Self::DEFAULT_MAX_ENTRY,
            min_time: Duration::ZERO,
            restore: RestoreMode::Copy,
            mtime: MtimeMode::Auto,
            wait: Self::DEFAULT_WAIT,
        }
    }

    /// Returns the label, or the program's name where none was given.
    pub fn label(&self) -> String {
        if let Some(label) = &self.label {
            return label.clone();
        }
        let program = self.command.first().map(PathBuf::from).unwrap_or_default();
        program.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// What the cache may do for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: the command runs as if we were not there.
    Off,
    /// Look up, never store.
    ReadOnly,
    /// Look up and store.
    ReadWrite,
    /// Run in any case, and store.
    Refresh,
}

impl Mode {
    /// Returns whether results are looked up.
    pub fn reads(self) -> bool {
        matches!(self, Self::ReadOnly | Self::ReadWrite)
    }

    /// Returns whether results are stored.
    pub fn writes(self) -> bool {
        matches!(self, Self::ReadWrite | Self::Refresh)
    }
}

/// What a command reads from its standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StdinMode {
    /// Nothing.
    Null,
    /// Our own standard input, whose content is part of the key.
    Key,
}

/// Which failures of a command are stored and replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failures {
    /// None.
    None,
    /// Every exit code from 1 to 125.
    All,
    /// These exit codes.
    Codes(Vec<i32>),
}

impl Failures {
    /// Returns whether a result with this exit code is stored. Codes above 125 mean that the command did not start or
    /// was killed, which is no property of its inputs.
    pub fn store(&self, code: i32) -> bool {
        match (code, self) {
            (0, _) => true,
            (1..=125, Self::All) => true,
            (_, Self::Codes(codes)) => codes.contains(&code),
            _ => false,
        }
    }
}

/// How files come back from the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreMode {
    /// As a clone where the file system can, else as a copy.
    Copy,
    /// As a read-only hard link to the cache: fast at any size, and whoever writes to it in spite of the mode damages the cache.
    HardlinkReadOnly,
}

/// Which modification time restored files get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MtimeMode {
    /// Now, but files that were right already keep theirs unless an input is newer: what keeps make, ninja and cargo
    /// from building again.
    Auto,
    /// Now, for all.
    Now,
    /// The one that the command gave them.
    Preserve,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_failures_are_stored() {
        assert!(Failures::None.store(0) && !Failures::None.store(1));
        assert!(Failures::All.store(125) && !Failures::All.store(126) && !Failures::All.store(137));
        let some = Failures::Codes(vec![2]);
        assert!(some.store(0) && some.store(2) && !some.store(1));
    }
}
