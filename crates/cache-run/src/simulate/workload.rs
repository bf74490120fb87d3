//! A workload like that of builds: some entries are wanted again and again, and clean builds scan through.

use cache_core::Timestamp;

use super::{Simulation, Summary};
use crate::access::{Access, Op};

/// Entries that are wanted again.
const KEYS: usize = 20_000;
/// Look-ups of them.
const GETS: usize = 400_000;

/// `SplitMix64` (Steele et al., 2014): small, and the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number from 0 to 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Returns the size of an entry: 4 to 64 KiB in whole blocks, so that policies are compared and not their rounding.
fn size(key: u64) -> u64 {
    4096 * (1.0 + 15.0 * Random(key).fraction().powi(3)) as u64
}

/// Returns for each rank the share of look-ups of it and all before it. Zipf with exponent 0.9.
fn shares() -> Vec<f64> {
    let mut sum = 0.0;
    let mut shares: Vec<f64> = (1..=KEYS)
        .map(|rank| {
            sum += (rank as f64).powf(-0.9);
            sum
        })
        .collect();
    for share in &mut shares {
        *share /= sum;
    }
    shares
}

/// Replays zipf look-ups against a tenth of the bytes. Every `pause` look-ups, as much as the cache holds is stored that
/// nobody ever wants again.
fn replay(pause: usize) -> Summary {
    let bytes: u64 = (0..KEYS as u64).map(size).sum();
    let mut simulation = Simulation::new(&[bytes / 10]);
    let (shares, mut random, mut once) = (shares(), Random(7), KEYS as u64);
    let mut take = |key, op| simulation.take(&Access { at: Timestamp::default(), key, op });
    for number in 0..GETS {
        let fraction = random.fraction();
        let key = shares.partition_point(|share| *share < fraction) as u64;
        // As recorded with a cache that had all of them.
        take(key, Op::Hit { bytes: size(key) });
        if number % pause == pause - 1 {
            let mut scanned = 0;
            while scanned < bytes / 10 {
                take(once, Op::Put { bytes: size(once) });
                scanned += size(once);
                once += 1;
            }
        }
    }
    simulation.summary()
}

fn percent(summary: &Summary, policy: &str) -> f64 {
    let outcome = summary.results.iter().find(|outcome| outcome.policy == policy).unwrap();
    100.0 * outcome.hit_ratio.unwrap()
}

#[test]
fn scans_do_not_drive_out_what_is_wanted_again() {
    let (calm, scanned) = (replay(usize::MAX), replay(10_000));
    let [before, segments, files] =
        [percent(&calm, "segments"), percent(&scanned, "segments"), percent(&scanned, "files")];
    assert!(segments >= files + 8.0, "{segments} against {files}");
    assert!(segments >= before - 1.0, "{segments}, without scans {before}");
    // Neither is worth anything if the bound is not above both.
    assert!(percent(&scanned, "unlimited") > segments && files > 40.0, "{scanned:?}");
}
