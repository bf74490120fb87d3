//! A limit is a limit, and what goes is what is needed least.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use cache_core::{Error, MissReason, Policy, Priority, PutMode};
use cache_fs::{FsStore, Options};
use common::{clock, content, entry, hit, key, limited, miss, options};

const SECOND: Duration = Duration::from_secs(1);
const MIB: u64 = 1 << 20;

#[cfg(unix)]
#[test]
fn many_puts_stay_within_the_limit() {
    for (limit, len, puts) in [(2 * MIB, 3000, 600), (8 * MIB, 50_000, 600), (4 * MIB, 700_000, 60)] {
        let dir = tempfile::tempdir().unwrap();
        let clock = clock();
        let store = limited(dir.path(), limit, &clock);
        for number in 0..puts {
            clock.advance(SECOND);
            if number % 2 == 0 {
                let _ = store.put(&key(number), &entry(content(number, len)), PutMode::Overwrite).unwrap();
            } else {
                store.write_blob(&content(number, len)).unwrap();
            }
            if number % 50 == 0 {
                assert!(common::du(dir.path()) <= limit, "{number}: {} of {limit}", common::du(dir.path()));
            }
        }
        let (du, usage) = (common::du(dir.path()), store.usage());
        assert!(du <= usage.bytes && usage.bytes <= limit, "{du} {usage:?}");
        assert!(usage.bytes >= limit / 2, "it is not emptied either: {usage:?}");
    }
}

#[test]
fn what_is_used_stays() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let store = limited(dir.path(), 4 * MIB, &clock);
    for number in 0..10 {
        let _ = store.put(&key(number), &entry(content(number, 5000)), PutMode::Overwrite).unwrap();
    }
    for number in 100..1500 {
        clock.advance(SECOND);
        let _ = store.put(&key(number), &entry(content(number, 5000)), PutMode::Overwrite).unwrap();
        if number % 20 == 0 {
            for used in 0..10 {
                clock.advance(4 * SECOND);
                assert!(hit(&store, &key(used)).is_some(), "{used} went although it is in use");
            }
        }
    }
    assert!(hit(&store, &key(1499)).is_some());
    assert!(
        matches!(miss(&store, &key(100)), Some(MissReason::Evicted { .. })),
        "{:?}",
        miss(&store, &key(100))
    );
}

#[test]
fn a_peek_is_no_use() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let policy = Policy { max_entries: Some(2), low_water_percent: 100, ..Policy::unlimited() };
    let store =
        FsStore::open(dir.path(), Options { policy: Some(policy), clock: clock.clone(), ..options() })
            .unwrap();
    let put = |number| {
        clock.advance(60 * SECOND);
        let _ = store.put(&key(number), &entry("x"), PutMode::Overwrite).unwrap();
    };
    put(1);
    put(2);
    clock.advance(60 * SECOND);
    assert!(store.peek(&key(1)).unwrap().into_entry().is_some());
    put(3);
    assert!(miss(&store, &key(1)).is_some() && hit(&store, &key(2)).is_some());
    // Now 2 was used, and 3 goes.
    put(4);
    assert!(miss(&store, &key(3)).is_some() && hit(&store, &key(2)).is_some());
}

#[test]
fn priority_counts_as_a_week() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let policy = Policy { max_entries: Some(90), low_water_percent: 100, ..Policy::unlimited() };
    let store =
        FsStore::open(dir.path(), Options { policy: Some(policy), clock: clock.clone(), ..options() })
            .unwrap();
    for (number, priority) in
        (0..).zip([Priority::High, Priority::Low, Priority::Normal].into_iter().cycle().take(90))
    {
        let mut entry = entry("x");
        entry.meta.priority = priority;
        clock.advance(SECOND);
        let _ = store.put(&key(number), &entry, PutMode::Overwrite).unwrap();
    }
    let survivors = |rest: u64| {
        (0..90).filter(|n| n % 3 == rest && store.peek(&key(*n)).unwrap().into_entry().is_some()).count()
    };
    let more = |range: std::ops::Range<u64>| {
        for number in range {
            clock.advance(SECOND);
            let _ = store.put(&key(number), &entry("x"), PutMode::Overwrite).unwrap();
        }
    };
    more(100..130);
    assert_eq!((survivors(0), survivors(1), survivors(2)), (30, 0, 30), "the low ones went first");
    more(130..160);
    assert_eq!((survivors(0), survivors(1), survivors(2)), (30, 0, 0), "then the normal ones");
    clock.advance(Duration::from_hours(8 * 24));
    more(160..220);
    assert_eq!(survivors(0), 30, "the new ones of a week ago went, which count as much as the old high ones");
}

