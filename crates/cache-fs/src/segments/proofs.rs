//! Large payloads that proved to be right a moment ago.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cache_core::stat::Stat;
use cache_core::{Fingerprint, StatFingerprint, Timestamp};

/// Proofs that are remembered, at most: less than 100 KiB.
const SLOTS: usize = 1024;

/// Remembers which files were read whole and found right, so that one which many ask for at a time is read for one of them. A file
/// that was changed since is not the one that was proved.
#[derive(Debug)]
pub(super) struct Proofs {
    /// How long a proof is good for.
    good_for: Duration,
    slots: Mutex<Vec<Option<Proof>>>,
}

#[derive(Clone, Debug)]
struct Proof {
    file: StatFingerprint,
    content: Fingerprint,
    at: Instant,
}

impl Proofs {
    pub(super) fn new(good_for: Duration) -> Self {
        Self { good_for, slots: Mutex::default() }
    }

    /// Returns whether this file had this content a moment before `now`.
    pub(super) fn hold(&self, file: &Stat, content: &Fingerprint, now: Instant) -> bool {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.get(slot(file)).and_then(Option::as_ref).is_some_and(|proof| {
            proof.file == file.fingerprint
                && proof.content == *content
                && now.saturating_duration_since(proof.at) < self.good_for
        })
    }

    /// Remembers that the file proved to have this content when it was read, which began `then`.
    pub(super) fn remember(&self, file: &Stat, content: Fingerprint, then: (Instant, Timestamp)) {
        if self.good_for.is_zero() || !file.settled(then.1) {
            return;
        }
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.is_empty() {
            slots.resize(SLOTS, None);
        }
        slots[slot(file)] = Some(Proof { file: file.fingerprint, content, at: then.0 });
    }
}

fn slot(file: &Stat) -> usize {
    let [low, high, ..] = file.fingerprint.0.to_bytes();
    usize::from(u16::from_le_bytes([low, high])) % SLOTS
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    const GOOD_FOR: Duration = Duration::from_mins(1);

    fn file() -> (File, Stat) {
        let file = tempfile::tempfile().unwrap();
        let stat = Stat::new(&file.metadata().unwrap());
        (file, stat)
    }

    fn modified(stat: &Stat) -> Timestamp {
        stat.modified().unwrap().into()
    }

    #[test]
    fn a_proof_is_of_one_file_as_it_was_and_for_a_moment() {
        let proofs = Proofs::new(GOOD_FOR);
        let ((mut file, stat), (_other, other)) = (file(), file());
        let (right, wrong) = (Fingerprint::of(b"abc"), Fingerprint::of(b"abd"));
        let (begin, later) = (Instant::now(), modified(&stat).plus(GOOD_FOR));
        assert!(!proofs.hold(&stat, &right, begin));
        proofs.remember(&stat, right, (begin, later));
        assert!(proofs.hold(&stat, &right, begin));
        assert!(proofs.hold(&stat, &right, begin + GOOD_FOR / 2));
        assert!(!proofs.hold(&stat, &right, begin + GOOD_FOR));
        assert!(!proofs.hold(&stat, &wrong, begin));
        assert!(!proofs.hold(&other, &right, begin));
        file.write_all(b"more").unwrap();
        assert!(!proofs.hold(&Stat::new(&file.metadata().unwrap()), &right, begin));
    }

    #[test]
    fn what_has_just_changed_may_change_again_unseen() {
        let proofs = Proofs::new(GOOD_FOR);
        let (_file, stat) = file();
        let (right, begin, changed) = (Fingerprint::of(b"abc"), Instant::now(), modified(&stat));
        for then in [Timestamp::from_millis(0), changed, changed.plus(Duration::from_secs(2))] {
            proofs.remember(&stat, right, (begin, then));
            assert!(!proofs.hold(&stat, &right, begin));
        }
        proofs.remember(&stat, right, (begin, changed.plus(Duration::from_secs(3))));
        assert!(proofs.hold(&stat, &right, begin));
        // Nothing is remembered that is good for no time.
        let none = Proofs::new(Duration::ZERO);
        none.remember(&stat, right, (begin, changed.plus(Duration::from_secs(3))));
        assert!(!none.hold(&stat, &right, begin));
    }
}
