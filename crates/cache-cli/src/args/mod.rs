//! The command line, as clap sees it.

mod run;
#[cfg(feature = "server")]
mod serve;
mod usage;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use cache_core::Namespace;
use cache_run::human;
use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

pub(crate) use run::{ExplainFormat, RunArgs, StatusWhen};
#[cfg(feature = "server")]
pub(crate) use serve::{ServeArgs, TokenAction, TokenArgs};
pub(crate) use usage::explain;

/// One cache under every build: runs slow commands once, and says why when it has to run them again.
#[derive(Debug, Parser)]
#[command(name = "vitte-cache", version, disable_help_subcommand = true, max_term_width = 100)]
#[command(subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
#[command(after_help = "Examples:
  vitte-cache run -i 'src/**' -o gen/ -- make gen    run once, restore ever after
  vitte-cache why                                    what made the last run miss

`vitte-cache VERB --help` says more about a verb.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Directory of the cache
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// Name that keeps these entries apart from others in the same directory
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<Namespace>,
    /// Use colours: auto, always or never
    #[arg(long, global = true, value_name = "WHEN", value_parser = ["auto", "always", "never"], hide_possible_values = true)]
    pub(crate) color: Option<String>,
    /// Use the directory even if others could have written to it
    #[arg(long, global = true)]
    pub(crate) trust_dir: bool,
    /// Read this file instead of the nearest .vitte/config.toml
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Obey a configuration file that others could have written
    #[arg(long, global = true)]
    pub(crate) trust_config: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Run(Box<RunArgs>),
    Why(WhyArgs),
    Put(PutArgs),
    Get(GetArgs),
    Rm(RmArgs),
    Ls(LsArgs),
    Stats(StatsArgs),
    Du(DuArgs),
    Gc(GcArgs),
    Verify(VerifyArgs),
    Migrate(MigrateArgs),
    Simulate(SimulateArgs),
    #[cfg(feature = "server")]
    Serve(Box<ServeArgs>),
    #[cfg(feature = "server")]
    Token(TokenArgs),
    Config(ConfigArgs),
    Doctor(DoctorArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// Explain a run: the nearest earlier one, and everything that differs
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vitte-cache why                  the last run
  vitte-cache why docs             the last run with the label docs
  vitte-cache why 4f2a91c0 77b3e1  two runs, by the first digits of their keys")]
pub(crate) struct WhyArgs {
    /// A label, or the first digits of a key; two are compared with each other, none is the last run
    #[arg(value_name = "LABEL|KEY", num_args = 0..=2)]
    pub(crate) runs: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Store a file, or standard input, under a key of your own
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vitte-cache put toolchain-1.95 toolchain.tar.zst --ttl 30d")]
pub(crate) struct PutArgs {
    /// Any text
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    /// What to store; standard input if not given
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// How long it is valid, such as 90s, 2h or 7d
    #[arg(long, value_name = "DUR", value_parser = human::parse_duration)]
    pub(crate) ttl: Option<Duration>,
}

/// Print what `put` stored; exit with 1 if it is not there
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vitte-cache get toolchain-1.95 -o toolchain.tar.zst || ./download-toolchain")]
pub(crate) struct GetArgs {
    /// The key that `put` was given
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    /// Write to this file, all of it or nothing
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
}

/// Remove entries
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
#[command(after_help = "Examples:
  vitte-cache rm toolchain-1.94     what `put` stored
  vitte-cache rm --label docs       all results of runs with this label
  vitte-cache rm --all              everything in the namespace

The space comes back when `gc` runs or room is needed.")]
#[command(override_usage = "vitte-cache rm [OPTIONS] KEY…
       vitte-cache rm [OPTIONS] --label LABEL
       vitte-cache rm [OPTIONS] --all")]
pub(crate) struct RmArgs {
    /// Keys that `put` was given, or 64 digits as `ls --json` shows them
    #[arg(value_name = "KEY", group = "what")]
    pub(crate) keys: Vec<String>,
    /// Remove the results of all runs with this label
    #[arg(long, value_name = "LABEL", group = "what")]
    pub(crate) label: Option<String>,
    /// Remove every entry of the namespace
    #[arg(long, group = "what")]
    pub(crate) all: bool,
}

/// List entries, those used last first
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vitte-cache ls --kind value toolchain-")]
pub(crate) struct LsArgs {
    /// Only entries whose name starts with this
    #[arg(value_name = "PREFIX")]
    pub(crate) prefix: Option<String>,
    /// Only results of runs with this label
    #[arg(long, value_name = "LABEL", conflicts_with = "prefix")]
    pub(crate) label: Option<String>,
    /// Only entries of this kind, such as run or value
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    /// Show at most this many; 0 for all
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = count)]
    pub(crate) limit: usize,
    /// Print all of them, one JSON object per line, in no particular order
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show how much the cache helped: hits, misses, time saved
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vitte-cache stats --since 8h")]
pub(crate) struct StatsArgs {
    /// Only the last run
    #[arg(long, conflicts_with_all = ["session", "since"])]
    pub(crate) last: bool,
    /// Only runs of this terminal or CI job
    #[arg(long)]
    pub(crate) session: bool,
    /// Put a table of this CI job into its summary; print it in Markdown where the system takes none
    #[arg(long, conflicts_with_all = ["last", "since", "json"])]
    pub(crate) summary: bool,
    /// Only runs of this much time until now, such as 2h or 7d
    #[arg(long, value_name = "DUR", value_parser = human::parse_duration)]
    pub(crate) since: Option<Duration>,
    /// Only runs with this label
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what takes the space, biggest first
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vitte-cache du --by namespace")]
pub(crate) struct DuArgs {
    /// Add up by label, kind or namespace
    #[arg(long, value_name = "WHAT", default_value = "label", value_parser = ["label", "kind", "namespace"], hide_possible_values = true)]
    pub(crate) by: String,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Remove what is expired, unused for too long, or beyond the limits
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vitte-cache gc --dry-run")]
pub(crate) struct GcArgs {
    /// Only say what would go
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Read and check everything that is stored; exit with 1 if something is damaged
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vitte-cache verify --repair

What is damaged is put aside and never used again.")]
pub(crate) struct VerifyArgs {
    /// Read at most this many MB/s, so that others keep most of the disk
    #[arg(long, value_name = "MB/s", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: Option<u64>,
    /// Also remove entries that have lost a part, so that they are made again when they are needed
    #[arg(long)]
    pub(crate) repair: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Move the cache to the other layout: one file per entry, or segments
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vitte-cache migrate --to segments

It may be interrupted, and goes on when it is called again. Until it is over,
both layouts take room. What does not fit is left behind.")]
pub(crate) struct MigrateArgs {
    /// Layout to move to: files or segments
    #[arg(long, value_name = "LAYOUT", default_value = "segments", value_parser = ["files", "segments"], hide_possible_values = true)]
    pub(crate) to: String,
    /// Only say what would be moved
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Replay recorded accesses: the hit ratio that caches of other sizes would give
#[derive(Debug, Args)]
#[command(after_help = "Example:
  export VITTE_CACHE_ACCESS_LOG=$HOME/accesses    record for some days, then
  vitte-cache simulate --log ~/accesses --sizes 1G,2G,5G,20G

Each size is tried under the policy of each layout: segments and files. The last
line is a cache without a limit, which no policy can exceed.

Memory: at most 100 bytes for each different key of the log, and 200 more for
each size. Accesses to more than 16,777,216 different keys are left out.")]
pub(crate) struct SimulateArgs {
    /// Recorded accesses; - is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) log: PathBuf,
    /// Sizes to try, such as 500MB or 1.5GiB; 16 at most
    #[arg(long, value_name = "SIZE,…", value_delimiter = ',', required = true, value_parser = size)]
    pub(crate) sizes: Vec<u64>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show the settings in force
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vitte-cache config --show-origin")]
pub(crate) struct ConfigArgs {
    /// Show where each setting comes from: flag, environment, file and line, or default
    #[arg(long)]
    pub(crate) show_origin: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the page of the manual that lists them
    #[arg(long, hide = true, conflicts_with_all = ["json", "show_origin"])]
    pub(crate) markdown: bool,
}

/// Check that the cache can do its work, and say what to do if not
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vitte-cache doctor")]
pub(crate) struct DoctorArgs {
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print the script that completes commands in a shell
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vitte-cache completions bash > ~/.local/share/bash-completion/completions/vitte-cache")]
pub(crate) struct CompletionsArgs {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    pub(crate) shell: Shell,
}

/// Print the manual page, or write all of them to a directory
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vitte-cache man --out ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Write the pages of all verbs here
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
}

/// Returns the number that `text` is.
fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("`{text}` is no number: write 0 or more"))
}

/// Returns the bytes, at least one, that `text` means.
fn size(text: &str) -> Result<u64, String> {
    match human::parse_size(text) {
        Ok(0) => Err(format!("`{text}` is no size of a cache: write 500MB, 1.5GiB or a number of bytes")),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

/// Returns the verb that `arguments`, the program's name first, call, also if they are wrong otherwise.
pub(crate) fn verb(arguments: &[OsString]) -> Option<&str> {
    const TAKE_A_VALUE: [&str; 4] = ["--dir", "--namespace", "--color", "--config"];
    let mut rest = arguments.iter().skip(1);
    while let Some(argument) = rest.next() {
        if TAKE_A_VALUE.iter().any(|option| argument == option) {
            rest.next();
        } else if !argument.as_encoded_bytes().starts_with(b"-") {
            let name = argument.to_str()?;
            return Verb::has_subcommand(name).then_some(name);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_verb_is_recognized_whatever_else_is_wrong() {
        for (line, expected) in [
            ("vc run --bogus", Some("run")),
            ("vc --dir run ls", Some("ls")),
            ("vc --dir=x --trust-dir run", Some("run")),
            ("vc get run", Some("get")),
            ("vc --bogus", None),
            ("vc bogus run", None),
        ] {
            let arguments: Vec<OsString> = line.split(' ').map(Into::into).collect();
            assert_eq!(verb(&arguments), expected, "{line}");
        }
    }

    #[test]
    fn every_verb_has_a_purpose_and_an_example() {
        for verb in Cli::command().get_subcommands() {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
            let after = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.contains(&format!("vitte-cache {}", verb.get_name())), "{}", verb.get_name());
            for argument in verb.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", verb.get_name(), argument.get_id());
            }
        }
    }
}
