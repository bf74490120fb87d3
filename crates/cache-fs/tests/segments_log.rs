//! The segment log by itself: what is returned was put, and the disk is bounded.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::collections::HashMap;
use std::path::Path;

use cache_core::Digest;
use cache_fs::{FsStore, Layout, Options, SegmentOptions, Segments};

fn key(number: u64) -> [u8; 32] {
    *Digest::blake3(&number.to_le_bytes()).as_bytes()
}

/// Bytes that no compression, deduplication or zeroed page could make by chance.
fn value(number: u64, len: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| next()).collect();
    bytes.truncate(len);
    bytes
}

fn open(dir: &Path, max_bytes: u64) -> Segments {
    open_with(dir, max_bytes, 1 << 20)
}

fn open_with(dir: &Path, max_bytes: u64, segment_bytes: u64) -> Segments {
    let mut options = SegmentOptions::default();
    options.max_bytes = Some(max_bytes);
    options.segment_bytes = Some(segment_bytes);
    Segments::open(dir, options).unwrap()
}

/// Returns the bytes on disk of all that is under `path`.
fn disk_usage(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(meta) = path.symlink_metadata() else { return 0 };
    let below = std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    meta.blocks() * 512 + below.map(|item| disk_usage(&item.path())).sum::<u64>()
}

#[test]
fn what_is_put_is_found_by_every_process_and_after_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let (store, other) = (open(dir.path(), 1 << 30), open(dir.path(), 1 << 30));
    let lens = [0, 1, 15, 16, 17, 127, 128, 1000, 4095, 65_536, 262_144, 262_145, 3_000_000];
    for (number, len) in lens.into_iter().enumerate() {
        store.put(&key(number as u64), &value(number as u64, len)).unwrap();
    }
    let reopened = open(dir.path(), 1 << 30);
    let mut buffer = Vec::new();
    for (number, len) in lens.into_iter().enumerate() {
        for store in [&store, &other, &reopened] {
            let found = store.get_into(&key(number as u64), &mut buffer).unwrap();
            assert!(found == Some(&value(number as u64, len)[..]), "{len} bytes");
            assert!(store.contains(&key(number as u64)).unwrap());
        }
    }
    assert_eq!(store.get_into(&key(99), &mut buffer).unwrap(), None);
}

#[test]
fn the_last_put_counts_and_what_is_removed_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(dir.path(), 1 << 30), open(dir.path(), 1 << 30));
    let mut buffer = Vec::new();
    for round in 0..50 {
        let writer = if round % 2 == 0 { &one } else { &other };
        writer.put(&key(0), &value(round, 2000 + round as usize)).unwrap();
        for reader in [&one, &other] {
            let found = reader.get_into(&key(0), &mut buffer).unwrap().unwrap();
            assert!(found == value(round, 2000 + round as usize), "round {round}");
        }
    }
    assert!(one.remove(&key(0)).unwrap());
    assert!(!other.remove(&key(0)).unwrap());
    assert_eq!(other.get_into(&key(0), &mut buffer).unwrap(), None);
}

#[test]
fn a_lost_index_is_made_anew_and_brings_nothing_back_that_was_replaced_or_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    for number in 0..300 {
        store.put(&key(number), &value(number, 9_000)).unwrap();
    }
    for number in 0..100 {
        store.put(&key(number), &value(number + 1000, 5_000)).unwrap();
    }
    for number in 100..150 {
        store.remove(&key(number)).unwrap();
    }
    drop(store);
    std::fs::remove_file(dir.path().join("segments-v1/index")).unwrap();
    let store = open(dir.path(), 1 << 30);
    while dir.path().join("segments-v1/rebuild").exists() {
        std::thread::yield_now();
    }
    let mut buffer = Vec::new();
    for number in 0..300 {
        let expected = match number {
            0..100 => Some(value(number + 1000, 5_000)),
            100..150 => None,
            _ => Some(value(number, 9_000)),
        };
        assert!(store.get_into(&key(number), &mut buffer).unwrap() == expected.as_deref(), "{number}");
    }
}

