//! What observers and counters are told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::{Clock, Event, ManualClock, Namespace, Observer, Observers, Policy, PutMode};
use cache_memory::{MemoryStore, Options};
use common::{START, entry, expiring, key, naming, write};

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Observer for Log {
    fn on_event(&self, store: &str, event: &Event<'_>) {
        assert_eq!(store, "memory");
        let line = match event {
            Event::Hit { bytes, .. } => format!("hit {bytes}"),
            Event::Miss { reason, .. } => format!("miss {reason:?}"),
            Event::Put { bytes, .. } => format!("put {bytes}"),
            Event::Removed { .. } => "removed".to_owned(),
            Event::Blob { len, deduplicated, .. } => format!("blob {len} {deduplicated}"),
            Event::Evicted { items, .. } => format!("evicted {items}"),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(line);
    }
}

impl Log {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn observed(policy: Policy) -> (MemoryStore, Arc<ManualClock>, Arc<Log>) {
    let (clock, log) = (Arc::new(ManualClock::new(START)), Arc::new(Log::default()));
    let clock_of_store: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let observers = Observers::new(Arc::<Log>::clone(&log));
    let options = Options { policy, clock: clock_of_store, observers, ..Options::default() };
    (MemoryStore::new(options), clock, log)
}

#[test]
fn everything_that_happens_is_told_once() {
    let (store, clock, log) = observed(Policy::unlimited());
    store.get(&key(1));
    assert_eq!(log.take(), ["miss Absent"]);
    write(&store, b"blob");
    write(&store, b"blob");
    assert_eq!(log.take(), ["blob 4 false", "blob 4 true"]);
    let _ = store.put(&key(1), &naming("value", &[b"blob"]), PutMode::Overwrite).unwrap();
    let _ = store.put(&key(1), &entry("other"), PutMode::IfAbsent).unwrap();
    store.get(&key(1));
    assert_eq!(log.take(), ["put 9", "hit 9"]);
    let _ = store.put(&key(1), &entry("overwritten"), PutMode::Overwrite).unwrap();
    assert_eq!(log.take(), ["put 11"], "what is replaced was not evicted");
    assert!(store.remove(&key(1)) && !store.remove(&key(1)));
    assert_eq!(log.take(), ["removed"]);
    let _ = store.put(&key(2), &expiring(START.plus(Duration::from_millis(5))), PutMode::Overwrite).unwrap();
    clock.advance(Duration::from_millis(5));
    store.peek(&key(2));
    store.get(&key(2));
    store.get(&key(2));
    assert_eq!(log.take(), ["put 8", "miss Expired { at: 1700000000005ms }", "miss Absent"]);
    let _ = store.put(&key(3), &entry("namespace"), PutMode::Overwrite).unwrap();
    log.take();
    assert_eq!(store.clear_namespace(&Namespace::new("other").unwrap()), 0);
    assert_eq!(store.clear_namespace(&Namespace::default()), 1);
    assert_eq!(log.take(), ["removed"]);
}

#[test]
fn evictions_are_told_and_counted_alike() {
    let (store, _, log) = observed(Policy { max_bytes: Some(50_000), ..Policy::unlimited() });
    for number in 0..200 {
        let _ =
            store.put(&key(number), &entry(vec![0; 500 + number as usize * 10]), PutMode::Overwrite).unwrap();
    }
    let evicted: u64 =
        log.take().iter().filter_map(|line| line.strip_prefix("evicted ")?.parse::<u64>().ok()).sum();
    let stats = store.stats();
    assert!(evicted > 0);
    assert_eq!((evicted, 200 - evicted), (stats.evictions, stats.entries));
}

#[test]
fn the_hit_ratio_is_of_look_ups_of_entries() {
    let (store, _, _) = observed(Policy::unlimited());
    assert_eq!(store.stats().hit_ratio(), None);
    let _ = store.put(&key(1), &entry("value"), PutMode::Overwrite).unwrap();
    for number in [1, 1, 1, 2] {
        store.get(&key(number));
        store.peek(&key(number));
    }
    let stats = store.stats();
    assert_eq!((stats.hits, stats.misses, stats.hit_ratio()), (3, 1, Some(0.75)));
    assert_eq!((stats.entries, stats.blobs, stats.evictions, stats.expired), (1, 0, 0, 0));
}

#[test]
fn a_namespace_is_cleared_and_the_others_stay() {
    let (store, _, _) = observed(Policy::unlimited());
    for number in 0..1000 {
        let mut entry = entry("value");
        entry.meta.namespace = Namespace::new(if number % 3 == 0 { "one" } else { "two" }).unwrap();
        let _ = store.put(&key(number), &entry, PutMode::Overwrite).unwrap();
    }
    assert_eq!(store.clear_namespace(&Namespace::new("one").unwrap()), 334);
    let there = (0..1000).filter(|number| store.get(&key(*number)).is_some());
    assert!(there.eq((0..1000).filter(|number| number % 3 != 0)));
}

/// Asks the store whenever it is told something, which would wait for ever if a lock were held.
struct Asking(Mutex<Option<MemoryStore>>);

impl Observer for Asking {
    fn on_event(&self, _: &str, event: &Event<'_>) {
        let store = self.0.lock().unwrap().clone();
        if let (Some(store), Event::Evicted { .. } | Event::Put { .. } | Event::Removed { .. }) =
            (store, event)
        {
            for number in 0..10 {
                store.remove(&key(number + 1000));
                store.peek(&key(number));
            }
            assert!(store.put(&key(0), &naming("value", &[b"never written"]), PutMode::IfAbsent).is_err());
            *self.0.lock().unwrap() = None;
            let _ = store.put(&key(5), &entry("put by the observer"), PutMode::Overwrite).unwrap();
            *self.0.lock().unwrap() = Some(store);
        }
    }
}

#[test]
fn an_observer_may_use_the_store() {
    let asking = Arc::new(Asking(Mutex::default()));
    let policy = Policy { max_bytes: Some(50_000), max_entries: Some(20), ..Policy::unlimited() };
    let observers = Observers::new(Arc::<Asking>::clone(&asking));
    let store = MemoryStore::new(Options { policy, observers, ..Options::default() });
    *asking.0.lock().unwrap() = Some(store.clone());
    for number in 0..100 {
        let _ = store.put(&key(number), &entry(vec![0; 2000]), PutMode::Overwrite).unwrap();
        store.remove(&key(number / 2));
    }
    assert!(store.stats().evictions > 0);
    *asking.0.lock().unwrap() = None;
}
