//! A circuit breaker: what keeps a tier that is down from being asked again and again.
//!
//! The states and their changes are those of M. Nygard, *Release It!*, "Circuit Breaker": closed while all is well; open,
//! so that nobody calls, after too many failures; half-open when the time is over, for exactly one call that probes.

#[cfg(not(all(test, vitte_shuttle)))]
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
#[cfg(not(all(test, vitte_shuttle)))]
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use cache_core::{Clock, Timestamp};
#[cfg(all(test, vitte_shuttle))]
use shuttle::sync::atomic::{AtomicBool, Ordering};
#[cfg(all(test, vitte_shuttle))]
use shuttle::sync::{Mutex, MutexGuard};

/// When a [`Breaker`] opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open it; at least 1. A call that ran out of time opens it at once.
    pub failures: u32,
    /// How long it stays open the first time.
    pub open_for: Duration,
    /// How long it stays open at most: the time doubles with each probe that fails.
    pub open_for_at_most: Duration,
}

impl Default for BreakerSettings {
    /// Returns settings under which a tier that is down costs a build three quick failures or one deadline, then one
    /// probe after 10 s, 20 s, 40 s and so on up to 5 min.
    fn default() -> Self {
        Self { failures: 3, open_for: Duration::from_secs(10), open_for_at_most: Duration::from_mins(5) }
    }
}

/// In which state a [`Breaker`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// Nobody calls.
    Open,
    /// One call finds out whether the tier is back.
    HalfOpen,
}

/// What a call found out about its tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered.
    Healthy,
    /// It failed.
    Failed,
    /// It did not answer in time.
    TimedOut,
}

/// A circuit breaker. It knows of no runtime: time comes from its clock, and nothing here waits.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Whether it is closed and there was no failure since the last success; written under the lock. Whoever reads it without
    /// comes before or after whoever is changing it, and so do calls without a breaker.
    calm: AtomicBool,
}

#[derive(Debug)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        since: Timestamp,
        span: Duration,
    },
    /// While `probing`, there is exactly one permit with `probe`, and nobody but it changes the state.
    HalfOpen {
        span: Duration,
        probing: bool,
    },
}

impl Breaker {
    /// Returns a closed breaker.
    pub fn new(settings: BreakerSettings, clock: Arc<dyn Clock>) -> Self {
        Self {
            settings,
            clock,
            state: Mutex::new(State::Closed { failures: 0 }),
            calm: AtomicBool::new(true),
        }
    }

