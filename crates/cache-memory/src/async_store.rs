//! [`Store`] for [`MemoryStore`].

use std::ops::Range;

use async_trait::async_trait;
use cache_core::{
    Body, Capabilities, Collected, Digest, Entry, Key, ListFilter, Page, PutMode, PutOutcome, Result, Store,
};

use crate::blobs::cut;
use crate::{Hit, MemoryStore, NAME};

/// Nothing here waits, except for the pieces of a blob that is still arriving. Its digest is computed on the thread that
/// polls.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for MemoryStore {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        let max_blob = self.0.limits.max_blob;
        let mut capabilities = Capabilities::all(max_blob.unwrap_or(u64::MAX));
        capabilities.max_blob = max_blob;
        capabilities.persistent = false;
        capabilities
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        self.0.ensure_open()?;
        Ok(MemoryStore::get(self, key).as_ref().map(Hit::to_entry))
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        self.0.ensure_open()?;
        Ok(keys.iter().map(|key| MemoryStore::get(self, key).as_ref().map(Hit::to_entry)).collect())
    }

    async fn put(&self, key: &Key, entry: &Entry, mode: PutMode) -> Result<PutOutcome> {
        MemoryStore::put(self, key, entry, mode)
    }

    async fn remove(&self, key: &Key) -> Result<bool> {
        self.0.ensure_open()?;
        Ok(MemoryStore::remove(self, key))
    }

    async fn list(&self, filter: &ListFilter, after: Option<&str>, limit: usize) -> Result<Page> {
        self.0.ensure_open()?;
        MemoryStore::list(self, filter, after, limit)
    }

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        self.0.ensure_open()?;
        Ok(self.missing_blobs(digests))
    }

    async fn read(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Body>> {
        self.0.ensure_open()?;
        Ok(self.read_blob(digest).map(|content| cut(&content, range).into()))
    }

    async fn write(&self, digest: &Digest, len: u64, body: Body) -> Result<()> {
        self.0.write(digest, len, body).await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        self.0.ensure_open()?;
        Ok(self.delete_blob(digest))
    }

    async fn gc(&self) -> Result<Collected> {
        MemoryStore::gc(self)
    }

    /// There is nothing to wait for.
    async fn flush(&self) -> Result<()> {
        self.0.ensure_open()
    }

    async fn close(&self) -> Result<()> {
        MemoryStore::close(self);
        Ok(())
    }
}
