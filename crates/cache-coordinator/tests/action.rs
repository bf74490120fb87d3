//! Actions are run again when, and only when, something that counts has changed.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cache_coordinator::action::{
    ActionCache, ActionId, ActionKind, ActionMetadata, ActionRequest, ActionRun, FileStates, Hit, Miss,
    RecordError, RestoreError,
};
use cache_core::{
    Anchor, Digest, Entry, EntryMeta, FileDependency, ManualClock, Namespace, OutputKind, PutMode, RelPath,
    Store, Timestamp, TreePath,
};
use cache_testkit::{Fault, FaultStore, Gate, MemoryStore, Operation, block_on};
use proptest::prelude::*;

struct World {
    dir: tempfile::TempDir,
    store: Arc<FaultStore<MemoryStore>>,
    cache: ActionCache,
}

fn path(text: &str) -> TreePath {
    TreePath { anchor: Anchor::Base, path: RelPath::new(text).unwrap() }
}

fn id(target: &str) -> ActionId {
    ActionId::new(target, ActionKind::Compile, Digest::blake3(b"cc")).unwrap()
}

fn metadata() -> ActionMetadata {
    ActionMetadata {
        flags: vec!["-O2".to_owned(), "-g".to_owned()],
        env: vec![("LANG".to_owned(), Some("C".to_owned())), ("CPATH".to_owned(), None)],
        tool: Some(Digest::blake3(b"cc 15")),
    }
}

/// Returns what knows nothing yet about the files at `base`, at a time when they are `settled` or not.
fn files(base: &Path, settled: bool) -> Arc<FileStates> {
    let age = if settled { Duration::from_hours(1) } else { Duration::ZERO };
    let clock = ManualClock::new(Timestamp::from(SystemTime::now()).plus(age));
    Arc::new(FileStates::with_clock(base, Arc::new(clock)).unwrap())
}

