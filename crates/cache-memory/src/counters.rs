//! What happened so far.

use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::Key;

/// Look-ups of different keys on different processors seldom meet on one of so many lines.
const STRIPES: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Counters {
    look_ups: [LookUps; STRIPES],
    evictions: AtomicU64,
    expired: AtomicU64,
}

/// A line of its own: processors take whole lines from each other.
#[derive(Debug, Default)]
#[repr(align(64))]
struct LookUps {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Counters {
    pub(crate) fn hit(&self, key: &Key) {
        self.look_ups(key).hits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn miss(&self, key: &Key) {
        self.look_ups(key).misses.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn evicted(&self, items: u64) {
        self.evictions.fetch_add(items, Ordering::Relaxed);
    }

    pub(crate) fn expired(&self, items: u64) {
        self.expired.fetch_add(items, Ordering::Relaxed);
    }

    fn look_ups(&self, key: &Key) -> &LookUps {
        &self.look_ups[usize::from(key.as_bytes()[31]) % STRIPES]
    }

    pub(crate) fn fill(&self, stats: &mut Stats) {
        let sum = |count: fn(&LookUps) -> &AtomicU64| {
            self.look_ups.iter().map(|stripe| count(stripe).load(Ordering::Relaxed)).sum()
        };
        stats.hits = sum(|stripe| &stripe.hits);
        stats.misses = sum(|stripe| &stripe.misses);
        stats.evictions = self.evictions.load(Ordering::Relaxed);
        stats.expired = self.expired.load(Ordering::Relaxed);
    }
}

/// What a store holds, and what happened in it so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Look-ups of an entry that found it.
    pub hits: u64,
    /// Look-ups of an entry that did not.
    pub misses: u64,
    /// Entries and blobs that had to go to keep the limits.
    pub evictions: u64,
    /// Entries and blobs that were found to be over, by a look-up or a sweep, and dropped.
    pub expired: u64,
    /// Number of entries. Those whose time is over count until they are dropped.
    pub entries: u64,
    /// Number of blobs, likewise.
    pub blobs: u64,
    /// Bytes of all of them, with keys, facts and tables.
    pub bytes: u64,
    /// The limit of these bytes, if there is one.
    pub max_bytes: Option<u64>,
}

impl Stats {
    /// Returns the share of the look-ups that were hits, from 0 to 1, or nothing if there was none.
    pub fn hit_ratio(&self) -> Option<f64> {
        let all = self.hits + self.misses;
        (all > 0).then(|| self.hits as f64 / all as f64)
    }
}
