//! `setup`: installs what the tests need from the system's package manager where it can, and names
//! it where it cannot. Does nothing, quickly, where everything is there.

use crate::deny::CARGO_DENY_VERSION;
use crate::step::{Step, all};
use crate::stop::{Result, Stop};

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
    /// A command that succeeds where the tool is installed.
    probe: &'static [&'static str],
    source: Source,
    needed_for: &'static str,
}

enum Source {
    /// The package's name, in the order of [`MANAGERS`].
    Packages([&'static str; MANAGERS.len()]),
    /// Arguments of `cargo install`.
    Cargo(&'static [&'static str]),
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

const TOOLS: &[Tool] = &[
    Tool {
        name: "git",
        probe: &["git", "--version"],
        source: Source::Packages(["git"; 5]),
        needed_for: "tests of `@git:` inputs",
    },
    Tool {
        name: "bash",
        probe: &["bash", "--version"],
        source: Source::Packages(["bash"; 5]),
        needed_for: "the console examples of the documentation",
    },
    Tool {
        name: "cc",
        probe: &["cc", "--version"],
        source: Source::Packages(["gcc", "gcc", "gcc", "gcc", "build-base"]),
        needed_for: "linking, and tests that compile C",
    },
    Tool {
        name: "c++",
        probe: &["c++", "--version"],
        source: Source::Packages(["g++", "gcc-c++", "gcc", "gcc", "g++"]),
        needed_for: "building the fuzz targets",
    },
    Tool {
        name: "make",
        probe: &["make", "--version"],
        source: Source::Packages(["make"; 5]),
        needed_for: "tests that restored files do not make `make` rebuild",
    },
    Tool {
        name: "ccache",
        probe: &["ccache", "--version"],
        source: Source::Packages(["ccache"; 5]),
        needed_for: "tests and measurements side by side with ccache",
    },
    Tool {
        name: "curl",
        probe: &["curl", "--version"],
        source: Source::Packages(["curl"; 5]),
        needed_for: "tests of the server with a client as it is",
    },
    Tool {
        name: "nginx",
        probe: &["nginx", "-v"],
        source: Source::Packages(["nginx-light", "nginx", "nginx", "nginx", "nginx"]),
        needed_for: "tests of the HTTP client against a real server",
    },
    Tool {
        name: "cargo-deny",
        probe: &["cargo", "deny", "--version"],
        source: Source::Cargo(&["cargo-deny", "--version", CARGO_DENY_VERSION, "--no-default-features"]),
        needed_for: "`cargo xtask deny`",
    },
];

const BENCH_TOOLS: &[Tool] = &[
    Tool {
        name: "hyperfine",
        probe: &["hyperfine", "--version"],
        source: Source::Packages(["hyperfine"; 5]),
        needed_for: "measurements by hand",
    },
    Tool {
        name: "bkt",
        probe: &["bkt", "--version"],
        source: Source::Cargo(&["bkt"]),
        needed_for: "measurements side by side with bkt",
    },
];

impl Tool {
    fn is_here(&self) -> bool {
        let (program, args) = self.probe.split_first().expect("a probe has a program");
        Step::new(program).args(args).succeeds()
    }
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
    let crates = missing.iter().filter_map(|tool| match tool.source {
        Source::Cargo(args) => Some(Step::cargo(["install", "--locked"]).args(args).run()),
        Source::Packages(_) => None,
    });
    all(std::iter::once(install_packages(&missing)).chain(crates))
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
            Source::Packages(names) => Some(names[manager]),
            Source::Cargo(_) => None,
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
