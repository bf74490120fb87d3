//! The places where values are.

use bytes::Bytes;
use cache_core::{EntryMeta, Key, ListFilter, Page};

use crate::Result;

/// How many entries are listed at a time.
const PAGE: usize = 1000;

/// What a look-up does besides looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It counts as a use, and observers are told.
    Use,
    /// It leaves no trace.
    Peek,
}

/// A value in bytes, and the facts about it.
pub(crate) enum Found {
    /// Shared with a store in memory.
    #[cfg(feature = "memory")]
    Shared(cache_memory::Hit),
    /// Read from a store.
    #[cfg(any(feature = "fs", feature = "tiers"))]
    Read(Box<EntryMeta>, Bytes),
}

impl Found {
    pub(crate) fn meta(&self) -> &EntryMeta {
        match self {
            #[cfg(feature = "memory")]
            Self::Shared(hit) => &hit.meta,
            #[cfg(any(feature = "fs", feature = "tiers"))]
            Self::Read(meta, _) => meta,
        }
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        match self {
            #[cfg(feature = "memory")]
            Self::Shared(hit) => &hit.value,
            #[cfg(any(feature = "fs", feature = "tiers"))]
            Self::Read(_, bytes) => bytes,
        }
    }
}

/// One place.
pub(crate) trait Tier: Send + Sync {
    /// Returns what is under `key`, if it is whole and its time is not over.
    fn look_up(&self, key: &Key, look: Look) -> Result<Option<Found>>;

    /// Returns whether a look-up would find something, without reading all of it.
    fn has(&self, key: &Key) -> Result<bool>;

    /// Stores a value in place of what is there, or fails and changes nothing.
    fn put(&self, key: &Key, meta: EntryMeta, bytes: Bytes) -> Result<()>;

    /// Removes what is under `key` and returns whether there was something.
    fn remove(&self, key: &Key) -> Result<bool>;

    /// Removes all that passes `filter`, and is named `name` if that is given, and returns how many there were.
    fn clear(&self, filter: &ListFilter, name: Option<&str>) -> Result<u64>;
}

/// Removes from a store, page by page, what passes a filter.
pub(crate) fn clear(
    name: Option<&str>,
    list: impl Fn(Option<&str>, usize) -> cache_core::Result<Page>,
    remove: impl Fn(&Key) -> Result<bool>,
) -> Result<u64> {
    let (mut removed, mut after) = (0, None::<String>);
    loop {
        let page = list(after.as_deref(), PAGE)?;
        for item in page.items.iter().filter(|item| name.is_none_or(|name| item.meta.name == name)) {
            removed += u64::from(remove(&item.key)?);
        }
        after = page.next;
        if after.is_none() {
            return Ok(removed);
        }
    }
}
