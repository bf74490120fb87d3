//! A tier at work: every call to its store goes through here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cache_core::{Clock, Digest, Error, Event, Key, MissReason, Observer, Result, Store};
use tokio::runtime::Handle;

use crate::breaker::{Breaker, Verdict};
use crate::deadline::{Progress, within};
use crate::event::{Listener, TierEvent};
use crate::kinds::Kinds;
use crate::latencies::Latencies;
use crate::shadow::Shadow;
use crate::signed::Signed;
use crate::stats::TierStats;
use crate::tier::Tier;
use crate::turns::{Turns, Urgency};

/// A blob on its way may take the deadline and a second for each so many bytes: 1 MB/s is a slow line.
const BYTES_PER_SECOND: u64 = 1_000_000;
/// Of a tier in memory, and of another local one, one call of so many is measured: to read the clock twice takes as long as
/// half of a hit in memory. Primes, so that calls that follow a pattern have their turn.
const MEMORY_SAMPLE: u64 = 61;
const LOCAL_SAMPLE: u64 = 7;

/// A tier, with what is known of it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) tier: Tier,
    /// Whether it is written in the background: it asks for that, and a faster tier holds what is written.
    pub(crate) background: bool,
    /// Keys for which it is not read.
    pub(crate) shadow: Shadow,
    pub(crate) counters: Counters,
    /// Entries found and stored here.
    pub(crate) kinds: Kinds,
    latencies: Latencies,
    /// Of so many calls one is measured.
    sample: u64,
    breaker: Breaker,
    turns: Arc<Turns>,
    runtime: Handle,
    listener: Listener,
    /// What the tier's store is wrapped in, if its entries are signed.
    signed: Option<Arc<Signed>>,
}

/// Tells a chain what a signed tier refuses.
struct Refused {
    tier: String,
    listener: Listener,
}

impl Observer for Refused {
    fn on_event(&self, _: &str, event: &Event<'_>) {
        if let Event::Miss { key, reason } = *event {
            self.listener.tell(|| TierEvent::Refused { tier: &self.tier, key, reason });
        }
    }
}

/// What happened to the calls.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) misses: AtomicU64,
    pub(crate) answers: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) timeouts: AtomicU64,
    pub(crate) skipped: AtomicU64,
    pub(crate) busy: AtomicU64,
    pub(crate) corrupt: AtomicU64,
    pub(crate) incomplete: AtomicU64,
    pub(crate) promoted: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A call to a store.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) operation: &'static str,
    pub(crate) urgency: Urgency,
    /// Bytes that go one way or the other within the call.
    pub(crate) bytes: u64,
    /// How the caller's body gets on, if one is sent.
    pub(crate) progress: Option<&'a Progress>,
}

impl Call<'_> {
    pub(crate) fn new(operation: &'static str, urgency: Urgency) -> Self {
        Self { operation, urgency, bytes: 0, progress: None }
    }
}

