//! A cache keeps limits of its own, and tells what does not come out the same.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use cache_coordinator::Limits;
use cache_coordinator::action::{
    ActionCache, ActionId, ActionKind, ActionMetadata, ActionRun, FileStates, Miss, Trimmed,
};
use cache_coordinator::target::{TargetBuild, TargetCache, TargetId};
use cache_core::{
    Digest, Entry, EntryMeta, Key, ListFilter, ManualClock, Namespace, Policy, PutMode, RelPath, Store,
    Timestamp,
};
use cache_memory::{MemoryStore, Options};
use cache_testkit::block_on;

const DAY: Duration = Duration::from_hours(24);

struct World {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    store: Arc<dyn Store>,
    cache: ActionCache,
}

fn id(target: &str) -> ActionId {
    ActionId::new(target, ActionKind::Compile, Digest::blake3(b"cc")).unwrap()
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000_000_000)));
        // With a time to idle, it knows when an entry was last used.
        let policy = Policy { max_age: Some(DAY * 365), ..Policy::unlimited() };
        let options = Options { policy, clock: Arc::clone(&clock) as _, ..Options::default() };
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(options));
        let cache = ActionCache::new(store.clone(), Self::files(&dir, &clock), Namespace::default());
        Self { dir, clock, store, cache }
    }

    fn files(dir: &tempfile::TempDir, clock: &Arc<ManualClock>) -> Arc<FileStates> {
        Arc::new(FileStates::with_clock(dir.path(), Arc::clone(clock) as _).unwrap())
    }

    /// Records that `target` made `content`, a day after what was recorded before.
    fn record(&self, target: &str, content: &str) {
        self.clock.advance(DAY);
        fs::write(self.dir.path().join(target), content).unwrap();
        let outputs = vec![RelPath::new(target).unwrap()];
        let run = ActionRun { outputs, success: true, ..ActionRun::default() };
        block_on(self.cache.record(&id(target), &run)).unwrap();
    }

    fn trim(&self, limits: Limits) -> Trimmed {
        block_on(self.cache.trim(&limits)).unwrap()
    }

    /// Returns the names of the entries of `kind`, sorted.
    fn names(&self, kind: &str) -> Vec<String> {
        let filter = ListFilter { kind: Some(kind.to_owned()), ..ListFilter::default() };
        let items = block_on(self.store.list(&filter, None, 1000)).unwrap().items;
        let mut names: Vec<String> =
            items.iter().map(|item| item.meta.name.split(',').next().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    fn look_up(&self, target: &str) -> Result<(), Miss> {
        block_on(self.cache.look_up(&id(target), &ActionMetadata::default())).map(drop)
    }
}

#[test]
fn what_was_used_last_stays() {
    let world = World::new();
    for target in ["a", "b", "c", "d"] {
        world.record(target, target);
    }
    assert_eq!(world.trim(Limits::default()).kept, 4);
    assert_eq!(world.look_up("a"), Ok(()));
    let trimmed = world.trim(Limits { max_entries: Some(2), ..Limits::default() });
    assert_eq!((trimmed.kept, trimmed.evicted, trimmed.aged, trimmed.contents), (2, 2, 0, 2));
    assert!(trimmed.bytes > 2);
    assert_eq!(
        (world.names("action"), world.names("outputs")),
        (vec!["a".into(), "d".into()], vec!["a".into(), "d".into()])
    );
    assert_eq!((world.look_up("b"), world.look_up("d")), (Err(Miss::Absent), Ok(())));
    assert_eq!(world.trim(Limits { max_entries: Some(2), ..Limits::default() }).evicted, 0);
}

#[test]
fn what_was_not_used_for_long_goes() {
    let world = World::new();
    for target in ["a", "b", "c"] {
        world.record(target, target);
    }
    world.clock.advance(DAY * 7);
    assert_eq!(world.look_up("a"), Ok(()));
    let limits = Limits { max_age: Some(DAY * 7), ..Limits::default() };
    assert_eq!((world.trim(limits).aged, world.names("action")), (1, vec!["a".into(), "c".into()]));
    let trimmed = world.trim(Limits { max_age: Some(Duration::from_hours(1)), ..Limits::default() });
    assert_eq!((trimmed.aged, trimmed.kept, world.names("outputs")), (1, 1, vec!["a".into()]));
}

#[test]
fn bytes_are_those_of_the_outputs_and_are_counted_once() {
    let world = World::new();
    // Two of them have equal outputs.
    world.record("a", &"1".repeat(1000));
    world.record("b", &"2".repeat(1000));
    let shared = "3".repeat(1000);
    world.clock.advance(DAY);
    for target in ["c", "d"] {
        fs::write(world.dir.path().join("same"), &shared).unwrap();
        let outputs = vec![RelPath::new("same").unwrap()];
        let run = ActionRun { outputs, success: true, ..ActionRun::default() };
        block_on(world.cache.record(&id(target), &run)).unwrap();
    }
    assert_eq!(world.names("outputs").len(), 3);
    let limit = |bytes| Limits { max_bytes: Some(bytes), ..Limits::default() };
    assert_eq!(world.trim(limit(4000)).evicted, 0);
    assert_eq!(world.trim(limit(3000)).evicted, 1);
    assert_eq!(world.names("action"), ["b", "c", "d"]);
    // Of the two, one still names the content.
    let trimmed = world.trim(Limits { max_entries: Some(1), ..Limits::default() });
    assert_eq!((trimmed.evicted, trimmed.contents, world.names("outputs").len()), (2, 1, 1));
    assert_eq!(world.trim(limit(0)).kept, 0);
    assert_eq!(world.names("outputs").len(), 0);
}

#[test]
fn what_belongs_to_others_stays() {
    let world = World::new();
    world.record("a", "same");
    // A target whose outputs are those of the action, an entry of another kind, and one of another namespace.
    let files = World::files(&world.dir, &world.clock);
    let targets =
        TargetCache::new(world.store.clone(), files, Namespace::default(), ActionMetadata::default());
    let build = TargetBuild {
        target: TargetId::new("t").unwrap(),
        sources: vec![],
        deps: vec![],
        outputs: vec![RelPath::new("a").unwrap()],
        cost_ms: 1,
    };
    block_on(targets.update(&build)).unwrap();
    let other = |namespace: &str, kind: &str| {
        let namespace = Namespace::new(namespace).unwrap();
        let meta = EntryMeta { namespace, kind: kind.to_owned(), ..EntryMeta::default() };
        let key = Key::from_bytes(*Digest::blake3(kind.as_bytes()).as_bytes());
        let _ =
            block_on(world.store.put(&key, &Entry { meta, ..Entry::default() }, PutMode::Overwrite)).unwrap();
    };
    other("default", "value");
    other("elsewhere", "action");
    let nothing = Limits { max_entries: Some(0), ..Limits::default() };
    let trimmed = world.trim(nothing);
    assert_eq!((trimmed.evicted, trimmed.kept, trimmed.contents), (1, 0, 0));
    assert!(block_on(targets.is_cached(&build.target, &[], &[])));
    assert_eq!((world.names("value").len(), world.names("action").len()), (1, 1));
    // The target, and its last state.
    let trimmed = block_on(targets.trim(&nothing)).unwrap();
    assert_eq!((trimmed.evicted, trimmed.contents, world.names("outputs").len()), (2, 1, 0));
}

#[test]
fn content_without_a_record_may_be_under_way() {
    let world = World::new();
    world.record("a", "a");
    let item = block_on(world.store.list(
        &ListFilter { kind: Some("action".to_owned()), ..ListFilter::default() },
        None,
        10,
    ));
    block_on(world.store.remove(&item.unwrap().items[0].key)).unwrap();
    world.clock.advance(Duration::from_mins(59));
    assert_eq!(world.trim(Limits::default()).contents, 0);
    world.clock.advance(Duration::from_mins(2));
    assert_eq!((world.trim(Limits::default()).contents, world.names("outputs").len()), (1, 0));
}

#[test]
fn what_comes_out_differently_is_listed() {
    let world = World::new();
    assert_eq!(block_on(world.cache.nondeterministic()).unwrap(), []);
    for (target, runs) in [("stable", 1), ("twice", 2), ("thrice", 3)] {
        for run in 0..4 {
            world.record(target, &(run % runs).to_string());
        }
    }
    let found = block_on(world.cache.nondeterministic()).unwrap();
    let short: Vec<(String, usize, u64)> = found
        .iter()
        .map(|it| {
            let id: ActionId = it.name.parse().unwrap();
            (id.target().to_owned(), it.history.variants().len(), it.history.runs())
        })
        .collect();
    assert_eq!(short, [("thrice".to_owned(), 3, 4), ("twice".to_owned(), 2, 4)]);
    assert_eq!(world.cache.stats().differing, 6);
}

#[test]
fn look_ups_are_counted_by_kind() {
    let world = World::new();
    world.record("a", "a");
    assert_eq!(world.cache.stats().hit_ratio(), None);
    let test = ActionId::new("a", ActionKind::Test, Digest::blake3(b"cc")).unwrap();
    world.look_up("a").unwrap();
    world.look_up("x").unwrap_err();
    block_on(world.cache.look_up(&test, &ActionMetadata::default())).unwrap_err();
    let stats = world.cache.stats();
    let kinds: Vec<_> = stats.kinds.iter().map(|kind| (&*kind.kind, kind.hits, kind.misses)).collect();
    assert_eq!(kinds, [("compile", 1, 1), ("test", 0, 1)]);
    assert_eq!((stats.kinds[0].hit_ratio(), stats.hit_ratio()), (Some(0.5), Some(1.0 / 3.0)));
}
