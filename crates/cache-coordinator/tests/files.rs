//! What is known about files outlives the process, and is never believed when it should not be.

// Elsewhere no time stamp is believed, so nothing is remembered.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cache_coordinator::action::{FileError, FileStates};
use cache_core::{Anchor, Digest, FileState, ManualClock, RelPath, Timestamp, TreePath};
use cache_testkit::block_on;

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(world.base()).unwrap();
        world.write("a", "one");
        world.write("b", "two");
        world
    }

    fn base(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn memory(&self) -> PathBuf {
        self.dir.path().join("state/files")
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.base().join(name), content).unwrap();
    }

    /// Returns what the next process has, at a time when all files have settled.
    fn open(&self, memory: &Path) -> Arc<FileStates> {
        let clock = ManualClock::new(Timestamp::from(SystemTime::now()).plus(Duration::from_hours(1)));
        let files = FileStates::with_clock(&self.base(), Arc::new(clock)).unwrap();
        Arc::new(files.remember_in(memory))
    }
}

/// Returns the digests of `a` and `b`, and how many files were read for that.
fn look(files: &Arc<FileStates>) -> (Vec<Digest>, u64) {
    let path = |name: &str| TreePath { anchor: Anchor::Base, path: RelPath::new(name).unwrap() };
    let before = files.read();
    let states = block_on(files.snapshot(&[path("a"), path("b")])).unwrap();
    let digest = |state| match state {
        FileState::File { digest, .. } => digest,
        other => panic!("{other:?}"),
    };
    (states.iter().map(|file| digest(file.state)).collect(), files.read() - before)
}

fn are(contents: [&str; 2], reads: u64) -> (Vec<Digest>, u64) {
    (contents.iter().map(|content| Digest::blake3(content.as_bytes())).collect(), reads)
}

#[test]
fn the_next_process_reads_only_what_moved() {
    let world = World::new();
    let memory = world.memory();
    let first = world.open(&memory);
    assert_eq!(look(&first), are(["one", "two"], 2));
    assert!(!memory.exists());
    first.save().unwrap();
    assert_eq!(fs::metadata(&memory).unwrap().permissions().mode() & 0o777, 0o600);

    let second = world.open(&memory);
    assert_eq!(look(&second), are(["one", "two"], 0));
    // Nothing new, nothing written.
    fs::remove_file(&memory).unwrap();
    second.save().unwrap();
    assert!(!memory.exists());
    first.save().unwrap();
    assert!(!memory.exists());

    // Another content of the same length with the old modification time, and a new file in the place of an old one.
    let modified = fs::metadata(world.base().join("a")).unwrap().modified().unwrap();
    world.write("a", "ONE");
    fs::File::options().write(true).open(world.base().join("a")).unwrap().set_modified(modified).unwrap();
    fs::remove_file(world.base().join("b")).unwrap();
    world.write("b", "TWO");
    assert_eq!(look(&second), are(["ONE", "TWO"], 2));
    second.save().unwrap();
    assert_eq!(look(&world.open(&memory)), are(["ONE", "TWO"], 0));
}

#[test]
fn two_processes_keep_what_both_learned() {
    let world = World::new();
    let memory = world.memory();
    let (one, two) = (world.open(&memory), world.open(&memory));
    let path = |name: &str| TreePath { anchor: Anchor::Base, path: RelPath::new(name).unwrap() };
    block_on(one.snapshot(&[path("a")])).unwrap();
    block_on(two.snapshot(&[path("b")])).unwrap();
    one.save().unwrap();
    two.save().unwrap();
    assert_eq!(look(&world.open(&memory)), are(["one", "two"], 0));
}

#[test]
fn what_had_not_settled_is_not_kept() {
    let world = World::new();
    let files = Arc::new(FileStates::new(&world.base()).unwrap().remember_in(world.memory()));
    assert_eq!(look(&files).1, 2);
    files.save().unwrap();
    assert!(!world.memory().exists());
}

#[test]
fn a_file_that_is_damaged_or_not_ours_says_nothing() {
    let world = World::new();
    let memory = world.memory();
    let first = world.open(&memory);
    look(&first);
    first.save().unwrap();
    let whole = fs::read(&memory).unwrap();
    let reads = || look(&world.open(&memory)).1;
    assert_eq!(reads(), 0);
    for at in [0, 7, 13, 20, 40, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&memory, &damaged).unwrap();
        assert_eq!(look(&world.open(&memory)), are(["one", "two"], 2), "byte {at}");
    }
    fs::write(&memory, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(reads(), 2);
    fs::write(&memory, &whole).unwrap();
    fs::set_permissions(&memory, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(reads(), 2, "everybody may write to it");
    fs::set_permissions(&memory, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(reads(), 0);
    let link = world.dir.path().join("link");
    std::os::unix::fs::symlink(&memory, &link).unwrap();
    assert_eq!(look(&world.open(&link)).1, 2);

    // What is in the way is told, and stays.
    let blocked = world.open(&world.base().join("a/memory"));
    look(&blocked);
    let error = blocked.save().unwrap_err();
    assert!(matches!(error, FileError::Unsaved { .. }) && error.to_string().contains("a/memory"), "{error}");
    assert!(blocked.save().is_err(), "it is still to be saved");
}
