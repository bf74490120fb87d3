//! What a chain has done so far, in numbers.

use crate::{BreakerState, Histogram, Refusals};

/// Numbers of a chain since it was built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// One for each tier, in their order.
    pub tiers: Vec<TierStats>,
    /// Look-ups that found an entry in some tier.
    pub hits: u64,
    /// Look-ups that found none.
    pub misses: u64,
    /// Look-ups that got the answer of another one that was under way.
    pub joined: u64,
    /// Look-ups that ended early because the slower tiers had nothing a moment ago.
    pub remembered: u64,
    /// Writes that no tier could take although nothing was wrong with them; to callers, they were evicted at once.
    pub unstored: u64,
    /// Entries by their kinds: found in any tier, and stored by callers. Sorted by name.
    pub kinds: Vec<KindStats>,
    /// Copies from slower tiers into faster ones.
    pub promotions: PromotionStats,
    /// The write-back queue.
    pub pushes: PushStats,
}

/// Numbers of one tier.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierStats {
    /// Its name.
    pub name: String,
    /// The state of its circuit breaker.
    pub breaker: BreakerState,
    /// Entries found.
    pub hits: u64,
    /// Entries not found.
    pub misses: u64,
    /// Calls that it answered.
    pub answers: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Calls that ran out of time.
    pub timeouts: u64,
    /// Calls that were not made because the breaker was open.
    pub skipped: u64,
    /// Calls that were not made because their turn did not come in time.
    pub busy: u64,
    /// Blobs with wrong bytes that it gave.
    pub corrupt: u64,
    /// Entries without all of their blobs that it gave.
    pub incomplete: u64,
    /// Entries copied into it from slower tiers.
    pub promoted: u64,
    /// Entries that were not signed as they have to be, if it is [signed](crate::Tier::signed).
    pub refused: Refusals,
    /// Keys for which it is not read, because something newer was stored that it does not have. At most 65,536 are
    /// counted.
    pub outdated: u64,
    /// Entries by their kinds: found here, and stored here by callers. Sorted by name.
    pub kinds: Vec<KindStats>,
    /// How long the calls took, for each operation that was called.
    pub latencies: Vec<Latency>,
}

/// Numbers of the entries of one kind. The first 16 kinds have their own; all further ones are `other`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KindStats {
    /// The kind.
    pub kind: String,
    /// Entries found.
    pub hits: u64,
    /// Entries that callers stored.
    pub stored: u64,
}

/// How long one operation of a tier took.
///
/// Of a tier in memory one call of 61 is measured, and of another local one, one of 7, as to read the clock twice takes as long
/// as a good part of a hit; of all others, and while somebody [listens](crate::ChainObserver), every call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// The method of [`Store`](cache_core::Store), such as `get`.
    pub operation: &'static str,
    /// What the calls took, waiting for their turn included. Of a blob that is read, up to its first piece.
    pub times: Histogram,
}

impl Stats {
    /// Returns the part of all look-ups that found an entry, from 0 to 1; nothing if there were none.
    pub fn hit_ratio(&self) -> Option<f64> {
        ratio(self.hits, self.misses)
    }
}

impl TierStats {
    /// Returns the part of the look-ups that came here which found an entry, from 0 to 1; nothing if none came.
    pub fn hit_ratio(&self) -> Option<f64> {
        ratio(self.hits, self.misses)
    }

    /// Returns how long the calls of `operation` took, if there were any.
    pub fn latency(&self, operation: &str) -> Option<&Histogram> {
        self.latencies.iter().find(|latency| latency.operation == operation).map(|latency| &latency.times)
    }
}

impl KindStats {
    /// Returns the part of what was wanted that was found, from 0 to 1; nothing if nothing was wanted.
    ///
    /// A key does not say of which kind the entry would be, so a miss counts when what was missing is made and stored.
    pub fn hit_ratio(&self) -> Option<f64> {
        ratio(self.hits, self.stored)
    }
}

/// Returns the part that `hits` are of both.
pub(crate) fn ratio(hits: u64, others: u64) -> Option<f64> {
    let all = hits.saturating_add(others);
    (all > 0).then(|| hits as f64 / all as f64)
}

/// Numbers of the copies into faster tiers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PromotionStats {
    /// Copies that wait.
    pub waiting: u64,
    /// Bytes in memory that they hold.
    pub waiting_bytes: u64,
    /// Copies made, those that turned out to be needless included.
    pub done: u64,
    /// Copies not made because too many waited.
    pub dropped: u64,
    /// Copies that failed or were overtaken by a write.
    pub failed: u64,
}

/// Numbers of the write-back queue. What was queued or picked up is done, lost, or still waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushStats {
    /// Writes that wait or are under way.
    pub waiting: u64,
    /// Bytes that they are about to send.
    pub waiting_bytes: u64,
    /// Writes that were queued.
    pub queued: u64,
    /// Writes that an earlier process left behind and this one picked up.
    pub picked_up: u64,
    /// Writes that arrived.
    pub done: u64,
    /// Writes that a newer one under the same key made needless.
    pub replaced: u64,
    /// Writes that the filters kept out.
    pub filtered: u64,
    /// Writes that found the queue full.
    pub dropped: u64,
    /// Writes given up after they failed too often, or whose content was evicted before it was sent.
    pub lost: u64,
    /// Times that the journal could not be written or read.
    pub journal_failures: u64,
}
