//! Entries: the facts are the metadata of a record, the value is its payload.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use cache_core::envelope::{EnvelopeError, decode_entry_facts, encode_entry_facts};
use cache_core::{
    Digest, Entry, Error, Event, Key, MissReason, Priority, PutMode, PutOutcome, Result, Timestamp,
};

use super::{Logged, address, worth};
use crate::dear::eviction_priority;
use crate::files::{Look, MAX_VALUE};
use crate::report::Lookup;
use crate::segments::{Depth, Kind, Outcome, Payload, Put, Record, Sight, Source, Worth};

/// How often a put removes a dead entry that is in its way.
const ATTEMPTS: u32 = 3;
/// Uses that the blobs of an entry with a high priority have from the start, besides that of the put: as many as are counted.
const DEAR_USES: u32 = 2;

impl Logged {
    pub(crate) fn look_up(&self, key: &Key, look: Look) -> Result<Lookup> {
        let mut buffer = Vec::new();
        let sight = self.sight(key, look, Depth::Bytes, &mut buffer)?;
        self.answer(key, look, sight, buffer)
    }

    /// Returns what is under `key` and counts it as used; nothing, and nothing is counted, if it takes long to read.
    pub(crate) fn look_up_quickly(&self, key: &Key) -> Result<Option<Lookup>> {
        let mut buffer = Vec::new();
        let sight = self.sight(key, Look::Use, Depth::Quick, &mut buffer)?;
        if matches!(&sight, Sight::Hit(record) if matches!(record.payload, Payload::Unread)) {
            return Ok(None);
        }
        self.answer(key, Look::Use, sight, buffer).map(Some)
    }

    fn sight(&self, key: &Key, look: Look, depth: Depth, buffer: &mut Vec<u8>) -> Result<Sight> {
        let used = look != Look::Peek;
        self.log().look_up(Kind::Entry, key.as_bytes(), depth, used, buffer).map_err(|e| self.read_error(e))
    }

    fn answer(&self, key: &Key, look: Look, sight: Sight, buffer: Vec<u8>) -> Result<Lookup> {
        let lookup = self.judge(key, look, sight, buffer)?;
        if look != Look::Peek {
            self.emit(|| match &lookup {
                Lookup::Hit(entry) => Event::Hit { key, bytes: entry.size() },
                Lookup::Miss(reason) => Event::Miss { key, reason: *reason },
            });
        }
        Ok(lookup)
    }

    fn judge(&self, key: &Key, look: Look, sight: Sight, buffer: Vec<u8>) -> Result<Lookup> {
        let record = match sight {
            Sight::Hit(record) => record,
            Sight::Absent => return Ok(Lookup::Miss(MissReason::Absent)),
            Sight::Evicted => return Ok(Lookup::Miss(MissReason::Evicted { at: self.evicted_at() })),
            Sight::Damaged => {
                self.tell_damaged(&format!("entry {key}"), "its record does not have its checksum");
                return Ok(Lookup::Miss(MissReason::Corrupt));
            }
        };
        let Some(entry) = decode(key, &record, buffer) else {
            self.tell_damaged(&format!("entry {key}"), "its metadata cannot be read");
            return Ok(Lookup::Miss(MissReason::Corrupt));
        };
        if look != Look::Stale
            && let Some(at) = entry.meta.expires.filter(|at| *at <= self.clock.now())
        {
            return Ok(Lookup::Miss(MissReason::Expired { at }));
        }
        Ok(match self.first_missing(&entry, look != Look::Peek)? {
            Some((digest, evicted)) => Lookup::Miss(MissReason::Incomplete { digest, evicted }),
            None => Lookup::Hit(entry),
        })
    }

    fn evicted_at(&self) -> Timestamp {
        Timestamp::from_millis(self.log().reclaimed_at())
    }

    pub(super) fn tell_damaged(&self, what: &str, why: &str) {
        self.emit(|| Event::Corrupt { what, why });
    }

    /// Returns the first blob that `entry` names and that is not there, and when it was evicted if that is remembered.
    fn first_missing(&self, entry: &Entry, used: bool) -> Result<Option<(Digest, Option<Timestamp>)>> {
        self.first_missing_by(entry, |digest, buffer| {
            let (kind, id) = address(digest);
            self.log().look_up(kind, id, Depth::Header, used, buffer)
        })
    }

    fn first_missing_by(
        &self,
        entry: &Entry,
        look: impl Fn(&Digest, &mut Vec<u8>) -> io::Result<Sight>,
    ) -> Result<Option<(Digest, Option<Timestamp>)>> {
        let mut buffer = Vec::new();
        for (digest, len) in entry.blobs() {
            match look(digest, &mut buffer).map_err(|e| self.read_error(e))? {
                Sight::Hit(record) if record.len() == len => {}
                Sight::Evicted => return Ok(Some((*digest, Some(self.evicted_at())))),
                _ => return Ok(Some((*digest, None))),
            }
        }
        Ok(None)
    }

