//! Open and first get, in fresh processes.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{million, wrong};
use crate::contender::{Contender, Contenders, Opens};
use crate::peers::{self, ROOMY, Result, SEGMENTS};
use crate::plan::{MILLION, Plan, THOUSAND};
use crate::usage;
use bench::rng::Rng;
use bench::workload::{self, SEED, Values};

pub(crate) fn run(contenders: &mut Contenders, plan: &Plan) {
    contenders.turn("a thousand entries", 0, |contender| build(contender, THOUSAND));
    rustix::fs::sync();
    let mut rng = Rng::new(SEED ^ 3);
    for round in 0..plan.opens {
        let ids = (rng.below(THOUSAND), rng.below(plan.values));
        contenders.turn("open", round, |contender| {
            let small = contender.scratch.join("small");
            once(contender.kind.name, &small, true, ids.0, &mut contender.results.thousand)?;
            once(contender.kind.name, &contender.dir, false, ids.1, &mut contender.results.full)
        });
    }
    contenders.turn("open", 0, |contender| Ok(fs::remove_dir_all(contender.scratch.join("small"))?));
}

/// One peer after the other: all of their millions of files would not fit into the page cache.
pub(crate) fn run_million(contenders: &mut Contenders, plan: &Plan) {
    contenders.turn("a million entries", 0, |contender| {
        build(contender, MILLION)?;
        rustix::fs::sync();
        let small = contender.scratch.join("small");
        let mut rng = Rng::new(SEED ^ 4);
        for _ in 0..plan.opens {
            let id = rng.below(MILLION);
            once(contender.kind.name, &small, true, id, &mut contender.results.million)?;
        }
        if contender.kind.name == SEGMENTS {
            contender.results.filled = Some(million::run(&small)?);
        }
        fs::remove_dir_all(&small)?;
        rustix::fs::sync();
        Ok(())
    });
}

fn build(contender: &Contender, count: u64) -> Result {
    let dir = contender.scratch.join("small");
    fs::create_dir_all(&dir)?;
    let mut values = Values::new();
    let mut peer = (contender.kind.open)(&dir, ROOMY)?;
    for id in 0..count {
        peer.put(&workload::key(id), values.small(id))?;
    }
    peer.settle()
}

fn once(name: &str, dir: &Path, small: bool, id: u64, opens: &mut Opens) -> Result {
    let mut command = Command::new(env::current_exe()?);
    command.arg("open").arg(name).arg(dir).arg(id.to_string());
    if small {
        command.arg("--small");
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let &[first, second, memory] = numbers.as_slice() else {
        return Err(format!("the process that opens {} failed ({})", dir.display(), output.status).into());
    };
    opens.process.add(Duration::from_nanos(first));
    opens.handle.add(Duration::from_nanos(second));
    opens.memory.push(memory);
    Ok(())
}

#[derive(clap::Args)]
pub(crate) struct Args {
    peer: String,
    dir: PathBuf,
    id: u64,
    /// The values are all of the small size
    #[arg(long)]
    small: bool,
}

/// Opens the store twice and prints both times in nanoseconds, and the memory with it open.
pub(crate) fn child(args: &Args) -> Result {
    let kind = peers::find(&args.peer)?;
    let key = workload::key(args.id);
    let values = Values::new();
    let mut buffer = Vec::with_capacity(128 << 10);
    let mut times = Vec::new();
    let mut memory = 0;
    for _ in 0..2 {
        let start = Instant::now();
        let mut peer = (kind.open)(&args.dir, ROOMY)?;
        let found = peer.get(&key, &mut buffer)?;
        times.push(start.elapsed().as_nanos());
        memory = usage::memory().unwrap_or(0);
        let right = |found| {
            if args.small { values.is_small(args.id, found) } else { values.is_value(args.id, found) }
        };
        if !found.is_some_and(right) {
            return Err(format!("the first get of {} returned {}", kind.name, wrong(found)).into());
        }
    }
    println!("{} {} {memory}", times[0], times[1]);
    Ok(())
}
