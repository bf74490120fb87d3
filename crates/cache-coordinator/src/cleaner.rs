//! Collecting garbage now and then.

use std::fmt;
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use cache_core::{Collected, Error, Result, Store};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A cleaner collects no more often than this, so that it leaves the processor and the disk to others.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);
/// A round comes this part of the interval earlier or later, at random: what was started together does not collect together.
const JITTER: u32 = 4;

/// Is told how each round of a [`Cleaner`] went.
pub type RoundObserver = Arc<dyn Fn(&Result<Collected>) + Send + Sync>;

/// When a [`Cleaner`] collects, and who is told.
#[derive(Clone)]
pub struct CleanerSettings {
    /// Time from the end of a round to the start of the next, and before the first; at least a second, and up to a quarter
    /// more or less at random.
    pub interval: Duration,
    /// Is told how each round went. A round that failed is no reason to stop.
    pub observer: Option<RoundObserver>,
}

impl CleanerSettings {
    /// Often enough that what expires does not take room for long, and seldom enough for a store of a million entries.
    pub const INTERVAL: Duration = Duration::from_mins(10);
}

impl Default for CleanerSettings {
    fn default() -> Self {
        Self { interval: Self::INTERVAL, observer: None }
    }
}

impl fmt::Debug for CleanerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CleanerSettings").field("interval", &self.interval).finish_non_exhaustive()
    }
}

/// Calls [`gc`](Store::gc) of a store now and then, as long as this lives, the store is not dropped and not closed. What is
/// expired goes without anybody asking for it. One round ends before the next begins.
///
/// It is a task of a runtime, because a store is asynchronous. The cleaner of `cache-memory` is a thread: that crate has no
/// runtime, and its sweep waits for nothing.
///
/// ```
/// use std::sync::Arc;
///
/// use cache_coordinator::{Cleaner, CleanerSettings};
/// use cache_core::Store;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> cache_core::Result<()> {
/// let store: Arc<dyn Store> = Arc::new(cache_testkit::MemoryStore::new());
/// let cleaner = Cleaner::start(&store, CleanerSettings::default())?;
/// cleaner.stop().await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "dropping it ends the cleaner"]
pub struct Cleaner {
    /// Dropping it is the sign to end.
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Cleaner {
    /// Starts a cleaner for `store` on the tokio runtime that this is called in.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such runtime.
    pub fn start(store: &Arc<dyn Store>, settings: CleanerSettings) -> Result<Self> {
        let runtime = Handle::try_current()
            .map_err(|_| Error::Invalid("start the cleaner inside a tokio runtime".to_owned()))?;
        Ok(Self::start_on(&runtime, store, settings))
    }

    /// Starts a cleaner for `store` on `runtime`, which needs its timers.
    pub fn start_on(runtime: &Handle, store: &Arc<dyn Store>, settings: CleanerSettings) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = runtime.spawn(clean(Arc::downgrade(store), settings, stopped));
        Self { stop: Some(stop), task }
    }

    /// Ends the cleaner, in the middle of an interval or of a round, and waits until it has ended. A store that collects on
    /// a thread of its own goes on with the round to its end.
    ///
    /// # Cancel safety
    /// The cleaner ends all the same.
    pub async fn stop(mut self) {
        self.stop.take();
        // If it panicked, in an observer, it has said so already.
        let _ = (&mut self.task).await;
    }

    /// Returns whether it has ended: the store is closed or gone.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn clean(store: Weak<dyn Store>, settings: CleanerSettings, stopped: oneshot::Receiver<()>) {
    let rounds = async {
        loop {
            tokio::time::sleep(scattered(settings.interval.max(LEAST_INTERVAL))).await;
            let Some(store) = store.upgrade() else { return };
            let outcome = store.gc().await;
            drop(store);
            if let Some(observer) = &settings.observer {
                observer(&outcome);
            }
            if matches!(outcome, Err(Error::Closed { .. })) {
                return;
            }
        }
    };
    let (mut rounds, mut stopped) = (pin!(rounds), pin!(stopped));
    poll_fn(|cx| {
        let ended = stopped.as_mut().poll(cx).is_ready() || rounds.as_mut().poll(cx).is_ready();
        if ended { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Returns `interval`, a random part of it more or less.
fn scattered(interval: Duration) -> Duration {
    // The keys of each hasher are random, which is all the randomness that this needs.
    let random = RandomState::new().hash_one(()) as u32;
    let part = interval / JITTER;
    let more = (part * 2).mul_f64(f64::from(random) / f64::from(u32::MAX));
    (part * (JITTER - 1)).saturating_add(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_scattered_around_what_was_asked_for() {
        let interval = Duration::from_secs(400);
        assert!(scattered(Duration::MAX) > Duration::from_secs(1 << 60), "there is no end of it");
        let all: std::collections::BTreeSet<_> = (0..100).map(|_| scattered(interval)).collect();
        assert!(all.len() > 90, "{all:?}");
        assert!(all.iter().all(|it| (300..=500).contains(&it.as_secs())), "{all:?}");
        let mean = all.iter().sum::<Duration>() / u32::try_from(all.len()).unwrap();
        assert!((360..440).contains(&mean.as_secs()), "{mean:?}");
    }
}
