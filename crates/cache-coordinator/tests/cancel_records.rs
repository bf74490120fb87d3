//! Every public future of the action and target caches, of signed stores and of bundles is dropped at every await, and what
//! is found afterwards is whole.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cache_coordinator::action::{
    ActionCache, ActionId, ActionKind, ActionMetadata, ActionRequest, ActionRun, FileStates,
};
use cache_coordinator::bundle::{self, ImportOptions, Selection};
use cache_coordinator::target::{TargetBuild, TargetCache, TargetId, TargetRequest};
use cache_coordinator::{Limits, Signed, Unsigned};
use cache_core::signing::{Keyring, SigningKey};
use cache_core::{
    Anchor, Digest, ListFilter, ManualClock, Namespace, PutMode, RelPath, Store, Timestamp, TreePath,
};
use cache_testkit::{BoxFuture, MemoryStore, content, poll_at_most};
use common::{entry, faulty, key, read, store};

/// No operation here takes so many polls.
const MOST_POLLS: u64 = 500;

/// A tree with a source and what was made of it, which an action and a target cache know.
struct World {
    dir: tempfile::TempDir,
    actions: ActionCache,
    targets: TargetCache,
}

fn source() -> TreePath {
    TreePath { anchor: Anchor::Base, path: RelPath::new("a.c").unwrap() }
}

fn output() -> RelPath {
    RelPath::new("a.o").unwrap()
}

fn action() -> ActionId {
    ActionId::new("a", ActionKind::Compile, Digest::blake3(b"cc")).unwrap()
}

fn target() -> TargetId {
    TargetId::new("a").unwrap()
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = faulty();
        let later = Timestamp::from(SystemTime::now()).plus(Duration::from_hours(1));
        let files = Arc::new(FileStates::with_clock(dir.path(), Arc::new(ManualClock::new(later))).unwrap());
        let below = || Arc::clone(&store) as Arc<dyn Store>;
        let actions = ActionCache::new(below(), Arc::clone(&files), Namespace::default());
        let targets = TargetCache::new(below(), files, Namespace::default(), ActionMetadata::default());
        let world = Self { dir, actions, targets };
        world.write("a.c", "source");
        world.write("a.o", "first");
        world.record().await;
        world.update().await;
        world
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.dir.path().join(name), content).unwrap();
    }

    /// Returns what was made, as it is in the tree.
    fn made(&self) -> Option<String> {
        fs::read_to_string(self.dir.path().join("a.o")).ok()
    }

    async fn record(&self) {
        let inputs = self.actions.files().snapshot(&[source()]).await.unwrap();
        let run = ActionRun { inputs, outputs: vec![output()], success: true, ..ActionRun::default() };
        self.actions.record(&action(), &run).await.unwrap();
    }

    async fn update(&self) {
        let sources = self.targets.files().snapshot(&[source()]).await.unwrap();
        let build =
            TargetBuild { target: target(), sources, deps: vec![], outputs: vec![output()], cost_ms: 1 };
        self.targets.update(&build).await.unwrap();
    }

    /// Checks that what is cached comes back whole, and that it can be recorded again.
    async fn check(&self, place: &str) {
        let before = self.made();
        assert!(
            before.as_deref().is_none_or(|made| ["first", "second"].contains(&made)),
            "{place}: {before:?}"
        );
        for again in [false, true] {
            let _ = fs::remove_file(self.dir.path().join("a.o"));
            if let Ok(hit) = self.actions.look_up(&action(), &ActionMetadata::default()).await {
                self.actions.restore(&hit).await.unwrap();
                assert_eq!(hit.outputs()[0].path, output(), "{place}");
                let made = self.made().unwrap();
                assert!(["first", "second"].contains(&made.as_str()), "{place}: {made}");
            } else {
                assert!(!again, "{place}: what was recorded is not found");
            }
            let _ = fs::remove_file(self.dir.path().join("a.o"));
            let request = TargetRequest { target: target(), sources: vec![source()], deps: vec![] };
            if let Some(Ok(hit)) = self.targets.batch_validate(&[request]).await.results.pop() {
                self.targets.restore(&hit).await.unwrap();
                let made = self.made().unwrap();
                assert!(["first", "second"].contains(&made.as_str()), "{place}: {made}");
            } else {
                assert!(!again, "{place}: what was updated is not found");
            }
            self.write("a.o", "second");
            self.record().await;
            self.update().await;
        }
    }
}