#[test]
fn equal_payloads_are_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let payload = value(1, 200_000);
    for number in 0..200 {
        store.put(&key(number), &payload).unwrap();
    }
    let counters = store.counters();
    assert_eq!((counters.puts, counters.duplicates), (200, 199));
    assert!(store.bytes() < open(dir.path(), 1 << 30).bytes() + (5 << 20));
    let mut buffer = Vec::new();
    // The one that has the payload goes; the others find it all the same.
    store.remove(&key(0)).unwrap();
    for number in 1..200 {
        assert!(store.get_into(&key(number), &mut buffer).unwrap() == Some(&payload[..]), "{number}");
    }
}

#[test]
fn the_limit_holds_at_every_put_and_what_is_used_stays() {
    let dir = tempfile::tempdir().unwrap();
    let limit = 24 << 20;
    let store = open(dir.path(), limit);
    let mut buffer = Vec::new();
    for number in 0..10_000 {
        store.put(&key(number), &value(number, 11_000)).unwrap();
        // A few are wanted again and again, not more of a segment than can stay.
        let hot = number % 50 * 9;
        let found = store.get_into(&key(hot), &mut buffer).unwrap().map(<[u8]>::to_vec);
        assert!(found.is_none_or(|found| found == value(hot, 11_000)));
        if number % 500 == 0 {
            let used = disk_usage(dir.path());
            assert!(used <= limit + (2 << 20), "{used} bytes after {number} puts");
        }
    }
    let there = (0..50).filter(|hot| store.contains(&key(hot * 9)).unwrap()).count();
    assert!(there >= 45, "{there} of the 50 that are used all the time are there");
    let counters = store.counters();
    assert!(counters.evicted > 5_000 && counters.promoted > 0 && counters.reclaimed > 0, "{counters:?}");
}

/// Nobody waits for more than one segment to be reclaimed, however much is too much.
#[test]
fn a_store_over_a_lowered_limit_shrinks_by_a_segment_for_each_lease() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 64 << 20);
    for number in 0..5000 {
        store.put(&key(number), &value(number, 11_000)).unwrap();
    }
    drop(store);
    let lowered = 24 << 20;
    let (mut reclaimed, mut bytes) = (0, u64::MAX);
    let mut buffer = Vec::new();
    for number in 5000..5100 {
        // Each is a process of its own: what it leases is for one put.
        let store = open(dir.path(), lowered);
        let before = store.counters().reclaimed;
        store.put(&key(number), &value(number, 11_000)).unwrap();
        assert!(store.get_into(&key(number), &mut buffer).unwrap().is_some(), "{number}");
        let after = store.counters().reclaimed;
        assert!(after - before <= 1 || bytes <= lowered, "{} segments in one put", after - before);
        assert!(store.bytes() <= bytes.max(lowered), "{} bytes after {bytes}", store.bytes());
        (reclaimed, bytes) = (after, store.bytes());
    }
    assert!(bytes <= lowered, "{bytes}");
    assert!(reclaimed >= 25, "{reclaimed} segments of 1 MiB went");
    assert!(disk_usage(dir.path()) <= lowered + (2 << 20));
}

#[test]
fn large_payloads_count_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let limit = 48 << 20;
    let store = open(dir.path(), limit);
    let mut buffer = Vec::new();
    let mut last = HashMap::new();
    for number in 0..100 {
        let payload = value(number, 3_000_000);
        store.put(&key(number), &payload).unwrap();
        assert!(store.get_into(&key(number), &mut buffer).unwrap() == Some(&payload[..]), "{number}");
        last.insert(number, payload);
        let used = disk_usage(dir.path());
        assert!(used <= limit + (2 << 20), "{used} bytes after {number} puts");
    }
    let there = (0..100).filter(|number| store.contains(&key(*number)).unwrap()).count();
    assert!((8..16).contains(&there), "{there}");
}

#[test]
fn what_is_removed_gives_its_room_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 48 << 20);
    for number in 0..100 {
        store.put(&key(number), &value(number, 3_000_000)).unwrap();
        assert!(store.remove(&key(number)).unwrap());
    }
    assert!(store.bytes() < 30 << 20, "{}", store.bytes());
}

