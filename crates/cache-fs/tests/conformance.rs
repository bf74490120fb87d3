//! The suite that every store passes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::Arc;

use cache_core::Store;
use cache_fs::{FsStore, Options};
use cache_testkit::block_on;
use cache_testkit::conformance::{Suite, all};

fn suite() -> (tempfile::TempDir, Suite) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let number = std::sync::atomic::AtomicU32::new(0);
    let suite = Suite::new(move || {
        let name = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
        let options = Options { protect: cache_fs::DEFAULT_PROTECT, ..common::options() };
        let store = FsStore::open(&path.join(name), options).unwrap();
        async move { Arc::new(store) as Arc<dyn Store> }
    });
    (dir, suite)
}

#[test]
fn without_a_runtime() {
    let (_dir, suite) = suite();
    let report = block_on(all(&suite));
    assert!(report.is_ok(), "{report}");
}

#[cfg(feature = "tokio")]
#[test]
fn within_a_runtime() {
    let (_dir, suite) = suite();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let handle = runtime.handle().clone();
    let suite = suite.spawner(move |task| {
        handle.spawn(task);
    });
    let report = runtime.block_on(all(&suite));
    assert!(report.is_ok(), "{report}");
}
