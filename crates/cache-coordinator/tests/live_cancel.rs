//! Every public future of the live cache is dropped at every await, and nothing wrong is served, nor is anything stuck.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::sync::Arc;

use cache_coordinator::action::FileStates;
use cache_coordinator::live::{LiveCache, LiveEntry, Lookup, Upstream};
use cache_core::{Key, Namespace, Store};
use cache_testkit::{BoxFuture, MemoryStore, block_on, poll_at_most};

/// No operation here takes so many polls.
const MOST_POLLS: u64 = 500;
/// Larger than a value, so that a blob is written first.
const LARGE: usize = (1 << 20) + 1;

struct World {
    dir: tempfile::TempDir,
    store: Arc<MemoryStore>,
    live: LiveCache,
}

fn key(number: u8) -> Key {
    Key::from_bytes([number; 32])
}

impl World {
    /// Returns a cache with 1, from the file `a`, and 2, from 1 and the file `b`.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::new());
        for name in ["a", "b"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let live = Self::open(&store, &dir).await;
        let world = Self { dir, store, live };
        world.persist(1, "old", &["a"], vec![]).await;
        world.persist(2, "two", &["b"], vec![Upstream::new(key(1), b"old")]).await;
        world
    }

    async fn open(store: &Arc<MemoryStore>, dir: &tempfile::TempDir) -> LiveCache {
        let files = Arc::new(FileStates::new(dir.path()).unwrap());
        LiveCache::open(Arc::clone(store) as Arc<dyn Store>, files, Namespace::default()).await
    }

    async fn persist(&self, number: u8, bytes: &str, roots: &[&str], upstreams: Vec<Upstream>) {
        let file_roots = self.live.snapshot(roots).await.unwrap();
        let entry = LiveEntry { file_roots, upstreams, ..LiveEntry::new("test", bytes.to_owned()) };
        self.live.persist_entry(&key(number), entry).await.unwrap();
    }

    /// Checks that what is served is right, in this process and the next, and that writers do not wait for ever.
    async fn check(mut self, place: &str) {
        for _ in 0..2 {
            let one = self.live.look_up_revalidate(&key(1)).await;
            let one = one.hit().map(|found| found.bytes);
            if let Some(one) = &one {
                assert!(one == "old" || one == "new" || one.len() == LARGE, "{place}");
            }
            if let Lookup::Hit(two) = self.live.look_up_revalidate(&key(2)).await {
                assert!(one.is_none_or(|one| one == "old"), "{place}");
                assert_eq!(two.bytes, "two", "{place}");
            }
            self.live.flush().await.unwrap();
            assert_eq!(self.live.stats().removals_waiting, 0, "{place}");
            self.live = Self::open(&self.store, &self.dir).await;
        }
        self.persist(1, "old", &["a"], vec![]).await;
        self.persist(2, "two", &["b"], vec![Upstream::new(key(1), b"old")]).await;
        for number in [1, 2] {
            assert!(self.live.look_up_revalidate(&key(number)).await.is_hit(), "{place}");
        }
    }
}

/// Drops what `operation` makes after each number of polls until it completes.
fn at_every_await(what: &str, operation: impl for<'a> Fn(&'a World) -> BoxFuture<'a, ()>) {
    for polls in 0..MOST_POLLS {
        let world = block_on(World::new());
        let done = block_on(poll_at_most(polls, operation(&world))).is_some();
        block_on(world.check(&format!("{what}, dropped after {polls} polls")));
        if done {
            assert!(polls > 1, "{what} never waits");
            return;
        }
    }
    panic!("{what} is not done after {MOST_POLLS} polls");
}

#[test]
fn persisting() {
    for bytes in ["new".to_owned(), "x".repeat(LARGE)] {
        at_every_await("persist", |world| {
            let bytes = bytes.clone();
            Box::pin(async move { world.persist(1, &bytes, &["a"], vec![]).await })
        });
    }
}

#[test]
fn look_ups() {
    at_every_await("look_up", |world| {
        Box::pin(async { assert!(world.live.look_up(&key(2)).await.is_hit()) })
    });
    at_every_await("look_up_revalidate", |world| {
        Box::pin(async { assert!(world.live.look_up_revalidate(&key(2)).await.is_hit()) })
    });
    at_every_await("a look-up that drops", |world| {
        fs::write(world.dir.path().join("a"), "edited").unwrap();
        Box::pin(async { assert!(!world.live.look_up_revalidate(&key(1)).await.is_hit()) })
    });
    at_every_await("opening", |world| Box::pin(async { drop(World::open(&world.store, &world.dir).await) }));
}

#[test]
fn reports() {
    at_every_await("invalidate", |world| {
        Box::pin(async {
            assert!(world.live.invalidate(&key(1)).await.unwrap());
            assert!(!world.live.look_up(&key(1)).await.is_hit());
        })
    });
    at_every_await("invalidate_upstream", |world| {
        Box::pin(async { assert_eq!(world.live.invalidate_upstream(&key(1)).await.unwrap(), 1) })
    });
    at_every_await("invalidate_path", |world| {
        Box::pin(async { assert_eq!(world.live.invalidate_path("a").await.unwrap(), 1) })
    });
    at_every_await("close", |world| {
        Box::pin(async {
            drop(poll_at_most(1, world.live.invalidate(&key(1))).await);
            world.live.close().await.unwrap();
        })
    });
}

#[test]
fn what_was_dropped_here_is_not_served_though_the_removal_was_not_awaited() {
    for polls in 1..4 {
        let world = block_on(World::new());
        drop(block_on(poll_at_most(polls, world.live.invalidate(&key(1)))));
        assert!(!block_on(world.live.look_up(&key(1))).is_hit(), "{polls}");
        assert!(!block_on(world.live.look_up(&key(2))).is_hit(), "{polls}");
        block_on(world.live.flush()).unwrap();
        assert_eq!(block_on(world.store.get(&key(1))).unwrap(), None, "{polls}");
    }
}
