//! What a chain counts, measures and tells.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_coordinator::{Absence, ChainObserver, Coordinator, Histogram, StoreEvents, Tier, TierEvent};
use cache_core::{Entry, Event, Key, ManualClock, Observers, Policy, PutMode, PutOutcome, Store, Timestamp};
use cache_memory::{MemoryStore, Options};
use cache_testkit::{Fault, Operation};

mod common;
use common::{Faulty, blob, entry, far, faulty, key, near, settle, store};

/// Who had no entry, and why; no tier's name for the whole chain.
type Gap = (String, Key, Absence);

/// Writes down what it is told.
#[derive(Default)]
struct Log {
    gaps: Mutex<Vec<Gap>>,
    others: Mutex<Vec<String>>,
}

impl Log {
    /// Returns what was missing since the last call.
    fn gaps(&self) -> Vec<(String, Key, Absence)> {
        std::mem::take(&mut self.gaps.lock().unwrap())
    }

    fn others(&self) -> Vec<String> {
        std::mem::take(&mut self.others.lock().unwrap())
    }
}

impl ChainObserver for Log {
    fn on_event(&self, event: &TierEvent<'_>) {
        let other = match *event {
            TierEvent::Passed { tier, key, reason } => {
                return self.gaps.lock().unwrap().push((tier.to_owned(), *key, reason));
            }
            TierEvent::Miss { key, reason, certain } => {
                assert_eq!(certain, reason != Absence::Failed);
                return self.gaps.lock().unwrap().push((String::new(), *key, reason));
            }
            TierEvent::Hit { tier, kind, .. } => format!("{tier} has {kind}"),
            TierEvent::Stored { tier, kind, bytes, .. } => format!("{tier} got {kind} {bytes}"),
            TierEvent::Removed { tier, .. } => format!("{tier} removed"),
            TierEvent::Called { tier, operation, .. } => format!("{tier} {operation}"),
            TierEvent::Unstored { .. } => "unstored".to_owned(),
            TierEvent::Store { tier, event: Event::Evicted { items, .. } } => {
                format!("{tier} evicted {}", *items > 0)
            }
            TierEvent::Store { .. } => return,
            _ => format!("{event:?}"),
        };
        self.others.lock().unwrap().push(other);
    }
}

fn of_kind(kind: &str) -> Entry {
    let mut entry = entry("12345", &[]);
    kind.clone_into(&mut entry.meta.kind);
    entry
}

fn chain(disk: &Faulty, server: &Faulty, log: &Arc<Log>) -> Coordinator {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1000)));
    let chain = Coordinator::builder().tier(near(disk).named("disk")).tier(far(server));
    chain.clock(clock).observer(Arc::clone(log) as _).build().unwrap()
}

fn gap(tier: &str, number: u64, reason: Absence) -> Gap {
    (tier.to_owned(), key(number), reason)
}

#[tokio::test]
async fn each_tier_that_has_nothing_says_why() {
    let (disk, server, log) = (faulty(), faulty(), Arc::new(Log::default()));
    let chain = chain(&disk, &server, &log);
    let mut expired = entry("expired", &[]);
    expired.meta.expires = Some(Timestamp::from_millis(1000));
    let _ = server.inner().put(&key(1), &entry("old", &[]), PutMode::Overwrite).await.unwrap();
    let hollow = Arc::new(common::Hollow { entries: vec![(key(7), expired.clone())].into(), denies: false });
    let part = blob(1, 10);
    hollow.entries.lock().unwrap().push((key(8), entry("whole", &[part])));
    let with_hollow = Coordinator::builder()
        .tier(Tier::new(hollow).named("hollow").verify(true))
        .clock(Arc::new(ManualClock::new(Timestamp::from_millis(1000))))
        .remember_misses(Duration::ZERO, 0)
        .observer(Arc::clone(&log) as _)
        .build()
        .unwrap();
    for (number, reason) in [(7, Absence::Expired), (8, Absence::Incomplete), (9, Absence::Absent)] {
        assert_eq!(with_hollow.get(&key(number)).await.unwrap(), None);
        assert_eq!(log.gaps(), [gap("hollow", number, reason), gap("", number, reason)]);
        assert_eq!(with_hollow.get_many(&[key(number)]).await.unwrap(), [None]);
        assert_eq!(log.gaps(), [gap("hollow", number, reason), gap("", number, reason)]);
    }

    // Asked once, remembered then; the reason that says more counts for the chain.
    let absent = |tier| gap(tier, 2, Absence::Absent);
    assert_eq!(chain.get(&key(2)).await.unwrap(), None);
    assert_eq!(log.gaps(), [absent("disk"), absent("far"), absent("")]);
    assert_eq!(chain.get(&key(2)).await.unwrap(), None);
    assert_eq!(log.gaps(), [absent("disk"), gap("", 2, Absence::Remembered)]);
    assert_eq!(chain.get_many(&[key(2)]).await.unwrap(), [None]);
    assert_eq!(log.gaps(), [absent("disk"), gap("", 2, Absence::Remembered)]);

    // What is newer than what the far tier has is not read there.
    server.inject(Operation::Put, .., Fault::unavailable());
    let _ = chain.put(&key(1), &entry("new", &[]), PutMode::Overwrite).await.unwrap();
    disk.inner().remove(&key(1)).await.unwrap();
    let outdated =
        [gap("disk", 1, Absence::Absent), gap("far", 1, Absence::Outdated), gap("", 1, Absence::Outdated)];
    assert_eq!(chain.get(&key(1)).await.unwrap(), None);
    assert_eq!(log.gaps(), outdated);

    disk.inject(Operation::Get, .., Fault::unavailable());
    disk.inject(Operation::GetMany, .., Fault::unavailable());
    let failed =
        [gap("disk", 3, Absence::Failed), gap("far", 3, Absence::Absent), gap("", 3, Absence::Failed)];
    assert_eq!(chain.get(&key(3)).await.unwrap(), None);
    assert_eq!(log.gaps(), failed);
    assert_eq!(chain.get_many(&[key(3)]).await.unwrap(), [None]);
    assert_eq!(log.gaps(), failed);
}