    /// Returns the state as a call would find it now.
    pub fn state(&self) -> BreakerState {
        match &*self.look() {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Returns whether [`acquire`](Self::acquire) would give a permit now.
    pub fn allows(&self) -> bool {
        match &*self.look() {
            State::Closed { .. } => true,
            State::Open { .. } => false,
            State::HalfOpen { probing, .. } => !probing,
        }
    }

    /// Returns leave to call the tier, or nothing while the breaker is open or somebody else probes.
    ///
    /// A permit that is dropped without a [`report`](Permit::report), because the call was cancelled or panicked, says
    /// nothing about the tier; if it was the probe, the next caller may probe.
    pub fn acquire(&self) -> Option<Permit<'_>> {
        if self.calm.load(Ordering::Acquire) {
            return Some(Permit { breaker: self, probe: false });
        }
        match &mut *self.look() {
            State::Closed { .. } => Some(Permit { breaker: self, probe: false }),
            State::HalfOpen { probing, .. } if !*probing => {
                *probing = true;
                Some(Permit { breaker: self, probe: true })
            }
            State::Open { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Returns how long it takes until a probe is let through; nothing if calls go through or one probes already.
    pub fn remaining(&self) -> Option<Duration> {
        match &*self.look() {
            State::Open { since, span } => Some(since.plus(*span).since(self.clock.now())),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Returns the state after what time alone has done to it.
    fn look(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        if let State::Open { since, span } = &mut *state {
            let now = self.clock.now();
            // A clock that was set back must not keep the breaker open for longer than its span.
            *since = (*since).min(now);
            if now.since(*since) >= *span {
                *state = State::HalfOpen { span: *span, probing: false };
            }
        }
        state
    }

    /// No code of others runs under the lock, so that a panic cannot leave half a change behind.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, probed: bool, verdict: Option<Verdict>) -> Option<BreakerState> {
        if verdict == Some(Verdict::Healthy) && self.calm.load(Ordering::Acquire) {
            return None;
        }
        let mut state = self.lock();
        let (next, change) = match (&mut *state, verdict) {
            (State::Closed { failures }, Some(Verdict::Healthy)) => {
                *failures = 0;
                self.calm.store(true, Ordering::Release);
                return None;
            }
            (State::Closed { failures }, Some(Verdict::Failed)) if *failures + 1 < self.settings.failures => {
                *failures += 1;
                self.calm.store(false, Ordering::Release);
                return None;
            }
            (State::Closed { .. }, Some(Verdict::Failed | Verdict::TimedOut)) => {
                (State::Open { since: self.clock.now(), span: self.settings.open_for }, BreakerState::Open)
            }
            // Only the probe decides: the others were sent before the breaker opened and tell of old times.
            (State::HalfOpen { probing, span }, verdict) if probed => match verdict {
                Some(Verdict::Healthy) => (State::Closed { failures: 0 }, BreakerState::Closed),
                Some(Verdict::Failed | Verdict::TimedOut) => {
                    let span = span.saturating_mul(2).min(self.settings.open_for_at_most).max(*span);
                    (State::Open { since: self.clock.now(), span }, BreakerState::Open)
                }
                None => {
                    *probing = false;
                    return None;
                }
            },
            _ => return None,
        };
        self.calm.store(change == BreakerState::Closed, Ordering::Release);
        *state = next;
        Some(change)
    }
}

/// Leave to call a tier once.
#[derive(Debug)]
#[must_use]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    probe: bool,
}

impl Permit<'_> {
    /// Tells what the call found out. Returns the new state if that changed the state.
    pub fn report(mut self, verdict: Verdict) -> Option<BreakerState> {
        let probe = std::mem::take(&mut self.probe);
        self.breaker.settle(probe, Some(verdict))
    }

    /// Returns whether this call is the one that finds out whether the tier is back.
    pub fn is_probe(&self) -> bool {
        self.probe
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.breaker.settle(true, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use cache_core::ManualClock;
    use proptest::prelude::*;

    use super::*;

    const SPAN: Duration = Duration::from_secs(10);

    fn breaker(failures: u32) -> (Breaker, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
        let settings = BreakerSettings { failures, open_for: SPAN, open_for_at_most: SPAN * 4 };
        (Breaker::new(settings, Arc::clone(&clock) as Arc<dyn Clock>), clock)
    }

    fn report(breaker: &Breaker, verdict: Verdict) -> Option<BreakerState> {
        breaker.acquire().expect("the breaker lets calls through").report(verdict)
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_in_between_does_not() {
        let (breaker, _) = breaker(3);
        for verdict in [Verdict::Failed, Verdict::Failed, Verdict::Healthy, Verdict::Failed, Verdict::Failed]
        {
            assert_eq!(report(&breaker, verdict), None);
        }
        assert_eq!(report(&breaker, Verdict::Failed), Some(BreakerState::Open));
        assert!(breaker.acquire().is_none());
        assert_eq!(breaker.remaining(), Some(SPAN));
    }

    #[test]
    fn one_deadline_is_enough() {
        let (breaker, _) = breaker(3);
        assert_eq!(report(&breaker, Verdict::TimedOut), Some(BreakerState::Open));
    }

    #[test]
    fn a_dropped_probe_is_given_back() {
        let (breaker, clock) = breaker(1);
        report(&breaker, Verdict::Failed);
        clock.advance(SPAN);
        let probe = breaker.acquire().expect("the time is over");
        assert!(probe.is_probe() && !breaker.allows() && breaker.acquire().is_none());
        drop(probe);
        assert!(breaker.allows());
        assert_eq!(report(&breaker, Verdict::Healthy), Some(BreakerState::Closed));
    }

    #[test]
    fn a_call_from_before_it_opened_decides_nothing() {
        let (breaker, clock) = breaker(1);
        let (old, older) = (breaker.acquire().expect("closed"), breaker.acquire().expect("closed"));
        report(&breaker, Verdict::Failed);
        assert_eq!(old.report(Verdict::Healthy), None);
        assert_eq!(breaker.state(), BreakerState::Open);
        clock.advance(SPAN);
        let probe = breaker.acquire().expect("the time is over");
        assert_eq!(older.report(Verdict::Failed), None);
        assert_eq!(probe.report(Verdict::Healthy), Some(BreakerState::Closed));
    }

    #[test]
    fn failed_probes_double_the_time_up_to_the_limit() {
        let (breaker, clock) = breaker(1);
        report(&breaker, Verdict::Failed);
        for times in [1, 2, 4, 4, 4] {
            clock.advance(Duration::from_millis(times * 10_000 - 1));
            assert!(!breaker.allows());
            clock.advance(Duration::from_millis(1));
            assert_eq!(report(&breaker, Verdict::TimedOut), Some(BreakerState::Open));
        }
    }

    #[test]
    fn a_clock_that_goes_back_does_not_keep_it_open() {
        let (breaker, clock) = breaker(1);
        report(&breaker, Verdict::Failed);
        clock.set(Timestamp::from_millis(5));
        assert!(!breaker.allows());
        clock.advance(SPAN);
        assert!(breaker.allows());
    }

    #[test]
    fn of_many_threads_one_probes() {
        let (breaker, clock) = breaker(1);
        for _ in 0..200 {
            if breaker.state() == BreakerState::Closed {
                report(&breaker, Verdict::Failed);
            }
            clock.advance(SPAN * 4);
            let start = std::sync::Barrier::new(4);
            let probes: usize = thread::scope(|scope| {
                let probing = || {
                    start.wait();
                    let permit = breaker.acquire();
                    start.wait();
                    usize::from(permit.is_some_and(|permit| permit.is_probe()))
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(probing)).collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
            });
            assert_eq!(probes, 1);
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Acquire,
        Report(usize, Verdict),
        Drop(usize),
        Advance(u64),
        SetBack(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let verdict = prop_oneof![Just(Verdict::Healthy), Just(Verdict::Failed), Just(Verdict::TimedOut)];
        prop_oneof![
            4 => Just(Step::Acquire),
            4 => (0_usize..4, verdict).prop_map(|(at, verdict)| Step::Report(at, verdict)),
            2 => (0_usize..4).prop_map(Step::Drop),
            2 => (0_u64..60_000).prop_map(Step::Advance),
            1 => (0_u64..60_000).prop_map(Step::SetBack),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_one_probes_and_it_closes_again(
            steps in proptest::collection::vec(step(), 0..60)
        ) {
            let (breaker, clock) = breaker(2);
            let mut permits = Vec::new();
            for step in steps {
                let before = breaker.state();
                match step {
                    Step::Acquire => {
                        let allowed = breaker.allows();
                        let permit = breaker.acquire();
                        prop_assert_eq!(permit.is_some(), allowed);
                        prop_assert!(permit.is_none() || before != BreakerState::Open);
                        permits.extend(permit);
                    }
                    Step::Report(at, verdict) if at < permits.len() => {
                        let permit: Permit<'_> = permits.remove(at);
                        let probe = permit.is_probe();
                        let change = permit.report(verdict);
                        // Half-open is left by the probe alone, open by time alone.
                        if !probe && before != BreakerState::Closed {
                            prop_assert_eq!(change, None);
                        }
                        if probe {
                            let healthy = verdict == Verdict::Healthy;
                            let expected = if healthy { BreakerState::Closed } else { BreakerState::Open };
                            prop_assert_eq!(change, Some(expected));
                        }
                    }
                    Step::Drop(at) if at < permits.len() => {
                        drop(permits.remove(at));
                        prop_assert_eq!(breaker.state(), before);
                    }
                    Step::Advance(millis) => clock.advance(Duration::from_millis(millis)),
                    Step::SetBack(millis) => clock.set(clock.now().minus(Duration::from_millis(millis))),
                    Step::Report(..) | Step::Drop(_) => {}
                }
                prop_assert!(permits.iter().filter(|permit| permit.is_probe()).count() <= 1);
                prop_assert!(breaker.remaining().is_none_or(|left| left <= SPAN * 4));
            }
            // Nobody is locked out for ever: without permits and with time, a healthy call closes it.
            permits.clear();
            clock.advance(SPAN * 4);
            prop_assert!(breaker.allows());
            report(&breaker, Verdict::Healthy);
            prop_assert_eq!(breaker.state(), BreakerState::Closed);
        }
    }
}

/// The orders in which calls can meet at a breaker.
#[cfg(test)]
#[cfg(vitte_shuttle)]
mod orders {
    use std::sync::atomic::{AtomicU32, Ordering};

    use cache_core::ManualClock;
    use shuttle::thread;

    use super::*;

    /// Orders that are tried: all of them are too many.
    const RUNS: usize = 20_000;

    #[test]
    fn one_probes_at_a_time_and_who_gives_up_makes_room() {
        const SPAN: Duration = Duration::from_secs(10);
        let verdicts = [Some(Verdict::Failed), Some(Verdict::Healthy), None];
        let model = move || {
            let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
            let settings = BreakerSettings { failures: 1, open_for: SPAN, open_for_at_most: SPAN };
            let breaker = Arc::new(Breaker::new(settings, Arc::clone(&clock) as Arc<dyn Clock>));
            breaker.acquire().unwrap().report(Verdict::Failed);
            clock.advance(SPAN);
            let (probing, probes) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
            let callers = verdicts.map(|verdict| {
                let (breaker, probing, probes) =
                    (Arc::clone(&breaker), Arc::clone(&probing), Arc::clone(&probes));
                thread::spawn(move || {
                    let Some(permit) = breaker.acquire() else { return };
                    let probe = permit.is_probe();
                    if probe {
                        probes.fetch_add(1, Ordering::SeqCst);
                        assert_eq!(probing.fetch_add(1, Ordering::SeqCst), 0, "two probe at once");
                    }
                    thread::yield_now();
                    probing.fetch_sub(u32::from(probe), Ordering::SeqCst);
                    match verdict {
                        Some(verdict) => drop(permit.report(verdict)),
                        None => drop(permit),
                    }
                })
            });
            for caller in callers {
                caller.join().unwrap();
            }
            assert!(probes.load(Ordering::SeqCst) >= 1);
            clock.advance(SPAN);
            assert!(breaker.allows(), "a probe that has ended keeps others from probing");
        };
        shuttle::check_random(model, RUNS);
        shuttle::check_pct(model, RUNS, 3);
    }
}
