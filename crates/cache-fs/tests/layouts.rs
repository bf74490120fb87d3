//! What both layouts promise alike.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cache_core::signing::{Keyring, SigningKey, Standing};
use cache_core::{Clock, ListFilter, MissReason, Namespace, Policy, Priority, PutMode};
use cache_fs::{FsStore, Layout, Options};
use common::{START, clock, content, entry, hit, key, miss, options};

#[cfg(unix)]
const LAYOUTS: [Layout; 2] = [Layout::Files, Layout::Segments];
#[cfg(not(unix))]
const LAYOUTS: [Layout; 1] = [Layout::Files];

const MIB: u64 = 1 << 20;
const MINUTE: Duration = Duration::from_mins(1);

#[test]
fn an_entry_whose_time_is_over_is_a_miss_until_it_is_collected() {
    for layout in LAYOUTS {
        let dir = tempfile::tempdir().unwrap();
        let clock = clock();
        let policy = Policy { default_ttl: Some(2 * MINUTE), ..Policy::unlimited() };
        let options = Options { layout, policy: Some(policy), clock: clock.clone(), ..options() };
        let store = FsStore::open(dir.path(), options).unwrap();
        let mut own = entry("own");
        own.meta.expires = Some(START.plus(MINUTE));
        let _ = store.put(&key(1), &own, PutMode::Overwrite).unwrap();
        let _ = store.put(&key(2), &entry("default"), PutMode::Overwrite).unwrap();
        clock.advance(MINUTE);
        assert_eq!(miss(&store, &key(1)), Some(MissReason::Expired { at: START.plus(MINUTE) }), "{layout:?}");
        assert_eq!(store.list(&ListFilter::default(), None, 10).unwrap().items.len(), 1, "{layout:?}");
        assert_eq!(store.get_stale(&key(1)).unwrap(), Some(own), "{layout:?}: it may be served meanwhile");
        clock.set(START);
        assert!(hit(&store, &key(1)).is_some(), "{layout:?}: a clock that goes back makes it young again");
        clock.advance(MINUTE);
        assert_eq!(store.gc(true).unwrap().expired, 1, "{layout:?}");
        assert_eq!(store.gc(false).unwrap().expired, 1, "{layout:?}");
        assert_eq!(store.get_stale(&key(1)).unwrap(), None, "{layout:?}");
        assert!(hit(&store, &key(2)).is_some(), "{layout:?}");
        // What is over gives way also to a put that would keep what is there.
        clock.advance(MINUTE);
        let put = store.put(&key(2), &entry("again"), PutMode::IfAbsent).unwrap();
        assert_eq!(put, cache_core::PutOutcome::Stored, "{layout:?}");
    }
}

/// What the store adds to an entry, it may not add to one that somebody signed.
#[test]
fn a_signed_entry_stays_as_it_was_signed_whatever_the_policy_says() {
    let ring = Keyring::new(SigningKey::from_bytes([1; 32]));
    for layout in LAYOUTS {
        let dir = tempfile::tempdir().unwrap();
        let policy = Policy { default_ttl: Some(MINUTE), priority: Priority::High, ..Policy::unlimited() };
        let options = Options { layout, policy: Some(policy), clock: clock(), ..options() };
        let store = FsStore::open(dir.path(), options).unwrap();
        for (n, expires) in [(1, None), (2, Some(START.plus(100 * MINUTE)))] {
            let mut signed = entry("signed");
            signed.meta.expires = expires;
            ring.sign(&key(n), &mut signed).unwrap();
            let _ = store.put(&key(n), &signed, PutMode::Overwrite).unwrap();
            let found = hit(&store, &key(n)).unwrap();
            assert_eq!((ring.standing(&key(n), &found), &found), (Standing::Valid, &signed), "{layout:?}");
        }
        let _ = store.put(&key(3), &entry("unsigned"), PutMode::Overwrite).unwrap();
        let unsigned = hit(&store, &key(3)).unwrap().meta;
        assert!(unsigned.expires.is_some() && unsigned.priority == Priority::High, "{layout:?}");
        let signers: BTreeSet<_> = store
            .list(&ListFilter::default(), None, 10)
            .unwrap()
            .items
            .iter()
            .map(|item| item.signer)
            .collect();
        assert_eq!(signers, BTreeSet::from([None, Some(ring.current().id())]), "{layout:?}");
    }
}

