//! `bench library`: builds the program that knows the other caches, and runs it.

use std::path::PathBuf;

use super::disk::MANIFEST;
use super::machine;
use crate::files;
use crate::step::Step;
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
    Step::cargo([
        "build",
        "--release",
        "--locked",
        "--manifest-path",
        MANIFEST,
        "--bin",
        "library",
        "--target-dir",
    ])
    .arg(&workspace.target)
    .run()?;
    let dir = args.dir.as_ref().unwrap_or(&workspace.target);
    files::create_dirs(dir)?;
    println!("\n{}", machine::facts(dir));
    let mut step = Step::new(workspace.binary("release", "library")).arg("--dir").arg(dir);
    for (name, given) in [("--quick", args.quick), ("--check", args.check)] {
        if given {
            step = step.arg(name);
        }
    }
    step.args(args.only.iter().flat_map(|text| ["--only", text])).run()
}
