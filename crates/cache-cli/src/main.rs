//! The `vitte-cache` command: verbs, tables, exit codes. The work is done by the libraries.

mod args;
mod ci;
mod config;
mod failure;
mod output;
mod place;
mod remote;
mod session;
mod settings;
#[cfg(feature = "server")]
mod tokens;
mod ui;
mod verbs;

use clap::Parser;
use clap::error::ErrorKind;
use std::ffi::OsString;

use crate::args::Cli;
use crate::failure::{REFUSED, USAGE};

fn main() {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => std::process::exit(refuse(&error, &arguments)),
    };
    // Not an `ExitCode`, which has eight bits: on Windows a command's code has 32, and none of them may get lost.
    std::process::exit(verbs::dispatch(cli).unwrap_or_else(|failure| failure.report()))
}

/// Answers a command line that asks for help, or that makes no sense.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> i32 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Nobody is left to be told if the reader went away.
        let _ = error.print();
        return 0;
    }
    let verb = args::verb(arguments).unwrap_or_default();
    output::complain(&args::explain(error, verb));
    if verb == "run" { REFUSED } else { USAGE }
}
