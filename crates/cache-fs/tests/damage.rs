//! What cannot be proved right is a miss.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use cache_core::{MissReason, PutMode};
use cache_fs::{FsStore, Options};
use common::{blob_files, content, entry, entry_files, entry_with, files, hit, key, miss, options};

/// Changes one byte of a file in place.
fn flip(path: &Path, at: usize) {
    let byte = std::fs::read(path).unwrap()[at] ^ 0x01;
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(&[byte]).unwrap();
}

fn store(dir: &Path) -> FsStore {
    FsStore::open(dir, options()).unwrap()
}

#[test]
fn every_flipped_byte_of_an_entry_is_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let entry = entry(content(1, 100));
    let put = || store.put(&key(1), &entry, PutMode::Overwrite).unwrap();
    let _ = put();
    let file = entry_files(dir.path()).remove(0);
    for at in 0..std::fs::read(&file).unwrap().len() {
        flip(&file, at);
        // A changed version may be that of a newer program, and is left alone.
        let reason = miss(&store, &key(1));
        assert!(matches!(reason, Some(MissReason::Corrupt | MissReason::NewerFormat)), "{at}: {reason:?}");
        let _ = put();
        assert_eq!(hit(&store, &key(1)).unwrap(), entry, "a put replaces what was damaged");
    }
}

#[test]
fn every_flipped_byte_of_a_blob_is_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let content = content(1, 700);
    for at in 0..content.len() {
        let digest = store.write_blob(&content).unwrap();
        flip(&blob_files(dir.path())[0], at);
        if at % 2 == 0 {
            assert_eq!(store.read_blob(&digest, u64::MAX).unwrap(), None);
        } else {
            assert!(store.open_blob(&digest).unwrap().is_none());
        }
        assert!(!store.contains(&digest), "it has been put aside");
    }
}

#[test]
fn a_truncated_file_is_a_miss_at_every_length() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let content = content(1, 300);
    let digest = store.write_blob(&content).unwrap();
    let entry = entry_with(&[(digest, 300)]);
    let _ = store.put(&key(1), &entry, PutMode::Overwrite).unwrap();
    let (blob, file) = (blob_files(dir.path()).remove(0), entry_files(dir.path()).remove(0));
    let cut = |path: &Path, len| OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
    for len in 0..std::fs::metadata(&file).unwrap().len() {
        cut(&file, len);
        assert_eq!(miss(&store, &key(1)), Some(MissReason::Corrupt), "{len}");
        let _ = store.put(&key(1), &entry, PutMode::Overwrite).unwrap();
    }
    for len in 0..300 {
        cut(&blob, len);
        assert_eq!(miss(&store, &key(1)), Some(MissReason::Incomplete { digest, evicted: None }));
        assert_eq!(store.read_blob(&digest, u64::MAX).unwrap(), None, "{len}");
        assert_eq!(store.write_blob(&content).unwrap(), digest);
    }
    // Longer is as wrong as shorter.
    cut(&blob, 301);
    assert_eq!(store.read_blob(&digest, u64::MAX).unwrap(), None);
    cut(&file, std::fs::metadata(&file).unwrap().len() + 1);
    assert_eq!(miss(&store, &key(1)), Some(MissReason::Corrupt));
}

#[test]
fn right_bytes_under_another_name_are_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let _ = store.put(&key(1), &entry("one"), PutMode::Overwrite).unwrap();
    let one = entry_files(dir.path()).remove(0);
    let _ = store.put(&key(2), &entry("two"), PutMode::Overwrite).unwrap();
    let two = entry_files(dir.path()).into_iter().find(|path| *path != one).unwrap();
    std::fs::copy(&one, &two).unwrap();
    assert_eq!(miss(&store, &key(2)), Some(MissReason::Corrupt));
    assert_eq!(hit(&store, &key(1)).unwrap().value, "one");

    let a = store.write_blob(b"aaaa").unwrap();
    let file = blob_files(dir.path()).remove(0);
    let b = store.write_blob(b"bbbb").unwrap();
    let other = blob_files(dir.path()).into_iter().find(|path| *path != file).unwrap();
    std::fs::copy(&file, &other).unwrap();
    assert_eq!(store.read_blob(&b, 10).unwrap(), None);
    assert_eq!(store.read_blob(&a, 10).unwrap().unwrap(), "aaaa");
}

#[test]
fn quarantine_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Arc::new(common::Recorder::default());
    let store = FsStore::open(dir.path(), Options { observers: recorder.observers(), ..options() }).unwrap();
    for number in 0..50 {
        let digest = store.write_blob(&content(number, 100)).unwrap();
        flip(&blob_files(dir.path())[0], 9);
        assert_eq!(store.read_blob(&digest, 100).unwrap(), None);
    }
    assert_eq!(files(&dir.path().join("files-v1/quarantine")).len(), 32);
    assert_eq!(blob_files(dir.path()).len(), 0);
    assert_eq!(recorder.take().iter().filter(|event| *event == "corrupt blob").count(), 50);
    assert_eq!(store.usage().blobs, 0);
}

#[test]
fn quarantine_takes_few_bytes_of_a_small_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = common::limited(dir.path(), 4 << 20, &common::clock());
    for number in 0..4 {
        let digest = store.write_blob(&content(number, 200_000)).unwrap();
        flip(&blob_files(dir.path())[0], 9);
        assert_eq!(store.read_blob(&digest, u64::MAX).unwrap(), None);
    }
    assert_eq!(files(&dir.path().join("files-v1/quarantine")).len(), 1, "a sixteenth of 4 MiB");
}

