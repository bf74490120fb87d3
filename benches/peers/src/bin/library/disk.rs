//! Hits on a disk, through the coordinator and without it.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use bench::rng::Rng;
use bench::workload::{self, SEED, Values, Zipf};
use bytes::Bytes;
use cache_coordinator::{Coordinator, Tier};
use cache_core::{Entry, Key, PutMode, Store};
use cache_fs::{FsStore, Lookup, Options};

use crate::Result;
use crate::case::Case;

pub(crate) const TITLE: &str = "disk hit, 10000 values of 200 B to 64 KiB, zipf";
const COUNT: u64 = 10_000;
/// Gets between two looks at the clock.
const BATCH: usize = 100;
/// Batches of keys that are drawn before anything is measured.
const BATCHES: usize = 256;

const BARE: &str = "FsStore";
const OURS: &str = "Coordinator over FsStore";

pub(crate) fn case(scratch: &Path) -> Result<Case<'static>> {
    let store = FsStore::open(&scratch.join("disk"), Options::default())?;
    let key = |id| Key::from_bytes(workload::key(id));
    let mut values = Values::new();
    for id in 0..COUNT {
        let entry = Entry { value: Bytes::copy_from_slice(values.value(id)), ..Entry::default() };
        let _ = store.put(&key(id), &entry, PutMode::Overwrite)?;
    }
    let (zipf, mut rng) = (Zipf::new(COUNT), Rng::new(SEED + 12));
    let draw = |rng: &mut Rng| -> Vec<u64> { (0..BATCH).map(|_| zipf.draw(rng)).collect() };
    let batches: Arc<[Vec<u64>]> = (0..BATCHES).map(|_| draw(&mut rng)).collect();
    let runtime = Arc::new(tokio::runtime::Builder::new_current_thread().enable_time().build()?);
    let tier = Tier::new(Arc::new(store.clone())).named("disk");
    let chain = Coordinator::builder().tier(tier).runtime(runtime.handle().clone()).build()?;
    let through = |store: Arc<dyn Store>| {
        let (runtime, batches) = (Arc::clone(&runtime), Arc::clone(&batches));
        move |round: usize| {
            runtime.block_on(async {
                for &id in &batches[round % BATCHES] {
                    let found = store.get(&key(id)).await?;
                    check(id, &found.ok_or("a value is gone")?)?;
                }
                Ok(())
            })
        }
    };
    let bare: Arc<dyn Store> = Arc::new(store.clone());
    let (traited, ours) = (through(bare), through(Arc::new(chain)));
    let batches = Arc::clone(&batches);
    let case = Case::new(TITLE, "get", BATCH as u64)
        .contender(BARE, move |round| {
            for &id in &batches[round % BATCHES] {
                let Lookup::Hit(found) = store.get(&key(id))? else { return Err("a value is gone".into()) };
                check(id, &found)?;
            }
            Ok(())
        })
        .contender("FsStore as a dyn Store", traited)
        .contender(OURS, ours);
    Ok(case.goal(OURS, BARE, 1.2))
}

/// Looks at what every value begins with; the store has checked all of it.
fn check(id: u64, found: &Entry) -> Result {
    let right = found.value.get(..8).is_some_and(|tag| tag == id.to_le_bytes());
    if right && black_box(found.value.len()) == workload::len(id) {
        Ok(())
    } else {
        Err("a wrong value".into())
    }
}
