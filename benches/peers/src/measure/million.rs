//! Our store of a million entries: what it costs to look at it, and to evict from it.

use std::path::Path;
use std::time::{Duration, Instant};

use cache_fs::{FsStore, Layout, Options, SegmentOptions, Segments};

use crate::peers::Result;
use crate::plan::MILLION;
use crate::usage;
use bench::rng::Rng;
use bench::workload::{self, SEED, Values};

/// Puts into the full store. They are as much as is evicted for them.
const PUTS: u64 = 200_000;
/// So many gets for each of those puts.
const GETS_PER_PUT: u64 = 2;

/// What was measured.
pub(crate) struct Million {
    /// Counts all that `vitte-cache stats` shows.
    pub(crate) stats: Duration,
    /// All puts into the store a tenth over its limit, until it was within.
    pub(crate) evict_tenth: Duration,
    /// How many those were.
    pub(crate) puts: u64,
    /// Bytes that went meanwhile.
    pub(crate) evicted: u64,
    /// Memory of this process that it takes more than before, with the store open and after all of it.
    pub(crate) memory: u64,
    /// The longest operations of those that ran while the store was over its limit or full.
    pub(crate) longest_put: Duration,
    pub(crate) longest_get: Duration,
}

/// Works on the store of a million small entries in `dir`.
pub(crate) fn run(dir: &Path) -> Result<Million> {
    let mut values = Values::new();
    let mut buffer = Vec::with_capacity(1 << 20);
    let memory = usage::memory().unwrap_or(0);
    let stats = stats(dir)?;
    let before = usage::disk(dir)?;
    let mut options = SegmentOptions::default();
    let limit = before / 10 * 9;
    options.max_bytes = Some(limit);
    let segments = Segments::open(dir, options)?;
    let mut put = |n: u64| -> Result<Duration> {
        let (key, value) = (workload::key(workload::scanned(n)), values.small(workload::scanned(n)));
        let start = Instant::now();
        segments.put(&key, value)?;
        Ok(start.elapsed())
    };
    let (mut puts, mut evict_tenth) = (0, Duration::ZERO);
    let (mut longest_put, mut longest_get) = (Duration::ZERO, Duration::ZERO);
    // Room is made by a segment for each lease of the log, and a lease is for many small values.
    while segments.bytes() > limit && puts < PUTS {
        let took = put(puts)?;
        (evict_tenth, longest_put) = (evict_tenth + took, longest_put.max(took));
        puts += 1;
    }
    let evicted = before.saturating_sub(usage::disk(dir)?);
    let mut rng = Rng::new(SEED ^ 7);
    let checker = Values::new();
    for n in puts..puts + PUTS {
        longest_put = longest_put.max(put(n)?);
        for _ in 0..GETS_PER_PUT {
            let id = rng.below(MILLION);
            let key = workload::key(id);
            let start = Instant::now();
            let found = segments.get_into(&key, &mut buffer)?;
            longest_get = longest_get.max(start.elapsed());
            if found.is_some_and(|found| !checker.is_small(id, found)) {
                return Err(format!("returned a wrong value for entry {id} while evicting").into());
            }
        }
    }
    let memory = usage::memory().unwrap_or(0).saturating_sub(memory);
    Ok(Million { stats, evict_tenth, puts, evicted, memory, longest_put, longest_get })
}

fn stats(dir: &Path) -> Result<Duration> {
    let options = Options { layout: Layout::Segments, ..Options::default() };
    let start = Instant::now();
    let stats = FsStore::open(dir, options)?.segment_stats()?;
    let took = start.elapsed();
    let live = stats.map_or(0, |stats| stats.live_slots);
    // Two full buckets lose a key; at this load that is rare.
    if live < MILLION / 100 * 99 {
        return Err(format!("the store of a million entries holds {live}").into());
    }
    Ok(took)
}
