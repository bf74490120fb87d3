//! What an action or target cache has done so far, in numbers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::hit::{Hit, Recording};
use super::miss::Miss;
use crate::kinds::Named;
use crate::stats::ratio;

/// Numbers of an [`ActionCache`](super::ActionCache) or a [`TargetCache`](crate::target::TargetCache) since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordStats {
    /// Look-ups that found what need not be done again.
    pub hits: u64,
    /// How many of them had outputs that were not in the tree.
    pub misplaced: u64,
    /// Milliseconds that the hits took when they were executed.
    pub saved_ms: u64,
    /// Look-ups that did not, by the [name](Miss::name) of the reason.
    pub misses: BTreeMap<&'static str, u64>,
    /// Executions that were recorded.
    pub recorded: u64,
    /// How many of them had other outputs than an execution with equal inputs before.
    pub differing: u64,
    /// Results that were put back into the tree.
    pub restored: u64,
    /// Look-ups by the kind of action, or of targets. Sorted by name.
    pub kinds: Vec<RecordKindStats>,
}

/// Look-ups of one kind. The first 16 kinds have their own numbers; all further ones are `other`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordKindStats {
    /// The [kind](super::ActionKind), or `target`.
    pub kind: String,
    /// Look-ups that found what need not be done again.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
}

impl RecordStats {
    /// Returns the part of the look-ups that were hits, from 0 to 1; nothing if there were none.
    pub fn hit_ratio(&self) -> Option<f64> {
        ratio(self.hits, self.misses.values().fold(0, |sum, count| sum.saturating_add(*count)))
    }
}

impl RecordKindStats {
    /// Returns the part of the look-ups that were hits, from 0 to 1; nothing if there were none.
    pub fn hit_ratio(&self) -> Option<f64> {
        ratio(self.hits, self.misses)
    }
}

#[derive(Debug, Default)]
struct Kind {
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    hits: AtomicU64,
    misplaced: AtomicU64,
    saved_ms: AtomicU64,
    misses: Mutex<BTreeMap<&'static str, u64>>,
    recorded: AtomicU64,
    differing: AtomicU64,
    restored: AtomicU64,
    kinds: Named<Kind>,
}

impl Counters {
    pub(crate) fn looked_up(&self, kind: &str, result: &Result<Hit, Miss>) {
        let kind = self.kinds.of(kind).1;
        let of_kind = if result.is_ok() { &kind.hits } else { &kind.misses };
        of_kind.fetch_add(1, Ordering::Relaxed);
        match result {
            Ok(hit) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                self.misplaced.fetch_add(u64::from(!hit.is_in_place()), Ordering::Relaxed);
                self.saved_ms.fetch_add(hit.cost_ms(), Ordering::Relaxed);
            }
            Err(miss) => {
                *self
                    .misses
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .entry(miss.name())
                    .or_default() += 1;
            }
        }
    }

    pub(crate) fn recorded(&self, recording: &Recording) {
        self.recorded.fetch_add(1, Ordering::Relaxed);
        self.differing.fetch_add(u64::from(!recording.differing.is_empty()), Ordering::Relaxed);
    }

    pub(crate) fn restored(&self) {
        self.restored.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> RecordStats {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let kinds = self.kinds.collect(|kind| (number(&kind.hits), number(&kind.misses)));
        RecordStats {
            kinds: kinds
                .into_iter()
                .map(|(kind, hits, misses)| RecordKindStats { kind, hits, misses })
                .collect(),
            hits: number(&self.hits),
            misplaced: number(&self.misplaced),
            saved_ms: number(&self.saved_ms),
            misses: self.misses.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            recorded: number(&self.recorded),
            differing: number(&self.differing),
            restored: number(&self.restored),
        }
    }
}
