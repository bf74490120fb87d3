//! File digests are remembered, and never wrongly.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use cache_core::{Clock, Digest, FileState, ManualClock, SystemClock, Timestamp};
use cache_run::inputs::{
    Amount, ChangeKind, InputError, InputSet, Inputs, Progress, is_trustworthy, observe,
};
use cache_run::memory::Memory;

/// A directory with sources and a memory, and a clock that is set by hand.
struct Place {
    root: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

/// Counts what is read.
#[derive(Default)]
struct Counter(AtomicU64);

impl Progress for Counter {
    fn read(&self, done: Amount, total: Amount) {
        assert!(done.files <= total.files, "{done:?} of {total:?}");
        // The first call says that nothing is read yet.
        self.0.fetch_add(u64::from(done.files > 0), Ordering::SeqCst);
    }
}

impl Place {
    fn new() -> Self {
        let place = Self { root: tempfile::tempdir().unwrap(), clock: Arc::new(ManualClock::default()) };
        fs::create_dir(place.at("src")).unwrap();
        place.later(0);
        place
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().canonicalize().unwrap().join(path)
    }

    /// Sets the clock to so many milliseconds from now.
    fn later(&self, millis: u64) {
        self.clock.set(SystemClock.now().plus(Duration::from_millis(millis)));
    }

    fn memory(&self) -> Memory {
        Memory::load_with(&self.at("memory"), self.clock.clone())
    }

    fn inputs(&self) -> Inputs {
        Inputs::new(&self.at(""), &self.at(""), ["src"]).unwrap()
    }

    /// Digests `src` with what is remembered, remembers what is new, and counts what was read.
    fn run(&self) -> (InputSet, u64) {
        let (inputs, mut memory, counter) = (self.inputs(), self.memory(), Counter::default());
        let set = inputs.digest(inputs.resolve().unwrap(), &mut memory, &counter).unwrap();
        memory.save().unwrap();
        (set, counter.0.into_inner())
    }

    /// Whether stat fingerprints are believed where the tests run; on a network file system they are not.
    fn trusted(&self) -> bool {
        is_trustworthy(self.root.path())
    }
}

#[test]
fn an_unchanged_file_is_read_once() {
    let place = Place::new();
    for i in 0..40 {
        fs::write(place.at(&format!("src/{i}")), i.to_string()).unwrap();
    }
    place.later(60_000);
    let (first, read) = place.run();
    assert_eq!(read, 40);
    let (second, read) = place.run();
    assert_eq!((first, read), (second, if place.trusted() { 0 } else { 40 }));
    fs::write(place.at("src/7"), "other").unwrap();
    place.later(60_000);
    let (_, read) = place.run();
    assert_eq!(read, if place.trusted() { 1 } else { 40 });
}

#[test]
fn a_file_touched_just_now_is_not_remembered() {
    let place = Place::new();
    fs::write(place.at("src/a"), "one").unwrap();
    for millis in [0, 1000] {
        place.later(millis);
        assert_eq!((place.run().1, place.run().1), (1, 1), "{millis} ms after the last change");
    }
}

/// The edit that leaves no trace: same size, and time stamps within one tick of the clock. It can only be simulated by
/// digesting as long after the edit as the tick is, that is at once: what counts is that nothing was remembered.
#[test]
fn a_racy_edit_of_the_same_size_is_noticed() {
    let place = Place::new();
    fs::write(place.at("src/a"), "one").unwrap();
    let (before, _) = place.run();
    fs::write(place.at("src/a"), "two").unwrap();
    let (after, _) = place.run();
    assert_ne!(before.digest(), after.digest());
    // The same, seen from the end of a command.
    let (inputs, mut memory) = (place.inputs(), place.memory());
    assert!(inputs.changed_since(&after, &mut memory).unwrap().is_empty());
    fs::write(place.at("src/a"), "six").unwrap();
    let changes = inputs.changed_since(&after, &mut memory).unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(after.files[0].stat, None, "the stat of a file touched just now proves nothing");
}

#[test]
fn a_restored_modification_time_hides_nothing() {
    let place = Place::new();
    let (file, old) = (place.at("src/a"), SystemTime::now() - Duration::from_hours(24));
    let set_old = || fs::File::options().write(true).open(&file).unwrap().set_modified(old).unwrap();
    fs::write(&file, "one").unwrap();
    set_old();
    place.later(60_000);
    let (before, _) = place.run();
    fs::write(&file, "two").unwrap();
    set_old();
    place.later(60_000);
    assert_ne!(before.digest(), place.run().0.digest());
}

#[test]
fn a_modification_time_in_the_future_is_not_believed() {
    let place = Place::new();
    fs::write(place.at("src/a"), "one").unwrap();
    let future = SystemTime::now() + Duration::from_hours(24);
    fs::File::options().write(true).open(place.at("src/a")).unwrap().set_modified(future).unwrap();
    place.later(60_000);
    assert_eq!((place.run().1, place.run().1), (1, 1));
}

#[test]
fn a_clock_that_goes_back_only_costs_time() {
    let place = Place::new();
    fs::write(place.at("src/a"), "one").unwrap();
    place.clock.set(Timestamp::from_millis(1000));
    let (first, _) = place.run();
    assert_eq!(place.run(), (first, 1));
}

#[test]
fn a_damaged_memory_is_an_empty_one() {
    let place = Place::new();
    for name in ["a", "b", "c"] {
        fs::write(place.at("src").join(name), name).unwrap();
    }
    place.later(60_000);
    let (expected, _) = place.run();
    if !place.trusted() {
        return;
    }
    let good = fs::read(place.at("memory")).unwrap();
    let stats: Vec<_> = expected.files.iter().filter_map(|input| input.stat).collect();
    assert_eq!(stats.len(), 3);
    let mut damaged: Vec<Vec<u8>> = (0..good.len()).map(|len| good[..len].to_vec()).collect();
    for at in 0..good.len() {
        for flip in [1, 0x80] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            damaged.push(bytes);
        }
    }
    damaged.push([&good[..], &[0; 52]].concat());
    for bytes in damaged {
        fs::write(place.at("memory"), &bytes).unwrap();
        let memory = place.memory();
        assert!(stats.iter().all(|stat| memory.get(*stat).is_none()), "{} bytes", bytes.len());
    }
    fs::write(place.at("memory"), &good).unwrap();
    let memory = place.memory();
    assert!(stats.iter().all(|stat| memory.get(*stat).is_some()));
}

