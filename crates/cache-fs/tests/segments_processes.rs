//! Many processes on one segment log, and processes that die at any moment.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cache_core::Digest;
use cache_fs::{SegmentOptions, Segments};

const SEGMENT: u64 = 1 << 20;
const LIMIT: u64 = 24 << 20;
const WRITERS: u64 = 8;
/// One segment per writer, and one.
const SLACK: u64 = (WRITERS + 1) * SEGMENT;
const KEYS: u64 = 2000;
/// Rounds in which processes are killed, and how long those that are not work together.
const ROUNDS: u64 = 18;
const SLOW_ROUNDS: u64 = 400;
const TOGETHER: Duration = Duration::from_secs(3);
const SLOW_TOGETHER: Duration = Duration::from_mins(3);

fn is_slow() -> bool {
    std::env::var_os("VITTE_CACHE_TEST_SLOW").is_some()
}

/// Returns whether the index of the store in `dir` is read and written under locks; else it is shared memory, where the file
/// system is one for it.
fn is_locked(dir: &Path) -> bool {
    dir.ends_with("locked")
}

fn open(dir: &Path) -> Segments {
    let mut options = SegmentOptions::default();
    options.max_bytes = Some(LIMIT);
    options.segment_bytes = Some(SEGMENT);
    options.map_index = !is_locked(dir);
    Segments::open(dir, options).unwrap()
}

fn key(number: u64) -> [u8; 32] {
    *Digest::blake3(&number.to_le_bytes()).as_bytes()
}

/// Returns a value that tells its key and how it was made, and differs from every other one.
fn value(number: u64, seed: u64) -> Vec<u8> {
    // A few are files of their own, most are small.
    let len = match seed % 64 {
        0 => 300_000 + seed as usize % 300_000,
        1..8 => 30_000 + seed as usize % 100_000,
        _ => seed as usize % 12_000,
    };
    let mut bytes = [number.to_le_bytes(), seed.to_le_bytes()].concat();
    bytes.extend(common::content(number ^ seed.rotate_left(32), len));
    bytes
}

/// Checks what is found under a key; a miss is fine.
fn check(store: &Segments, number: u64, buffer: &mut Vec<u8>) -> bool {
    let Some(found) = store.get_into(&key(number), buffer).unwrap() else { return false };
    let word = |at: usize| u64::from_le_bytes(found[at..at + 8].try_into().unwrap());
    assert_eq!(word(0), number, "a value of another key");
    assert!(found == value(number, word(8)), "a wrong byte");
    true
}

/// What a process has done to keys of its own, written down so that it is known after it was killed.
struct Journal {
    file: File,
    /// What may be under a key, by its seed; 0 is nothing.
    may_be: HashMap<u64, Vec<u64>>,
}

impl Journal {
    fn open(dir: &Path, own: u64) -> Self {
        let path = dir.join(format!("journal-{own}"));
        let file = File::options().append(true).read(true).create(true).open(&path).unwrap();
        let mut may_be: HashMap<u64, Vec<u64>> = HashMap::new();
        for line in std::fs::read(&path).unwrap().as_chunks::<24>().0 {
            let word = |at: usize| u64::from_le_bytes(line[at..at + 8].try_into().unwrap());
            Self::apply(&mut may_be, word(0), word(8), word(16) == 1);
        }
        Self { file, may_be }
    }

    fn apply(may_be: &mut HashMap<u64, Vec<u64>>, number: u64, seed: u64, done: bool) {
        let known = may_be.entry(number).or_default();
        if done {
            known.clear();
        }
        known.push(seed);
    }

    fn note(&mut self, number: u64, seed: u64, done: bool) {
        let line = [number, seed, u64::from(done)].map(u64::to_le_bytes).concat();
        self.file.write_all(&line).unwrap();
        Self::apply(&mut self.may_be, number, seed, done);
    }

    /// Checks what is found under a key of this process; a miss is fine.
    fn check(&self, store: &Segments, number: u64, buffer: &mut Vec<u8>) -> bool {
        let Some(found) = store.get_into(&key(number), buffer).unwrap() else { return false };
        let mut known = self.may_be.get(&number).into_iter().flatten().filter(|seed| **seed != 0);
        assert!(known.any(|seed| value(number, *seed) == found), "{number} was replaced or removed");
        true
    }
}

