//! Targets come back as they were made from the same sources, whole or not at all.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cache_coordinator::action::{ActionMetadata, FileStates, Hit, Miss, RecordError, Recording};
use cache_coordinator::target::{TargetBuild, TargetCache, TargetDep, TargetId, TargetRequest};
use cache_core::{Anchor, Digest, ManualClock, Namespace, RelPath, Store, Timestamp, TreePath};
use cache_testkit::{Fault, FaultStore, MemoryStore, Operation, block_on};

struct World {
    dir: tempfile::TempDir,
    store: Arc<FaultStore<MemoryStore>>,
    cache: TargetCache,
}

fn path(text: &str) -> TreePath {
    TreePath { anchor: Anchor::Base, path: RelPath::new(text).unwrap() }
}

fn paths(names: &[&str]) -> Vec<TreePath> {
    names.iter().map(|name| path(name)).collect()
}

fn id(name: &str) -> TargetId {
    TargetId::new(name).unwrap()
}

fn dep(name: &str, content: &str) -> TargetDep {
    TargetDep { target: id(name), outputs: Digest::blake3(content.as_bytes()) }
}

fn flags(flag: &str) -> ActionMetadata {
    ActionMetadata {
        flags: vec![flag.to_owned()],
        env: vec![("LANG".to_owned(), None)],
        tool: Some(Digest::blake3(b"cc")),
    }
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(FaultStore::new(MemoryStore::new()));
        let cache = Self::open(&dir, &store, flags("-O2"));
        let world = Self { dir, store, cache };
        world.write("a.c", "a");
        world.write("b.c", "b");
        world
    }

    fn open(
        dir: &tempfile::TempDir,
        store: &Arc<FaultStore<MemoryStore>>,
        metadata: ActionMetadata,
    ) -> TargetCache {
        let clock = ManualClock::new(Timestamp::from(SystemTime::now()).plus(Duration::from_hours(1)));
        let files = Arc::new(FileStates::with_clock(dir.path(), Arc::new(clock)).unwrap());
        TargetCache::new(store.clone(), files, Namespace::default(), metadata)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn content(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.dir.path().join(name)).ok()
    }

    /// Makes `out/<target>` with `content` from `sources` and `deps`.
    fn make(&self, target: &TargetId, sources: &[&str], deps: &[TargetDep], content: &str) -> Recording {
        let output = format!("out/{}", target.name());
        let sources = block_on(self.cache.files().snapshot(&paths(sources))).unwrap();
        self.write(&output, content);
        let outputs = vec![RelPath::new(output).unwrap()];
        let build = TargetBuild { target: target.clone(), sources, deps: deps.to_vec(), outputs, cost_ms: 9 };
        block_on(self.cache.update(&build)).unwrap()
    }

    fn is_cached(&self, target: &TargetId, sources: &[&str], deps: &[TargetDep]) -> Result<Hit, Miss> {
        block_on(self.cache.look_up(target, &paths(sources), deps))
    }
}

#[test]
fn each_state_of_the_sources_has_its_own_result() {
    let world = World::new();
    assert_eq!(world.is_cached(&id("x"), &["a.c"], &[]), Err(Miss::Absent));
    world.make(&id("x"), &["b.c", "a.c"], &[], "first");
    assert!(world.is_cached(&id("x"), &["a.c", "b.c"], &[]).unwrap().is_in_place());
    // Another branch, and back.
    world.write("a.c", "other");
    assert_eq!(
        world.is_cached(&id("x"), &["a.c", "b.c"], &[]),
        Err(Miss::InputChanged { path: path("a.c") })
    );
    world.make(&id("x"), &["a.c", "b.c"], &[], "second");
    world.write("a.c", "a");
    let hit = world.is_cached(&id("x"), &["a.c", "b.c"], &[]).unwrap();
    assert!(!hit.is_in_place());
    block_on(world.cache.restore(&hit)).unwrap();
    assert_eq!(world.content("out/x").unwrap(), "first");
    assert!(world.is_cached(&id("x"), &["a.c", "b.c"], &[]).unwrap().is_in_place());
    assert_eq!((world.cache.stats().hits, world.cache.stats().restored), (3, 1));
}

