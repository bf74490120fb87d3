//! Large payloads that proved to be right a moment ago.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use cache_core::Fingerprint;

/// How long ago a file must have changed. Within the resolution of the clock of a file system, a second change would not be seen.
const SETTLED: Duration = Duration::from_secs(2);
/// Proofs that are remembered, at most: about 100 KiB.
const SLOTS: usize = 1024;

/// Remembers which files were read whole and found right, so that one which many ask for at a time is read for one of them. A file
/// that was changed since is not the one that was proved.
#[derive(Debug)]
pub(super) struct Proofs {
    /// How long a proof is good for.
    good_for: Duration,
    slots: Mutex<Vec<Option<Proof>>>,
}

/// A file as it is: what changes it changes this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    /// When it was changed, in nanoseconds since 1970.
    changed: i128,
}

#[derive(Clone, Debug)]
struct Proof {
    stamp: Stamp,
    fingerprint: Fingerprint,
    at: Instant,
}

impl Stamp {
    pub(super) fn of(meta: &Metadata) -> Self {
        let changed = i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec());
        Self { device: meta.dev(), inode: meta.ino(), len: meta.len(), changed }
    }

    /// Returns whether a change after `now` would give another stamp.
    fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.changed + (SETTLED.as_nanos() as i128) < now.as_nanos() as i128
    }

    fn slot(&self) -> usize {
        (self.inode % SLOTS as u64) as usize
    }
}

impl Proofs {
    pub(super) fn new(good_for: Duration) -> Self {
        Self { good_for, slots: Mutex::default() }
    }

    /// Returns whether the file with this stamp had this fingerprint a moment before `now`.
    pub(super) fn hold(&self, stamp: Stamp, fingerprint: &Fingerprint, now: Instant) -> bool {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.get(stamp.slot()).and_then(Option::as_ref).is_some_and(|proof| {
            proof.stamp == stamp
                && proof.fingerprint == *fingerprint
                && now.saturating_duration_since(proof.at) < self.good_for
        })
    }

    /// Remembers that the file which had this stamp before it was read proved to have this fingerprint.
    pub(super) fn remember(&self, stamp: Stamp, fingerprint: Fingerprint, now: (Instant, SystemTime)) {
        if self.good_for.is_zero() || !stamp.is_settled(now.1) {
            return;
        }
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.is_empty() {
            slots.resize(SLOTS, None);
        }
        slots[stamp.slot()] = Some(Proof { stamp, fingerprint, at: now.0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD_FOR: Duration = Duration::from_mins(1);

    #[test]
    fn a_proof_is_of_one_file_as_it_was_and_for_a_moment() {
        let proofs = Proofs::new(GOOD_FOR);
        let stamp = Stamp { device: 1, inode: 2, len: 3, changed: 4_000_000_000 };
        let (right, wrong) = (Fingerprint::of(b"abc"), Fingerprint::of(b"abd"));
        let (begin, later) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(7));
        assert!(!proofs.hold(stamp, &right, begin));
        proofs.remember(stamp, right, (begin, later));
        assert!(proofs.hold(stamp, &right, begin));
        assert!(proofs.hold(stamp, &right, begin + GOOD_FOR / 2));
        assert!(!proofs.hold(stamp, &right, begin + GOOD_FOR));
        assert!(!proofs.hold(stamp, &wrong, begin));
        for other in [
            Stamp { device: 9, ..stamp },
            Stamp { inode: 2 + SLOTS as u64, ..stamp },
            Stamp { len: 4, ..stamp },
            Stamp { changed: stamp.changed + 1, ..stamp },
        ] {
            assert!(!proofs.hold(other, &right, begin), "{other:?}");
        }
    }

    #[test]
    fn what_has_just_changed_may_change_again_unseen() {
        let proofs = Proofs::new(GOOD_FOR);
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        let stamp = Stamp { device: 1, inode: 2, len: 3, changed: 10_000_000_000 };
        let (right, begin) = (Fingerprint::of(b"abc"), Instant::now());
        for now in [SystemTime::UNIX_EPOCH, changed, changed + SETTLED] {
            proofs.remember(stamp, right, (begin, now));
            assert!(!proofs.hold(stamp, &right, begin));
        }
        proofs.remember(stamp, right, (begin, changed + SETTLED + Duration::from_nanos(1)));
        assert!(proofs.hold(stamp, &right, begin));
    }
}
