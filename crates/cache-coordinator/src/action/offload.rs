//! Work that would keep an executor's thread busy.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

/// Does `work` on one of rayon's threads, whichever executor the caller is on; it begins at once. Returns nothing if it
/// panicked.
///
/// # Cancel safety
/// Dropping the future does not stop the work.
pub(crate) fn offload<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Option<T>> + Send {
    let (sender, receiver) = oneshot::channel();
    rayon::spawn(move || {
        // A panic that reaches rayon ends the process.
        if let Ok(done) = catch_unwind(AssertUnwindSafe(work)) {
            let _ = sender.send(done);
        }
    });
    async { receiver.await.ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_only_its_own_work() {
        let panicked = cache_testkit::block_on(offload(|| {
            assert!(std::env::args().count() == usize::MAX, "the test says so");
        }));
        assert_eq!(panicked, None);
        assert_eq!(cache_testkit::block_on(offload(|| 7)), Some(7));
    }
}
