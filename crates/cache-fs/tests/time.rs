//! Time to live, age, and clocks that are wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::Duration;

use cache_core::{MissReason, Policy, PutMode, Timestamp};
use cache_fs::{FsStore, Options};
use common::{START, clock, entry, hit, key, miss, options};

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

#[test]
fn an_entry_ends_when_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let store = FsStore::open(dir.path(), Options { clock: clock.clone(), ..options() }).unwrap();
    let mut mortal = entry("mortal");
    mortal.meta.expires = Some(START.plus(MINUTE));
    let _ = store.put(&key(1), &mortal, PutMode::Overwrite).unwrap();
    clock.advance(Duration::from_secs(59));
    assert_eq!(hit(&store, &key(1)).unwrap(), mortal);
    clock.advance(Duration::from_secs(1));
    assert_eq!(miss(&store, &key(1)), Some(MissReason::Expired { at: START.plus(MINUTE) }));
    assert!(store.peek(&key(1)).unwrap().into_entry().is_none());
    assert_eq!(store.list(&cache_core::ListFilter::default(), None, 10).unwrap().items, []);
    // It is whole, and may be served while a new one is made.
    assert_eq!(store.get_stale(&key(1)).unwrap().unwrap(), mortal);
    clock.set(START);
    assert!(hit(&store, &key(1)).is_some(), "a clock that goes back makes it young again");
    clock.advance(DAY);
    assert_eq!(store.gc(false).unwrap().expired, 1);
    assert_eq!(store.get_stale(&key(1)).unwrap(), None);
}

#[test]
fn the_default_time_to_live_is_for_those_without_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let policy = Policy { default_ttl: Some(MINUTE), ..Policy::unlimited() };
    let store =
        FsStore::open(dir.path(), Options { policy: Some(policy), clock: clock.clone(), ..options() })
            .unwrap();
    let mut own = entry("own");
    own.meta.expires = Some(START.plus(2 * MINUTE));
    let _ = store.put(&key(1), &entry("default"), PutMode::Overwrite).unwrap();
    let _ = store.put(&key(2), &own, PutMode::Overwrite).unwrap();
    assert_eq!(hit(&store, &key(1)).unwrap().meta.expires, Some(START.plus(MINUTE)));
    clock.advance(MINUTE);
    assert!(miss(&store, &key(1)).is_some() && hit(&store, &key(2)).is_some());
}

fn aging(dir: &std::path::Path, clock: &std::sync::Arc<cache_core::ManualClock>) -> FsStore {
    let policy = Policy { max_age: Some(10 * DAY), ..Policy::unlimited() };
    FsStore::open(dir, Options { policy: Some(policy), clock: clock.clone(), ..options() }).unwrap()
}

#[test]
fn what_is_not_used_goes_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let store = aging(dir.path(), &clock);
    let digest = store.write_blob(b"blob").unwrap();
    let _ = store.put(&key(1), &common::entry_with(&[(digest, 4)]), PutMode::Overwrite).unwrap();
    let _ = store.put(&key(2), &entry("unused"), PutMode::Overwrite).unwrap();
    for _ in 0..3 {
        clock.advance(5 * DAY);
        assert!(hit(&store, &key(1)).is_some());
    }
    let dry = store.gc(true).unwrap();
    assert_eq!(store.usage().entries, 2, "a dry run removes nothing");
    let report = store.gc(false).unwrap();
    assert_eq!((report.aged, report.expired, report.unreferenced), (1, 0, 0));
    assert_eq!((dry.aged, dry.bytes), (report.aged, report.bytes));
    assert!(hit(&store, &key(1)).is_some());
    assert_eq!(miss(&store, &key(2)), Some(MissReason::Evicted { at: START.plus(15 * DAY) }));
}

#[test]
fn puts_age_the_store_bit_by_bit() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let store = aging(dir.path(), &clock);
    for number in 0..40 {
        let _ = store.put(&key(number), &entry("old"), PutMode::Overwrite).unwrap();
    }
    clock.advance(11 * DAY);
    // One shard per five minutes of use.
    for number in 0..260 {
        clock.advance(5 * MINUTE);
        let _ = store.put(&key(1000 + number % 2), &entry("new"), PutMode::Overwrite).unwrap();
    }
    assert_eq!(store.usage().entries, 2);
}

#[test]
fn a_clock_that_was_ahead_does_not_keep_files_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let store = aging(dir.path(), &clock);
    clock.set(START.plus(1000 * DAY));
    let _ = store.put(&key(1), &entry("from the future"), PutMode::Overwrite).unwrap();
    clock.set(START);
    assert_eq!(store.gc(false).unwrap().aged, 0, "it is as if it was used now");
    clock.advance(11 * DAY);
    assert_eq!(store.gc(false).unwrap().aged, 1);
}

#[test]
fn extreme_times_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let store = aging(dir.path(), &clock);
    for now in [0, 1, u64::MAX, u64::MAX / 2, 1 << 33, 1 << 45] {
        clock.set(Timestamp::from_millis(now));
        let _ = store.put(&key(now), &entry("x"), PutMode::Overwrite).unwrap();
        assert!(hit(&store, &key(now)).is_some(), "{now}");
        store.gc(false).unwrap();
        let _ = store.usage();
    }
}

#[test]
fn leftovers_of_dead_processes_go_after_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let store = FsStore::open(dir.path(), options()).unwrap();
    let tmp = dir.path().join("files-v1/tmp");
    let at = |name: &str, time| {
        let file = std::fs::File::create(tmp.join(name)).unwrap();
        file.set_modified(time).unwrap();
    };
    let now = std::time::SystemTime::now();
    at("07-4256-0-old", now - 2 * DAY);
    at("07-4256-0-future", now + 2 * DAY);
    at("07-4256-0-new", now - Duration::from_hours(23));
    assert_eq!(store.gc(true).unwrap().leftovers, 2);
    assert_eq!(store.gc(false).unwrap().leftovers, 2);
    let left: Vec<_> = common::files(&tmp);
    assert!(left.len() == 1 && left[0].ends_with("07-4256-0-new"), "{left:?}");
}
