//! What is stored, and under which address.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cache_core::{Digest, Entry, Key, Timestamp};

use crate::weight;

/// Space of entries; blobs are in the space with the number of their hash function, which begins at 1.
const ENTRIES: u8 = 0;

/// Where an entry or a blob is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    id: [u8; 32],
    space: u8,
}

impl Address {
    pub(crate) fn entry(key: &Key) -> Self {
        Self { id: *key.as_bytes(), space: ENTRIES }
    }

    pub(crate) fn blob(digest: &Digest) -> Self {
        Self { id: *digest.as_bytes(), space: digest.function().id() }
    }

    /// Returns the key, if this is the address of an entry.
    pub(crate) fn key(&self) -> Option<Key> {
        (self.space == ENTRIES).then(|| Key::from_bytes(self.id))
    }
}

impl Hash for Address {
    /// One call for the 32 bytes that tell addresses apart; the derived one would make three.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.id);
    }
}

/// What is found there. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// An entry, and whether anything can make it a miss. If not, a hit reads nothing of the entry.
    Entry(Arc<Stored>, Checks),
    Blob(Arc<Blob>),
}

/// Whether an entry has to be looked at before it is a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checks {
    /// It has no end and names no blob.
    None,
    Some,
}

impl Item {
    pub(crate) fn entry(stored: Stored) -> Self {
        let free = !stored.is_mortal() && stored.entry.blobs().next().is_none();
        Self::Entry(Arc::new(stored), if free { Checks::None } else { Checks::Some })
    }

    /// Returns the bytes that it takes, everything around it included.
    pub(crate) fn weight(&self) -> u64 {
        match self {
            Self::Entry(stored, _) => stored.weight,
            Self::Blob(blob) => weight::of_blob(blob.content.len()),
        }
    }

    /// Returns whether this is `other` itself, not just equal.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Entry(one, _), Self::Entry(other, _)) => Arc::ptr_eq(one, other),
            (Self::Blob(one), Self::Blob(other)) => Arc::ptr_eq(one, other),
            (Self::Entry(..), Self::Blob(_)) | (Self::Blob(_), Self::Entry(..)) => false,
        }
    }
}

/// When something was last used.
#[derive(Debug)]
pub(crate) struct LastUse(AtomicU64);

impl LastUse {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self(AtomicU64::new(now.as_millis()))
    }

    pub(crate) fn get(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }

    /// Notes a use. Most uses of what is used often fall into the same millisecond and write nothing, so that the threads
    /// do not take the line from each other.
    pub(crate) fn set(&self, now: Timestamp) {
        if self.get() != now {
            self.0.store(now.as_millis(), Ordering::Relaxed);
        }
    }

    /// Returns when `idle` without a use was over, if it is at `now`.
    pub(crate) fn over(&self, idle: Duration, now: Timestamp) -> Option<Timestamp> {
        Some(self.get().plus(idle)).filter(|end| *end <= now)
    }
}

/// An entry in the store.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Stored {
    /// First, so that its beginning is beside the counter of the `Arc`, which every hit changes.
    pub(crate) entry: Entry,
    pub(crate) used: LastUse,
    pub(crate) idle: Option<Duration>,
    /// Whether it was used since the hand of the entry limit came by.
    pub(crate) referenced: AtomicBool,
    pub(crate) weight: u64,
}

impl Stored {
    pub(crate) fn new(entry: Entry, idle: Option<Duration>, now: Timestamp) -> Self {
        let weight = weight::of_entry(&entry);
        Self { entry, weight, idle, used: LastUse::new(now), referenced: AtomicBool::new(false) }
    }

    /// Returns whether there is a time at which it is over.
    pub(crate) fn is_mortal(&self) -> bool {
        self.idle.is_some() || self.entry.meta.expires.is_some()
    }

    /// Returns when its time was over, if it is at `now`.
    pub(crate) fn over(&self, now: Timestamp) -> Option<Timestamp> {
        let expired = self.entry.meta.expires.filter(|_| self.entry.meta.is_expired(now));
        let idle = self.idle.and_then(|idle| self.used.over(idle, now));
        expired.into_iter().chain(idle).min()
    }

    /// Notes a use for the hand of the entry limit.
    pub(crate) fn reference(&self) {
        if !self.referenced.load(Ordering::Relaxed) {
            self.referenced.store(true, Ordering::Relaxed);
        }
    }
}

/// A blob in the store.
#[derive(Debug)]
pub(crate) struct Blob {
    pub(crate) content: Bytes,
    pub(crate) used: LastUse,
}

/// An entry that was found. It is shared with the store, so nothing was copied, and it stays readable whatever happens to
/// the store.
#[derive(Clone)]
pub struct Hit(pub(crate) Arc<Stored>);

impl Hit {
    /// Returns an entry of one's own. Its facts are copied; its value shares its bytes with the store.
    pub fn to_entry(&self) -> Entry {
        self.0.entry.clone()
    }
}

impl Deref for Hit {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.0.entry
    }
}

impl fmt::Debug for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hit").field(&self.0.entry).finish()
    }
}

#[cfg(test)]
mod tests {
    use cache_core::HashFunction;

    use super::*;

    #[test]
    fn equal_bytes_are_three_addresses() {
        let bytes = [7; 32];
        let [one, two] = HashFunction::ALL.map(|function| Address::blob(&Digest::new(function, bytes)));
        let entry = Address::entry(&Key::from_bytes(bytes));
        assert!(one != two && one != entry && two != entry);
        assert_eq!((entry.key(), one.key(), two.key()), (Some(Key::from_bytes(bytes)), None, None));
    }
}
