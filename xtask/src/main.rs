//! Every chore of this repository, as one command: `cargo xtask VERB`.
//!
//! One module per verb. CI calls the same verbs as a person does, so a red build can always be
//! repeated at home by typing the command that the log shows.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks on its streams")]

mod bench;
mod ci;
mod deny;
mod doc;
mod files;
mod fuzz;
mod lint;
mod markdown;
mod release;
mod setup;
mod step;
mod stop;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Everything a change needs before it is pushed: setup, lint, tidy, test, doc, deny
    Ci(ci::Args),
    /// Formatting and clippy, with all features and with each single feature
    Lint,
    /// Layering of the crates, file sizes, leftovers, links
    Tidy,
    /// All tests, documentation examples included
    Test(test::Args),
    /// Reference documentation, and every example of the README and of docs/
    Doc,
    /// Licences, bans and duplicates of the dependencies
    Deny(deny::Args),
    /// Measurements
    #[command(subcommand)]
    Bench(bench::Verb),
    /// Version, changelog, packages, archives and checksums of a release
    Release(release::Args),
    /// Installs what the tests need, or names it
    Setup(setup::Args),
    /// Runs every fuzz target for a while
    Fuzz(fuzz::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = Workspace::open().and_then(|workspace| match cli.verb {
        Verb::Ci(args) => ci::run(&workspace, &args),
        Verb::Lint => lint::run(&workspace),
        Verb::Tidy => tidy::run(&workspace),
        Verb::Test(args) => test::run(&args),
        Verb::Doc => doc::run(&workspace),
        Verb::Deny(args) => deny::run(&args),
        Verb::Bench(verb) => bench::run(&workspace, &verb),
        Verb::Release(args) => release::run(&workspace, &args),
        Verb::Setup(args) => setup::run(&args),
        Verb::Fuzz(args) => fuzz::run(&workspace, &args),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            eprintln!("xtask: {stop}");
            ExitCode::from(stop.exit_code())
        }
    }
}
