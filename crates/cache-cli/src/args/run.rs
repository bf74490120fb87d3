//! The arguments of `run`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use cache_run::environment::EnvMode;
use cache_run::human;
use cache_run::project::{self, ENV_MODES, MTIME_MODES, RESTORE_MODES, STDIN_MODES};
use cache_run::{Failures, MtimeMode, RestoreMode, StdinMode};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueHint};

/// Run a command, or restore what it made the last time
#[derive(Debug, Args)]
#[command(override_usage = "vitte-cache run [-i PATTERN]… [-o PATH]… [-e VAR]… [OPTIONS] -- COMMAND
       vitte-cache run LABEL [OPTIONS]")]
#[command(after_help = "\
The command runs only if its inputs, its arguments, its declared environment
or its program differ from every run whose result is stored. Otherwise its
files, its output and its exit code come from the cache. Trouble with the cache
never makes a command fail.

Examples:
  vitte-cache run -i 'src/**' -o gen/ -- make gen     files in, files out
  vitte-cache run --ttl 1h -- curl -s https://…       output only, for an hour
  vitte-cache run --depfile a.d -i a.c -o a.o -- gcc -MD -MF a.d -c a.c -o a.o
  vitte-cache run docs                                the project's [run.docs]

Exit code: the command's own; 125 if it was not started because of a mistake in
this call, 126 if it cannot be executed, 127 if it is not there.")]
pub(crate) struct RunArgs {
    /// Run the command of the table [run.LABEL] in the project file
    #[arg(value_name = "LABEL")]
    pub(crate) table: Option<String>,
    /// The command and its arguments, after `--`
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,
    /// Name of the run in messages, `why` and `stats` [default: the program's name, in CI after that of the job]
    #[arg(short = 'n', long, value_name = "LABEL")]
    pub(crate) label: Option<String>,

    /// File, directory or glob that the command reads; !PATTERN excludes, @FILE reads a list, @git:DIR means tracked files
    #[arg(short, long = "input", value_name = "PATTERN", help_heading = "What the result depends on")]
    pub(crate) inputs: Vec<String>,
    /// Variable that the command sees and depends on; PREFIX* for many
    #[arg(short, long, value_name = "VAR", help_heading = "What the result depends on")]
    pub(crate) env: Vec<String>,
    /// Variable that the command sees and does not depend on
    #[arg(long, value_name = "VAR", help_heading = "What the result depends on")]
    pub(crate) pass_env: Vec<String>,
    /// Whether the command sees other variables: strict (only a few safe ones) or loose (all) [default: strict]
    #[arg(long, value_name = "MODE", hide_possible_values = true, value_parser = words(ENV_MODES), help_heading = "What the result depends on")]
    pub(crate) env_mode: Option<EnvMode>,
    /// File in which the command names further inputs, as gcc -MD, ninja and rustc write it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "What the result depends on")]
    pub(crate) depfile: Option<PathBuf>,
    /// How the program is identified: auto, content, mtime, none, or a command such as 'gcc --version' [default: auto]
    #[arg(long, value_name = "HOW", help_heading = "What the result depends on")]
    pub(crate) tool: Option<String>,
    /// Any text; another text makes other results
    #[arg(long, value_name = "TEXT", help_heading = "What the result depends on")]
    pub(crate) salt: Option<String>,
    /// Directory that paths are relative to, so that checkouts share results [default: the root of the checkout]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "What the result depends on")]
    pub(crate) base: Option<PathBuf>,
    /// What the command reads: null (nothing) or key (standard input, which the result then depends on) [default: null]
    #[arg(long, value_name = "WHAT", hide_possible_values = true, value_parser = words(STDIN_MODES), help_heading = "What the result depends on")]
    pub(crate) stdin: Option<StdinMode>,

