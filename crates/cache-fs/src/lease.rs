//! Leases: what a running build needs is not evicted.

use cache_core::{Digest, Key, Result};

use crate::FsStore;
use crate::store::Engine;

/// Keeps what is added to it from being evicted, until it is dropped or its process ends. Made by [`FsStore::lease`].
///
/// A build that looks something up and reads it minutes later finds it still. A lease is a wish that a store follows as far as
/// it can: it keeps its limits all the same.
#[derive(Debug)]
pub struct Lease {
    store: FsStore,
    #[cfg(unix)]
    pins: Option<crate::segments::Pins>,
}

impl Lease {
    pub(crate) fn new(store: &FsStore) -> Result<Self> {
        Ok(Self {
            store: store.clone(),
            #[cfg(unix)]
            pins: match store.engine() {
                Engine::Files(_) => None,
                Engine::Segments(segments) => Some(segments.pins()?),
            },
        })
    }

    /// Adds entries and blobs. Those that are not there do no harm. At most 262,144 are kept.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn keep(&mut self, keys: &[Key], digests: &[Digest]) -> Result<()> {
        #[cfg(unix)]
        if let (Some(pins), Engine::Segments(segments)) = (&mut self.pins, self.store.engine()) {
            return segments.pin(pins, keys, digests);
        }
        // To ask for something is to use it.
        for key in keys {
            self.store.get(key)?;
        }
        self.store.missing(digests);
        Ok(())
    }
}
