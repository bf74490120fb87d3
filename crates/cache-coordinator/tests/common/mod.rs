//! Tiers that are well or sick, and what is stored in them.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cache_coordinator::{ChainObserver, Coordinator, Tier, TierEvent};
use cache_core::{
    Body, Capabilities, Clock, Collected, Digest, Entry, EntryMeta, Error, Key, KeyBuilder, ListFilter,
    Namespace, Output, OutputKind, Page, PutMode, PutOutcome, RelPath, Result, Store, Timestamp,
};
use cache_testkit::{Fault, FaultStore, Gate, MemoryStore, Operation, content, failing_after, in_pieces};
use futures_core::Stream;

pub type Faulty = Arc<FaultStore<MemoryStore>>;

pub fn faulty() -> Faulty {
    Arc::new(FaultStore::new(MemoryStore::new()))
}

/// Returns a tier that callers wait for.
pub fn near(store: &Faulty) -> Tier {
    Tier::new(Arc::clone(store) as Arc<dyn Store>)
}

/// Returns a tier that is written in the background and not taken at its word.
pub fn far(store: &Faulty) -> Tier {
    near(store).named("far").write_back(true).verify(true).deadline(Tier::REMOTE_DEADLINE)
}

pub const OPERATIONS: [Operation; 9] = [
    Operation::Get,
    Operation::GetMany,
    Operation::Put,
    Operation::Remove,
    Operation::List,
    Operation::Missing,
    Operation::Read,
    Operation::Write,
    Operation::Delete,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Healthy,
    Slow,
    Failing,
    Lying,
}

impl Health {
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Slow, Self::Failing, Self::Lying];

    pub fn befall(self, store: &Faulty) {
        for operation in OPERATIONS {
            match self {
                Self::Healthy => {}
                Self::Slow => store.inject(operation, .., Fault::Wait(Gate::new())),
                Self::Failing => store.inject(operation, .., Fault::unavailable()),
                Self::Lying if operation == Operation::Read => store.inject(operation, .., Fault::Flip(0)),
                Self::Lying => {}
            }
        }
    }
}

pub fn key(number: u64) -> Key {
    KeyBuilder::new(&Namespace::default(), "coordinator").number(number).finish()
}

/// Returns a blob of `len` bytes and its digest.
pub fn blob(seed: u64, len: usize) -> (Digest, Bytes) {
    let content = content(seed, len);
    (Digest::blake3(&content), content)
}

/// Returns an entry that says `text` and names `blobs`.
pub fn entry(text: &str, blobs: &[(Digest, Bytes)]) -> Entry {
    let output = |(index, (digest, content)): (usize, &(Digest, Bytes))| Output {
        path: RelPath::new(format!("out/{index:03}")).unwrap(),
        kind: OutputKind::File { digest: *digest, len: content.len() as u64, mode: 0o644, modified_ns: 0 },
    };
    Entry {
        meta: EntryMeta { name: text.to_owned(), cost_ms: 1000, ..EntryMeta::default() },
        value: Bytes::copy_from_slice(text.as_bytes()),
        outputs: blobs.iter().enumerate().map(output).collect(),
        ..Entry::default()
    }
}

/// Stores `entry` and its blobs.
pub async fn store(store: &dyn Store, key: &Key, entry: &Entry, blobs: &[(Digest, Bytes)]) {
    for (digest, content) in blobs {
        store.write(digest, content.len() as u64, in_pieces(content, 7000)).await.unwrap();
    }
    assert_eq!(store.put(key, entry, PutMode::Overwrite).await.unwrap(), PutOutcome::Stored);
}

