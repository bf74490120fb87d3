//! Keys under which a tier holds something else than what was stored last through this chain.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cache_core::Key;

/// Keys that are remembered exactly: 64 Ki of them take about 4 MiB, and are more than most builds put.
const EXACT: usize = 1 << 16;
/// Bits of the filter for all further keys, half a megabyte: of another 250,000 keys 0.3 % are taken for one of them.
const FILTER_BITS: usize = 1 << 22;
/// Bits per key.
const HASHES: usize = 4;

/// A set of keys in bounded memory that may take a key for one of its own, but never fails to know one.
///
/// It answers whether a tier must be skipped for a key, where a wrong yes costs a miss and a wrong no a stale value. The
/// first keys are kept exactly and can leave again; those beyond go into a Bloom filter (B. Bloom, CACM 13/7, 1970),
/// which is made only then. Keys are hashes already, so their own bytes are the positions.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    set: Mutex<Set>,
    /// Whether there was ever a key: most tiers are never skipped. Set under the lock, before the key is there.
    used: AtomicBool,
}

#[derive(Debug, Default)]
struct Set {
    exact: HashSet<Key>,
    filter: Option<Box<[u64]>>,
}

impl Shadow {
    pub(crate) fn contains(&self, key: &Key) -> bool {
        if !self.used.load(Ordering::Acquire) {
            return false;
        }
        let set = self.lock();
        set.exact.contains(key)
            || set
                .filter
                .as_ref()
                .is_some_and(|filter| positions(key).all(|(word, bit)| filter[word] & bit != 0))
    }

    /// Adds `key`, and returns whether it can be taken out again and was not there before.
    pub(crate) fn insert(&self, key: &Key) -> bool {
        let mut set = self.lock();
        self.used.store(true, Ordering::Release);
        if set.exact.len() < EXACT || set.exact.contains(key) {
            return set.exact.insert(*key);
        }
        let filter = set.filter.get_or_insert_with(|| vec![0; FILTER_BITS / 64].into());
        positions(key).for_each(|(word, bit)| filter[word] |= bit);
        false
    }

    /// Forgets `key`, if it can: one in the filter stays for ever.
    pub(crate) fn remove(&self, key: &Key) {
        self.lock().exact.remove(key);
    }

    /// Returns how many keys are known exactly.
    pub(crate) fn len(&self) -> usize {
        self.lock().exact.len()
    }

    fn lock(&self) -> MutexGuard<'_, Set> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn positions(key: &Key) -> impl Iterator<Item = (usize, u64)> {
    key.as_bytes().as_chunks::<8>().0.iter().take(HASHES).map(|eight| {
        let position = u64::from_le_bytes(*eight) as usize % FILTER_BITS;
        (position / 64, 1 << (position % 64))
    })
}

#[cfg(test)]
mod tests {
    use cache_core::{KeyBuilder, Namespace};

    use super::*;

    fn key(number: u64) -> Key {
        KeyBuilder::new(&Namespace::default(), "shadow").number(number).finish()
    }

    #[test]
    fn every_key_is_known_however_many_there_are() {
        const COUNT: u64 = EXACT as u64 + 50_000;
        let shadow = Shadow::default();
        assert_eq!((0..COUNT).filter(|number| shadow.insert(&key(*number))).count(), EXACT);
        assert!((0..COUNT).all(|number| shadow.contains(&key(number))));
        assert_eq!(shadow.len(), EXACT);
        let mistaken = (COUNT..COUNT + 10_000).filter(|number| shadow.contains(&key(*number))).count();
        assert!(mistaken < 20, "{mistaken} of 10,000 keys are taken for others");
    }

    #[test]
    fn a_key_leaves() {
        let shadow = Shadow::default();
        shadow.insert(&key(1));
        shadow.insert(&key(2));
        shadow.remove(&key(1));
        assert!(!shadow.contains(&key(1)) && shadow.contains(&key(2)));
    }
}
