//! What a chain is told about one of its stores.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cache_core::Store;
use cache_core::signing::Keyring;

use crate::{BreakerSettings, Unsigned, Weights};

/// One store of a chain, and how it is used.
///
/// By default it is read, written and promoted into; a store that is not local is written in the background, and what
/// it gives is verified.
#[derive(Clone)]
pub struct Tier {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) name: String,
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) promote: bool,
    pub(crate) write_back: bool,
    pub(crate) verify: bool,
    pub(crate) deadline: Duration,
    pub(crate) concurrency: usize,
    pub(crate) breaker: BreakerSettings,
    pub(crate) weights: Weights,
    pub(crate) signing: Option<(Keyring, Unsigned)>,
}

impl Tier {
    /// How long a local store has for a call: a disk that spins up answers, one that hangs does not stop a build.
    pub const LOCAL_DEADLINE: Duration = Duration::from_secs(30);
    /// How long any other store has for a call: about what it takes to make a small object file again.
    pub const REMOTE_DEADLINE: Duration = Duration::from_secs(5);
    /// Calls at once to a local store.
    pub const LOCAL_CONCURRENCY: usize = 256;
    /// Calls at once to any other store: what hides latency, and what a server gives one client gladly.
    pub const REMOTE_CONCURRENCY: usize = 32;

    /// Returns a tier for `store`, with defaults that follow from whether it is local.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let local = store.capabilities().local;
        Self {
            name: store.name().to_owned(),
            store,
            read: true,
            write: true,
            promote: true,
            write_back: !local,
            verify: !local,
            deadline: if local { Self::LOCAL_DEADLINE } else { Self::REMOTE_DEADLINE },
            concurrency: if local { Self::LOCAL_CONCURRENCY } else { Self::REMOTE_CONCURRENCY },
            breaker: BreakerSettings::default(),
            weights: Weights::default(),
            signing: None,
        }
    }

    /// Calls the tier `name` in events, stats and the journal, instead of what its store is called. The journal finds
    /// the tier again by this name in the next process.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets whether entries and blobs are looked for here.
    #[must_use]
    pub fn read(mut self, read: bool) -> Self {
        self.read = read;
        self
    }

    /// Sets whether entries and blobs are stored here, by callers or by promotion.
    #[must_use]
    pub fn write(mut self, write: bool) -> Self {
        self.write = write;
        self
    }

    /// Sets whether what is found in a slower tier is copied here. Needs `write` as well.
    #[must_use]
    pub fn promote(mut self, promote: bool) -> Self {
        self.promote = promote;
        self
    }

    /// Sets whether writes go here in the background, from a faster tier that has them already. Where there is no
    /// faster tier that is read and written, callers wait for this one all the same.
    #[must_use]
    pub fn write_back(mut self, write_back: bool) -> Self {
        self.write_back = write_back;
        self
    }

    /// Sets whether the bytes of blobs are checked against their digests on the way out, and entries for missing
    /// blobs. Each store promises that by itself; one that is not local is not taken at its word.
    #[must_use]
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// Sets how long a call may take, waiting for its turn included, and each piece of a body.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets how many calls are made at once; at least one.
    #[must_use]
    pub fn concurrency(mut self, calls: usize) -> Self {
        self.concurrency = calls;
        self
    }

    /// Sets when its circuit breaker opens, and for how long.
    #[must_use]
    pub fn breaker(mut self, settings: BreakerSettings) -> Self {
        self.breaker = settings;
        self
    }

    /// Sets who is called for first when more want to call than may.
    #[must_use]
    pub fn weights(mut self, weights: Weights) -> Self {
        self.weights = weights;
        self
    }

    /// Has entries [signed](crate::Signed) on their way here and checked on their way back, with the clock of the chain. What is
    /// refused is counted and told, and comes from the next tier. Forged entries are removed if the tier is written.
    ///
    /// A store that is shared by workspaces with different keys has entries of its own for each of them.
    #[must_use]
    pub fn signed(mut self, ring: Keyring, unsigned: Unsigned) -> Self {
        self.signing = Some((ring, unsigned));
        self
    }
}

impl fmt::Debug for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tier")
            .field("name", &self.name)
            .field("read", &self.read)
            .field("write", &self.write)
            .field("promote", &self.promote)
            .field("write_back", &self.write_back)
            .field("verify", &self.verify)
            .field("deadline", &self.deadline)
            .field("concurrency", &self.concurrency)
            .field("signing", &self.signing)
            .finish_non_exhaustive()
    }
}