    pub(crate) fn put(self: &Arc<Self>, key: &Key, entry: &Entry, mode: PutMode) -> Result<PutOutcome> {
        self.writable()?;
        if entry.value.len() as u64 > MAX_VALUE {
            let what = "the value of the entry (what is larger belongs into a blob)".to_owned();
            return Err(Error::TooLarge { what, size: entry.value.len() as u64, limit: MAX_VALUE });
        }
        if mode == PutMode::IfAbsent && self.is_alive(key)? {
            return Ok(PutOutcome::Present);
        }
        if let Some((digest, _)) =
            self.first_missing_by(entry, |digest, buffer| self.claim(digest, buffer))?
        {
            return Err(Error::Incomplete { digest });
        }
        let (facts, priority, expires) = self.encode(key, entry)?;
        let worth = worth(eviction_priority(entry, priority));
        if worth == Worth::High {
            // Its blobs are records of their own, and as if they had been used more often than those of others.
            for _ in 0..DEAR_USES {
                self.first_missing(entry, true)?;
            }
        }
        let mut outcome = PutOutcome::Present;
        for _ in 0..ATTEMPTS {
            let put = Put {
                kind: Kind::Entry,
                key: key.as_bytes(),
                meta: &facts,
                payload: Source::Bytes(&entry.value),
                worth,
                expires,
                if_absent: mode == PutMode::IfAbsent,
            };
            let done = self.log.run(|log| log.put_bytes(&put));
            self.tell_evicted();
            outcome = match done.map_err(|e| self.put_error(e))? {
                Outcome::Stored { .. } => PutOutcome::Stored,
                Outcome::Present => PutOutcome::Present,
            };
            // What is there may be incomplete, and then it is nothing.
            if outcome == PutOutcome::Stored || self.is_alive(key)? {
                break;
            }
            self.log().remove(Kind::Entry, key.as_bytes()).map_err(|e| self.change_error(e))?;
        }
        if outcome == PutOutcome::Stored {
            self.emit(|| Event::Put { key, bytes: entry.size() });
        }
        Ok(outcome)
    }

    /// Returns the metadata of the record of an entry, with the priority and the end of its time that it then has. A signed
    /// entry keeps both as they were signed; its priority for us is no part of it.
    fn encode(&self, key: &Key, entry: &Entry) -> Result<(Vec<u8>, Priority, u64)> {
        let priority = match entry.meta.priority {
            Priority::Normal => self.policy.priority,
            own => own,
        };
        let mut facts = Entry { value: Bytes::new(), ..entry.clone() };
        if entry.signature.is_none() {
            let default_expiry = || self.policy.default_ttl.map(|ttl| self.clock.now().plus(ttl));
            facts.meta.expires = entry.meta.expires.or_else(default_expiry);
            facts.meta.priority = priority;
        }
        let expires = facts.meta.expires;
        let facts = encode_entry_facts(key, &facts).map_err(|error| match error {
            EnvelopeError::TooLarge { what, size, limit } => {
                Error::TooLarge { what: format!("the {what} of the entry"), size, limit }
            }
            other => Error::Invalid(format!("the entry cannot be stored: {other}")),
        })?;
        let limit = self.log().max_meta();
        if facts.len() as u64 > limit {
            let what = "the metadata of the entry".to_owned();
            return Err(Error::TooLarge { what, size: facts.len() as u64, limit });
        }
        // 0 stands for never; the first millisecond of 1970 is over too.
        Ok((facts, priority, expires.map_or(0, |expires| expires.as_millis().max(1))))
    }

    /// Returns whether there is an entry that a look-up would find.
    fn is_alive(&self, key: &Key) -> Result<bool> {
        Ok(matches!(self.look_up(key, Look::Peek)?, Lookup::Hit(_)))
    }

    pub(crate) fn remove(&self, key: &Key) -> Result<bool> {
        let removed = self.remove_quietly(key)?;
        if removed {
            self.emit(|| Event::Removed { key });
        }
        Ok(removed)
    }

    /// Removes an entry that is of no use: what the store does by itself is no removal to tell of.
    pub(super) fn remove_quietly(&self, key: &Key) -> Result<bool> {
        self.writable()?;
        self.log().remove(Kind::Entry, key.as_bytes()).map_err(|e| self.change_error(e))
    }
}

/// Returns the entry that a record holds, if it is that of `key`.
fn decode(key: &Key, record: &Record, buffer: Vec<u8>) -> Option<Entry> {
    let (found, mut entry) = decode_entry_facts(buffer.get(record.meta.clone())?).ok()?;
    let Payload::Bytes(range) = &record.payload else { return None };
    entry.value = Bytes::from(buffer).slice(range.clone());
    (found == *key).then_some(entry)
}
