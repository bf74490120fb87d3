//! Replays an access log against eviction policies: what hit ratio would another size have given?
//!
//! All policies and sizes are simulated side by side in one pass, so that the log may come from a pipe. The state is
//! proportional to the number of different keys: see [`BYTES_PER_KEY`] and [`BYTES_PER_KEY_AND_SIZE`].

mod catalog;
mod files;
mod ghosts;
mod lines;
mod policy;
mod segments;
mod summary;
#[cfg(test)]
mod workload;

use std::io::{self, BufRead};

use cache_core::Timestamp;

use crate::access::{Access, AccessError, Op};
use catalog::Catalog;
use files::Files;
use lines::Lines;
use policy::{Policy, Unlimited};
use segments::Segments;

pub use summary::{Outcome, Summary};

/// Sizes that are simulated at once at most: each takes memory for every key.
pub const MAX_SIZES: usize = 16;
/// Different keys that are followed at most. Accesses to further ones are left out and counted.
pub const MAX_KEYS: usize = 1 << 24;
/// Bytes of memory that a key takes at most, whatever the number of sizes.
pub const BYTES_PER_KEY: usize = 100;
/// Bytes of memory that a key takes at most for each size, all policies together.
pub const BYTES_PER_KEY_AND_SIZE: usize = 200;

/// What is simulated, and what came out so far.
pub struct Simulation {
    catalog: Catalog,
    max_keys: usize,
    cells: Vec<Cell>,
    counts: Counts,
}

/// One policy at one size.
struct Cell {
    name: &'static str,
    /// Nothing for a cache without a limit.
    size: Option<u64>,
    policy: Box<dyn Policy>,
    hits: u64,
    hit_bytes: u64,
}

/// Sums over the log.
#[derive(Clone, Debug, Default)]
struct Counts {
    gets: u64,
    puts: u64,
    removes: u64,
    /// Bytes of the gets whose size is known.
    get_bytes: u64,
    left_out: u64,
    /// First and last time.
    span: Option<(Timestamp, Timestamp)>,
    bad_lines: u64,
    first_bad: Option<(u64, AccessError)>,
}

impl Simulation {
    /// Returns a simulation of caches of these sizes in bytes under each policy, and of one without a limit.
    pub fn new(sizes: &[u64]) -> Self {
        let mut cells = Vec::new();
        for &size in sizes {
            let with = |name, policy| Cell { name, size: Some(size), policy, hits: 0, hit_bytes: 0 };
            cells.push(with("segments", Box::new(Segments::new(size)) as Box<dyn Policy>));
            cells.push(with("files", Box::new(Files::new(size))));
        }
        let policy = Box::new(Unlimited::default());
        cells.push(Cell { name: "unlimited", size: None, policy, hits: 0, hit_bytes: 0 });
        Self { catalog: Catalog::default(), max_keys: MAX_KEYS, cells, counts: Counts::default() }
    }

    /// Replays all lines of `log`. Those that are not understood are left out and counted.
    ///
    /// # Errors
    /// If the log cannot be read; what was read until then counts.
    pub fn replay(&mut self, log: &mut dyn BufRead) -> io::Result<()> {
        let mut lines = Lines::new(log);
        while let Some((number, line)) = lines.next()? {
            match line.and_then(Access::parse) {
                Ok(access) => self.take(&access),
                Err(error) => {
                    self.counts.bad_lines += 1;
                    self.counts.first_bad.get_or_insert((number, error));
                }
            }
        }
        Ok(())
    }

    /// Takes one access.
    pub fn take(&mut self, access: &Access) {
        let Some(id) = self.catalog.id(access.key, self.max_keys) else {
            self.counts.left_out += 1;
            return;
        };
        let (first, last) = self.counts.span.unwrap_or((access.at, access.at));
        // Processes write side by side, and clocks are set back.
        self.counts.span = Some((first.min(access.at), last.max(access.at)));
        match access.op {
            Op::Hit { bytes } => {
                self.learn(id, bytes);
                self.get(id, Some(bytes));
            }
            Op::Miss { void } => {
                if void {
                    self.remove(id);
                }
                self.get(id, None);
            }
            Op::Put { bytes } => {
                self.counts.puts += 1;
                self.learn(id, bytes);
                self.put(id, bytes);
            }
            Op::Remove => {
                self.counts.removes += 1;
                self.remove(id);
            }
        }
    }

    /// Notes the size of an entry, also for the gets that did not know it.
    fn learn(&mut self, id: u32, bytes: u64) {
        let before = self.catalog.learn(id, bytes);
        self.counts.get_bytes = self.counts.get_bytes.saturating_add(before.saturating_mul(bytes));
    }

