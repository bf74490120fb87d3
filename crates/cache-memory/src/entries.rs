//! Entries: look up, put, remove.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use cache_core::{Entry, Error, Event, Key, MissReason, Namespace, PutMode, PutOutcome, Result};

use crate::evicted::Evicted;
use crate::index::lock;
use crate::item::{Address, Checks, Hit, Item, Stored};
use crate::store::Shared;
use crate::{MemoryStore, NAME};

/// Entries that the hand of the entry limit passes by because they were used, before it takes the next one all the same.
const SECOND_CHANCES: u32 = 32;
/// Keys that are taken from the index at a time.
pub(crate) const BATCH: usize = 256;

/// What a look at something does besides looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It counts as a use.
    Use,
    /// It counts as a use, and an entry may be about to name what is found: no collection that already runs takes it.
    Claim,
    /// It leaves no trace.
    Peek,
}

impl MemoryStore {
    /// Returns the entry under `key`, whole and within its time, and counts it as used. Nothing is copied.
    #[inline]
    pub fn get(&self, key: &Key) -> Option<Hit> {
        self.look_up(key).ok()
    }

    /// Returns what [`get`](Self::get) returns, or else the reason. The store does not remember what it evicted or
    /// dropped: that is [`MissReason::Absent`].
    ///
    /// # Errors
    /// The reason of a miss.
    #[inline]
    pub fn look_up(&self, key: &Key) -> Result<Hit, MissReason> {
        let found = self.0.find(key);
        match &found {
            Ok(hit) => {
                self.0.counters.hit(key);
                self.0.emit(|| Event::Hit { key, bytes: hit.size() });
            }
            Err(reason) => {
                self.0.counters.miss(key);
                self.0.emit(|| Event::Miss { key, reason: *reason });
            }
        }
        found
    }

    /// Returns what [`get`](Self::get) returns, and leaves no trace: nothing counts as used, nobody is told.
    pub fn peek(&self, key: &Key) -> Option<Hit> {
        self.0.peek(key).map(Hit)
    }

    /// Stores `entry` under `key`, with the default time to live and time to idle of the policy. Its value is shared and not
    /// copied, so a slice of a larger buffer keeps all of the buffer.
    ///
    /// # Errors
    /// [`Error::Incomplete`] if a blob that it names is not there, [`Error::TooLarge`] if it can never fit,
    /// [`Error::Full`] if no entries are allowed, [`Error::Closed`] after [`close`](Self::close). Nothing has changed
    /// then.
    pub fn put(&self, key: &Key, entry: &Entry, mode: PutMode) -> Result<PutOutcome> {
        self.0.put(key, entry, mode, self.0.idle())
    }

    /// Stores `entry` as [`put`](Self::put) does, to be absent once it was not used for `idle`, whatever the policy says.
    /// The blobs that it names keep the time to idle of the policy.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// use cache_core::{Entry, Key, ManualClock, PutMode};
    /// use cache_memory::{MemoryStore, Options};
    ///
    /// let clock = Arc::new(ManualClock::default());
    /// let store = MemoryStore::new(Options { clock: clock.clone(), ..Options::default() });
    /// let key = Key::from_bytes([7; 32]);
    /// store.put_with_idle(&key, &Entry::default(), PutMode::Overwrite, Duration::from_secs(10))?;
    /// clock.advance(Duration::from_secs(9));
    /// assert!(store.get(&key).is_some());
    /// clock.advance(Duration::from_secs(9));
    /// assert!(store.get(&key).is_some());
    /// clock.advance(Duration::from_secs(10));
    /// assert!(store.get(&key).is_none());
    /// # Ok::<(), cache_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_with_idle(
        &self,
        key: &Key,
        entry: &Entry,
        mode: PutMode,
        idle: Duration,
    ) -> Result<PutOutcome> {
        self.0.put(key, entry, mode, Some(idle))
    }

    /// Removes the entry under `key`, not its blobs, and returns whether there was one that a look-up would have found.
    pub fn remove(&self, key: &Key) -> bool {
        let there = self.0.remove(key);
        if there {
            self.0.emit(|| Event::Removed { key });
        }
        there
    }

    /// Removes every entry of `namespace`, not their blobs, and returns how many. Those that are put meanwhile may stay.
    pub fn clear_namespace(&self, namespace: &Namespace) -> u64 {
        let mut removed = 0;
        let mut after = None;
        loop {
            let keys = self.0.index.following(after, BATCH);
            let Some(last) = keys.last() else { return removed };
            after = Some(*last);
            for key in &keys {
                let Some(stored) = self.0.stored(key) else { continue };
                if stored.entry.meta.namespace == *namespace && self.0.drop_seen(key, &stored) {
                    removed += 1;
                    self.0.emit(|| Event::Removed { key });
                }
            }
        }
    }
}

