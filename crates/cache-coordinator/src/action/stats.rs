//! What an action or target cache has done so far, in numbers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::hit::{Hit, Recording};
use super::miss::Miss;

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
}

impl Counters {
    pub(crate) fn looked_up(&self, result: &Result<Hit, Miss>) {
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
        RecordStats {
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
