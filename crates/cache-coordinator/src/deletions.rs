//! Blobs that were deleted lately, so that a copy that is under way does not bring one back.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::Digest;
use tokio::sync::Notify;

/// How long a deletion waits for copies of its blob that are under way. One that takes longer is taken back when it is done.
const PATIENCE: Duration = Duration::from_secs(2);

/// Deletions that are remembered. A copy during which there were more is taken back, as if its blob were among them.
const REMEMBERED: usize = 1024;

/// The last deletions in their order, and the copies that are under way.
#[derive(Debug, Default)]
pub(crate) struct Deletions {
    log: Mutex<Log>,
    copied: Notify,
}

#[derive(Debug, Default)]
struct Log {
    count: u64,
    last: VecDeque<Digest>,
    /// How many copies of each blob are being written; at most as many as copies are made at once.
    copying: HashMap<Digest, usize>,
}

/// A copy that is being written, until it is dropped.
#[derive(Debug)]
pub(crate) struct Copying<'a> {
    deletions: &'a Deletions,
    digest: Digest,
}

impl Drop for Copying<'_> {
    fn drop(&mut self) {
        let mut log = self.deletions.lock();
        if let Some(count) = log.copying.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                log.copying.remove(&self.digest);
            }
        }
        drop(log);
        self.deletions.copied.notify_waiters();
    }
}

impl Deletions {
    /// Returns how many there were: what a copy asks before it reads.
    pub(crate) fn count(&self) -> u64 {
        self.lock().count
    }

    /// Takes notice that `digest` is going to be deleted. Called before the first tier is asked to: a copy that does
    /// not see this has written before any tier deletes.
    pub(crate) fn record(&self, digest: &Digest) {
        let mut log = self.lock();
        log.count += 1;
        log.last.push_back(*digest);
        if log.last.len() > REMEMBERED {
            log.last.pop_front();
        }
    }

    /// Returns whether `digest` may have been deleted after there were `count` deletions.
    pub(crate) fn since(&self, count: u64, digest: &Digest) -> bool {
        let log = self.lock();
        let recent = log.count - count;
        recent > log.last.len() as u64
            || log.last.iter().rev().take(recent as usize).any(|last| last == digest)
    }

    /// Begins to write a copy of what was read when there were `count` deletions; nothing if it was deleted since.
    pub(crate) fn begin_copy(&self, count: u64, digest: &Digest) -> Option<Copying<'_>> {
        // In this order, so that a deletion waits for the copy, or the copy knows of the deletion.
        *self.lock().copying.entry(*digest).or_default() += 1;
        let copying = Copying { deletions: self, digest: *digest };
        (!self.since(count, digest)).then_some(copying)
    }

    /// Waits until no copy of `digest` is being written that does not know that it is being deleted.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait.
    pub(crate) async fn no_copies(&self, digest: &Digest) {
        let done = async {
            loop {
                let mut copied = std::pin::pin!(self.copied.notified());
                copied.as_mut().enable();
                if !self.lock().copying.contains_key(digest) {
                    return;
                }
                copied.await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, done).await;
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_is_seen_by_whoever_began_before_it() {
        let deletions = Deletions::default();
        let [one, other] = [Digest::blake3(b"one"), Digest::blake3(b"other")];
        let before = deletions.count();
        deletions.record(&one);
        let after = deletions.count();
        assert!(deletions.since(before, &one) && !deletions.since(before, &other));
        assert!(!deletions.since(after, &one));
        (0..=REMEMBERED).for_each(|_| deletions.record(&one));
        assert!(deletions.since(before, &other), "too many to tell");
        assert!(!deletions.since(deletions.count(), &one));
    }
}
