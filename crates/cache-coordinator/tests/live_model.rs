//! Random graphs of entries, cycles among them, with edits, reports, restarts and dropped futures, against a naive walk: what
//! is served is what the walk allows, and what nothing speaks against is served.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cache_coordinator::action::FileStates;
use cache_coordinator::live::{Durability, LiveCache, LiveEntry, Lookup, Upstream, Validation};
use cache_core::{Key, ManualClock, Namespace, Store, Timestamp};
use cache_testkit::{MemoryStore, block_on, poll_at_most};
use proptest::prelude::*;

const KEYS: usize = 6;
const FILES: [&str; 4] = ["d/0", "d/1", "d/sub/2", "3"];
/// What is reported: each file, and two directories.
const PATHS: [&str; 6] = ["d/0", "d/1", "d/sub/2", "3", "d", "d/../d/sub"];

#[derive(Clone, Debug)]
struct Persist {
    key: usize,
    result: u8,
    files: Vec<usize>,
    /// Keys, and whether the result is the one that there is; if not, the one that is used.
    upstreams: Vec<(usize, Option<u8>)>,
    validation: Validation,
    durability: Durability,
}

#[derive(Clone, Debug)]
enum Step {
    Persist(Persist),
    DroppedPersist(Persist, u64),
    Edit {
        file: usize,
        content: u8,
    },
    /// An edit that is reported.
    Save {
        file: usize,
        content: u8,
    },
    LookUp {
        key: usize,
    },
    Revalidate {
        key: usize,
    },
    DroppedRevalidate {
        key: usize,
        polls: u64,
    },
    MarkDirty {
        key: usize,
    },
    MarkPath {
        path: usize,
    },
    ReportDurability {
        class: Durability,
    },
    Invalidate {
        key: usize,
    },
    InvalidateUpstream {
        key: usize,
    },
    DroppedInvalidateUpstream {
        key: usize,
        polls: u64,
    },
    InvalidatePath {
        path: usize,
    },
    Evict {
        key: usize,
    },
    Restart,
}

