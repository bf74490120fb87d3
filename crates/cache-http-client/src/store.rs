//! The [`Store`] over the server.

use std::collections::HashSet;
use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::envelope::{Limits, decode_entry, encode_entry};
use cache_core::{
    Body, Capabilities, Clock, Collected, Digest, Entry, Error, Key, ListFilter, Page, PutMode, PutOutcome,
    Result, Store, SystemClock,
};
use futures_util::stream::{StreamExt, TryStreamExt, iter};
use reqwest::{Method, StatusCode};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::download::Download;
use crate::options::HttpOptions;
use crate::pending::Pending;
use crate::server::{Answer, Question, Server};
use crate::upload::{self, WHOLE};

/// The name of the store in messages, events and metrics.
pub const NAME: &str = "http";
/// Largest value in an entry, in bytes: that of the disk store, so that entries move between them.
const MAX_VALUE: u64 = 1 << 20;
/// Blobs of at most this many bytes are verified as a whole before any of it is handed out, so that a damaged one is a miss.
const SMALL: u64 = 1 << 20;
/// What is stored for the blob of nothing: the DAV module of nginx fails when it is sent nothing.
const NOTHING: &[u8] = b"\n";
/// Questions of one batch at the same time; the limit of connections holds as well.
const BATCH: usize = 32;

/// Entries and blobs on a server that knows nothing of caches.
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
    pending: Arc<Pending>,
    /// Collections that were made, or asked for, by this process.
    collections: Mutex<HashSet<String>>,
    /// Answers that should have been an entry and were something else.
    unsound: AtomicU64,
    closed: AtomicBool,
}

