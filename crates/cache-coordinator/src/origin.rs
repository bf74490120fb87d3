//! Where something came from.

use cache_core::{Capabilities, Entry, Key, Result};

use crate::Coordinator;
use crate::turns::Urgency;

/// What kind of tier an entry was found in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Origin {
    /// Memory of this process.
    Memory,
    /// A store on this machine that outlives the process.
    Disk,
    /// A store behind a network.
    Remote,
    /// The store does not say: only a [`Coordinator`] does.
    #[default]
    Unknown,
}

impl Origin {
    /// Returns what entries from a store with these capabilities have.
    pub const fn of(store: &Capabilities) -> Self {
        match (store.local, store.persistent) {
            (false, _) => Self::Remote,
            (true, true) => Self::Disk,
            (true, false) => Self::Memory,
        }
    }

    /// Returns the name, for reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Remote => "remote",
            Self::Unknown => "unknown",
        }
    }
}

impl Coordinator {
    /// Returns what [`get_many`](cache_core::Store::get_many) does, and where each entry was found. Copied into a faster
    /// tier, it will be found there the next time.
    ///
    /// # Errors
    /// As [`get_many`](cache_core::Store::get_many).
    ///
    /// # Cancel safety
    /// Copies that were begun are made.
    pub async fn get_many_located(&self, keys: &[Key]) -> Result<Vec<Option<(Entry, Origin)>>> {
        let found = self.chain.look_up_located(keys, Urgency::Urgent).await?;
        let origin = |index: usize| Origin::of(&self.chain.link(index).store().capabilities());
        Ok(found.into_iter().map(|found| found.map(|(index, entry)| (entry, origin(index)))).collect())
    }
}
