//! The store does what a map would do, except that it forgets when it says so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{Clock, Entry, ManualClock, MissReason, Policy, PutMode, PutOutcome, Timestamp};
use cache_fs::{FsStore, Lookup, Options};
use proptest::prelude::*;

const KEYS: u64 = 12;
const LIMIT: u64 = 1 << 20;

#[derive(Clone, Debug)]
enum Step {
    Put { key: u64, seed: u64, len: usize, ttl: Option<u64>, if_absent: bool },
    PutBlob { key: u64, seed: u64, len: usize },
    Get(u64),
    Stale(u64),
    Remove(u64),
    Pressure,
    Gc,
    Reopen,
    Corrupt { file: usize, at: usize },
    Clock(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS;
    let len = || prop_oneof![0..50_usize, 4000..5000_usize, 60_000..61_000_usize];
    prop_oneof![
        4 => (key(), 0..9_u64, len(), proptest::option::of(1..100_u64), any::<bool>())
            .prop_map(|(key, seed, len, ttl, if_absent)| Step::Put { key, seed, len, ttl, if_absent }),
        4 => (key(), 0..9_u64, len()).prop_map(|(key, seed, len)| Step::PutBlob { key, seed, len }),
        8 => key().prop_map(Step::Get),
        1 => key().prop_map(Step::Stale),
        1 => key().prop_map(Step::Remove),
        1 => Just(Step::Pressure),
        1 => Just(Step::Gc),
        1 => Just(Step::Reopen),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(file, at)| Step::Corrupt { file, at }),
        2 => (-200_000..200_000_i64).prop_map(Step::Clock),
    ]
}

fn open(dir: &Path, clock: &Arc<ManualClock>) -> FsStore {
    let policy = Policy { max_bytes: Some(LIMIT), max_entries: Some(40), ..Policy::unlimited() };
    FsStore::open(dir, Options { policy: Some(policy), clock: clock.clone(), ..common::options() }).unwrap()
}

struct Model {
    entries: HashMap<u64, Entry>,
    /// Something was damaged since the start, so that anything may be gone for that reason.
    damaged: bool,
}

impl Model {
    /// Checks a look-up against the map, and forgets what the store has forgotten.
    fn check(&mut self, key: u64, found: Lookup, now: Timestamp) -> Result<(), TestCaseError> {
        let known = self.entries.get(&key);
        match found {
            Lookup::Hit(entry) => {
                prop_assert_eq!(Some(&entry), known);
                prop_assert!(!entry.meta.is_expired(now));
            }
            Lookup::Miss(MissReason::Expired { at }) => {
                prop_assert!(at <= now && known.and_then(|entry| entry.meta.expires) == Some(at));
            }
            Lookup::Miss(reason) => {
                let forgotten = match reason {
                    MissReason::Evicted { .. } => true,
                    MissReason::Incomplete { evicted, .. } => evicted.is_some() || self.damaged,
                    MissReason::Corrupt | MissReason::NewerFormat => self.damaged,
                    _ => false,
                };
                prop_assert!(known.is_none() || forgotten || self.damaged, "{:?} for {:?}", reason, known);
                self.entries.remove(&key);
            }
        }
        Ok(())
    }
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let clock = common::clock();
    let mut store = open(dir.path(), &clock);
    let mut model = Model { entries: HashMap::new(), damaged: false };
    let mut pressure = 1000;
    for step in steps {
        match step {
            Step::Put { key, seed, len, ttl, if_absent } => {
                let mut entry = common::entry(common::content(seed, len));
                entry.meta.expires = ttl.map(|ttl| clock.now().plus(Duration::from_secs(ttl)));
                let mode = if if_absent { PutMode::IfAbsent } else { PutMode::Overwrite };
                let before = store.peek(&common::key(key)).unwrap();
                let outcome = store.put(&common::key(key), &entry, mode).unwrap();
                if outcome == PutOutcome::Stored {
                    model.entries.insert(key, entry);
                } else {
                    prop_assert!(if_absent);
                    model.check(key, before, clock.now())?;
                }
            }
            Step::PutBlob { key, seed, len } => {
                let content = common::content(seed, len);
                let digest = store.write_blob(&content).unwrap();
                let entry = common::entry_with(&[(digest, len as u64)]);
                let _ = store.put(&common::key(key), &entry, PutMode::Overwrite).unwrap();
                model.entries.insert(key, entry);
                if let Some(read) = store.read_blob(&digest, u64::MAX).unwrap() {
                    prop_assert!(read == content);
                }
            }
            Step::Get(key) => {
                let found = store.get(&common::key(key)).unwrap();
                model.check(key, found, clock.now())?;
            }
            Step::Stale(key) => {
                if let Some(entry) = store.get_stale(&common::key(key)).unwrap() {
                    prop_assert_eq!(Some(&entry), model.entries.get(&key));
                }
            }
            Step::Remove(key) => {
                store.remove(&common::key(key)).unwrap();
                prop_assert!(store.get_stale(&common::key(key)).unwrap().is_none());
                model.entries.remove(&key);
            }
            Step::Pressure => {
                for _ in 0..20 {
                    pressure += 1;
                    store.write_blob(&common::content(pressure, 30_000)).unwrap();
                }
            }
            Step::Gc => {
                store.gc(false).unwrap();
                let now = clock.now();
                model.entries.retain(|_, entry| !entry.meta.is_expired(now));
            }
            Step::Reopen => store = open(dir.path(), &clock),
            Step::Corrupt { file, at } => {
                let files = common::files(&dir.path().join("files-v1"));
                let file = &files[file % files.len()];
                let mut bytes = std::fs::read(file).unwrap();
                // The marker decides about the whole store, and is tested elsewhere.
                if !bytes.is_empty() && !file.ends_with("format") {
                    let at = at % bytes.len();
                    bytes[at] ^= 0x40;
                    std::fs::write(file, bytes).unwrap();
                    model.damaged = true;
                }
            }
            Step::Clock(seconds) => {
                let by = Duration::from_secs(seconds.unsigned_abs());
                clock.set(if seconds < 0 { clock.now().minus(by) } else { clock.now().plus(by) });
            }
        }
        if !model.damaged {
            let usage = store.usage();
            prop_assert!(usage.bytes <= LIMIT && usage.entries <= 40, "{:?}", usage);
        }
    }
    for key in 0..KEYS {
        let found = store.get(&common::key(key)).unwrap();
        model.check(key, found, clock.now())?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_is_a_map_that_forgets(steps in proptest::collection::vec(step(), 1..60)) {
        run(steps)?;
    }
}
