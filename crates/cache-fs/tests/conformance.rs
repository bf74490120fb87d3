//! The suite that every store passes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::Arc;

use cache_core::Store;
use cache_fs::{FsStore, Layout, Options};
use cache_testkit::block_on;
use cache_testkit::conformance::{Suite, all};

#[cfg(unix)]
const LAYOUTS: [Layout; 2] = [Layout::Files, Layout::Segments];
#[cfg(not(unix))]
const LAYOUTS: [Layout; 1] = [Layout::Files];

fn suite(layout: Layout) -> (tempfile::TempDir, Suite) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let number = std::sync::atomic::AtomicU32::new(0);
    let suite = Suite::new(move || {
        let name = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
        let options = Options { layout, protect: cache_fs::DEFAULT_PROTECT, ..common::options() };
        let store = FsStore::open(&path.join(name), options).unwrap();
        async move { Arc::new(store) as Arc<dyn Store> }
    });
    (dir, suite)
}

#[test]
fn without_a_runtime() {
    for layout in LAYOUTS {
        let (_dir, suite) = suite(layout);
        let report = block_on(all(&suite));
        assert!(report.is_ok(), "{layout:?}: {report}");
    }
}

#[cfg(feature = "tokio")]
#[test]
fn within_a_runtime() {
    for layout in LAYOUTS {
        in_runtime(layout);
    }
}

#[cfg(feature = "tokio")]
fn in_runtime(layout: Layout) {
    let (_dir, suite) = suite(layout);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let handle = runtime.handle().clone();
    let suite = suite.spawner(move |task| {
        handle.spawn(task);
    });
    let report = runtime.block_on(all(&suite));
    assert!(report.is_ok(), "{layout:?}: {report}");
}

/// Files go by the time of the system, which no test can turn.
#[cfg(unix)]
#[test]
fn collections_as_time_passes() {
    use cache_core::{Clock, ManualClock, SystemClock};
    use cache_testkit::conformance::{collected_entries, collected_unreferenced, collecting_while_writing};

    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let (path, passing) = (dir.path().to_owned(), Arc::clone(&clock));
    let number = std::sync::atomic::AtomicU32::new(0);
    let suite = Suite::new(move || {
        let name = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
        let clock = Arc::<ManualClock>::clone(&clock);
        let layout = Layout::Segments;
        let protect = cache_fs::DEFAULT_PROTECT;
        let store = FsStore::open(&path.join(name), Options { layout, protect, clock, ..common::options() });
        async move { Arc::new(store.unwrap()) as Arc<dyn Store> }
    })
    .passing(move |time| passing.advance(time));
    assert_eq!(block_on(collected_entries(&suite)), Ok(()));
    assert_eq!(block_on(collected_unreferenced(&suite)), Ok(()));
    for _ in 0..3 {
        assert_eq!(block_on(collecting_while_writing(&suite)), Ok(()));
    }
}