#[test]
fn a_blob_is_as_dear_as_its_dearest_entry() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let store = limited(dir.path(), 2 * MIB, &clock);
    let dear = store.write_blob(&content(1, 50_000)).unwrap();
    let cheap = store.write_blob(&content(2, 50_000)).unwrap();
    for (number, digest, priority) in
        [(1, dear, Priority::High), (2, dear, Priority::Low), (3, cheap, Priority::Low)]
    {
        let mut entry = common::entry_with(&[(digest, 50_000)]);
        entry.meta.priority = priority;
        let _ = store.put(&key(number), &entry, PutMode::Overwrite).unwrap();
    }
    for number in 10..100 {
        clock.advance(SECOND);
        store.write_blob(&content(number, 50_000)).unwrap();
    }
    assert!(store.contains(&dear) && !store.contains(&cheap));
    assert!(hit(&store, &key(1)).is_some());
    assert!(miss(&store, &key(3)).is_some());
}

#[test]
fn what_was_just_used_is_protected() {
    let dir = tempfile::tempdir().unwrap();
    let policy = Policy { max_bytes: Some(2 * MIB), ..Policy::unlimited() };
    let open = |protect| {
        FsStore::open(dir.path(), Options { policy: Some(policy.clone()), protect, ..options() }).unwrap()
    };
    let store = open(60 * SECOND);
    let mut stored = Vec::new();
    let full = loop {
        assert!(stored.len() < 100, "it is never full");
        match store.write_blob(&content(stored.len() as u64, 100_000)) {
            Ok(digest) => stored.push(digest),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, Error::Full { .. }), "{full:?}");
    let text = full.to_string();
    assert!(text.contains("raise the size limit") && text.contains("2.1 MB"), "{text}");
    assert!(stored.len() >= 10 && store.missing(&stored).is_empty(), "nothing that was just written goes");
    // The same store without protection makes room.
    open(Duration::ZERO).write_blob(&content(1000, 100_000)).unwrap();
}

#[test]
fn the_number_of_entries_is_limited() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let policy = Policy { max_entries: Some(50), ..Policy::unlimited() };
    let store =
        FsStore::open(dir.path(), Options { policy: Some(policy), clock: clock.clone(), ..options() })
            .unwrap();
    for number in 0..300 {
        clock.advance(SECOND);
        let _ = store.put(&key(number), &entry("x"), PutMode::Overwrite).unwrap();
        assert!(common::entry_files(dir.path()).len() <= 50);
    }
    assert!((260..300).all(|number| hit(&store, &key(number)).is_some()), "the newest are there");
    // Overwriting adds none.
    for _ in 0..100 {
        let _ = store.put(&key(299), &entry("again"), PutMode::Overwrite).unwrap();
    }
    assert!(store.usage().entries >= 40);
}

#[test]
fn what_can_never_fit_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = limited(dir.path(), 2 * MIB, &clock());
    let _ = store.put(&key(1), &entry("small"), PutMode::Overwrite).unwrap();
    for refused in [
        store.write_blob(&content(1, 2 << 20)).map(drop),
        store.put(&key(2), &entry(content(1, 3 << 20)), PutMode::Overwrite).map(drop),
        store.write_blob_from(None, std::io::repeat(7)).map(drop),
    ] {
        assert!(
            matches!(refused, Err(Error::TooLarge { limit, .. }) if limit == 2 * MIB)
                || matches!(refused, Err(Error::Full { .. })),
            "{refused:?}"
        );
    }
    assert!(hit(&store, &key(1)).is_some(), "nothing had to go for it");
    assert_eq!(common::files(&dir.path().join("files-v1/tmp")).len(), 0);
    assert_eq!(store.usage().blobs, 0);
}

