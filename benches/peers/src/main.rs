//! The disk engine side by side with the stores that one would pick instead: `cargo xtask bench disk`.

mod contender;
mod goals;
mod machine;
mod measure;
mod peers;
mod plan;
mod report;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::contender::Contenders;
use crate::measure::{Hits, blob, duplicates, fill, hits, mixed, open, reads};
use crate::peers::{Kind, Result};
use crate::plan::Plan;
use bench::workload::SEED;

#[derive(Parser)]
#[command(about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    /// A tenth of the values and of the operations
    #[arg(long)]
    quick: bool,
    /// Open stores of a million entries as well
    #[arg(long)]
    million: bool,
    /// Only this peer, and what it is compared with; can be repeated
    #[arg(long, value_name = "NAME")]
    peer: Vec<String>,
    /// Where to put the stores [default: the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Fail if a goal is missed
    #[arg(long)]
    check: bool,
}

/// What this program starts itself for.
#[derive(Subcommand)]
enum Part {
    #[command(hide = true)]
    Open(open::Args),
    #[command(hide = true)]
    Worker(mixed::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.part {
        Some(Part::Open(args)) => open::child(args).map(|()| true),
        Some(Part::Worker(args)) => mixed::worker(args).map(|()| true),
        None => bench(&cli),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every peer did what it was asked, and with `--check` whether every goal is met.
fn bench(cli: &Cli) -> Result<bool> {
    let kinds = chosen(&cli.peer)?;
    let plan = Plan::new(cli.quick, cli.million);
    let parent = cli.dir.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = tempfile::Builder::new()
        .prefix("bench-disk-")
        .tempdir_in(&parent)
        .map_err(|error| format!("cannot create a directory in {}: {error}", parent.display()))?;
    println!("{plan}, seed {SEED:#x}\n");
    for kind in &kinds {
        println!("  {:<10}{}", kind.name, kind.about);
    }
    println!("\nlimits of this machine, median / p99 in µs");
    for (name, summary) in machine::limits(scratch.path(), &plan)? {
        println!("  {name:<32}{:>9.2} / {:.2}", summary.median, summary.p99);
    }
    let mut contenders = Contenders::new(kinds, scratch.path())?;
    fill::run(&mut contenders, &plan);
    reads::run(&mut contenders, &plan);
    open::run(&mut contenders, &plan);
    duplicates::run(&mut contenders, &plan);
    mixed::run(&mut contenders, &plan);
    contenders.remove_stores()?;
    blob::run(&mut contenders, &plan);
    if plan.million {
        open::run_million(&mut contenders, &plan);
    }
    let hits: Vec<Hits> = hits::run(scratch.path(), &plan, contenders.has(peers::SEGMENTS))?;
    println!("\n{}", report::table(&contenders, &plan));
    if let Some(million) = contenders.get(peers::SEGMENTS).and_then(|ours| ours.filled.as_ref()) {
        println!("\n{}", report::million(million));
    }
    println!("\n{}", report::hits(&hits, &plan));
    let goals = goals::all(&contenders, &hits);
    println!("\n{}", goals::lines(&goals));
    for note in contenders.notes() {
        println!("note: {note}");
    }
    let missed = cli.check && goals.iter().any(goals::Goal::is_missed);
    Ok(!contenders.any_failed() && !missed)
}

/// Returns the peers that were asked for, and the one that the ratios are relative to.
fn chosen(names: &[String]) -> Result<Vec<&'static Kind>> {
    for name in names {
        peers::find(name)?;
    }
    let wanted = |kind: &&Kind| {
        names.is_empty() || kind.name == peers::FILES || names.iter().any(|name| name == kind.name)
    };
    Ok(peers::ALL.iter().filter(wanted).collect())
}
