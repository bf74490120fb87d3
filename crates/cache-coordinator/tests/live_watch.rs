//! Entries are in doubt as soon as the system says that a file changed.

#![cfg(feature = "watch")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cache_coordinator::action::FileStates;
use cache_coordinator::live::{LiveCache, Watch, WatchError};
use cache_core::{Key, Namespace};
use cache_testkit::MemoryStore;

const KEY: Key = Key::from_bytes([1; 32]);
/// How long the system has to tell of a change; it takes milliseconds.
const PATIENCE: Duration = Duration::from_mins(1);

async fn open(base: &Path) -> LiveCache {
    let files = Arc::new(FileStates::new(base).unwrap());
    LiveCache::open(Arc::new(MemoryStore::new()), files, Namespace::default()).await
}

async fn persist(live: &LiveCache, root: &str) {
    let roots = live.snapshot(&[root]).await.unwrap();
    live.persist(&KEY, "result", "test", roots).await.unwrap();
    assert!(live.look_up(&KEY).await.is_hit());
}

/// Waits until a look-up that asks no file is told that there was a change.
async fn wait_for_miss(live: &LiveCache, watch: &mut Watch) {
    let told = async {
        while live.look_up(&KEY).await.is_hit() {
            watch.changed().await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap();
}

#[tokio::test]
async fn edits_renames_and_new_files_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().canonicalize().unwrap();
    fs::create_dir(base.join("src")).unwrap();
    fs::write(base.join("src/a"), "a").unwrap();
    let live = open(&base).await;
    let mut watch = live.watch(&["src"]).unwrap();

    persist(&live, "src/a").await;
    fs::write(base.join("src/a"), "edited").unwrap();
    wait_for_miss(&live, &mut watch).await;

    persist(&live, "src/a").await;
    fs::write(base.join("saved"), "by renaming").unwrap();
    fs::rename(base.join("saved"), base.join("src/a")).unwrap();
    wait_for_miss(&live, &mut watch).await;

    persist(&live, "src/not-yet").await;
    fs::write(base.join("src/not-yet"), "").unwrap();
    wait_for_miss(&live, &mut watch).await;

    fs::create_dir(base.join("src/deep")).unwrap();
    fs::write(base.join("src/deep/b"), "b").unwrap();
    persist(&live, "src/deep/b").await;
    fs::rename(base.join("src/deep"), base.join("elsewhere")).unwrap();
    wait_for_miss(&live, &mut watch).await;
    assert!(watch.changes().entries >= 4, "{watch:?}");
}

#[tokio::test]
async fn nothing_is_told_once_it_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().canonicalize().unwrap();
    fs::write(base.join("a"), "a").unwrap();
    let live = open(&base).await;
    drop(live.watch(&["."]).unwrap());
    persist(&live, "a").await;
    fs::write(base.join("a"), "edited").unwrap();
    // A second watcher is told of a later change, so the first one would have been told of this one.
    fs::create_dir(base.join("other")).unwrap();
    let mut second = open(&base).await.watch(&["other"]).unwrap();
    fs::write(base.join("other/b"), "b").unwrap();
    tokio::time::timeout(PATIENCE, second.changed()).await.unwrap();
    assert!(live.look_up(&KEY).await.is_hit());
    assert!(!live.look_up_revalidate(&KEY).await.is_hit());
}

#[tokio::test]
async fn what_cannot_be_watched_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let live = open(dir.path()).await;
    let refused = live.watch(&["not-there"]).unwrap_err();
    let WatchError::Root { path, .. } = &refused else { panic!("{refused}") };
    assert!(path.ends_with("not-there"));
    assert!(refused.to_string().contains("not-there"), "{refused}");
}