impl Shared {
    /// Returns what is under `key` whatever its state, and leaves no trace.
    fn stored(&self, key: &Key) -> Option<Arc<Stored>> {
        match self.cache.peek(&Address::entry(key))? {
            Item::Entry(stored, _) => Some(stored),
            Item::Blob(_) => None,
        }
    }

    #[inline]
    fn find(&self, key: &Key) -> Result<Hit, MissReason> {
        let Some(Item::Entry(stored, checks)) = self.cache.get(&Address::entry(key)) else {
            return Err(MissReason::Absent);
        };
        if checks == Checks::Some
            && let Some(flaw) = self.flaw(&stored, Look::Use)
        {
            // It will be a miss for ever, so it need not take room.
            if self.drop_seen(key, &stored) && matches!(flaw, MissReason::Expired { .. }) {
                self.counters.expired(1);
            }
            return Err(flaw);
        }
        if self.policy.max_entries.is_some() {
            stored.reference();
        }
        Ok(Hit(stored))
    }

    pub(crate) fn peek(&self, key: &Key) -> Option<Arc<Stored>> {
        self.stored(key).filter(|stored| self.flaw(stored, Look::Peek).is_none())
    }

    /// Returns why `stored` is no hit: its time is over, or a blob is gone.
    pub(crate) fn flaw(&self, stored: &Stored, look: Look) -> Option<MissReason> {
        if stored.is_mortal() {
            let now = self.clock.now();
            if let Some(at) = stored.over(now) {
                return Some(MissReason::Expired { at });
            }
            if look != Look::Peek {
                stored.used.set(now);
            }
        }
        self.first_missing(&stored.entry, look)
    }

    /// Returns the reason of a miss if a blob that `entry` names is not there.
    fn first_missing(&self, entry: &Entry, look: Look) -> Option<MissReason> {
        let (digest, _) = entry.blobs().find(|(digest, len)| {
            self.blob(digest, look).is_none_or(|blob| blob.content.len() as u64 != *len)
        })?;
        Some(MissReason::Incomplete { digest: *digest, evicted: None })
    }

    fn put(&self, key: &Key, entry: &Entry, mode: PutMode, idle: Option<Duration>) -> Result<PutOutcome> {
        self.ensure_open()?;
        if let Some(limit) = self.limits.max_blob
            && entry.value.len() as u64 > limit
        {
            let what = "the value of the entry (what is larger belongs into a blob)".to_owned();
            return Err(Error::TooLarge { what, size: entry.value.len() as u64, limit });
        }
        if let Some(MissReason::Incomplete { digest, .. }) = self.first_missing(entry, Look::Claim) {
            return Err(Error::Incomplete { digest });
        }
        let stored = self.prepare(entry, idle);
        if stored.weight > self.limits.max_weight {
            let what = "the entry with its facts and outputs".to_owned();
            return Err(Error::TooLarge { what, size: stored.weight, limit: self.limits.max_weight });
        }
        let item = Item::entry(stored);
        let mut evicted = Vec::new();
        let outcome = self.insert(key, &item, mode, &mut evicted);
        self.settle(evicted, &Address::entry(key), &item);
        if matches!(outcome, Ok(PutOutcome::Stored)) {
            self.emit(|| Event::Put { key, bytes: entry.size() });
        }
        outcome
    }

    /// Stores an entry under the locks that this needs. Nobody may be told before they are released.
    fn insert(&self, key: &Key, item: &Item, mode: PutMode, evicted: &mut Evicted) -> Result<PutOutcome> {
        let _turn = self.keep_entry_limit(key, evicted)?;
        let mut stripe = self.index.stripe(key);
        self.ensure_open()?;
        if mode == PutMode::IfAbsent && self.peek(key).is_some() {
            return Ok(PutOutcome::Present);
        }
        self.cache.insert_with_lifecycle(Address::entry(key), item.clone(), evicted);
        stripe.insert(key);
        Ok(PutOutcome::Stored)
    }

