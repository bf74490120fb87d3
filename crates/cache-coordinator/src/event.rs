//! What happens in a chain, for whoever wants to know.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{Collected, Digest, Error, Event, Key, MissReason, Observer};

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
        /// Its kind.
        kind: &'a str,
    },
    /// A tier that was asked for an entry did not give it. The next one is asked.
    Passed {
        /// Which tier.
        tier: &'a str,
        /// The key asked for.
        key: &'a Key,
        /// Why not.
        reason: Absence,
    },
    /// An entry was found in no tier.
    Miss {
        /// Its key.
        key: &'a Key,
        /// Whether every tier said so; if not, one of them could not be asked.
        certain: bool,
        /// Why not: of all tiers' reasons the one that says most.
        reason: Absence,
    },
    /// A caller's entry was stored in a tier. Those written in the background tell when it has been
    /// [pushed](Self::Pushed).
    Stored {
        /// Which tier.
        tier: &'a str,
        /// Its key.
        key: &'a Key,
        /// Its kind.
        kind: &'a str,
        /// Bytes of its value and blobs.
        bytes: u64,
    },
    /// No tier could take a caller's entry: it was evicted at once.
    Unstored {
        /// Its key.
        key: &'a Key,
    },
    /// An entry was removed from a tier because a caller asked for it.
    Removed {
        /// Which tier.
        tier: &'a str,
        /// Its key.
        key: &'a Key,
    },
    /// A tier was called, and answered, failed, or ran out of time. Told of every call while somebody listens.
    Called {
        /// Which tier.
        tier: &'a str,
        /// What it was asked.
        operation: &'static str,
        /// How long that took, waiting for its turn included. Of a blob that is read, up to its first piece.
        took: Duration,
    },
    /// Something happened within a store, such as an eviction; see [`StoreEvents`].
    Store {
        /// Which tier, or what the store calls itself.
        tier: &'a str,
        /// What.
        event: &'a Event<'a>,
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
    /// What was used could not be written down: the next process cannot fetch it beforehand.
    Usage {
        /// What went wrong.
        error: &'a Error,
    },
    /// The journal of the write-back queue could not be written or read: what is queued may not survive the process.
    Journal {
        /// What went wrong.
        error: &'a Error,
    },
}

/// Why a tier, or a whole chain, has no entry. Of two reasons, the greater one says more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Absence {
    /// It is not there: never stored, evicted or removed.
    #[default]
    Absent,
    /// It was not there a moment ago, and nobody asked again.
    Remembered,
    /// Something newer was stored that this tier does not have.
    Outdated,
    /// Its time is over.
    Expired,
    /// A blob that it names is nowhere.
    Incomplete,
    /// The tier could not be asked.
    Failed,
}

impl Absence {
    /// Returns the name of the reason, for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Remembered => "remembered",
            Self::Outdated => "outdated",
            Self::Expired => "expired",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
        }
    }
}

/// Tells the observer of a chain what happens within one of its stores: evictions, damage, blobs that were written.
///
/// Give it to the store when that is opened. The store tells of look-ups and puts as well, so whoever counts takes those
/// either from the stores or from the chain.
#[derive(Clone)]
pub struct StoreEvents {
    tier: Option<String>,
    observer: Arc<dyn ChainObserver>,
}

impl StoreEvents {
    /// Returns an observer of a store that tells `observer`.
    pub fn new(observer: Arc<dyn ChainObserver>) -> Self {
        Self { tier: None, observer }
    }

    /// Calls the store `tier`, as the chain does, and not what it calls itself.
    #[must_use]
    pub fn named(mut self, tier: impl Into<String>) -> Self {
        self.tier = Some(tier.into());
        self
    }
}

impl Observer for StoreEvents {
    fn on_event(&self, store: &str, event: &Event<'_>) {
        let tier = self.tier.as_deref().unwrap_or(store);
        self.observer.on_event(&TierEvent::Store { tier, event });
    }
}

impl fmt::Debug for StoreEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreEvents").field("tier", &self.tier).finish_non_exhaustive()
    }
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

    /// Returns whether anybody listens.
    #[inline]
    pub(crate) fn is_heard(&self) -> bool {
        self.0.is_some()
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
