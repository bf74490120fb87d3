//! From events to counters and histograms of the `metrics` facade.

use cache_core::Event;
use metrics::{counter, gauge, histogram};

use crate::event::{ChainObserver, TierEvent};
use crate::kinds::Named;
use crate::{BreakerState, StoreEvents};

/// Counts what a chain tells, with the recorder of the `metrics` facade that the program has installed.
///
/// | metric | labels | what |
/// |---|---|---|
/// | `vitte_cache_hits_total` | `tier`, `kind` | entries found |
/// | `vitte_cache_misses_total` | `reason` | look-ups that found nothing in any tier |
/// | `vitte_cache_passes_total` | `tier`, `reason` | look-ups that a tier passed on to the next |
/// | `vitte_cache_updates_total` | `tier`, `kind` | entries that callers stored |
/// | `vitte_cache_updated_bytes_total` | `tier`, `kind` | bytes of their values and blobs |
/// | `vitte_cache_unstored_total` | | entries that no tier could take |
/// | `vitte_cache_removals_total` | `tier` | entries that callers removed |
/// | `vitte_cache_evictions_total` | `tier` | entries and blobs that had to go; see below |
/// | `vitte_cache_evicted_bytes_total` | `tier` | their bytes; see below |
/// | `vitte_cache_collections_total` | `tier` | collections of garbage |
/// | `vitte_cache_collected_total` | `tier` | entries, blobs and files that they removed |
/// | `vitte_cache_collected_bytes_total` | `tier` | bytes that they freed |
/// | `vitte_cache_promotions_total` | `tier`, `outcome` | copies into a faster tier: `done`, `dropped` without a tier |
/// | `vitte_cache_pushes_total` | `tier`, `outcome` | writes to a slower tier: `done`, `dropped` |
/// | `vitte_cache_failures_total` | `tier`, `operation` | calls that failed, or were not made |
/// | `vitte_cache_corruptions_total` | `tier` | blobs with wrong bytes; what a store finds by itself, see below |
/// | `vitte_cache_incomplete_total` | `tier` | entries without all of their blobs |
/// | `vitte_cache_refusals_total` | `tier` | entries that are not signed as they have to be |
/// | `vitte_cache_journal_failures_total` | | times that the journal could not be written or read |
/// | `vitte_cache_breaker_open` | `tier` | gauge: 1 while the breaker is open, 0.5 while it probes |
/// | `vitte_cache_call_seconds` | `tier`, `operation` | histogram: what calls took |
///
/// Evictions, and damage that a store finds by itself, come from the [events of the store](StoreEvents): give it
/// [`MetricsObserver::of_store`]. The first 16 kinds have their own label; all further ones are `other`.
///
/// A counter costs an allocation or two, and every call is measured while somebody listens: some 300 ns for a hit. Where
/// no recorder is installed, leave it out; [`Stats`](crate::Stats) count without it.
#[derive(Debug, Default)]
pub struct MetricsObserver {
    kinds: Named<()>,
}

impl MetricsObserver {
    /// Returns an observer that has not counted anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns an observer for the store of the tier `tier`, which counts what only the store can know.
    pub fn of_store(tier: impl Into<String>) -> StoreEvents {
        StoreEvents::new(std::sync::Arc::new(Self::new())).named(tier)
    }

    fn kind(&self, kind: &str) -> String {
        self.kinds.of(kind).0.to_owned()
    }
}

