//! Entries: an envelope per key.

use std::sync::Arc;

use cache_core::envelope::{Compression, EnvelopeError, Limits, decode_entry, encode_entry};
use cache_core::{Digest, Entry, Error, Event, Key, MissReason, Priority, PutMode, PutOutcome, Result};

use super::Files;
use super::address::{Address, Space};
use super::blobs::read_exactly;
use super::item::{Rank, same_file};
use super::temp::Temp;
use crate::dear::eviction_priority;
use crate::report::Lookup;

/// Largest value in an entry, in bytes. It is read as a whole at each look-up; what is larger belongs into a blob.
pub(crate) const MAX_VALUE: u64 = 16 << 20;
/// Bytes of an envelope besides metadata and payload, generously.
const ENVELOPE: u64 = 1 << 10;
/// How often a put removes a dead entry that is in its way.
const ATTEMPTS: u32 = 3;

/// What is found under a key, whatever became of it.
#[derive(Debug)]
pub(super) enum Loaded {
    Absent,
    /// It was put aside.
    Corrupt,
    Newer,
    Entry(Box<Entry>, std::fs::Metadata),
}

/// What a look-up does besides looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It counts as a use and is told to observers.
    Use,
    /// It leaves no trace.
    Peek,
    /// It counts as a use, and an entry whose time is over is found as well.
    Stale,
}

impl Files {
    pub(crate) fn look_up(&self, key: &Key, look: Look) -> Result<Lookup> {
        let address = Address::entry(key);
        let lookup = match self.load(&address)? {
            Loaded::Absent => Lookup::Miss(match self.evicted.when(&address) {
                Some(at) => MissReason::Evicted { at },
                None => MissReason::Absent,
            }),
            Loaded::Corrupt => Lookup::Miss(MissReason::Corrupt),
            Loaded::Newer => Lookup::Miss(MissReason::NewerFormat),
            Loaded::Entry(entry, _) => {
                let expired = entry.meta.expires.filter(|_| entry.meta.is_expired(self.clock.now()));
                match (expired, self.first_missing(&entry, look)) {
                    (Some(at), _) if look != Look::Stale => Lookup::Miss(MissReason::Expired { at }),
                    (_, Some(digest)) => {
                        let evicted = self.evicted.when(&Address::blob(&digest));
                        Lookup::Miss(MissReason::Incomplete { digest, evicted })
                    }
                    (_, None) => Lookup::Hit(*entry),
                }
            }
        };
        if look != Look::Peek {
            if let Lookup::Hit(_) = &lookup {
                self.use_item(&address, None, Rank::Undecided);
            }
            self.emit(|| match &lookup {
                Lookup::Hit(entry) => Event::Hit { key, bytes: entry.size() },
                Lookup::Miss(reason) => Event::Miss { key, reason: *reason },
            });
        }
        Ok(lookup)
    }

    /// Reads and decodes an entry; one that is damaged is put aside.
    pub(super) fn load(&self, address: &Address) -> Result<Loaded> {
        let Some((file, meta)) = self.open_item(address)? else { return Ok(Loaded::Absent) };
        let limits = Limits { payload: MAX_VALUE, ..Limits::default() };
        let flaw = if meta.len() > limits.payload + u64::from(limits.metadata) + ENVELOPE {
            "it is larger than any entry".to_owned()
        } else {
            let bytes = read_exactly(&file, meta.len()).map_err(|e| self.read_error(address, e))?;
            match decode_entry(&bytes, limits) {
                Ok((key, entry)) if *key.as_bytes() == address.id => {
                    return Ok(Loaded::Entry(Box::new(entry), meta));
                }
                Ok((key, _)) => format!("it is the entry {key}"),
                Err(EnvelopeError::Newer(_)) => return Ok(Loaded::Newer),
                Err(error) => error.to_string(),
            }
        };
        self.put_aside(address, Some(&meta), &flaw);
        Ok(Loaded::Corrupt)
    }

