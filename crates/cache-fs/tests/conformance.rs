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
