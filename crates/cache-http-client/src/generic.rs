//! Servers that know nothing of caches.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{
    Body, Capabilities, Digest, Entry, Error, Key, ListFilter, Page, PutMode, PutOutcome, Result,
};
use reqwest::{Method, StatusCode};
use tokio::sync::oneshot;

use crate::download::{Blob, Download};
use crate::server::{Answer, Question, Server};
use crate::upload;
use crate::wire::{Wire, capabilities, each};

/// What is stored for the blob of nothing: the DAV module of nginx fails when it is sent nothing.
const NOTHING: &[u8] = b"\n";

/// A server with `GET`, `HEAD`, `PUT` and `DELETE` by path.
#[derive(Debug)]
pub(crate) struct Generic {
    server: Arc<Server>,
    /// Collections that were made, or asked for, by this process.
    collections: Mutex<HashSet<String>>,
}

impl Generic {
    pub(crate) fn new(server: Arc<Server>) -> Self {
        Self { server, collections: Mutex::default() }
    }

    async fn first_missing(&self, entry: &Entry) -> Result<Option<Digest>> {
        let blobs = entry.blobs().map(|(digest, len)| (*digest, Some(len))).collect();
        Ok(self.missing_of(blobs).await?.first().copied())
    }

    /// Returns those of `blobs` that are not there, in the length that is known.
    async fn missing_of(&self, blobs: Vec<(Digest, Option<u64>)>) -> Result<Vec<Digest>> {
        let missing =
            each(
                blobs,
                |(digest, len)| async move { Ok((!self.has(&digest, len).await?).then_some(digest)) },
            );
        Ok(missing.await?.into_iter().flatten().collect())
    }

    /// Returns whether a blob is there, with `len` bytes as far as the server says.
    async fn has(&self, digest: &Digest, len: Option<u64>) -> Result<bool> {
        let answer = self.server.ask(&Question::new(Method::HEAD, &self.blob_path(digest))).await?;
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
                    return self.server.stored(&answer);
                }
                Ok(_) | Err(Error::Unavailable { .. }) => self.make_collections(path).await,
                Err(error) => return Err(error),
            }
        }
        self.stored(self.server.ask(&question).await)
    }

    /// Says why a `PUT` failed, if it did.
    fn stored(&self, answer: Result<Answer>) -> Result<()> {
        let stored = answer.and_then(|answer| self.server.stored(&answer));
        if matches!(stored, Err(Error::Unavailable { .. })) {
            // Somebody may have removed what was made, which servers say in as many ways.
            self.collections().clear();
        }
        stored
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
}

#[async_trait]
impl Wire for Generic {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = capabilities(&self.server.options);
        capabilities.list = false;
        capabilities.conditional_put = false;
        capabilities
    }

    fn entry_path(&self, key: &Key) -> String {
        let hex = key.to_hex();
        format!("e/{}/{hex}", &hex[..2])
    }

    fn blob_path(&self, digest: &Digest) -> String {
        let hex = digest.to_hex();
        format!("b/{}/{}/{hex}", digest.function().name(), &hex[..2])
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        let limit = self.server.options.max_entry;
        let Some(bytes) = self.server.fetch(&self.entry_path(key), limit).await? else { return Ok(None) };
        let Some(entry) = self.server.opened(key, &bytes) else { return Ok(None) };
        Ok(self.first_missing(&entry).await?.is_none().then_some(entry))
    }

    async fn ensure_complete(&self, entry: &Entry) -> Result<()> {
        self.first_missing(entry).await?.map_or(Ok(()), |digest| Err(Error::Incomplete { digest }))
    }

    async fn put(&self, key: &Key, envelope: Bytes, mode: PutMode) -> Result<PutOutcome> {
        if mode == PutMode::IfAbsent && self.get(key).await?.is_some() {
            return Ok(PutOutcome::Present);
        }
        self.put_whole(&self.entry_path(key), envelope).await?;
        Ok(PutOutcome::Stored)
    }

    async fn remove(&self, key: &Key) -> Result<bool> {
        self.server.remove(&self.entry_path(key)).await
    }

    async fn list(&self, _: &ListFilter, _: Option<&str>, _: usize) -> Result<Page> {
        Err(Error::Unsupported { store: self.server.place(), operation: "list entries" })
    }

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        self.missing_of(digests.iter().map(|digest| (*digest, None)).collect()).await
    }

    async fn read(&self, digest: &Digest, wanted: Range<u64>, partial: bool) -> Result<Option<Download>> {
        let blob = Blob { digest: *digest, path: self.blob_path(digest), len: None, coding: None };
        Download::begin(&self.server, blob, wanted, partial).await
    }

    async fn write(&self, digest: &Digest, content: Bytes) -> Result<()> {
        let content = if content.is_empty() { Bytes::from_static(NOTHING) } else { content };
        self.put_whole(&self.blob_path(digest), content).await
    }

    async fn upload(&self, digest: Digest, len: u64, body: Body, gone: oneshot::Receiver<()>) -> Result<()> {
        let path = self.blob_path(&digest);
        if self.server.has_blob(&path, len).await? {
            return Ok(());
        }
        // Content that streams by cannot be sent again after a server missed the collection.
        if !self.knows_collection_of(&path) {
            self.make_collections(&path).await;
        }
        let answer = upload::stream(&self.server, &path, digest, len, body, None, gone).await;
        self.stored(answer)
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        self.server.remove(&self.blob_path(digest)).await
    }
}

/// Returns the collection that `path` is in.
fn parent(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..=at])
}

/// Returns whether `digest` is that of nothing.
pub(crate) fn is_empty(digest: &Digest) -> bool {
    *digest == Digest::of(digest.function(), b"")
}

/// Returns whether the server misses the collection that something is to be put into.
fn is_homeless(answer: &Answer) -> bool {
    answer.is_absence() || answer.response.status() == StatusCode::CONFLICT
}