#[test]
fn a_newer_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let _ = store.put(&key(1), &entry("one"), PutMode::Overwrite).unwrap();
    let file = entry_files(dir.path()).remove(0);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[4] = 2;
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(miss(&store, &key(1)), Some(MissReason::NewerFormat));
    let _ = store.put(&key(1), &entry("mine"), PutMode::IfAbsent).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_neither_followed_nor_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let secret = dir.path().join("secret");
    std::fs::write(&secret, b"content").unwrap();
    for trap in ["link", "dangling", "pipe", "socket", "directory"] {
        let digest = store.write_blob(b"content").unwrap();
        let _ = store.put(&key(1), &entry("value"), PutMode::Overwrite).unwrap();
        let places = [blob_files(dir.path()).remove(0), entry_files(dir.path()).remove(0)];
        for place in &places {
            std::fs::remove_file(place).unwrap();
            match trap {
                "link" => std::os::unix::fs::symlink(&secret, place).unwrap(),
                "dangling" => std::os::unix::fs::symlink("/nowhere/at/all", place).unwrap(),
                "pipe" => {
                    let made = std::process::Command::new("mkfifo").arg(place).status().unwrap();
                    assert!(made.success());
                }
                "socket" => {
                    // The path of the place may be too long for one.
                    let short = tempfile::tempdir().unwrap();
                    let _socket = std::os::unix::net::UnixListener::bind(short.path().join("s")).unwrap();
                    std::fs::rename(short.path().join("s"), place).unwrap();
                }
                _ => std::fs::create_dir(place).unwrap(),
            }
        }
        assert!(!store.contains(&digest), "{trap}");
        assert_eq!(store.read_blob(&digest, 100).unwrap(), None, "{trap}");
        assert!(miss(&store, &key(1)).is_some(), "{trap}");
        // The place is free again.
        assert_eq!(store.write_blob(b"content").unwrap(), digest, "{trap}");
        assert_eq!(store.read_blob(&digest, 100).unwrap().unwrap(), "content", "{trap}");
    }
    assert_eq!(std::fs::read(&secret).unwrap(), b"content");
}

#[test]
fn foreign_files_are_left_alone_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let _ = store.put(&key(1), &entry("one"), PutMode::Overwrite).unwrap();
    let shard = entry_files(dir.path())[0].parent().unwrap().to_owned();
    let before = store.gc(false).map(|_| store.usage()).unwrap();
    let foreign = shard.join("Thumbs.db");
    std::fs::write(&foreign, vec![0; 10_000]).unwrap();
    std::fs::write(dir.path().join("files-v1/entries/README"), b"hello").unwrap();
    std::fs::write(dir.path().join("files-v1/tmp/odd name"), b"hello").unwrap();
    store.gc(false).unwrap();
    let after = store.usage();
    assert!(foreign.exists() && hit(&store, &key(1)).is_some());
    assert!(after.bytes >= before.bytes + 10_000 && after.entries == 1, "{before:?} {after:?}");
}

#[test]
fn verify_finds_what_is_wrong_and_repairs_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    for number in 0..20 {
        let digest = store.write_blob(&content(number, 1000)).unwrap();
        let _ = store.put(&key(number), &entry_with(&[(digest, 1000)]), PutMode::Overwrite).unwrap();
    }
    let mut steps = 0;
    let report =
        store.verify(false, &mut |progress| steps += u32::from(progress.done <= progress.of)).unwrap();
    assert_eq!((report.entries, report.blobs, report.corrupt, report.incomplete), (20, 20, 0, 0));
    assert!(report.bytes > 20_000 && steps == 512);
    flip(&blob_files(dir.path())[3], 500);
    flip(&entry_files(dir.path())[5], 60);
    let report = store.verify(true, &mut |_| ()).unwrap();
    assert_eq!((report.corrupt, report.details.len()), (2, 2 + report.incomplete as usize));
    let report = store.verify(true, &mut |_| ()).unwrap();
    assert_eq!((report.corrupt, report.incomplete), (0, 0), "{:?}", report.details);
    assert_eq!(report.entries, store.usage().entries);
}

#[test]
fn a_store_that_lost_its_own_files_works() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("files-v1");
    let store = common::limited(dir.path(), 100 << 20, &common::clock());
    for number in 0..100 {
        let _ = store.put(&key(number), &entry(content(number, 5000)), PutMode::Overwrite).unwrap();
    }
    let before = store.usage();
    for name in ["usage", "usage.lock", "evicted", "evict.lock", "format"] {
        let _ = std::fs::remove_file(root.join(name));
        let _ = store.put(&key(1), &entry("again"), PutMode::Overwrite).unwrap();
    }
    std::fs::write(root.join("usage"), vec![0xff; 5000]).unwrap();
    std::fs::remove_dir_all(root.join("tmp")).unwrap();
    let _ = store.put(&key(1), &entry(content(1, 5000)), PutMode::Overwrite).unwrap();
    assert_eq!(store.usage().entries, 100);
    assert_eq!(store.usage().bytes, before.bytes);
    std::fs::remove_dir_all(&root).unwrap();
    assert_eq!(miss(&store, &key(1)), Some(MissReason::Absent));
    let _ = store.put(&key(1), &entry("new"), PutMode::Overwrite).unwrap();
    assert_eq!(hit(&store, &key(1)).unwrap().value, "new");
    // An empty marker is what a power failure leaves behind.
    std::fs::write(root.join("format"), b"").unwrap();
    FsStore::open(dir.path(), options()).unwrap();
    assert_eq!(std::fs::read_to_string(root.join("format")).unwrap(), "vitte-cache files 1\n");
}
