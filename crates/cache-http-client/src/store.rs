//! The [`Store`] over the server.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::envelope::encode_entry;
use cache_core::{
    Body, Capabilities, Collected, Digest, Entry, Error, Key, ListFilter, Page, PutMode, PutOutcome, Result,
    Store,
};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::generic::is_empty;
use crate::options::HttpOptions;
use crate::pending::Pending;
use crate::server::Server;
use crate::upload::{self, WHOLE};
use crate::wire::{self, Wire};

/// The name of the store in messages, events and metrics.
pub const NAME: &str = "http";
/// Blobs of at most this many bytes are verified as a whole before any of it is handed out, so that a damaged one is a miss.
const SMALL: u64 = 1 << 20;

/// Entries and blobs on a server.
///
/// Whatever it sends is verified here: it may cut answers off, mix them up or be somebody else by now, and what comes of that is
/// a miss or an error, and never a wrong byte. Must be used within a tokio runtime.
#[derive(Clone, Debug)]
pub struct HttpStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    server: Arc<Server>,
    wire: Arc<dyn Wire>,
    pending: Arc<Pending>,
    closed: AtomicBool,
}

impl HttpStore {
    /// Returns the store that `options` describe. Nothing is sent before it is used.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the options make no sense.
    pub fn open(options: HttpOptions) -> Result<Self> {
        let server = Arc::new(Server::new(options)?);
        let wire = wire::open(&server);
        let inner = Inner { server, wire, pending: Arc::default(), closed: AtomicBool::new(false) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns how many answers so far were not the entry that was asked for, but something else or a damaged one. Each was a
    /// miss; many of them mean that something else than a cache answers.
    pub fn unsound(&self) -> u64 {
        self.inner.server.unsound.load(Ordering::Relaxed)
    }

    /// Returns how far the server's clock is from this machine's, to about a second, as its last answer said; nothing if none
    /// did.
    pub fn clocks_apart(&self) -> Option<Duration> {
        self.inner.server.clock.apart()
    }
}

impl Inner {
    fn ensure_open(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::Closed { store: self.server.place() });
        }
        Ok(())
    }

    fn ensure_writes(&self, operation: &'static str) -> Result<()> {
        self.ensure_open()?;
        if self.server.options.mode.writes() {
            return Ok(());
        }
        Err(Error::Unsupported {
            store: format!("{}, whose `mode` is read,", self.server.place()),
            operation,
        })
    }

    /// Waits until nobody changes one of `digests`.
    async fn settle(&self, digests: impl Iterator<Item = &Digest>) {
        for digest in digests {
            self.pending.settle(&self.wire.blob_path(digest)).await;
        }
    }

    async fn is_missing(&self, digest: &Digest) -> Result<bool> {
        Ok(!self.wire.missing(&[*digest]).await?.is_empty())
    }
}

impl HttpStore {
    /// Lets `change` of `path` happen when no other one does. It goes on if this future is dropped, and learns of that from
    /// what it is given.
    async fn change<T, F>(
        &self,
        path: &str,
        change: impl FnOnce(Arc<Inner>, oneshot::Receiver<()>) -> F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let turn = self.inner.pending.begin(path).await;
        let (alive, gone) = oneshot::channel();
        let change = change(Arc::clone(&self.inner), gone);
        let task = tokio::spawn(async move {
            let done = change.await;
            drop(turn);
            done
        });
        let done = task.await;
        drop(alive);
        done.unwrap_or_else(|_| Err(self.inner.server.unavailable("the runtime is shutting down")))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for HttpStore {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.wire.capabilities()
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        let inner = &self.inner;
        inner.ensure_open()?;
        if !inner.server.options.mode.reads() {
            return Ok(None);
        }
        inner.pending.settle(&inner.wire.entry_path(key)).await;
        inner.wire.get(key).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        let inner = &self.inner;
        inner.ensure_open()?;
        if !inner.server.options.mode.reads() {
            return Ok(vec![None; keys.len()]);
        }
        for key in keys {
            inner.pending.settle(&inner.wire.entry_path(key)).await;
        }
        inner.wire.get_many(keys).await
    }

    async fn put(&self, key: &Key, entry: &Entry, mode: PutMode) -> Result<PutOutcome> {
        self.inner.ensure_writes("store entries")?;
        let (size, limit) = (entry.value.len() as u64, self.inner.wire.capabilities().max_value);
        if size > limit {
            return Err(Error::TooLarge { what: format!("the value of the entry {key}"), size, limit });
        }
        self.inner.settle(entry.blobs().map(|(digest, _)| digest)).await;
        self.inner.wire.ensure_complete(entry).await?;
        let invalid = |error| Error::Invalid(format!("the entry {key} cannot be stored: {error}"));
        let bytes = encode_entry(key, entry, self.inner.server.options.compression).map_err(invalid)?;
        let (size, limit) = (bytes.len() as u64, self.inner.server.options.max_entry);
        if size > limit {
            return Err(Error::TooLarge { what: format!("the entry {key}"), size, limit });
        }
        let key = *key;
        let path = self.inner.wire.entry_path(&key);
        self.change(&path, move |inner, _| async move { inner.wire.put(&key, bytes.into(), mode).await })
            .await
    }

    async fn remove(&self, key: &Key) -> Result<bool> {
        self.inner.ensure_writes("remove entries")?;
        let key = *key;
        let path = self.inner.wire.entry_path(&key);
        self.change(&path, move |inner, _| async move { inner.wire.remove(&key).await }).await
    }

    async fn list(&self, filter: &ListFilter, after: Option<&str>, limit: usize) -> Result<Page> {
        self.inner.ensure_open()?;
        self.inner.wire.list(filter, after, limit).await
    }

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        self.inner.ensure_open()?;
        self.inner.settle(digests.iter()).await;
        self.inner.wire.missing(digests).await
    }