#[test]
fn what_is_not_used_for_too_long_is_collected() {
    const DAY: Duration = Duration::from_hours(24);
    for layout in LAYOUTS {
        let dir = tempfile::tempdir().unwrap();
        let clock = clock();
        let policy = Policy { max_age: Some(10 * DAY), ..Policy::unlimited() };
        let options = Options { layout, policy: Some(policy), clock: clock.clone(), ..options() };
        let store = FsStore::open(dir.path(), options).unwrap();
        for number in 1..=4 {
            let _ = store.put(&key(number), &entry(content(number, 900)), PutMode::Overwrite).unwrap();
        }
        clock.advance(5 * DAY);
        assert!(hit(&store, &key(1)).is_some() && hit(&store, &key(2)).is_some());
        clock.advance(4 * DAY);
        assert_eq!(store.gc(false).unwrap().aged, 0, "{layout:?}: nothing is too old yet");
        clock.advance(2 * DAY);
        let _ = store.put(&key(5), &entry("young"), PutMode::Overwrite).unwrap();
        assert!(
            store.peek(&key(3)).unwrap().into_entry().is_some(),
            "{layout:?}: there until it is collected"
        );
        let (dry, there) = (store.gc(true).unwrap(), store.usage().entries);
        assert_eq!((dry.aged, there), (2, 5), "{layout:?}: a dry run removes nothing");
        let real = store.gc(false).unwrap();
        assert_eq!((real.aged, real.expired, real.broken), (2, 0, 0), "{layout:?}");
        for number in [1, 2, 5] {
            assert!(hit(&store, &key(number)).is_some(), "{layout:?}: {number} is in use");
        }
        assert!(miss(&store, &key(3)).is_some() && miss(&store, &key(4)).is_some(), "{layout:?}");
        // Segments know that something was used, not when: it has up to this time once more.
        for _ in 0..3 {
            clock.advance(11 * DAY);
            store.gc(false).unwrap();
        }
        assert_eq!(store.usage().entries, 0, "{layout:?}");
    }
}

#[test]
fn a_dry_run_estimates_what_is_beyond_the_limits() {
    let cases = [
        (Policy { max_bytes: Some(16 * MIB), ..Policy::unlimited() }, true),
        (Policy { max_entries: Some(100), ..Policy::unlimited() }, true),
        (Policy { max_bytes: Some(256 * MIB), max_entries: Some(1000), ..Policy::unlimited() }, false),
    ];
    for (layout, (policy, some)) in
        LAYOUTS.iter().flat_map(|layout| cases.iter().map(move |it| (*layout, it)))
    {
        let dir = tempfile::tempdir().unwrap();
        let open = |policy: &Policy| {
            let options = Options { layout, policy: Some(policy.clone()), ..options() };
            FsStore::open(dir.path(), options).unwrap()
        };
        // It fits when it is put.
        let store = open(&Policy { max_bytes: Some(64 * MIB), ..Policy::unlimited() });
        for number in 0..250 {
            let _ = store.put(&key(number), &entry(content(number, 100_000)), PutMode::Overwrite).unwrap();
        }
        drop(store);
        let store = open(policy);
        let (dry, before) = (store.gc(true).unwrap(), store.usage());
        assert_eq!(before.entries, 250, "a dry run removes nothing");
        let real = store.gc(false).unwrap();
        assert_eq!(real.evicted, 250 - store.usage().entries, "{layout:?} {policy:?}");
        assert_eq!(real.evicted > 0, *some, "{layout:?} {policy:?}: {real:?}");
        let about = |estimate: u64, real: u64| estimate.abs_diff(real) <= real / 4;
        assert!(about(dry.evicted, real.evicted) && about(dry.bytes, real.bytes), "{dry:?} {real:?}");
    }
}

