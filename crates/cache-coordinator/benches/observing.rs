//! What a hit in memory costs through a chain, alone and with somebody who watches:
//! `cargo bench -p cache-coordinator --bench observing`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cache_coordinator::{ChainObserver, Coordinator, CoordinatorBuilder, Tier, TierEvent};
use cache_core::{Entry, EntryMeta, Key, KeyBuilder, Namespace, PutMode, Store};
use cache_memory::{MemoryStore, Options};

/// Entries that are looked up in turn.
const ENTRIES: u64 = 1000;
/// Rounds of which the fastest counts: what else the machine does only ever adds.
const ROUNDS: usize = 15;

#[derive(Default)]
struct Counting(AtomicU64);

impl ChainObserver for Counting {
    fn on_event(&self, _event: &TierEvent<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn main() {
    // Without the flag, this is a test of whether it runs.
    let hits: usize = if std::env::args().any(|arg| arg == "--bench") { 400_000 } else { 2000 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let keys: Vec<Key> = (0..ENTRIES).map(key).collect();
        let bare = filled(&keys).await;
        let plain = chain(&bare, |builder| builder);
        let watched = chain(&bare, |builder| builder.observer(Arc::new(Counting::default())));
        #[cfg(feature = "metrics")]
        let counted = chain(&bare, |b| b.observer(Arc::new(cache_coordinator::MetricsObserver::new())));
        let mut contenders: Vec<(&str, &dyn Store)> =
            vec![("memory alone", &*bare), ("chain", &plain), ("chain with an observer", &watched)];
        #[cfg(feature = "metrics")]
        contenders.push(("chain with metrics", &counted));
        let mut best = vec![Duration::MAX; contenders.len()];
        for _ in 0..ROUNDS {
            // In turn, so that a machine that gets slower does so for all.
            for ((_, store), best) in contenders.iter_mut().zip(&mut best) {
                let began = Instant::now();
                for key in keys.iter().cycle().take(hits) {
                    assert!(store.get(key).await.unwrap().is_some());
                }
                *best = (*best).min(began.elapsed());
            }
        }
        for ((name, _), best) in contenders.iter().zip(best) {
            println!("{name:24} {:7.1} ns per hit", best.as_secs_f64() * 1e9 / hits as f64);
        }
    });
}

async fn filled(keys: &[Key]) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new(Options::default()));
    let meta = EntryMeta { kind: "value".to_owned(), ..EntryMeta::default() };
    for key in keys {
        let entry = Entry { meta: meta.clone(), value: vec![7; 100].into(), ..Entry::default() };
        let _ = Store::put(&*store, key, &entry, PutMode::Overwrite).await.unwrap();
    }
    store
}

fn chain(
    store: &Arc<MemoryStore>,
    build: impl FnOnce(CoordinatorBuilder) -> CoordinatorBuilder,
) -> Coordinator {
    let tier = Tier::new(Arc::clone(store) as Arc<dyn Store>);
    build(Coordinator::builder().tier(tier)).build().unwrap()
}

fn key(number: u64) -> Key {
    KeyBuilder::new(&Namespace::default(), "bench").number(number).finish()
}
