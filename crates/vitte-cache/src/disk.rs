//! Values on a disk.

use bytes::Bytes;
use cache_core::{Entry, EntryMeta, Key, ListFilter, MissReason, PutMode};
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
        for place in self.seal.places(key) {
            let found = match look {
                Look::Use => self.store.get(&place.address)?,
                Look::Peek => self.store.peek(&place.address)?,
            };
            let Lookup::Hit(entry) = found else { continue };
            match self.seal.flaw(key, &place, &entry) {
                None => return Ok(Some(entry)),
                // It will be found forged again, if it cannot be removed.
                Some(MissReason::Forged) if !self.read_only => drop(self.store.remove(&place.address)),
                Some(_) => {}
            }
        }
        Ok(None)
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
        for (number, place) in self.seal.places(key).enumerate() {
            if number == 0 {
                let _ = store.put(&place.address, &entry, PutMode::Overwrite)?;
            } else {
                // What was replaced must not come back when the new one ends.
                store.remove(&place.address)?;
            }
        }
        Ok(())
    }

    fn remove(&self, key: &Key) -> Result<bool> {
        let store = self.writable()?;
        // What nobody vouches for goes as well, and was not there.
        let counts = self.seal.ring.is_none() || self.has(key)?;
        let mut removed = false;
        for place in self.seal.places(key) {
            removed |= store.remove(&place.address)?;
        }
        Ok(removed && counts)
    }

    fn clear(&self, filter: &ListFilter, name: Option<&str>) -> Result<u64> {
        let store = self.writable()?;
        let list = |after: Option<&str>, limit| {
            let mut page = store.list(filter, after, limit)?;
            page.items.retain(|item| self.seal.is_ours(item));
            Ok(page)
        };
        tier::clear(name, list, |address| Ok(store.remove(address)?))
    }
}
