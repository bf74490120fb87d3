//! Moving a store from one layout to the other.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use cache_core::{Digest, Error, Policy, PutMode, Timestamp};
use cache_fs::{FsStore, Layout, MigrateProgress, MigrateReport, Options};
use common::{START, clock, content, entry, entry_with, hit, key, miss, options};

const SMALL: usize = 5000;
const LARGE: usize = 700_000;
const ENTRIES: u64 = 20;

fn open(dir: &Path, layout: Layout) -> FsStore {
    FsStore::open(dir, Options { layout, ..options() }).unwrap()
}

fn migrate(dir: &Path, to: Layout) -> MigrateReport {
    FsStore::migrate(dir, &options(), to, false, &mut |_| Ok(())).unwrap()
}

/// Fills a store with entries that have values, small blobs and a large one that they share.
fn fill(store: &FsStore) {
    let large = content(1000, LARGE);
    let large = (store.write_blob(&large).unwrap(), large.len() as u64);
    for number in 0..ENTRIES {
        let small = store.write_blob(&content(number, SMALL)).unwrap();
        let mut entry = entry_with(&[(small, SMALL as u64), large]);
        entry.meta.created = START;
        entry.meta.expires = number.is_multiple_of(2).then(|| Timestamp::from_millis(u64::MAX / 4));
        entry.value = content(number, 100 + number as usize).into();
        let _ = store.put(&key(number), &entry, PutMode::Overwrite).unwrap();
    }
}

fn check(store: &FsStore) {
    for number in 0..ENTRIES {
        let entry = hit(store, &key(number)).unwrap();
        assert_eq!(entry.value, content(number, 100 + number as usize));
        assert_eq!((entry.meta.created, entry.meta.expires.is_some()), (START, number.is_multiple_of(2)));
        for (digest, len) in entry.blobs() {
            let found = store.read_blob(digest, u64::MAX).unwrap().unwrap();
            assert_eq!((found.len() as u64, Digest::blake3(&found)), (len, *digest));
        }
    }
}

fn roots(dir: &Path) -> (bool, bool) {
    (dir.join("files-v1").exists(), dir.join("segments-v1").exists())
}

fn there_and_back(from: Layout, to: Layout) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), from);
    fill(&store);
    fs::write(store.side_dir("run").unwrap().join("journal"), "kept").unwrap();
    drop(store);

    let plan = FsStore::migrate(dir.path(), &options(), to, true, &mut |_| Ok(())).unwrap();
    assert_eq!((plan.entries, plan.blobs), (ENTRIES, ENTRIES + 1));
    assert_eq!(roots(dir.path()), (from == Layout::Files, from == Layout::Segments), "it only says");

    assert_eq!(migrate(dir.path(), to), plan);
    assert_eq!(roots(dir.path()), (to == Layout::Files, to == Layout::Segments));
    assert_eq!(fs::read(dir.path().join("run/journal")).unwrap(), b"kept");
    let store = open(dir.path(), Layout::Auto);
    assert_eq!(store.layout(), to, "what is there is what is used");
    check(&store);
    assert_eq!(store.verify(false, &mut |_| {}).unwrap().corrupt, 0);
    drop(store);
    assert_eq!(migrate(dir.path(), to), MigrateReport::default(), "there is nothing left to move");
}

#[test]
fn from_files_to_segments() {
    there_and_back(Layout::Files, Layout::Segments);
}

#[test]
fn from_segments_to_files() {
    there_and_back(Layout::Segments, Layout::Files);
}

