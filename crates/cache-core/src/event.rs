//! What happens in a store, for whoever wants to know.

use std::fmt;
use std::sync::Arc;

use crate::{Digest, Key, Timestamp};

/// Why something is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissReason {
    /// Nobody stored it, as far as the store remembers.
    Absent,
    /// It was stored, and its time is over.
    Expired {
        /// When it ended.
        at: Timestamp,
    },
    /// It was stored, and had to go to keep the limits.
    Evicted {
        /// When it went.
        at: Timestamp,
    },
    /// The entry is there, and a blob that it names is not.
    Incomplete {
        /// The first missing blob.
        digest: Digest,
        /// When that blob was evicted, if the store remembers.
        evicted: Option<Timestamp>,
    },
    /// It was damaged; it has been put aside.
    Corrupt,
    /// A newer version of the program wrote it.
    NewerFormat,
    /// Nobody signed it, and only signed entries count.
    Unsigned,
    /// It is signed with a key that is not known here.
    UnknownSigner,
    /// It says that it is signed with a key that is known here, and the signature is wrong.
    Forged,
}

/// Something that happened in a store.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// An entry was found.
    Hit {
        /// Its key.
        key: &'a Key,
        /// Bytes of its value and blobs.
        bytes: u64,
    },
    /// An entry was not found.
    Miss {
        /// The key asked for.
        key: &'a Key,
        /// Why not.
        reason: MissReason,
    },
    /// An entry was stored.
    Put {
        /// Its key.
        key: &'a Key,
        /// Bytes of its value and blobs.
        bytes: u64,
    },
    /// An entry was removed because somebody asked for it.
    Removed {
        /// Its key.
        key: &'a Key,
    },
    /// A blob was stored.
    Blob {
        /// Its digest.
        digest: &'a Digest,
        /// Its length in bytes.
        len: u64,
        /// Whether the same content was there already, so that nothing was written.
        deduplicated: bool,
    },
    /// Room was made.
    Evicted {
        /// Entries and blobs removed.
        items: u64,
        /// Bytes freed.
        bytes: u64,
    },
    /// Something stored was damaged and was put aside.
    Corrupt {
        /// What it was: "entry 4f…", "blob blake3:…".
        what: &'a str,
        /// What was wrong with it.
        why: &'a str,
    },
}

/// Is told what happens in a store. Called on the thread that does the work: be quick, never block.
pub trait Observer: Send + Sync + 'static {
    /// Takes notice of `event`, which happened in the store named `store`.
    fn on_event(&self, store: &str, event: &Event<'_>);
}

/// The observer of a store, or none. Without one, an event costs a test of a pointer.
#[derive(Clone, Default)]
pub struct Observers(Option<Arc<dyn Observer>>);

impl Observers {
    /// Returns observers that tell `observer`.
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        Self(Some(observer))
    }

    /// Tells the event that `event` makes, which is not called when nobody listens.
    #[inline]
    pub fn emit<'a>(&self, store: &str, event: impl FnOnce() -> Event<'a>) {
        if let Some(observer) = &self.0 {
            observer.on_event(store, &event());
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observers").field(&self.0.is_some()).finish()
    }
}
