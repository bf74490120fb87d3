//! Values in the memory of the process.

use bytes::Bytes;
use cache_core::{Entry, EntryMeta, Key, ListFilter, PutMode};
use cache_memory::MemoryStore;

use crate::Result;
use crate::tier::{self, Found, Look, Tier};

/// A store in memory.
pub(crate) struct Memory(pub(crate) MemoryStore);

impl Tier for Memory {
    fn look_up(&self, key: &Key, look: Look) -> Result<Option<Found>> {
        let hit = match look {
            Look::Use => self.0.get(key),
            Look::Peek => self.0.peek(key),
        };
        Ok(hit.map(Found::Shared))
    }

    fn has(&self, key: &Key) -> Result<bool> {
        Ok(self.0.peek(key).is_some())
    }

    fn put(&self, key: &Key, meta: EntryMeta, bytes: Bytes) -> Result<()> {
        let entry = Entry { meta, value: bytes, ..Entry::default() };
        let _ = self.0.put(key, &entry, PutMode::Overwrite)?;
        Ok(())
    }

    fn remove(&self, key: &Key) -> Result<bool> {
        Ok(self.0.remove(key))
    }

    fn clear(&self, filter: &ListFilter, name: Option<&str>) -> Result<u64> {
        tier::clear(name, |after, limit| self.0.list(filter, after, limit), |key| self.remove(key))
    }
}