#[test]
fn what_had_to_go_is_told_by_whoever_removed_it() {
    for layout in LAYOUTS {
        let dir = tempfile::tempdir().unwrap();
        let recorders = [Arc::new(common::Recorder::default()), Arc::new(common::Recorder::default())];
        let policy = Policy { max_bytes: Some(16 * MIB), ..Policy::unlimited() };
        let [busy, idle] = [&recorders[0], &recorders[1]].map(|recorder| {
            let (policy, observers) = (Some(policy.clone()), recorder.observers());
            FsStore::open(dir.path(), Options { layout, policy, observers, ..options() }).unwrap()
        });
        for number in 0..30 {
            let _ = busy.put(&key(number), &entry(content(number, 400_000)), PutMode::Overwrite).unwrap();
            let large = content(number, 600_000);
            busy.write_blob_from(None, &large[..]).unwrap();
        }
        let _ = idle.put(&key(99), &entry("small"), PutMode::Overwrite).unwrap();
        let evicted = |recorder: &common::Recorder| -> u64 {
            let events = recorder.take();
            let number = |event: &String| event.strip_prefix("evicted ")?.parse::<u64>().ok();
            events.iter().filter_map(number).sum()
        };
        let usage = busy.usage();
        assert_eq!(evicted(&recorders[0]), 61 - usage.entries - usage.blobs, "{layout:?}: {usage:?}");
        assert_eq!(evicted(&recorders[1]), 0, "{layout:?}");
    }
}

#[test]
fn a_namespace_keeps_to_its_quota_and_loses_what_was_stored_first() {
    for layout in LAYOUTS {
        let dir = tempfile::tempdir().unwrap();
        let clock = clock();
        let names = ["small", "large"].map(|name| Namespace::new(name).unwrap());
        let quotas = names.iter().cloned().zip([10_000, 1 << 30]).collect();
        let policy = Policy { namespace_bytes: quotas, ..Policy::unlimited() };
        let options = Options { layout, policy: Some(policy), clock: clock.clone(), ..options() };
        let store = FsStore::open(dir.path(), options).unwrap();
        for number in 0..40 {
            let mut entry = entry(content(number, 1000));
            entry.meta.namespace = names[number as usize % 2].clone();
            entry.meta.created = clock.now();
            let _ = store.put(&key(number), &entry, PutMode::Overwrite).unwrap();
            clock.advance(MINUTE);
        }
        assert_eq!(store.gc(true).unwrap().evicted, 11, "{layout:?}");
        assert_eq!(store.gc(false).unwrap().evicted, 11, "{layout:?}: down to nine tenths");
        let left: Vec<u64> = (0..40).filter(|number| hit(&store, &key(*number)).is_some()).collect();
        let right: Vec<u64> = (0..40).filter(|number| number % 2 == 1 || *number >= 22).collect();
        assert_eq!(left, right, "{layout:?}");
        assert_eq!(store.gc(false).unwrap().evicted, 0, "{layout:?}");
    }
}

#[cfg(unix)]
#[test]
fn what_a_lease_keeps_is_not_evicted() {
    let dir = tempfile::tempdir().unwrap();
    let policy = Policy { max_bytes: Some(24 * MIB), ..Policy::unlimited() };
    let open = || {
        let options = Options { layout: Layout::Segments, policy: Some(policy.clone()), ..options() };
        FsStore::open(dir.path(), options).unwrap()
    };
    let (store, other) = (open(), open());
    let kept: Vec<_> = (0..50).map(key).collect();
    for number in 0..50 {
        let _ = store.put(&key(number), &entry(content(number, 9_000)), PutMode::Overwrite).unwrap();
    }
    let large = store.write_blob(&content(7, 700_000)).unwrap();
    let mut lease = store.lease().unwrap();
    lease.keep(&kept[..20], &[]).unwrap();
    lease.keep(&kept[20..40], &[large]).unwrap();
    let flood = |from: u64| {
        for number in from..from + 3000 {
            let _ = other.put(&key(number), &entry(content(number, 20_000)), PutMode::Overwrite).unwrap();
        }
    };
    flood(1000);
    let there = || (0..50).filter(|number| other.peek(&key(*number)).unwrap().into_entry().is_some()).count();
    assert_eq!(there(), 40, "those that nobody needs are gone");
    assert!(other.read_blob(&large, MIB).unwrap().is_some());
    let pins = dir.path().join("segments-v1/pins");
    assert_eq!(std::fs::read_dir(&pins).unwrap().count(), 1);
    drop(lease);
    assert_eq!(std::fs::read_dir(&pins).unwrap().count(), 0);
    std::fs::write(pins.join("left by a process that died"), "VTCPINS1").unwrap();
    flood(10_000);
    assert_eq!(std::fs::read_dir(&pins).unwrap().count(), 0);
}

