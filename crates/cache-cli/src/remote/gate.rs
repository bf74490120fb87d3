//! The server as uploads see it: shut as soon as it is in trouble, and remembered if it refuses.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use cache_core::{
    Body, Capabilities, Collected, Digest, Entry, Error, Key, ListFilter, Page, PutMode, PutOutcome, Result,
    Store,
};
use cache_http_client::HttpStore;

/// A store that lets calls through to the server until it is shut.
#[derive(Debug)]
pub(super) struct Gate {
    http: HttpStore,
    shut: AtomicBool,
    /// What the server said when it refused what it could have done.
    refused: Mutex<Option<String>>,
}

impl Gate {
    pub(super) fn new(http: HttpStore, shut: bool) -> Self {
        Self { http, shut: AtomicBool::new(shut), refused: Mutex::default() }
    }

    /// Lets nothing through from now on.
    pub(super) fn shut(&self) {
        self.shut.store(true, Ordering::Relaxed);
    }

    /// Returns what the server said when it refused something, which it will do again.
    pub(super) fn refused(&self) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn pass<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        if self.shut.load(Ordering::Relaxed) {
            let why = "it has a rest".to_owned();
            return Err(Error::Unavailable { store: self.http.name().to_owned(), why });
        }
        let done = call.await;
        if let Err(error @ (Error::Invalid(_) | Error::Unsupported { .. })) = &done {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            refused.get_or_insert_with(|| error.to_string());
        }
        done
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Gate {
    fn name(&self) -> &str {
        self.http.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.http.capabilities()
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        self.pass(self.http.get(key)).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        self.pass(self.http.get_many(keys)).await
    }

    async fn put(&self, key: &Key, entry: &Entry, mode: PutMode) -> Result<PutOutcome> {
        self.pass(self.http.put(key, entry, mode)).await
    }

    async fn remove(&self, key: &Key) -> Result<bool> {
        self.pass(self.http.remove(key)).await
    }

    async fn list(&self, filter: &ListFilter, after: Option<&str>, limit: usize) -> Result<Page> {
        self.pass(self.http.list(filter, after, limit)).await
    }

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        self.pass(self.http.missing(digests)).await
    }

    async fn read(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Body>> {
        self.pass(self.http.read(digest, range)).await
    }

    async fn write(&self, digest: &Digest, len: u64, body: Body) -> Result<()> {
        self.pass(self.http.write(digest, len, body)).await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        self.pass(self.http.delete(digest)).await
    }

    async fn gc(&self) -> Result<Collected> {
        self.pass(self.http.gc()).await
    }

    async fn flush(&self) -> Result<()> {
        self.pass(self.http.flush()).await
    }

    async fn close(&self) -> Result<()> {
        self.http.close().await
    }
}
