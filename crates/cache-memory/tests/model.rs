//! Random sequences of operations, compared with plain maps.
//!
//! With no limit of size the store does exactly what the maps do, times included. With one it may have forgotten anything,
//! but what it has is what the maps have.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use cache_core::{
    Clock, Digest, Entry, Error, Key, ListFilter, ManualClock, Policy, PutMode, PutOutcome, Timestamp,
};
use cache_memory::MemoryStore;
use common::{START, entry, key, listed, naming, timed};
use proptest::prelude::*;

const BLOBS: [&[u8]; 3] = [b"a", &[b'b'; 700], &[b'c'; 2000]];

#[derive(Clone, Debug)]
enum Op {
    Put { key: u64, len: usize, blobs: [bool; 3], ttl: Option<u64>, idle: Option<u64>, mode: PutMode },
    Get(u64),
    Peek(u64),
    Remove(u64),
    Write(usize),
    Read(usize),
    Delete(usize),
    Missing,
    List,
    Advance(u64),
    Sweep,
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..6_u64;
    let mode = prop_oneof![Just(PutMode::Overwrite), Just(PutMode::IfAbsent)];
    let time = || proptest::option::weighted(0.3, 0..60_u64);
    let blobs = prop_oneof![Just([false; 3]), any::<[bool; 3]>()];
    let put = (key(), 0..3000_usize, blobs, time(), time(), mode)
        .prop_map(|(key, len, blobs, ttl, idle, mode)| Op::Put { key, len, blobs, ttl, idle, mode });
    prop_oneof![
        6 => put,
        5 => key().prop_map(Op::Get),
        1 => key().prop_map(Op::Peek),
        1 => key().prop_map(Op::Remove),
        4 => (0..BLOBS.len()).prop_map(Op::Write),
        1 => (0..BLOBS.len()).prop_map(Op::Read),
        1 => (0..BLOBS.len()).prop_map(Op::Delete),
        1 => Just(Op::Missing),
        1 => Just(Op::List),
        3 => (0..40_u64).prop_map(Op::Advance),
        1 => Just(Op::Sweep),
    ]
}

#[derive(Debug)]
struct Kept {
    entry: Entry,
    idle: Option<Duration>,
    used: Timestamp,
}

#[derive(Debug)]
struct Model {
    entries: BTreeMap<Key, Kept>,
    /// When each blob was last used.
    blobs: BTreeMap<usize, Timestamp>,
    policy: Policy,
    now: Timestamp,
}

impl Model {
    fn has_blob(&self, blob: usize) -> bool {
        let idle = self.policy.max_age.unwrap_or(Duration::MAX);
        self.blobs.get(&blob).is_some_and(|used| used.plus(idle) > self.now)
    }

    fn touch(&mut self, blob: usize) -> bool {
        let there = self.has_blob(blob);
        if there {
            self.blobs.insert(blob, self.now);
        }
        there
    }

    /// Uses the blobs of an entry up to the first that is missing, and returns that one.
    fn touch_all(&mut self, entry: &Entry) -> Option<Digest> {
        entry.blobs().find(|(digest, _)| !self.touch(number_of(digest))).map(|(digest, _)| *digest)
    }

    fn is_live(&self, key: &Key) -> bool {
        self.entries.get(key).is_some_and(|kept| {
            !kept.entry.meta.is_expired(self.now)
                && kept.used.plus(kept.idle.unwrap_or(Duration::MAX)) > self.now
                && kept.entry.blobs().all(|(digest, _)| self.has_blob(number_of(digest)))
        })
    }
}

fn number_of(digest: &Digest) -> usize {
    BLOBS.iter().position(|content| Digest::blake3(content) == *digest).unwrap()
}

/// Applies `ops` to a store and to the maps. If not `exact`, the store may forget.
fn run(policy: &Policy, ops: &[Op], exact: bool) {
    let (store, clock) = timed(policy.clone());
    let mut model =
        Model { entries: BTreeMap::new(), blobs: BTreeMap::new(), policy: policy.clone(), now: START };
    for (step, op) in ops.iter().enumerate() {
        apply(op, step, &store, &clock, &mut model, exact);
        let stats = store.stats();
        assert!(policy.max_bytes.is_none_or(|max| stats.bytes <= max), "{stats:?}");
        assert!(policy.max_entries.is_none_or(|max| stats.entries <= max), "{stats:?}");
    }
    // What the store holds now, and nothing else, is what it lists.
    let there: Vec<Key> = (0..6).map(key).filter(|key| store.peek(key).is_some()).collect();
    let mut names = listed(&store, 2);
    names.sort_unstable();
    let mut expected = there;
    expected.sort_unstable();
    assert_eq!(names, expected);
}

