//! What is worth keeping for longer than other things of its age: what was dear to make.

use cache_core::{Entry, Priority};

/// From this many milliseconds for each KiB on, an entry is dear: a MiB that took two minutes to make, or the result of a test
/// without outputs that took half a second. Ordinary compilations are below by a factor of ten.
const DEAR_MS_PER_KIB: u64 = 100;
/// KiB that an entry takes besides its value and blobs, roughly: a block.
const OVERHEAD_KIB: u64 = 4;

/// Returns the priority by which `entry` is evicted, given that which it has in this store: one that nobody has lifted or
/// lowered is high if `cost_ms` is at least 100 for each KiB of its value and blobs and 4 KiB more. It is cost by size as in
/// GreedyDual-Size (Cao and Irani, *Cost-Aware WWW Proxy Caching Algorithms*, USITS 1997), in one step.
///
/// What is cheap stays normal: it may be small, and needed all the time.
pub(crate) fn eviction_priority(entry: &Entry, priority: Priority) -> Priority {
    let kib = (entry.size() / 1024).saturating_add(OVERHEAD_KIB);
    let dear = entry.meta.cost_ms >= kib.saturating_mul(DEAR_MS_PER_KIB);
    if dear && priority == Priority::Normal { Priority::High } else { priority }
}

#[cfg(test)]
mod tests {
    use cache_core::EntryMeta;

    use super::*;

    #[test]
    fn what_took_long_for_its_size_is_dear() {
        let of = |cost_ms, size, priority| {
            let meta = EntryMeta { cost_ms, ..EntryMeta::default() };
            let entry = Entry { meta, value: vec![0; size].into(), ..Entry::default() };
            eviction_priority(&entry, priority)
        };
        let (low, normal, high) = (Priority::Low, Priority::Normal, Priority::High);
        assert_eq!((of(0, 0, normal), of(399, 0, normal), of(400, 0, normal)), (normal, normal, high));
        assert_eq!((of(102_000, 1 << 20, normal), of(102_800, 1 << 20, normal)), (normal, high));
        // What somebody has said counts for more.
        assert_eq!((of(u64::MAX, 0, low), of(0, 1 << 20, high)), (low, high));
    }
}