fn persist() -> impl Strategy<Value = Persist> {
    let validation = prop_oneof![
        4 => Just(Validation::Content),
        1 => Just(Validation::Mtime),
        2 => Just(Validation::Dependencies),
    ];
    let durability = prop_oneof![
        3 => Just(Durability::Workspace),
        1 => Just(Durability::Vendored),
        1 => Just(Durability::Toolchain),
    ];
    let upstream = (0..KEYS, prop_oneof![3 => Just(None), 1 => (0_u8..2).prop_map(Some)]);
    let files = proptest::collection::vec(0..FILES.len(), 0..3);
    let upstreams = proptest::collection::vec(upstream, 0..3);
    (0..KEYS, 0_u8..2, files, upstreams, validation, durability).prop_map(
        |(key, result, files, upstreams, validation, durability)| Persist {
            key,
            result,
            files,
            upstreams,
            validation,
            durability,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS;
    let path = 0..PATHS.len();
    let polls = 0_u64..14;
    let class =
        prop_oneof![Just(Durability::Workspace), Just(Durability::Vendored), Just(Durability::Toolchain)];
    prop_oneof![
        12 => persist().prop_map(Step::Persist),
        1 => (persist(), polls.clone()).prop_map(|(persist, polls)| Step::DroppedPersist(persist, polls)),
        3 => (0..FILES.len(), 0_u8..3).prop_map(|(file, content)| Step::Edit { file, content }),
        3 => (0..FILES.len(), 0_u8..3).prop_map(|(file, content)| Step::Save { file, content }),
        5 => key.clone().prop_map(|key| Step::LookUp { key }),
        8 => key.clone().prop_map(|key| Step::Revalidate { key }),
        1 => (key.clone(), polls.clone()).prop_map(|(key, polls)| Step::DroppedRevalidate { key, polls }),
        1 => key.clone().prop_map(|key| Step::MarkDirty { key }),
        2 => path.clone().prop_map(|path| Step::MarkPath { path }),
        1 => class.prop_map(|class| Step::ReportDurability { class }),
        1 => key.clone().prop_map(|key| Step::Invalidate { key }),
        1 => key.clone().prop_map(|key| Step::InvalidateUpstream { key }),
        1 => (key.clone(), polls).prop_map(|(key, polls)| Step::DroppedInvalidateUpstream { key, polls }),
        1 => path.prop_map(|path| Step::InvalidatePath { path }),
        1 => key.prop_map(|key| Step::Evict { key }),
        1 => Just(Step::Restart),
    ]
}

/// What was persisted, as the walk sees it.
#[derive(Clone, Debug)]
struct Item {
    result: u8,
    files: BTreeMap<usize, u8>,
    upstreams: Vec<(usize, u8)>,
    validation: Validation,
    durability: Durability,
    /// Whether something spoke against it at any time, so that it may have been dropped.
    is_tainted: bool,
    is_evicted: bool,
}

struct World {
    dir: tempfile::TempDir,
    store: Arc<MemoryStore>,
    live: LiveCache,
    /// What may be under each key; more than one if a future was dropped.
    items: BTreeMap<usize, Vec<Item>>,
    /// What each file has held since it was last reported, the last one last.
    contents: [Vec<u8>; FILES.len()],
}

fn key(number: usize) -> Key {
    Key::from_bytes([number as u8; 32])
}

fn open(store: &Arc<MemoryStore>, dir: &tempfile::TempDir) -> LiveCache {
    let clock = ManualClock::new(Timestamp::from(SystemTime::now()).plus(Duration::from_hours(1)));
    let files = Arc::new(FileStates::with_clock(dir.path(), Arc::new(clock)).unwrap());
    block_on(LiveCache::open(Arc::clone(store) as Arc<dyn Store>, files, Namespace::default()))
}

/// Returns which files a path stands for.
fn below(path: usize) -> Vec<usize> {
    match path {
        4 => vec![0, 1, 2],
        5 => vec![2],
        file => vec![file],
    }
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("d/sub")).unwrap();
        let store = Arc::new(MemoryStore::new());
        let live = open(&store, &dir);
        let mut world = Self { dir, store, live, items: BTreeMap::new(), contents: Default::default() };
        (0..FILES.len()).for_each(|file| world.edit(file, 0));
        world.report(4);
        world.report(3);
        world
    }

    /// Each content has a length of its own: two edits within one tick of the clock may leave the same times.
    fn edit(&mut self, file: usize, content: u8) {
        fs::write(self.dir.path().join(FILES[file]), "x".repeat(usize::from(content))).unwrap();
        self.contents[file].push(content);
        self.taint(|item| item.files.contains_key(&file));
    }

    fn report(&mut self, path: usize) {
        for file in below(path) {
            let now = *self.contents[file].last().unwrap();
            self.contents[file] = vec![now];
        }
    }

    fn taint(&mut self, which: impl Fn(&Item) -> bool) {
        self.items.values_mut().flatten().filter(|item| which(item)).for_each(|item| item.is_tainted = true);
    }

    /// Returns the one item under `key` that is certainly there and was not spoken against.
    fn certain(&self, key: usize) -> Option<&Item> {
        let [item] = &self.items.get(&key)?[..] else { return None };
        (!item.is_tainted && !item.is_evicted).then_some(item)
    }

    fn prepare(&self, persist: &Persist) -> (LiveEntry, Item) {
        let upstreams: Vec<(usize, u8)> = persist
            .upstreams
            .iter()
            .map(|&(key, used)| {
                let now = self.items.get(&key).and_then(|items| items.last()).map(|item| item.result);
                (key, used.or(now).unwrap_or(0))
            })
            .collect();
        let roots: Vec<&str> = persist.files.iter().map(|&file| FILES[file]).collect();
        let entry = LiveEntry {
            file_roots: block_on(self.live.snapshot(&roots)).unwrap(),
            upstreams: upstreams.iter().map(|&(number, used)| Upstream::new(key(number), &[used])).collect(),
            validation: persist.validation,
            durability: persist.durability,
            ..LiveEntry::new("test", vec![persist.result])
        };
        let item = Item {
            result: persist.result,
            files: persist.files.iter().map(|&file| (file, *self.contents[file].last().unwrap())).collect(),
            upstreams,
            validation: persist.validation,
            durability: persist.durability,
            is_tainted: false,
            is_evicted: false,
        };
        (entry, item)
    }

    /// Notes that entries were computed from other results than those that there are, which gets them dropped.
    fn taint_outdated(&mut self) {
        let results: BTreeMap<usize, Vec<u8>> = self
            .items
            .iter()
            .map(|(key, items)| (*key, items.iter().map(|item| item.result).collect()))
            .collect();
        self.taint(|item| {
            item.upstreams.iter().any(|(key, used)| {
                results.get(key).is_some_and(|now| now.iter().any(|result| result != used))
            })
        });
    }

    /// Returns the keys of what was computed from `key`, if the walk only goes through items that `passes`.
    fn downstream(&self, key: usize, passes: impl Fn(usize) -> bool) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        loop {
            let before = found.len();
            for (&number, items) in &self.items {
                let is_from = |from: usize| {
                    items.iter().any(|item| item.upstreams.iter().any(|(upstream, _)| *upstream == from))
                };
                if passes(number) && (is_from(key) || found.iter().any(|&from| is_from(from))) {
                    found.insert(number);
                }
            }
            if found.len() == before {
                return found;
            }
        }
    }

    /// Returns the items that are as durable as this: of nothing that somebody edits.
    fn is_durable(&self, item: &Item, seen: &mut BTreeSet<usize>) -> bool {
        let own = item.files.is_empty() || item.durability > Durability::Workspace;
        own && item.upstreams.iter().all(|(key, _)| {
            !seen.insert(*key)
                || self
                    .items
                    .get(key)
                    .is_some_and(|items| items.iter().any(|item| self.is_durable(item, &mut seen.clone())))
        })
    }

    /// Returns whether the files of `item` are as they were, or may pass for it: nobody reported otherwise, and nobody looks.
    fn files_pass(&self, item: &Item, again: bool) -> bool {
        let trusts_reports = !again
            || item.validation == Validation::Dependencies
            || self.is_durable(item, &mut BTreeSet::new());
        item.files.iter().all(|(file, content)| {
            let contents = &self.contents[*file];
            contents.last() == Some(content) || trusts_reports && contents.contains(content)
        })
    }

    /// Returns the results that may be served under each key: the greatest set in which each one's inputs are.
    fn allowed(&self, again: bool) -> BTreeSet<(usize, u8)> {
        let mut left: Vec<(usize, &Item)> = self
            .items
            .iter()
            .flat_map(|(key, items)| items.iter().map(|item| (*key, item)))
            .filter(|(_, item)| self.files_pass(item, again))
            .collect();
        loop {
            let results: BTreeSet<(usize, u8)> = left.iter().map(|(key, item)| (*key, item.result)).collect();
            let before = left.len();
            left.retain(|(_, item)| item.upstreams.iter().all(|upstream| results.contains(upstream)));
            if left.len() == before {
                return results;
            }
        }
    }

    /// Returns the keys that have to be hits: nothing ever spoke against them or what they were computed from.
    fn certain_hits(&self) -> BTreeSet<usize> {
        let mut left: BTreeMap<usize, &Item> =
            (0..KEYS).filter_map(|key| Some((key, self.certain(key)?))).collect();
        loop {
            let results: BTreeSet<(usize, u8)> = left.iter().map(|(key, item)| (*key, item.result)).collect();
            let before = left.len();
            left.retain(|_, item| item.upstreams.iter().all(|upstream| results.contains(upstream)));
            if left.len() == before {
                return left.into_keys().collect();
            }
        }
    }

    fn check(&self, number: usize, again: bool, lookup: Lookup) {
        let place = format!("key {number}, again {again}: {lookup:?}\n{:?}", self.items);
        match lookup {
            Lookup::Hit(found) => {
                let allowed = self.allowed(again);
                assert!(allowed.contains(&(number, found.bytes[0])), "{place}\nallowed: {allowed:?}");
                assert!(!self.items[&number].iter().all(|item| item.is_evicted), "{place}");
            }
            Lookup::Miss(_) | Lookup::Invalidated(_) => {
                assert!(!self.certain_hits().contains(&number), "{place}");
            }
        }
    }

    #[expect(clippy::too_many_lines, reason = "an arm for each kind of step")]
    fn step(&mut self, step: &Step) {
        match step {
            Step::Persist(persist) => {
                let (entry, item) = self.prepare(persist);
                block_on(self.live.persist_entry(&key(persist.key), entry)).unwrap();
                self.items.insert(persist.key, vec![item]);
            }
            Step::DroppedPersist(persist, polls) => {
                let (entry, item) = self.prepare(persist);
                let key = key(persist.key);
                let done = block_on(poll_at_most(*polls, self.live.persist_entry(&key, entry)));
                let items = self.items.entry(persist.key).or_default();
                if done.is_some() {
                    items.clear();
                } else {
                    for item in &mut *items {
                        item.is_tainted = true;
                    }
                }
                items.push(Item { is_tainted: done.is_none(), ..item });
            }
            Step::Edit { file, content } => self.edit(*file, *content),
            Step::Save { file, content } => {
                self.edit(*file, *content);
                self.live.mark_path_dirty(FILES[*file]);
                self.report(*file);
            }
            Step::LookUp { key: number } => {
                let lookup = block_on(self.live.look_up(&key(*number)));
                self.check(*number, false, lookup);
            }
            Step::Revalidate { key: number } => {
                let lookup = block_on(self.live.look_up_revalidate(&key(*number)));
                self.check(*number, true, lookup);
            }
            Step::DroppedRevalidate { key: number, polls } => {
                let key = key(*number);
                let lookup = block_on(poll_at_most(*polls, self.live.look_up_revalidate(&key)));
                if let Some(lookup) = lookup {
                    self.check(*number, true, lookup);
                }
            }
            Step::MarkDirty { key: number } => {
                let known = self.live.mark_dirty(&key(*number));
                assert!(known || self.certain(*number).is_none());
            }
            Step::MarkPath { path } => {
                let naming = self.live.mark_path_dirty(PATHS[*path]);
                assert!(naming >= self.naming(*path, true).len());
                self.report(*path);
            }
            Step::ReportDurability { class } => self.live.report_durability(*class),
            Step::Invalidate { key: number } => {
                let known = block_on(self.live.invalidate(&key(*number))).unwrap();
                assert!(known || self.certain(*number).is_none());
                self.items.remove(number);
            }
            Step::InvalidateUpstream { key: number } => {
                let dropped = block_on(self.live.invalidate_upstream(&key(*number))).unwrap();
                let certain = self.downstream(*number, |key| self.certain(key).is_some());
                let possible = self.downstream(*number, |_| true);
                assert!((certain.len()..=possible.len()).contains(&dropped), "{dropped} {:?}", self.items);
                for number in possible.difference(&certain) {
                    self.items.get_mut(number).unwrap().iter_mut().for_each(|item| item.is_tainted = true);
                }
                self.items.retain(|key, _| !certain.contains(key));
            }
            Step::DroppedInvalidateUpstream { key: number, polls } => {
                let key = key(*number);
                drop(block_on(poll_at_most(*polls, self.live.invalidate_upstream(&key))));
                // Once polled, they are dropped.
                let certain = self.downstream(*number, |key| self.certain(key).is_some());
                let possible = self.downstream(*number, |_| true);
                for number in possible {
                    self.items.get_mut(&number).unwrap().iter_mut().for_each(|item| item.is_tainted = true);
                }
                if *polls > 0 {
                    for number in certain {
                        let lookup = block_on(self.live.look_up(&Key::from_bytes([number as u8; 32])));
                        assert!(!lookup.is_hit(), "{number} {lookup:?}");
                    }
                }
            }
            Step::InvalidatePath { path } => {
                let dropped = block_on(self.live.invalidate_path(PATHS[*path])).unwrap();
                let (certain, possible) = (self.naming(*path, true), self.naming(*path, false));
                assert!((certain.len()..=possible.len()).contains(&dropped), "{dropped} {:?}", self.items);
                for number in possible.difference(&certain) {
                    self.items.get_mut(number).unwrap().iter_mut().for_each(|item| item.is_tainted = true);
                }
                self.items.retain(|key, _| !certain.contains(key));
                self.report(*path);
            }
            Step::Evict { key: number } => {
                block_on(self.store.remove(&key(*number))).unwrap();
                self.items.get_mut(number).into_iter().flatten().for_each(|item| item.is_evicted = true);
            }
            Step::Restart => {
                self.live = open(&self.store, &self.dir);
                for items in self.items.values_mut() {
                    items.retain(|item| !item.is_evicted);
                }
                (0..PATHS.len()).for_each(|path| self.report(path));
            }
        }
        self.taint_outdated();
    }

    /// Returns the keys of the items that name a file of `path`.
    fn naming(&self, path: usize, certain: bool) -> BTreeSet<usize> {
        let names = |item: &Item| below(path).iter().any(|file| item.files.contains_key(file));
        let is_it = |(key, items): (&usize, &Vec<Item>)| {
            let found = if certain { self.certain(*key).is_some_and(names) } else { items.iter().any(names) };
            found.then_some(*key)
        };
        self.items.iter().filter_map(is_it).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 3000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_served_is_what_a_naive_walk_allows(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        // Something to put in doubt: each from the one before it.
        for number in 0..KEYS {
            world.step(&Step::Persist(Persist {
                key: number,
                result: 0,
                files: vec![number % FILES.len()],
                upstreams: number.checked_sub(1).map(|key| (key, None)).into_iter().collect(),
                validation: Validation::Content,
                durability: Durability::Workspace,
            }));
        }
        for step in &steps {
            world.step(step);
        }
        // In the end all is well again: each entry is persisted in turn, from those before it.
        for number in 0..KEYS {
            let upstreams = (0..number).map(|key| (key, None)).collect();
            world.step(&Step::Persist(Persist {
                key: number,
                result: 0,
                files: vec![number % FILES.len()],
                upstreams,
                validation: Validation::Content,
                durability: Durability::Workspace,
            }));
        }
        for number in 0..KEYS {
            world.step(&Step::LookUp { key: number });
            world.step(&Step::Revalidate { key: number });
        }
        assert_eq!(world.certain_hits().len(), KEYS);
        assert_eq!(world.live.entry_count(), KEYS);
    }
}
