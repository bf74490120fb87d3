//! The limits hold at every moment, whoever writes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use cache_core::{Digest, Error, Policy, PutMode};
use cache_memory::{MemoryStore, Options};
use cache_testkit::content;
use common::{entry, key, listed, naming, write};

const THREADS: u64 = 8;

fn limited(max_bytes: u64, max_entries: Option<u64>) -> MemoryStore {
    let policy = Policy { max_bytes: Some(max_bytes), max_entries, ..Policy::unlimited() };
    MemoryStore::new(Options { policy, ..Options::default() })
}

fn ensure_limits(store: &MemoryStore, max_bytes: u64, max_entries: u64) {
    let stats = store.stats();
    assert!(stats.bytes <= max_bytes, "{} of {max_bytes} bytes", stats.bytes);
    assert!(stats.entries <= max_entries, "{} of {max_entries} entries", stats.entries);
}

/// The value that belongs to a number, and to no other.
fn value(number: u64) -> Bytes {
    content(number, (number * 37 % 4000) as usize + 8)
}

fn hammer(max_bytes: u64, max_entries: Option<u64>) {
    const ROUNDS: u64 = 600;
    const KEYS: u64 = 500;
    let store = limited(max_bytes, max_entries);
    let most = max_entries.unwrap_or(u64::MAX);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let store = &store;
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let number = (round * 7919 + thread * 104_729) % KEYS;
                        let mode = if round % 3 == 0 { PutMode::IfAbsent } else { PutMode::Overwrite };
                        let _ = store.put(&key(number), &entry(value(number)), mode).unwrap();
                        ensure_limits(store, max_bytes, most);
                        let blob = value(number + KEYS);
                        store.write_blob(&Digest::blake3(&blob), blob.clone()).unwrap();
                        ensure_limits(store, max_bytes, most);
                        let asked = (number * 31 + round) % KEYS;
                        if let Some(hit) = store.get(&key(asked)) {
                            assert!(hit.value == value(asked), "a wrong value");
                        }
                        if let Some(found) = store.read_blob(&Digest::blake3(&blob)) {
                            assert!(found == blob, "a wrong blob");
                        }
                        if round % 11 == 0 {
                            store.remove(&key(asked));
                        }
                        if round % 13 == 0 {
                            store.delete_blob(&Digest::blake3(&blob));
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                ensure_limits(&store, max_bytes, most);
            }
        });
        let results: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        assert!(results.into_iter().all(|result| result.is_ok()), "a thread has failed");
    });
    // Nothing was lost from the index or left in it.
    let there: Vec<_> = (0..KEYS).map(key).filter(|key| store.peek(key).is_some()).collect();
    let mut listed = listed(&store, 7);
    listed.sort_unstable();
    let mut expected = there;
    expected.sort_unstable();
    assert_eq!(listed, expected);
    assert_eq!(store.stats().entries, expected.len() as u64);
    assert!(!expected.is_empty() && store.stats().blobs > 0 && store.stats().evictions > 0);
}

#[test]
fn eight_threads_never_exceed_the_bytes() {
    for max_bytes in [100_000, 1 << 20] {
        hammer(max_bytes, None);
    }
}

#[test]
fn eight_threads_never_exceed_the_number_of_entries() {
    for max_entries in [1, 5, 100] {
        hammer(4 << 20, Some(max_entries));
    }
}

#[test]
fn the_entry_limit_evicts_one_for_one_and_what_is_used_stays() {
    let store = limited(1 << 20, Some(10));
    for number in 0..10 {
        let _ = store.put(&key(number), &entry("first"), PutMode::Overwrite).unwrap();
    }
    assert_eq!((store.stats().entries, store.stats().evictions), (10, 0));
    let _ = store.put(&key(3), &entry("again"), PutMode::Overwrite).unwrap();
    let _ = store.put(&key(4), &entry("again"), PutMode::IfAbsent).unwrap();
    assert_eq!((store.stats().entries, store.stats().evictions), (10, 0), "what is replaced makes no room");
    for number in 10..200 {
        assert!(store.get(&key(0)).is_some(), "it is used all the time and went before number {number}");
        let _ = store.put(&key(number), &entry("next"), PutMode::Overwrite).unwrap();
    }
    assert_eq!((store.stats().entries, store.stats().evictions), (10, 190));
}

#[test]
fn the_entry_limit_comes_to_its_end_when_everything_is_used() {
    let store = limited(1 << 20, Some(100));
    for number in 0..300 {
        let _ = store.put(&key(number), &entry("next"), PutMode::Overwrite).unwrap();
        for used in 0..=number {
            store.get(&key(used));
        }
    }
    assert_eq!((store.stats().entries, store.stats().evictions), (100, 200));
}

