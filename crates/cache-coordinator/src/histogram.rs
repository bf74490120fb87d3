//! How long calls took, in buckets of fixed bounds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The first bucket ends at 2 to this power of nanoseconds: 64 ns, less than the cheapest call takes.
const LOWEST: u32 = 6;
/// The last bucket begins at 2 to this power of nanoseconds: 69 s, more than a deadline allows.
const HIGHEST: u32 = 36;
/// Buckets per power of two, as a power of two: four, so that a bucket's end is at most a quarter above what is in it.
const PARTS: u32 = 2;
const BUCKETS: usize = ((HIGHEST - LOWEST) << PARTS) as usize + 2;

/// How often something took how long.
///
/// The buckets are those of HDR histograms: equal parts of each power of two, here four from 64 ns to 69 s. So a
/// [`quantile`](Self::quantile) is at most a quarter too large, and never too small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: Vec<u64>,
    sum: u64,
    max: u64,
}

impl Histogram {
    /// Returns how many were measured.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Returns what they took on average; nothing if there were none.
    pub fn mean(&self) -> Option<Duration> {
        self.sum.checked_div(self.count()).map(Duration::from_nanos)
    }

    /// Returns what the longest took; zero if there were none.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// Returns what the part `fraction` of them took at most, such as the median for 0.5; nothing if there were none.
    pub fn quantile(&self, fraction: f64) -> Option<Duration> {
        let count = self.count();
        let rank = ((fraction.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut below = 0_u64;
        let bucket = self.buckets.iter().position(|count| {
            below = below.saturating_add(*count);
            below >= rank
        })?;
        Some(Duration::from_nanos(end(bucket).map_or(self.max, |end| end.min(self.max))))
    }

    /// Returns the end of each bucket that is not empty, and how many are in it. The last bucket has no end.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let filled = self.buckets.iter().copied().enumerate().filter(|(_, count)| *count > 0);
        filled.map(|(bucket, count)| (end(bucket).map(Duration::from_nanos), count))
    }
}

/// Returns which bucket `nanos` belongs to.
fn bucket(nanos: u64) -> usize {
    if nanos >> LOWEST == 0 {
        return 0;
    }
    let power = nanos.ilog2();
    if power >= HIGHEST {
        return BUCKETS - 1;
    }
    let part = (nanos >> (power - PARTS)) & ((1 << PARTS) - 1);
    1 + (((power - LOWEST) << PARTS) as usize) + part as usize
}

/// Returns the first nanosecond after the bucket; nothing for the last one.
fn end(bucket: usize) -> Option<u64> {
    let Some(above) = bucket.checked_sub(1) else { return Some(1 << LOWEST) };
    let (power, part) = (LOWEST + (above as u32 >> PARTS), above as u64 & ((1 << PARTS) - 1));
    (power < HIGHEST).then(|| ((1 << PARTS) + part + 1) << (power - PARTS))
}

/// A histogram that many write to at once: a thousand bytes, no lock, no allocation.
#[derive(Debug)]
pub(crate) struct Times {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Times {
    fn default() -> Self {
        let buckets = [const { AtomicU64::new(0) }; BUCKETS];
        Self { buckets, sum: AtomicU64::new(0), max: AtomicU64::new(0) }
    }
}

impl Times {
    pub(crate) fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(nanos, Ordering::Relaxed);
        self.max.fetch_max(nanos, Ordering::Relaxed);
    }

    pub(crate) fn histogram(&self) -> Histogram {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let buckets = self.buckets.iter().map(of).collect();
        Histogram { buckets, sum: of(&self.sum), max: of(&self.max) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut begin = 0;
        for at in 0..BUCKETS - 1 {
            let end = end(at).unwrap();
            assert_eq!((bucket(begin), bucket(end - 1), bucket(end)), (at, at, at + 1));
            begin = end;
        }
        assert_eq!(begin, 1 << HIGHEST);
        assert_eq!((bucket(u64::MAX), end(BUCKETS - 1)), (BUCKETS - 1, None));
    }

    #[test]
    fn nothing_measured_is_nothing_known() {
        let empty = Times::default().histogram();
        assert_eq!((empty.count(), empty.mean(), empty.quantile(0.5)), (0, None, None));
        assert_eq!((empty.max(), empty.buckets().count()), (Duration::ZERO, 0));
    }

    #[test]
    fn what_is_beyond_the_last_bucket_is_known_by_the_longest() {
        let times = Times::default();
        times.record(Duration::from_secs(1));
        times.record(Duration::from_secs(1000));
        times.record(Duration::MAX);
        let all = times.histogram();
        assert_eq!(all.quantile(0.3), Some(Duration::from_nanos(1 << 30)));
        assert_eq!((all.quantile(1.0), all.max()), (Some(all.max()), Duration::from_nanos(u64::MAX)));
        assert_eq!(all.buckets().last(), Some((None, 2)));
    }

    proptest! {
        #[test]
        fn a_quantile_is_never_too_small_and_at_most_a_quarter_too_large(
            mut nanos in proptest::collection::vec(64_u64..1 << HIGHEST, 1..200),
            fraction in 0.0..=1.0_f64,
        ) {
            let times = Times::default();
            for nanos in &nanos {
                times.record(Duration::from_nanos(*nanos));
            }
            nanos.sort_unstable();
            let rank = ((fraction * nanos.len() as f64).ceil() as usize).max(1);
            let (right, histogram) = (nanos[rank - 1], times.histogram());
            let found = histogram.quantile(fraction).unwrap().as_nanos() as u64;
            prop_assert!(found >= right && found <= right + right / 4 + 1, "{found} for {right}");
            prop_assert_eq!(histogram.count(), nanos.len() as u64);
            prop_assert_eq!(histogram.max().as_nanos() as u64, nanos[nanos.len() - 1]);
            prop_assert_eq!(
                histogram.mean().unwrap().as_nanos() as u64,
                nanos.iter().sum::<u64>() / nanos.len() as u64
            );
        }
    }
}