#[test]
fn every_miss_has_its_reason() {
    let world = World::new();
    let lib = dep("lib", "1");
    world.make(&id("x"), &["a.c", "b.c", "none.h"], std::slice::from_ref(&lib), "x");
    let miss = |sources: &[&str], deps: &[TargetDep]| world.is_cached(&id("x"), sources, deps).err();
    let all = ["a.c", "b.c", "none.h"];
    assert_eq!(miss(&all, std::slice::from_ref(&lib)), None);
    let changed = Some(Miss::DependencyChanged { target: "lib".to_owned() });
    assert_eq!(miss(&all, &[dep("lib", "2")]), changed);
    assert_eq!(miss(&all, &[]), changed);
    let new = Some(Miss::DependencyChanged { target: "more".to_owned() });
    assert_eq!(miss(&all, &[lib.clone(), dep("more", "1")]), new);
    let lib = [lib];
    assert_eq!(miss(&all[1..], &lib), Some(Miss::InputRemoved { path: path("a.c") }));
    world.write("c.c", "");
    assert_eq!(miss(&["a.c", "b.c", "c.c", "none.h"], &lib), Some(Miss::InputAdded { path: path("c.c") }));
    world.write("none.h", "");
    assert_eq!(miss(&all, &lib), Some(Miss::InputAdded { path: path("none.h") }));
    fs::remove_file(world.dir.path().join("none.h")).unwrap();
    fs::remove_file(world.dir.path().join("b.c")).unwrap();
    assert_eq!(miss(&all, &lib), Some(Miss::InputRemoved { path: path("b.c") }));
    world.write("b.c", "b");
    assert_eq!(miss(&all, &lib), None);
    for (metadata, reason) in [
        (flags("-O3"), Miss::FlagsChanged),
        (ActionMetadata { tool: None, ..flags("-O2") }, Miss::ToolChanged),
        (
            ActionMetadata { env: vec![], ..flags("-O2") },
            Miss::EnvironmentChanged { name: "LANG".to_owned() },
        ),
    ] {
        let cache = World::open(&world.dir, &world.store, metadata);
        assert_eq!(block_on(cache.look_up(&id("x"), &paths(&all), &lib)), Err(reason));
    }
}

#[test]
fn units_are_cached_one_by_one() {
    let world = World::new();
    let unit = |name: &str| id("x").with_sub_id(name).unwrap();
    world.make(&unit("fn a"), &["a.c"], &[], "a");
    assert!(world.is_cached(&unit("fn a"), &["a.c"], &[]).is_ok());
    assert_eq!(world.is_cached(&unit("fn b"), &["a.c"], &[]), Err(Miss::Absent));
    assert_eq!(world.is_cached(&id("x"), &["a.c"], &[]), Err(Miss::Absent));
    assert_eq!(world.is_cached(&id("x,fn%20a"), &["a.c"], &[]), Err(Miss::Absent));
}

#[test]
fn what_is_made_again_with_equal_outputs_changes_nothing_else() {
    let world = World::new();
    let lib = |recording: Recording| TargetDep { target: id("lib"), outputs: recording.outputs };
    let first = lib(world.make(&id("lib"), &["a.c"], &[], "lib"));
    world.make(&id("app"), &["b.c"], std::slice::from_ref(&first), "app");
    world.write("a.c", "a /* a comment */");
    let second = lib(world.make(&id("lib"), &["a.c"], &[], "lib"));
    assert!(world.is_cached(&id("app"), &["b.c"], &[second]).is_ok());
    let third = lib(world.make(&id("lib"), &["a.c"], &[], "new lib"));
    assert!(world.is_cached(&id("app"), &["b.c"], &[third]).is_err());
    // Made twice from equal sources, with different results.
    assert_eq!(world.cache.stats().differing, 1);
}

#[test]
fn what_is_lost_or_changed_meanwhile_is_no_hit() {
    let world = World::new();
    world.make(&id("x"), &["a.c"], &[], "x");
    world.write("out/x", "somebody else's");
    assert!(block_on(world.store.delete(&Digest::blake3(b"x"))).unwrap());
    let lost = Miss::OutputLost { path: path("out/x") };
    assert_eq!(world.is_cached(&id("x"), &["a.c"], &[]), Err(lost));

    let sources = block_on(world.cache.files().snapshot(&paths(&["a.c"]))).unwrap();
    world.write("a.c", "edited meanwhile");
    let build = TargetBuild { target: id("y"), sources, deps: vec![], outputs: vec![], cost_ms: 0 };
    let error = block_on(world.cache.update(&build)).unwrap_err();
    assert!(matches!(error, RecordError::InputChanged(_)), "{error}");
    world.store.inject(Operation::GetMany, .., Fault::unavailable());
    assert!(matches!(world.is_cached(&id("x"), &["a.c"], &[]), Err(Miss::StoreFailed { .. })));
}

