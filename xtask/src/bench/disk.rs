//! `bench disk`: builds the package that knows the other stores, and runs it.

use std::path::PathBuf;

use super::machine;
use crate::files;
use crate::step::Step;
use crate::stop::Result;
use crate::workspace::Workspace;

/// Outside of the workspace, because nobody else should have to compile the C of other stores.
pub(super) const MANIFEST: &str = "benches/peers/Cargo.toml";

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
    Step::cargo([
        "build",
        "--release",
        "--locked",
        "--manifest-path",
        MANIFEST,
        "--bin",
        "peers",
        "--target-dir",
    ])
    .arg(&workspace.target)
    .run()?;
    let dir = args.dir.as_ref().unwrap_or(&workspace.target);
    files::create_dirs(dir)?;
    println!("\n{}", machine::facts(dir));
    let mut step = Step::new(workspace.binary("release", "peers")).arg("--dir").arg(dir);
    for (name, given) in [("--quick", args.quick), ("--million", args.million), ("--check", args.check)] {
        if given {
            step = step.arg(name);
        }
    }
    step.args(args.peer.iter().flat_map(|peer| ["--peer", peer])).run()
}
