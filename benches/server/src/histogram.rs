//! Times of requests, counted in classes.

use std::time::Duration;

/// Classes to each power of two: a time is known to within 1.6 %.
const FINE: u32 = 64;
const FINE_BITS: u32 = FINE.ilog2();
const CLASSES: usize = ((64 - FINE_BITS + 1) * FINE) as usize;

/// How many requests took how long. Adding allocates nothing.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    all: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; CLASSES], all: 0 }
    }

    pub(crate) fn add(&mut self, took: Duration) {
        self.counts[class(took.as_nanos() as u64)] += 1;
        self.all += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.all += other.all;
    }

    pub(crate) fn count(&self) -> u64 {
        self.all
    }

    /// Returns the time in microseconds that `percent` of the requests do not exceed, or nothing if there are none.
    pub(crate) fn percentile(&self, percent: u64) -> Option<f64> {
        let rank = (self.all * percent).div_ceil(100).max(1);
        let mut sum = 0;
        let class = self.counts.iter().position(|count| {
            sum += count;
            sum >= rank
        })?;
        Some(middle(class) / 1e3)
    }
}

fn class(nanos: u64) -> usize {
    let shift = nanos.checked_ilog2().unwrap_or(0).saturating_sub(FINE_BITS);
    // Below the first power of two that is divided, each nanosecond is a class.
    let fine = (nanos >> shift) as u32;
    (shift * FINE + fine) as usize
}

fn middle(class: usize) -> f64 {
    let class = class as u32;
    let shift = (class / FINE).saturating_sub(1);
    let fine = class - shift * FINE;
    (f64::from(fine) + 0.5) * 2f64.powi(shift as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_close() {
        let mut histogram = Histogram::new();
        assert!(histogram.percentile(50).is_none());
        (1..=1_000).rev().for_each(|micros| histogram.add(Duration::from_micros(micros)));
        let mut twice = histogram.clone();
        twice.merge(&histogram);
        for (percent, expected) in [(1, 10.0), (50, 500.0), (99, 990.0), (100, 1_000.0)] {
            let found = twice.percentile(percent).unwrap();
            assert!((found / expected - 1.0).abs() < 0.016, "{percent}: {found}");
        }
        assert_eq!(twice.count(), 2_000);
    }

    #[test]
    fn every_time_has_a_class() {
        let mut last = 0;
        for nanos in [0, 1, 63, 64, 127, 128, 129, 1 << 20, u64::MAX] {
            let class = class(nanos);
            assert!(class < CLASSES && class >= last, "{nanos}: {class} after {last}");
            last = class;
        }
    }
}
