//! `bench`: measurements.

mod cases;
mod disk;
mod library;
mod machine;
mod measure;
mod peers;
mod report;
mod server;

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::files;
use crate::step::Step;
use crate::stop::{Result, Stop};
use crate::workspace::Workspace;

/// A file that was written a moment ago is hashed on every look-up, as its times could hide another
/// write. That is not what is measured, so the inputs get older than any clock is coarse.
const INPUTS_SETTLE: Duration = Duration::from_secs(3);

#[derive(clap::Subcommand)]
pub(crate) enum Verb {
    /// Wall time of `vitte-cache run` on hits, side by side with bkt and ccache
    Run(Args),
    /// The disk engine, side by side with LMDB, redb and other stores
    Disk(disk::Args),
    /// What the library adds to what it is built on, side by side with other caches
    Library(library::Args),
    /// The server, side by side with nginx and bazel-remote
    Server(server::Args),
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Measured runs of each command
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Fail if a goal is missed
    #[arg(long)]
    check: bool,
    /// Where to put the scratch files [default: the target directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, verb: &Verb) -> Result {
    match verb {
        Verb::Run(args) => hits(workspace, args),
        Verb::Disk(args) => disk::run(workspace, args),
        Verb::Library(args) => library::run(workspace, args),
        Verb::Server(args) => server::run(workspace, args),
    }
}

fn hits(workspace: &Workspace, args: &Args) -> Result {
    Step::cargo(["build", "--release", "--package", "cache-cli"]).run()?;
    let binary = workspace.binary("release", "vitte-cache");
    let parent = args.dir.as_ref().unwrap_or(&workspace.target);
    files::create_dirs(parent)?;
    let scratch = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(parent)
        .map_err(Stop::io("create a directory in", parent))?;
    println!("\n{}\n{} runs of each command, taking turns", machine::facts(scratch.path()), args.runs);
    let cases = cases::all(&binary, scratch.path())?;
    thread::sleep(INPUTS_SETTLE);
    let mut missed = Vec::new();
    for case in cases {
        case.prepare()?;
        let samples = measure::rounds(&case.contenders, args.runs)?;
        let rows = report::rows(&case, &samples);
        println!("\n{}\n{}", case.title, report::table(&rows));
        if let Some(verdict) = report::verdict(&case, &rows) {
            println!("{verdict}");
            if !verdict.met {
                missed.push(format!("{}: {verdict}", case.title));
            }
        }
    }
    if args.check && !missed.is_empty() {
        return Err(Stop::failed(missed.join("; ")));
    }
    Ok(())
}
