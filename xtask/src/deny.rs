//! `deny`: licences, bans, duplicates and sources of the dependencies, by `cargo deny`.

use crate::step::Step;
use crate::stop::{Result, Stop};

/// Pinned, so that a new release of the tool cannot turn an unchanged tree red.
pub(crate) const CARGO_DENY_VERSION: &str = "0.20.2";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also check for advisories (fetches the advisory database)
    #[arg(long)]
    advisories: bool,
}

pub(crate) fn run(args: &Args) -> Result {
    if !Step::cargo(["deny", "--version"]).succeeds() {
        return Err(Stop::absent("cargo-deny is not installed: run `cargo xtask setup`"));
    }
    let step = Step::cargo(["deny", "--all-features", "check", "bans", "licenses", "sources"]);
    if args.advisories { step.arg("advisories") } else { step }.run()
}

/// Runs what `ci` runs: everything that needs no network.
pub(crate) fn run_offline() -> Result {
    run(&Args { advisories: false })
}
