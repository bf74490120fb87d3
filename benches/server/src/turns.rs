//! Every server has its turn in every round, each round begun by another one.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::content::{Block, Contents};
use crate::cpus::Cpus;
use crate::load::{self, Load, Numbers};
use crate::memory::Memory;
use crate::plan::{Case, Plan};
use crate::servers::{Running, Server, ask};
use crate::{Method, Result, SEED, report};

pub(crate) struct Bench<'a> {
    servers: &'a [Server],
    plan: &'a Plan,
    cpus: &'a Cpus,
    scratch: &'a Path,
    block: Block,
}

/// What came of all cases.
#[derive(Default)]
pub(crate) struct Measured {
    pub(crate) cases: Vec<Table>,
}

/// The numbers of one case.
pub(crate) struct Table {
    pub(crate) case: Case,
    pub(crate) rows: Vec<Row>,
}

/// What came of one server.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Of each round.
    pub(crate) rounds: Vec<Round>,
}

#[derive(Clone, Copy)]
pub(crate) struct Round {
    /// Requests per second.
    pub(crate) rate: f64,
    /// Microseconds.
    pub(crate) median: f64,
    pub(crate) p99: f64,
    /// Processor time of the server for each request, in microseconds.
    pub(crate) work: f64,
    /// Of the server after the turn.
    pub(crate) memory: Memory,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(servers: &'a [Server], plan: &'a Plan, cpus: &'a Cpus, scratch: &'a Path) -> Self {
        let largest = plan.cases.iter().map(|case| case.size).max().unwrap_or(0);
        Self { servers, plan, cpus, scratch, block: Block::new(SEED, largest) }
    }

    pub(crate) fn run(&self) -> Result<Measured> {
        let mut measured = Measured::default();
        self.gets(&mut measured)?;
        self.puts(&mut measured)?;
        Ok(measured)
    }

    fn gets(&self, measured: &mut Measured) -> Result {
        let cases = self.plan.cases.iter().filter(|case| case.method == Method::Get);
        let mut sizes: Vec<usize> = cases.clone().map(|case| case.size).collect();
        sizes.dedup();
        if sizes.is_empty() {
            return Ok(());
        }
        let mut running = Vec::new();
        for server in self.servers {
            let mut started = self.start(server, server.name())?;
            for &size in &sizes {
                self.fill(&mut started, size).map_err(of(server))?;
            }
            running.push(started);
        }
        sync(self.scratch)?;
        for case in cases {
            let contents = Contents::new(&self.block, case.size);
            let load = self.load(case, &contents, Numbers::Any(Case::contents(case.size)));
            let table = self.table(*case, |server| measure(&running[server], &load))?;
            println!("\n{}", report::table(&table));
            measured.cases.push(table);
        }
        for (server, running) in self.servers.iter().zip(running) {
            let dir = running.dir.clone();
            running.stop().map_err(of(server))?;
            remove(&dir)?;
        }
        sync(self.scratch)
    }

    fn puts(&self, measured: &mut Measured) -> Result {
        for case in self.plan.cases.iter().filter(|case| case.method == Method::Put) {
            let contents = Contents::new(&self.block, case.size);
            let load = self.load(case, &contents, Numbers::From(0));
            let table = self.table(*case, |server| {
                // A server and a directory of its own for each turn: none stores beside more than the others do, and what
                // is stored takes no room from the next.
                let server = &self.servers[server];
                let running = self.start(server, "puts")?;
                let round = measure(&running, &load)?;
                verify(&running, &contents, 0)?;
                let dir = running.dir.clone();
                running.stop()?;
                remove(&dir)?;
                // What is left for the disk to do must not be done in the time of the next.
                sync(self.scratch)?;
                Ok(round)
            })?;
            println!("\n{}", report::table(&table));
            measured.cases.push(table);
        }
        Ok(())
    }