/// Drops what `operation` makes after each number of polls until it completes.
async fn at_every_await(what: &str, operation: impl for<'a> Fn(&'a World) -> BoxFuture<'a, ()>) {
    for polls in 0..MOST_POLLS {
        let world = World::new().await;
        let done = poll_at_most(polls, operation(&world)).await.is_some();
        world.check(&format!("{what}, dropped after {polls} polls")).await;
        if done {
            assert!(polls > 1, "{what} never waits");
            return;
        }
    }
    panic!("{what} is not done after {MOST_POLLS} polls");
}

#[tokio::test]
async fn records_of_actions() {
    at_every_await("look_up", |world| {
        Box::pin(async { drop(world.actions.look_up(&action(), &ActionMetadata::default()).await.unwrap()) })
    })
    .await;
    at_every_await("batch_validate", |world| {
        Box::pin(async {
            let request = ActionRequest { id: action(), metadata: ActionMetadata::default() };
            assert_eq!(world.actions.batch_validate(&[request]).await.hits, 1);
        })
    })
    .await;
    at_every_await("record", |world| {
        Box::pin(async {
            world.write("a.o", "second");
            world.record().await;
        })
    })
    .await;
    at_every_await("restore", |world| {
        Box::pin(async {
            fs::remove_file(world.dir.path().join("a.o")).unwrap();
            let hit = world.actions.look_up(&action(), &ActionMetadata::default()).await.unwrap();
            world.actions.restore(&hit).await.unwrap();
        })
    })
    .await;
    at_every_await("invalidate", |world| {
        Box::pin(async { assert!(world.actions.invalidate(&action()).await.unwrap()) })
    })
    .await;
    at_every_await("actions_for", |world| {
        Box::pin(async { assert_eq!(world.actions.actions_for("a").await.unwrap(), [action()]) })
    })
    .await;
    at_every_await("trim", |world| {
        Box::pin(async {
            let limits = Limits { max_entries: Some(0), ..Limits::default() };
            let _ = world.actions.trim(&limits).await.unwrap();
        })
    })
    .await;
    at_every_await("nondeterministic", |world| {
        Box::pin(async { drop(world.actions.nondeterministic().await.unwrap()) })
    })
    .await;
}

#[tokio::test]
async fn records_of_targets() {
    at_every_await("batch_validate", |world| {
        Box::pin(async {
            let request = TargetRequest { target: target(), sources: vec![source()], deps: vec![] };
            assert_eq!(world.targets.batch_validate(&[request]).await.hits, 1);
        })
    })
    .await;
    at_every_await("update", |world| {
        Box::pin(async {
            world.write("a.o", "second");
            world.update().await;
        })
    })
    .await;
    at_every_await("trim", |world| {
        Box::pin(async {
            let limits = Limits { max_entries: Some(0), ..Limits::default() };
            let _ = world.targets.trim(&limits).await.unwrap();
        })
    })
    .await;
}

