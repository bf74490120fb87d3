//! One change of a path at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// The paths that are being changed. A change goes on when its caller is gone, because the server may have heard of it
/// already; whoever comes next waits for its end here and sees what came of it, and not what it may still become.
#[derive(Debug, Default)]
pub(crate) struct Pending(Mutex<HashMap<String, Arc<Turn<()>>>>);

/// The right to change a path, or the wish to.
#[derive(Debug)]
pub(crate) struct Turns {
    pending: Arc<Pending>,
    path: String,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Pending {
    fn paths(&self) -> MutexGuard<'_, HashMap<String, Arc<Turn<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody changes `path`, and keeps others from it.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue.
    pub(crate) async fn begin(self: &Arc<Self>, path: &str) -> Turns {
        let queue = Arc::clone(self.paths().entry(path.to_owned()).or_default());
        let mut turns = Turns { pending: Arc::clone(self), path: path.to_owned(), turn: None };
        turns.turn = Some(queue.lock_owned().await);
        turns
    }

    /// Waits until nobody changes `path`.
    ///
    /// # Cancel safety
    /// There is nothing to lose.
    pub(crate) async fn settle(self: &Arc<Self>, path: &str) {
        let is_changing = self.paths().contains_key(path);
        if is_changing {
            drop(self.begin(path).await);
        }
    }

    /// Waits for every change that is under way.
    ///
    /// # Cancel safety
    /// There is nothing to lose.
    pub(crate) async fn settle_all(self: &Arc<Self>) {
        let paths: Vec<String> = self.paths().keys().cloned().collect();
        for path in paths {
            self.settle(&path).await;
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        // Before the count is looked at: the guard holds one as well.
        self.turn = None;
        let mut paths = self.pending.paths();
        if paths.get(&self.path).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            paths.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_testkit::{block_on, poll_at_most};

    #[test]
    fn the_next_waits_and_nothing_is_left() {
        block_on(async {
            let pending = Arc::new(Pending::default());
            let first = pending.begin("a").await;
            assert!(poll_at_most(1, pending.begin("a")).await.is_none(), "two change one path");
            assert!(poll_at_most(1, pending.settle("a")).await.is_none());
            assert!(poll_at_most(1, pending.settle_all()).await.is_none());
            assert!(poll_at_most(1, pending.begin("b")).await.is_some());
            drop(first);
            pending.settle("a").await;
            assert!(pending.paths().is_empty());
        });
    }
}
