//! Stores of older and newer versions of the segment log.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs::{self, File};
use std::path::Path;

use cache_core::{Digest, PutMode};
use cache_fs::{FsStore, Layout, Options, SegmentOptions, Segments};
use common::{content, entry_with, hit, key};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/segments-v1");
/// Says how long the files are: the zeros at their ends are left out.
const LENGTHS: &str = "lengths";

fn raw(number: u64) -> [u8; 32] {
    *Digest::blake3(&number.to_le_bytes()).as_bytes()
}

/// What is under the raw keys: one of each kind of record.
fn values() -> Vec<(u64, Option<Vec<u8>>)> {
    let mut large = content(5, 100);
    large.resize(300_000, 0);
    vec![
        (1, Some(Vec::new())),
        (2, Some(content(2, 1500))),
        (3, Some(content(2, 1500))),
        (4, Some(content(4, 77))),
        (5, Some(large)),
        (6, None),
    ]
}

fn open(dir: &Path) -> Segments {
    let mut options = SegmentOptions::default();
    options.max_bytes = Some(8 << 20);
    options.segment_bytes = Some(1 << 20);
    Segments::open(dir, options).unwrap()
}

fn open_entries(dir: &Path) -> FsStore {
    FsStore::open(dir, Options { layout: Layout::Segments, ..common::options() }).unwrap()
}

fn check(dir: &Path) {
    let (store, mut buffer) = (open(dir), Vec::new());
    while dir.join("segments-v1/rebuild").exists() {
        std::thread::yield_now();
    }
    for (number, value) in values() {
        assert!(store.get_into(&raw(number), &mut buffer).unwrap() == value.as_deref(), "{number}");
    }
    let store = open_entries(dir);
    let entry = hit(&store, &key(1)).expect("the entry is there");
    let (digest, len) = entry.blobs().next().unwrap();
    assert_eq!(store.read_blob(digest, len).unwrap().unwrap(), content(7, 900));
}

#[test]
fn a_store_of_version_1_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("segments-v1");
    for line in fs::read_to_string(Path::new(FIXTURE).join(LENGTHS)).unwrap().lines() {
        let (name, len) = line.split_once(' ').unwrap();
        let to = root.join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let from = Path::new(FIXTURE).join(name);
        if from.exists() {
            fs::copy(from, &to).unwrap();
        }
        File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&to)
            .unwrap()
            .set_len(len.parse().unwrap())
            .unwrap();
    }
    fs::create_dir_all(root.join("tmp")).unwrap();
    check(dir.path());
    fs::remove_file(root.join("index")).unwrap();
    check(dir.path());
}

#[test]
fn a_newer_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let newer = dir.path().join("segments-v2");
    fs::create_dir(&newer).unwrap();
    fs::write(newer.join("control"), b"something else").unwrap();
    let (store, mut buffer) = (open(dir.path()), Vec::new());
    store.put(&raw(1), b"value").unwrap();
    assert_eq!(store.get_into(&raw(1), &mut buffer).unwrap(), Some(&b"value"[..]));
    assert_eq!(fs::read(newer.join("control")).unwrap(), b"something else");
    assert_eq!(common::files(&newer).len(), 1);
}

#[test]
#[ignore = "writes the fixture anew: only for a new version, in a new directory"]
fn write_the_fixture() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.put(&raw(4), &content(40, 3000)).unwrap();
    store.put(&raw(6), &content(6, 10)).unwrap();
    for (number, value) in values() {
        match value {
            Some(value) => store.put(&raw(number), &value).unwrap(),
            None => assert!(store.remove(&raw(number)).unwrap()),
        }
    }
    drop(store);
    let store = open_entries(dir.path());
    let digest = store.write_blob(&content(7, 900)).unwrap();
    let _ = store.put(&key(1), &entry_with(&[(digest, 900)]), PutMode::Overwrite).unwrap();
    drop(store);
    check(dir.path());
    let root = dir.path().join("segments-v1");
    let mut lengths = Vec::new();
    for file in common::files(&root) {
        let name = file.strip_prefix(&root).unwrap();
        let mut bytes = fs::read(&file).unwrap();
        lengths.push(format!("{} {}\n", name.display(), bytes.len()));
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1));
        if bytes.is_empty() {
            continue;
        }
        let to = Path::new(FIXTURE).join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }
    fs::write(Path::new(FIXTURE).join(LENGTHS), lengths.concat()).unwrap();
}
