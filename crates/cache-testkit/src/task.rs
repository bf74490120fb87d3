//! Small tools for futures, in place of a runtime.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// A future on the heap that can move to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Lets others run once.
///
/// # Cancel safety
/// There is nothing to lose.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls `future` at most `polls` times and drops it then. Returns what it returned, if it came to that.
///
/// # Cancel safety
/// Dropping this drops `future`.
pub async fn poll_at_most<F: Future>(polls: u64, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Returns what `future` returns, or the message of its panic.
pub(crate) async fn catch_panic<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic
            .downcast_ref::<&str>()
            .map(|message| (*message).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without a message".to_owned()))),
    })
    .await
}

/// Returns the guard of `mutex`, also after a panic: tests go on to report it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a spawned future leaves its output.
struct Slot<T> {
    output: Option<T>,
    waker: Option<Waker>,
}

/// Starts `future` through `spawn`; the future returned waits for its output, or for the message of its panic.
pub(crate) fn start<T: Send + 'static>(
    spawn: &dyn Fn(BoxFuture<'static, ()>),
    future: BoxFuture<'static, T>,
) -> impl Future<Output = Result<T, String>> + Send + use<T> {
    let slot = Arc::new(Mutex::new(Slot { output: None, waker: None }));
    let writer = Arc::clone(&slot);
    spawn(Box::pin(async move {
        let output = catch_panic(future).await;
        let mut slot = lock(&writer);
        slot.output = Some(output);
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
    }));
    poll_fn(move |cx| {
        let mut slot = lock(&slot);
        if let Some(output) = slot.output.take() {
            return Poll::Ready(output);
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    })
}
