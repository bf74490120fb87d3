//! Results are served when, and only when, what they were computed from is as it was.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cache_coordinator::action::FileStates;
use cache_coordinator::live::{
    Absence, Durability, Found, Invalidation, LiveCache, LiveEntry, Lookup, PersistError, Persisted, Rebuilt,
    Upstream, Validation,
};
use cache_core::{
    Anchor, Digest, Entry, EntryMeta, Key, ListFilter, ManualClock, Namespace, PutMode, RelPath, Store,
    Timestamp, TreePath,
};
use cache_testkit::{Fault, FaultStore, MemoryStore, Operation, block_on};

struct World {
    dir: tempfile::TempDir,
    store: Arc<FaultStore<MemoryStore>>,
    live: LiveCache,
}

/// Returns what knows nothing yet about the files at `base`, at a time when they are settled.
fn files(base: &Path) -> Arc<FileStates> {
    let clock = ManualClock::new(Timestamp::from(SystemTime::now()).plus(Duration::from_hours(1)));
    Arc::new(FileStates::with_clock(base, Arc::new(clock)).unwrap())
}

fn key(name: &str) -> Key {
    Key::from_bytes(*Digest::blake3(name.as_bytes()).as_bytes())
}

fn path(text: &str) -> TreePath {
    TreePath { anchor: Anchor::Base, path: RelPath::new(text).unwrap() }
}

fn changed(text: &str) -> Lookup {
    Lookup::Invalidated(Invalidation::FileChanged { path: path(text) })
}

fn upstream_invalid(name: &str) -> Lookup {
    Lookup::Invalidated(Invalidation::UpstreamInvalid { key: key(name) })
}

const ABSENT: Lookup = Lookup::Miss(Absence::Absent);

impl World {
    /// Returns a tree with the files `a` to `d`, which hold their names.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(FaultStore::new(MemoryStore::new()));
        for name in ["a", "b", "c", "d"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let live = block_on(LiveCache::open(store.clone(), files(dir.path()), Namespace::default()));
        Self { dir, store, live }
    }

