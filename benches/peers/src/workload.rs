//! What is stored and in which order it is read: the same keys, values and order for every peer.

use crate::rng::{Rng, mix};

/// Printed with the results; another seed is another workload.
pub const SEED: u64 = 0x7669_7474_6531;

/// Sizes are log-uniform between these two, which makes a mean of 11.3 KB.
const MIN_VALUE: u64 = 200;
const MAX_VALUE: u64 = 64 << 10;
/// Values of the stores that exist to be opened: small, as a million of them has to be written.
pub const SMALL_VALUE: usize = 200;
/// One large output of a build, such as an executable with its debug information.
pub const BLOB: usize = 64 << 20;

/// Values are windows of this buffer behind a tag. It is larger than what a compressor looks back at.
const POOL: usize = 4 << 20;
/// Each value starts with its own 16 bytes, so that no two are equal.
const TAG: usize = 16;

/// The least skew that looks like a build: rank `r` is read in proportion to `1 / r`.
const ZIPF_EXPONENT: f64 = 1.0;

/// Ids below `FIRST_ABSENT` are stored, those from here on never are.
const FIRST_ABSENT: u64 = 1 << 40;
const FIRST_DUPLICATE: u64 = 2 << 40;
const FIRST_OF_WORKER: u64 = 3 << 40;
const FIRST_SCANNED: u64 = 4 << 40;

pub type Key = [u8; 32];

pub fn key(id: u64) -> Key {
    let mut rng = Rng::new(mix(SEED ^ id));
    let mut key = [0; 32];
    for word in key.chunks_exact_mut(8) {
        word.copy_from_slice(&rng.next().to_le_bytes());
    }
    key
}

pub fn absent(n: u64) -> Key {
    key(FIRST_ABSENT + n)
}

/// Returns another key for the value of `id`.
pub fn duplicate(id: u64) -> Key {
    key(FIRST_DUPLICATE + id)
}

/// Returns the id of the `n`-th value that a worker of the mixed load adds.
pub fn of_worker(worker: u64, n: u64) -> u64 {
    FIRST_OF_WORKER + (worker << 32) + n
}

/// Returns the id of a value that is inserted and never read.
pub fn scanned(n: u64) -> u64 {
    FIRST_SCANNED + n
}

/// Makes values, and checks those that come back.
pub struct Values {
    pool: Vec<u8>,
    buffer: Vec<u8>,
}

impl Default for Values {
    fn default() -> Self {
        Self::new()
    }
}

impl Values {
    pub fn new() -> Self {
        let mut rng = Rng::new(mix(SEED));
        let mut pool = Vec::with_capacity(POOL + MAX_VALUE as usize);
        // Half random and half text: object files compress to about a half.
        while pool.len() < POOL + MAX_VALUE as usize {
            for _ in 0..4 {
                pool.extend_from_slice(&rng.next().to_le_bytes());
            }
            pool.extend_from_slice(b"one cache under every build. . .");
        }
        Self { pool, buffer: Vec::with_capacity(MAX_VALUE as usize) }
    }

    /// Returns the value of `id`.
    pub fn value(&mut self, id: u64) -> &[u8] {
        self.sized(id, len(id))
    }

    /// Returns a value of `SMALL_VALUE` bytes.
    pub fn small(&mut self, id: u64) -> &[u8] {
        self.sized(id, SMALL_VALUE)
    }

    fn sized(&mut self, id: u64, len: usize) -> &[u8] {
        self.buffer.clear();
        self.buffer.extend_from_slice(&tag(id));
        self.buffer.extend_from_slice(&self.pool[window(id, len)]);
        &self.buffer
    }

    /// Returns whether `found` is the value of `id`, to the last byte.
    pub fn is_value(&self, id: u64, found: &[u8]) -> bool {
        self.is_sized(id, len(id), found)
    }

    pub fn is_small(&self, id: u64, found: &[u8]) -> bool {
        self.is_sized(id, SMALL_VALUE, found)
    }

    fn is_sized(&self, id: u64, len: usize, found: &[u8]) -> bool {
        found.len() == len && found[..TAG] == tag(id) && found[TAG..] == self.pool[window(id, len)]
    }

    /// Fills `blob` with 64 MiB. Only the tag differs from one id to the next.
    pub fn blob(&self, id: u64, blob: &mut Vec<u8>) {
        if blob.len() != BLOB {
            blob.clear();
            blob.extend(self.pool.iter().cycle().take(BLOB));
        }
        blob[..TAG].copy_from_slice(&tag(id));
    }
}

pub fn len(id: u64) -> usize {
    let unit = Rng::new(mix(SEED ^ !id)).unit();
    let ratio = MAX_VALUE as f64 / MIN_VALUE as f64;
    (MIN_VALUE as f64 * ratio.powf(unit)) as usize
}

fn tag(id: u64) -> [u8; TAG] {
    let mut tag = [0; TAG];
    tag[..8].copy_from_slice(&id.to_le_bytes());
    tag[8..].copy_from_slice(&mix(id).to_le_bytes());
    tag
}

fn window(id: u64, len: usize) -> std::ops::Range<usize> {
    let start = mix(id ^ SEED.rotate_left(17)) as usize % POOL;
    start..start + len - TAG
}

/// Draws ids, some of them far more often than others.
pub struct Zipf {
    /// Chance of the ranks up to this one.
    cumulative: Vec<f64>,
    /// Popularity has nothing to do with the order in which values were stored.
    id_of_rank: Vec<u32>,
}

impl Zipf {
    pub fn new(count: u64) -> Self {
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = (1..=count)
            .map(|rank| {
                sum += (rank as f64).powf(-ZIPF_EXPONENT);
                sum
            })
            .collect();
        for chance in &mut cumulative {
            *chance /= sum;
        }
        let mut id_of_rank: Vec<u32> = (0..count as u32).collect();
        let mut rng = Rng::new(mix(SEED + 1));
        for last in (1..id_of_rank.len()).rev() {
            id_of_rank.swap(last, rng.below(last as u64 + 1) as usize);
        }
        Self { cumulative, id_of_rank }
    }

    pub fn draw(&self, rng: &mut Rng) -> u64 {
        let unit = rng.unit();
        let rank = self.cumulative.partition_point(|chance| *chance <= unit);
        u64::from(self.id_of_rank[rank.min(self.id_of_rank.len() - 1)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_have_their_mean_and_their_bounds() {
        let lens: Vec<usize> = (0..20_000).map(len).collect();
        let mean = lens.iter().sum::<usize>() / lens.len();
        assert!((11_000..11_600).contains(&mean), "{mean}");
        assert!(lens.iter().all(|len| (MIN_VALUE as usize..=MAX_VALUE as usize).contains(len)));
    }

    #[test]
    fn another_value_or_a_flipped_byte_is_seen() {
        let mut values = Values::new();
        let mut value = values.value(7).to_vec();
        assert!(values.is_value(7, &value) && !values.is_value(8, &value));
        *value.last_mut().unwrap() ^= 1;
        assert!(!values.is_value(7, &value));
    }

    #[test]
    fn a_tenth_of_the_values_gets_most_of_the_reads() {
        let zipf = Zipf::new(1_000);
        let mut rng = Rng::new(1);
        let mut reads = vec![0u32; 1_000];
        (0..100_000).for_each(|_| reads[zipf.draw(&mut rng) as usize] += 1);
        reads.sort_unstable_by(|a, b| b.cmp(a));
        let top: u32 = reads[..100].iter().sum();
        assert!((66_000..73_000).contains(&top), "{top}");
    }
}
