//! A store of a million entries: how soon a server is ready that starts with it, and what memory it takes.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::content::{Block, Contents};
use crate::cpus::Cpus;
use crate::load::{self, Load, Numbers};
use crate::memory::Memory;
use crate::plan::{Plan, SMALL};
use crate::servers::{BAZEL_REMOTE, NGINX, Server};
use crate::turns::{of, remove, store, sync, verify};
use crate::{Method, Result, SEED, report};

/// Starts of which the median counts.
const STARTS: usize = 5;
/// How long entries are read, and by how many connections.
const READING: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 32;

pub(crate) struct Million {
    pub(crate) name: &'static str,
    pub(crate) entries: u64,
    /// From before the process is started until the first GET is answered with its content, in microseconds.
    pub(crate) ready: Vec<f64>,
    pub(crate) at_start: Memory,
    /// After entries were read in any order for a while.
    pub(crate) after_reading: Memory,
}

/// nginx is left out: it knows nothing of the files that it serves.
pub(crate) fn run(servers: &[Server], plan: &Plan, cpus: &Cpus, scratch: &Path) -> Result<Vec<Million>> {
    let contents = Contents::new(&Block::new(SEED, SMALL), SMALL);
    let mut all = Vec::new();
    println!("\n{}", report::million_title(plan.million));
    for server in servers.iter().filter(|server| server.name() != NGINX) {
        let measured = one(server, plan, cpus, scratch, &contents).map_err(of(server))?;
        println!("{}", report::million(&measured));
        all.push(measured);
    }
    Ok(all)
}

/// Stores what bazel-remote would have stored, under its names. It waits for the disk at each PUT, which takes the better part
/// of an hour.
fn write_files(dir: &Path, contents: &Contents, entries: u64) -> Result {
    let dir = dir.join("cas.v2");
    for shard in 0..=u8::MAX {
        fs::create_dir_all(dir.join(format!("{shard:02x}")))?;
    }
    let mut path = String::new();
    for number in 0..entries {
        path.clear();
        contents.path(number, &mut path);
        let hex = path.trim_start_matches("/cas/");
        let file = dir.join(&hex[..2]).join(format!("{hex}-0.v1"));
        fs::write(&file, [contents.head(), &Contents::tail(number)].concat())?;
    }
    Ok(())
}

fn one(server: &Server, plan: &Plan, cpus: &Cpus, scratch: &Path, contents: &Contents) -> Result<Million> {
    let dir = scratch.join("million");
    let entries = plan.million;
    if server.name() == BAZEL_REMOTE {
        write_files(&dir, contents, entries)?;
    } else {
        let mut running = server.start(&dir, cpus)?;
        running.wait("/", |_| true)?;
        store(&running, contents, entries)?;
        running.stop()?;
    }
    sync(scratch)?;
    let mut path = String::new();
    contents.path(entries / 2, &mut path);
    let mut ready = Vec::new();
    let mut at_start = Memory::default();
    let mut after_reading = Memory::default();
    for start in 0..STARTS {
        let before = Instant::now();
        let mut running = server.start(&dir, cpus)?;
        running.wait(&path, |answer| answer.starts_with(b"HTTP/1.1 200"))?;
        ready.push(before.elapsed().as_secs_f64() * 1e6);
        at_start = running.memory()?;
        if start + 1 == STARTS {
            let load = Load {
                method: Method::Get,
                contents,
                connections: CONNECTIONS,
                numbers: Numbers::Any(entries),
                warm_up: Duration::ZERO,
                time: READING.min(plan.time * 10),
                requests: u64::MAX,
                threads: 1,
            };
            load::run(running.address, &load)?;
            verify(&running, contents, entries - 1)?;
            after_reading = running.memory()?;
        }
        running.stop()?;
    }
    remove(&dir)?;
    sync(scratch)?;
    Ok(Million { name: server.name(), entries, ready, at_start, after_reading })
}
