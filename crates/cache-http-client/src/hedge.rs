//! A second attempt at a small read that takes unusually long.

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::budget::Budget;
use crate::failure::Failure;

/// Reads that are seen before any is asked a second time: fewer say nothing about what is usual.
const ENOUGH: u32 = 20;
/// A read is never asked a second time sooner. Less is the noise of a busy machine, and costs more than it gains.
const SHORTEST: Duration = Duration::from_millis(10);
/// How much one read moves what counts as usual, as a part of it.
const STEP: f64 = 0.1;
/// The part of all reads that takes longer than usual.
const TAIL: f64 = 0.05;

/// What is known of how long reads take, and how many may be asked twice.
///
/// Source: "hedged requests" of Dean and Barroso, *The Tail at Scale*, Communications of the ACM 56(2), 2013.
#[derive(Debug)]
pub(crate) struct Hedge {
    usual: Mutex<Usual>,
    budget: Budget,
}

/// An estimate of the time that all but a [`TAIL`] of the reads take: it grows by what is longer and shrinks by what is
/// shorter, in the ratio that keeps it where the tail begins.
///
/// Source: Robbins and Monro, *A Stochastic Approximation Method*, 1951, for a quantile, with steps relative to the estimate.
#[derive(Clone, Copy, Debug, Default)]
struct Usual {
    seconds: f64,
    seen: u32,
}

impl Usual {
    fn see(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        if self.seen == 0 {
            self.seconds = took;
        }
        self.seen = self.seen.saturating_add(1);
        // Never at nothing, from where no factor leads away.
        let factor = if took > self.seconds { 1.0 + STEP * (1.0 - TAIL) } else { 1.0 - STEP * TAIL };
        self.seconds = (self.seconds * factor).max(1e-6);
    }
}

impl Hedge {
    pub(crate) fn new() -> Self {
        Self { usual: Mutex::default(), budget: Budget::of_hedges() }
    }

    fn usual(&self) -> MutexGuard<'_, Usual> {
        self.usual.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns after how long a read is asked a second time, if that is known.
    fn delay(&self) -> Option<Duration> {
        let Usual { seconds, seen } = *self.usual();
        (seen >= ENOUGH).then(|| Duration::from_secs_f64(seconds.min(60.0)).max(SHORTEST))
    }

    /// Returns what the first of at most two attempts comes to that does not fail. There is a second one only if the first takes
    /// unusually long, the budget has something left, and there `is_room`.
    ///
    /// # Cancel safety
    /// As the attempts.
    pub(crate) async fn first_of<T, F>(
        &self,
        attempt: impl Fn() -> F,
        is_room: impl Fn() -> bool,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.budget.earn();
        let begin = Instant::now();
        let mut first = pin!(attempt());
        let is_late = match self.delay() {
            None => false,
            Some(delay) => match timeout(delay, &mut first).await {
                Ok(done) => return self.seen(begin, done),
                Err(_) => is_room() && self.budget.spend(),
            },
        };
        if !is_late {
            return self.seen(begin, first.await);
        }
        let mut second = pin!(attempt());
        let done = tokio::select! {
            done = &mut first => match done {
                Ok(done) => Ok(done),
                Err(_) => second.await,
            },
            done = &mut second => match done {
                Ok(done) => Ok(done),
                Err(_) => first.await,
            },
        };
        self.seen(begin, done)
    }

    fn seen<T>(&self, begin: Instant, done: Result<T, Failure>) -> Result<T, Failure> {
        // What failed says nothing about how long an answer takes.
        if done.is_ok() {
            self.usual().see(begin.elapsed());
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Again;
    use cache_core::Error;
    use std::cell::Cell;
    use tokio::time::sleep;

    fn failure() -> Failure {
        Failure { error: Error::Invalid("it fails".to_owned()), again: Again::No }
    }

    async fn read(
        hedge: &Hedge,
        first: Duration,
        second: Result<Duration, ()>,
        asked: &Cell<u32>,
    ) -> Option<u32> {
        let before = asked.get();
        let attempt = || {
            let number = asked.get() - before;
            asked.set(asked.get() + 1);
            async move {
                match (number, second) {
                    (0, _) => sleep(first).await,
                    (_, Ok(time)) => sleep(time).await,
                    (_, Err(())) => return Err(failure()),
                }
                Ok(number)
            }
        };
        hedge.first_of(attempt, || true).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_late_is_asked_twice_within_the_budget() {
        const USUAL: Duration = Duration::from_millis(50);
        const LATE: Duration = Duration::from_secs(5);
        let (hedge, asked) = (Hedge::new(), Cell::new(0));
        assert_eq!(read(&hedge, LATE, Ok(USUAL), &asked).await, Some(0), "nothing is known yet");
        for _ in 0..1_000 {
            assert_eq!(read(&hedge, USUAL, Ok(USUAL), &asked).await, Some(0));
        }
        assert_eq!(asked.get(), 1_001);
        let begin = Instant::now();
        assert_eq!(read(&hedge, LATE, Ok(USUAL), &asked).await, Some(1));
        assert!(begin.elapsed() < LATE / 10);
        // The first one may still win, and does if the second one fails.
        assert_eq!(read(&hedge, USUAL * 3, Ok(LATE), &asked).await, Some(0));
        assert_eq!(read(&hedge, LATE, Err(()), &asked).await, Some(0));
        // A server that is slow with everything is asked hardly more often.
        let before = asked.get();
        for _ in 0..1_000 {
            read(&hedge, LATE, Ok(LATE), &asked).await;
        }
        assert!(asked.get() - before <= 1_030, "{}", asked.get() - before);
    }

    #[test]
    fn the_estimate_is_where_the_tail_begins() {
        let mut usual = Usual::default();
        // 94 of 100 are short, so that the tail is reached.
        for number in 0..10_000_u32 {
            let is_long = number * 61 % 100 >= 94;
            usual.see(Duration::from_millis(if is_long { 200 } else { 10 }));
        }
        assert!(usual.seconds > 0.05, "{}", usual.seconds);
        for number in 0..10_000_u32 {
            let is_long = number * 61 % 100 >= 98;
            usual.see(Duration::from_millis(if is_long { 200 } else { 10 }));
        }
        assert!(usual.seconds < 0.02, "{}", usual.seconds);
    }
}
