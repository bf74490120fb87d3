//! How often, and how soon, something is asked again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Tokens of one repetition: each first attempt brings one, so that repetitions are at most a tenth of the load in the long
/// run.
const REPETITION: u64 = 10;
/// Repetitions at once, also at the start, so that a restart of the server goes unnoticed.
const REPETITIONS: u64 = 10;
/// Tokens of one second attempt at what is late: at most a fiftieth of the load.
const HEDGE: u64 = 50;
/// Second attempts at once.
const HEDGES: u64 = 4;
/// Upper end of the first wait.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Upper end of every wait.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// The longest time that a server's `Retry-After` is waited for. If it wants more, the cache is out of reach for now.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(5);

/// A bucket of tokens for further attempts, shared by all operations: a server in trouble gets little more load than a sound one.
#[derive(Debug)]
pub(crate) struct Budget {
    tokens: AtomicU64,
    cost: u64,
    most: u64,
}

impl Budget {
    /// Returns the budget for attempts after one that failed.
    pub(crate) fn of_repetitions() -> Self {
        Self::new(REPETITION, REPETITIONS)
    }

    /// Returns the budget for attempts beside one that is late.
    pub(crate) fn of_hedges() -> Self {
        Self::new(HEDGE, HEDGES)
    }

    fn new(cost: u64, at_once: u64) -> Self {
        let most = cost * at_once;
        Self { tokens: AtomicU64::new(most), cost, most }
    }

    /// Counts a first attempt.
    pub(crate) fn earn(&self) {
        let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| {
            (tokens < self.most).then_some(tokens + 1)
        });
    }

    /// Returns whether there may be a further attempt, which is counted then.
    pub(crate) fn spend(&self) -> bool {
        let spend = |tokens: u64| tokens.checked_sub(self.cost);
        self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

/// Returns how long to wait before repetition number `made`, from 0: anything up to a bound that doubles.
///
/// Source: "full jitter" of Brooker, *Exponential Backoff And Jitter*, AWS Architecture Blog, 2015.
pub(crate) fn wait(made: u32) -> Duration {
    let bound = FIRST_WAIT.saturating_mul(1 << made.min(16)).min(LONGEST_WAIT);
    // Without randomness, the bound itself: it only has to keep clients apart.
    getrandom::u32().map_or(bound, |random| bound.mul_f64(f64::from(random) / f64::from(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_a_tenth_in_the_long_run() {
        let budget = Budget::of_repetitions();
        let at_once = (0..100).filter(|_| budget.spend()).count();
        assert_eq!(at_once, 10);
        let later = (0..1000)
            .filter(|_| {
                budget.earn();
                budget.spend()
            })
            .count();
        assert_eq!(later, 100);
        (0..1000).for_each(|_| budget.earn());
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 10);
    }

    #[test]
    fn waits_are_bounded() {
        assert!((0..100).all(|_| wait(0) <= FIRST_WAIT));
        assert!([5, 31, u32::MAX].into_iter().all(|made| wait(made) <= LONGEST_WAIT));
    }

    #[test]
    fn waits_are_anywhere_up_to_their_bound() {
        let waits: Vec<Duration> = (0..500).map(|_| wait(2)).collect();
        let bound = FIRST_WAIT * 4;
        for quarter in 0..4 {
            let part = bound * quarter / 4..bound * (quarter + 1) / 4;
            assert!(waits.iter().any(|wait| part.contains(wait)), "none in {part:?}");
        }
    }
}
