//! One writer at a time per key, and a way for slow readers to notice that somebody wrote meanwhile.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_core::Key;

/// The slots of the keys that somebody is busy with; there are no others.
#[derive(Debug, Default)]
pub(crate) struct Slots(Arc<Mutex<HashMap<Key, Arc<Slot>>>>);

#[derive(Debug, Default)]
struct Slot {
    writer: tokio::sync::Mutex<()>,
    writes: AtomicU64,
}

impl Slots {
    /// Returns a hold on the slot of `key`, which exists as long as anybody has one.
    pub(crate) fn hold(&self, key: &Key) -> Hold {
        let slot = Arc::clone(lock(&self.0).entry(*key).or_default());
        Hold { slots: Arc::clone(&self.0), key: *key, slot }
    }

    /// Returns how many slots there are.
    #[cfg(test)]
    fn len(&self) -> usize {
        lock(&self.0).len()
    }
}

/// A hold on the slot of a key.
#[derive(Debug)]
pub(crate) struct Hold {
    slots: Arc<Mutex<HashMap<Key, Arc<Slot>>>>,
    key: Key,
    slot: Arc<Slot>,
}

impl Hold {
    /// Returns how many writes there were since somebody holds this slot.
    pub(crate) fn writes(&self) -> u64 {
        self.slot.writes.load(Ordering::SeqCst)
    }

    /// Waits until nobody else writes. What is then copied must not be older than [`writes`](Self::writes) tells.
    pub(crate) async fn copy(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.slot.writer.lock().await
    }

    /// Waits until nobody else writes, and counts a write: at its start, for copies that wait behind it; and at its end,
    /// also if it is dropped half way, for those who read in between.
    pub(crate) async fn write(&self) -> Writing<'_> {
        let guard = self.slot.writer.lock().await;
        self.slot.writes.fetch_add(1, Ordering::SeqCst);
        Writing { slot: &self.slot, _guard: guard }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Place::Occupied(place) = lock(&self.slots).entry(self.key) {
            // The map's and this one's. Others can only be made under the lock.
            if Arc::strong_count(&self.slot) == 2 {
                place.remove();
            }
        }
    }
}

/// The right to write, until dropped.
#[derive(Debug)]
pub(crate) struct Writing<'a> {
    slot: &'a Slot,
    _guard: tokio::sync::MutexGuard<'a, ()>,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.slot.writes.fetch_add(1, Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use cache_testkit::{block_on, poll_at_most};

    use super::*;

    #[test]
    fn a_slot_lives_as_long_as_somebody_holds_it() {
        let slots = Slots::default();
        let key = Key::from_bytes([1; 32]);
        let (reader, writer) = (slots.hold(&key), slots.hold(&key));
        assert_eq!(slots.len(), 1);
        let before = reader.writes();
        drop(block_on(writer.write()));
        drop(writer);
        assert_ne!(reader.writes(), before);
        drop(reader);
        assert_eq!(slots.len(), 0);
    }

    #[test]
    fn a_write_that_is_dropped_counts_and_lets_the_next_one_in() {
        let slots = Slots::default();
        let hold = slots.hold(&Key::from_bytes([1; 32]));
        let before = hold.writes();
        let dropped = block_on(poll_at_most(1, async {
            let _writing = hold.write().await;
            std::future::pending::<()>().await;
        }));
        assert!(dropped.is_none());
        assert_eq!(hold.writes(), before + 2);
        drop(block_on(hold.copy()));
    }
}