impl HttpStore {
    /// Returns the store that `options` describe. Nothing is sent before it is used.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the options make no sense.
    pub fn open(options: HttpOptions) -> Result<Self> {
        let inner = Inner {
            server: Arc::new(Server::new(options)?),
            pending: Arc::default(),
            collections: Mutex::default(),
            unsound: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns how many answers so far were not the entry that was asked for, but something else or a damaged one. Each was a
    /// miss; many of them mean that something else than a cache answers.
    pub fn unsound(&self) -> u64 {
        self.inner.unsound.load(Ordering::Relaxed)
    }
}

fn entry_path(key: &Key) -> String {
    let hex = key.to_hex();
    format!("e/{}/{hex}", &hex[..2])
}

fn blob_path(digest: &Digest) -> String {
    let hex = digest.to_hex();
    format!("b/{}/{}/{hex}", digest.function().name(), &hex[..2])
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

    /// Returns the entry under `key` if it is right, not over, and all of its blobs are there.
    async fn entry(&self, key: &Key) -> Result<Option<Entry>> {
        let options = &self.server.options;
        let Some(bytes) = self.server.fetch(&entry_path(key), options.max_entry).await? else {
            return Ok(None);
        };
        let limits = Limits { payload: MAX_VALUE, ..Limits::default() };
        // Damaged, newer, or somebody else's file: a miss.
        let sound = decode_entry(&bytes, limits).ok().filter(|(found, _)| found == key);
        let Some((_, entry)) = sound else {
            self.unsound.fetch_add(1, Ordering::Relaxed);
            return Ok(None);
        };
        if entry.meta.is_expired(SystemClock.now()) {
            return Ok(None);
        }
        Ok(self.first_missing(&entry).await?.is_none().then_some(entry))
    }

    async fn first_missing(&self, entry: &Entry) -> Result<Option<Digest>> {
        let blobs: Vec<(Digest, u64)> = entry.blobs().map(|(digest, len)| (*digest, len)).collect();
        let checks = blobs.into_iter().map(|(digest, len)| async move {
            Ok::<_, Error>((!self.has(&digest, Some(len)).await?).then_some(digest))
        });
        let found: Vec<Option<Digest>> = iter(checks).buffered(BATCH).try_collect().await?;
        Ok(found.into_iter().flatten().next())
    }

    /// Returns whether a blob is there, with `len` bytes as far as the server says.
    async fn has(&self, digest: &Digest, len: Option<u64>) -> Result<bool> {
        let path = blob_path(digest);
        self.pending.settle(&path).await;
        let answer = self.server.ask(&Question::new(Method::HEAD, &path)).await?;
        let is_whole =
            is_empty(digest) || len.is_none_or(|len| answer.len().is_none_or(|found| found == len));
        Ok(answer.response.status().is_success() && is_whole)
    }

    /// Puts `content` to `path`.
    async fn put_whole(&self, path: &str, content: Bytes) -> Result<()> {
        let mut question = Question::new(Method::PUT, path);
        question.body = Some(content);
        if !self.knows_collection_of(path) {
            // Once: what the server misses is the collection, which many say by 409 and nginx by 500.
            let first = self.server.ask_once(&question, self.server.deadline()).await;
            match first.map_err(|failure| failure.error) {
                Ok(answer) if !is_homeless(&answer) => {
                    self.knows(parent(path));
                    return self.stored(&answer);
                }
                Ok(_) | Err(Error::Unavailable { .. }) => self.make_collections(path).await,
                Err(error) => return Err(error),
            }
        }
        let answer = self.server.ask(&question).await?;
        self.stored(&answer)
    }

    fn stored(&self, answer: &Answer) -> Result<()> {
        if answer.response.status().is_success() {
            return Ok(());
        }
        if is_homeless(answer) {
            // Somebody removed what was made.
            self.collections().clear();
        }
        Err(self.server.unavailable(format!("it answers {} to PUT", answer.response.status())))
    }

    /// Makes the collections that `path` is in, from the top.
    async fn make_collections(&self, path: &str) {
        for (at, _) in path.match_indices('/') {
            let collection = &path[..=at];
            if !self.collections().contains(collection) {
                // It may be there already, which servers say in many ways; the `PUT` will tell.
                drop(self.make_collection(collection).await);
                self.knows(collection);
            }
        }
    }

    async fn make_collection(&self, collection: &str) -> Result<()> {
        let method =
            Method::from_bytes(b"MKCOL").map_err(|_| Error::Invalid("MKCOL is no method here".to_owned()))?;
        self.server.ask(&Question::new(method, collection)).await.map(drop)
    }

    fn collections(&self) -> MutexGuard<'_, HashSet<String>> {
        self.collections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn knows(&self, collection: &str) {
        self.collections().insert(collection.to_owned());
    }

    fn knows_collection_of(&self, path: &str) -> bool {
        self.collections().contains(parent(path))
    }

    /// Removes what is at `path` and returns whether there was something. Not repeated: the second answer would be about
    /// what the first attempt left.
    async fn remove(&self, path: &str) -> Result<bool> {
        let question = Question::new(Method::DELETE, path);
        let answer = self.server.ask_once(&question, self.server.deadline()).await;
        Ok(answer.map_err(|failure| failure.error)?.response.status().is_success())
    }

    async fn upload(&self, digest: Digest, len: u64, body: Body, gone: oneshot::Receiver<()>) -> Result<()> {
        let path = blob_path(&digest);
        let question = Question::new(Method::HEAD, &path);
        let there = self.server.ask(&question).await?;
        if there.response.status().is_success() && there.len() == Some(len) {
            return Ok(());
        }
        drop(there);
        // Content that streams by cannot be sent again after a server missed the collection.
        if !self.knows_collection_of(&path) {
            self.make_collections(&path).await;
        }
        let answer = upload::stream(&self.server, &path, digest, len, body, gone).await?;
        self.stored(&answer)
    }
}

/// Returns the collection that `path` is in.
fn parent(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..=at])
}

/// Returns whether `digest` is that of nothing.
fn is_empty(digest: &Digest) -> bool {
    *digest == Digest::of(digest.function(), b"")
}