/// Does random things until it is killed, or until `end`. What is under keys of this process alone (`own`) is known.
fn work(dir: &Path, own: u64, round: u64, end: Option<Instant>) {
    let store = open(dir);
    let mut journal = Journal::open(dir.parent().unwrap(), own);
    let mut buffer = Vec::new();
    let mut seed = (own + 1000 * round).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let (mut puts, mut found) = (0_u64, 0_u64);
    while end.is_none_or(|end| Instant::now() < end) {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = seed >> 24;
        let shared = random % KEYS;
        let private = KEYS + own * 100 + random % 100;
        match random % 32 {
            0 => drop(store.remove(&key(shared)).unwrap()),
            1 => {
                journal.note(private, 0, false);
                store.remove(&key(private)).unwrap();
                journal.note(private, 0, true);
                assert_eq!(store.get_into(&key(private), &mut buffer).unwrap(), None, "it was removed");
            }
            2..8 => {
                journal.note(private, random, false);
                store.put(&key(private), &value(private, random)).unwrap();
                journal.note(private, random, true);
                puts += 1;
            }
            8..14 => found += u64::from(journal.check(&store, private, &mut buffer)),
            14..20 => {
                store.put(&key(shared), &value(shared, random)).unwrap();
                puts += 1;
            }
            20 => drop(store.contains(&key(shared)).unwrap()),
            _ => found += u64::from(check(&store, shared, &mut buffer)),
        }
    }
    assert!(puts > 0 && found > 0, "{puts} puts, {found} hits");
}

#[test]
#[ignore = "run by the other tests"]
fn child() {
    let variable = |name| std::env::var(name).unwrap();
    println!("ready");
    let millis: u64 = variable("CACHE_FS_TEST_MILLIS").parse().unwrap();
    let end = (millis > 0).then(|| Instant::now() + Duration::from_millis(millis));
    let number = |name| variable(name).parse().unwrap();
    let dir = variable("CACHE_FS_TEST_DIR");
    work(Path::new(&dir), number("CACHE_FS_TEST_OWN"), number("CACHE_FS_TEST_ROUND"), end);
}

fn start(dir: &Path, own: u64, round: u64, time: Duration) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("CACHE_FS_TEST_DIR", dir)
        .env("CACHE_FS_TEST_OWN", own.to_string())
        .env("CACHE_FS_TEST_ROUND", round.to_string())
        .env("CACHE_FS_TEST_MILLIS", time.as_millis().to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn wait_ready(child: &mut Child) {
    let out = BufReader::new(child.stdout.take().unwrap());
    assert!(out.lines().any(|line| line.unwrap().contains("ready")));
}

/// Returns the bytes on disk of all that is under `path`. What goes meanwhile counts or does not.
fn disk_usage(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(meta) = path.symlink_metadata() else { return 0 };
    let below = std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    meta.blocks() * 512 + below.map(|item| disk_usage(&item.path())).sum::<u64>()
}

fn check_all(dir: &Path) -> usize {
    let used = disk_usage(dir);
    assert!(used <= LIMIT + SLACK, "{used} bytes");
    let (store, mut buffer) = (open(dir), Vec::new());
    let shared = (0..KEYS).filter(|number| check(&store, *number, &mut buffer)).count();
    let private = (1..=WRITERS).map(|own| {
        let journal = Journal::open(dir.parent().unwrap(), own);
        let keys = KEYS + own * 100..KEYS + own * 100 + 100;
        keys.filter(|number| journal.check(&store, *number, &mut buffer)).count()
    });
    shared + private.sum::<usize>()
}

#[test]
fn eight_processes_share_a_log_and_its_limit() {
    share_a_log("store");
}

#[test]
fn eight_processes_share_a_log_with_locks() {
    share_a_log("locked");
}

fn share_a_log(name: &str) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join(name);
    let time = if is_slow() { SLOW_TOGETHER } else { TOGETHER };
    let mut children: Vec<Child> = (1..=WRITERS).map(|own| start(&dir, own, 0, time)).collect();
    let mut most = 0;
    while children.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
        let used = disk_usage(&dir);
        assert!(used <= LIMIT + SLACK, "{used} bytes are in use, {LIMIT} are allowed");
        most = most.max(used);
    }
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(most > LIMIT / 2, "the limit was never near: {most} bytes");
    assert!(check_all(&dir) > 0);
}

#[test]
fn a_process_may_die_at_any_moment() {
    die_at_any_moment("store");
}

#[test]
fn a_process_with_locks_may_die_at_any_moment() {
    die_at_any_moment("locked");
}

fn die_at_any_moment(name: &str) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join(name);
    let mut hits = 0;
    for round in 0..if is_slow() { SLOW_ROUNDS } else { ROUNDS } {
        let forever = Duration::ZERO;
        let mut children: Vec<Child> = (1..=4).map(|own| start(&dir, own, round, forever)).collect();
        children.iter_mut().for_each(wait_ready);
        // The moment is the point of the test.
        std::thread::sleep(Duration::from_micros(round * 7919 % 90_000));
        for child in &mut children {
            assert!(child.try_wait().unwrap().is_none(), "it is still at work");
            child.kill().unwrap();
        }
        for mut child in children {
            child.wait().unwrap();
        }
        if round % 3 == 2 {
            // What died in the middle of a put or an eviction is seen when the index is made anew.
            std::fs::remove_file(dir.join("segments-v1/index")).unwrap();
            let _store = open(&dir);
            while dir.join("segments-v1/rebuild").exists() {
                std::thread::yield_now();
            }
        }
        hits += check_all(&dir);
    }
    assert!(hits > 0, "something was stored, and found");
}
