//! What happens in a chain, for whoever wants to know.

use std::fmt;
use std::sync::Arc;

use cache_core::{Collected, Digest, Error, Key, MissReason};

use crate::BreakerState;

/// Something that happened in a chain.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum TierEvent<'a> {
    /// An entry was found in a tier.
    Hit {
        /// Which tier.
        tier: &'a str,
        /// Its key.
        key: &'a Key,
    },
    /// An entry was found in no tier.
    Miss {
        /// Its key.
        key: &'a Key,
        /// Whether every tier said so; if not, one of them could not be asked.
        certain: bool,
    },
    /// A tier could not do what it was asked. To the caller, it is as if the tier had nothing.
    Failed {
        /// Which tier.
        tier: &'a str,
        /// What it was asked.
        operation: &'static str,
        /// What it said, or what became of the call.
        error: &'a Error,
    },
    /// The circuit breaker of a tier changed its state.
    Breaker {
        /// Which tier.
        tier: &'a str,
        /// The state now.
        state: BreakerState,
    },
    /// A tier gave other bytes than those of the digest; they are removed from it.
    Corrupt {
        /// Which tier.
        tier: &'a str,
        /// What was asked for.
        digest: &'a Digest,
    },
    /// A tier gave an entry that names a blob which is nowhere; it counts as a miss.
    Incomplete {
        /// Which tier.
        tier: &'a str,
        /// The key of the entry.
        key: &'a Key,
        /// The first blob that is missing.
        digest: &'a Digest,
    },
    /// A tier gave an entry that is not signed as it has to be; it counts as a miss.
    Refused {
        /// Which tier.
        tier: &'a str,
        /// The key of the entry.
        key: &'a Key,
        /// [`Unsigned`](MissReason::Unsigned), [`UnknownSigner`](MissReason::UnknownSigner) or
        /// [`Forged`](MissReason::Forged).
        reason: MissReason,
    },
    /// An entry was copied from a slower tier into this one.
    Promoted {
        /// Which tier has it now.
        tier: &'a str,
        /// Its key.
        key: &'a Key,
    },
    /// Something was not copied into faster tiers; it is still where it was.
    NotPromoted {
        /// What: "entry 4f…", "blob blake3:…".
        what: &'a str,
        /// Why not.
        why: &'a str,
    },
    /// An entry and its blobs have arrived in a tier that is written in the background.
    Pushed {
        /// Which tier.
        tier: &'a str,
        /// The key of the entry.
        key: &'a Key,
    },
    /// An entry will not arrive in a tier that is written in the background.
    NotPushed {
        /// Which tier.
        tier: &'a str,
        /// The key of the entry.
        key: &'a Key,
        /// Why not.
        why: &'a str,
    },
    /// A tier collected its garbage.
    Collected {
        /// Which tier.
        tier: &'a str,
        /// What it removed.
        collected: &'a Collected,
    },
    /// The journal of the write-back queue could not be written or read: what is queued may not survive the process.
    Journal {
        /// What went wrong.
        error: &'a Error,
    },
}

/// Is told what happens in a chain. Called by whoever does the work, at times under a lock: be quick, never block, and
/// ask nothing of the chain.
pub trait ChainObserver: Send + Sync + 'static {
    /// Takes notice of `event`.
    fn on_event(&self, event: &TierEvent<'_>);
}

/// The observer of a chain, or none. Without one, an event costs a test of a pointer.
#[derive(Clone, Default)]
pub(crate) struct Listener(Option<Arc<dyn ChainObserver>>);

impl Listener {
    pub(crate) fn new(observer: Arc<dyn ChainObserver>) -> Self {
        Self(Some(observer))
    }

    #[inline]
    pub(crate) fn tell<'a>(&self, event: impl FnOnce() -> TierEvent<'a>) {
        if let Some(observer) = &self.0 {
            observer.on_event(&event());
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.0.is_some()).finish()
    }
}
