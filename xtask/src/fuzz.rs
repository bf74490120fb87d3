//! `fuzz`: runs every fuzz target for a while.

use crate::step::{Step, run_all};
use crate::stop::{Result, Stop};
use crate::workspace::Workspace;

/// Outside of the workspace, because it needs a nightly compiler.
const MANIFEST: &str = "fuzz/Cargo.toml";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// Only these targets
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result {
    if !is_here(workspace) {
        return Err(Stop::absent(format!("there are no fuzz targets: {MANIFEST} does not exist")));
    }
    if !Step::cargo(["+nightly", "--version"]).succeeds() {
        return Err(Stop::absent("no nightly compiler: run `rustup toolchain install nightly`"));
    }
    if !Step::cargo(["fuzz", "--version"]).succeeds() {
        return Err(Stop::absent("cargo-fuzz is not installed: run `cargo install --locked cargo-fuzz`"));
    }
    let targets: Vec<String> = if args.targets.is_empty() {
        Step::cargo(["+nightly", "fuzz", "list"]).text()?.lines().map(str::to_owned).collect()
    } else {
        args.targets.clone()
    };
    for target in &targets {
        // libFuzzer writes what it finds into the first directory, and stops if that is missing.
        let corpus = workspace.root.join(format!("fuzz/corpus/{target}"));
        std::fs::create_dir_all(&corpus)
            .map_err(|error| Stop::failed(format!("cannot make {}: {error}", corpus.display())))?;
    }
    run_all(targets.iter().map(|target| {
        let (corpus, seeds) = (format!("fuzz/corpus/{target}"), format!("fuzz/fixtures/{target}"));
        // A directory that is not there would be an error.
        let seeds = workspace.root.join(&seeds).is_dir().then_some(seeds);
        Step::cargo(["+nightly", "fuzz", "run", target, &corpus])
            .args(seeds)
            .arg("--")
            .arg(format!("-max_total_time={}", args.seconds))
    }))
}

pub(crate) fn is_here(workspace: &Workspace) -> bool {
    workspace.root.join(MANIFEST).is_file()
}

/// Checks that the targets still compile, which any compiler can.
pub(crate) fn check(workspace: &Workspace) -> Result {
    Step::cargo(["check", "--manifest-path", MANIFEST, "--target-dir"]).arg(&workspace.target).run()
}
