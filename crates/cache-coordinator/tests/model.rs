//! A chain with tiers that fail, evict and come back, against a plain map: it may forget, but what it shows is what was
//! stored last.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cache_coordinator::{BreakerSettings, Coordinator, PromotionLimits, WriteBack};
use cache_core::{Clock, Digest, Entry, Key, ManualClock, PutMode, PutOutcome, Store, Timestamp};
use cache_testkit::{Fault, MemoryStore, Operation, poll_at_most};
use common::{Faulty, blob, entry, far, faulty, key, near, read};
use proptest::prelude::*;

const KEYS: u64 = 4;
const TIERS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Put {
        key: u64,
        mode: PutMode,
    },
    /// A put that is dropped after so many polls.
    DroppedPut {
        key: u64,
        polls: u64,
    },
    Get {
        key: u64,
    },
    GetMany,
    DroppedGet {
        key: u64,
        polls: u64,
    },
    Remove {
        key: u64,
    },
    DroppedRemove {
        key: u64,
        polls: u64,
    },
    /// A tier loses an entry, or a blob, by itself.
    Evict {
        tier: usize,
        key: u64,
    },
    EvictBlob {
        tier: usize,
        key: u64,
    },
    /// The next calls of one operation fail, before or after they did their work.
    Break {
        tier: usize,
        operation: usize,
        after: bool,
    },
    Heal {
        tier: usize,
    },
    /// Time goes by for the breakers.
    Wait,
    /// Background work goes on, for a while or to its end.
    Yield,
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS;
    let mode = prop_oneof![3 => Just(PutMode::Overwrite), 1 => Just(PutMode::IfAbsent)];
    let tier = 0..TIERS;
    prop_oneof![
        6 => (key.clone(), mode).prop_map(|(key, mode)| Step::Put { key, mode }),
        2 => (key.clone(), 0_u64..40).prop_map(|(key, polls)| Step::DroppedPut { key, polls }),
        6 => key.clone().prop_map(|key| Step::Get { key }),
        2 => Just(Step::GetMany),
        1 => (key.clone(), 0_u64..20).prop_map(|(key, polls)| Step::DroppedGet { key, polls }),
        2 => key.clone().prop_map(|key| Step::Remove { key }),
        1 => (key.clone(), 0_u64..20).prop_map(|(key, polls)| Step::DroppedRemove { key, polls }),
        4 => (tier.clone(), key.clone()).prop_map(|(tier, key)| Step::Evict { tier, key }),
        1 => (tier.clone(), key).prop_map(|(tier, key)| Step::EvictBlob { tier, key }),
        4 => (tier.clone(), 0..common::OPERATIONS.len(), any::<bool>())
            .prop_map(|(tier, operation, after)| Step::Break { tier, operation, after }),
        3 => tier.prop_map(|tier| Step::Heal { tier }),
        1 => Just(Step::Wait),
        3 => Just(Step::Yield),
        2 => Just(Step::Settle),
    ]
}

/// What may be seen under a key: nothing at any time, and one of these.
type Model = BTreeMap<u64, Vec<Entry>>;

struct World {
    chain: Coordinator,
    stores: [Faulty; TIERS],
    clock: Arc<ManualClock>,
    model: Model,
    versions: u64,
}

impl World {
    fn new(read_only: bool, revalidate: bool) -> Self {
        let stores = [faulty(), faulty(), faulty()];
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
        let breaker = BreakerSettings { failures: 2, ..BreakerSettings::default() };
        let tier = |index: usize| near(&stores[index]).named(format!("tier {index}")).breaker(breaker);
        let chain = Coordinator::builder()
            .tier(tier(0))
            .tier(tier(1))
            .tier(far(&stores[2]).breaker(breaker).write(!read_only))
            .clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .promotions(PromotionLimits { count: 3, ..PromotionLimits::default() })
            .write_back(WriteBack { count: 3, attempts: 2, at_once: 2, ..WriteBack::default() })
            .stale_while_revalidate(if revalidate { Duration::ZERO } else { Duration::MAX })
            .build()
            .unwrap();
        Self { chain, stores, clock, model: Model::new(), versions: 0 }
    }

    /// Returns an entry that nobody has seen before, and its blob; every other one has the blob of the one before.
    fn version(&mut self, key: u64) -> (Entry, (Digest, bytes::Bytes)) {
        self.versions += 1;
        let blob = blob(self.versions / 2, 300);
        let mut entry = entry(&format!("version {} of {key}", self.versions), std::slice::from_ref(&blob));
        entry.meta.created = Timestamp::from_millis(self.versions);
        (entry, blob)
    }

