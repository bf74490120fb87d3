//! What a process has counted and not yet written down.

use std::sync::atomic::{AtomicU64, Ordering};

use super::control::Counters;

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) puts: AtomicU64,
    pub(super) duplicates: AtomicU64,
    pub(super) ghost_hits: AtomicU64,
    pub(super) probation_hits: AtomicU64,
    pub(super) main_hits: AtomicU64,
    pub(super) misses: AtomicU64,
    /// Records appended: what `max_entries` is measured by.
    pub(super) records: AtomicU64,
}

impl Tally {
    pub(super) fn count(number: &AtomicU64) {
        number.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns what was counted since the last call. A number that is counted meanwhile is in this or in the next.
    pub(super) fn take(&self) -> Counters {
        let take = |number: &AtomicU64| number.swap(0, Ordering::Relaxed);
        Counters {
            puts: take(&self.puts),
            duplicates: take(&self.duplicates),
            ghost_hits: take(&self.ghost_hits),
            probation_hits: take(&self.probation_hits),
            main_hits: take(&self.main_hits),
            misses: take(&self.misses),
            records: take(&self.records),
            ..Counters::default()
        }
    }
}
