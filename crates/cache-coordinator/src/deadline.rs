//! Time limits that do not blame a tier for a slow caller.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;

/// How far a body has come on its way from a caller to a tier.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pieces: AtomicU64,
    waits_for_caller: AtomicBool,
    failed: AtomicBool,
}

impl Progress {
    /// Takes notice of a piece that the caller gave.
    pub(crate) fn piece(&self) {
        self.pieces.fetch_add(1, Ordering::SeqCst);
        self.waits_for_caller.store(false, Ordering::SeqCst);
    }

    /// Takes notice that the tier waits for the caller.
    pub(crate) fn waits(&self) {
        self.waits_for_caller.store(true, Ordering::SeqCst);
    }

    /// Takes notice that the body is not what was announced, or broke off: no tier is to blame for what follows.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// Returns whether the tier has taken pieces since there were `seen`, or would take one if there were any.
    fn goes_on(&self, seen: &mut u64) -> bool {
        let pieces = self.pieces.load(Ordering::SeqCst);
        std::mem::replace(seen, pieces) != pieces || self.waits_for_caller.load(Ordering::SeqCst)
    }
}

/// Returns what `future` returns, or nothing if that takes longer than `limit`. With `progress`, the time starts again as
/// long as the body goes on.
///
/// The timer is that of `runtime`, so that the future may be polled by any executor.
///
/// # Cancel safety
/// Dropping this drops `future`.
pub(crate) async fn within<T>(
    runtime: &Handle,
    limit: Duration,
    progress: Option<&Progress>,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = pin!(future);
    let mut seen = 0;
    loop {
        // Made only when there is something to wait for: most calls to a fast tier are done by then.
        let mut timer = None;
        let done = poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            let timer = timer.get_or_insert_with(|| {
                let _inside = runtime.enter();
                Box::pin(tokio::time::sleep(limit))
            });
            timer.as_mut().poll(cx).map(|()| None)
        })
        .await;
        if done.is_some() || !progress.is_some_and(|progress| progress.goes_on(&mut seen)) {
            return done;
        }
    }
}

#[cfg(test)]
mod tests {
    use cache_testkit::yield_now;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn what_takes_too_long_is_dropped() {
        let runtime = Handle::current();
        assert_eq!(within(&runtime, LIMIT, None, async { 1 }).await, Some(1));
        assert_eq!(within(&runtime, LIMIT, None, std::future::pending::<()>()).await, None);
        assert_eq!(within(&runtime, LIMIT, None, tokio::time::sleep(LIMIT / 2)).await, Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_caller_has_time_and_a_slow_tier_has_not() {
        let runtime = Handle::current();
        let progress = Progress::default();
        let slow_caller = async {
            for _ in 0..10 {
                progress.waits();
                tokio::time::sleep(LIMIT * 3).await;
                progress.piece();
                yield_now().await;
            }
        };
        assert_eq!(within(&runtime, LIMIT, Some(&progress), slow_caller).await, Some(()));
        let stuck = async {
            progress.piece();
            std::future::pending::<()>().await;
        };
        assert_eq!(within(&runtime, LIMIT, Some(&progress), stuck).await, None);
    }
}