    fn get(&mut self, id: u32, found: Option<u64>) {
        self.counts.gets += 1;
        let bytes = self.catalog.size_for_get(id);
        self.counts.get_bytes = self.counts.get_bytes.saturating_add(bytes);
        for cell in &mut self.cells {
            if cell.policy.get(id) {
                cell.hits += 1;
                cell.hit_bytes = cell.hit_bytes.saturating_add(bytes);
            } else if let Some(bytes) = found {
                // The recorded cache had it, so the log has no put. Here the build would have made it anew and stored it.
                cell.policy.put(id, bytes);
            }
        }
    }

    /// A put of what is there in the same size changes nothing: mostly it follows a miss that was none here.
    fn put(&mut self, id: u32, bytes: u64) {
        self.cells.iter_mut().for_each(|cell| cell.policy.put(id, bytes));
    }

    fn remove(&mut self, id: u32) {
        self.cells.iter_mut().for_each(|cell| cell.policy.remove(id));
    }

    /// Returns what came out.
    pub fn summary(&self) -> Summary {
        Summary::new(&self.counts, &self.catalog, &self.cells)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(op: Op, key: u64) -> Access {
        Access { at: Timestamp::from_millis(key), key, op }
    }

    fn simulate(sizes: &[u64], ops: &[(Op, u64)]) -> Summary {
        let mut simulation = Simulation::new(sizes);
        for &(op, key) in ops {
            simulation.take(&access(op, key));
        }
        simulation.summary()
    }

    const MISS: Op = Op::Miss { void: false };
    const HIT: Op = Op::Hit { bytes: 1000 };
    const PUT: Op = Op::Put { bytes: 1000 };

    #[test]
    fn sums_and_the_bound() {
        let void = Op::Miss { void: true };
        // Hits where nothing was forgotten: the second and third get of 1, and the get of 2. The void one is none.
        let summary = simulate(
            &[1 << 30],
            &[
                (MISS, 1),
                (PUT, 1),
                (HIT, 1),
                (HIT, 2),
                (MISS, 1),
                (PUT, 1),
                (MISS, 2),
                (void, 1),
                (PUT, 1),
                (Op::Remove, 1),
                (MISS, 1),
                (MISS, 3),
            ],
        );
        assert_eq!((summary.accesses, summary.gets, summary.puts, summary.removes), (12, 8, 3, 1));
        assert_eq!((summary.keys, summary.unique_bytes), (3, 2000));
        assert_eq!((summary.first_ms, summary.last_ms), (Some(1), Some(3)));
        for outcome in &summary.results {
            // The size of 3 is never told, so that only seven gets have bytes.
            assert_eq!((outcome.hits, outcome.hit_bytes), (3, 3000), "{outcome:?}");
            assert_eq!((outcome.hit_ratio, outcome.byte_hit_ratio), (Some(3.0 / 8.0), Some(3.0 / 7.0)));
        }
        let names: Vec<_> = summary.results.iter().map(|outcome| (outcome.policy, outcome.size)).collect();
        assert_eq!(names, [("segments", Some(1 << 30)), ("files", Some(1 << 30)), ("unlimited", None)]);
    }

    #[test]
    fn a_hit_that_is_none_here_fills_the_cache() {
        // Room for one entry: 1 has to go for 2, and comes back without a put in the log.
        let summary = simulate(&[6000], &[(MISS, 1), (PUT, 1), (MISS, 2), (PUT, 2), (HIT, 1), (HIT, 1)]);
        let hits: Vec<u64> = summary.results.iter().filter(|o| o.policy == "files").map(|o| o.hits).collect();
        assert_eq!(hits, [1]);
    }

    #[test]
    fn keys_are_bounded_and_what_is_left_out_is_counted() {
        let mut simulation = Simulation { max_keys: 2, ..Simulation::new(&[1 << 20]) };
        for key in [1, 2, 3, 1, 3] {
            simulation.take(&access(HIT, key));
        }
        let summary = simulation.summary();
        assert_eq!((summary.accesses, summary.keys, summary.left_out), (3, 2, 2));
    }

    #[test]
    fn bad_lines_are_counted_and_the_first_is_named() {
        let good = r#"{"v":1,"t":1,"op":"put","key":"0123456789abcdef","size":5}"#;
        let log = format!("{good}\n\n{{\n{good}\n{}\n{good}", "x".repeat(100_000));
        let mut simulation = Simulation::new(&[1000]);
        simulation.replay(&mut log.as_bytes()).unwrap();
        let summary = simulation.summary();
        assert_eq!((summary.puts, summary.bad_lines), (3, 2));
        assert_eq!((summary.first_bad_line, summary.first_bad), (Some(3), Some(AccessError::NoAccess)));
    }

    #[test]
    fn nothing_has_no_ratio() {
        let summary = simulate(&[1000], &[]);
        assert_eq!((summary.accesses, summary.first_ms, summary.results[0].hit_ratio), (0, None, None));
    }
}
