//! What the library adds to what it is built on, and how it compares with what one would pick instead:
//! `cargo xtask bench library`.

mod case;
mod disk;
mod memo;
mod memory;
mod report;
mod stampede;
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use bench::workload::SEED;
use case::Measured;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

#[derive(Parser)]
#[command(about)]
struct Cli {
    /// A tenth of the rounds, and a tenth of the targets
    #[arg(long)]
    quick: bool,
    /// Only the tables whose title has this in it; can be repeated
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Where to put stores and sources [default: the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Fail if a goal is missed
    #[arg(long)]
    check: bool,
}

/// How much of everything is done.
struct Plan {
    /// Turns that each contender takes.
    rounds: usize,
    /// Turns of what takes a tenth of a second.
    long_rounds: usize,
    targets: usize,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("library: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every goal is met, or `--check` was not given.
fn run(cli: &Cli) -> Result<bool> {
    let plan = if cli.quick {
        Plan { rounds: 50, long_rounds: 5, targets: 1_000 }
    } else {
        Plan { rounds: 500, long_rounds: 15, targets: 10_000 }
    };
    let parent = cli.dir.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = tempfile::Builder::new()
        .prefix("bench-library-")
        .tempdir_in(&parent)
        .map_err(|error| format!("cannot create a directory in {}: {error}", parent.display()))?;
    println!("{} rounds, {} targets, seed {SEED:#x}", plan.rounds, plan.targets);
    let mut missed = false;
    let mut show = |measured: &Measured| {
        println!("\n{}", report::table(measured));
        for verdict in report::verdicts(measured) {
            println!("{verdict}");
            missed |= !verdict.met;
        }
    };
    let wanted =
        |title: &str| cli.only.is_empty() || cli.only.iter().any(|text| title.contains(text.as_str()));
    for keys in memory::KEYS {
        let title = memory::title(keys);
        if wanted(&title) {
            show(&memory::case(title, keys)?.measure(plan.rounds)?);
        }
    }
    if wanted(disk::TITLE) {
        show(&disk::case(scratch.path())?.measure(plan.rounds)?);
    }
    for layout in [targets::Layout::Own, targets::Layout::Shared] {
        if wanted(layout.title()) {
            show(&targets::case(scratch.path(), layout, plan.targets)?.measure(plan.long_rounds)?);
        }
    }
    for case in memo::cases() {
        if wanted(case.title()) {
            show(&case.measure(plan.rounds)?);
        }
    }
    if wanted(stampede::TITLE) {
        println!("\n{}", stampede::TITLE);
        for (name, runs) in stampede::run() {
            println!("  {name:<32}{runs:>6} runs");
            missed |= name == stampede::OURS && runs != 1;
        }
    }
    Ok(!(missed && cli.check))
}
