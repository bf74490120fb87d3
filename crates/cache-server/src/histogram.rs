//! How long requests take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;

use crate::counters::add;

/// Upper ends of the buckets in microseconds: from a hit in memory to a large upload from far away. A last bucket has the rest.
const ENDS: [u64; 14] = [
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    1_000_000,
    5_000_000,
    30_000_000,
    120_000_000,
];

/// Durations in buckets.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; ENDS.len() + 1],
    micros: AtomicU64,
}

/// Histograms by what a method is for.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    read: Histogram,
    write: Histogram,
    delete: Histogram,
    other: Histogram,
}

/// What a [`Histogram`] shows at one moment.
pub(crate) struct Distribution {
    /// Upper ends in seconds, each with how many took no longer.
    pub(crate) buckets: Vec<(f64, u64)>,
    pub(crate) count: u64,
    /// Seconds of all together.
    pub(crate) sum: f64,
}

impl Histogram {
    pub(crate) fn add(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let at = ENDS.partition_point(|end| *end < micros);
        add(&self.buckets[at], 1);
        add(&self.micros, micros);
    }

    pub(crate) fn distribution(&self) -> Distribution {
        let mut count = 0;
        let mut upto = |bucket: &AtomicU64| {
            count += bucket.load(Ordering::Relaxed);
            count
        };
        let [buckets @ .., rest] = &self.buckets;
        let seconds = |micros: u64| micros as f64 / 1e6;
        let buckets = ENDS.iter().zip(buckets).map(|(end, bucket)| (seconds(*end), upto(bucket))).collect();
        let count = upto(rest);
        Distribution { buckets, count, sum: seconds(self.micros.load(Ordering::Relaxed)) }
    }
}

impl Durations {
    /// Returns the one for a method.
    pub(crate) fn of(&self, method: &Method) -> &Histogram {
        match *method {
            Method::GET | Method::HEAD => &self.read,
            Method::PUT => &self.write,
            Method::DELETE => &self.delete,
            _ => &self.other,
        }
    }

    /// Returns all of them with their names.
    pub(crate) fn all(&self) -> [(&'static str, &Histogram); 4] {
        [("read", &self.read), ("write", &self.write), ("delete", &self.delete), ("other", &self.other)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_what_took_no_longer_than_its_end() {
        let histogram = Histogram::default();
        for micros in [0, 250, 251, 1_000, 120_000_000, 120_000_001] {
            histogram.add(Duration::from_micros(micros));
        }
        let Distribution { buckets, count, sum } = histogram.distribution();
        assert_eq!(buckets[..3], [(0.000_25, 2), (0.000_5, 3), (0.001, 4)]);
        assert_eq!(buckets[12..], [(30.0, 4), (120.0, 5)]);
        assert_eq!(count, 6);
        assert!((sum - 240.001_502).abs() < 1e-6, "{sum}");
    }
}
