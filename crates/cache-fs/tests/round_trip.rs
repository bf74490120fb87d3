//! What was stored is what is found.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::Read;
use std::sync::Arc;

use cache_core::{Digest, HashFunction, ListFilter, MissReason, Namespace, PutMode, PutOutcome};
use cache_fs::{FsStore, Lookup, Options};
use common::{content, entry, entry_with, hit, key, miss, options};

#[test]
fn entries_survive_the_process_that_wrote_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = FsStore::open(dir.path(), options()).unwrap();
    assert_eq!(miss(&store, &key(1)), Some(MissReason::Absent));
    for (number, len) in [(1, 0), (2, 1), (3, 5000), (4, 1 << 20)] {
        let entry = entry(content(number, len));
        assert_eq!(store.put(&key(number), &entry, PutMode::Overwrite).unwrap(), PutOutcome::Stored);
    }
    drop(store);
    let store = FsStore::open(dir.path(), options()).unwrap();
    for (number, len) in [(1, 0), (2, 1), (3, 5000), (4, 1 << 20)] {
        assert_eq!(hit(&store, &key(number)).unwrap().value, content(number, len));
    }
    assert!(store.remove(&key(1)).unwrap() && !store.remove(&key(1)).unwrap());
    assert_eq!(miss(&store, &key(1)), Some(MissReason::Absent));
    assert_eq!(store.usage().entries, 3);
}

#[test]
fn blobs_of_both_functions_come_back_in_every_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = FsStore::open(dir.path(), options()).unwrap();
    for len in [0, 1, 4096, 300_000, 3 << 20] {
        let content = content(len as u64, len);
        for function in HashFunction::ALL {
            let digest = Digest::of(function, &content);
            assert!(!store.contains(&digest));
            assert_eq!(store.write_blob_from(Some(digest), &content[..]).unwrap(), (digest, len as u64));
            assert_eq!(store.read_blob(&digest, u64::MAX).unwrap().unwrap(), content);
            let mut blob = store.open_blob(&digest).unwrap().unwrap();
            let mut read = Vec::new();
            blob.read_to_end(&mut read).unwrap();
            assert!(
                read == content && blob.len == len as u64 && blob.path().is_some_and(std::path::Path::exists)
            );
        }
        assert_eq!(store.write_blob(&content).unwrap(), Digest::blake3(&content));
    }
    let digest = Digest::blake3(&content(1, 1));
    assert!(store.delete_blob(&digest).unwrap() && !store.delete_blob(&digest).unwrap());
    assert!(store.open_blob(&digest).unwrap().is_none());
    assert_eq!(
        store.missing(&[digest, Digest::blake3(b""), Digest::sha256(b"?")]),
        [digest, Digest::sha256(b"?")]
    );
}

#[test]
fn a_file_is_imported_under_its_digest() {
    let dir = tempfile::tempdir().unwrap();
    let store = FsStore::open(&dir.path().join("cache"), options()).unwrap();
    for len in [0, 100, 70_000, 5 << 20] {
        let content = content(7, len);
        let path = dir.path().join("file");
        std::fs::write(&path, &content).unwrap();
        let (digest, stored) = store.import_file(&path).unwrap();
        assert_eq!((digest, stored), (Digest::blake3(&content), len as u64));
        std::fs::write(&path, b"something else").unwrap();
        assert_eq!(store.read_blob(&digest, u64::MAX).unwrap().unwrap(), content, "{len}");
    }
    let error = store.import_file(dir.path()).unwrap_err().to_string();
    assert!(error.contains(dir.path().to_str().unwrap()), "{error}");
    assert!(store.import_file(&dir.path().join("absent")).unwrap_err().to_string().contains("absent"));
    assert_eq!(common::files(&dir.path().join("cache/files-v1/tmp")).len(), 0);
}

#[cfg(unix)]
#[test]
fn importing_does_not_wait_for_a_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let store = FsStore::open(&dir.path().join("cache"), options()).unwrap();
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let error = store.import_file(&pipe).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
}

#[test]
fn if_absent_leaves_what_is_alive_and_replaces_what_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let clock = common::clock();
    let store = FsStore::open(dir.path(), Options { clock: clock.clone(), ..options() }).unwrap();
    let put = |entry: &_| store.put(&key(1), entry, PutMode::IfAbsent).unwrap();
    let mut first = entry("first");
    first.meta.expires = Some(common::START.plus(std::time::Duration::from_secs(10)));
    assert_eq!(put(&first), PutOutcome::Stored);
    assert_eq!(put(&entry("second")), PutOutcome::Present);
    assert_eq!(hit(&store, &key(1)).unwrap().value, "first");
    clock.advance(std::time::Duration::from_secs(10));
    let digest = store.write_blob(b"content").unwrap();
    assert_eq!(put(&entry_with(&[(digest, 7)])), PutOutcome::Stored, "the first has expired");
    assert_eq!(put(&entry("third")), PutOutcome::Present);
    store.delete_blob(&digest).unwrap();
    assert_eq!(put(&entry("third")), PutOutcome::Stored, "the second has lost its blob");
    std::fs::write(&common::entry_files(dir.path())[0], b"damage").unwrap();
    assert_eq!(put(&entry("fourth")), PutOutcome::Stored, "the third is damaged");
    assert_eq!(hit(&store, &key(1)).unwrap().value, "fourth");
    assert_eq!(store.usage().entries, 1);
}

