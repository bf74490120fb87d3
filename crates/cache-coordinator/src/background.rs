//! Tasks that work off a queue.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::chain::Chain;

/// What a queue says when it is asked for work.
pub(crate) enum Work<J> {
    /// This is next.
    Job(J),
    /// Nothing can be done for as long as this, or until something changes.
    Nothing(Option<Duration>),
}

/// Takes work as long as there is any, `at_once` jobs at the same time, and waits for `changed` when there is none.
///
/// A job that panics ends alone: the queue learns of it by the guard that each job holds.
///
/// # Cancel safety
/// Dropping this drops the jobs that are under way.
pub(crate) async fn work_off<J, W, F, Fut>(
    chain: Arc<Chain>,
    changed: Arc<Notify>,
    at_once: usize,
    mut take: W,
    run: F,
) where
    W: FnMut(&Arc<Chain>) -> Work<J>,
    F: Fn(Arc<Chain>, J) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut running = JoinSet::new();
    loop {
        let mut pause = None;
        while running.len() < at_once.max(1) {
            match take(&chain) {
                Work::Job(job) => {
                    running.spawn(run(Arc::clone(&chain), job));
                }
                Work::Nothing(until) => {
                    pause = until;
                    break;
                }
            }
        }
        let mut notified = pin!(changed.notified());
        let mut timer = pin!(async move {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        });
        poll_fn(|cx| {
            let ended = matches!(running.poll_join_next(cx), Poll::Ready(Some(_)));
            if ended || notified.as_mut().poll(cx).is_ready() || timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }
}
