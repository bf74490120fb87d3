//! The `vitte-cache` command: verbs, tables, exit codes. The work is done by the libraries.

mod args;
mod config;
mod failure;
mod output;
mod place;
mod session;
mod settings;
mod ui;
mod verbs;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::Cli;
use crate::failure::{REFUSED, USAGE};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(refuse(&error, &arguments)),
    };
    let code = verbs::dispatch(cli).unwrap_or_else(|failure| failure.report());
    ExitCode::from(code)
}

/// Answers a command line that asks for help, or that makes no sense.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Nobody is left to be told if the reader went away.
        let _ = error.print();
        return 0;
    }
    let verb = args::verb(arguments).unwrap_or_default();
    output::complain(&args::explain(error, verb));
    if verb == "run" { REFUSED } else { USAGE }
}