#[test]
fn a_hit_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let store = FsStore::open(dir.path(), options()).unwrap();
    let (a, b) = (store.write_blob(b"a").unwrap(), Digest::blake3(b"b"));
    let entry = entry_with(&[(a, 1), (b, 1)]);
    let refused = store.put(&key(1), &entry, PutMode::Overwrite);
    assert!(matches!(refused, Err(cache_core::Error::Incomplete { digest }) if digest == b), "{refused:?}");
    store.write_blob(b"b").unwrap();
    let _ = store.put(&key(1), &entry, PutMode::Overwrite).unwrap();
    assert!(hit(&store, &key(1)).is_some());
    store.delete_blob(&a).unwrap();
    assert_eq!(miss(&store, &key(1)), Some(MissReason::Incomplete { digest: a, evicted: None }));
    assert_eq!(store.get_stale(&key(1)).unwrap(), None);
}

#[test]
fn a_length_that_lies_is_incomplete() {
    let dir = tempfile::tempdir().unwrap();
    let store = FsStore::open(dir.path(), options()).unwrap();
    let digest = store.write_blob(b"four").unwrap();
    assert!(store.put(&key(1), &entry_with(&[(digest, 5)]), PutMode::Overwrite).is_err());
}

#[test]
fn lists_show_each_entry_once_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let store = FsStore::open(dir.path(), options()).unwrap();
    for number in 0..300 {
        let mut entry = entry(content(number, 10));
        entry.meta.namespace = Namespace::new(if number % 3 == 0 { "third" } else { "rest" }).unwrap();
        entry.meta.name = format!("n{number}");
        let _ = store.put(&key(number), &entry, PutMode::Overwrite).unwrap();
    }
    for limit in [1, 7, 300, 1000] {
        let (mut names, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = store.list(&ListFilter::default(), after.as_deref(), limit).unwrap();
            assert!(page.items.len() <= limit);
            names.extend(page.items.into_iter().map(|listed| (listed.meta.name, listed.size)));
            after = page.next;
            assert!(names.len() <= 300, "an entry is listed twice");
            if after.is_none() {
                break;
            }
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 300);
        assert!(names.iter().all(|(_, size)| *size == 10));
    }
    assert!(store.list(&ListFilter::default(), Some("nonsense"), 1).is_err());
    let third = Namespace::new("third").unwrap();
    assert_eq!(store.clear_namespace(&third).unwrap(), 100);
    assert_eq!(store.usage().entries, 200);
    assert_eq!(
        store.list(&ListFilter { namespace: Some(third), ..ListFilter::default() }, None, 9).unwrap().items,
        []
    );
}

#[test]
fn everything_that_happens_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Arc::new(common::Recorder::default());
    let store = FsStore::open(dir.path(), Options { observers: recorder.observers(), ..options() }).unwrap();
    let digest = store.write_blob(b"blob").unwrap();
    let _ = store.put(&key(1), &entry_with(&[(digest, 4)]), PutMode::Overwrite).unwrap();
    let _ = store.get(&key(1)).unwrap();
    let _ = store.peek(&key(1)).unwrap();
    let _ = store.get(&key(2)).unwrap();
    assert_eq!(recorder.take(), ["blob 4 false", "put 14", "hit 14", "miss Absent"]);
    assert!(store.remove(&key(1)).unwrap() && !store.remove(&key(1)).unwrap());
    let _ = store.put(&key(3), &entry_with(&[(digest, 4)]), PutMode::Overwrite).unwrap();
    assert_eq!(store.clear_namespace(&Namespace::default()).unwrap(), 1);
    assert_eq!(recorder.take(), ["removed", "put 14", "removed"]);
}

#[test]
fn a_value_that_no_look_up_would_take_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = FsStore::open(dir.path(), options()).unwrap();
    let max = cache_core::Store::capabilities(&store).max_value as usize;
    let _ = store.put(&key(1), &entry(vec![1; max]), PutMode::Overwrite).unwrap();
    assert!(matches!(store.get(&key(1)).unwrap(), Lookup::Hit(found) if found.value.len() == max));
    let refused = store.put(&key(2), &entry(vec![1; max + 1]), PutMode::Overwrite);
    assert!(matches!(refused, Err(cache_core::Error::TooLarge { .. })), "{refused:?}");
}
