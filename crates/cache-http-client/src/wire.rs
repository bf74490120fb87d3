//! What servers of different protocols have in common.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::envelope::{Limits, decode_entry};
use cache_core::{
    Body, Capabilities, Clock, Digest, Entry, Key, ListFilter, Page, PutMode, PutOutcome, Result, SystemClock,
};
use futures_util::stream::{StreamExt, TryStreamExt, iter};
use tokio::sync::oneshot;

use crate::download::Download;
use crate::options::{Backend, HttpOptions};
use crate::server::{Answer, Server};
use crate::{bazel::Bazel, generic::Generic, native::Native};

/// Largest value in an entry, in bytes: that of the disk store, so that entries move between them.
pub(crate) const MAX_VALUE: u64 = 16 << 20;
/// Questions about many things that are under way at a time; the limit of connections holds as well.
const BATCH: usize = 32;

/// A protocol. Whoever calls has looked at the mode, the sizes and what else is changing.
#[async_trait]
pub(crate) trait Wire: fmt::Debug + Send + Sync + 'static {
    /// Returns what the protocol can do.
    fn capabilities(&self) -> Capabilities;

    /// Returns where the entry under `key` is.
    fn entry_path(&self, key: &Key) -> String;

    /// Returns where a blob is.
    fn blob_path(&self, digest: &Digest) -> String;

    /// Returns the entry under `key` if it is right, not over, and all of its blobs are there.
    async fn get(&self, key: &Key) -> Result<Option<Entry>>;

    /// Returns what [`get`](Self::get) does for each of `keys`.
    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        each(keys.to_vec(), |key| async move { self.get(&key).await }).await
    }

    /// Refuses `entry` if a blob of it is not there, where the server does not do that by itself.
    async fn ensure_complete(&self, entry: &Entry) -> Result<()>;

    /// Stores `envelope`, which is that of the entry under `key`.
    async fn put(&self, key: &Key, envelope: Bytes, mode: PutMode) -> Result<PutOutcome>;

    async fn remove(&self, key: &Key) -> Result<bool>;

    async fn list(&self, filter: &ListFilter, after: Option<&str>, limit: usize) -> Result<Page>;

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>>;

    /// Returns the download of the `wanted` part of a blob, or nothing if it is not there; of all of it unless `partial`.
    async fn read(&self, digest: &Digest, wanted: Range<u64>, partial: bool) -> Result<Option<Download>>;

    /// Stores a blob that was proved right.
    async fn write(&self, digest: &Digest, content: Bytes) -> Result<()>;

    /// Stores a blob that is sent while it is proved. When `gone` ends, nobody waits for it any more.
    async fn upload(&self, digest: Digest, len: u64, body: Body, gone: oneshot::Receiver<()>) -> Result<()>;

    async fn delete(&self, digest: &Digest) -> Result<bool>;
}

/// Returns the protocol that the options of `server` name.
pub(crate) fn open(server: &Arc<Server>) -> Arc<dyn Wire> {
    match server.options.backend {
        Backend::Generic => Arc::new(Generic::new(Arc::clone(server))),
        Backend::Bazel => Arc::new(Bazel::new(Arc::clone(server))),
        Backend::Native => Arc::new(Native::new(Arc::clone(server))),
    }
}

/// Returns the entry that is in `envelope`, if it belongs under `key`.
pub(crate) fn opened(key: &Key, envelope: &[u8]) -> Option<Entry> {
    let limits = Limits { payload: MAX_VALUE, ..Limits::default() };
    decode_entry(envelope, limits).ok().filter(|(found, _)| found == key).map(|(_, entry)| entry)
}

/// Returns what any server over HTTP can do.
pub(crate) fn capabilities(options: &HttpOptions) -> Capabilities {
    let mut capabilities = Capabilities::all(MAX_VALUE);
    capabilities.local = false;
    capabilities.max_blob = Some(options.max_blob);
    capabilities
}

/// Returns what `ask` answers about each of `items`, in their order.
pub(crate) async fn each<I, T, F>(
    items: impl IntoIterator<Item = I>,
    ask: impl FnMut(I) -> F,
) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>>,
{
    iter(items.into_iter().map(ask)).buffered(BATCH).try_collect().await
}

/// Returns whether `entry` is not over.
pub(crate) fn is_current(entry: &Entry) -> bool {
    !entry.meta.is_expired(SystemClock.now())
}

impl Server {
    /// Returns the entry that came in `envelope`, if it belongs under `key` and is not over. Damaged, newer, or somebody else's:
    /// a miss.
    pub(crate) fn opened(&self, key: &Key, envelope: &[u8]) -> Option<Entry> {
        let entry = opened(key, envelope);
        if entry.is_none() {
            self.unsound.fetch_add(1, Ordering::Relaxed);
        }
        entry.filter(is_current)
    }

    /// Says why a `PUT` failed, if it did.
    pub(crate) fn stored(&self, answer: &Answer) -> Result<()> {
        if answer.response.status().is_success() {
            return Ok(());
        }
        Err(self.unavailable(format!("it answers {} to PUT", answer.response.status())))
    }
}
