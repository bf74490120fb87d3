//! How much of everything is done.

use std::fmt;
use std::time::Duration;

pub(crate) struct Plan {
    pub(crate) quick: bool,
    pub(crate) million: bool,
    /// Values that every store holds.
    pub(crate) values: u64,
    /// Turns that each peer takes in a phase: a slow moment of the machine hits all of them alike.
    pub(crate) rounds: u64,
    pub(crate) reads: u64,
    pub(crate) misses: u64,
    pub(crate) duplicates: u64,
    /// Fresh processes that open each store.
    pub(crate) opens: u64,
    pub(crate) blobs: u64,
    pub(crate) mixed_rounds: u64,
    /// Of each round with several processes.
    pub(crate) mixed_time: Duration,
    /// Values that are read where hits are counted: fewer would make segments of their least size.
    pub(crate) policy_values: u64,
    /// Reads that count for the hit ratio, after as many that warm the cache.
    pub(crate) policy_reads: u64,
    /// Repetitions of each system call of the machine's limits.
    pub(crate) limits: u64,
}

/// Entries of the two stores that must open equally fast.
pub(crate) const THOUSAND: u64 = 1_000;
pub(crate) const MILLION: u64 = 1_000_000;
/// Of the mixed load.
pub(crate) const PROCESSES: u64 = 8;
/// One operation in ten of the mixed load stores something.
pub(crate) const PUT_EVERY: u64 = 10;
/// The cache whose hit ratio is measured holds this part of the bytes.
pub(crate) const CACHED_PART: u64 = 10;
/// One insert that is never read for this many reads, as clean builds and branches make them.
pub(crate) const READS_PER_SCAN: u64 = 3;

impl Plan {
    pub(crate) fn new(quick: bool, million: bool) -> Self {
        let part = if quick { 10 } else { 1 };
        Self {
            quick,
            million,
            values: 100_000 / part,
            rounds: 10,
            reads: 200_000 / part,
            misses: 100_000 / part,
            duplicates: 25_000 / part,
            opens: 30,
            blobs: if quick { 3 } else { 9 },
            mixed_rounds: if quick { 1 } else { 3 },
            mixed_time: Duration::from_millis(if quick { 1_000 } else { 2_000 }),
            policy_values: 100_000,
            policy_reads: if quick { 150_000 } else { 500_000 },
            limits: 20_000 / part,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quick = if self.quick { " (quick)" } else { "" };
        write!(
            f,
            "{} values{quick}, {} reads, {} misses in {} turns of each peer",
            self.values, self.reads, self.misses, self.rounds
        )
    }
}
