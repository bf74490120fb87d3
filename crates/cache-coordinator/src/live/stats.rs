//! What a live cache has done so far, in numbers.

use std::collections::BTreeMap;

use super::answer::Lookup;

/// Numbers of a [`LiveCache`](super::LiveCache) since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveStats {
    /// Look-ups that were hits.
    pub hits: u64,
    /// Look-ups that were not, by the name of the reason: [`Absence::name`](super::Absence::name) and
    /// [`Invalidation::name`](super::Invalidation::name).
    pub misses: BTreeMap<&'static str, u64>,
    /// Entries that were persisted.
    pub persisted: u64,
    /// How many of them had the result that they had before, so that what depends on them need not be computed anew.
    pub unchanged: u64,
    /// Entries that were dropped because of what was reported, or of what a check found.
    pub invalidated: u64,
    /// Entries that were in doubt because of an entry upstream, and were found valid without being computed anew.
    pub cut_offs: u64,
    /// Checks of entries that were skipped, as nothing of their durability has changed.
    pub skipped_by_durability: u64,
    /// Entries and paths that were visited to put something in doubt or to drop it, and entries visited by checks.
    pub visited: u64,
    /// Files that were compared with what they were.
    pub files_checked: u64,
    /// Entries that were forgotten in memory to keep the limit; they stay in the store.
    pub forgotten: u64,
    /// Entries that are dropped and wait to be removed from the store.
    pub removals_waiting: u64,
    /// Removals that were given up, as too many waited.
    pub removals_lost: u64,
    /// Bytes of memory that knowing the entries takes, without the bytes of any.
    pub memory_bytes: u64,
}

impl LiveStats {
    pub(super) fn looked_up(&mut self, lookup: &Lookup) {
        let reason = match lookup {
            Lookup::Hit(_) => {
                self.hits += 1;
                return;
            }
            Lookup::Miss(absence) => absence.name(),
            Lookup::Invalidated(invalidation) => invalidation.name(),
        };
        *self.misses.entry(reason).or_default() += 1;
    }
}
