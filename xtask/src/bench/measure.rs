//! Wall time of whole processes.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::cases::Contender;
use crate::stop::{Result, Stop};

/// Rounds that are run and not counted: they fill the caches of the operating system.
const WARM_UP_ROUNDS: u32 = 3;

/// Runs the contenders in turn (A B C A B C …), so that a slow moment of the machine hits all of
/// them alike, and returns the sorted times of each.
pub(super) fn rounds(contenders: &[Contender], runs: u32) -> Result<Vec<Vec<Duration>>> {
    let mut samples = vec![Vec::with_capacity(runs as usize); contenders.len()];
    for round in 0..WARM_UP_ROUNDS + runs {
        for (contender, samples) in contenders.iter().zip(&mut samples) {
            let took = once(contender)?;
            if round >= WARM_UP_ROUNDS {
                samples.push(took);
            }
        }
    }
    for samples in &mut samples {
        samples.sort_unstable();
    }
    Ok(samples)
}

fn once(contender: &Contender) -> Result<Duration> {
    let mut command = contender.step.command();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status().map_err(contender.cannot_start())?;
    let took = start.elapsed();
    if status.success() {
        Ok(took)
    } else {
        Err(Stop::failed(format!("`{}` failed: {status}", contender.step)))
    }
}

/// Returns the sample below which `percent` of them lie (nearest rank). `sorted` is not empty.
pub(super) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let samples: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&samples, 50), Duration::from_millis(100));
        assert_eq!(percentile(&samples, 99), Duration::from_millis(198));
        assert_eq!(percentile(&samples[..1], 99), Duration::from_millis(1));
    }
}
