//! Listing entries, shard by shard.

use std::fs;

use cache_core::{Digest, Error, Event, Key, ListFilter, Listed, Namespace, Page, Result};

use super::Files;
use super::address::{Address, Space};
use super::entries::Loaded;
use super::item::Recency;

/// Entries that are read for one page at most, however few of them pass the filter.
const MAX_READ: usize = 1024;

impl Files {
    /// Lists entries. The cursor is the key after which the next page starts.
    pub(crate) fn list(&self, filter: &ListFilter, after: Option<&str>, limit: usize) -> Result<Page> {
        let after: Option<Key> = match after {
            None => None,
            Some(text) => {
                let unknown = |_| {
                    Error::Invalid(format!("`{text}` is no cursor of this store; start from the beginning"))
                };
                Some(text.parse().map_err(unknown)?)
            }
        };
        let now = self.clock.now();
        let mut page = Page::default();
        let mut read = 0;
        let mut last = after;
        for shard in after.map_or(0, |key| key.as_bytes()[0])..=u8::MAX {
            for address in self.entries_of(shard)? {
                let Some(key) = address.key().filter(|key| last.is_none_or(|last| *key > last)) else {
                    continue;
                };
                if page.items.len() >= limit || read >= MAX_READ {
                    // Without progress a limit of zero would list for ever.
                    page.next = last.or(Some(Key::from_bytes([0; 32]))).map(|key| key.to_hex());
                    return Ok(page);
                }
                last = Some(key);
                read += 1;
                if let Loaded::Entry(entry, meta) = self.load(&address)?
                    && !entry.meta.is_expired(now)
                    && filter.passes(&entry.meta)
                {
                    let (size, last_used) = (entry.size(), Some(Recency::of(&meta).used));
                    let signer = entry.signer();
                    page.items.push(Listed { key, meta: entry.meta, size, last_used, signer });
                }
            }
        }
        Ok(page)
    }

    /// Returns the addresses of the entries in a shard, sorted.
    pub(super) fn entries_of(&self, shard: u8) -> Result<Vec<Address>> {
        self.addresses(Space::Entries, shard)
    }

    /// Returns the addresses of the files in a shard, sorted.
    pub(super) fn addresses(&self, space: Space, shard: u8) -> Result<Vec<Address>> {
        let dir = space.shard_dir(&self.root, shard);
        let files = match fs::read_dir(&dir) {
            Ok(files) => files,
            Err(e) if super::item::is_absent(&e) => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("cannot list", &dir, e)),
        };
        let mut addresses: Vec<Address> =
            files.filter_map(|file| Address::parse(space, shard, file.ok()?.file_name().to_str()?)).collect();
        addresses.sort_unstable_by_key(|address| address.id);
        Ok(addresses)
    }

    /// Calls `visit` with the digest and length of every blob.
    pub(crate) fn each_blob(&self, visit: &mut dyn FnMut(Digest, u64) -> Result<()>) -> Result<()> {
        for shard in 0..=u8::MAX {
            for digest in self.blobs_of(shard)?.iter().filter_map(Address::digest) {
                if let Some(len) = self.blob_len(&digest) {
                    visit(digest, len)?;
                }
            }
        }
        Ok(())
    }

    /// Removes every entry of a namespace; returns how many.
    pub(crate) fn clear_namespace(&self, namespace: &Namespace) -> Result<u64> {
        self.writable()?;
        let mut removed = 0;
        for shard in 0..=u8::MAX {
            for address in self.entries_of(shard)? {
                if let Loaded::Entry(entry, meta) = self.load(&address)?
                    && entry.meta.namespace == *namespace
                    && self.remove_seen(&address, &meta)
                {
                    removed += 1;
                    let key = Key::from_bytes(address.id);
                    self.emit(|| Event::Removed { key: &key });
                }
            }
        }
        Ok(removed)
    }
}
