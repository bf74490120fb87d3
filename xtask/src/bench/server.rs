//! `bench server`: builds our program and the package that loads it, and runs them beside other servers.

use std::path::PathBuf;

use super::peers;
use crate::setup;
use crate::step::Step;
use crate::stop::Result;
use crate::workspace::Workspace;

/// Outside of the workspace and of `benches/peers`: it needs neither the crates nor other stores, and is built in a minute.
const MANIFEST: &str = "benches/server/Cargo.toml";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// One short round of everything, to see that it works
    #[arg(long)]
    quick: bool,
    /// Stores of a million entries as well, which takes minutes: memory, and how soon a server is ready
    #[arg(long)]
    million: bool,
    /// Only the cases whose title has this in it; can be repeated
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Fail if a goal is missed
    #[arg(long)]
    check: bool,
    /// Where the servers store [default: the target directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(workspace: &Workspace, args: &Args) -> Result {
    Step::cargo(["build", "--release", "--package", "cache-cli"]).run()?;
    let program = peers::program_of(MANIFEST, workspace, "bench-server", args.dir.as_ref())?;
    let mut program = program.arg("--ours").arg(workspace.binary("release", "vitte-cache"));
    if Step::new("nginx").arg("-v").succeeds() {
        program = program.args(["--nginx", "nginx"]);
    } else {
        println!("without nginx, which is not installed: `cargo xtask setup` installs it");
    }
    if let Some(bazel_remote) = setup::program(setup::BAZEL_REMOTE) {
        program = program.arg("--bazel-remote").arg(bazel_remote);
    } else {
        println!("without bazel-remote, which is not installed: `cargo xtask setup` builds it");
    }
    let flags = [("--quick", args.quick), ("--million", args.million), ("--check", args.check)];
    peers::with_flags(program, &flags).args(args.only.iter().flat_map(|text| ["--only", text])).run()
}
