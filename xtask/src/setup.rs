//! `setup`: installs what the tests need from the system's package manager where it can, and names
//! it where it cannot. Does nothing, quickly, where everything is there.

mod maven;
mod tools;

use std::env;
use std::fs;
use std::path::PathBuf;

use crate::files;
use crate::step::{Step, all};
use crate::stop::{Result, Stop};
pub(crate) use tools::BAZEL_REMOTE;
use tools::{BENCH_TOOLS, TOOLS};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also install what the measurements compare with
    #[arg(long)]
    bench: bool,
    /// Only say what is missing
    #[arg(long)]
    check: bool,
}

/// A program, how to see that it is there, and where it comes from.
struct Tool {
    name: &'static str,
    /// A command that succeeds where the tool is installed. Without one, it is where [`directory`] says.
    probe: &'static [&'static str],
    source: Source,
    needed_for: &'static str,
}

enum Source {
    /// The package's name, in the order of [`MANAGERS`]; empty where there is none.
    Packages([&'static str; MANAGERS.len()]),
    /// Arguments of `cargo install`.
    Cargo(&'static [&'static str]),
    /// A program from crates.io, exactly of this version, in a directory that nobody else uses.
    Crate { package: &'static str, version: &'static str, args: &'static [&'static str] },
    /// Maven, exactly of this version, with what its tests need.
    Maven { version: &'static str },
    /// Packages of npm, exactly of these versions, in a directory that nobody else uses.
    Npm { packages: &'static [&'static str], bin: &'static str },
    /// The program at the root of a Go module, exactly of this version.
    Go { package: &'static str, bin: &'static str },
}

/// A package manager: its program, and the arguments that install packages without questions.
struct Manager {
    program: &'static str,
    install: &'static [&'static str],
    /// Brings the list of packages up to date; images of CI machines often come without one.
    refresh: &'static [&'static str],
    needs_root: bool,
}

const MANAGERS: [Manager; 5] = [
    Manager {
        program: "apt-get",
        install: &["install", "--yes", "--no-install-recommends"],
        refresh: &["update"],
        needs_root: true,
    },
    Manager {
        program: "dnf",
        install: &["install", "--assumeyes"],
        refresh: &["makecache"],
        needs_root: true,
    },
    Manager {
        program: "pacman",
        install: &["--sync", "--needed", "--noconfirm"],
        refresh: &["--sync", "--refresh"],
        needs_root: true,
    },
    Manager { program: "brew", install: &["install"], refresh: &["update"], needs_root: false },
    Manager { program: "apk", install: &["add"], refresh: &["update"], needs_root: true },
];

impl Tool {
    fn is_here(&self) -> bool {
        match self.probe.split_first() {
            Some((program, args)) => Step::new(program).args(args).succeeds(),
            None => self.program().is_some_and(|program| program.exists()),
        }
    }

    /// Returns what is there of a tool that [`directory`] holds: its program, or what is made last.
    fn program(&self) -> Option<PathBuf> {
        match self.source {
            Source::Npm { bin, .. } => Some(self.directory()?.join("node_modules/.bin").join(bin)),
            Source::Go { bin, .. } => Some(self.directory()?.join(bin)),
            Source::Crate { package, .. } => Some(self.directory()?.join("bin").join(package)),
            Source::Maven { .. } => Some(maven::result(&self.directory()?)),
            Source::Packages(_) | Source::Cargo(_) => None,
        }
    }

    fn directory(&self) -> Option<PathBuf> {
        Some(directory()?.join(self.name))
    }

    fn install_to_directory(&self) -> Result {
        let Some(dir) = self.directory() else {
            return Err(Stop::absent(format!("no home directory to install {} to", self.name)));
        };
        match self.source {
            Source::Npm { packages, .. } => Step::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--no-save", "--prefix"])
                .arg(&dir)
                .args(packages)
                .run(),
            Source::Go { package, bin } => {
                // `go install` asks for the list of all versions first, which not every mirror has.
                let json = Step::new("go").args(["mod", "download", "-json", package]).stdout()?;
                let source = serde_json::from_slice::<serde_json::Value>(&json).ok();
                let Some(source) = source.as_ref().and_then(|module| module["Dir"].as_str()) else {
                    return Err(Stop::failed(format!(
                        "`go mod download -json {package}` named no directory"
                    )));
                };
                files::create_dirs(&dir)?;
                let build = ["build", "-C", source, "-buildvcs=false", "-o"];
                Step::new("go").args(build).arg(dir.join(bin)).arg(".").run()
            }
            Source::Crate { package, version, args } => {
                // It takes minutes. Optimised as its author wants, it takes twice as many, and tests gain nothing from that.
                let target = dir.join("target");
                Step::cargo(["install", "--locked", package, "--version", version])
                    .args(args)
                    .arg("--root")
                    .arg(&dir)
                    .env("CARGO_TARGET_DIR", &target)
                    .env("CARGO_PROFILE_RELEASE_LTO", "off")
                    .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                    .run()?;
                fs::remove_dir_all(&target).map_err(Stop::io("remove", &target))
            }
            Source::Maven { version } => maven::install(&dir, version),
            Source::Packages(_) | Source::Cargo(_) => Ok(()),
        }
    }
}

/// Returns where tools are that no package manager keeps for all of the machine: each in a directory with its name, which has
/// its version in it. Tests find them there by the same rule.
fn directory() -> Option<PathBuf> {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("VITTE_CACHE_TOOLS").or_else(|| Some(named("HOME")?.join(".cache/vitte-cache-tools")))
}