impl World {
    /// Returns a tree with `a.c`, `b.c` and `link.c`, a link to `a.c` where there are links.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(FaultStore::new(MemoryStore::new()));
        let cache = ActionCache::new(store.clone(), files(dir.path(), true), Namespace::default());
        let world = Self { dir, store, cache };
        world.write("a.c", "a");
        world.write("b.c", "b");
        world
    }

    /// Forgets all that is not in the store, as the next process has.
    fn restart(&mut self, settled: bool) {
        self.cache =
            ActionCache::new(self.store.clone(), files(self.dir.path(), settled), Namespace::default());
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs::write(self.at(name), content).unwrap();
    }

    fn content(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    fn snapshot(&self, inputs: &[&str]) -> Vec<FileDependency> {
        let paths: Vec<TreePath> = inputs.iter().map(|name| path(name)).collect();
        block_on(self.cache.files().snapshot(&paths)).unwrap()
    }

    fn run(&self, inputs: &[&str], outputs: &[&str]) -> ActionRun {
        ActionRun {
            inputs: self.snapshot(inputs),
            outputs: outputs.iter().map(|name| RelPath::new(*name).unwrap()).collect(),
            metadata: metadata(),
            success: true,
            cost_ms: 70,
        }
    }

    /// Runs the usual action: `out/x.o` and the program `out/bin/x` from `a.c`, `b.c`, and `c.h`, which is not there.
    fn execute(&self) {
        let run = self.run(&["a.c", "b.c", "c.h"], &["out"]);
        self.write("out/x.o", "object");
        self.write("out/bin/x", "program");
        #[cfg(unix)]
        fs::set_permissions(self.at("out/bin/x"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        block_on(self.cache.record(&id("t"), &run)).unwrap();
    }

    fn look_up(&self) -> Result<Hit, Miss> {
        block_on(self.cache.look_up(&id("t"), &metadata()))
    }

    fn misplaced(&self) -> Vec<String> {
        self.look_up().unwrap().misplaced().map(|output| output.path.to_string()).collect()
    }

    fn delete_blob(&self, content: &str) {
        assert!(block_on(self.store.delete(&Digest::blake3(content.as_bytes()))).unwrap());
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn what_did_not_change_is_a_hit_also_for_the_next_process() {
    let mut world = World::new();
    assert_eq!(world.look_up(), Err(Miss::Absent));
    world.execute();
    for _ in 0..2 {
        let hit = world.look_up().unwrap();
        assert!(hit.is_in_place() && hit.history().is_deterministic());
        assert_eq!((hit.outputs().len(), hit.cost_ms()), (2, 70));
        world.restart(true);
    }
    assert!(block_on(world.cache.is_cached(&id("t"), &metadata())));
    assert!(!block_on(world.cache.is_cached(&id("u"), &metadata())));
}

#[test]
fn every_change_of_an_input_has_its_reason() {
    type Change = fn(&World);
    let changes: [(Change, Miss); 6] = [
        (|world| world.write("a.c", "A"), Miss::InputChanged { path: path("a.c") }),
        (|world| world.write("b.c", "longer"), Miss::InputChanged { path: path("b.c") }),
        (|world| fs::remove_file(world.at("b.c")).unwrap(), Miss::InputRemoved { path: path("b.c") }),
        (|world| world.write("c.h", ""), Miss::InputAdded { path: path("c.h") }),
        (|world| fs::create_dir(world.at("c.h")).unwrap(), Miss::InputAdded { path: path("c.h") }),
        (
            |world| {
                fs::remove_file(world.at("a.c")).unwrap();
                fs::create_dir(world.at("a.c")).unwrap();
            },
            Miss::InputChanged { path: path("a.c") },
        ),
    ];
    for (change, reason) in changes {
        let world = World::new();
        world.execute();
        assert!(world.look_up().is_ok());
        change(&world);
        assert_eq!(world.look_up(), Err(reason.clone()));
        assert_eq!(world.cache.stats().misses.get(reason.name()), Some(&1));
    }
}

#[cfg(unix)]
#[test]
fn links_modes_and_odd_files_count() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    let world = World::new();
    symlink("a.c", world.at("link.c")).unwrap();
    let run = world.run(&["link.c", "b.c"], &[]);
    block_on(world.cache.record(&id("t"), &run)).unwrap();
    assert!(world.look_up().is_ok());

    world.write("a.c", "A");
    assert_eq!(world.look_up(), Err(Miss::InputChanged { path: path("link.c") }));
    world.write("a.c", "a");
    assert!(world.look_up().is_ok());
    fs::remove_file(world.at("a.c")).unwrap();
    assert_eq!(world.look_up(), Err(Miss::InputRemoved { path: path("link.c") }));
    world.write("a.c", "a");

    fs::set_permissions(world.at("b.c"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(world.look_up(), Err(Miss::InputChanged { path: path("b.c") }));
    fs::remove_file(world.at("b.c")).unwrap();
    let _socket = UnixListener::bind(world.at("b.c")).unwrap();
    let Err(Miss::InputUnreadable { path: at, why }) = world.look_up() else {
        panic!("a socket is no input")
    };
    assert!(at == path("b.c") && why.contains("FIFO, socket or device"), "{why}");
}

#[test]
fn every_change_of_the_metadata_has_its_reason() {
    let world = World::new();
    world.execute();
    let look_up = |change: fn(&mut ActionMetadata)| {
        let mut changed = metadata();
        change(&mut changed);
        block_on(world.cache.look_up(&id("t"), &changed)).err()
    };
    let env = |name: &str| Some(Miss::EnvironmentChanged { name: name.to_owned() });
    assert_eq!(look_up(|it| it.env.reverse()), None);
    assert_eq!(look_up(|it| it.flags.reverse()), Some(Miss::FlagsChanged));
    assert_eq!(look_up(|it| it.flags = vec!["-O2-g".to_owned()]), Some(Miss::FlagsChanged));
    assert_eq!(look_up(|it| it.tool = None), Some(Miss::ToolChanged));
    assert_eq!(look_up(|it| it.env[0].1 = Some("de".to_owned())), env("LANG"));
    assert_eq!(look_up(|it| it.env[1].1 = Some(String::new())), env("CPATH"));
    assert_eq!(look_up(|it| it.env.truncate(1)), env("CPATH"));
    assert_eq!(look_up(|it| it.env.push(("NEW".to_owned(), None))), env("NEW"));
}

#[test]
fn outputs_are_in_the_tree_or_in_the_store() {
    let mut world = World::new();
    world.execute();
    world.delete_blob("object");
    assert!(world.look_up().unwrap().is_in_place(), "the tree is enough");
    fs::remove_file(world.at("out/bin/x")).unwrap();
    assert_eq!(world.misplaced(), ["out/bin/x"]);
    world.write("out/bin/x", "somebody else's");
    assert_eq!(world.misplaced(), ["out/bin/x"]);
    world.write("out/x.o", "OBJECT");
    assert_eq!(world.look_up(), Err(Miss::OutputLost { path: path("out/x.o") }));
    world.restart(true);
    assert_eq!(world.look_up(), Err(Miss::OutputLost { path: path("out/x.o") }));

    let world = World::new();
    let cache = ActionCache::new(world.store.clone(), files(world.dir.path(), true), Namespace::default());
    let world = World { cache: cache.keep_outputs(false), ..world };
    world.execute();
    assert!(world.look_up().unwrap().is_in_place());
    assert_eq!(world.store.calls(Operation::Write), 0);
    fs::remove_dir_all(world.at("out")).unwrap();
    assert!(matches!(world.look_up(), Err(Miss::OutputLost { .. })));
}

#[test]
fn what_failed_runs_again() {
    let world = World::new();
    let run = ActionRun { success: false, ..world.run(&["a.c"], &["never-made"]) };
    block_on(world.cache.record(&id("t"), &run)).unwrap();
    assert_eq!(world.look_up(), Err(Miss::Failed));
    world.write("a.c", "fixed");
    assert_eq!(world.look_up(), Err(Miss::InputChanged { path: path("a.c") }));
}

#[cfg(unix)]
#[test]
fn a_file_is_read_only_if_its_stat_moved() {
    let mut world = World::new();
    world.execute();
    world.restart(true);
    let reads = |world: &World| {
        let before = world.cache.files().read();
        let hit = world.look_up();
        (hit.is_ok(), world.cache.files().read() - before)
    };
    // What a record says of its inputs is known; outputs had just been written, and are read once.
    assert_eq!(reads(&world), (true, 2));
    assert_eq!(reads(&world), (true, 0));
    // Written with the content that it had.
    world.write("a.c", "a");
    assert_eq!(reads(&world), (true, 1));
    assert_eq!(reads(&world), (true, 0));
    // Another content of the same length, with the old modification time.
    let modified = fs::metadata(world.at("a.c")).unwrap().modified().unwrap();
    world.write("a.c", "A");
    fs::File::open(world.at("a.c")).unwrap().set_modified(modified).unwrap();
    assert_eq!(reads(&world), (false, 1));
    // A file that was touched this moment may change again without a trace.
    world.write("a.c", "a");
    world.restart(false);
    assert!(reads(&world).1 > 0);
    assert!(reads(&world).1 > 0, "nothing is remembered of it");
}

#[test]
fn what_changed_while_it_was_used_is_not_recorded() {
    let world = World::new();
    world.execute();
    let run = world.run(&["a.c", "c.h"], &["a.c"]);
    world.write("a.c", "edited meanwhile");
    let error = block_on(world.cache.record(&id("t"), &run)).unwrap_err();
    assert!(
        matches!(&error, RecordError::InputChanged(Miss::InputChanged { path: at }) if *at == path("a.c"))
    );
    assert!(error.to_string().contains("a.c has changed"), "{error}");
    world.write("a.c", "a");
    assert_eq!(world.look_up().unwrap().outputs().len(), 2, "the old record stays");

    let run = world.run(&["a.c"], &["not-made"]);
    let error = block_on(world.cache.record(&id("t"), &run)).unwrap_err();
    assert!(matches!(error, RecordError::OutputMissing { .. }), "{error}");
}

#[test]
fn different_outputs_of_equal_runs_are_reported() {
    let world = World::new();
    let run = |stamp: &str| {
        let run = world.run(&["a.c"], &["out"]);
        world.write("out/x.o", "object");
        world.write("out/stamp", stamp);
        block_on(world.cache.record(&id("t"), &run)).unwrap()
    };
    let first = run("1");
    assert_eq!((first.history.runs(), &first.differing[..]), (1, &[][..]));
    assert_eq!(run("1").history.runs(), 2);
    let second = run("2");
    assert!(!second.history.is_deterministic());
    assert_eq!(second.differing, [RelPath::new("out/stamp").unwrap()]);
    let times: Vec<u64> = second.history.variants().iter().map(|variant| variant.times).collect();
    assert_eq!(times, [1, 2]);
    assert_eq!(second.history.variants()[0].outputs, second.outputs);
    assert_eq!(world.look_up().unwrap().history(), &second.history, "it is recorded");
    assert_eq!(world.look_up().unwrap().digest(), second.outputs);
    assert_eq!((world.cache.stats().recorded, world.cache.stats().differing), (3, 1));
    // With another input, another output is no wonder.
    world.write("a.c", "A");
    let other = run("3");
    assert_eq!((other.history.runs(), other.history.is_deterministic()), (1, true));
    assert!(other.differing.is_empty());
}

#[test]
fn outputs_come_back_with_their_modes() {
    let world = World::new();
    world.execute();
    fs::remove_dir_all(world.at("out")).unwrap();
    let hit = world.look_up().unwrap();
    assert_eq!(world.cache.stats().misplaced, 1);
    block_on(world.cache.restore(&hit)).unwrap();
    assert_eq!((world.content("out/x.o"), world.content("out/bin/x")), ("object".into(), "program".into()));
    assert!(world.look_up().unwrap().is_in_place());
    assert_eq!(world.names(), ["a.c", "b.c", "out"], "nothing temporary stays");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let executable = |name: &str| fs::metadata(world.at(name)).unwrap().permissions().mode() & 0o100 != 0;
        assert!(executable("out/bin/x") && !executable("out/x.o"));
    }
    assert_eq!(world.cache.stats().restored, 1);
}

#[test]
fn a_restore_is_whole_or_changes_nothing() {
    // A blob that is lost between the look-up and the restore, or damaged.
    for damaged in [false, true] {
        let world = World::new();
        world.execute();
        world.write("out/x.o", "mine");
        fs::remove_dir_all(world.at("out/bin")).unwrap();
        let hit = world.look_up().unwrap();
        if damaged {
            world.store.inject(Operation::Read, 1..=1, Fault::Flip(0));
        } else {
            world.delete_blob("object");
        }
        let error = block_on(world.cache.restore(&hit)).unwrap_err();
        assert!(matches!(error, RestoreError::Lost(_)), "{error}");
        assert_eq!((world.content("out/x.o"), world.at("out/bin").exists()), ("mine".into(), false));
        assert_eq!(world.names(), ["a.c", "b.c", "out"]);
    }
    // A directory in the place of a file.
    let world = World::new();
    world.execute();
    fs::remove_dir_all(world.at("out")).unwrap();
    world.write("out/x.o/precious", "");
    let error = block_on(world.cache.restore(&world.look_up().unwrap())).unwrap_err();
    assert!(matches!(error, RestoreError::Blocked { .. }), "{error}");
    assert!(!world.at("out/bin").exists() && world.at("out/x.o/precious").exists());
    assert_eq!(world.names(), ["a.c", "b.c", "out"]);
}

#[test]
fn what_was_placed_goes_back_when_the_rest_cannot_be() {
    let world = World::new();
    let run = world.run(&["a.c"], &["deep", "one", "two"]);
    world.write("deep/er/x", "1");
    world.write("one", "2");
    world.write("two", "3");
    block_on(world.cache.record(&id("t"), &run)).unwrap();
    fs::remove_dir_all(world.at("deep")).unwrap();
    world.write("one", "old");
    world.write("two", "old");
    let hit = world.look_up().unwrap();
    // When everything is fetched but the last, somebody puts a directory in its place.
    let gate = Gate::new();
    world.store.inject(Operation::Read, 2..=2, Fault::Wait(gate.clone()));
    let error = std::thread::scope(|scope| {
        let restore = scope.spawn(|| block_on(world.cache.restore(&hit)).unwrap_err());
        block_on(gate.arrived(1));
        fs::remove_file(world.at("two")).unwrap();
        world.write("two/x", "theirs");
        gate.open();
        restore.join().unwrap()
    });
    assert!(matches!(error, RestoreError::Blocked { .. }), "{error}");
    assert_eq!((world.content("one"), world.content("two/x")), ("old".into(), "theirs".into()));
    assert_eq!(world.names(), ["a.c", "b.c", "one", "two"], "nor is there a directory that was not");
}

#[cfg(unix)]
#[test]
fn nothing_is_written_through_links() {
    use std::os::unix::fs::symlink;
    let elsewhere = tempfile::tempdir().unwrap();
    let world = World::new();
    world.execute();
    fs::remove_dir_all(world.at("out")).unwrap();
    symlink(elsewhere.path(), world.at("out")).unwrap();
    let error = block_on(world.cache.restore(&world.look_up().unwrap())).unwrap_err();
    assert!(matches!(error, RestoreError::Blocked { .. }), "{error}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    // A link in the place of an output is replaced, and not what it leads to.
    fs::remove_file(world.at("out")).unwrap();
    fs::create_dir(world.at("out")).unwrap();
    fs::write(elsewhere.path().join("x"), "theirs").unwrap();
    symlink(elsewhere.path().join("x"), world.at("out/x.o")).unwrap();
    block_on(world.cache.restore(&world.look_up().unwrap())).unwrap();
    assert_eq!(fs::read_to_string(elsewhere.path().join("x")).unwrap(), "theirs");
    assert_eq!(world.content("out/x.o"), "object");
}

#[cfg(unix)]
#[test]
fn links_and_empty_directories_are_outputs() {
    use std::os::unix::fs::symlink;
    let world = World::new();
    let run = world.run(&["a.c"], &["out"]);
    fs::create_dir_all(world.at("out/empty")).unwrap();
    symlink("../nowhere", world.at("out/link")).unwrap();
    block_on(world.cache.record(&id("t"), &run)).unwrap();
    fs::remove_dir_all(world.at("out")).unwrap();
    assert_eq!(world.misplaced(), ["out/empty", "out/link"]);
    block_on(world.cache.restore(&world.look_up().unwrap())).unwrap();
    assert!(world.at("out/empty").is_dir() && world.look_up().unwrap().is_in_place());
    assert_eq!(fs::read_link(world.at("out/link")).unwrap(), Path::new("../nowhere"));
    fs::remove_file(world.at("out/link")).unwrap();
    symlink("../elsewhere", world.at("out/link")).unwrap();
    assert_eq!(world.misplaced(), ["out/link"]);
}

#[test]
fn actions_are_listed_and_forgotten() {
    let world = World::new();
    let main = id("app");
    let unit = id("app").with_sub_id("fn parse").unwrap();
    let link = ActionId::new("app", ActionKind::custom("x").unwrap(), Digest::blake3(b"")).unwrap();
    let other = id("app,x");
    for id in [&main, &unit, &link, &other, &id("ap")] {
        block_on(world.cache.record(id, &world.run(&["a.c"], &[]))).unwrap();
    }
    let list = |target: &str| block_on(world.cache.actions_for(target)).unwrap();
    let mut all = vec![main.clone(), unit.clone(), link.clone()];
    all.sort();
    assert_eq!(list("app"), all);
    assert_eq!(list("app,x"), [other]);
    assert!(block_on(world.cache.invalidate(&unit)).unwrap());
    assert!(!block_on(world.cache.invalidate(&unit)).unwrap());
    assert_eq!(block_on(world.cache.look_up(&unit, &metadata())), Err(Miss::Absent));
    assert!(block_on(world.cache.is_cached(&main, &metadata())));
    assert_eq!(list("app").len(), 2);
}

#[test]
fn a_store_in_trouble_makes_misses() {
    let world = World::new();
    world.execute();
    world.store.inject(Operation::Missing, .., Fault::unavailable());
    assert!(world.look_up().is_ok(), "nothing has to be fetched");
    fs::remove_file(world.at("out/x.o")).unwrap();
    assert!(matches!(world.look_up(), Err(Miss::StoreFailed { .. })));
    world.store.inject(Operation::GetMany, .., Fault::unavailable());
    assert!(matches!(world.look_up(), Err(Miss::StoreFailed { .. })));
}

#[test]
fn a_record_of_something_else_is_a_miss() {
    let world = World::new();
    world.execute();
    let entry = block_on(world.store.get(&id("t").key(&Namespace::default()))).unwrap().unwrap();
    let put = |entry: &Entry| {
        let _ = block_on(world.store.put(&id("t").key(&Namespace::default()), entry, PutMode::Overwrite))
            .unwrap();
        world.look_up().err()
    };
    assert_eq!(put(&entry), None);
    assert_eq!(put(&Entry { value: b"\x01?".to_vec().into(), ..entry.clone() }), Some(Miss::Unreadable));
    let meta = EntryMeta { name: id("u").to_string(), ..entry.meta.clone() };
    assert_eq!(put(&Entry { meta, ..entry }), Some(Miss::Unreadable));
}

#[test]
fn a_batch_looks_at_each_file_once() {
    const ACTIONS: usize = 150;
    const SOURCES: usize = 60;
    let mut world = World::new();
    for source in 0..SOURCES {
        world.write(&format!("src/{source}.c"), &source.to_string());
    }
    let mut requests = Vec::new();
    for action in 0..ACTIONS {
        let sources: Vec<String> = (0..20).map(|n| format!("src/{}.c", (action + n) % SOURCES)).collect();
        let inputs: Vec<&str> = sources.iter().map(String::as_str).collect();
        let output = format!("out/{action}.o");
        let run = world.run(&inputs, &[&output]);
        world.write(&output, &output);
        let id = id(&action.to_string());
        block_on(world.cache.record(&id, &run)).unwrap();
        requests.push(ActionRequest { id, metadata: metadata() });
    }
    requests.push(ActionRequest { id: id("never"), metadata: metadata() });
    world.restart(true);

    let calls = world.store.calls(Operation::GetMany);
    let report = block_on(world.cache.batch_validate(&requests));
    assert_eq!((report.hits, report.misplaced), (ACTIONS, 0));
    assert_eq!(report.misses.into_iter().collect::<Vec<_>>(), [("absent", 1)]);
    assert_eq!(report.results.last(), Some(&Err(Miss::Absent)));
    assert_eq!(world.store.calls(Operation::GetMany), calls + 1);
    // Sources and outputs; each of them costs one question to the file system.
    assert_eq!(report.paths, SOURCES + ACTIONS);
    assert_eq!(world.cache.files().looked_at(), (SOURCES + ACTIONS) as u64);

    world.write("src/7.c", "changed");
    fs::remove_file(world.at("out/100.o")).unwrap();
    let report = block_on(world.cache.batch_validate(&requests));
    for (action, result) in report.results.iter().take(ACTIONS).enumerate() {
        let uses_changed = (0..20).any(|n| (action + n) % SOURCES == 7);
        match result {
            Ok(hit) => assert!(!uses_changed && hit.is_in_place() == (action != 100), "{action}"),
            Err(miss) => {
                assert!(uses_changed, "{action}: {miss}");
                assert_eq!(*miss, Miss::InputChanged { path: path("src/7.c") });
            }
        }
    }
    assert_eq!(report.hits + report.misses.values().sum::<usize>(), ACTIONS + 1);
    assert_eq!(world.cache.stats().hits, (ACTIONS + report.hits) as u64);
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize, usize),
    Remove(usize),
    Execute(Vec<usize>),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize, 0..3_usize).prop_map(|(file, content)| Step::Write(file, content)),
        1 => (0..3_usize).prop_map(Step::Remove),
        2 => proptest::collection::vec(0..3_usize, 0..3).prop_map(Step::Execute),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is done to the tree, and however fast: a hit means that all inputs have the content that they had.
    #[test]
    fn a_hit_is_a_tree_like_that_of_the_execution(steps in proptest::collection::vec(step(), 1..25)) {
        let mut world = World::new();
        let mut executed: Option<Vec<(usize, Option<String>)>> = None;
        world.restart(false);
        for step in steps {
            let name = |file: usize| format!("f{file}");
            let state = |world: &World, file: usize| fs::read_to_string(world.at(&name(file))).ok();
            match step {
                // Contents of one length, so that only time stamps and content tell them apart.
                Step::Write(file, content) => world.write(&name(file), &content.to_string()),
                Step::Remove(file) => drop(fs::remove_file(world.at(&name(file)))),
                Step::Execute(inputs) => {
                    let names: Vec<String> = inputs.iter().map(|file| name(*file)).collect();
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    block_on(world.cache.record(&id("t"), &world.run(&names, &[]))).unwrap();
                    executed = Some(inputs.iter().map(|file| (*file, state(&world, *file))).collect());
                }
                Step::Restart => world.restart(false),
            }
            let same = executed.as_ref().is_some_and(|executed| {
                executed.iter().all(|(file, then)| state(&world, *file) == *then)
            });
            prop_assert_eq!(world.look_up().is_ok(), same);
        }
    }
}

#[test]
fn outputs_know_their_length_and_kind() {
    let world = World::new();
    world.execute();
    let hit = world.look_up().unwrap();
    let OutputKind::File { digest, len, .. } = hit.outputs()[1].kind else { panic!("it is a file") };
    assert_eq!((digest, len), (Digest::blake3(b"object"), 6));
}

#[test]
fn a_record_that_contradicts_itself_restores_nothing() {
    let world = World::new();
    let run = world.run(&["a.c"], &["aaaa", "bbbb"]);
    world.write("aaaa", "file");
    world.write("bbbb/c", "below");
    block_on(world.cache.record(&id("t"), &run)).unwrap();
    let key = id("t").key(&Namespace::default());
    let entry = block_on(world.store.get(&key)).unwrap().unwrap();
    let mut value = entry.value.to_vec();
    let at = value.windows(4).position(|window| window == b"bbbb").unwrap();
    value[at..at + 4].copy_from_slice(b"aaaa");
    let _ =
        block_on(world.store.put(&key, &Entry { value: value.into(), ..entry }, PutMode::Overwrite)).unwrap();
    fs::remove_file(world.at("aaaa")).unwrap();
    let error = block_on(world.cache.restore(&world.look_up().unwrap())).unwrap_err();
    assert!(matches!(error, RestoreError::Outside(_)), "{error}");
    assert!(!world.at("aaaa").exists());
}

#[test]
fn equal_contents_are_stored_once() {
    let world = World::new();
    let run = world.run(&["a.c"], &["one", "two"]);
    world.write("one", "same");
    world.write("two", "same");
    block_on(world.cache.record(&id("t"), &run)).unwrap();
    assert_eq!(world.store.calls(Operation::Write), 1);
}

#[cfg(unix)]
#[test]
fn a_program_that_cannot_be_executed_is_not_what_was_made() {
    let world = World::new();
    world.execute();
    fs::set_permissions(world.at("out/bin/x"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(world.misplaced(), ["out/bin/x"]);
}

#[test]
fn what_is_reused_is_in_place_afterwards_or_a_miss() {
    let world = World::new();
    let reuse = || block_on(world.cache.reuse(&id("t"), &metadata()));
    assert_eq!(reuse(), Err(Miss::Absent));
    world.execute();
    assert!(reuse().unwrap().is_in_place());
    fs::remove_file(world.at("out/bin/x")).unwrap();
    assert!(!reuse().unwrap().is_in_place(), "it tells what was found");
    assert_eq!(world.misplaced(), Vec::<String>::new());
    // Where an output belongs there is a directory with something that is not ours.
    fs::remove_file(world.at("out/bin/x")).unwrap();
    world.write("out/bin/x/mine", "mine");
    let Err(miss @ Miss::NotRestored { .. }) = reuse() else { panic!("it is in the way") };
    assert!(miss.to_string().contains("out/bin/x"), "{miss}");
    assert_eq!(fs::read(world.at("out/bin/x/mine")).unwrap(), b"mine");
    let stats = world.cache.stats();
    // One of the hits is the look-up in between.
    assert_eq!((stats.hits, stats.restored, stats.misses["not-restored"]), (3, 1, 1));
}