    async fn put(&mut self, number: u64, mode: PutMode, polls: u64) {
        let (entry, (digest, content)) = self.version(number);
        self.chain.write(&digest, 300, content.into()).await.unwrap();
        let key = key(number);
        let done = poll_at_most(polls, self.chain.put(&key, &entry, mode)).await;
        let seen = self.model.entry(number).or_default();
        match done {
            Some(Ok(PutOutcome::Stored)) => *seen = vec![entry],
            Some(Ok(PutOutcome::Present)) => assert!(!seen.is_empty(), "nothing was ever stored"),
            // A blob was lost in between: nothing has changed.
            Some(Err(_)) => {}
            None => seen.push(entry),
        }
    }

    fn check(&mut self, number: u64, found: Option<&Entry>) {
        let allowed = self.model.entry(number).or_default();
        if let Some(found) = found {
            assert!(allowed.contains(found), "{:?} is shown, {:?} is allowed", name(found), names(allowed));
            // Which of several it is is settled once somebody has seen it.
            *allowed = vec![found.clone()];
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Put { key, mode } => self.put(key, mode, u64::MAX).await,
            Step::DroppedPut { key, polls } => self.put(key, PutMode::Overwrite, polls).await,
            Step::Get { key: number } => {
                let found = self.chain.get(&key(number)).await.unwrap();
                self.check(number, found.as_ref());
                for (digest, len) in found.iter().flat_map(Entry::blobs) {
                    if let Ok(Some(content)) = read(&self.chain, digest, None).await {
                        assert_eq!((Digest::blake3(&content), content.len() as u64), (*digest, len));
                    }
                }
            }
            Step::GetMany => {
                let keys: Vec<Key> = (0..KEYS).map(key).collect();
                let found = self.chain.get_many(&keys).await.unwrap();
                (0..).zip(&found).for_each(|(number, found)| self.check(number, found.as_ref()));
            }
            Step::DroppedGet { key: number, polls } => {
                if let Some(found) = poll_at_most(polls, self.chain.get(&key(number))).await {
                    self.check(number, found.unwrap().as_ref());
                }
            }
            Step::Remove { key: number } => {
                self.chain.remove(&key(number)).await.unwrap();
                self.model.remove(&number);
            }
            Step::DroppedRemove { key: number, polls } => {
                if poll_at_most(polls, self.chain.remove(&key(number))).await.is_some() {
                    self.model.remove(&number);
                }
            }
            Step::Evict { tier, key: number } => {
                self.stores[tier].inner().remove(&key(number)).await.unwrap();
            }
            Step::EvictBlob { tier, key: number } => {
                evict_blob(self.stores[tier].inner(), &key(number)).await;
            }
            Step::Break { tier, operation, after } => {
                self.break_next(tier, common::OPERATIONS[operation], after);
            }
            Step::Heal { tier } => self.stores[tier].heal(),
            Step::Wait => self.clock.advance(Duration::from_mins(5)),
            Step::Yield => tokio::task::yield_now().await,
            Step::Settle => {
                let _ = self.chain.flush(Duration::from_secs(20)).await;
            }
        }
    }

    fn break_next(&self, tier: usize, operation: Operation, after: bool) {
        let store = &self.stores[tier];
        let unavailable =
            || cache_core::Error::Unavailable { store: "it".to_owned(), why: "the test says so".to_owned() };
        let fault = if after { Fault::FailAfter(Arc::new(unavailable)) } else { Fault::fail(unavailable) };
        store.inject(operation, store.calls(operation)..store.calls(operation) + 2, fault);
    }
}

async fn evict_blob(store: &MemoryStore, key: &Key) {
    if let Some(entry) = store.get(key).await.unwrap() {
        for (digest, _) in entry.blobs() {
            store.delete(digest).await.unwrap();
        }
    }
}

fn name(entry: &Entry) -> &str {
    &entry.meta.name
}

fn names(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(name).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_shrink_iters: 5000, ..ProptestConfig::default() })]

    #[test]
    fn a_chain_forgets_but_does_not_err(
        steps in proptest::collection::vec(step(), 1..80),
        read_only in any::<bool>(),
        revalidate in any::<bool>(),
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(read_only, revalidate);
            for step in steps {
                world.step(step).await;
            }
            // In the end all is well again: what is put is found, and nothing is left over.
            world.stores.iter().for_each(|store| store.heal());
            world.clock.advance(Duration::from_mins(10));
            let _ = world.chain.flush(Duration::from_hours(1)).await;
            world.clock.advance(Duration::from_mins(10));
            for number in 0..KEYS {
                world.put(number, PutMode::Overwrite, u64::MAX).await;
                let found = world.chain.get(&key(number)).await.unwrap();
                assert!(found.is_some(), "all tiers are well, and what was put is not there");
                world.check(number, found.as_ref());
            }
            let left = world.chain.flush(Duration::from_hours(1)).await;
            assert_eq!(left.left, 0);
            let stats = world.chain.stats();
            let pushes = stats.pushes;
            assert_eq!(pushes.queued + pushes.picked_up, pushes.done + pushes.replaced + pushes.lost);
            assert_eq!((stats.promotions.waiting, stats.promotions.waiting_bytes, pushes.waiting_bytes), (0, 0, 0));
        });
    }
}