    /// Forgets all that is not in the store, as the next process has.
    fn restart(&mut self) {
        self.live =
            block_on(LiveCache::open(self.store.clone(), files(self.dir.path()), Namespace::default()));
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn entry(&self, name: &str, roots: &[&str], upstreams: &[Upstream]) -> LiveEntry {
        LiveEntry {
            file_roots: block_on(self.live.snapshot(roots)).unwrap(),
            upstreams: upstreams.to_vec(),
            ..LiveEntry::new("test", format!("result of {name}"))
        }
    }

    /// Persists an entry with its own name as key, and `result of` it as result.
    fn persist(&self, name: &str, roots: &[&str], upstreams: &[Upstream]) -> Upstream {
        self.persist_entry(name, self.entry(name, roots, upstreams)).upstream
    }

    fn persist_entry(&self, name: &str, entry: LiveEntry) -> Persisted {
        block_on(self.live.persist_entry(&key(name), entry)).unwrap()
    }

    /// Persists `one` from the file `a`, `two` from `one` and `b`, and `three` from `two`.
    fn chain(&self) {
        let one = self.persist("one", &["a"], &[]);
        let two = self.persist("two", &["b"], &[one]);
        self.persist("three", &[], &[two]);
    }

    fn look_up(&self, name: &str) -> Lookup {
        block_on(self.live.look_up(&key(name)))
    }

    fn revalidate(&self, name: &str) -> Lookup {
        block_on(self.live.look_up_revalidate(&key(name)))
    }

    fn hits(&self, names: &[&str]) {
        for name in names {
            for lookup in [self.look_up(name), self.revalidate(name)] {
                let found = lookup.clone().hit().unwrap_or_else(|| panic!("{name}: {lookup:?}"));
                assert_eq!(found.bytes, format!("result of {name}"), "{name}");
            }
        }
    }

    fn is_stored(&self, name: &str) -> bool {
        block_on(self.store.inner().get(&key(name))).unwrap().is_some()
    }

    fn looked_at(&self) -> u64 {
        self.live.files().looked_at()
    }
}

#[test]
fn an_entry_comes_back_as_it_was_persisted() {
    let world = World::new();
    assert_eq!(world.look_up("one"), ABSENT);
    let persisted = block_on(world.live.persist(&key("one"), "bytes", "symbols", Vec::new())).unwrap();
    assert!(!persisted.unchanged);
    let Lookup::Hit(Found { bytes, kind, upstream, .. }) = world.look_up("one") else { panic!() };
    assert_eq!((&bytes[..], kind.as_str(), upstream), (&b"bytes"[..], "symbols", persisted.upstream));
    assert_eq!(upstream, Upstream::new(key("one"), b"bytes"));
    assert_eq!(world.revalidate("two"), ABSENT);
    let stats = world.live.stats();
    assert_eq!((stats.hits, stats.persisted, stats.misses["absent"]), (1, 1, 2));
}

#[test]
fn kinds_and_entries_are_counted() {
    let mut world = World::new();
    for (name, kind) in [("one", "symbols"), ("two", "types"), ("three", "types")] {
        block_on(world.live.persist(&key(name), name, kind, Vec::new())).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(world.live.known_kinds().into_iter().collect::<Vec<_>>(), ["symbols", "types"]);
        assert_eq!(world.live.entry_count(), 3);
        world.restart();
    }
    block_on(world.live.persist(&key("one"), "x", "types", Vec::new())).unwrap();
    assert_eq!(world.live.known_kinds().into_iter().collect::<Vec<_>>(), ["types"]);
    assert!(block_on(world.live.invalidate(&key("two"))).unwrap());
    assert!(!block_on(world.live.invalidate(&key("two"))).unwrap());
    assert_eq!(world.live.entry_count(), 2);
    // Entries that are only named by others are none, and other kinds of caches have others.
    world.persist("four", &[], &[Upstream::new(key("nobody"), b"")]);
    let action = EntryMeta { kind: "action".to_owned(), ..EntryMeta::default() };
    let _ = block_on(world.store.put(
        &key("action"),
        &Entry { meta: action, ..Entry::default() },
        PutMode::Overwrite,
    ))
    .unwrap();
    world.restart();
    assert_eq!(world.live.entry_count(), 3);
    assert_eq!(world.look_up("action"), Lookup::Miss(Absence::Unreadable));
}

#[test]
fn what_is_fresh_is_served_without_a_look_at_files() {
    let world = World::new();
    world.chain();
    let before = world.looked_at();
    world.write("a", "edited");
    assert!(world.look_up("three").is_hit(), "nobody reported it");
    assert_eq!(world.looked_at(), before);
    assert_eq!(world.revalidate("three"), upstream_invalid("two"));
    assert_eq!(world.look_up("one"), changed("a"));
}

#[test]
fn an_edit_is_found_by_revalidation_and_drops_the_entry() {
    let world = World::new();
    world.chain();
    world.hits(&["one", "two", "three"]);
    world.write("b", "edited");
    assert!(world.revalidate("one").is_hit());
    assert_eq!(world.revalidate("two"), changed("b"));
    assert_eq!(world.revalidate("two"), changed("b"), "the reason is remembered");
    assert!(!world.is_stored("two"));
    assert!(world.is_stored("three"), "it may be right again");
    assert_eq!(world.revalidate("three"), upstream_invalid("two"));
    world.write("b", "b");
    assert_eq!(world.revalidate("two"), changed("b"), "it was dropped");
    assert_eq!(world.live.stats().invalidated, 1);
}

#[test]
fn files_that_come_and_go_are_changes() {
    let world = World::new();
    world.persist("one", &["a", "not/yet"], &[]);
    world.persist("two", &["b"], &[]);
    world.hits(&["one", "two"]);
    world.write("not/yet", "");
    fs::remove_file(world.dir.path().join("b")).unwrap();
    assert_eq!(
        world.revalidate("one"),
        Lookup::Invalidated(Invalidation::FileAdded { path: path("not/yet") })
    );
    assert_eq!(world.revalidate("two"), Lookup::Invalidated(Invalidation::FileRemoved { path: path("b") }));
}

#[test]
fn an_equal_result_stops_the_cascade() {
    let world = World::new();
    world.chain();
    world.write("a", "a // a comment");
    assert_eq!(block_on(world.live.invalidate_path("a")).unwrap(), 1);
    assert_eq!(world.look_up("three"), upstream_invalid("two"));
    assert_eq!(world.look_up("two"), upstream_invalid("one"));
    let persisted = world.persist_entry("one", world.entry("one", &["a"], &[]));
    assert!(persisted.unchanged);
    world.hits(&["one", "two", "three"]);
    assert_eq!(world.live.stats().cut_offs, 2);

    // Another result goes on to the next level, and stops there if that has an equal one.
    world.write("a", "something else");
    assert_eq!(world.revalidate("one"), changed("a"));
    let one = LiveEntry { bytes: "other".into(), ..world.entry("one", &["a"], &[]) };
    let one = world.persist_entry("one", one);
    assert!(!one.unchanged);
    assert_eq!(world.look_up("three"), upstream_invalid("two"));
    assert_eq!(world.look_up("two"), Lookup::Invalidated(Invalidation::UpstreamChanged { key: key("one") }));
    assert!(!world.is_stored("two"));
    world.persist("two", &["b"], &[one.upstream]);
    world.hits(&["two", "three"]);
}

#[test]
fn a_result_may_come_back_while_it_is_not_known() {
    let world = World::new();
    world.chain();
    let other = LiveEntry { bytes: "other".into(), ..world.entry("one", &["a"], &[]) };
    world.persist_entry("one", other);
    // `two` used another result, but there is none that is right at the moment.
    world.write("a", "edited");
    assert_eq!(
        world.revalidate("two"),
        Lookup::Invalidated(Invalidation::UpstreamInvalid { key: key("one") })
    );
    assert!(world.is_stored("two"));
    let one = world.persist("one", &["a"], &[]);
    world.hits(&["one", "two", "three"]);

    // `three` used another result of `two`, and `two` one of `one`: only `two` is certainly wrong.
    world.persist_entry("two", LiveEntry { bytes: "other".into(), ..world.entry("two", &["b"], &[one]) });
    let other = LiveEntry { bytes: "other".into(), ..world.entry("one", &["a"], &[]) };
    let other = world.persist_entry("one", other).upstream;
    assert!(!world.revalidate("three").is_hit());
    assert!(world.is_stored("three") && !world.is_stored("two"));
    world.persist("two", &["b"], &[other]);
    assert!(world.revalidate("three").is_hit());
}

#[test]
fn a_result_that_is_used_while_it_is_replaced_is_not_mistaken() {
    let world = World::new();
    let one = world.persist("one", &["a"], &[]);
    // `two` is computed from the first result, and `one` has another one before it is done.
    world.write("a", "edited");
    let other = LiveEntry { bytes: "other".into(), ..world.entry("one", &["a"], &[]) };
    world.persist_entry("one", other);
    world.persist("two", &["b"], &[one]);
    assert_eq!(world.look_up("two"), Lookup::Invalidated(Invalidation::UpstreamChanged { key: key("one") }));
}

#[test]
fn persisting_again_with_another_result_puts_dependants_in_doubt() {
    let world = World::new();
    world.chain();
    world.hits(&["three"]);
    let other = LiveEntry { bytes: "other".into(), ..world.entry("one", &["a"], &[]) };
    world.persist_entry("one", other);
    assert_eq!(world.look_up("three"), upstream_invalid("two"));
    // And the same result does not.
    let world = World::new();
    world.chain();
    let looked_at = world.looked_at();
    world.persist("one", &["a"], &[]);
    let after = world.looked_at();
    assert!(after > looked_at);
    assert!(world.look_up("three").is_hit());
    assert_eq!(world.looked_at(), after);
}

#[test]
fn entries_that_depend_on_each_other_are_valid_together() {
    let mut world = World::new();
    // Computed together, so each names the other's result before it is persisted.
    let names = ["one", "two", "three"];
    let upstream = |name: &str| Upstream::new(key(name), format!("result of {name}").as_bytes());
    world.persist("one", &["a"], &[upstream("three")]);
    assert_eq!(world.look_up("one"), upstream_invalid("three"));
    world.persist("two", &["b"], &[upstream("one")]);
    world.persist("three", &["c"], &[upstream("two")]);
    world.hits(&names);
    world.restart();
    world.hits(&names);
    world.write("b", "edited");
    assert_eq!(world.revalidate("one"), upstream_invalid("three"));
    assert_eq!(world.revalidate("three"), upstream_invalid("two"));
    assert_eq!(world.look_up("two"), changed("b"));
    // Another result of one of them puts all of them in doubt, that one too.
    let world = World::new();
    world.persist("one", &[], &[upstream("two")]);
    world.persist("two", &[], &[upstream("one")]);
    world.hits(&["one", "two"]);
    world.persist_entry(
        "two",
        LiveEntry { bytes: "other".into(), ..world.entry("two", &[], &[upstream("one")]) },
    );
    assert_eq!(world.look_up("two"), upstream_invalid("one"));
    // One that depends on itself.
    world.persist("self", &["a"], &[upstream("self")]);
    world.hits(&["self"]);
    assert_eq!(block_on(world.live.invalidate_upstream(&key("self"))).unwrap(), 1);
    assert_eq!(
        world.look_up("self"),
        Lookup::Invalidated(Invalidation::UpstreamReported { key: key("self") })
    );
}

#[test]
fn invalidate_upstream_drops_all_that_depends_each_once() {
    let mut world = World::new();
    let upstream = |name: &str| Upstream::new(key(name), format!("result of {name}").as_bytes());
    world.persist("one", &["a"], &[]);
    for (name, from) in [("left", "one"), ("right", "one"), ("end", "left"), ("other", "nobody")] {
        world.persist(name, &[], &[upstream(from)]);
    }
    world.persist("end", &[], &[upstream("left"), upstream("right"), upstream("left")]);
    world.persist("left", &[], &[upstream("one"), upstream("end")]);
    world.hits(&["one", "left", "right", "end"]);
    assert_eq!(block_on(world.live.invalidate_upstream(&key("one"))).unwrap(), 3);
    for name in ["left", "right", "end"] {
        let why = Invalidation::UpstreamReported { key: key("one") };
        assert_eq!(world.look_up(name), Lookup::Invalidated(why), "{name}");
        assert!(!world.is_stored(name));
    }
    world.hits(&["one"]);
    assert_eq!((world.live.stats().invalidated, world.live.entry_count()), (3, 2));
    // A key that only others know.
    assert_eq!(block_on(world.live.invalidate_upstream(&key("nobody"))).unwrap(), 1);
    assert_eq!(block_on(world.live.invalidate_upstream(&key("unheard of"))).unwrap(), 0);
    world.restart();
    assert_eq!(
        (world.look_up("left"), world.look_up("other"), world.live.entry_count()),
        (ABSENT, ABSENT, 1)
    );
}

#[test]
fn mark_dirty_asks_for_a_check() {
    let world = World::new();
    world.chain();
    world.write("a", "edited");
    assert!(world.live.mark_dirty(&key("two")));
    assert_eq!(
        world.look_up("three"),
        Lookup::Hit(world.look_up("three").hit().unwrap()),
        "nobody reported `one`"
    );
    assert!(world.live.mark_dirty(&key("one")));
    assert!(!world.live.mark_dirty(&key("nobody")));
    assert_eq!(world.look_up("three"), upstream_invalid("two"));
    assert_eq!(world.look_up("one"), changed("a"));
    // What has not changed is right after the check, and needs no other.
    world.persist("four", &["c"], &[]);
    world.live.mark_dirty(&key("four"));
    let before = world.looked_at();
    assert!(world.look_up("four").is_hit());
    assert_eq!(world.looked_at(), before + 1);
    assert!(world.look_up("four").is_hit());
    assert_eq!(world.looked_at(), before + 1);
}

#[test]
fn paths_are_the_same_however_they_are_written() {
    let world = World::new();
    world.write("src/deep/x", "x");
    let absolute = world.dir.path().join("src/deep/x");
    for report in ["src/deep/x", "./src//deep/../deep/x", "src/deep", "src", ".", "", "nowhere/../src"] {
        world.persist("one", &["src/deep/x"], &[]);
        world.persist("beside", &["a"], &[]);
        assert!(block_on(world.live.invalidate_path(report)).unwrap() > 0, "{report}");
        assert_eq!(world.look_up("one"), Lookup::Invalidated(Invalidation::PathReported), "{report}");
        assert_eq!(world.look_up("beside").is_hit(), !matches!(report, "." | ""), "{report}");
    }
    world.persist("one", &["./src/nowhere/../deep/x"], &[]);
    for report in [absolute.as_path(), Path::new("/"), world.dir.path(), world.dir.path().parent().unwrap()] {
        assert!(block_on(world.live.invalidate_path(report)).unwrap() > 0, "{}", report.display());
        world.persist("one", &["src/deep/x"], &[]);
    }
    for report in ["src/deep/x/y", "src/de", "src/deep/xx", "deep", "b"] {
        assert_eq!(block_on(world.live.invalidate_path(report)).unwrap(), 0, "{report}");
    }
    world.hits(&["one"]);
}

#[cfg(unix)]
#[test]
fn a_file_is_found_through_the_links_to_it() {
    use std::os::unix::fs::symlink;
    let mut world = World::new();
    world.write("real/x", "x");
    symlink("real", world.dir.path().join("dir")).unwrap();
    symlink("dir/x", world.dir.path().join("link")).unwrap();
    for restart in [false, true] {
        for report in ["link", "dir", "dir/x", "real/x", "real"] {
            world.persist("one", &["link"], &[]);
            if restart {
                world.restart();
            }
            world.hits(&["one"]);
            assert_eq!(block_on(world.live.invalidate_path(report)).unwrap(), 1, "{report}");
        }
        // And by a name that the entry does not give it.
        world.persist("one", &["real/x"], &[]);
        assert_eq!(block_on(world.live.invalidate_path("link")).unwrap(), 1);
    }
    // A link that is turned elsewhere is another file.
    world.persist("one", &["link"], &[]);
    fs::remove_file(world.dir.path().join("link")).unwrap();
    symlink("a", world.dir.path().join("link")).unwrap();
    assert_eq!(world.revalidate("one"), changed("link"));
    // Files elsewhere have absolute names.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("x"), "").unwrap();
    let file = elsewhere.path().join("x");
    world.persist("two", &[file.to_str().unwrap()], &[]);
    world.hits(&["two"]);
    assert_eq!(block_on(world.live.invalidate_path(elsewhere.path())).unwrap(), 1);
}

#[test]
fn invalidate_path_visits_what_it_drops() {
    let world = World::new();
    world.write("dir/hot", "");
    for number in 0..2000 {
        let roots: &[&str] = if number % 100 == 0 { &["dir/hot", "a"] } else { &["a", "b"] };
        world.persist(&number.to_string(), roots, &[]);
    }
    let before = world.live.stats();
    assert_eq!(block_on(world.live.invalidate_path("dir")).unwrap(), 20);
    let after = world.live.stats();
    assert_eq!(after.invalidated - before.invalidated, 20);
    assert!(after.visited - before.visited < 50, "{}", after.visited - before.visited);
}

#[test]
fn dropping_survives_the_process() {
    let mut world = World::new();
    world.chain();
    block_on(world.live.invalidate_path("a")).unwrap();
    world.restart();
    assert_eq!(world.look_up("one"), ABSENT);
    assert_eq!(world.look_up("two"), upstream_invalid("one"));
    assert_eq!(world.look_up("three"), upstream_invalid("two"));
    // And so does the cut-off.
    world.persist("one", &["a"], &[]);
    world.hits(&["one", "two", "three"]);
    world.restart();
    world.hits(&["one", "two", "three"]);
}

#[test]
fn what_changed_while_no_process_ran_is_found_by_either_look_up() {
    let mut world = World::new();
    world.chain();
    world.write("a", "edited");
    world.restart();
    assert_eq!(world.look_up("three"), upstream_invalid("two"));
    assert_eq!(world.look_up("one"), changed("a"));
    let mut world = World::new();
    world.chain();
    world.write("b", "edited");
    world.restart();
    assert_eq!(world.revalidate("three"), upstream_invalid("two"));
    // An entry that was found valid is not checked by the second look-up.
    assert!(world.look_up("one").is_hit());
    let before = world.looked_at();
    assert!(world.look_up("one").is_hit());
    assert_eq!(world.looked_at(), before);
}

#[test]
fn removals_that_fail_are_made_up_for() {
    let world = World::new();
    world.chain();
    world.store.inject(Operation::Remove, 0..3, Fault::unavailable());
    assert!(block_on(world.live.invalidate(&key("one"))).is_err());
    assert!(world.is_stored("one"));
    assert_eq!(
        world.look_up("one"),
        Lookup::Invalidated(Invalidation::Dropped),
        "it is not served all the same"
    );
    assert_eq!(world.look_up("two"), upstream_invalid("one"), "and does not come back as an upstream");
    assert_eq!(world.live.stats().removals_waiting, 1);
    assert!(block_on(world.live.flush()).is_err());
    block_on(world.live.close()).unwrap();
    block_on(world.live.close()).unwrap();
    assert!(!world.is_stored("one"));
    assert_eq!(world.live.stats().removals_waiting, 0);
    // What is persisted again before the removal is not removed.
    world.persist("one", &["a"], &[]);
    let calls = world.store.calls(Operation::Remove);
    world.store.inject(Operation::Remove, calls..=calls, Fault::unavailable());
    assert!(block_on(world.live.invalidate(&key("one"))).is_err());
    world.persist("one", &["a"], &[]);
    block_on(world.live.flush()).unwrap();
    world.hits(&["one"]);
}

#[test]
fn touched_files_have_changed_by_mtime_only() {
    let world = World::new();
    for (name, validation) in [("content", Validation::Content), ("mtime", Validation::Mtime)] {
        let entry = LiveEntry { validation, ..world.entry(name, &["a"], &[]) };
        world.persist_entry(name, entry);
    }
    world.hits(&["content", "mtime"]);
    let read = world.live.files().read();
    let touched = SystemTime::now() - Duration::from_mins(1);
    fs::File::options().write(true).open(world.dir.path().join("a")).unwrap().set_modified(touched).unwrap();
    assert_eq!(world.revalidate("mtime"), changed("a"));
    assert_eq!(world.live.files().read(), read, "nothing is read for that");
    assert!(world.revalidate("content").is_hit());
    let entry = LiveEntry { validation: Validation::Mtime, ..world.entry("gone", &["b"], &[]) };
    world.persist_entry("gone", entry);
    fs::remove_file(world.dir.path().join("b")).unwrap();
    assert_eq!(world.revalidate("gone"), Lookup::Invalidated(Invalidation::FileRemoved { path: path("b") }));
}

#[test]
fn files_that_have_not_settled_are_checked_by_content() {
    let mut world = World::new();
    let live = block_on(LiveCache::open(
        world.store.clone(),
        Arc::new(FileStates::new(world.dir.path()).unwrap()),
        Namespace::default(),
    ));
    world.live = live;
    let entry = LiveEntry { validation: Validation::Mtime, ..world.entry("one", &["a"], &[]) };
    assert_eq!(entry.file_roots[0].stat, None);
    world.persist_entry("one", entry);
    world.write("a", "a");
    assert!(world.revalidate("one").is_hit());
    world.write("a", "b");
    assert_eq!(world.revalidate("one"), changed("a"));
}

#[test]
fn by_dependencies_files_count_once_and_when_reported() {
    let mut world = World::new();
    let entry = |world: &World| LiveEntry {
        validation: Validation::Dependencies,
        ..world.entry("two", &["b"], &[Upstream::new(key("one"), b"result of one")])
    };
    world.persist("one", &["a"], &[]);
    world.persist_entry("two", entry(&world));
    world.write("b", "edited");
    assert!(world.revalidate("two").is_hit(), "nobody reported it");
    world.write("a", "edited");
    assert_eq!(world.revalidate("two"), upstream_invalid("one"));
    world.write("a", "a");
    world.persist("one", &["a"], &[]);
    assert_eq!(world.revalidate("two"), changed("b"), "it was in doubt");
    world.persist_entry("two", entry(&world));
    world.write("b", "b");
    assert_eq!(world.live.mark_path_dirty("b"), 1);
    assert_eq!(world.look_up("two"), changed("b"));
    world.persist_entry("two", entry(&world));
    world.write("b", "once more");
    world.restart();
    assert_eq!(world.revalidate("two"), changed("b"), "once in each process");
}

#[test]
fn what_is_durable_is_not_checked_again() {
    let mut world = World::new();
    let durable = |world: &World, name: &str, durability, roots: &[&str], upstreams: &[Upstream]| {
        let entry = LiveEntry { durability, ..world.entry(name, roots, upstreams) };
        world.persist_entry(name, entry).upstream
    };
    let core = durable(&world, "core", Durability::Toolchain, &["a"], &[]);
    let library = durable(&world, "library", Durability::Vendored, &["b"], &[core]);
    let glue = world.persist("glue", &[], &[library]);
    let main = world.persist("main", &["c"], &[glue]);
    world.persist("program", &[], &[main, core]);
    let names = ["core", "library", "glue", "main", "program"];

    for restart in [false, true] {
        if restart {
            world.restart();
            for name in names {
                assert!(world.revalidate(name).is_hit(), "{name}");
            }
        }
        let checked = |name: &str| {
            let before = world.live.stats();
            assert!(world.revalidate(name).is_hit(), "{name}");
            let after = world.live.stats();
            (
                after.files_checked - before.files_checked,
                after.skipped_by_durability - before.skipped_by_durability,
            )
        };
        assert_eq!(names.map(checked), [(0, 1), (0, 1), (0, 1), (1, 1), (1, 2)]);
        // What somebody edits does not concern the others.
        world.live.mark_path_dirty("c");
        world.live.report_durability(Durability::Workspace);
        assert_eq!(names.map(checked), [(0, 1), (0, 1), (0, 1), (1, 1), (1, 2)]);
        world.live.report_durability(Durability::Vendored);
        assert_eq!(names.map(checked), [(0, 1), (1, 1), (0, 1), (1, 1), (1, 2)]);
        world.live.report_durability(Durability::Toolchain);
        assert_eq!(checked("program"), (3, 0));
        world.live.mark_path_dirty("b");
        assert_eq!(names.map(checked), [(0, 1), (1, 1), (0, 1), (1, 1), (1, 2)]);
    }
    world.write("b", "updated");
    assert!(world.revalidate("program").is_hit(), "nobody reported it");
    world.live.report_durability(Durability::Vendored);
    assert_eq!(world.revalidate("program"), upstream_invalid("main"));
    assert_eq!(world.look_up("library"), changed("b"));
    assert!(world.revalidate("core").is_hit());
}

#[test]
fn durability_does_not_depend_on_the_order_of_a_listing() {
    let mut world = World::new();
    let keys = [1, 2, 3].map(|byte| Key::from_bytes([byte; 32]));
    for (from, to) in [(0, 1), (1, 0), (2, 0), (0, 2)] {
        let entry = |roots: &[&str], upstreams: &[Upstream]| LiveEntry {
            durability: Durability::Vendored,
            ..world.entry("x", roots, upstreams)
        };
        let upstream = block_on(world.live.persist_entry(&keys[from], entry(&["a"], &[]))).unwrap().upstream;
        block_on(world.live.persist_entry(&keys[to], entry(&["b"], &[upstream]))).unwrap();
        world.restart();
        assert!(block_on(world.live.look_up(&keys[to])).is_hit());
        let before = world.looked_at();
        assert!(block_on(world.live.look_up_revalidate(&keys[to])).is_hit());
        assert_eq!(world.looked_at(), before, "{from} {to}");
    }
}

#[test]
fn what_becomes_less_durable_makes_others_so() {
    let world = World::new();
    let vendored = |name: &str, roots: &[&str], upstreams: &[Upstream], durability| {
        let entry = LiveEntry { durability, ..world.entry(name, roots, upstreams) };
        world.persist_entry(name, entry).upstream
    };
    let one = vendored("one", &["a"], &[], Durability::Vendored);
    let two = vendored("two", &["b"], &[one], Durability::Vendored);
    world.persist("three", &["c"], &[two]);
    world.hits(&["one", "two", "three"]);
    world.live.report_durability(Durability::Workspace);
    assert!(world.revalidate("three").is_hit());
    vendored("one", &["a"], &[], Durability::Workspace);
    world.write("a", "edited");
    assert_eq!(world.revalidate("two"), upstream_invalid("one"));
    assert_eq!(world.look_up("three"), upstream_invalid("two"));
}

#[test]
fn a_file_that_changes_during_the_computation_is_refused() {
    let world = World::new();
    world.persist("one", &["a"], &[]);
    let entry = world.entry("one", &["a"], &[]);
    world.write("a", "edited meanwhile");
    let refused = block_on(world.live.persist_entry(&key("one"), entry)).unwrap_err();
    let PersistError::FileChanged(why) = &refused else { panic!("{refused:?}") };
    assert_eq!(*why, Invalidation::FileChanged { path: path("a") });
    assert_eq!(refused.to_string(), "not persisted, as a file changed while it was used: a has changed");
    assert_eq!(world.revalidate("one"), changed("a"));
    // Two states of one file cannot both be right.
    let mut entry = world.entry("two", &["a"], &[]);
    let mut other = world.entry("two", &["b"], &[]).file_roots;
    other[0].path = path("a");
    entry.file_roots.append(&mut other);
    assert!(block_on(world.live.persist_entry(&key("two"), entry)).is_err());
}

#[test]
fn what_is_too_large_is_refused() {
    let world = World::new();
    let upstream = Upstream::new(key("one"), b"");
    for entry in [
        LiveEntry::new("x".repeat(201), ""),
        LiveEntry::new("", vec![0; (64 << 20) + 1]),
        LiveEntry { upstreams: vec![upstream; (1 << 16) + 1], ..LiveEntry::new("", "") },
    ] {
        let refused = block_on(world.live.persist_entry(&key("one"), entry)).unwrap_err();
        assert!(matches!(refused, PersistError::TooLarge { .. }), "{refused}");
    }
    assert_eq!(world.look_up("one"), ABSENT);
}

#[test]
fn results_that_are_too_large_for_a_value_come_back() {
    let mut world = World::new();
    let bytes = vec![7; 3 << 20];
    block_on(world.live.persist(&key("one"), bytes.clone(), "tree", Vec::new())).unwrap();
    assert_eq!(world.look_up("one").hit().unwrap().bytes, bytes);
    world.restart();
    assert_eq!(world.look_up("one").hit().unwrap().bytes, bytes);
    assert!(block_on(world.store.delete(&Digest::blake3(&bytes))).unwrap());
    assert_eq!(world.look_up("one"), ABSENT);
}

#[test]
fn wrong_bytes_are_not_served() {
    let mut world = World::new();
    world.chain();
    let calls = world.store.calls(Operation::Get);
    world.store.inject(Operation::Get, calls..=calls, Fault::Flip(0));
    assert_eq!(world.look_up("one"), Lookup::Miss(Absence::Unreadable));
    world.hits(&["one"]);
    let calls = world.store.calls(Operation::Get);
    world.store.inject(Operation::Get, calls..=calls, Fault::unavailable());
    let Lookup::Miss(Absence::StoreFailed { why }) = world.look_up("one") else { panic!() };
    assert!(why.contains("the test says so"));
    // Another namespace has nothing.
    world.live = block_on(LiveCache::open(
        world.store.clone(),
        files(world.dir.path()),
        Namespace::new("other").unwrap(),
    ));
    assert_eq!((world.live.entry_count(), world.look_up("one")), (0, Lookup::Miss(Absence::Unreadable)));
}

#[test]
fn evicted_entries_are_computed_anew() {
    let world = World::new();
    world.chain();
    block_on(world.store.inner().remove(&key("one"))).unwrap();
    assert!(world.look_up("three").is_hit(), "what is known about `one` proves it");
    assert_eq!(world.look_up("one"), ABSENT);
    assert_eq!(world.look_up("three"), upstream_invalid("two"));
    world.persist("one", &["a"], &[]);
    world.hits(&["one", "two", "three"]);
}

#[test]
fn two_processes_share_a_store() {
    let world = World::new();
    let other = block_on(LiveCache::open(world.store.clone(), files(world.dir.path()), Namespace::default()));
    world.chain();
    // The other one has listed nothing, and finds all.
    assert!(block_on(other.look_up_revalidate(&key("three"))).is_hit());
    world.write("b", "edited");
    let one = world.look_up("one").hit().unwrap().upstream;
    let two = LiveEntry { bytes: "other".into(), ..world.entry("two", &["b"], &[one]) };
    let two = world.persist_entry("two", two).upstream;
    world.persist("three", &["c"], &[two]);
    let found = block_on(other.look_up(&key("two"))).hit().unwrap();
    assert_eq!(found.bytes, "other");
    assert!(block_on(other.look_up(&key("three"))).is_hit());
    block_on(world.live.invalidate(&key("three"))).unwrap();
    assert_eq!(block_on(other.look_up(&key("three"))), ABSENT);
}

#[test]
fn a_store_that_fails_or_cannot_list_is_no_error() {
    let mut world = World::new();
    world.chain();
    assert_eq!(*world.live.rebuilt(), Rebuilt::All);
    let calls = world.store.calls(Operation::List);
    world.store.inject(Operation::List, calls..=calls, Fault::unavailable());
    world.restart();
    assert!(matches!(world.live.rebuilt(), Rebuilt::Failed { .. }));
    assert_eq!(world.live.entry_count(), 0);
    world.hits(&["three", "two", "one"]);
    assert_eq!(world.live.entry_count(), 3);
}

#[test]
fn memory_is_bounded() {
    let world = World::new();
    let open = || {
        let builder = LiveCache::builder(world.store.clone(), files(world.dir.path()), Namespace::default());
        block_on(builder.max_entries(10).open())
    };
    let live = open();
    let roots = block_on(live.snapshot(&["a"])).unwrap();
    for number in 0..50 {
        let name = number.to_string();
        block_on(live.persist(&key(&name), name.clone(), "test", roots.clone())).unwrap();
        assert!(live.entry_count() <= 10);
    }
    assert_eq!(live.stats().forgotten, 40);
    for number in 0..50 {
        assert!(block_on(live.look_up(&key(&number.to_string()))).is_hit(), "{number}");
        assert!(live.entry_count() <= 10);
    }
    // Forgotten entries are checked before they are served.
    world.write("a", "edited");
    block_on(live.invalidate_path("a")).unwrap();
    for number in 0..50 {
        assert!(!block_on(live.look_up(&key(&number.to_string()))).is_hit(), "{number}");
    }
    let listed = block_on(world.store.list(&ListFilter::default(), None, 100)).unwrap();
    assert_eq!(listed.items.len(), 0);
    world.chain();
    let live = open();
    assert_eq!((live.rebuilt(), live.entry_count()), (&Rebuilt::All, 3));
    for number in 0..50 {
        let upstream =
            vec![Upstream::new(key("nobody"), b""), Upstream::new(key(&(number + 1).to_string()), b"")];
        let entry = LiveEntry { upstreams: upstream, ..LiveEntry::new("test", "") };
        block_on(live.persist_entry(&key(&number.to_string()), entry)).unwrap();
        assert!(live.entry_count() <= 10);
    }
    let live = open();
    assert_eq!(live.rebuilt(), &Rebuilt::UpToLimit);
    assert!(live.entry_count() <= 10);
}
