//! A store that always answers.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use cache_core::{
    Body, Capabilities, Collected, Digest, Entry, Error, Key, ListFilter, Page, PutMode, PutOutcome, Result,
    Store,
};
use futures_core::Stream;
use tokio::time::{Instant, Sleep};

use crate::Timeouts;
use crate::counters::add;

/// Passes everything on to another store, and gives up on what takes too long: no request waits for a store that hangs.
#[derive(Debug)]
pub(crate) struct Deadline {
    inner: Arc<dyn Store>,
    patience: AtomicU64,
    troubles: Troubles,
}

/// How often a store could not do what it was asked.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    pub(crate) failures: AtomicU64,
    /// Those of the failures that took too long.
    pub(crate) timeouts: AtomicU64,
}

impl Deadline {
    pub(super) fn new(inner: Arc<dyn Store>, patience: Duration) -> Self {
        let this = Self { inner, patience: AtomicU64::new(0), troubles: Troubles::default() };
        this.set(patience);
        this
    }

    /// Changes how long calls may take that begin from now on.
    pub(super) fn set(&self, patience: Duration) {
        self.patience.store(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn troubles(&self) -> &Troubles {
        &self.troubles
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.patience.load(Ordering::Relaxed))
    }

    /// Waits for a call that moves so many bytes.
    async fn wait<T>(&self, bytes: u64, call: impl Future<Output = Result<T>>) -> Result<T> {
        let patience = self.patience() + Duration::from_secs(bytes / Timeouts::STORE_RATE);
        let result = tokio::time::timeout(patience, call).await.unwrap_or_else(|_| {
            add(&self.troubles.timeouts, 1);
            Err(too_late(self.inner.name()))
        });
        add(&self.troubles.failures, u64::from(result.is_err()));
        result
    }
}

fn too_late(store: &str) -> Error {
    Error::Unavailable { store: store.to_owned(), why: "it did not answer in time".to_owned() }
}

#[async_trait::async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Deadline {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        self.wait(0, self.inner.get(key)).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        self.wait(0, self.inner.get_many(keys)).await
    }

    async fn put(&self, key: &Key, entry: &Entry, mode: PutMode) -> Result<PutOutcome> {
        self.wait(entry.value.len() as u64, self.inner.put(key, entry, mode)).await
    }

    async fn remove(&self, key: &Key) -> Result<bool> {
        self.wait(0, self.inner.remove(key)).await
    }

    async fn list(&self, filter: &ListFilter, after: Option<&str>, limit: usize) -> Result<Page> {
        self.wait(0, self.inner.list(filter, after, limit)).await
    }

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        self.wait(0, self.inner.missing(digests)).await
    }

    async fn read(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Body>> {
        let body = self.wait(0, self.inner.read(digest, range)).await?;
        Ok(body.map(|body| match body {
            Body::Stream(stream) => Body::Stream(Box::pin(Pieces {
                stream,
                store: self.inner.name().to_owned(),
                patience: self.patience(),
                alarm: None,
            })),
            body => body,
        }))
    }

    async fn write(&self, digest: &Digest, len: u64, body: Body) -> Result<()> {
        self.wait(len, self.inner.write(digest, len, body)).await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        self.wait(0, self.inner.delete(digest)).await
    }

    // No request waits for these three, and they take as long as there is to do.

    async fn gc(&self) -> Result<Collected> {
        self.inner.gc().await
    }

    async fn flush(&self) -> Result<()> {
        self.inner.flush().await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

/// Pieces of content, of which each has to come in time.
struct Pieces {
    stream: Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>,
    store: String,
    patience: Duration,
    /// Set while a piece is waited for.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Stream for Pieces {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let this = self.get_mut();
        if let Poll::Ready(piece) = this.stream.as_mut().poll_next(cx) {
            this.alarm = None;
            return Poll::Ready(piece);
        }
        let deadline = Instant::now() + this.patience;
        let alarm = this.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        alarm.as_mut().poll(cx).map(|()| Some(Err(too_late(&this.store))))
    }
}
