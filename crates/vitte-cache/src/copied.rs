//! Copies of what was used last, before a place that decides.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use bytes::Bytes;
use cache_core::{Clock, EntryMeta, Key, ListFilter};

use crate::Result;
use crate::disk::Disk;
use crate::in_memory::Memory;
use crate::tier::{Found, Look, Tier};

/// How long a copy in memory is believed without a look at the disk. So what other processes put or delete is seen after
/// that, and the disk learns what is in use before it has to evict something.
pub(crate) const COPY_BELIEVED: Duration = Duration::from_secs(1);

/// Locks that keep copies in step. More than threads that put at the same time, so that they seldom share one.
const STRIPES: usize = 64;
/// A place that decides, with copies of what was used last before it.
pub(crate) struct Copied {
    copies: Memory,
    truth: Disk,
    pub(crate) clock: Arc<dyn Clock>,
    /// How many changes there were. Whoever changes something holds the lock from before the change until the copies are
    /// in step; a copy of what was read is only made if nothing changed since.
    stripes: [Mutex<u64>; STRIPES],
}

impl Copied {
    pub(crate) fn new(copies: Memory, truth: Disk, clock: Arc<dyn Clock>) -> Self {
        Self { copies, truth, clock, stripes: std::array::from_fn(|_| Mutex::new(0)) }
    }

    fn stripe(&self, key: &Key) -> &Mutex<u64> {
        &self.stripes[usize::from(key.as_bytes()[0]) % STRIPES]
    }

    /// Returns the number of changes, unless one is under way.
    fn changes(&self, key: &Key) -> Option<MutexGuard<'_, u64>> {
        match self.stripe(key).try_lock() {
            Ok(changes) => Some(changes),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn copy(&self, key: &Key, mut meta: EntryMeta, bytes: Bytes) {
        let believed = self.clock.now().plus(COPY_BELIEVED);
        meta.expires = Some(meta.expires.map_or(believed, |expires| expires.min(believed)));
        if self.copies.put(key, meta, bytes).is_err() {
            // It is too large, and then what was there may not stay either.
            let _ = self.copies.remove(key);
        }
    }
}

impl Tier for Copied {
    fn look_up(&self, key: &Key, look: Look) -> Result<Option<Found>> {
        if let Some(found) = self.copies.look_up(key, look)? {
            return Ok(Some(found));
        }
        let before = self.changes(key).map(|changes| *changes);
        let Some(found) = self.truth.look_up(key, look)? else { return Ok(None) };
        if look == Look::Use
            && let Some(before) = before
            && let Some(changes) = self.changes(key).filter(|changes| **changes == before)
        {
            self.copy(key, found.meta().clone(), found.bytes().clone());
            drop(changes);
        }
        Ok(Some(found))
    }

    fn has(&self, key: &Key) -> Result<bool> {
        Ok(self.copies.has(key)? || self.truth.has(key)?)
    }

    fn put(&self, key: &Key, meta: EntryMeta, bytes: Bytes) -> Result<()> {
        let changes = change(self.stripe(key));
        self.truth.put(key, meta.clone(), bytes.clone())?;
        self.copy(key, meta, bytes);
        drop(changes);
        Ok(())
    }

    fn remove(&self, key: &Key) -> Result<bool> {
        let changes = change(self.stripe(key));
        let copied = self.copies.remove(key)?;
        let there = self.truth.remove(key)?;
        drop(changes);
        Ok(there || copied)
    }

    fn clear(&self, filter: &ListFilter, name: Option<&str>) -> Result<u64> {
        // Always in the same order, so that two who clear do not wait for each other.
        let all: Vec<_> = self.stripes.iter().map(change).collect();
        self.copies.clear(filter, name)?;
        let removed = self.truth.clear(filter, name)?;
        drop(all);
        Ok(removed)
    }
}

fn change(stripe: &Mutex<u64>) -> MutexGuard<'_, u64> {
    let mut changes = stripe.lock().unwrap_or_else(PoisonError::into_inner);
    *changes += 1;
    changes
}
