//! Eight processes that read and write at a time.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::contender::{Contender, Contenders};
use crate::peers::{self, ROOMY, Result};
use crate::plan::{PROCESSES, PUT_EVERY, Plan};
use bench::rng::{Rng, mix};
use bench::workload::{self, SEED, Values, Zipf};

/// Operations between two looks at the clock.
const BATCH: u64 = 16;

pub(crate) fn run(contenders: &mut Contenders, plan: &Plan) {
    for round in 0..plan.mixed_rounds {
        contenders.turn("mixed", round, |contender| {
            if contender.kind.shared {
                let kops = one_round(contender, plan, round)?;
                contender.results.mixed.push(kops);
                rustix::fs::sync();
            }
            Ok(())
        });
    }
}

struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Worker {
    fn start(contender: &Contender, plan: &Plan, number: u64) -> Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .args(["worker", contender.kind.name])
            .arg(&contender.dir)
            .args([number, plan.values, plan.mixed_time.as_millis() as u64].map(|n| n.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a worker has no pipes".into());
        };
        Ok(Self { child, stdin, stdout: BufReader::new(stdout) })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Err(format!("a worker ended early ({})", self.child.wait()?).into());
        }
        Ok(line)
    }
}

/// Returns thousands of operations a second, of all workers.
fn one_round(contender: &mut Contender, plan: &Plan, round: u64) -> Result<f64> {
    let mut workers = (0..PROCESSES)
        .map(|worker| Worker::start(contender, plan, round * PROCESSES + worker))
        .collect::<Result<Vec<_>>>()?;
    for worker in &mut workers {
        worker.line()?;
    }
    for worker in &mut workers {
        worker.stdin.write_all(b"go\n")?;
    }
    let (mut rate, mut lost) = (0.0, 0);
    for worker in &mut workers {
        let line = worker.line()?;
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let &[operations, nanos, misses] = numbers.as_slice() else {
            return Err(format!("a worker said {line:?}").into());
        };
        rate += operations as f64 * 1e6 / nanos as f64;
        lost += misses;
        worker.child.wait()?;
    }
    if lost > 0 {
        contender.note(&format!("{lost} gets of the mixed load found nothing, though it was stored"));
    }
    Ok(rate)
}

#[derive(clap::Args)]
pub(crate) struct Args {
    peer: String,
    dir: PathBuf,
    number: u64,
    values: u64,
    millis: u64,
}

/// Reads and writes from the moment its standard input says so, and prints how many operations it
/// did, in how many nanoseconds, and how many gets found nothing.
pub(crate) fn worker(args: &Args) -> Result {
    let kind = peers::find(&args.peer)?;
    let zipf = Zipf::new(args.values);
    let mut values = Values::new();
    let mut rng = Rng::new(mix(SEED ^ 5 ^ (args.number << 8)));
    let mut buffer = Vec::new();
    let mut peer = (kind.open)(&args.dir, ROOMY)?;
    println!("ready");
    std::io::stdin().read_line(&mut String::new())?;
    let time = Duration::from_millis(args.millis);
    let start = Instant::now();
    let (mut operations, mut puts, mut misses) = (0u64, 0, 0u64);
    while !operations.is_multiple_of(BATCH) || start.elapsed() < time {
        if rng.below(PUT_EVERY) == 0 {
            let id = workload::of_worker(args.number, puts);
            puts += 1;
            peer.put(&workload::key(id), values.value(id))?;
        } else {
            let id = zipf.draw(&mut rng);
            match peer.get(&workload::key(id), &mut buffer)? {
                None => misses += 1,
                Some(found) if values.is_value(id, found) => {}
                Some(_) => return Err(format!("{} returned a wrong value for entry {id}", kind.name).into()),
            }
        }
        operations += 1;
    }
    println!("{operations} {} {misses}", start.elapsed().as_nanos());
    Ok(())
}
