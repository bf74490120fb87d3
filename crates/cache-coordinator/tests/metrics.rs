//! What reaches the recorder of the `metrics` facade.

#![cfg(feature = "metrics")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use cache_coordinator::{Coordinator, MetricsObserver};
use cache_core::{Observers, Policy, PutMode, Store};
use cache_memory::{MemoryStore, Options};
use cache_testkit::{Fault, Operation};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

mod common;
use common::{blob, entry, far, faulty, key, near, settle};

/// Keeps sums, by name and labels.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<BTreeMap<String, u64>>>);

struct Line(Book, String);

impl Line {
    fn add(&self, value: u64) {
        *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += value;
    }
}

impl CounterFn for Line {
    fn increment(&self, value: u64) {
        self.add(value);
    }
    fn absolute(&self, _: u64) {}
}

impl GaugeFn for Line {
    fn increment(&self, _: f64) {}
    fn decrement(&self, _: f64) {}
    fn set(&self, value: f64) {
        self.add((value * 10.0) as u64);
    }
}

impl HistogramFn for Line {
    fn record(&self, _: f64) {
        self.add(1);
    }
}

impl Book {
    fn line(&self, key: &Key) -> Arc<Line> {
        let labels: Vec<String> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Line(self.clone(), format!("{} {}", key.name(), labels.join(" "))))
    }

    fn get(&self, line: &str) -> u64 {
        self.0.lock().unwrap().get(&format!("vitte_cache_{line}")).copied().unwrap_or_default()
    }
}

impl Recorder for Book {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.line(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.line(key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.line(key))
    }
}

/// Runs `work`, and all that it starts, with a recorder.
fn recorded<F: Future<Output = ()>>(work: F) -> Book {
    let book = Book::default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&book, || runtime.block_on(work));
    book
}

#[test]
fn what_happens_in_a_chain_is_counted() {
    let book = recorded(async {
        let (disk, server) = (faulty(), faulty());
        let chain = Coordinator::builder().tier(near(&disk).named("disk")).tier(far(&server));
        let chain = chain.observer(Arc::new(MetricsObserver::new())).build().unwrap();
        let mut value = entry("12345", &[]);
        "value".clone_into(&mut value.meta.kind);
        assert!(chain.get(&key(1)).await.unwrap().is_none());
        let _ = chain.put(&key(1), &value, PutMode::Overwrite).await.unwrap();
        settle(&chain).await;
        disk.inner().remove(&key(1)).await.unwrap();
        for _ in 0..2 {
            assert!(chain.get(&key(1)).await.unwrap().is_some());
            settle(&chain).await;
        }
        Store::gc(&chain).await.unwrap();
        assert!(chain.remove(&key(1)).await.unwrap());
        let (digest, content) = blob(1, 100);
        server.inner().write(&digest, 100, content.into()).await.unwrap();
        server.inject(Operation::Read, .., Fault::Flip(0));
        assert!(chain.read(&digest, None).await.unwrap().is_none());
        server.inject(Operation::Get, .., Fault::unavailable());
        for number in 0..5 {
            assert!(chain.get(&key(100 + number)).await.unwrap().is_none());
        }
        disk.inject(Operation::Put, .., Fault::unavailable());
        let _ = chain.put(&key(2), &value, PutMode::Overwrite).await.unwrap();
    });
    for (line, expected) in [
        ("hits_total tier=disk kind=value", 1),
        ("hits_total tier=far kind=value", 1),
        ("misses_total reason=absent", 1),
        ("misses_total reason=failed", 5),
        ("passes_total tier=disk reason=absent", 7),
        ("passes_total tier=far reason=absent", 1),
        ("updates_total tier=disk kind=value", 1),
        ("updated_bytes_total tier=disk kind=value", 5),
        ("removals_total tier=far", 1),
        ("promotions_total tier=disk outcome=done", 1),
        ("pushes_total tier=far outcome=done", 1),
        ("collections_total tier=disk", 1),
        ("corruptions_total tier=far", 1),
        ("breaker_open tier=far", 10),
        ("unstored_total ", 1),
        ("failures_total tier=disk operation=put", 1),
        ("call_seconds tier=disk operation=get", 9),
    ] {
        assert_eq!(book.get(line), expected, "{line} in {:#?}", book.0.lock().unwrap());
    }
}

#[test]
fn what_happens_in_a_store_is_counted_once() {
    let book = recorded(async {
        let policy = Policy { max_bytes: Some(100_000), ..Policy::unlimited() };
        let observers = Observers::new(Arc::new(MetricsObserver::of_store("memory")));
        let store = MemoryStore::new(Options { policy, observers, ..Options::default() });
        for number in 0..100 {
            let mut entry = entry("", &[]);
            entry.value = vec![7; 5000].into();
            let _ = Store::put(&store, &key(number), &entry, PutMode::Overwrite).await.unwrap();
        }
    });
    assert!(book.get("evictions_total tier=memory") > 70);
    assert!(book.get("evicted_bytes_total tier=memory") > 350_000);
    assert!(book.0.lock().unwrap().len() == 2);
}

#[test]
fn kinds_are_bounded() {
    let book = recorded(async {
        let disk = faulty();
        let chain = Coordinator::builder().tier(near(&disk).named("disk"));
        let chain = chain.observer(Arc::new(MetricsObserver::new())).build().unwrap();
        for number in 0..20 {
            let mut value = entry("12345", &[]);
            value.meta.kind = number.to_string();
            let _ = chain.put(&key(number), &value, PutMode::Overwrite).await.unwrap();
        }
    });
    assert_eq!(book.get("updates_total tier=disk kind=15"), 1);
    assert_eq!(book.get("updates_total tier=disk kind=16"), 0);
    assert_eq!(book.get("updates_total tier=disk kind=other"), 4);
}
