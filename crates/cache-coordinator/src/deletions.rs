//! Blobs that were deleted lately, so that a copy that is under way does not bring one back.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cache_core::Digest;

/// Deletions that are remembered. A copy during which there were more is taken back, as if its blob were among them.
const REMEMBERED: usize = 1024;

/// The last deletions in their order.
#[derive(Debug, Default)]
pub(crate) struct Deletions(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    count: u64,
    last: VecDeque<Digest>,
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

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