#[test]
fn something_large_makes_the_room_that_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let store = limited(dir.path(), 16 * MIB, &clock);
    for number in 0..3000 {
        let _ = store.put(&key(number), &entry(content(number, 4000)), PutMode::Overwrite).unwrap();
    }
    clock.advance(SECOND);
    let large = content(1, 9 << 20);
    let digest = store.write_blob(&large).unwrap();
    assert_eq!(store.read_blob(&digest, u64::MAX).unwrap().unwrap(), large);
    assert!(store.usage().bytes <= 16 * MIB);
}

#[test]
fn free_space_is_left_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let unlimited = FsStore::open(dir.path(), options()).unwrap();
    for number in 0..20 {
        let _ = unlimited.put(&key(number), &entry("x"), PutMode::Overwrite).unwrap();
    }
    // No disk has that much.
    let policy = Policy { free_space_floor: u64::MAX / 2, ..Policy::unlimited() };
    let store = FsStore::open(dir.path(), Options { policy: Some(policy), ..options() }).unwrap();
    let refused = store.put(&key(100), &entry("x"), PutMode::Overwrite);
    if unlimited.usage().free.is_none() {
        return assert!(refused.is_ok(), "where the free space is unknown, there is no floor");
    }
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("lower the free-space floor"), "{text}");
    assert_eq!(store.usage().entries, 0, "everything went, in vain");
}

#[test]
fn gc_removes_what_nothing_names() {
    let dir = tempfile::tempdir().unwrap();
    let store = FsStore::open(dir.path(), options()).unwrap();
    let (named, unnamed) = (store.write_blob(b"named").unwrap(), store.write_blob(b"unnamed").unwrap());
    let _ = store.put(&key(1), &common::entry_with(&[(named, 5)]), PutMode::Overwrite).unwrap();
    let protective = FsStore::open(dir.path(), Options { protect: 60 * SECOND, ..options() }).unwrap();
    assert_eq!(
        protective.gc(false).unwrap().unreferenced,
        u64::from(!cfg!(unix)),
        "its entry may be on its way"
    );
    assert_eq!(store.gc(true).unwrap().unreferenced, 1);
    let report = store.gc(false).unwrap();
    assert_eq!((report.unreferenced, report.evicted), (1, 0));
    assert!(report.bytes > 0 && store.contains(&named) && !store.contains(&unnamed));
    store.delete_blob(&named).unwrap();
    assert_eq!(store.gc(false).unwrap().broken, 1);
    assert_eq!((store.usage().entries, store.usage().blobs), (0, 0));
}

#[test]
fn counters_are_exact_when_nothing_goes_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Arc::new(common::Recorder::default());
    let store = FsStore::open(dir.path(), Options { observers: recorder.observers(), ..options() }).unwrap();
    for number in 0..200 {
        let _ = store
            .put(&key(number % 70), &entry(content(number, 1 + 97 * number as usize)), PutMode::Overwrite)
            .unwrap();
        store.write_blob(&content(number % 50, 1000)).unwrap();
        if number % 3 == 0 {
            store.remove(&key(number / 2)).unwrap();
        }
    }
    let before = store.usage();
    std::fs::remove_file(dir.path().join("files-v1/usage")).unwrap();
    let counted = FsStore::open(dir.path(), options()).unwrap().usage();
    assert_eq!((before.bytes, before.entries, before.blobs), (counted.bytes, counted.entries, counted.blobs));
    assert_eq!(counted.entries as usize, common::entry_files(dir.path()).len());
    assert!(!recorder.take().iter().any(|event| event.starts_with("evicted")));
}