    /// Returns a copy of `entry` as it is kept.
    fn prepare(&self, entry: &Entry, idle: Option<Duration>) -> Stored {
        let now = self.clock.now();
        let mut entry = entry.clone();
        // A signed entry keeps the end that it was signed with.
        if entry.meta.expires.is_none() && entry.signature.is_none() {
            entry.meta.expires = self.policy.default_ttl.map(|ttl: Duration| now.plus(ttl));
        }
        Stored::new(entry, idle, now)
    }

    /// Makes room for an entry under `key` if their number is limited, and returns the turn to put it. Without the limit,
    /// puts do not wait for each other.
    fn keep_entry_limit(
        &self,
        key: &Key,
        evicted: &mut Evicted,
    ) -> Result<Option<MutexGuard<'_, Option<Key>>>> {
        let Some(limit) = self.policy.max_entries else { return Ok(None) };
        if limit == 0 {
            let why = "it may hold 0 entries; raise `max_entries`".to_owned();
            return Err(Error::Full { place: NAME.to_owned(), why });
        }
        let mut hand = lock(&self.hand);
        while self.index.len() >= limit && !self.index.stripe(key).contains(key) {
            self.evict_one(&mut hand, evicted);
        }
        Ok(Some(hand))
    }

    /// Removes one entry: the next one from the hand on that was not used since the hand came by. `quick_cache` knows one
    /// limit only, so this is CLOCK (F. J. Corbató, *A Paging Experiment with the Multics System*, 1968) over the keys,
    /// whose order is random.
    fn evict_one(&self, hand: &mut Option<Key>, evicted: &mut Evicted) {
        for chance in 0..=SECOND_CHANCES {
            let next = |after| self.index.following(after, 1).first().copied();
            let Some(key) = next(*hand).or_else(|| next(None)) else { return };
            *hand = Some(key);
            let stored = self.stored(&key);
            let used = stored.is_some_and(|stored| stored.referenced.swap(false, Ordering::Relaxed));
            if used && chance < SECOND_CHANCES {
                continue;
            }
            let mut stripe = self.index.stripe(&key);
            evicted.extend(self.cache.remove(&Address::entry(&key)));
            stripe.remove(&key);
            return;
        }
    }

    fn remove(&self, key: &Key) -> bool {
        let mut stripe = self.index.stripe(key);
        let there = self.peek(key).is_some();
        let removed = self.cache.remove(&Address::entry(key));
        stripe.remove(key);
        drop(stripe);
        there && removed.is_some()
    }

    /// Removes the entry under `key` if it is still `seen`, and returns whether it was.
    pub(crate) fn drop_seen(&self, key: &Key, seen: &Arc<Stored>) -> bool {
        let is_seen = |item: &Item| matches!(item, Item::Entry(stored, _) if Arc::ptr_eq(stored, seen));
        let mut stripe = self.index.stripe(key);
        let removed = self.cache.remove_if(&Address::entry(key), is_seen).is_some();
        if removed {
            stripe.remove(key);
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use cache_core::Policy;

    use super::*;
    use crate::Options;

    #[test]
    fn an_entry_that_was_replaced_meanwhile_is_not_dropped() {
        let (store, key) = (MemoryStore::default(), Key::from_bytes([1; 32]));
        let put = || {
            let _ = store.put(&key, &Entry::default(), PutMode::Overwrite).unwrap();
            store.0.peek(&key).unwrap()
        };
        let (old, new) = (put(), put());
        assert!(!store.0.drop_seen(&key, &old) && store.0.peek(&key).is_some());
        assert!(store.0.drop_seen(&key, &new) && store.0.peek(&key).is_none());
        assert_eq!(store.stats().entries, 0);
    }

    #[test]
    fn the_hand_takes_one_even_if_all_were_used() {
        let policy = Policy { max_entries: Some(100), ..Policy::unlimited() };
        let store = MemoryStore::new(Options { policy, ..Options::default() });
        for number in 0..100 {
            let key = Key::from_bytes([number; 32]);
            let _ = store.put(&key, &Entry::default(), PutMode::Overwrite).unwrap();
            assert!(store.get(&key).is_some());
        }
        let mut evicted = Vec::new();
        store.0.evict_one(&mut None, &mut evicted);
        assert_eq!((evicted.len(), store.stats().entries), (1, 99));
    }
}
