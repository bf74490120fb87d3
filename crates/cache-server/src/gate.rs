//! How many requests run at a time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lets a number of requests run, as many again wait for a moment, and refuses all others at once: a server that queues
/// everything is soon too late for everybody.
#[derive(Debug)]
pub(crate) struct Gate {
    running: Arc<Semaphore>,
    waiting: Semaphore,
    patience: Duration,
}

impl Gate {
    pub(crate) fn new(requests: usize, patience: Duration) -> Self {
        let permits = requests.min(Semaphore::MAX_PERMITS);
        Self { running: Arc::new(Semaphore::new(permits)), waiting: Semaphore::new(permits), patience }
    }

    /// Returns a place among the running, to be dropped at the end; nothing if there are too many.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue.
    pub(crate) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Some(permit);
        }
        let _waiting = self.waiting.try_acquire().ok()?;
        tokio::time::timeout(self.patience, Arc::clone(&self.running).acquire_owned()).await.ok()?.ok()
    }

    /// Returns how many could start right now.
    pub(crate) fn free(&self) -> usize {
        self.running.available_permits()
    }
}

/// A body that holds its request's place among the running until it is sent.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) body: Body,
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn beyond_the_running_and_the_waiting_is_refused_at_once() {
        let gate = Arc::new(Gate::new(1, Duration::from_hours(1)));
        let running = gate.enter().await.unwrap();
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter().await.is_some() }
        });
        while gate.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(gate.enter().await.is_none());
        drop(running);
        assert!(waiting.await.unwrap());
        assert!(gate.enter().await.is_some());
    }

    #[tokio::test]
    async fn who_waits_too_long_is_refused() {
        let gate = Gate::new(1, Duration::ZERO);
        let _running = gate.enter().await.unwrap();
        assert!(gate.enter().await.is_none());
    }
}