impl Link {
    pub(crate) fn new(
        mut tier: Tier,
        background: bool,
        clock: Arc<dyn Clock>,
        runtime: Handle,
        listener: Listener,
    ) -> Self {
        let signed = tier.signing.clone().map(|(ring, unsigned)| {
            let refused = Refused { tier: tier.name.clone(), listener: listener.clone() };
            let signed = Signed::new(Arc::clone(&tier.store), ring, unsigned);
            Arc::new(signed.clock(Arc::clone(&clock)).quarantine(tier.write).observer(Arc::new(refused)))
        });
        if let Some(signed) = &signed {
            tier.store = Arc::clone(signed) as Arc<dyn Store>;
        }
        Self {
            breaker: Breaker::new(tier.breaker, clock),
            turns: Turns::new(tier.concurrency, tier.weights),
            shadow: Shadow::default(),
            counters: Counters::default(),
            kinds: Kinds::default(),
            latencies: Latencies::default(),
            sample: {
                let store = tier.store.capabilities();
                match (store.local, store.persistent) {
                    (true, false) => MEMORY_SAMPLE,
                    (true, true) => LOCAL_SAMPLE,
                    (false, _) => 1,
                }
            },
            tier,
            background,
            runtime,
            listener,
            signed,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.tier.name
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.tier.store
    }

    /// Returns the size of the largest blob that fits, if there is a limit.
    pub(crate) fn largest_blob(&self) -> Option<u64> {
        self.store().capabilities().max_blob
    }

    /// Fails if the blob `digest` of `len` bytes is too large to be stored here.
    pub(crate) fn takes(&self, digest: &Digest, len: u64) -> Result<()> {
        match self.largest_blob().filter(|max| *max < len) {
            None => Ok(()),
            Some(limit) => Err(Error::TooLarge { what: format!("the blob {digest}"), size: len, limit }),
        }
    }

    /// Returns whether callers wait for what is written here.
    pub(crate) fn writes_through(&self) -> bool {
        self.tier.write && !self.background
    }

    /// Returns whether a call made now would go through.
    pub(crate) fn allows(&self) -> bool {
        self.breaker.allows()
    }

    /// Returns how long the breaker stays open.
    pub(crate) fn closed_for(&self) -> Option<Duration> {
        self.breaker.remaining()
    }

    /// Returns what `work` returns, if the breaker lets it through, its turn comes and it is done in time.
    ///
    /// # Errors
    /// What `work` reports, or [`Error::Unavailable`]. Both are counted and told.
    ///
    /// # Cancel safety
    /// Dropping this drops `work`, ends its turn and gives back the probe, if it was one.
    pub(crate) async fn call<T>(&self, call: Call<'_>, work: impl Future<Output = Result<T>>) -> Result<T> {
        if !self.breaker.allows() {
            return Err(self.refuse(call, &self.counters.skipped, "it failed a moment ago, and has a rest"));
        }
        let began = self.is_measured().then(Instant::now);
        let limit = self.tier.deadline.saturating_add(Duration::from_secs(call.bytes / BYTES_PER_SECOND));
        let Some(turn) = within(&self.runtime, limit, None, self.turns.next(call.urgency)).await else {
            return Err(self.refuse(call, &self.counters.busy, "too many calls wait for it"));
        };
        // Only now: a probe that waits for its turn would keep all others from probing.
        let Some(permit) = self.breaker.acquire() else {
            return Err(self.refuse(call, &self.counters.skipped, "it failed a moment ago, and has a rest"));
        };
        let done = within(&self.runtime, limit, call.progress, work).await;
        drop(turn);
        if let Some(began) = began {
            let took = began.elapsed();
            self.latencies.record(call.operation, took);
            self.listener.tell(|| TierEvent::Called { tier: self.name(), operation: call.operation, took });
        }
        let blameless = call.progress.is_some_and(Progress::has_failed);
        let verdict = match &done {
            None => Verdict::TimedOut,
            Some(Err(error)) if !blameless && is_trouble(error) => Verdict::Failed,
            Some(_) => Verdict::Healthy,
        };
        if let Some(state) = permit.report(verdict) {
            self.listener.tell(|| TierEvent::Breaker { tier: self.name(), state });
        }
        match done {
            None => Err(self.refuse(call, &self.counters.timeouts, &format!("no answer within {limit:?}"))),
            Some(Err(error)) if !blameless && !is_answer(&error) => {
                count(&self.counters.failures);
                self.tell_failure(call.operation, &error);
                Err(error)
            }
            Some(answer) => {
                count(&self.counters.answers);
                answer
            }
        }
    }

    fn is_measured(&self) -> bool {
        // The number of calls so far is counted anyway.
        self.listener.is_heard() || self.counters.answers.load(Ordering::Relaxed).is_multiple_of(self.sample)
    }

    /// Waits for `next`, a piece of a body that this tier gives, for as long as a call may take.
    pub(crate) async fn piece<T>(&self, next: impl Future<Output = Result<T>>) -> Result<T> {
        let call = Call::new("read", Urgency::Urgent);
        let verdict = match within(&self.runtime, self.tier.deadline, None, next).await {
            Some(Ok(piece)) => return Ok(piece),
            Some(Err(error)) => {
                count(&self.counters.failures);
                self.tell_failure(call.operation, &error);
                (Verdict::Failed, error)
            }
            None => {
                let why = format!("a body stopped for {:?}", self.tier.deadline);
                (Verdict::TimedOut, self.refuse(call, &self.counters.timeouts, &why))
            }
        };
        if let Some(state) = self.breaker.acquire().and_then(|permit| permit.report(verdict.0)) {
            self.listener.tell(|| TierEvent::Breaker { tier: self.name(), state });
        }
        Err(verdict.1)
    }

    fn refuse(&self, call: Call<'_>, counter: &AtomicU64, why: &str) -> Error {
        count(counter);
        let error = Error::Unavailable { store: self.name().to_owned(), why: why.to_owned() };
        self.tell_failure(call.operation, &error);
        error
    }

    fn tell_failure(&self, operation: &'static str, error: &Error) {
        self.listener.tell(|| TierEvent::Failed { tier: self.name(), operation, error });
    }

    /// Returns why an entry under `key` was refused, if the tier is signed and it was.
    pub(crate) fn refusal(&self, key: &Key) -> Option<MissReason> {
        self.signed.as_ref()?.refusal(key)
    }

    pub(crate) fn stats(&self) -> TierStats {
        let Counters { misses, answers, failures, timeouts, skipped, busy, corrupt, incomplete, promoted } =
            &self.counters;
        let kinds = self.kinds.stats();
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TierStats {
            name: self.name().to_owned(),
            breaker: self.breaker.state(),
            hits: kinds.iter().map(|kind| kind.hits).sum(),
            misses: of(misses),
            answers: of(answers),
            failures: of(failures),
            timeouts: of(timeouts),
            skipped: of(skipped),
            busy: of(busy),
            corrupt: of(corrupt),
            incomplete: of(incomplete),
            promoted: of(promoted),
            refused: self.signed.as_ref().map(|signed| signed.refusals()).unwrap_or_default(),
            outdated: self.shadow.len() as u64,
            kinds,
            latencies: self.latencies.stats(),
        }
    }
}

/// Returns whether `error` is what a healthy tier says to a call that cannot be done.
pub(crate) fn is_answer(error: &Error) -> bool {
    matches!(
        error,
        Error::Incomplete { .. }
            | Error::DigestMismatch { .. }
            | Error::LengthMismatch { .. }
            | Error::TooLarge { .. }
            | Error::Invalid(_)
            | Error::Unsupported { .. }
    )
}

/// Returns whether `error` counts against a tier's health. A full one can still be read.
fn is_trouble(error: &Error) -> bool {
    !is_answer(error) && !matches!(error, Error::Full { .. })
}
