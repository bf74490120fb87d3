//! Old blobs that somebody is about to name.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::segments::Kind;

/// Claims that are remembered: 3 MiB. A build names far fewer blobs that nothing has named for long.
const MOST: usize = 1 << 16;

/// When this process last asked for blobs that were stored so long ago that a collection would take them.
///
/// A record knows when it was stored and not when it was asked for. Other processes see that it was used; see
/// [`collect_blobs`](super::Logged).
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<HashMap<(Kind, [u8; 32]), u64>>);

impl Claims {
    /// Notes a claim at the time `now`; those before `expired` have ended. Whoever claims looks whether the blob is there
    /// afterwards, not before.
    pub(super) fn note(&self, kind: Kind, key: [u8; 32], now: u64, expired: u64) {
        let mut claims = self.lock();
        if claims.len() >= MOST {
            claims.retain(|_, at| *at >= expired);
        }
        // Beyond that, what a put names may be gone, and the put says so.
        if claims.len() < MOST {
            claims.insert((kind, key), now);
        }
    }

    /// Does `work` unless the blob was claimed since `expired`. Nobody claims anything meanwhile.
    pub(super) fn unless_claimed<T>(
        &self,
        kind: Kind,
        key: [u8; 32],
        expired: u64,
        work: impl FnOnce() -> T,
    ) -> Option<T> {
        let claims = self.lock();
        let claimed = claims.get(&(kind, key)).is_some_and(|at| *at >= expired);
        (!claimed).then(work)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Kind, [u8; 32]), u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
