//! Values on a disk.

use bytes::Bytes;
use cache_core::{Entry, EntryMeta, Key, ListFilter, PutMode};
use cache_fs::{FsStore, Lookup};

use crate::inner::MAX_VALUE_BYTES;
use crate::layout::{self, Laid};
use crate::seal::Seal;
use crate::tier::{self, Found, Look, Tier};
use crate::{Error, Result};

/// A store on a disk.
pub(crate) struct Disk {
    pub(crate) store: FsStore,
    pub(crate) read_only: bool,
    pub(crate) seal: Seal,
}

impl Disk {
    fn writable(&self) -> Result<&FsStore> {
        if self.read_only {
            return Err(Error::ReadOnly { dir: self.store.dir().to_owned() });
        }
        Ok(&self.store)
    }

    fn entry(&self, key: &Key, look: Look) -> Result<Option<Entry>> {
        let found = match look {
            Look::Use => self.store.get(key)?,
            Look::Peek => self.store.peek(key)?,
        };
        Ok(match found {
            Lookup::Hit(entry) => Some(entry).filter(|entry| self.seal.vouches(key, entry)),
            Lookup::Miss(_) => None,
        })
    }
}

impl Tier for Disk {
    fn look_up(&self, key: &Key, look: Look) -> Result<Option<Found>> {
        let Some(entry) = self.entry(key, look)? else { return Ok(None) };
        let bytes = match layout::of(&entry) {
            Laid::Inline => Some(entry.value),
            Laid::Blob(digest, len) if len <= MAX_VALUE_BYTES => self.store.read_blob(&digest, len)?,
            Laid::Blob(..) | Laid::Otherwise => None,
        };
        Ok(bytes.map(|bytes| Found::Read(Box::new(entry.meta), bytes)))
    }

    fn has(&self, key: &Key) -> Result<bool> {
        Ok(self.entry(key, Look::Peek)?.is_some())
    }

    fn put(&self, key: &Key, meta: EntryMeta, bytes: Bytes) -> Result<()> {
        let store = self.writable()?;
        let mut entry = if bytes.len() <= layout::MAX_INLINE {
            layout::inline(meta, bytes)
        } else {
            layout::blob(meta, store.write_blob(&bytes)?, bytes.len() as u64)?
        };
        self.seal.sign(key, &mut entry)?;
        let _ = store.put(key, &entry, PutMode::Overwrite)?;
        Ok(())
    }

    fn remove(&self, key: &Key) -> Result<bool> {
        Ok(self.writable()?.remove(key)?)
    }

    fn clear(&self, filter: &ListFilter, name: Option<&str>) -> Result<u64> {
        let store = self.writable()?;
        tier::clear(name, |after, limit| store.list(filter, after, limit), |key| self.remove(key))
    }
}
