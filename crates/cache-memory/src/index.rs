//! The keys of all entries in their order, so that a list can go on where it stopped.
//!
//! `quick_cache` has no order. It also decides by itself what is evicted, so the index and the cache cannot change in one
//! step. They agree all the same, by two rules:
//!
//! - An entry is put or removed with the stripe of its key locked, in both places.
//! - After an eviction, [`Stripe::remove`] is called with the stripe locked if the cache then has no such entry.
//!
//! So a key that is in the cache is in the index, from the end of its put on. A key that is in the index may have been
//! evicted a moment ago; whoever walks the index asks the cache.
//!
//! A stripe is locked before a lock of the cache, never after. A look-up does not touch the index.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cache_core::Key;

/// Parts that are locked by themselves: more than there are threads that put at a time.
const STRIPES: usize = 64;

#[derive(Debug)]
pub(crate) struct Index {
    /// Keys by their first six bits, so that the stripes are in order as well.
    stripes: Box<[Mutex<BTreeSet<Key>>]>,
    len: AtomicU64,
}

/// The keys of one stripe, locked.
pub(crate) struct Stripe<'a> {
    keys: MutexGuard<'a, BTreeSet<Key>>,
    len: &'a AtomicU64,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { stripes: (0..STRIPES).map(|_| Mutex::default()).collect(), len: AtomicU64::new(0) }
    }

    /// Returns the number of keys.
    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    /// Locks the part that `key` belongs to.
    pub(crate) fn stripe(&self, key: &Key) -> Stripe<'_> {
        Stripe { keys: lock(&self.stripes[stripe_of(key)]), len: &self.len }
    }

    /// Returns at most `limit` keys that follow `after`, in their order.
    pub(crate) fn following(&self, after: Option<Key>, limit: usize) -> Vec<Key> {
        let mut found = Vec::new();
        let from = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        for stripe in &self.stripes[after.as_ref().map_or(0, stripe_of)..] {
            if found.len() >= limit {
                break;
            }
            found.extend(lock(stripe).range::<Key, _>(from).take(limit - found.len()));
        }
        found
    }

    /// Forgets all keys.
    pub(crate) fn clear(&self) {
        for stripe in &self.stripes {
            let mut keys = lock(stripe);
            self.len.fetch_sub(keys.len() as u64, Ordering::Relaxed);
            keys.clear();
        }
    }
}

impl Stripe<'_> {
    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.keys.contains(key)
    }

    pub(crate) fn insert(&mut self, key: &Key) {
        if self.keys.insert(*key) {
            self.len.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        if self.keys.remove(key) {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn stripe_of(key: &Key) -> usize {
    usize::from(key.as_bytes()[0]) * STRIPES / 256
}

/// Locks what stays whole even if a thread panics while it holds the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_each_other_in_their_order_across_stripes() {
        let index = Index::new();
        let keys: Vec<Key> = (0..=255).map(|first| Key::from_bytes([first; 32])).collect();
        for key in keys.iter().rev() {
            index.stripe(key).insert(key);
            index.stripe(key).insert(key);
        }
        assert_eq!(index.len(), 256);
        assert_eq!(index.following(None, 1000), keys);
        let mut walked = Vec::new();
        let mut after = None;
        while let Some(last) = index.following(after, 7).last().copied() {
            let batch = index.following(after, 7);
            assert!(batch.len() <= 7);
            walked.extend(batch);
            after = Some(last);
        }
        assert_eq!(walked, keys);
        index.stripe(&keys[9]).remove(&keys[9]);
        assert_eq!(index.following(Some(keys[8]), 1), [keys[10]]);
        assert_eq!(index.following(Some(keys[9]), 1), [keys[10]], "a cursor need not be there any more");
        assert_eq!(index.len(), 255);
        index.clear();
        assert_eq!((index.len(), index.following(None, 1)), (0, Vec::new()));
    }
}
