//! `release`: everything that a release consists of, except for what cannot be taken back. Nothing
//! is tagged, pushed or published; the commands that do so are printed at the end.

mod archive;
mod changelog;
mod version;

use std::path::{Path, PathBuf};

use crate::files;
use crate::step::Step;
use crate::stop::{Result, Stop};
use crate::workspace::Workspace;

pub(crate) use version::Level;
use version::Version;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which part of the version goes up
    #[arg(required_unless_present = "version")]
    level: Option<Level>,
    /// The new version itself
    #[arg(long, value_name = "X.Y.Z", conflicts_with = "level")]
    version: Option<Version>,
    /// Do all of it on a copy in the target directory, and leave the checkout alone
    #[arg(long)]
    dry_run: bool,
}

/// The tree that is being released, and where its results go.
struct Release<'a> {
    workspace: &'a Workspace,
    root: PathBuf,
    target: PathBuf,
    version: Version,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result {
    let current: Version = workspace.package("cache-cli")?.version.parse().map_err(Stop::Failed)?;
    let version = match (args.version, args.level) {
        (Some(version), _) => version,
        (None, Some(level)) => current.bump(level),
        (None, None) => return Err(Stop::failed("say which part of the version goes up")),
    };
    if version <= current {
        return Err(Stop::failed(format!("{version} is not above the present version {current}")));
    }
    let (root, target) = if args.dry_run {
        let dir = workspace.target.join("release-dry-run");
        let copy = dir.join("source");
        copy_tree(&workspace.root, &copy)?;
        (copy, dir.join("target"))
    } else {
        require_clean_tree()?;
        (workspace.root.clone(), workspace.target.clone())
    };
    let release = Release { workspace, root, target, version };
    println!("releasing {version} (from {current}) in {}", release.root.display());
    release.bump(current)?;
    release.package()?;
    let dist = release.archive()?;
    println!("\narchives and checksums are in {}", dist.display());
    if args.dry_run {
        println!("this was a dry run: the checkout is as it was");
    } else {
        println!("when they are good:");
        println!("  git commit -am 'Release {version}' && git tag v{version} && git push --follow-tags");
        println!("  cargo publish --workspace {}", release.exclusions().join(" "));
    }
    Ok(())
}

impl Release<'_> {
    /// Writes the version and its changes where they are recorded.
    fn bump(&self, current: Version) -> Result {
        let manifest = self.root.join("Cargo.toml");
        let text = version::replace(&files::read(&manifest)?, current, self.version)
            .map_err(|why| Stop::failed(format!("{}: {why}", manifest.display())))?;
        files::write(&manifest, text)?;
        let log = self.root.join("CHANGELOG.md");
        let today = jiff::Zoned::now().date();
        let text = changelog::release(&files::read(&log)?, self.version, today)
            .map_err(|why| Stop::failed(format!("{}: {why}", log.display())))?;
        files::write(&log, text)?;
        self.cargo(&["update", "--workspace", "--offline"]).run()
    }

    /// Packages every crate that is published; cargo orders them by their dependencies, and builds
    /// each package from what the others contain.
    fn package(&self) -> Result {
        self.cargo(&["package", "--workspace", "--locked", "--allow-dirty"]).args(self.exclusions()).run()
    }

    fn archive(&self) -> Result<PathBuf> {
        self.cargo(&["build", "--release", "--locked", "--package", "cache-cli"])
            .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
            .run()?;
        let name = format!("vitte-cache{}", std::env::consts::EXE_SUFFIX);
        let binary = self.target.join("release").join(name);
        archive::write(&self.root, &binary, self.version, &self.target.join("dist"))
    }

    fn cargo(&self, args: &[&str]) -> Step {
        Step::cargo(args).dir(&self.root).env("CARGO_TARGET_DIR", &self.target)
    }

    fn exclusions(&self) -> Vec<String> {
        let private = self.workspace.packages.iter().filter(|package| !package.publishable());
        private.map(|package| format!("--exclude={}", package.name)).collect()
    }
}

fn require_clean_tree() -> Result {
    let status = Step::new("git").args(["status", "--porcelain"]).text()?;
    if status.is_empty() {
        return Ok(());
    }
    Err(Stop::failed(format!(
        "commit or remove these changes first, a release is what is committed:\n{status}"
    )))
}

/// Copies what git would carry, so that nothing of this machine ends up in the release.
fn copy_tree(from: &Path, to: &Path) -> Result {
    files::fresh_dir(to)?;
    for path in files::of_repository(from)? {
        files::copy(&from.join(&path), &to.join(&path))?;
    }
    Ok(())
}