#[test]
fn two_savers_lose_nothing_of_each_other() {
    let place = Place::new();
    if !place.trusted() {
        return;
    }
    fs::write(place.at("src/a"), "a").unwrap();
    fs::write(place.at("src/b"), "b").unwrap();
    place.later(60_000);
    let (mut one, mut two) = (place.memory(), place.memory());
    let digest = |memory: &mut Memory, name: &str| memory.digest_file(&place.at("src").join(name)).unwrap();
    assert_eq!(digest(&mut one, "a"), Digest::blake3(b"a"));
    assert_eq!(digest(&mut two, "b"), Digest::blake3(b"b"));
    one.save().unwrap();
    two.save().unwrap();
    assert_eq!(place.run().1, 0);
}

#[test]
fn nothing_learned_is_nothing_written() {
    let place = Place::new();
    fs::write(place.at("src/a"), "a").unwrap();
    place.run();
    assert!(!place.at("memory").exists(), "the file was too young to be remembered");
    let mut nowhere = Memory::load(&place.at("no/such/dir/memory"));
    nowhere.digest_file(&place.at("src/a")).unwrap();
    nowhere.save().unwrap();
}

#[test]
fn changes_while_the_command_ran() {
    let place = Place::new();
    for name in ["changed", "touched", "removed", "same", "link", "mode"] {
        fs::write(place.at("src").join(name), name).unwrap();
    }
    std::os::unix::fs::symlink("one", place.at("src/target")).unwrap();
    place.later(60_000);
    let (before, _) = place.run();
    let (inputs, mut memory) = (place.inputs(), place.memory());
    assert_eq!(inputs.changed_since(&before, &mut memory).unwrap(), []);
    fs::write(place.at("src/changed"), "changes").unwrap();
    fs::write(place.at("src/touched"), "touched").unwrap();
    fs::remove_file(place.at("src/removed")).unwrap();
    fs::write(place.at("src/added"), "").unwrap();
    fs::remove_file(place.at("src/target")).unwrap();
    std::os::unix::fs::symlink("two", place.at("src/target")).unwrap();
    fs::remove_file(place.at("src/link")).unwrap();
    std::os::unix::fs::symlink("same", place.at("src/link")).unwrap();
    fs::set_permissions(place.at("src/mode"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let changes = inputs.changed_since(&before, &mut memory).unwrap();
    let changes: Vec<_> = changes.iter().map(|change| (change.path.to_string(), change.kind)).collect();
    let expected = [
        ("src/added", ChangeKind::Added),
        ("src/changed", ChangeKind::Changed),
        ("src/link", ChangeKind::Changed),
        ("src/mode", ChangeKind::Changed),
        ("src/removed", ChangeKind::Removed),
        ("src/target", ChangeKind::Changed),
    ];
    assert_eq!(changes, expected.map(|(path, kind)| (path.to_owned(), kind)));
}

#[test]
fn a_named_input_that_the_command_removes_is_a_change() {
    let place = Place::new();
    fs::write(place.at("src/a"), "a").unwrap();
    let inputs = Inputs::new(&place.at(""), &place.at(""), ["src/a"]).unwrap();
    let mut memory = place.memory();
    let before = inputs.digest(inputs.resolve().unwrap(), &mut memory, &()).unwrap();
    fs::remove_file(place.at("src/a")).unwrap();
    assert_eq!(inputs.changed_since(&before, &mut memory).unwrap()[0].kind, ChangeKind::Removed);
}

#[test]
fn what_a_command_read_is_observed_through_links() {
    let place = Place::new();
    fs::write(place.at("src/a.h"), "a").unwrap();
    std::os::unix::fs::symlink("a.h", place.at("src/link.h")).unwrap();
    std::os::unix::fs::symlink("none", place.at("src/dangling.h")).unwrap();
    place.later(60_000);
    let paths =
        ["src/link.h", "src/none.h", "src/dangling.h", "src", "src/a.h/x", "src/a.h"].map(|p| place.at(p));
    let seen = observe(&paths, &mut place.memory(), &()).unwrap();
    let file = FileState::File { digest: Digest::blake3(b"a"), executable: false };
    let absent = FileState::Absent;
    let states: Vec<_> = seen.iter().map(|observed| observed.state).collect();
    assert_eq!(states, [file, absent, absent, FileState::Directory, absent, file]);
    let device = PathBuf::from("/dev/null");
    assert!(matches!(observe(&[device], &mut place.memory(), &()), Err(InputError::Special { .. })));
}

#[test]
fn unreal_files_are_read_every_time() {
    let version = PathBuf::from("/proc/version");
    if !version.exists() {
        return;
    }
    let place = Place::new();
    place.later(60_000);
    let mut memory = place.memory();
    let digest = memory.digest_file(&version).unwrap();
    assert_eq!(digest, Digest::blake3(&fs::read(&version).unwrap()));
    memory.save().unwrap();
    assert!(!place.at("memory").exists());
    assert!(!is_trustworthy(&version));
}
