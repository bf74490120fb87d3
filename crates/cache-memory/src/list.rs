//! Listing entries.

use cache_core::{Error, Key, ListFilter, Listed, Page, Result};

use crate::MemoryStore;

/// Entries that are looked at for one page at most, however few of them pass the filter.
const MAX_LOOKED_AT: usize = 4096;
/// Keys that are taken from the index at a time.
const BATCH: usize = 256;

impl MemoryStore {
    /// Returns a page of the entries that pass `filter`, in the order of their keys. A page looks at a bounded number of
    /// entries, so it may be short, or empty, without being the last. Being listed is no use.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `after` is no cursor.
    pub fn list(&self, filter: &ListFilter, after: Option<&str>, limit: usize) -> Result<Page> {
        let unknown =
            |text| Error::Invalid(format!("`{text}` is no cursor of this store; start from the beginning"));
        let mut after: Option<Key> = after.map(|text| text.parse().map_err(|_| unknown(text))).transpose()?;
        let mut page = Page::default();
        let mut left = MAX_LOOKED_AT;
        loop {
            let keys = self.0.index.following(after, BATCH);
            if keys.is_empty() {
                return Ok(page);
            }
            for key in keys {
                if page.items.len() >= limit || left == 0 {
                    // A page of no entries does not know where it ends; the least key is nobody's.
                    page.next = Some(after.unwrap_or(Key::from_bytes([0; 32])).to_hex());
                    return Ok(page);
                }
                (after, left) = (Some(key), left - 1);
                page.items.extend(self.listed(&key, filter));
            }
        }
    }

    fn listed(&self, key: &Key, filter: &ListFilter) -> Option<Listed> {
        let stored = self.0.peek(key).filter(|stored| filter.passes(&stored.entry.meta))?;
        // Uses of an entry that never idles are not noted.
        let last_used = stored.idle.map(|_| stored.used.get());
        let entry = &stored.entry;
        let (meta, signer) = (entry.meta.clone(), entry.signer());
        Some(Listed { key: *key, meta, size: entry.size(), last_used, signer })
    }
}
