//! Hits in memory.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bench::rng::Rng;
use bench::workload::{self, SEED, Zipf};
use bytes::Bytes;
use cache_core::{Entry, Event, Key, Observer, Observers, Policy, PutMode, Store};
use cache_memory::{MemoryStore, Options};

use crate::Result;
use crate::case::Case;

/// A megabyte, which stays in the caches of the processor, and a hundred, which do not.
pub(crate) const KEYS: [u64; 2] = [1_000, 100_000];
const VALUE: usize = 1 << 10;
/// Gets between two looks at the clock.
const BATCH: usize = 2_000;
/// Batches of keys that are drawn before anything is measured.
const BATCHES: usize = 64;
/// Nothing is evicted: room for more than twice the values.
const ROOM: u64 = 256 << 20;

const QUICK_CACHE: &str = "quick_cache";
const MOKA: &str = "moka";
const OURS: &str = "cache-memory";
const OBSERVED: &str = "cache-memory, an observer";

/// An observer that does the least.
#[derive(Default)]
struct Counting(AtomicU64);

impl Observer for Counting {
    fn on_event(&self, _: &str, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) fn title(keys: u64) -> String {
    format!("memory hit, {keys} values of 1 KiB, zipf")
}

pub(crate) fn case(title: String, count: u64) -> Result<Case<'static>> {
    let key = |id| Key::from_bytes(workload::key(id));
    let value = |id: u64| {
        let mut value = vec![7; VALUE];
        value[..8].copy_from_slice(&id.to_le_bytes());
        Bytes::from(value)
    };
    let weigh = |_: &Key, value: &Bytes| u32::try_from(value.len() + 64).unwrap_or(u32::MAX);
    let quick = quick_cache::sync::Cache::with_weighter(count as usize * 2, ROOM, Weigher);
    let moka = moka::sync::Cache::builder().max_capacity(ROOM).weigher(weigh).build();
    let observers = Observers::new(Arc::new(Counting::default()));
    let [ours, observed] = [Observers::default(), observers].map(|observers| {
        let policy = Policy { max_bytes: Some(ROOM), ..Policy::unlimited() };
        MemoryStore::new(Options { policy, observers, ..Options::default() })
    });
    for id in 0..count {
        quick.insert(key(id), value(id));
        moka.insert(key(id), value(id));
        for store in [&ours, &observed] {
            let entry = Entry { value: value(id), ..Entry::default() };
            let _ = store.put(&key(id), &entry, PutMode::Overwrite)?;
        }
    }
    moka.run_pending_tasks();
    let (zipf, mut rng) = (Zipf::new(count), Rng::new(SEED + 11));
    let draw = |rng: &mut Rng| -> Vec<Key> { (0..BATCH).map(|_| key(zipf.draw(rng))).collect() };
    let batches: Arc<[Vec<Key>]> = (0..BATCHES).map(|_| draw(&mut rng)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let through_trait: Arc<dyn Store> = Arc::new(ours.clone());
    let case = Case::new(title, "get", BATCH as u64)
        .contender(QUICK_CACHE, gets(&batches, move |key| quick.get(key).map(|value| value[0])))
        .contender(MOKA, gets(&batches, move |key| moka.get(key).map(|value| value[0])))
        .contender(OURS, gets(&batches, move |key| ours.get(key).map(|hit| hit.value[0])))
        .contender(OBSERVED, gets(&batches, move |key| observed.get(key).map(|hit| hit.value[0])))
        .contender("cache-memory as a dyn Store", move |round| {
            runtime.block_on(async {
                for key in &batches[round % BATCHES] {
                    let found = through_trait.get(key).await?;
                    black_box(found.ok_or("a value is gone")?.value[0]);
                }
                Ok(())
            })
        });
    Ok(case.goal(OURS, QUICK_CACHE, 1.3).goal(OURS, MOKA, 1.0))
}

/// Returns what does a batch of gets; each is a hit of which a byte is read.
fn gets<G: Fn(&Key) -> Option<u8>>(
    batches: &Arc<[Vec<Key>]>,
    get: G,
) -> impl FnMut(usize) -> Result + use<G> {
    let batches = Arc::clone(batches);
    move |round| {
        for key in &batches[round % BATCHES] {
            black_box(get(key).ok_or("a value is gone")?);
        }
        Ok(())
    }
}

#[derive(Clone)]
struct Weigher;

impl quick_cache::Weighter<Key, Bytes> for Weigher {
    fn weight(&self, _: &Key, value: &Bytes) -> u64 {
        value.len() as u64 + 64
    }
}
