//! Many processes on one directory, and processes that die at any moment.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cache_core::{Digest, ListFilter, PutMode};
use cache_fs::FsStore;
use common::{content, entry_with, key};

/// Limit of the stores, in bytes: small, so that there is always something to evict.
const LIMIT: u64 = 4 << 20;
const KEYS: u64 = 150;
/// Rounds of killing; 200 if `VITTE_CACHE_TEST_SLOW` is set.
const ROUNDS: u64 = 60;
const SLOW_ROUNDS: u64 = 200;

/// Returns an entry whose parts prove each other: its value is the seed of its blob.
fn put(store: &FsStore, number: u64, seed: u64) -> cache_core::Result<()> {
    let blob = content(seed, 1 + seed as usize % 60_000);
    let digest = store.write_blob(&blob)?;
    let mut entry = entry_with(&[(digest, blob.len() as u64)]);
    entry.value = [number.to_le_bytes(), seed.to_le_bytes()].concat().into();
    store.put(&key(number), &entry, PutMode::Overwrite).map(drop)
}

/// Checks what is found under a key; a miss is fine.
fn check(store: &FsStore, number: u64) -> bool {
    let Some(entry) = store.get(&key(number)).unwrap().into_entry() else { return false };
    let word = |at: usize| u64::from_le_bytes(entry.value[at..at + 8].try_into().unwrap());
    assert_eq!(word(0), number, "an entry under another key");
    let expected = content(word(8), 1 + word(8) as usize % 60_000);
    let (digest, len) = entry.blobs().next().unwrap();
    assert_eq!((*digest, len), (Digest::blake3(&expected), expected.len() as u64));
    // Another process may evict it in between.
    if let Some(read) = store.read_blob(digest, u64::MAX).unwrap() {
        assert!(read == expected, "a wrong byte");
    }
    true
}

/// Does random things for ever, or for so many steps.
fn work(dir: &Path, mut seed: u64, steps: u64) {
    let store = common::limited(dir, LIMIT, &common::clock());
    for _ in 0..steps {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = seed >> 33;
        match random % 16 {
            0 => drop(store.remove(&key(random % KEYS)).unwrap()),
            1 => drop(store.delete_blob(&Digest::blake3(&content(random % 50, 1 + random as usize % 50)))),
            2 if random % 64 == 2 => drop(store.gc(false)),
            3..8 => drop(check(&store, random % KEYS)),
            _ => match put(&store, random % KEYS, random % 1000) {
                // An evictor may take the blob before the entry is written: that is a miss to come.
                Ok(()) | Err(cache_core::Error::Incomplete { .. } | cache_core::Error::Full { .. }) => {}
                Err(other) => panic!("{other}"),
            },
        }
    }
}

#[test]
#[ignore = "run by the other tests"]
fn child() {
    let variable = |name| std::env::var(name).unwrap();
    println!("ready");
    let steps = variable("CACHE_FS_TEST_STEPS").parse().unwrap();
    work(Path::new(&variable("CACHE_FS_TEST_DIR")), variable("CACHE_FS_TEST_SEED").parse().unwrap(), steps);
}

fn start(dir: &Path, seed: u64, steps: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("CACHE_FS_TEST_DIR", dir)
        .env("CACHE_FS_TEST_SEED", seed.to_string())
        .env("CACHE_FS_TEST_STEPS", steps.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Checks everything that is in the store, and that it holds no more than it says.
fn check_all(dir: &Path) -> usize {
    let store = common::limited(dir, LIMIT, &common::clock());
    let (du, usage) = (common::du(dir), store.usage());
    assert!(usage.bytes >= du, "it holds {du} bytes and says {usage:?}");
    assert!(usage.entries >= common::entry_files(dir).len() as u64);
    assert!(usage.bytes <= LIMIT, "{usage:?}");
    let report = store.verify(false, &mut |_| ()).unwrap();
    assert_eq!(report.corrupt, 0, "{:?}", report.details);
    (0..KEYS).filter(|number| check(&store, *number)).count()
}

#[test]
fn sixteen_processes_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let children: Vec<Child> = (1..=16).map(|seed| start(dir.path(), seed, 150)).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(check_all(dir.path()) > 0);
    assert_eq!(common::files(&dir.path().join("files-v1/tmp")).len(), 0);
    let store = common::limited(dir.path(), LIMIT, &common::clock());
    let listed = store.list(&ListFilter::default(), None, 1000).unwrap().items.len();
    assert_eq!(listed as u64, store.usage().entries);
}

#[test]
fn a_process_may_die_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let slow = std::env::var_os("VITTE_CACHE_TEST_SLOW").is_some();
    let mut hits = 0;
    for round in 0..if slow { SLOW_ROUNDS } else { ROUNDS } {
        let mut children: Vec<Child> = (0..2).map(|n| start(dir.path(), 2 * round + n, u64::MAX)).collect();
        for child in &mut children {
            let out = BufReader::new(child.stdout.take().unwrap());
            assert!(out.lines().any(|line| line.unwrap().contains("ready")));
        }
        // The moment is the point of the test: from the first put up to a few hundred later.
        std::thread::sleep(Duration::from_micros(round * 7919 % 60_000));
        for child in &mut children {
            assert!(child.try_wait().unwrap().is_none(), "it is still at work");
            child.kill().unwrap();
        }
        for mut child in children {
            child.wait().unwrap();
        }
        hits += check_all(dir.path());
    }
    assert!(hits > 0, "something was stored, and found");
    work(dir.path(), 99, 200);
    check_all(dir.path());
}