#[test]
fn segments_have_a_sensible_length_whatever_is_asked_for() {
    for segment_bytes in [0, 1, (1 << 20) + 8, 100 << 20, u64::MAX / 2] {
        let dir = tempfile::tempdir().unwrap();
        let store = open_with(dir.path(), 1 << 30, segment_bytes);
        store.put(&key(1), b"x").unwrap();
        assert!(store.contains(&key(1)).unwrap(), "{segment_bytes}");
    }
}

#[test]
fn a_limit_that_is_too_small_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = SegmentOptions::default();
    options.max_bytes = Some(1 << 20);
    let refused = Segments::open(dir.path(), options).unwrap_err().to_string();
    assert!(refused.contains("give it at least 8388608"), "{refused}");
}

#[test]
fn processes_with_one_put_each_remember_what_was_evicted() {
    let dir = tempfile::tempdir().unwrap();
    let limit = 24 << 20;
    let store = open(dir.path(), limit);
    for number in 0..4000 {
        store.put(&key(number), &value(number, 11_000)).unwrap();
    }
    let gone: Vec<u64> = (0..4000).filter(|number| !store.contains(&key(*number)).unwrap()).collect();
    drop(store);
    for number in gone.iter().rev().take(50) {
        open(dir.path(), limit).put(&key(*number), &value(*number, 11_000)).unwrap();
    }
    let counters = open(dir.path(), limit).counters();
    assert!(counters.ghost_hits >= 40, "{counters:?}");
}

/// A power failure, or a person, may do what no process of ours does.
#[test]
fn segments_that_vanish_do_not_count_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 24 << 20);
    let mut number = 0;
    for round in 0..25 {
        for _ in 0..300 {
            number += 1;
            let put = store.put(&key(number), &value(number, 11_000));
            assert!(put.is_ok(), "round {round}: {put:?}");
        }
        let log = dir.path().join("segments-v1/log");
        let names =
            std::fs::read_dir(&log).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap());
        let oldest =
            names.filter(|name| name.starts_with("probation") && !name.ends_with("seal")).min().unwrap();
        std::fs::remove_file(log.join(oldest)).unwrap();
    }
}

#[test]
fn nothing_in_a_damaged_directory_keeps_it_from_being_used() {
    type Damage = fn(&Path);
    let damages: [Damage; 4] = [
        // A segment length of zero, with the right check.
        |root| {
            let mut control = std::fs::read(root.join("control")).unwrap();
            control[8..16].fill(0);
            let check = u64::from(cache_core::crc32c(&control[..56]));
            control[56..64].copy_from_slice(&check.to_le_bytes());
            std::fs::write(root.join("control"), &control).unwrap();
        },
        |root| {
            std::fs::write(root.join("log/probation-ffffffffffffffff"), b"").unwrap();
            let mut control = std::fs::read(root.join("control")).unwrap();
            control[100] ^= 1;
            std::fs::write(root.join("control"), &control).unwrap();
        },
        |root| std::fs::remove_dir_all(root.join("locks")).unwrap(),
        |root| std::fs::remove_dir_all(root.join("tmp")).unwrap(),
    ];
    for (number, damage) in damages.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), 24 << 20).put(&key(1), b"x").unwrap();
        damage(&dir.path().join("segments-v1"));
        let store = open(dir.path(), 24 << 20);
        for (key_number, len) in [(1, 10), (2, 300_000)] {
            store.put(&key(key_number), &value(key_number, len)).unwrap();
            let mut buffer = Vec::new();
            let found = store.get_into(&key(key_number), &mut buffer).unwrap();
            assert!(found == Some(&value(key_number, len)[..]), "damage {number}");
        }
    }
}

