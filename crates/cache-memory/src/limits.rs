//! From the limits of the options to those of `quick_cache`.

use std::thread::available_parallelism;

use quick_cache::{DefaultHashBuilder, OptionsBuilder};

use crate::Options;
use crate::evicted::Collect;
use crate::item::{Address, Item};
use crate::weight::{SLOT, Weigher, of_blob};

pub(crate) type Cache = quick_cache::sync::Cache<Address, Item, Weigher, DefaultHashBuilder, Collect>;

/// What an item takes on average, roughly, in bytes: a small entry, or the object file of a small source. `quick_cache`
/// remembers half as many evicted items as fit in by this.
const AVERAGE: u64 = 4 << 10;
/// Items that a store without a limit is expected to hold.
const UNLIMITED_ITEMS: u64 = 1 << 16;
/// Weight that no store ever reaches, so that no sum of weights overflows.
const UNLIMITED: u64 = u64::MAX >> 8;
/// Percentage of a part of the store that one item may take; what `quick_cache` uses by itself for its hot items.
const HOT_PERCENT: u64 = 97;
/// Evicted items that `quick_cache` remembers, as a percentage of those expected; what it uses by itself.
const GHOST_PERCENT: u64 = 50;
/// The largest item takes at most this fraction of a part, or else one put would empty the part.
const ITEMS_PER_PART: u64 = 4;
/// Parts per processor; what `quick_cache` uses by itself.
const PARTS_PER_PROCESSOR: u64 = 4;
/// The default limit of a blob is this fraction of the whole …
const BLOBS: u64 = 64;
/// … or this many bytes if that is more.
const LEAST_MAX_BLOB: u64 = 1 << 20;

/// What may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Largest blob and largest value, in bytes.
    pub(crate) max_blob: Option<u64>,
    /// Most bytes that an item may take with all around it.
    pub(crate) max_weight: u64,
}

/// Returns an empty cache that keeps the limits of `options`, and what may be put into it.
pub(crate) fn cache(options: &Options) -> (Cache, Limits) {
    let policy = &options.policy;
    let items = policy.max_bytes.map_or(UNLIMITED_ITEMS, |bytes| bytes / AVERAGE);
    let items =
        items.min(policy.max_entries.unwrap_or(u64::MAX).saturating_mul(2)).clamp(1, u64::from(u32::MAX));
    let ghosts = items * GHOST_PERCENT / 100 * SLOT;
    let capacity = policy.max_bytes.map_or(UNLIMITED, |bytes| bytes.min(UNLIMITED).saturating_sub(ghosts));
    let wanted = match (options.max_blob, policy.max_bytes) {
        (Some(wanted), _) => Some(wanted),
        (None, Some(_)) => Some((capacity / BLOBS).max(LEAST_MAX_BLOB.min(capacity / ITEMS_PER_PART))),
        (None, None) => None,
    };
    let parts = parts(capacity, wanted);
    let settings = OptionsBuilder::new()
        .shards(parts as usize)
        .estimated_items_capacity(items as usize)
        // quick_cache divides and rounds up, so that without this the parts together could hold more.
        .weight_capacity(capacity - capacity % parts)
        .hot_allocation(HOT_PERCENT as f64 / 100.0)
        .ghost_allocation(GHOST_PERCENT as f64 / 100.0)
        .build();
    let Ok(settings) = settings else { unreachable!("both numbers that quick_cache asks for are given") };
    let cache = Cache::with_options(settings, Weigher, DefaultHashBuilder::default(), Collect);
    let max_weight = cache.shard_capacity() / 100 * HOT_PERCENT;
    // A byte more is at most a byte more of weight, but for rounding, which the blob of one byte has in full.
    let max_blob = wanted.map(|wanted| wanted.min(max_weight.saturating_sub(of_blob(1))));
    (cache, Limits { max_blob, max_weight })
}

/// Returns into how many parts the store is divided, a power of two: few enough that each has room for large items.
fn parts(capacity: u64, largest: Option<u64>) -> u64 {
    let processors = available_parallelism().map_or(1, |count| count.get() as u64);
    let most = processors.saturating_mul(PARTS_PER_PROCESSOR);
    let roomy = largest.map_or(most, |largest| capacity / largest.saturating_mul(ITEMS_PER_PART).max(1));
    let parts = roomy.clamp(1, most);
    // The power of two at or below it.
    1 << parts.ilog2()
}

#[cfg(test)]
mod tests {
    use cache_core::Policy;

    use super::*;

    fn made(max_bytes: Option<u64>, max_blob: Option<u64>) -> (Cache, Limits) {
        let policy = Policy { max_bytes, ..Policy::unlimited() };
        cache(&Options { policy, max_blob, ..Options::default() })
    }

    #[test]
    fn the_parts_together_never_hold_more_than_the_limit() {
        for bytes in [0, 1, 1000, 10_007, 1_000_003, (64 << 20) + 5, (4 << 30) + 77] {
            for blob in [None, Some(0), Some(1), Some(1000), Some(1 << 20), Some(u64::MAX)] {
                let (cache, limits) = made(Some(bytes), blob);
                let ghosts = (bytes / AVERAGE).max(1) * GHOST_PERCENT / 100 * SLOT;
                assert!(cache.capacity() <= bytes.saturating_sub(ghosts), "{bytes} {blob:?}");
                assert!(cache.capacity() >= bytes / 100 * 95, "{bytes} {blob:?}");
                assert!(limits.max_weight <= cache.shard_capacity());
                let max_blob = limits.max_blob.unwrap();
                let fits = (max_blob.saturating_sub(64)..=max_blob)
                    .all(|len| of_blob(len as usize) <= limits.max_weight);
                assert!(fits || max_blob == 0);
                assert!(limits.max_blob.is_some_and(|max| max <= bytes && max <= blob.unwrap_or(bytes)));
            }
        }
    }

    #[test]
    fn a_larger_blob_means_fewer_parts() {
        let (many, _) = made(Some(256 << 20), Some(64 << 10));
        let (few, middle) = made(Some(256 << 20), Some(30 << 20));
        let (one, large) = made(Some(256 << 20), Some(200 << 20));
        assert!(many.num_shards() > few.num_shards() && few.num_shards() > one.num_shards());
        assert_eq!((one.num_shards(), large.max_blob), (1, Some(200 << 20)));
        assert!(few.shard_capacity() >= middle.max_blob.unwrap() * ITEMS_PER_PART);
    }

    #[test]
    fn without_a_limit_there_is_none() {
        let (cache, limits) = made(None, None);
        assert_eq!(limits.max_blob, None);
        assert!(limits.max_weight > 1 << 40 && cache.capacity() > 1 << 40);
        assert_eq!(made(None, Some(5)).1.max_blob, Some(5));
    }
}
