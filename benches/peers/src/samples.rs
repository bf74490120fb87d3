//! Times of single operations.

use std::time::Duration;

/// Times in nanoseconds, one per operation, all of them kept.
#[derive(Default)]
pub struct Samples {
    nanos: Vec<u64>,
}

impl Samples {
    pub fn add(&mut self, took: Duration) {
        self.nanos.push(took.as_nanos() as u64);
    }

    /// Returns the median and the 99th percentile (nearest rank), in microseconds.
    pub fn summary(&self) -> Option<Summary> {
        let mut sorted = self.nanos.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).map(|nanos| *nanos as f64 / 1e3)
        };
        Some(Summary { median: at(50)?, p99: at(99)? })
    }
}

/// In microseconds.
#[derive(Clone, Copy)]
pub struct Summary {
    pub median: f64,
    pub p99: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let mut samples = Samples::default();
        assert!(samples.summary().is_none());
        (1..=200).rev().for_each(|micros| samples.add(Duration::from_micros(micros)));
        let summary = samples.summary().unwrap();
        assert!((summary.median - 100.0).abs() < 1e-9 && (summary.p99 - 198.0).abs() < 1e-9);
    }
}