/// Returns whether the server misses the collection that something is to be put into.
fn is_homeless(answer: &Answer) -> bool {
    answer.is_absence() || answer.response.status() == StatusCode::CONFLICT
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
        let mut capabilities = Capabilities::all(MAX_VALUE);
        capabilities.list = false;
        capabilities.conditional_put = false;
        capabilities.local = false;
        capabilities.max_blob = Some(self.inner.server.options.max_blob);
        capabilities
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        self.inner.ensure_open()?;
        if !self.inner.server.options.mode.reads() {
            return Ok(None);
        }
        self.inner.pending.settle(&entry_path(key)).await;
        self.inner.entry(key).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        self.inner.ensure_open()?;
        let keys = keys.to_vec();
        let questions = keys.into_iter().map(|key| async move { self.get(&key).await });
        iter(questions).buffered(BATCH).try_collect().await
    }

    async fn put(&self, key: &Key, entry: &Entry, mode: PutMode) -> Result<PutOutcome> {
        self.inner.ensure_writes("store entries")?;
        let size = entry.value.len() as u64;
        if size > MAX_VALUE {
            return Err(Error::TooLarge {
                what: format!("the value of the entry {key}"),
                size,
                limit: MAX_VALUE,
            });
        }
        if let Some(digest) = self.inner.first_missing(entry).await? {
            return Err(Error::Incomplete { digest });
        }
        let invalid = |error| Error::Invalid(format!("the entry {key} cannot be stored: {error}"));
        let bytes = encode_entry(key, entry, self.inner.server.options.compression).map_err(invalid)?;
        let limit = self.inner.server.options.max_entry;
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge {
                what: format!("the entry {key}"),
                size: bytes.len() as u64,
                limit,
            });
        }
        let (key, path) = (*key, entry_path(key));
        let to = path.clone();
        self.change(&path, move |inner, _| async move {
            if mode == PutMode::IfAbsent && inner.entry(&key).await?.is_some() {
                return Ok(PutOutcome::Present);
            }
            inner.put_whole(&to, bytes.into()).await?;
            Ok(PutOutcome::Stored)
        })
        .await
    }

    async fn remove(&self, key: &Key) -> Result<bool> {
        self.inner.ensure_writes("remove entries")?;
        let path = entry_path(key);
        let at = path.clone();
        self.change(&path, move |inner, _| async move { inner.remove(&at).await }).await
    }

    async fn list(&self, _: &ListFilter, _: Option<&str>, _: usize) -> Result<Page> {
        self.inner.ensure_open()?;
        Err(Error::Unsupported { store: self.inner.server.place(), operation: "list entries" })
    }

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        self.inner.ensure_open()?;
        let inner = &self.inner;
        let digests = digests.to_vec();
        let questions = digests.into_iter().map(|digest| async move {
            Ok::<_, Error>((!inner.has(&digest, None).await?).then_some(digest))
        });
        let missing: Vec<Option<Digest>> = iter(questions).buffered(BATCH).try_collect().await?;
        Ok(missing.into_iter().flatten().collect())
    }

    async fn read(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Body>> {
        self.inner.ensure_open()?;
        let server = &self.inner.server;
        if !server.options.mode.reads() {
            return Ok(None);
        }
        let wanted = range.clone().unwrap_or(0..u64::MAX);
        if wanted.is_empty() || is_empty(digest) {
            return Ok(self.inner.has(digest, None).await?.then(|| Bytes::new().into()));
        }
        let path = blob_path(digest);
        self.inner.pending.settle(&path).await;
        let partial = range.is_some() && server.options.trust_ranges;
        let Some(mut download) = Download::begin(server, path, digest, wanted, partial).await? else {
            return Ok(None);
        };
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
        let (digest, path) = (*digest, blob_path(digest));
        // What takes long must show progress; what is short is sent again if it has to be.
        if len > SMALL || (len > WHOLE && !matches!(body, Body::Bytes(_))) {
            return self
                .change(&path, move |inner, gone| async move { inner.upload(digest, len, body, gone).await })
                .await;
        }
        let mut content = upload::whole(&digest, len, body).await?;
        if content.is_empty() {
            content = Bytes::from_static(NOTHING);
        }
        let to = path.clone();
        self.change(&path, move |inner, _| async move { inner.put_whole(&to, content).await }).await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        self.inner.ensure_writes("delete blobs")?;
        let path = blob_path(digest);
        let at = path.clone();
        self.change(&path, move |inner, _| async move { inner.remove(&at).await }).await
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