/// A server runs on when somebody empties its cache.
#[test]
fn a_store_that_is_deleted_while_it_is_open_goes_on() {
    for layout in LAYOUTS {
        let dir = tempfile::tempdir().unwrap();
        let store = FsStore::open(dir.path(), Options { layout, ..options() }).unwrap();
        for number in 0..3 {
            let _ = store.put(&key(number), &entry(content(number, 700)), PutMode::Overwrite).unwrap();
            let digest = store.write_blob(&content(number, 400_000)).unwrap();
            assert!(hit(&store, &key(number)).is_some(), "{layout:?} {number}");
            assert!(store.read_blob(&digest, MIB).unwrap().is_some(), "{layout:?} {number}");
            for item in std::fs::read_dir(dir.path()).unwrap() {
                let path = item.unwrap().path();
                if path.is_dir() {
                    std::fs::remove_dir_all(path).unwrap();
                }
            }
        }
        let _ = store.put(&key(9), &entry("new"), PutMode::Overwrite).unwrap();
        assert!(hit(&store, &key(9)).is_some() && hit(&store, &key(1)).is_none(), "{layout:?}");
    }
}

#[test]
fn those_who_make_a_store_at_once_can_all_use_it() {
    for layout in LAYOUTS {
        for round in 0..40 {
            let dir = tempfile::tempdir().unwrap();
            let barrier = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                for number in 0..4 {
                    let (dir, barrier) = (dir.path().join("new"), &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        let store = FsStore::open(&dir, Options { layout, ..options() });
                        let store = store.unwrap_or_else(|e| panic!("{layout:?}, round {round}: {e}"));
                        let _ = store.put(&key(number), &entry("own"), PutMode::Overwrite).unwrap();
                        assert!(hit(&store, &key(number)).is_some(), "{layout:?}, round {round}");
                    });
                }
            });
        }
    }
}

/// Stores as many entries that were dear to make as others, in turn, all of one size and age, then other things until something
/// has to go; returns how many of both are left, whole.
fn dear_and_cheap_left(layout: Layout, dear_ms: u64) -> (usize, usize) {
    const PAIRS: u64 = 50;
    const LEN: usize = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let policy = Policy { max_bytes: Some(32 * MIB), ..Policy::unlimited() };
    let options = Options { layout, policy: Some(policy), clock: clock.clone(), ..options() };
    let store = FsStore::open(dir.path(), options).unwrap();
    for number in 0..2 * PAIRS {
        let digest = store.write_blob(&content(number, LEN)).unwrap();
        let mut entry = common::entry_with(&[(digest, LEN as u64)]);
        entry.meta.cost_ms = if number % 2 == 0 { dear_ms } else { 100 };
        let _ = store.put(&key(number), &entry, PutMode::Overwrite).unwrap();
    }
    for number in 1000..1900 {
        clock.advance(Duration::from_secs(1));
        let _ = store.put(&key(number), &entry(content(number, 40_000)), PutMode::Overwrite).unwrap();
    }
    let left = |rest| {
        (0..2 * PAIRS).filter(|number| number % 2 == rest && hit(&store, &key(*number)).is_some()).count()
    };
    (left(0), left(1))
}

#[test]
fn of_what_is_equally_old_the_dear_stays() {
    for layout in LAYOUTS {
        // 20 KB that took a minute to make, and 20 KB that took a tenth of a second.
        let (dear, cheap) = dear_and_cheap_left(layout, 60_000);
        assert_eq!((dear, cheap), (50, 0), "{layout:?}");
        let (as_cheap, cheap) = dear_and_cheap_left(layout, 200);
        assert_eq!(as_cheap, cheap, "{layout:?}: twice the cost is not dear");
    }
}