#[test]
fn puts_and_removals_count_while_the_index_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut buffer = Vec::new();
    for round in 0..3 {
        let store = open(dir.path(), 1 << 30);
        for number in 0..3000 {
            store.put(&key(number), &value(number, 900)).unwrap();
        }
        drop(store);
        let marker = dir.path().join("segments-v1/rebuild");
        std::fs::remove_file(dir.path().join("segments-v1/index")).unwrap();
        let store = open(dir.path(), 1 << 30);
        let mut puts = 0;
        while marker.exists() && puts < 100_000 {
            store.put(&key(1_000_000 + puts), &value(puts, 900)).unwrap();
            puts += 1;
        }
        for number in 0..puts {
            assert!(store.contains(&key(1_000_000 + number)).unwrap(), "{number} of {puts} in round {round}");
        }
        drop(store);
        std::fs::remove_file(dir.path().join("segments-v1/index")).unwrap();
        let store = open(dir.path(), 1 << 30);
        assert!(store.remove(&key(0)).unwrap());
        while marker.exists() {
            std::thread::yield_now();
        }
        assert_eq!(store.get_into(&key(0), &mut buffer).unwrap(), None);
    }
}

/// So many records of a segment are judged in another way than a few.
#[test]
fn of_many_small_records_those_that_are_used_stay() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), 32 << 20, 8 << 20);
    for number in 0..200_000 {
        store.put(&key(number), &value(number, 100)).unwrap();
        if number % 40 == 0 {
            assert!(store.contains(&key(number)).unwrap());
        }
        if number % 100 == 0 {
            // Wanted all the time.
            store.touch(&key(number % 5000)).unwrap();
        }
    }
    let counters = store.counters();
    assert!(counters.evicted > 20_000 && counters.promoted > 100, "{counters:?}");
}

/// Nothing is locked while a key is looked for and stored: two that store a new key at once may find two slots for it.
#[test]
fn those_who_store_and_remove_the_same_keys_at_once_leave_a_slot_for_each() {
    const KEYS: u64 = 600;
    for mapped in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut options = SegmentOptions::default();
        (options.max_bytes, options.segment_bytes) = (Some(8 << 20), Some(1 << 20));
        options.map_index = mapped;
        // The index of a small limit is small, so that they meet.
        drop(Segments::open(dir.path(), options.clone()).unwrap());
        options.max_bytes = Some(1 << 30);
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (dir, options) = (dir.path(), options.clone());
                scope.spawn(move || {
                    let store = Segments::open(dir, options).unwrap();
                    let mut random = thread + 1;
                    for _ in 0..if mapped { 20_000 } else { 3_000 } {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let key = key((random >> 33) % KEYS);
                        if random >> 63 == 0 {
                            store.put(&key, &thread.to_le_bytes()).unwrap();
                        } else {
                            store.remove(&key).unwrap();
                        }
                    }
                });
            }
        });
        let store = Segments::open(dir.path(), options).unwrap();
        let found = (0..KEYS).filter(|number| store.contains(&key(*number)).unwrap()).count() as u64;
        let layout = Options { layout: Layout::Segments, ..Options::default() };
        let stats = FsStore::open(dir.path(), layout).unwrap().segment_stats().unwrap().unwrap();
        assert!(found > KEYS / 10, "{found} keys");
        assert_eq!(stats.live_slots, found, "mapped: {mapped}");
    }
}

/// A server runs on when somebody deletes its cache.
#[test]
fn a_store_that_is_deleted_while_it_is_open_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let mut buffer = Vec::new();
    store.put(&key(1), &value(1, 5000)).unwrap();
    std::fs::remove_dir_all(dir.path().join("segments-v1")).unwrap();
    for number in 2..5 {
        store.put(&key(number), &value(number, 5000)).unwrap();
        assert!(store.get_into(&key(number), &mut buffer).unwrap() == Some(&value(number, 5000)[..]));
    }
    assert_eq!(store.get_into(&key(1), &mut buffer).unwrap(), None);
    let other = open(dir.path(), 1 << 30);
    assert!(other.contains(&key(2)).unwrap());
    std::fs::remove_dir_all(dir.path().join("segments-v1")).unwrap();
    assert!(!store.remove(&key(2)).unwrap());
    assert_eq!(store.get_into(&key(2), &mut buffer).unwrap(), None);
}