/// Returns the program of the tool `name`, if it is where [`directory`] says.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let tool = TOOLS.iter().chain(BENCH_TOOLS).find(|tool| tool.name == name)?;
    tool.program().filter(|program| program.exists())
}

pub(crate) fn run(args: &Args) -> Result {
    if args.check { report(&missing(args.bench)) } else { install(args.bench) }
}

/// Says what is missing, and changes nothing.
pub(crate) fn check() -> Result {
    report(&missing(false))
}

/// Installs what is missing.
pub(crate) fn install(bench: bool) -> Result {
    let missing = missing(bench);
    if missing.is_empty() {
        println!("everything is there");
        return Ok(());
    }
    let others = missing.iter().filter_map(|tool| match tool.source {
        Source::Cargo(args) => Some(Step::cargo(["install", "--locked"]).args(args).run()),
        Source::Packages(_) => None,
        _ => Some(tool.install_to_directory()),
    });
    all(std::iter::once(install_packages(&missing)).chain(others))
}

fn missing(bench: bool) -> Vec<&'static Tool> {
    let more: &[Tool] = if bench { BENCH_TOOLS } else { &[] };
    TOOLS.iter().chain(more).filter(|tool| !tool.is_here()).collect()
}

fn report(missing: &[&Tool]) -> Result {
    for tool in missing {
        println!("{} is missing, needed for {}", tool.name, tool.needed_for);
    }
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|tool| tool.name).collect();
    Err(Stop::absent(format!("{} missing: `cargo xtask setup` installs what it can", names.join(", "))))
}

fn install_packages(missing: &[&Tool]) -> Result {
    let wanted: Vec<&&Tool> =
        missing.iter().filter(|tool| matches!(tool.source, Source::Packages(_))).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let found = MANAGERS.iter().position(|manager| Step::new(manager.program).arg("--version").succeeds());
    let Some(index) = found else {
        let names: Vec<&str> = wanted.iter().map(|tool| tool.name).collect();
        return Err(Stop::absent(format!(
            "no package manager that setup knows is here: install {} by hand",
            names.join(", ")
        )));
    };
    let manager = &MANAGERS[index];
    let packages = packages(&wanted, index);
    if packages.is_empty() {
        let names: Vec<&str> = wanted.iter().map(|tool| tool.name).collect();
        let program = manager.program;
        return Err(Stop::absent(format!("{program} has no {}: install by hand", names.join(", "))));
    }
    let install = Step::new(manager.program).args(manager.install).args(&packages);
    let Some(rights) = Rights::find(manager) else {
        return Err(Stop::absent(format!("no rights to install packages, type: sudo {install}")));
    };
    if rights.step(manager, manager.install).args(&packages).run().is_ok() {
        return Ok(());
    }
    rights.step(manager, manager.refresh).run()?;
    rights.step(manager, manager.install).args(&packages).run()
}

fn packages(tools: &[&&Tool], manager: usize) -> Vec<&'static str> {
    let mut names: Vec<&str> = tools
        .iter()
        .filter_map(|tool| match tool.source {
            Source::Packages(names) => Some(names[manager]).filter(|name| !name.is_empty()),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// How packages may be installed here.
enum Rights {
    Own,
    /// By `sudo` that asks for no password: nobody may be there to type one.
    Sudo,
}

impl Rights {
    fn find(manager: &Manager) -> Option<Self> {
        let is_root = || Step::new("id").arg("-u").text().is_ok_and(|id| id == "0");
        if !manager.needs_root || is_root() {
            return Some(Self::Own);
        }
        Step::new("sudo").args(["-n", "true"]).succeeds().then_some(Self::Sudo)
    }

    fn step(&self, manager: &Manager, args: &[&str]) -> Step {
        match self {
            Self::Own => Step::new(manager.program).args(args),
            Self::Sudo => Step::new("sudo").args(["-n", manager.program]).args(args),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_serves_two_tools_is_named_once() {
        let tools: Vec<&Tool> = TOOLS.iter().filter(|tool| ["cc", "c++"].contains(&tool.name)).collect();
        let tools: Vec<&&Tool> = tools.iter().collect();
        assert_eq!(packages(&tools, 0), ["g++", "gcc"]);
        assert_eq!(packages(&tools, 2), ["gcc"]);
    }

    #[test]
    fn tools_of_which_no_package_manager_knows_the_version_have_it_in_their_names() {
        for tool in TOOLS.iter().chain(BENCH_TOOLS) {
            let pinned = match tool.source {
                Source::Npm { packages, .. } => packages[0].rsplit_once('@').map(|(_, version)| version),
                Source::Go { package, .. } => package.rsplit_once('@').map(|(_, version)| version),
                Source::Crate { version, .. } | Source::Maven { version } => Some(version),
                Source::Packages(_) | Source::Cargo(_) => None,
            };
            if let Some(version) = pinned {
                assert!(tool.name.ends_with(version), "{} is not named after {version}", tool.name);
                assert!(tool.probe.is_empty(), "{} would be found in another version", tool.name);
            }
        }
    }

    #[test]
    fn what_is_missing_is_named_with_the_remedy() {
        let tool = Tool {
            name: "gizmo",
            probe: &["no-such-program-here"],
            source: Source::Packages(["gizmo"; 5]),
            needed_for: "this test",
        };
        assert!(!tool.is_here());
        let stop = report(&[&tool]).unwrap_err();
        assert!(matches!(&stop, Stop::Absent(_)));
        assert!(stop.to_string().contains("gizmo missing: `cargo xtask setup`"), "{stop}");
    }
}
