//! The reference store passes the suite, and so does a decorator that does nothing.

use std::sync::Arc;

use cache_core::{Clock, ManualClock, Store, SystemClock};
use cache_testkit::conformance::{self, Stop, Suite};
use cache_testkit::{FaultStore, MemoryStore, block_on};

#[test]
fn the_reference_store_passes() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let passing = Arc::clone(&clock);
    let suite = Suite::new(move || {
        let store = MemoryStore::with_clock(Arc::<ManualClock>::clone(&clock));
        async move { Arc::new(store) as Arc<dyn Store> }
    })
    .passing(move |time| passing.advance(time));
    let report = block_on(conformance::all(&suite));
    assert!(report.is_ok(), "{report}");
    assert_eq!(report.skipped().count(), 0, "{report}");
    assert!(report.outcomes().len() > 25, "{report}");
}

#[test]
fn a_decorator_without_a_script_passes() {
    let suite = Suite::new(|| async { Arc::new(FaultStore::new(MemoryStore::new())) as Arc<dyn Store> })
        .without("blob_of_200_mib");
    let report = block_on(conformance::all(&suite));
    assert!(report.is_ok(), "{report}");
    assert_eq!(
        report.skipped().map(|(name, _)| name).collect::<Vec<_>>(),
        ["collected_unreferenced", "blob_of_200_mib"]
    );
}

#[test]
fn single_checks_can_be_called() {
    let suite = Suite::new(|| async { Arc::new(MemoryStore::new()) as Arc<dyn Store> });
    assert_eq!(block_on(conformance::blob_ranges(&suite)), Ok(()));
    let closed = Suite::new(|| async {
        let store = Arc::new(MemoryStore::new());
        store.close().await.unwrap();
        store as Arc<dyn Store>
    });
    let outcome = block_on(conformance::blob_ranges(&closed));
    assert!(matches!(&outcome, Err(Stop::Failed(why)) if why.contains("is closed")), "{outcome:?}");
}

#[test]
fn tasks_start_as_the_caller_says() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let started = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&started);
    let suite =
        Suite::new(|| async { Arc::new(MemoryStore::new()) as Arc<dyn Store> }).spawner(move |task| {
            counter.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || block_on(task));
        });
    assert_eq!(block_on(conformance::concurrent_if_absent(&suite)), Ok(()));
    assert!(started.load(Ordering::SeqCst) > 1);
}