    fn table(&self, case: Case, mut turn: impl FnMut(usize) -> Result<Round>) -> Result<Table> {
        let count = self.servers.len();
        let mut rows: Vec<Row> =
            self.servers.iter().map(|server| Row { name: server.name(), rounds: Vec::new() }).collect();
        for round in 0..case.rounds {
            for server in (0..count).map(|turn| (turn + round) % count) {
                let round = turn(server)
                    .map_err(|error| format!("{}, {}: {error}", self.servers[server].name(), case.title()))?;
                rows[server].rounds.push(round);
            }
        }
        Ok(Table { case, rows })
    }

    fn load<'b>(&self, case: &Case, contents: &'b Contents, numbers: Numbers) -> Load<'b> {
        // A request of these takes longer than a turn of the others, and there are as many as are wanted.
        let counted = case.size == crate::plan::HUGE;
        Load {
            method: case.method,
            contents,
            connections: case.connections,
            numbers,
            warm_up: if counted { Duration::ZERO } else { self.plan.warm_up },
            time: if counted { Duration::from_hours(1) } else { self.plan.time },
            requests: case.requests,
            threads: self.cpus.generator.len(),
        }
    }

    fn start(&self, server: &Server, name: &str) -> Result<Running> {
        let mut running = server.start(&self.scratch.join(name), self.cpus)?;
        running.wait("/", |_| true).map_err(of(server))?;
        Ok(running)
    }

    /// Stores what is read, and sees that it comes back.
    fn fill(&self, running: &mut Running, size: usize) -> Result {
        let contents = Contents::new(&self.block, size);
        let count = Case::contents(size);
        store(running, &contents, count)?;
        for number in [0, count / 2, count - 1] {
            verify(running, &contents, number)?;
        }
        Ok(())
    }
}

fn measure(running: &Running, load: &Load<'_>) -> Result<Round> {
    let before = running.worked()?;
    let outcome = load::run(running.address, load)?;
    let worked = running.worked()?.saturating_sub(before);
    let percentile = |percent| outcome.times.percentile(percent).unwrap_or(f64::NAN);
    Ok(Round {
        rate: outcome.rate(),
        median: percentile(50),
        p99: percentile(99),
        work: worked.as_secs_f64() * 1e6 / outcome.requests as f64,
        memory: running.memory()?,
    })
}

/// Stores the first `count` contents.
pub(crate) fn store(running: &Running, contents: &Contents, count: u64) -> Result {
    /// Enough for servers that wait for the disk, and few enough for large contents.
    const CONNECTIONS: u64 = 32;
    let load = Load {
        method: Method::Put,
        contents,
        connections: CONNECTIONS.min(count) as usize,
        numbers: Numbers::From(0),
        warm_up: Duration::ZERO,
        time: Duration::from_hours(1),
        requests: count,
        threads: 1,
    };
    load::run(running.address, &load).map(drop)
}

/// Compares every byte of the content `number` with what the server has.
pub(crate) fn verify(running: &Running, contents: &Contents, number: u64) -> Result {
    let mut path = String::new();
    contents.path(number, &mut path);
    let answer = ask(running.address, &path)?;
    let (head, tail) = (contents.head(), Contents::tail(number));
    let is_right = answer.len() > contents.size
        && answer.starts_with(b"HTTP/1.1 200")
        && answer[answer.len() - contents.size..].strip_prefix(head).is_some_and(|rest| rest == tail);
    if is_right { Ok(()) } else { Err(format!("{path} is not what was stored").into()) }
}

pub(crate) fn of(server: &Server) -> impl Fn(Box<dyn std::error::Error>) -> String + '_ {
    |error| format!("{}: {error}", server.name())
}

pub(crate) fn remove(dir: &Path) -> Result {
    Ok(fs::remove_dir_all(dir).map_err(|error| format!("cannot remove {}: {error}", dir.display()))?)
}

/// Waits until all that was written to the file system of `dir` is on the disk.
pub(crate) fn sync(dir: &Path) -> Result {
    Ok(rustix::fs::syncfs(fs::File::open(dir)?)?)
}