#[tokio::test]
async fn what_is_stored_found_and_removed_is_told() {
    let (disk, log) = (faulty(), Arc::new(Log::default()));
    let chain = Coordinator::builder().tier(near(&disk).named("disk")).observer(Arc::clone(&log) as _);
    let chain = chain.build().unwrap();
    let _ = chain.put(&key(1), &of_kind("value"), PutMode::Overwrite).await.unwrap();
    assert!(chain.get(&key(1)).await.unwrap().is_some());
    assert!(chain.remove(&key(1)).await.unwrap() && !chain.remove(&key(1)).await.unwrap());
    let put = ["disk put", "disk got value 5"];
    let rest = ["disk get", "disk has value", "disk remove", "disk removed", "disk remove"];
    assert_eq!(log.others(), [&put[..], &rest[..]].concat());

    disk.inject(Operation::Put, .., Fault::unavailable());
    assert_eq!(chain.put(&key(1), &of_kind("value"), PutMode::Overwrite).await.unwrap(), PutOutcome::Stored);
    assert!(log.others().contains(&"unstored".to_owned()));
}

#[tokio::test]
async fn what_happens_within_a_store_is_told_by_the_name_of_its_tier() {
    let log = Arc::new(Log::default());
    let events = StoreEvents::new(Arc::clone(&log) as _).named("memory");
    let policy = Policy { max_bytes: Some(100_000), ..Policy::unlimited() };
    let options = Options { policy, observers: Observers::new(Arc::new(events)), ..Options::default() };
    let store = MemoryStore::new(options);
    for number in 0..100 {
        let entry = Entry { value: vec![7; 5000].into(), ..Entry::default() };
        let _ = Store::put(&store, &key(number), &entry, PutMode::Overwrite).await.unwrap();
    }
    assert!(log.others().contains(&"memory evicted true".to_owned()));
}

#[tokio::test]
async fn hits_are_counted_by_tier_and_kind() {
    let (disk, server) = (faulty(), faulty());
    store(server.inner(), &key(9), &of_kind("action"), &[]).await;
    let chain = Coordinator::builder().tier(near(&disk).named("disk")).tier(far(&server)).build().unwrap();
    assert_eq!((chain.stats().hit_ratio(), chain.stats().tiers[0].hit_ratio()), (None, None));
    for number in 0..3 {
        assert!(chain.get(&key(number)).await.unwrap().is_none());
        let _ = chain.put(&key(number), &of_kind("value"), PutMode::Overwrite).await.unwrap();
    }
    assert!(chain.get(&key(0)).await.unwrap().is_some());
    assert!(chain.get_many(&[key(9)]).await.unwrap()[0].is_some());
    settle(&chain).await;
    let stats = chain.stats();
    let kinds = |kinds: &[cache_coordinator::KindStats]| -> Vec<(String, u64, u64)> {
        kinds.iter().map(|kind| (kind.kind.clone(), kind.hits, kind.stored)).collect()
    };
    let of = |kind: &str, hits, stored| (kind.to_owned(), hits, stored);
    assert_eq!(kinds(&stats.kinds), [of("action", 1, 0), of("value", 1, 3)]);
    assert_eq!(kinds(&stats.tiers[0].kinds), [of("value", 1, 3)]);
    assert_eq!(kinds(&stats.tiers[1].kinds), [of("action", 1, 0)]);
    assert_eq!(stats.kinds[1].hit_ratio(), Some(0.25));
    assert_eq!((stats.hit_ratio(), stats.tiers[0].hit_ratio()), (Some(0.4), Some(0.2)));
    assert_eq!((stats.tiers[1].hits, stats.tiers[1].hit_ratio()), (1, Some(0.25)));
}

#[tokio::test]
async fn calls_are_measured_all_or_in_part() {
    const CALLS: u64 = 611;
    let memory = Arc::new(MemoryStore::new(Options::default()));
    let build = || Coordinator::builder().tier(Tier::new(Arc::clone(&memory) as Arc<dyn Store>));
    let (quiet, watched) =
        (build().build().unwrap(), build().observer(Arc::new(Log::default())).build().unwrap());
    for _ in 0..CALLS {
        assert!(quiet.get(&key(1)).await.unwrap().is_none() && watched.get(&key(1)).await.unwrap().is_none());
    }
    // A tier in memory has one call of 61 measured, and all if somebody listens.
    let count = |chain: &Coordinator| chain.stats().tiers[0].latency("get").map_or(0, Histogram::count);
    assert_eq!((count(&quiet), count(&watched)), (11, CALLS));
    assert!(quiet.stats().tiers[0].latency("put").is_none());

    let dir = tempfile::tempdir().unwrap();
    let disk = cache_fs::FsStore::open(dir.path(), cache_fs::Options::default()).unwrap();
    let chain = Coordinator::builder().tier(Tier::new(Arc::new(disk))).build().unwrap();
    for _ in 0..14 {
        assert!(chain.get(&key(1)).await.unwrap().is_none());
    }
    // Another local tier has one of 7.
    let stats = chain.stats();
    let times = stats.tiers[0].latency("get").unwrap();
    assert_eq!(times.count(), 2);
    assert!(times.quantile(0.5).unwrap() <= times.max() && times.mean().unwrap() <= times.max());
}