fn apply(op: &Op, step: usize, store: &MemoryStore, clock: &ManualClock, model: &mut Model, exact: bool) {
    match op {
        Op::Put { key: number, len, blobs, ttl, idle, mode } => {
            let chosen: Vec<&[u8]> = BLOBS.into_iter().zip(blobs).filter(|b| *b.1).map(|b| b.0).collect();
            let mut put = naming("", &chosen);
            put.value = entry(format!("{step}:{}", "x".repeat(*len))).value;
            put.meta.expires = ttl.map(|ttl| model.now.plus(Duration::from_millis(ttl)));
            let idle = idle.map(Duration::from_millis);
            let result = match idle {
                Some(idle) => store.put_with_idle(&key(*number), &put, *mode, idle),
                None => store.put(&key(*number), &put, *mode),
            };
            ensure_put(result, &key(*number), put, idle, *mode, model, exact);
        }
        Op::Get(number) => {
            let (key, found) = (key(*number), store.get(&key(*number)));
            let live = model.is_live(&key);
            ensure(found.is_some(), live, exact, "get");
            if let Some(hit) = found {
                assert_eq!(*hit, model.entries[&key].entry);
                model.entries.get_mut(&key).unwrap().used = model.now;
            } else if !live {
                // What a look-up finds to be over is dropped, having used the blobs before the missing one.
                let kept = model.entries.remove(&key);
                let within = kept.filter(|kept| {
                    !kept.entry.meta.is_expired(model.now)
                        && kept.used.plus(kept.idle.unwrap_or(Duration::MAX)) > model.now
                });
                within.map(|kept| model.touch_all(&kept.entry));
                return;
            }
            if let Some(kept) = model.entries.get(&key) {
                let entry = kept.entry.clone();
                model.touch_all(&entry);
            }
        }
        Op::Peek(number) => {
            ensure(store.peek(&key(*number)).is_some(), model.is_live(&key(*number)), exact, "peek");
        }
        Op::Remove(number) => {
            ensure(store.remove(&key(*number)), model.is_live(&key(*number)), exact, "remove");
            model.entries.remove(&key(*number));
        }
        Op::Write(number) => {
            store.write_blob(&Digest::blake3(BLOBS[*number]), Bytes::from_static(BLOBS[*number])).unwrap();
            model.blobs.insert(*number, model.now);
        }
        Op::Read(number) => {
            let found = store.read_blob(&Digest::blake3(BLOBS[*number]));
            ensure(found.is_some(), model.touch(*number), exact, "read");
            assert!(found.is_none_or(|found| found == BLOBS[*number]));
        }
        Op::Delete(number) => {
            let deleted = store.delete_blob(&Digest::blake3(BLOBS[*number]));
            ensure(deleted, model.has_blob(*number), exact, "delete");
            model.blobs.remove(number);
        }
        Op::Missing => {
            let missing = store.missing_blobs(&BLOBS.map(Digest::blake3));
            for (number, content) in BLOBS.iter().enumerate() {
                ensure(!missing.contains(&Digest::blake3(content)), model.touch(number), exact, "missing");
            }
        }
        Op::List => {
            let names: Vec<Key> = listed(store, 2);
            for number in 0..6 {
                let key = key(number);
                ensure(names.contains(&key), model.is_live(&key), exact, "list");
            }
            for item in store.list(&ListFilter::default(), None, 9).unwrap().items {
                assert_eq!(item.meta, model.entries[&item.key].entry.meta);
            }
        }
        Op::Advance(millis) => {
            clock.advance(Duration::from_millis(*millis));
            model.now = clock.now();
        }
        Op::Sweep => {
            store.sweep();
            let keys: Vec<Key> = model.entries.keys().copied().collect();
            let dead: Vec<Key> = keys.into_iter().filter(|key| !model.is_live(key)).collect();
            for key in dead {
                model.entries.remove(&key);
            }
            assert_eq!(store.sweep(), cache_memory::Swept::default(), "a second sweep finds more");
        }
    }
}

fn ensure(found: bool, expected: bool, exact: bool, what: &str) {
    assert!(found == expected || (!exact && !found), "{what} says {found} instead of {expected}");
}

fn ensure_put(
    result: cache_core::Result<PutOutcome>,
    key: &Key,
    mut put: Entry,
    idle: Option<Duration>,
    mode: PutMode,
    model: &mut Model,
    exact: bool,
) {
    let missing = model.touch_all(&put);
    let present = mode == PutMode::IfAbsent && model.is_live(key);
    match result {
        Err(Error::Incomplete { digest }) => {
            assert!(!exact || missing == Some(digest), "{digest} is said to be missing, and is not");
        }
        Ok(PutOutcome::Present) => assert!(missing.is_none() && present, "Present where nothing is"),
        Ok(PutOutcome::Stored) => {
            assert!(missing.is_none() && (!exact || !present), "Stored where something is");
            if put.meta.expires.is_none() {
                put.meta.expires = model.policy.default_ttl.map(|ttl| model.now.plus(ttl));
            }
            let idle = idle.or(model.policy.max_age);
            model.entries.insert(*key, Kept { entry: put, idle, used: model.now });
        }
        Err(Error::TooLarge { .. }) => assert!(!exact, "too large for a store without limits"),
        Err(other) => panic!("{other}"),
    }
}

fn times() -> impl Strategy<Value = Policy> {
    let time = || proptest::option::of((20..80_u64).prop_map(Duration::from_millis));
    (time(), time()).prop_map(|(default_ttl, max_age)| Policy { default_ttl, max_age, ..Policy::unlimited() })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn without_limits_it_is_a_map(policy in times(), ops in proptest::collection::vec(op(), 1..80)) {
        run(&policy, &ops, true);
    }

    #[test]
    fn within_limits_it_forgets_and_never_lies(
        policy in times(),
        max_bytes in 9_000..20_000_u64,
        max_entries in proptest::option::of(1..5_u64),
        ops in proptest::collection::vec(op(), 1..150),
    ) {
        run(&Policy { max_bytes: Some(max_bytes), max_entries, ..policy }, &ops, false);
    }
}
