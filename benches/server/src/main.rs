//! The server side by side with nginx and bazel-remote: `cargo xtask bench server`.

mod connection;
mod content;
mod cpus;
mod goals;
mod histogram;
mod load;
mod memory;
mod million;
mod plan;
mod report;
mod rng;
mod servers;
mod turns;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::cpus::Cpus;
use crate::plan::Plan;
use crate::servers::Server;
use crate::turns::Bench;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Where every content comes from.
const SEED: u64 = 0x7669_7474_6521;

#[derive(Parser)]
#[command(about)]
struct Cli {
    /// One short round of everything, to see that it works
    #[arg(long)]
    quick: bool,
    /// Stores of a million entries as well: memory, and how soon a server is ready
    #[arg(long)]
    million: bool,
    /// Only the cases whose title has this in it; can be repeated
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// The program of `vitte-cache`
    #[arg(long, value_name = "FILE")]
    ours: PathBuf,
    /// The program of nginx
    #[arg(long, value_name = "FILE")]
    nginx: Option<PathBuf>,
    /// The program of bazel-remote
    #[arg(long, value_name = "FILE")]
    bazel_remote: Option<PathBuf>,
    /// Where the servers store [default: the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Fail if a goal is missed
    #[arg(long)]
    check: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Get,
    Put,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
        }
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench server: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every goal is met, or `--check` was not given.
fn run(cli: &Cli) -> Result<bool> {
    let parent = cli.dir.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = tempfile::Builder::new()
        .prefix("bench-server-")
        .tempdir_in(&parent)
        .map_err(|error| format!("cannot create a directory in {}: {error}", parent.display()))?;
    let cpus = Cpus::split()?;
    cpus.as_generator()?;
    let mut servers = vec![Server::Ours(cli.ours.clone())];
    servers.extend(cli.nginx.clone().map(Server::Nginx));
    servers.extend(cli.bazel_remote.clone().map(Server::BazelRemote));
    let plan = Plan::new(cli.quick, &cli.only);
    println!(
        "generator on CPUs {:?}, servers on CPUs {:?}, {} rounds, seed {SEED:#x}",
        cpus.generator, cpus.server, plan.rounds
    );
    let bench = Bench::new(&servers, &plan, &cpus, scratch.path());
    let measured = bench.run()?;
    let million =
        if cli.million { million::run(&servers, &plan, &cpus, scratch.path())? } else { Vec::new() };
    let goals = goals::all(&measured, &million);
    println!("\n{}", goals::lines(&goals));
    Ok(!(cli.check && goals.iter().any(goals::Goal::is_missed)))
}
