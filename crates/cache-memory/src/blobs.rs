//! Blobs: read, write, delete.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cache_core::{Body, Digest, Error, Event, Hasher, Result};

use crate::entries::Look;
use crate::item::{Address, Blob, Item, LastUse};
use crate::store::Shared;
use crate::{MemoryStore, NAME};

impl MemoryStore {
    /// Returns the content of a blob and counts it as used. Nothing is copied.
    pub fn read_blob(&self, digest: &Digest) -> Option<Bytes> {
        Some(self.0.blob(digest, Look::Use)?.content.clone())
    }

    /// Returns those of `digests` that are not there, in their order. What is there counts as used.
    pub fn missing_blobs(&self, digests: &[Digest]) -> Vec<Digest> {
        digests.iter().copied().filter(|digest| self.0.blob(digest, Look::Claim).is_none()).collect()
    }

    /// Stores a blob. Its content is shared and not copied, so a slice of a larger buffer keeps all of the buffer.
    ///
    /// ```
    /// use cache_core::Digest;
    /// use cache_memory::MemoryStore;
    ///
    /// let store = MemoryStore::default();
    /// let digest = Digest::blake3(b"content");
    /// store.write_blob(&digest, "content".into())?;
    /// assert_eq!(store.read_blob(&digest).unwrap(), "content");
    /// assert!(store.write_blob(&digest, "content".into()).is_ok());
    /// assert!(store.write_blob(&Digest::blake3(b"other"), "content".into()).is_err());
    /// # Ok::<(), cache_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] if it has another digest, [`Error::TooLarge`] if it can never fit, [`Error::Closed`]
    /// after [`close`](Self::close).
    pub fn write_blob(&self, digest: &Digest, content: Bytes) -> Result<()> {
        let len = content.len() as u64;
        if self.0.is_written(digest, len)? {
            return Ok(());
        }
        verify(digest, Digest::of(digest.function(), &content))?;
        self.0.keep(digest, content)
    }

    /// Removes a blob and returns whether there was one. Entries that name it become misses.
    pub fn delete_blob(&self, digest: &Digest) -> bool {
        let there = self.0.blob(digest, Look::Peek).is_some();
        self.0.cache.remove(&Address::blob(digest)).is_some() && there
    }
}

impl Shared {
    /// Returns a blob whose time is not over; one whose time is over is dropped.
    pub(crate) fn blob(&self, digest: &Digest, look: Look) -> Option<Arc<Blob>> {
        let address = Address::blob(digest);
        let found = match look {
            Look::Use | Look::Claim => self.cache.get(&address),
            Look::Peek => self.cache.peek(&address),
        };
        let Some(Item::Blob(blob)) = found else { return None };
        if self.idle().is_none() && look != Look::Claim {
            return Some(blob);
        }
        let now = self.clock.now();
        if self.idle().is_some_and(|idle| blob.used.over(idle, now).is_some()) {
            if look != Look::Peek && self.drop_blob(&address, &blob) {
                self.counters.expired(1);
            }
            return None;
        }
        if look != Look::Peek {
            blob.used.set(now);
        }
        if look == Look::Claim && !self.cache.contains_key(&address) {
            // A collection took it between the look and the note. From here on one would see the note.
            return None;
        }
        Some(blob)
    }

    /// Removes a blob if it is still `seen`, and returns whether it was.
    pub(crate) fn drop_blob(&self, address: &Address, seen: &Arc<Blob>) -> bool {
        let is_seen = |item: &Item| matches!(item, Item::Blob(blob) if Arc::ptr_eq(blob, seen));
        self.cache.remove_if(address, is_seen).is_some()
    }

    /// Returns whether the blob need not be written because it is there.
    fn is_written(&self, digest: &Digest, len: u64) -> Result<bool> {
        self.ensure_open()?;
        if self.blob(digest, Look::Claim).is_some_and(|blob| blob.content.len() as u64 == len) {
            self.emit(|| Event::Blob { digest, len, deduplicated: true });
            return Ok(true);
        }
        let limit = self.limits.max_blob.unwrap_or(u64::MAX);
        if len > limit {
            return Err(Error::TooLarge { what: format!("the blob {digest}"), size: len, limit });
        }
        Ok(false)
    }

    /// Stores a blob that was verified.
    fn keep(&self, digest: &Digest, content: Bytes) -> Result<()> {
        let len = content.len() as u64;
        let (address, used) = (Address::blob(digest), LastUse::new(self.clock.now()));
        let item = Item::Blob(Arc::new(Blob { content, used }));
        let mut evicted = Vec::new();
        self.cache.insert_with_lifecycle(address, item.clone(), &mut evicted);
        self.settle(evicted, &address, &item);
        if self.is_closed() {
            // It was closed meanwhile, and may have been emptied just before this came.
            self.cache.remove(&address);
        }
        self.ensure_open()?;
        self.emit(|| Event::Blob { digest, len, deduplicated: false });
        Ok(())
    }

    /// Stores what `body` holds if that is `digest` and `len`.
    pub(crate) async fn write(&self, digest: &Digest, len: u64, body: Body) -> Result<()> {
        if self.is_written(digest, len)? {
            return Ok(());
        }
        let content = match body {
            Body::Bytes(content) => {
                ensure_len(len, content.len() as u64)?;
                verify(digest, Digest::of(digest.function(), &content))?;
                content
            }
            pieces => gather(digest, len, pieces).await?,
        };
        self.keep(digest, content)
    }
}

/// Returns what comes in pieces as a whole, if it is `digest` and `len`. No more than `len` bytes of it are kept, and
/// reading ends with the piece that exceeds them.
async fn gather(digest: &Digest, len: u64, mut body: Body) -> Result<Bytes> {
    let mut hasher = Hasher::new(digest.function());
    let mut content = Vec::new();
    // `len` is within the limit of blobs here, and the system gives the memory as it is written to.
    content.try_reserve_exact(usize::try_from(len).unwrap_or(usize::MAX)).map_err(|_| Error::Full {
        place: NAME.to_owned(),
        why: format!("the system has no {len} bytes of memory for the blob {digest}; lower `max_blob`"),
    })?;
    while let Some(piece) = body.next().await? {
        let found = hasher.len().saturating_add(piece.len() as u64);
        if found > len {
            return Err(Error::LengthMismatch { expected: len, found });
        }
        hasher.update(&piece);
        content.extend_from_slice(&piece);
    }
    ensure_len(len, hasher.len())?;
    verify(digest, hasher.finish())?;
    Ok(content.into())
}

fn ensure_len(expected: u64, found: u64) -> Result<()> {
    if found == expected { Ok(()) } else { Err(Error::LengthMismatch { expected, found }) }
}

fn verify(expected: &Digest, found: Digest) -> Result<()> {
    if found == *expected { Ok(()) } else { Err(Error::DigestMismatch { expected: *expected, found }) }
}

/// Returns the part of `content` that lies within `range`.
pub(crate) fn cut(content: &Bytes, range: Option<Range<u64>>) -> Bytes {
    let Some(range) = range else { return content.clone() };
    let at = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(content.len());
    let end = at(range.end);
    content.slice(at(range.start).min(end)..end)
}
