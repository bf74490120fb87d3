//! A hit copies nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use bytes::Bytes;
use cache_core::{Body, Digest, PutMode, Store};
use cache_memory::MemoryStore;
use cache_testkit::{block_on, content, in_pieces};
use common::{entry, key};

#[test]
fn a_value_is_the_same_memory_for_everybody() {
    let store = MemoryStore::default();
    let value = content(1, 10_000);
    let _ = store.put(&key(1), &entry(value.clone()), PutMode::Overwrite).unwrap();
    let (one, two) = (store.get(&key(1)).unwrap(), store.get(&key(1)).unwrap());
    assert!(std::ptr::eq(&raw const *one, &raw const *two), "two hits are two entries");
    let through_the_trait = block_on(Store::get(&store, &key(1))).unwrap().unwrap();
    let of_many = block_on(store.get_many(&[key(1)])).unwrap().remove(0).unwrap();
    for found in [&one.value, &one.to_entry().value, &through_the_trait.value, &of_many.value] {
        assert_eq!(found.as_ptr(), value.as_ptr());
    }
}

#[test]
fn a_blob_is_the_same_memory_for_everybody() {
    let store = MemoryStore::default();
    let blob = content(2, 10_000);
    let digest = Digest::blake3(&blob);
    block_on(store.write(&digest, 10_000, Body::Bytes(blob.clone()))).unwrap();
    assert_eq!(store.read_blob(&digest).unwrap().as_ptr(), blob.as_ptr());
    let body = block_on(store.read(&digest, Some(100..200))).unwrap().unwrap();
    let Body::Bytes(part) = body else { panic!("{body:?}") };
    assert_eq!((part.as_ptr(), part.len()), (blob[100..].as_ptr(), 100));
}

/// A piece of a stream is often a slice of a large buffer, which a cache must not keep alive.
#[test]
fn what_comes_in_pieces_is_one_buffer_of_its_own() {
    let store = MemoryStore::default();
    let blob = content(3, 10_000);
    let digest = Digest::blake3(&blob);
    block_on(store.write(&digest, 10_000, in_pieces(&blob, 999))).unwrap();
    let (one, two) = (store.read_blob(&digest).unwrap(), store.read_blob(&digest).unwrap());
    assert!(one == blob);
    assert_eq!(one.as_ptr(), two.as_ptr());
    let piece = content(4, 10_000).slice(..10);
    let digest = Digest::blake3(&piece);
    block_on(store.write(&digest, 10, in_pieces(&piece, 10))).unwrap();
    assert_ne!(store.read_blob(&digest).unwrap().as_ptr(), piece.as_ptr());
}

#[test]
fn a_hit_stays_readable_whatever_happens_to_the_store() {
    let store = MemoryStore::default();
    let _ = store.put(&key(1), &entry("value"), PutMode::Overwrite).unwrap();
    let hit = store.get(&key(1)).unwrap();
    let _ = store.put(&key(1), &entry("other"), PutMode::Overwrite).unwrap();
    store.close();
    drop(store);
    assert_eq!(hit.value, "value");
    assert_eq!(Bytes::from_static(b"value"), hit.to_entry().value);
}
