//! `bench disk`: builds the package that knows the other stores, and runs it.

use std::path::PathBuf;

use super::peers;
use crate::stop::Result;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A tenth of the values and of the operations
    #[arg(long)]
    quick: bool,
    /// Open stores of a million entries as well, which takes minutes
    #[arg(long)]
    million: bool,
    /// Only this peer, and one file per entry; can be repeated
    #[arg(long, value_name = "NAME")]
    peer: Vec<String>,
    /// Fail if a goal is missed
    #[arg(long)]
    check: bool,
    /// Where to put the stores [default: the target directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(workspace: &Workspace, args: &Args) -> Result {
    let flags = [("--quick", args.quick), ("--million", args.million), ("--check", args.check)];
    let program = peers::program(workspace, "peers", args.dir.as_ref())?;
    peers::with_flags(program, &flags).args(args.peer.iter().flat_map(|peer| ["--peer", peer])).run()
}