    async fn read(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Body>> {
        let inner = &self.inner;
        inner.ensure_open()?;
        if !inner.server.options.mode.reads() {
            return Ok(None);
        }
        let wanted = range.clone().unwrap_or(0..u64::MAX);
        inner.settle([digest].into_iter()).await;
        if wanted.is_empty() || is_empty(digest) {
            return Ok((!inner.is_missing(digest).await?).then(|| Bytes::new().into()));
        }
        let partial = range.is_some() && inner.server.options.trust_ranges;
        let Some(mut download) = inner.wire.read(digest, wanted, partial).await? else { return Ok(None) };
        if download.len().is_none_or(|len| len > SMALL) {
            return Ok(Some(download.into_body()));
        }
        let mut content = Vec::new();
        loop {
            match download.next().await {
                Ok(Some(piece)) => content.extend_from_slice(&piece),
                Ok(None) => return Ok(Some(content.into())),
                Err(Error::DigestMismatch { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    async fn write(&self, digest: &Digest, len: u64, body: Body) -> Result<()> {
        self.inner.ensure_writes("store blobs")?;
        let limit = self.inner.server.options.max_blob;
        if len > limit {
            return Err(Error::TooLarge { what: format!("the blob {digest}"), size: len, limit });
        }
        let (digest, path) = (*digest, self.inner.wire.blob_path(digest));
        // What takes long must show progress; what is short is sent again if it has to be.
        if len > SMALL || (len > WHOLE && !matches!(body, Body::Bytes(_))) {
            return self
                .change(
                    &path,
                    move |inner, gone| async move { inner.wire.upload(digest, len, body, gone).await },
                )
                .await;
        }
        let content = upload::whole(&digest, len, body).await?;
        self.change(&path, move |inner, _| async move { inner.wire.write(&digest, content).await }).await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        self.inner.ensure_writes("delete blobs")?;
        let digest = *digest;
        let path = self.inner.wire.blob_path(&digest);
        self.change(&path, move |inner, _| async move { inner.wire.delete(&digest).await }).await
    }

    /// Does nothing: what the server keeps, and for how long, is its own business.
    async fn gc(&self) -> Result<Collected> {
        self.inner.ensure_open()?;
        Ok(Collected::default())
    }

    async fn flush(&self) -> Result<()> {
        self.inner.ensure_open()?;
        // What was acknowledged has arrived; what callers no longer wait for is on its way.
        let wait = timeout(self.inner.server.options.timeout, self.inner.pending.settle_all());
        wait.await.map_err(|_| self.inner.server.unavailable("uploads do not end in time"))
    }

    async fn close(&self) -> Result<()> {
        if self.inner.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let wait = timeout(self.inner.server.options.timeout, self.inner.pending.settle_all());
        wait.await.map_err(|_| self.inner.server.unavailable("uploads do not end in time"))
    }
}