    /// File, glob or DIR/ that the command makes; DIR/ belongs to it, so what else is in there goes away
    #[arg(short, long = "output", value_name = "PATH", help_heading = "What comes out")]
    pub(crate) outputs: Vec<String>,
    /// How files come back: copy (a clone where possible) or hardlink-ro (read-only links) [default: copy]
    #[arg(long, value_name = "HOW", hide_possible_values = true, value_parser = words(RESTORE_MODES), help_heading = "What comes out")]
    pub(crate) restore: Option<RestoreMode>,
    /// Modification time of restored files: auto (right for make, ninja, cargo), now or preserve [default: auto]
    #[arg(long, value_name = "WHICH", hide_possible_values = true, value_parser = words(MTIME_MODES), help_heading = "What comes out")]
    pub(crate) mtime: Option<MtimeMode>,

    /// How long a result is valid, such as 90s, 2h or 7d; needed if there is no -i
    #[arg(long, value_name = "DUR", value_parser = human::parse_duration, help_heading = "What is kept and used")]
    pub(crate) ttl: Option<Duration>,
    /// Use a result beyond its time once more, and make a fresh one in the background
    #[arg(long, help_heading = "What is kept and used")]
    pub(crate) stale: bool,
    /// Run the command in any case, and store its result
    #[arg(long, conflicts_with = "no_store", help_heading = "What is kept and used")]
    pub(crate) refresh: bool,
    /// Use results, but store none
    #[arg(long, help_heading = "What is kept and used")]
    pub(crate) no_store: bool,
    /// Store failures too: all, or only these exit codes
    #[arg(long, value_name = "CODES", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = project::parse_failures, help_heading = "What is kept and used")]
    pub(crate) cache_failures: Option<Failures>,
    /// Do not store results larger than this [default: 2 GB]
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size, help_heading = "What is kept and used")]
    pub(crate) max_entry: Option<u64>,
    /// Do not store results of commands that took less
    #[arg(long, value_name = "DUR", value_parser = human::parse_duration, help_heading = "What is kept and used")]
    pub(crate) min_time: Option<Duration>,
    /// What to do with the remote cache: auto (as configured), off, read, write or readwrite [default: auto]
    #[arg(long, value_name = "WHAT", value_parser = ["auto", "off", "read", "write", "readwrite"], hide_possible_values = true, help_heading = "What is kept and used")]
    pub(crate) remote: Option<String>,
    /// How long to wait for another process that runs the same command [default: 10m]
    #[arg(long, value_name = "DUR", value_parser = human::parse_duration, help_heading = "What is kept and used")]
    pub(crate) wait: Option<Duration>,

    /// Only say whether it would be a hit, and why not
    #[arg(long, conflicts_with = "print_key", help_heading = "What is said")]
    pub(crate) dry_run: bool,
    /// Only print the key
    #[arg(long, help_heading = "What is said")]
    pub(crate) print_key: bool,
    /// Name every difference from the nearest earlier run, as text or json
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "text", hide_possible_values = true, help_heading = "What is said")]
    pub(crate) explain: Option<ExplainFormat>,
    /// Run this percentage of hits again and report outputs that differ [without a number: 100]
    #[arg(long, value_name = "PERCENT", num_args = 0..=1, require_equals = true, default_missing_value = "100", value_parser = project::parse_percent, help_heading = "What is said")]
    pub(crate) verify: Option<u8>,
    /// The status line on standard error: auto (unless -q), always, never or json
    #[arg(long, value_name = "WHEN", hide_possible_values = true, help_heading = "What is said")]
    pub(crate) status: Option<StatusWhen>,
    /// Say nothing but what the command says
    #[arg(short, long, conflicts_with = "verbose", help_heading = "What is said")]
    pub(crate) quiet: bool,
    /// Say more: the key, all reasons
    #[arg(short, long, help_heading = "What is said")]
    pub(crate) verbose: bool,
}

/// In which form differences are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ExplainFormat {
    Text,
    Json,
}

/// When the status line is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum StatusWhen {
    Auto,
    Always,
    Never,
    Json,
}

/// Returns a parser for one of `words`, which clap can list and complete.
fn words<T: Copy + Send + Sync + 'static>(
    words: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(words.iter().map(|(word, _)| *word))
        .try_map(|word| project::choose(words, &word).ok_or("is none of the words"))
}
