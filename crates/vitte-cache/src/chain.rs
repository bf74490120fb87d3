//! Values in a chain of tiers.

use bytes::Bytes;
use cache_coordinator::Coordinator;
use cache_core::{Digest, EntryMeta, Key, PutMode, Store};

use crate::Result;
use crate::inner::MAX_VALUE_BYTES;
use crate::layout::{self, Laid};
use crate::tier::Found;

/// How often a blob is read before it counts as absent.
const READ_ATTEMPTS: usize = 2;

/// A chain, and what it takes.
pub(crate) struct Chain {
    pub(crate) coordinator: Coordinator,
    /// Values with more bytes go into a blob.
    max_inline: usize,
    strict: bool,
}

impl Chain {
    pub(crate) fn new(coordinator: Coordinator, strict: bool) -> Self {
        let limit = usize::try_from(coordinator.capabilities().max_value).unwrap_or(usize::MAX);
        Self { coordinator, max_inline: limit.min(layout::MAX_INLINE), strict }
    }

    /// Returns what is under `key`, if it is whole and its time is not over.
    pub(crate) async fn look_up(&self, key: &Key) -> Result<Option<Found>> {
        let Some(entry) = self.coordinator.get(key).await? else { return Ok(None) };
        let bytes = match layout::of(&entry) {
            Laid::Inline => entry.value,
            Laid::Blob(digest, len) if len <= MAX_VALUE_BYTES => match self.read(&digest, len).await? {
                Some(bytes) => bytes,
                None => return Ok(None),
            },
            Laid::Blob(..) | Laid::Otherwise => return Ok(None),
        };
        Ok(Some(Found::Read(Box::new(entry.meta), bytes)))
    }

    /// Returns a blob. A tier that gives wrong bytes is found out at the end of a large one; the next attempt asks others.
    async fn read(&self, digest: &Digest, len: u64) -> Result<Option<Bytes>> {
        let mut trouble = None;
        for _ in 0..READ_ATTEMPTS {
            let Some(body) = self.coordinator.read(digest, None).await? else { return Ok(None) };
            match body.into_bytes(len).await {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(error) => trouble = Some(error),
            }
        }
        match trouble {
            Some(error) if self.strict => Err(error.into()),
            _ => Ok(None),
        }
    }

    /// Stores a value in place of what is there.
    pub(crate) async fn put(&self, key: &Key, meta: EntryMeta, bytes: Bytes) -> Result<()> {
        let entry = if bytes.len() <= self.max_inline {
            layout::inline(meta, bytes)
        } else {
            let (digest, len) = (Digest::blake3(&bytes), bytes.len() as u64);
            self.coordinator.write(&digest, len, bytes.into()).await?;
            layout::blob(meta, digest, len)?
        };
        let _ = self.coordinator.put(key, &entry, PutMode::Overwrite).await?;
        Ok(())
    }
}
