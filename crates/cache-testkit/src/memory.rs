//! The plainest store that keeps the contract: the oracle of the suite.

use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{
    Body, Capabilities, Clock, Collected, Digest, Entry, Error, Hasher, Key, ListFilter, Listed, Page,
    PutMode, PutOutcome, Result, Store, SystemClock, Timestamp,
};

use crate::task::{lock, yield_now};

/// Largest value in an entry, in bytes: that of the disk store.
const MAX_VALUE: u64 = 1 << 20;

/// A blob that was written or asked for within this time stays although no entry names it yet.
const GRACE: Duration = Duration::from_mins(10);

/// Keeps everything in two maps behind one lock. For tests: it has no limit and evicts nothing.
///
/// Each operation awaits before and after its one atomic step, so that there is something to cancel.
#[derive(Debug)]
pub struct MemoryStore {
    maps: Mutex<Maps>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct Maps {
    entries: BTreeMap<Key, Entry>,
    /// Blobs, and when somebody last meant to name them.
    blobs: BTreeMap<Digest, (Bytes, Timestamp)>,
    closed: bool,
}

impl MemoryStore {
    /// Returns an empty store.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// Returns an empty store that reads the time from `clock`.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { maps: Mutex::default(), clock }
    }

    /// Does `step` in one piece, unless the store is closed.
    async fn step<T>(&self, step: impl FnOnce(&mut Maps) -> Result<T> + Send) -> Result<T> {
        yield_now().await;
        let done = {
            let mut maps = lock(&self.maps);
            if maps.closed {
                return Err(Error::Closed { store: self.name().to_owned() });
            }
            step(&mut maps)
        };
        yield_now().await;
        done
    }

    fn live<'a>(&self, maps: &'a Maps, key: &Key) -> Option<&'a Entry> {
        let entry = maps.entries.get(key)?;
        let complete = entry.blobs().all(|(digest, _)| maps.blobs.contains_key(digest));
        (complete && !entry.meta.is_expired(self.clock.now())).then_some(entry)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns what `body` holds if that is `digest` and `len`, having kept no more than `len` bytes of it.
async fn verified(digest: &Digest, len: u64, mut body: Body) -> Result<Bytes> {
    let mut hasher = Hasher::new(digest.function());
    let mut content = Vec::new();
    while let Some(piece) = body.next().await? {
        let found = content.len() as u64 + piece.len() as u64;
        if found > len {
            return Err(Error::LengthMismatch { expected: len, found });
        }
        hasher.update(&piece);
        content.extend_from_slice(&piece);
    }
    if content.len() as u64 != len {
        return Err(Error::LengthMismatch { expected: len, found: content.len() as u64 });
    }
    let found = hasher.finish();
    if found != *digest {
        return Err(Error::DigestMismatch { expected: *digest, found });
    }
    Ok(content.into())
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for MemoryStore {
    #[expect(clippy::unnecessary_literal_bound, reason = "the trait's signature")]
    fn name(&self) -> &str {
        "memory for tests"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::all(MAX_VALUE);
        capabilities.persistent = false;
        capabilities
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        self.step(|maps| Ok(self.live(maps, key).cloned())).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        self.step(|maps| Ok(keys.iter().map(|key| self.live(maps, key).cloned()).collect())).await
    }

    async fn put(&self, key: &Key, entry: &Entry, mode: PutMode) -> Result<PutOutcome> {
        if entry.value.len() as u64 > MAX_VALUE {
            let what = format!("the value of the entry {key}");
            return Err(Error::TooLarge { what, size: entry.value.len() as u64, limit: MAX_VALUE });
        }
        self.step(|maps| {
            if let Some((digest, _)) = entry.blobs().find(|(digest, _)| !maps.blobs.contains_key(digest)) {
                return Err(Error::Incomplete { digest: *digest });
            }
            if mode == PutMode::IfAbsent && self.live(maps, key).is_some() {
                return Ok(PutOutcome::Present);
            }
            maps.entries.insert(*key, entry.clone());
            Ok(PutOutcome::Stored)
        })
        .await
    }

    async fn remove(&self, key: &Key) -> Result<bool> {
        self.step(|maps| Ok(maps.entries.remove(key).is_some())).await
    }

    async fn list(&self, filter: &ListFilter, after: Option<&str>, limit: usize) -> Result<Page> {
        let after: Option<Key> = after
            .map(str::parse)
            .transpose()
            .map_err(|error| Error::Invalid(format!("unknown cursor: {error}")))?;
        self.step(|maps| {
            let mut page = Page::default();
            for (key, entry) in &maps.entries {
                let passed = after.is_some_and(|after| *key <= after);
                if passed || !filter.passes(&entry.meta) || self.live(maps, key).is_none() {
                    continue;
                }
                if page.items.len() == limit {
                    page.next = page.items.last().map(|last: &Listed| last.key.to_hex());
                    break;
                }
                let (meta, signer) = (entry.meta.clone(), entry.signer());
                page.items.push(Listed { key: *key, meta, size: entry.size(), last_used: None, signer });
            }
            Ok(page)
        })
        .await
    }

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        let now = self.clock.now();
        self.step(|maps| {
            let mut missing = digests.to_vec();
            missing.retain(|digest| maps.blobs.get_mut(digest).map(|(_, used)| *used = now).is_none());
            Ok(missing)
        })
        .await
    }

    async fn read(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Body>> {
        self.step(|maps| {
            let Some((blob, _)) = maps.blobs.get(digest) else { return Ok(None) };
            let Some(range) = range else { return Ok(Some(blob.clone().into())) };
            let at = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(blob.len());
            let (start, end) = (at(range.start), at(range.end));
            Ok(Some(blob.slice(start..end.max(start)).into()))
        })
        .await
    }

    async fn write(&self, digest: &Digest, len: u64, body: Body) -> Result<()> {
        self.step(|_| Ok(())).await?;
        let content = verified(digest, len, body).await?;
        let now = self.clock.now();
        self.step(|maps| {
            match maps.blobs.entry(*digest) {
                Place::Vacant(place) => drop(place.insert((content, now))),
                Place::Occupied(mut place) => place.get_mut().1 = now,
            }
            Ok(())
        })
        .await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        self.step(|maps| Ok(maps.blobs.remove(digest).is_some())).await
    }

    async fn gc(&self) -> Result<Collected> {
        let now = self.clock.now();
        self.step(|maps| {
            let mut collected = Collected::default();
            let Maps { entries, blobs, .. } = maps;
            entries.retain(|_, entry| {
                let expired = entry.meta.is_expired(now);
                let broken = !expired && entry.blobs().any(|(digest, _)| !blobs.contains_key(digest));
                collected.expired += u64::from(expired);
                collected.broken += u64::from(broken);
                collected.bytes += if expired || broken { entry.value.len() as u64 } else { 0 };
                !expired && !broken
            });
            let named: BTreeSet<Digest> =
                entries.values().flat_map(Entry::blobs).map(|(digest, _)| *digest).collect();
            blobs.retain(|digest, (content, used)| {
                let stays = named.contains(digest) || now.since(*used) < GRACE;
                collected.unreferenced += u64::from(!stays);
                collected.bytes += if stays { 0 } else { content.len() as u64 };
                stays
            });
            Ok(collected)
        })
        .await
    }

    async fn flush(&self) -> Result<()> {
        self.step(|_| Ok(())).await
    }

    async fn close(&self) -> Result<()> {
        lock(&self.maps).closed = true;
        Ok(())
    }
}
