//! How long the calls of a tier took, by operation.

use std::time::Duration;

use crate::histogram::Times;
use crate::stats::Latency;

/// The operations that are measured.
const OPERATIONS: [&str; 10] =
    ["get", "get_many", "put", "remove", "list", "missing", "read", "write", "delete", "flush"];

/// A histogram for each operation: ten kilobytes for a tier, whatever happens to it.
#[derive(Debug, Default)]
pub(crate) struct Latencies([Times; OPERATIONS.len()]);

impl Latencies {
    pub(crate) fn record(&self, operation: &str, took: Duration) {
        let at = OPERATIONS.iter().position(|known| *known == operation);
        debug_assert!(at.is_some(), "{operation} is not among the operations that are measured");
        if let Some(at) = at {
            self.0[at].record(took);
        }
    }

    /// Returns the times of the operations that were called.
    pub(crate) fn stats(&self) -> Vec<Latency> {
        let all = OPERATIONS.iter().zip(&self.0);
        let all = all.map(|(operation, times)| Latency { operation, times: times.histogram() });
        all.filter(|latency| latency.times.count() > 0).collect()
    }
}