    /// Returns the first blob that `entry` names and that is not there. With all of them there, they count as used.
    fn first_missing(&self, entry: &Entry, look: Look) -> Option<Digest> {
        let there = |digest: &Digest, len| match look {
            Look::Peek => {
                let path = self.path(&Address::blob(digest));
                path.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.len() == len)
            }
            Look::Use | Look::Stale => self.use_item(&Address::blob(digest), Some(len), Rank::Undecided),
        };
        entry.blobs().find(|(digest, len)| !there(digest, *len)).map(|(digest, _)| *digest)
    }

    pub(crate) fn put(self: &Arc<Self>, key: &Key, entry: &Entry, mode: PutMode) -> Result<PutOutcome> {
        self.writable()?;
        if entry.value.len() as u64 > MAX_VALUE {
            let what = "the value of the entry (what is larger belongs into a blob)".to_owned();
            return Err(Error::TooLarge { what, size: entry.value.len() as u64, limit: MAX_VALUE });
        }
        let address = Address::entry(key);
        if mode == PutMode::IfAbsent && self.is_alive(&address)? {
            return Ok(PutOutcome::Present);
        }
        let priority = match entry.meta.priority {
            Priority::Normal => self.policy.priority,
            own => own,
        };
        let rank = Rank::from(eviction_priority(entry, priority));
        if let Some(digest) = self.first_missing_of_put(entry, rank) {
            return Err(Error::Incomplete { digest });
        }
        let bytes = self.encode(key, entry, priority)?;
        let outcome = self.publish_entry(&address, &bytes, rank, mode)?;
        if outcome == PutOutcome::Stored {
            self.emit(|| Event::Put { key, bytes: entry.size() });
        }
        Ok(outcome)
    }

    /// As [`first_missing`](Self::first_missing), and gives the blobs at least `rank`.
    fn first_missing_of_put(&self, entry: &Entry, rank: Rank) -> Option<Digest> {
        let there = |digest: &Digest, len| self.use_item(&Address::blob(digest), Some(len), rank);
        entry.blobs().find(|(digest, len)| !there(digest, *len)).map(|(digest, _)| *digest)
    }

    /// Returns the bytes of an entry, with the end of its time and the priority that it has in this store. A signed entry
    /// keeps both as they were signed; its priority for us is no part of it.
    fn encode(&self, key: &Key, entry: &Entry, priority: Priority) -> Result<Vec<u8>> {
        let default_expiry = || self.policy.default_ttl.map(|ttl| self.clock.now().plus(ttl));
        let expires = entry.meta.expires.or_else(default_expiry);
        let as_it_is =
            entry.signature.is_some() || (expires == entry.meta.expires && priority == entry.meta.priority);
        let encoded = if as_it_is {
            encode_entry(key, entry, Compression::None)
        } else {
            let mut entry = entry.clone();
            (entry.meta.expires, entry.meta.priority) = (expires, priority);
            encode_entry(key, &entry, Compression::None)
        };
        encoded.map_err(|error| match error {
            EnvelopeError::TooLarge { what, size, limit } => {
                Error::TooLarge { what: format!("the {what} of the entry"), size, limit }
            }
            other => Error::Invalid(format!("the entry cannot be stored: {other}")),
        })
    }

    fn publish_entry(
        self: &Arc<Self>,
        address: &Address,
        bytes: &[u8],
        rank: Rank,
        mode: PutMode,
    ) -> Result<PutOutcome> {
        let mut outcome = PutOutcome::Present;
        for _ in 0..ATTEMPTS {
            let mut temp = Temp::create(self, Space::Entries, Some(address.shard()), bytes.len() as u64)?;
            temp.write_all(bytes)?;
            outcome = temp.publish(address, bytes.len() as u64, rank, mode)?;
            // What is there may be expired, incomplete or damaged, and then it is nothing.
            if outcome == PutOutcome::Stored || self.is_alive_or_removed(address)? {
                break;
            }
        }
        Ok(outcome)
    }

    /// Returns whether there is an entry that a look-up would find.
    fn is_alive(&self, address: &Address) -> Result<bool> {
        Ok(match self.load(address)? {
            Loaded::Entry(entry, _) => {
                !entry.meta.is_expired(self.clock.now()) && self.first_missing(&entry, Look::Peek).is_none()
            }
            Loaded::Absent | Loaded::Corrupt => false,
            // It is somebody's entry, and to be left alone.
            Loaded::Newer => true,
        })
    }

    /// Returns whether there is an entry that a look-up would find, and removes one that it would not.
    fn is_alive_or_removed(&self, address: &Address) -> Result<bool> {
        let Loaded::Entry(entry, seen) = self.load(address)? else { return self.is_alive(address) };
        if !entry.meta.is_expired(self.clock.now()) && self.first_missing(&entry, Look::Peek).is_none() {
            return Ok(true);
        }
        self.remove_seen(address, &seen);
        Ok(false)
    }

    /// Removes a file unless another one has taken its place.
    pub(super) fn remove_seen(&self, address: &Address, seen: &std::fs::Metadata) -> bool {
        let path = self.path(address);
        self.ledger.update(|books| {
            let same = path.symlink_metadata().is_ok_and(|meta| same_file(&meta, seen));
            let removed = same && std::fs::remove_file(&path).is_ok();
            if removed {
                let is_entry = u32::from(address.space == Space::Entries);
                books.shard(address.shard()).subtract(super::item::cost(seen.len()), is_entry, 1 - is_entry);
            }
            removed
        })
    }

    pub(crate) fn remove(&self, key: &Key) -> Result<bool> {
        let removed = self.remove_item(&Address::entry(key))?;
        if removed {
            self.emit(|| Event::Removed { key });
        }
        Ok(removed)
    }
}