#[test]
fn what_is_interrupted_anywhere_goes_on_when_it_is_repeated() {
    for (from, to) in [(Layout::Files, Layout::Segments), (Layout::Segments, Layout::Files)] {
        let dir = tempfile::tempdir().unwrap();
        fill(&open(dir.path(), from));
        let mut copied = 0;
        for stop in [1, ENTRIES, ENTRIES + 2, 2 * ENTRIES + 1] {
            let mut stop_there = |progress: MigrateProgress| {
                if progress.done == stop { Err(Error::Invalid("enough".to_owned())) } else { Ok(()) }
            };
            let result = FsStore::migrate(dir.path(), &options(), to, false, &mut stop_there);
            assert!(matches!(result, Err(Error::Invalid(text)) if text == "enough"));
            check(&open(dir.path(), from));
            let usage = open(dir.path(), to).usage();
            assert!(usage.entries + usage.blobs > copied, "each attempt goes on: {usage:?}");
            copied = usage.entries + usage.blobs;
        }
        migrate(dir.path(), to);
        assert_eq!(roots(dir.path()), (to == Layout::Files, to == Layout::Segments));
        check(&open(dir.path(), to));
    }
}

#[test]
fn a_removal_that_was_interrupted_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    fill(&open(dir.path(), Layout::Files));
    migrate(dir.path(), Layout::Segments);
    fs::create_dir_all(dir.path().join("files-v1/entries/ab")).unwrap();
    migrate(dir.path(), Layout::Segments);
    assert_eq!(roots(dir.path()), (false, true));
    check(&open(dir.path(), Layout::Auto));
}

#[test]
fn what_is_over_or_damaged_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let options = Options { clock: clock.clone(), ..options() };
    let store = FsStore::open(dir.path(), options.clone()).unwrap();
    let mut over = entry("over");
    over.meta.expires = Some(Timestamp::from_millis(START.as_millis() + 1000));
    let _ = store.put(&key(1), &over, PutMode::Overwrite).unwrap();
    let blob = store.write_blob(&content(7, SMALL)).unwrap();
    let _ = store.put(&key(2), &entry_with(&[(blob, SMALL as u64)]), PutMode::Overwrite).unwrap();
    let _ = store.put(&key(3), &entry("fine"), PutMode::Overwrite).unwrap();
    let path = store.open_blob(&blob).unwrap().unwrap().path().unwrap().to_owned();
    fs::write(path, content(8, SMALL)).unwrap();
    drop(store);
    clock.advance(Duration::from_secs(2));

    let report = FsStore::migrate(dir.path(), &options, Layout::Segments, false, &mut |_| Ok(())).unwrap();
    assert_eq!((report.entries, report.blobs, report.unusable), (1, 0, 2));
    let store = FsStore::open(dir.path(), Options { layout: Layout::Auto, ..options }).unwrap();
    assert_eq!(hit(&store, &key(3)).unwrap().value, "fine");
    assert!(miss(&store, &key(1)).is_some() && miss(&store, &key(2)).is_some());
}

#[test]
fn the_limit_holds_and_what_did_not_fit_is_counted() {
    const BLOBS: u64 = 100;
    let dir = tempfile::tempdir().unwrap();
    let max = 12_000_000;
    for (from, to) in [(Layout::Files, Layout::Segments), (Layout::Segments, Layout::Files)] {
        let store = open(dir.path(), from);
        for number in 0..BLOBS {
            store.write_blob(&content(number, 200_000)).unwrap();
        }
        drop(store);
        let policy = Some(Policy { max_bytes: Some(max), ..Policy::unlimited() });
        let options = Options { policy, ..options() };
        let report = FsStore::migrate(dir.path(), &options, to, false, &mut |_| Ok(())).unwrap();
        let store = FsStore::open(dir.path(), Options { layout: to, ..options }).unwrap();
        let usage = store.usage();
        assert!(usage.bytes <= max && usage.blobs > 0, "{usage:?}");
        assert_eq!(usage.blobs + report.did_not_fit + report.evicted, BLOBS, "{report:?}");
    }
}

#[test]
fn a_file_system_that_does_not_suit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    assert_eq!(migrate(&absent, Layout::Files), MigrateReport::default());
    assert!(!absent.exists());
    let result = FsStore::migrate(dir.path(), &options(), Layout::Auto, false, &mut |_| Ok(()));
    assert!(matches!(result, Err(Error::Invalid(_))));
}
