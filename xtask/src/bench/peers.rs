//! The packages that know other caches, stores and servers, and their programs.

use std::path::{Path, PathBuf};

use super::machine;
use crate::files;
use crate::step::Step;
use crate::stop::Result;
use crate::workspace::Workspace;

/// Outside of the workspace, because nobody else should have to compile the C of other stores.
const PEERS: &str = "benches/peers/Cargo.toml";

/// Builds a program of `benches/peers`, says what machine this is, and returns the step that runs the program in `dir`.
pub(super) fn program(workspace: &Workspace, name: &str, dir: Option<&PathBuf>) -> Result<Step> {
    program_of(PEERS, workspace, name, dir)
}

/// Does the same with a program of the package at `manifest`.
pub(super) fn program_of(
    manifest: &str,
    workspace: &Workspace,
    name: &str,
    dir: Option<&PathBuf>,
) -> Result<Step> {
    Step::cargo(["build", "--release", "--locked", "--manifest-path", manifest])
        .args(["--bin", name, "--target-dir"])
        .arg(&workspace.target)
        .run()?;
    let dir: &Path = dir.unwrap_or(&workspace.target);
    files::create_dirs(dir)?;
    println!("\n{}", machine::facts(dir));
    Ok(Step::new(workspace.binary("release", name)).arg("--dir").arg(dir))
}

/// Adds those of `flags` that were given.
pub(super) fn with_flags(step: Step, flags: &[(&str, bool)]) -> Step {
    step.args(flags.iter().filter(|(_, given)| *given).map(|(name, _)| *name))
}