impl ChainObserver for MetricsObserver {
    fn on_event(&self, event: &TierEvent<'_>) {
        let name = |tier: &str| tier.to_owned();
        match *event {
            TierEvent::Hit { tier, kind, key: _ } => {
                counter!("vitte_cache_hits_total", "tier" => name(tier), "kind" => self.kind(kind))
                    .increment(1);
            }
            TierEvent::Passed { tier, reason, key: _ } => {
                let reason = reason.name();
                counter!("vitte_cache_passes_total", "tier" => name(tier), "reason" => reason).increment(1);
            }
            TierEvent::Miss { reason, key: _, certain: _ } => {
                counter!("vitte_cache_misses_total", "reason" => reason.name()).increment(1);
            }
            TierEvent::Stored { tier, kind, bytes, key: _ } => {
                let labels = [("tier", name(tier)), ("kind", self.kind(kind))];
                counter!("vitte_cache_updates_total", &labels).increment(1);
                counter!("vitte_cache_updated_bytes_total", &labels).increment(bytes);
            }
            TierEvent::Unstored { key: _ } => counter!("vitte_cache_unstored_total").increment(1),
            TierEvent::Removed { tier, key: _ } => {
                counter!("vitte_cache_removals_total", "tier" => name(tier)).increment(1);
            }
            TierEvent::Called { tier, operation, took } => {
                let labels = [("tier", name(tier)), ("operation", name(operation))];
                histogram!("vitte_cache_call_seconds", &labels).record(took);
            }
            TierEvent::Failed { tier, operation, error: _ } => {
                let labels = [("tier", name(tier)), ("operation", name(operation))];
                counter!("vitte_cache_failures_total", &labels).increment(1);
            }
            TierEvent::Breaker { tier, state } => {
                let open = match state {
                    BreakerState::Closed => 0.0,
                    BreakerState::HalfOpen => 0.5,
                    BreakerState::Open => 1.0,
                };
                gauge!("vitte_cache_breaker_open", "tier" => name(tier)).set(open);
            }
            TierEvent::Corrupt { tier, digest: _ } => {
                counter!("vitte_cache_corruptions_total", "tier" => name(tier)).increment(1);
            }
            TierEvent::Incomplete { tier, key: _, digest: _ } => {
                counter!("vitte_cache_incomplete_total", "tier" => name(tier)).increment(1);
            }
            TierEvent::Refused { tier, key: _, reason: _ } => {
                counter!("vitte_cache_refusals_total", "tier" => name(tier)).increment(1);
            }
            TierEvent::Promoted { tier, key: _ } => {
                counter!("vitte_cache_promotions_total", "tier" => name(tier), "outcome" => "done")
                    .increment(1);
            }
            TierEvent::NotPromoted { what: _, why: _ } => {
                counter!("vitte_cache_promotions_total", "outcome" => "dropped").increment(1);
            }
            TierEvent::Pushed { tier, key: _ } => {
                counter!("vitte_cache_pushes_total", "tier" => name(tier), "outcome" => "done").increment(1);
            }
            TierEvent::NotPushed { tier, key: _, why: _ } => {
                counter!("vitte_cache_pushes_total", "tier" => name(tier), "outcome" => "dropped")
                    .increment(1);
            }
            TierEvent::Collected { tier, collected } => {
                counter!("vitte_cache_collections_total", "tier" => name(tier)).increment(1);
                counter!("vitte_cache_collected_total", "tier" => name(tier)).increment(collected.items());
                counter!("vitte_cache_collected_bytes_total", "tier" => name(tier))
                    .increment(collected.bytes);
            }
            TierEvent::Journal { error: _ } => counter!("vitte_cache_journal_failures_total").increment(1),
            TierEvent::Store { tier, event } => of_store(tier, event),
            // Told to people, and nothing that happens often enough to be counted.
            _ => {}
        }
    }
}

/// Counts what the chain is not told: look-ups and puts would be counted twice.
fn of_store(tier: &str, event: &Event<'_>) {
    match event {
        Event::Evicted { items, bytes } => {
            counter!("vitte_cache_evictions_total", "tier" => tier.to_owned()).increment(*items);
            counter!("vitte_cache_evicted_bytes_total", "tier" => tier.to_owned()).increment(*bytes);
        }
        Event::Corrupt { .. } => {
            counter!("vitte_cache_corruptions_total", "tier" => tier.to_owned()).increment(1);
        }
        _ => {}
    }
}
