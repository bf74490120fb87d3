//! A disk that is really full.

#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]
#![cfg(target_os = "linux")]

mod common;

use std::time::Duration;

use cache_core::{Error, Policy, PutMode};
use cache_fs::{FsStore, Options};
use cache_testkit::SmallDisk;
use common::{content, entry, hit, key, options};

#[test]
fn a_full_disk_makes_room_once_and_goes_on() {
    let Some(disk) = SmallDisk::mount(4) else { return };
    // No limit of its own: only the disk says stop.
    let clock = common::clock();
    let store =
        FsStore::open(&disk.path().join("cache"), Options { clock: clock.clone(), ..options() }).unwrap();
    for number in 0..400 {
        clock.advance(Duration::from_secs(1));
        let value = content(number, 20_000 + 997 * (number as usize % 50));
        let _ = store.put(&key(number), &entry(value.clone()), PutMode::Overwrite).unwrap();
        assert_eq!(hit(&store, &key(number)).unwrap().value, value);
        let blob = content(1000 + number, 30_000);
        let digest = store.write_blob_from(None, &blob[..]).unwrap().0;
        assert_eq!(store.read_blob(&digest, u64::MAX).unwrap().unwrap(), blob);
    }
    assert_eq!(store.verify(false, &mut |_| ()).unwrap().corrupt, 0);
    assert_eq!(common::files(&disk.path().join("cache/files-v1/tmp")).len(), 0);
}

#[test]
fn a_disk_that_others_fill_is_an_error_with_a_remedy() {
    let Some(disk) = SmallDisk::mount(4) else { return };
    let store = FsStore::open(&disk.path().join("cache"), options()).unwrap();
    let _ = store.put(&key(1), &entry(content(1, 100_000)), PutMode::Overwrite).unwrap();
    disk.fill();
    // What is there stays readable while nothing is written.
    assert!(hit(&store, &key(1)).is_some());
    for refused in [
        store.put(&key(2), &entry(content(2, 1 << 20)), PutMode::Overwrite).map(drop),
        store.write_blob_from(None, &content(3, 1 << 20)[..]).map(drop),
    ] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, Error::Full { .. }), "{refused:?}");
        assert!(refused.to_string().contains("free some space"), "{refused}");
    }
    assert_eq!(common::files(&disk.path().join("cache/files-v1/tmp")).len(), 0);
    // It works again as soon as there is room.
    disk.empty();
    let _ = store.put(&key(2), &entry("x"), PutMode::Overwrite).unwrap();
    assert!(hit(&store, &key(2)).is_some());
}

#[test]
fn what_is_protected_does_not_go_for_a_full_disk() {
    let Some(disk) = SmallDisk::mount(4) else { return };
    let store =
        FsStore::open(&disk.path().join("cache"), Options { protect: Duration::from_mins(1), ..options() })
            .unwrap();
    let mut stored = Vec::new();
    let full = loop {
        assert!(stored.len() < 100, "it is never full");
        match store.write_blob(&content(stored.len() as u64, 100_000)) {
            Ok(digest) => stored.push(digest),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, Error::Full { .. }), "{full:?}");
    assert!(stored.len() > 20 && store.missing(&stored).is_empty());
}

#[test]
fn the_free_space_floor_is_kept() {
    let Some(disk) = SmallDisk::mount(4) else { return };
    let policy = Policy { free_space_floor: 2 << 20, ..Policy::unlimited() };
    let clock = common::clock();
    let store = FsStore::open(
        &disk.path().join("cache"),
        Options { policy: Some(policy), clock: clock.clone(), ..options() },
    )
    .unwrap();
    for number in 0..300 {
        clock.advance(Duration::from_secs(1));
        let _ = store.put(&key(number), &entry(content(number, 30_000)), PutMode::Overwrite).unwrap();
        assert!(store.usage().free.unwrap() >= 2 << 20);
    }
    assert!(hit(&store, &key(299)).is_some() && store.usage().entries > 20, "{:?}", store.usage());
}
