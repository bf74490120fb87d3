//! The end of a store.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::Barrier;

use bytes::Bytes;
use cache_core::{Digest, Error, PutMode};
use cache_memory::MemoryStore;
use common::{entry, key, listed};

#[test]
fn what_was_stored_is_gone_and_nothing_is_taken_any_more() {
    let store = MemoryStore::default();
    let digest = common::write(&store, b"blob");
    let _ = store.put(&key(1), &entry("value"), PutMode::Overwrite).unwrap();
    let clone = store.clone();
    store.close();
    store.close();
    assert!(clone.get(&key(1)).is_none() && clone.read_blob(&digest).is_none());
    assert!(matches!(clone.put(&key(1), &entry("value"), PutMode::Overwrite), Err(Error::Closed { .. })));
    let error = clone.write_blob(&digest, Bytes::from_static(b"blob")).unwrap_err();
    assert_eq!(error.to_string(), "the cache in memory is closed");
    assert_eq!((clone.stats().entries, clone.stats().blobs, clone.stats().bytes), (0, 0, 0));
}

#[test]
fn nothing_slips_in_while_it_is_closed() {
    const WRITERS: u64 = 4;
    for _ in 0..50 {
        let store = MemoryStore::default();
        let barrier = Barrier::new(WRITERS as usize + 1);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (store, barrier) = (&store, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for number in 0.. {
                        let value = Bytes::from(format!("{writer} {number}"));
                        let put = store.put(&key(number), &entry(value.clone()), PutMode::Overwrite);
                        let written = store.write_blob(&Digest::blake3(&value), value);
                        if put.is_err() && written.is_err() {
                            break;
                        }
                    }
                });
            }
            barrier.wait();
            store.close();
        });
        let stats = store.stats();
        assert_eq!((stats.entries, stats.blobs, stats.bytes), (0, 0, 0));
        assert!(listed(&store, 10).is_empty());
    }
}