#[test]
fn a_store_of_no_entries_says_so() {
    let result = limited(1 << 20, Some(0)).put(&key(1), &entry("value"), PutMode::Overwrite);
    assert_eq!(
        result.unwrap_err().to_string(),
        "no room left in the cache at memory: it may hold 0 entries; raise `max_entries`"
    );
}

#[test]
fn what_can_never_fit_is_refused_and_drives_out_nothing() {
    let policy = Policy { max_bytes: Some(1 << 20), ..Policy::unlimited() };
    let store = MemoryStore::new(Options { policy, max_blob: Some(1000), ..Options::default() });
    let _ = store.put(&key(1), &entry("there"), PutMode::Overwrite).unwrap();
    for len in [1000, 1001] {
        let large = content(1, len);
        let put = store.put(&key(2), &entry(large.clone()), PutMode::Overwrite);
        let written = store.write_blob(&Digest::blake3(&large), large);
        for result in [put.map(drop), written] {
            match result {
                Ok(()) => assert_eq!(len, 1000),
                Err(Error::TooLarge { size, limit, .. }) => {
                    assert_eq!((len, size, limit), (1001, 1001, 1000));
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert_eq!((store.stats().entries, store.stats().blobs, store.stats().evictions), (2, 1, 0));
    // An entry is more than its value.
    write(&store, b"output");
    let wide = naming("wide", &vec![&b"output"[..]; 20_000]);
    let error = store.put(&key(1), &wide, PutMode::Overwrite).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert_eq!(store.get(&key(1)).unwrap().value, "there");
}

#[test]
fn an_entry_that_names_a_blob_with_another_length_is_incomplete() {
    let store = MemoryStore::default();
    let digest = write(&store, b"output");
    let mut wrong = naming("wrong", &[b"output"]);
    let cache_core::OutputKind::File { len, .. } = &mut wrong.outputs[0].kind else { panic!() };
    *len += 1;
    let error = store.put(&key(1), &wrong, PutMode::Overwrite).unwrap_err();
    assert!(matches!(error, Error::Incomplete { digest: missing } if missing == digest), "{error}");
}

#[test]
fn a_blob_with_another_digest_is_refused() {
    let store = MemoryStore::default();
    let (right, wrong) = (content(1, 100), content(2, 100));
    let error = store.write_blob(&Digest::blake3(&right), wrong.clone()).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert!(store.read_blob(&Digest::blake3(&right)).is_none());
    assert!(store.read_blob(&Digest::blake3(&wrong)).is_none());
}

#[test]
fn the_largest_blob_fits_at_every_size() {
    for max_bytes in [10_000, 100_000, 5 << 20] {
        for max_blob in [None, Some(max_bytes)] {
            let policy = Policy { max_bytes: Some(max_bytes), ..Policy::unlimited() };
            let store = MemoryStore::new(Options { policy, max_blob, ..Options::default() });
            let largest = cache_core::Store::capabilities(&store).max_blob.unwrap();
            assert!(largest >= max_bytes / 64);
            for seed in 0..3 {
                let blob = content(seed, largest as usize);
                let digest = Digest::blake3(&blob);
                store.write_blob(&digest, blob.clone()).unwrap();
                assert!(store.read_blob(&digest) == Some(blob), "{largest} of {max_bytes}");
            }
            let blob = content(9, largest as usize + 1);
            assert!(store.write_blob(&Digest::blake3(&blob), blob).is_err());
        }
    }
}

#[test]
fn facts_and_outputs_count() {
    let bytes = |entry: &cache_core::Entry| {
        let store = MemoryStore::default();
        write(&store, b"output");
        let before = store.stats().bytes;
        let _ = store.put(&key(1), entry, PutMode::Overwrite).unwrap();
        store.stats().bytes - before
    };
    let plain = bytes(&entry("value"));
    let mut named = entry("value");
    named.meta.name = "n".repeat(10_000);
    assert!(bytes(&named) >= plain + 10_000);
    let mut tagged = entry("value");
    tagged.meta.tags.insert("t".repeat(10_000), "v".repeat(10_000));
    assert!(bytes(&tagged) >= plain + 20_000);
    let mut dependent = entry("value");
    dependent.meta.dependencies.upstream = vec![key(2); 1000];
    assert!(bytes(&dependent) >= plain + 32_000);
    assert!(bytes(&naming("value", &[&b"output"[..]; 100])) >= plain + 100 * (32 + 5));
    assert!(bytes(&entry(vec![0; 10_000])) >= bytes(&entry("")) + 10_000);
}
