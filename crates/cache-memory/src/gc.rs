//! The collection: what a sweep does, and blobs that no entry names.

use std::collections::HashSet;

use cache_core::{Collected, Event, Result};

use crate::MemoryStore;
use crate::entries::BATCH;
use crate::item::{Address, Item};
use crate::store::Shared;

impl MemoryStore {
    /// Drops what is over, what is incomplete, and blobs that no entry names; see [`Options::protect`](crate::Options::protect)
    /// for those that stay all the same. It holds no lock for longer than it takes to look at one item. The limits are kept at
    /// every moment, so there is nothing to do about them.
    ///
    /// # Errors
    /// [`Error::Closed`](cache_core::Error::Closed) after [`close`](Self::close).
    pub fn gc(&self) -> Result<Collected> {
        self.0.ensure_open()?;
        let swept = self.sweep();
        let mut collected = Collected::default();
        (collected.expired, collected.broken, collected.bytes) =
            (swept.expired, swept.incomplete, swept.bytes);
        self.0.collect_blobs(&mut collected);
        Ok(collected)
    }
}

impl Shared {
    /// Drops the blobs that no entry names and nobody claimed lately.
    ///
    /// An entry that is put while this runs has claimed its blobs after `before`, so it does not matter whether the mark has
    /// seen it.
    fn collect_blobs(&self, collected: &mut Collected) {
        let before = self.clock.now().minus(self.protect);
        let mut named: HashSet<Address> = HashSet::new();
        let mut after = None;
        loop {
            // By the index, which shows each entry that stays, and not by the cache, which moves them about.
            let keys = self.index.following(after, BATCH);
            let Some(last) = keys.last() else { break };
            after = Some(*last);
            for stored in keys.iter().filter_map(|key| self.peek(key)) {
                named.extend(stored.entry.blobs().map(|(digest, _)| Address::blob(digest)));
            }
        }
        let (mut items, mut bytes) = (0, 0);
        for (address, item) in self.cache.iter() {
            let unclaimed = |item: &Item| matches!(item, Item::Blob(blob) if blob.used.get() < before);
            if !unclaimed(&item) || named.contains(&address) {
                continue;
            }
            // Looked at again with its lock held: it may have been claimed meanwhile.
            if self.cache.remove_if(&address, unclaimed).is_some() {
                items += 1;
                bytes += item.weight();
            }
        }
        collected.unreferenced += items;
        collected.bytes += bytes;
        if items > 0 {
            self.emit(|| Event::Evicted { items, bytes });
        }
    }
}
