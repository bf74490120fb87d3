//! What a live cache costs when it knows a million entries:
//!
//! ```text
//! cargo run --release -p cache-coordinator --example live_scale -- [entries]
//! ```
//!
//! Each hundred entries are computed from one file, and each entry from the one before it in its hundred.

#![expect(clippy::print_stdout, reason = "it shows what it measured")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};

use cache_coordinator::action::FileStates;
use cache_coordinator::live::{LiveCache, Upstream};
use cache_core::{FileDependency, Key, KeyBuilder, ListFilter, Namespace, Store};
use cache_fs::{FsStore, Options};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const PER_FILE: u64 = 100;
/// How many paths are reported, one after the other.
const REPORTS: usize = 50;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let entries: u64 = env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let dir = tempfile::tempdir()?;
    let tree = dir.path().join("tree");
    let store = Arc::new(FsStore::open(&dir.path().join("store"), Options::default())?);
    let files = entries.div_ceil(PER_FILE);
    for file in 0..files {
        let path = tree.join(name(file));
        fs::create_dir_all(path.parent().ok_or("no parent")?)?;
        fs::write(path, file.to_string())?;
    }
    // So that the times of the files can be believed, as those of most files in a checkout can.
    tokio::time::sleep(Duration::from_secs(3)).await;

    let open = async |store: &Arc<FsStore>| -> Result<LiveCache> {
        Ok(LiveCache::open(store.clone(), Arc::new(FileStates::new(&tree)?), Namespace::default()).await)
    };
    let live = open(&store).await?;
    let start = Instant::now();
    for file in 0..files {
        let roots = live.snapshot(&[name(file)]).await?;
        fill(&live, file, roots).await?;
    }
    per("persist", start, entries);
    drop(live);

    let start = Instant::now();
    let mut after = None;
    while let Some(cursor) = Store::list(&*store, &ListFilter::default(), after.as_deref(), 1000).await?.next
    {
        after = Some(cursor);
    }
    per("listing by the store", start, entries);
    let start = Instant::now();
    let live = open(&store).await?;
    println!("{:<28} {:>9.2} s for {} entries", "start", start.elapsed().as_secs_f64(), live.entry_count());
    println!(
        "{:<28} {:>9} bytes per entry",
        "memory",
        live.stats().memory_bytes / live.entry_count().max(1) as u64
    );

    let sample = || (0..files).step_by(files.div_ceil(1000) as usize);
    let last = |file: u64| key(file, PER_FILE - 1);
    let mut looked_up = 0;
    for what in ["first look_up (100 checked)", "look_up", "look_up_revalidate (100)"] {
        let start = Instant::now();
        looked_up = 0;
        for file in sample() {
            let key = last(file);
            let again = what.starts_with("look_up_re");
            let lookup = if again { live.look_up_revalidate(&key).await } else { live.look_up(&key).await };
            looked_up += u64::from(lookup.is_hit());
        }
        per(what, start, looked_up);
    }
    println!("{looked_up} hits");

    let mut times = Vec::new();
    let mut visited = 0;
    for file in sample().take(REPORTS) {
        let before = live.stats().visited;
        let start = Instant::now();
        let dropped = live.invalidate_path(Path::new(&name(file))).await?;
        times.push(start.elapsed());
        visited = live.stats().visited - before;
        assert_eq!(dropped as u64, PER_FILE);
    }
    times.sort_unstable();
    println!(
        "{:<28} {:>9.3} ms in the middle, {:.3} ms at worst, removals from the disk included; {visited} visited",
        "invalidate_path",
        times[times.len() / 2].as_secs_f64() * 1e3,
        times[times.len() - 1].as_secs_f64() * 1e3,
    );
    let start = Instant::now();
    let marked = live.mark_path_dirty(name(files - 1));
    println!("{:<28} {:>9.3} ms for {marked}", "mark_path_dirty", start.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

async fn fill(live: &LiveCache, file: u64, roots: Vec<FileDependency>) -> Result<()> {
    let mut upstream: Vec<Upstream> = Vec::new();
    for number in 0..PER_FILE {
        let bytes = format!("symbols of {number} in {file}");
        let persisted = live
            .persist_with_upstreams(&key(file, number), bytes, "symbols", roots.clone(), upstream)
            .await?;
        upstream = vec![persisted.upstream];
    }
    Ok(())
}

fn key(file: u64, number: u64) -> Key {
    KeyBuilder::new(&Namespace::default(), "symbols").number(file).number(number).finish()
}

fn name(file: u64) -> String {
    format!("module-{}/part-{}/source-{file}.rs", file / 1000, file / 50)
}

fn per(what: &str, start: Instant, count: u64) {
    println!("{what:<28} {:>9.2} µs each", start.elapsed().as_secs_f64() * 1e6 / count as f64);
}
