//! `bench library`: builds the program that knows the other caches, and runs it.

use std::path::PathBuf;

use super::peers;
use crate::stop::Result;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A tenth of the rounds, and a tenth of the targets
    #[arg(long)]
    quick: bool,
    /// Only the tables whose title has this in it; can be repeated
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Fail if a goal is missed
    #[arg(long)]
    check: bool,
    /// Where to put stores and sources [default: the target directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(workspace: &Workspace, args: &Args) -> Result {
    let flags = [("--quick", args.quick), ("--check", args.check)];
    let program = peers::program(workspace, "library", args.dir.as_ref())?;
    peers::with_flags(program, &flags).args(args.only.iter().flat_map(|text| ["--only", text])).run()
}