#[tokio::test]
async fn signed_entries() {
    type Operation = for<'a> fn(&'a Signed) -> BoxFuture<'a, ()>;
    let operations: [(&str, Operation); 6] = [
        ("put", |ours| {
            Box::pin(async { drop(ours.put(&key(1), &entry("new", &[]), PutMode::Overwrite).await) })
        }),
        ("put if absent", |ours| {
            Box::pin(async { drop(ours.put(&key(2), &entry("new", &[]), PutMode::IfAbsent).await) })
        }),
        ("get", |ours| Box::pin(async { assert!(ours.get(&key(1)).await.unwrap().is_some()) })),
        ("get_many", |ours| {
            Box::pin(async { assert_eq!(ours.get_many(&[key(1), key(2)]).await.unwrap().len(), 2) })
        }),
        ("remove", |ours| Box::pin(async { assert!(ours.remove(&key(1)).await.unwrap()) })),
        ("list", |ours| {
            Box::pin(async {
                assert_eq!(ours.list(&ListFilter::default(), None, 9).await.unwrap().items.len(), 1);
            })
        }),
    ];
    let (old, new) = (SigningKey::from_bytes([1; 32]), SigningKey::from_bytes([2; 32]));
    for (what, operation) in operations {
        for polls in 0.. {
            assert!(polls < MOST_POLLS, "{what} is not done after {MOST_POLLS} polls");
            let below = faulty();
            let signed = |ring| Signed::new(Arc::clone(&below) as Arc<dyn Store>, ring, Unsigned::Refuse);
            // Put by somebody who has the older key alone.
            let before = signed(Keyring::new(old.clone()));
            let _ = before.put(&key(1), &entry("old", &[]), PutMode::Overwrite).await.unwrap();
            let ours = signed(Keyring::new(new.clone()).accepting(old.clone()));
            let done = poll_at_most(polls, operation(&ours)).await.is_some();
            for number in [1, 2] {
                let found = ours.get(&key(number)).await.unwrap().map(|found| found.meta.name);
                let known = found.as_deref().is_none_or(|name| ["old", "new"].contains(&name));
                assert!(known, "{what}, dropped after {polls} polls: {found:?}");
                let gone = found.is_none() && number == 1 && what != "remove";
                assert!(!gone, "{what}, dropped after {polls} polls: the entry is gone");
            }
            assert_eq!(ours.refusals(), cache_coordinator::Refusals::default(), "{what} after {polls} polls");
            let _ = ours.put(&key(1), &entry("new", &[]), PutMode::Overwrite).await.unwrap();
            assert_eq!(ours.get(&key(1)).await.unwrap().unwrap().meta.name, "new");
            if done {
                assert!(polls > 1, "{what} never waits");
                break;
            }
        }
    }
}

#[tokio::test]
async fn bundles() {
    const LEN: usize = 300_000;
    let from = MemoryStore::new();
    for number in 1..=2 {
        let blobs = [(Digest::blake3(&content(number, LEN)), content(number, LEN))];
        store(&from, &key(number), &entry("whole", &blobs), &blobs).await;
    }
    let selection = Selection::Filter(ListFilter::default());
    let mut whole = Vec::new();
    assert_eq!(bundle::export(&from, &selection, &mut whole).await.unwrap().entries, 2);
    for polls in 0.. {
        assert!(polls < MOST_POLLS);
        let (into, mut part) = (MemoryStore::new(), Vec::new());
        let exported = poll_at_most(polls, bundle::export(&from, &selection, &mut part)).await.is_some();
        let all = ImportOptions::default();
        let imported = poll_at_most(polls, bundle::import(&into, &mut &whole[..], &all))
            .await
            .is_some_and(|it| it.is_ok());
        // A part of a file is a part, and says so.
        let rest = bundle::import(&into, &mut &part[..], &all).await;
        assert!(exported || rest.is_err() || !rest.unwrap().is_whole(), "after {polls} polls");
        for number in 1..=2 {
            if let Some(found) = into.get(&key(number)).await.unwrap() {
                let (digest, _) = found.blobs().next().unwrap();
                let blob = read(&into, digest, None).await.unwrap().unwrap();
                assert_eq!(blob, content(number, LEN), "after {polls} polls");
            } else {
                assert!(!imported, "after {polls} polls");
            }
        }
        if exported && imported {
            assert!(polls > 1);
            break;
        }
    }
}