/// Returns the content of a blob, if it is there and comes to a good end.
pub async fn read(store: &dyn Store, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Bytes>> {
    match store.read(digest, range).await? {
        Some(body) => body.into_bytes(u64::MAX).await.map(Some),
        None => Ok(None),
    }
}

/// Waits for everything that happens in the background.
pub async fn settle(chain: &Coordinator) {
    assert_eq!(chain.flush(std::time::Duration::from_hours(24)).await.left, 0);
}

/// Writes down what it is told.
#[derive(Debug, Default)]
pub struct Notes(Mutex<Vec<String>>);

impl Notes {
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub fn count(&self, what: &str) -> usize {
        self.all().iter().filter(|note| note.contains(what)).count()
    }
}

impl ChainObserver for Notes {
    fn on_event(&self, event: &TierEvent<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
}

/// Gives entries whether or not their blobs are there, and says what it likes about blobs.
#[derive(Debug, Default)]
pub struct Hollow {
    pub entries: Mutex<Vec<(Key, Entry)>>,
    /// Whether it denies that anything is missing.
    pub denies: bool,
}

#[async_trait]
impl Store for Hollow {
    #[expect(clippy::unnecessary_literal_bound, reason = "the trait's signature")]
    fn name(&self) -> &str {
        "hollow"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::all(1 << 20);
        capabilities.local = false;
        capabilities
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        let entries = self.entries.lock().unwrap();
        Ok(entries.iter().find(|(other, _)| other == key).map(|(_, entry)| entry.clone()))
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        let mut found = Vec::new();
        for key in keys {
            found.push(self.get(key).await?);
        }
        Ok(found)
    }

    async fn put(&self, _: &Key, _: &Entry, _: PutMode) -> Result<PutOutcome> {
        Ok(PutOutcome::Stored)
    }

    async fn remove(&self, _: &Key) -> Result<bool> {
        Ok(false)
    }

    async fn list(&self, _: &ListFilter, _: Option<&str>, _: usize) -> Result<Page> {
        Ok(Page::default())
    }

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        Ok(if self.denies { Vec::new() } else { digests.to_vec() })
    }

    async fn read(&self, _: &Digest, _: Option<Range<u64>>) -> Result<Option<Body>> {
        Ok(None)
    }

    async fn write(&self, _: &Digest, _: u64, _: Body) -> Result<()> {
        Ok(())
    }

    async fn delete(&self, _: &Digest) -> Result<bool> {
        Ok(false)
    }

    async fn gc(&self) -> Result<Collected> {
        Ok(Collected::default())
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// Gives the start of a blob, whatever is asked for, and then an error or nothing more.
#[derive(Debug)]
pub struct Breaking {
    pub content: Bytes,
    pub stalls: bool,
}

#[async_trait]
impl Store for Breaking {
    #[expect(clippy::unnecessary_literal_bound, reason = "the trait's signature")]
    fn name(&self) -> &str {
        "breaking"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::all(1 << 20)
    }

    async fn get(&self, _: &Key) -> Result<Option<Entry>> {
        Ok(None)
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        Ok(vec![None; keys.len()])
    }

    async fn put(&self, _: &Key, _: &Entry, _: PutMode) -> Result<PutOutcome> {
        Ok(PutOutcome::Stored)
    }

    async fn remove(&self, _: &Key) -> Result<bool> {
        Ok(false)
    }

    async fn list(&self, _: &ListFilter, _: Option<&str>, _: usize) -> Result<Page> {
        Ok(Page::default())
    }

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        Ok(digests.to_vec())
    }

    async fn read(&self, _: &Digest, _: Option<Range<u64>>) -> Result<Option<Body>> {
        Ok(Some(if self.stalls {
            Body::Stream(Box::pin(Stalling(Some(self.content.clone()))))
        } else {
            failing_after(&self.content, 50_000)
        }))
    }

    async fn write(&self, _: &Digest, _: u64, _: Body) -> Result<()> {
        Ok(())
    }

    async fn delete(&self, _: &Digest) -> Result<bool> {
        Ok(false)
    }

    async fn gc(&self) -> Result<Collected> {
        Ok(Collected::default())
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// One piece, and then silence.
struct Stalling(Option<Bytes>);

impl Stream for Stalling {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        self.0.take().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(piece))))
    }
}

/// The time of a paused runtime.
#[derive(Debug)]
pub struct TokioClock(tokio::time::Instant);

impl Default for TokioClock {
    fn default() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_000_000).plus(self.0.elapsed())
    }
}

/// Returns a body that waits before each byte.
pub fn slow(content: &Bytes, pause: Duration) -> Body {
    let timer = Box::pin(tokio::time::sleep(pause));
    Body::Stream(Box::pin(Slow { rest: content.clone(), pause, timer }))
}

struct Slow {
    rest: Bytes,
    pause: Duration,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl Stream for Slow {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.timer = Box::pin(tokio::time::sleep(self.pause));
        Poll::Ready(Some(Ok(self.rest.split_to(1))))
    }
}

/// Takes blobs of up to 1000 bytes.
#[derive(Debug)]
pub struct Small(pub MemoryStore);

#[async_trait]
impl Store for Small {
    #[expect(clippy::unnecessary_literal_bound, reason = "the trait's signature")]
    fn name(&self) -> &str {
        "small"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.0.capabilities();
        capabilities.max_blob = Some(1000);
        capabilities
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        self.0.get(key).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        self.0.get_many(keys).await
    }

    async fn put(&self, key: &Key, entry: &Entry, mode: PutMode) -> Result<PutOutcome> {
        self.0.put(key, entry, mode).await
    }

    async fn remove(&self, key: &Key) -> Result<bool> {
        self.0.remove(key).await
    }

    async fn list(&self, filter: &ListFilter, after: Option<&str>, limit: usize) -> Result<Page> {
        self.0.list(filter, after, limit).await
    }

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        self.0.missing(digests).await
    }

    async fn read(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Body>> {
        self.0.read(digest, range).await
    }

    async fn write(&self, digest: &Digest, len: u64, body: Body) -> Result<()> {
        if len > 1000 {
            return Err(Error::TooLarge { what: "the blob".to_owned(), size: len, limit: 1000 });
        }
        self.0.write(digest, len, body).await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        self.0.delete(digest).await
    }

    async fn gc(&self) -> Result<Collected> {
        self.0.gc().await
    }

    async fn flush(&self) -> Result<()> {
        self.0.flush().await
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}
