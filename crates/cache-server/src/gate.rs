//! How many requests run at a time.

use std::time::Duration;

use crate::slots::{Slot, Slots};

/// Lets a number of requests run, as many again wait for a moment, and refuses all others at once: a server that queues
/// everything is soon too late for everybody.
#[derive(Debug)]
pub(crate) struct Gate {
    running: Slots,
    waiting: Slots,
}

impl Gate {
    pub(crate) fn new(requests: usize) -> Self {
        Self { running: Slots::new(requests), waiting: Slots::new(requests) }
    }

    /// Changes how many may run.
    pub(crate) fn resize(&self, requests: usize) {
        self.running.resize(requests);
        self.waiting.resize(requests);
    }

    /// Returns a place among the running, to be dropped at the end; nothing if there are too many or none is free after
    /// `patience`.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue.
    pub(crate) async fn enter(&self, patience: Duration) -> Option<Slot> {
        if let Some(slot) = self.running.try_enter() {
            return Some(slot);
        }
        let _waiting = self.waiting.try_enter()?;
        tokio::time::timeout(patience, self.running.enter()).await.ok()?
    }

    /// Returns how many run.
    pub(crate) fn running(&self) -> usize {
        self.running.taken()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn beyond_the_running_and_the_waiting_is_refused_at_once() {
        let gate = Arc::new(Gate::new(1));
        let long = Duration::from_hours(1);
        let running = gate.enter(long).await.unwrap();
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(long).await.is_some() }
        });
        while gate.waiting.taken() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(gate.enter(long).await.is_none());
        drop(running);
        assert!(waiting.await.unwrap());
        assert!(gate.enter(long).await.is_some());
    }

    #[tokio::test]
    async fn who_waits_too_long_is_refused() {
        let gate = Gate::new(1);
        let _running = gate.enter(Duration::ZERO).await.unwrap();
        assert!(gate.enter(Duration::ZERO).await.is_none());
    }
}
