//! The store.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::{Clock, Error, Event, Key, Observers, Policy, Result};

use crate::Options;
use crate::cleaner::Bells;
use crate::counters::{Counters, Stats};
use crate::evicted::Evicted;
use crate::index::Index;
use crate::item::{Address, Item};
use crate::limits::{self, Cache, Limits};

/// Name of the store, in events, messages and configuration.
pub const NAME: &str = "memory";

/// A store in the memory of this process, for any number of threads.
///
/// Its own methods never wait for anything but a short lock; [`Store`](cache_core::Store) is the same behind `async`.
/// Clones share everything.
///
/// ```
/// use cache_core::{Entry, KeyBuilder, Namespace, PutMode};
/// use cache_memory::{MemoryStore, Options};
///
/// let store = MemoryStore::new(Options::default());
/// let key = KeyBuilder::new(&Namespace::default(), "demo").text("answer").finish();
/// assert!(store.get(&key).is_none());
/// let entry = Entry { value: "42".into(), ..Entry::default() };
/// store.put(&key, &entry, PutMode::Overwrite)?;
/// let hit = store.get(&key).unwrap();
/// assert_eq!(hit.value, "42");
/// assert_eq!(store.stats().hit_ratio(), Some(0.5));
/// # Ok::<(), cache_core::Error>(())
/// ```
#[derive(Clone)]
pub struct MemoryStore(pub(crate) Arc<Shared>);

/// What clones share.
pub(crate) struct Shared {
    pub(crate) cache: Cache,
    pub(crate) index: Index,
    pub(crate) limits: Limits,
    pub(crate) policy: Policy,
    pub(crate) protect: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counters: Counters,
    /// Where the hand of the entry limit stands, and the turn to put while there is such a limit.
    pub(crate) hand: Mutex<Option<Key>>,
    pub(crate) cleaners: Bells,
    observers: Observers,
    closed: AtomicBool,
}

impl MemoryStore {
    /// Returns an empty store.
    pub fn new(options: Options) -> Self {
        let (cache, limits) = limits::cache(&options);
        Self(Arc::new(Shared {
            cache,
            index: Index::new(),
            limits,
            policy: options.policy,
            protect: options.protect,
            clock: options.clock,
            counters: Counters::default(),
            hand: Mutex::default(),
            cleaners: Bells::default(),
            observers: options.observers,
            closed: AtomicBool::new(false),
        }))
    }

    /// Returns what the store holds, and what happened in it so far. The numbers are taken one after the other, not at one
    /// moment.
    pub fn stats(&self) -> Stats {
        let shared = &*self.0;
        let entries = shared.index.len();
        let mut stats = Stats {
            entries,
            blobs: (shared.cache.len() as u64).saturating_sub(entries),
            bytes: shared.cache.weight(),
            max_bytes: shared.policy.max_bytes,
            ..Stats::default()
        };
        shared.counters.fill(&mut stats);
        stats
    }

    /// Drops everything and takes nothing any more, in all clones. [`Store::close`](cache_core::Store::close) is the same.
    /// Closing twice is fine.
    pub fn close(&self) {
        let shared = &*self.0;
        shared.closed.store(true, Ordering::SeqCst);
        // A put that began before has either stored its item by the time its lock is taken here, or finds it closed.
        shared.index.clear();
        shared.cache.clear();
        shared.cleaners.ring();
    }
}

impl Shared {
    pub(crate) fn ensure_open(&self) -> Result<()> {
        if self.is_closed() {
            return Err(Error::Closed { store: "the cache in memory".to_owned() });
        }
        Ok(())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(crate) fn idle(&self) -> Option<Duration> {
        self.policy.max_age
    }

    pub(crate) fn emit<'a>(&self, event: impl FnOnce() -> Event<'a>) {
        self.observers.emit(NAME, event);
    }

    /// Counts and drops what a put of `new` under `address` drove out, and makes the index agree. No lock may be held.
    pub(crate) fn settle(&self, evicted: Evicted, address: &Address, new: &Item) {
        let (mut items, mut bytes) = (0, 0);
        for (old_address, old) in evicted {
            if let Some(key) = old_address.key() {
                let mut stripe = self.index.stripe(&key);
                if !self.cache.contains_key(&old_address) {
                    stripe.remove(&key);
                }
            }
            // What was replaced did not have to make room.
            if old_address != *address || old.is(new) {
                items += 1;
                bytes += old.weight();
            }
        }
        if items > 0 {
            self.counters.evicted(items);
            self.emit(|| Event::Evicted { items, bytes });
        }
    }
}

impl Default for MemoryStore {
    /// Returns an empty store with the default limits.
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("limits", &self.0.limits).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    /// Ends the cleaners: there is nothing left to clean.
    fn drop(&mut self) {
        self.cleaners.ring();
    }
}