#[test]
fn a_batch_looks_at_each_file_once() {
    const TARGETS: usize = 120;
    const SOURCES: usize = 50;
    let mut world = World::new();
    for source in 0..SOURCES {
        world.write(&format!("src/{source}.c"), &source.to_string());
    }
    let sources = |target: usize| -> Vec<String> {
        (0..20).map(|n| format!("src/{}.c", (target + n) % SOURCES)).collect()
    };
    let mut requests = Vec::new();
    for target in 0..TARGETS {
        let names = sources(target);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let id = id(&target.to_string());
        world.make(&id, &names, &[dep("lib", "1")], &format!("made {target}"));
        requests.push(TargetRequest { target: id, sources: paths(&names), deps: vec![dep("lib", "1")] });
    }
    // An unreadable source in the middle must not shift the answers: a name that is too long for any file system.
    let strange = path(&vec!["x"; 2000].join("/"));
    requests.insert(60, TargetRequest { sources: vec![strange], ..requests[60].clone() });
    world.cache = World::open(&world.dir, &world.store, flags("-O2"));

    let report = block_on(world.cache.batch_validate(&requests));
    assert_eq!(report.hits, TARGETS);
    assert_eq!(report.results.len(), TARGETS + 1);
    assert!(report.results[60].is_err());
    // Sources, outputs, and the strange one: each of them costs one question to the file system.
    assert_eq!(report.paths, SOURCES + TARGETS + 1);
    assert_eq!(world.cache.files().looked_at(), (SOURCES + TARGETS + 1) as u64);

    world.write("src/7.c", "changed");
    let report = block_on(world.cache.batch_validate(&requests));
    for (request, result) in requests.iter().zip(&report.results) {
        let changed = request.sources.contains(&path("src/7.c"));
        match result {
            Ok(hit) => {
                let output = format!("out/{}", request.target.name());
                assert!(!changed && hit.outputs()[0].path.to_string() == output, "{output}");
            }
            Err(Miss::InputChanged { path: at }) => assert!(changed && *at == path("src/7.c")),
            Err(_) => assert!(request.sources.len() == 1),
        }
    }
    assert_eq!(report.misses.get("input-changed"), Some(&48));
}

#[test]
fn each_state_of_what_is_not_a_file_has_its_own_result_as_well() {
    let world = World::new();
    let with = |outputs: &str| world.is_cached(&id("x"), &["a.c"], &[dep("lib", outputs)]);
    world.make(&id("x"), &["a.c"], &[dep("lib", "1")], "first");
    world.make(&id("x"), &["a.c"], &[dep("lib", "2")], "second");
    assert_eq!((with("1").unwrap().is_in_place(), with("2").unwrap().is_in_place()), (false, true));

    let other = World { cache: World::open(&world.dir, &world.store, flags("-O0")), ..world };
    other.make(&id("x"), &["a.c"], &[dep("lib", "1")], "third");
    let back = World::open(&other.dir, &other.store, flags("-O2"));
    assert!(block_on(back.is_cached(&id("x"), &paths(&["a.c"]), &[dep("lib", "1")])));
}

#[test]
fn what_is_made_from_what_was_made_is_looked_at_once() {
    let mut world = World::new();
    world.make(&id("gen.c"), &["a.c"], &[], "generated");
    world.make(&id("x"), &["out/gen.c"], &[], "x");
    world.cache = World::open(&world.dir, &world.store, flags("-O2"));
    let request = |target: &str, source: &str| TargetRequest {
        target: id(target),
        sources: paths(&[source]),
        deps: vec![],
    };
    let requests = [request("gen.c", "a.c"), request("x", "out/gen.c")];
    assert_eq!(block_on(world.cache.batch_validate(&requests)).hits, 2);
    assert_eq!(world.cache.files().looked_at(), 3);
}

#[test]
fn what_is_reused_is_in_place_afterwards() {
    let world = World::new();
    let reuse = |sources: &[&str]| block_on(world.cache.reuse(&id("x"), &paths(sources), &[]));
    world.make(&id("x"), &["a.c", "b.c"], &[], "x");
    fs::remove_file(world.dir.path().join("out/x")).unwrap();
    assert!(!reuse(&["a.c", "b.c"]).unwrap().is_in_place());
    assert_eq!(world.content("out/x").unwrap(), "x");
    assert!(reuse(&["b.c", "a.c", "b.c"]).unwrap().is_in_place(), "in any order");
    assert_eq!(reuse(&["a.c"]), Err(Miss::InputRemoved { path: path("b.c") }));
    assert_eq!(reuse(&["a.c", "b.c", "c.c"]), Err(Miss::InputAdded { path: path("c.c") }));
    assert!(block_on(world.cache.is_cached(&id("x"), &paths(&["a.c", "b.c"]), &[])));
    assert!(!block_on(world.cache.is_cached(&id("x"), &paths(&["a.c"]), &[])));
    let stats = world.cache.stats();
    assert_eq!((stats.hits, stats.restored, stats.misses["input-removed"]), (3, 1, 2));
}
