//! Values on a disk.

use bytes::Bytes;
use cache_core::{Entry, EntryMeta, Key, ListFilter, Output, OutputKind, PutMode, RelPath};
use cache_fs::{FsStore, Lookup};

use crate::cache::MAX_VALUE_BYTES;
use crate::tier::{self, Look, Tier};
use crate::{Error, Result};

/// Values up to this many bytes are kept in their entry; for larger ones a blob of their own is quicker to check.
const MAX_INLINE: usize = 64 << 10;
/// The path of a value that is an output of its entry.
const VALUE_PATH: &str = "value";

/// A store on a disk.
pub(crate) struct Disk {
    pub(crate) store: FsStore,
    pub(crate) read_only: bool,
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
            Lookup::Hit(entry) => Some(entry),
            Lookup::Miss(_) => None,
        })
    }

    /// Returns a value and the facts about it.
    pub(crate) fn look_up_whole(&self, key: &Key, look: Look) -> Result<Option<(EntryMeta, Bytes)>> {
        let Some(entry) = self.entry(key, look)? else { return Ok(None) };
        let bytes = match entry.outputs.first().map(|output| &output.kind) {
            None => Some(entry.value),
            Some(OutputKind::File { digest, len, .. }) if *len <= MAX_VALUE_BYTES => {
                self.store.read_blob(digest, *len)?
            }
            Some(_) => None,
        };
        Ok(bytes.map(|bytes| (entry.meta, bytes)))
    }
}

impl Tier for Disk {
    fn look_up(&self, key: &Key, look: Look) -> Result<Option<Bytes>> {
        Ok(self.look_up_whole(key, look)?.map(|(_, bytes)| bytes))
    }

    fn has(&self, key: &Key) -> Result<bool> {
        Ok(self.entry(key, Look::Peek)?.is_some())
    }

    fn put(&self, key: &Key, meta: EntryMeta, bytes: Bytes) -> Result<()> {
        let store = self.writable()?;
        let mut entry = Entry { meta, ..Entry::default() };
        if bytes.len() <= MAX_INLINE {
            entry.value = bytes;
        } else {
            let path =
                RelPath::new(VALUE_PATH).map_err(|error| cache_core::Error::Invalid(error.to_string()))?;
            let (digest, len) = (store.write_blob(&bytes)?, bytes.len() as u64);
            let kind = OutputKind::File { digest, len, mode: 0o600, modified_ns: 0 };
            entry.outputs.push(Output { path, kind });
        }
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
