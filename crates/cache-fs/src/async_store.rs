//! [`Store`] for [`FsStore`].

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use cache_core::{
    Body, Capabilities, Collected, Digest, Entry, Error, Key, ListFilter, Page, PutMode, PutOutcome, Result,
    Store,
};

use crate::FsStore;
use crate::files::{self, LARGE, MAX_VALUE, NAME};
use crate::report::Content;
use crate::store::{Engine, engine};

/// From this many items on, looking at each takes longer than moving it to another thread.
const MANY: usize = 64;

impl FsStore {
    /// Refuses to go on after [`close`](Store::close).
    fn ensure_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed { store: format!("the cache at {}", self.dir().display()) });
        }
        Ok(())
    }

    /// Runs `work` here if it is small or there is nowhere else, and else on a blocking thread of the runtime.
    async fn run<T: Send + 'static>(
        &self,
        large: bool,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.clone();
        run(large, move || work(&store)).await
    }
}

#[cfg(feature = "tokio")]
async fn run<T: Send + 'static>(large: bool, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let runtime = if large { tokio::runtime::Handle::try_current().ok() } else { None };
    let Some(runtime) = runtime else { return work() };
    runtime.spawn_blocking(work).await.unwrap_or_else(|error| {
        if error.is_panic() {
            std::panic::resume_unwind(error.into_panic());
        }
        let why = "the runtime is shutting down".to_owned();
        Err(Error::Unavailable { store: NAME.to_owned(), why })
    })
}

#[cfg(not(feature = "tokio"))]
#[expect(clippy::unused_async, reason = "with the feature `tokio` it waits")]
async fn run<T: Send + 'static>(_: bool, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    work()
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for FsStore {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::all(MAX_VALUE)
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        self.ensure_open()?;
        if let Some(found) = engine!(self, it => it.look_up_quickly(key))? {
            return Ok(found.into_entry());
        }
        let key = *key;
        self.run(true, move |store| FsStore::get(store, &key).map(crate::Lookup::into_entry)).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        self.ensure_open()?;
        let keys = keys.to_vec();
        self.run(keys.len() >= MANY, move |store| {
            keys.iter().map(|key| FsStore::get(store, key).map(crate::Lookup::into_entry)).collect()
        })
        .await
    }

    async fn put(&self, key: &Key, entry: &Entry, mode: PutMode) -> Result<PutOutcome> {
        self.ensure_open()?;
        if (entry.value.len() as u64) < LARGE && entry.outputs.len() < MANY {
            return FsStore::put(self, key, entry, mode);
        }
        let (key, entry) = (*key, entry.clone());
        self.run(true, move |store| FsStore::put(store, &key, &entry, mode)).await
    }

    async fn remove(&self, key: &Key) -> Result<bool> {
        self.ensure_open()?;
        FsStore::remove(self, key)
    }

    async fn list(&self, filter: &ListFilter, after: Option<&str>, limit: usize) -> Result<Page> {
        self.ensure_open()?;
        let (filter, after) = (filter.clone(), after.map(str::to_owned));
        self.run(true, move |store| FsStore::list(store, &filter, after.as_deref(), limit)).await
    }

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        self.ensure_open()?;
        let digests = digests.to_vec();
        self.run(digests.len() >= MANY, move |store| Ok(FsStore::missing(store, &digests))).await
    }

    async fn read(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Body>> {
        self.ensure_open()?;
        let large = engine!(self, it => it.blob_len(digest)).is_some_and(|len| len >= LARGE);
        let digest = *digest;
        self.run(large, move |store| {
            if large { read_as_file(store, &digest, range) } else { read_in_memory(store, &digest, range) }
        })
        .await
    }

    async fn write(&self, digest: &Digest, len: u64, body: Body) -> Result<()> {
        self.ensure_open()?;
        let digest = *digest;
        if engine!(self, it => it.has_blob(&digest, Some(len))) {
            engine!(self, it => it.deduplicated(&digest, len));
            return Ok(());
        }
        let large = len >= LARGE;
        let mut body = match body {
            Body::File { file, len: there, .. } => {
                return self.run(large, move |store| write_file(store, &digest, len, &file, there)).await;
            }
            other => other,
        };
        let start = move |store: &Self| Writer::new(store, &digest, len);
        let mut writer = self.run(large, start).await?;
        while let Some(piece) = body.next().await? {
            writer = run(piece.len() as u64 >= LARGE, move || writer.write(&piece).map(|()| writer)).await?;
        }
        run(large, move || writer.finish()).await?;
        Ok(())
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        self.ensure_open()?;
        self.delete_blob(digest)
    }

    /// Once begun, it runs to its end, even if nobody waits for it.
    async fn gc(&self) -> Result<Collected> {
        self.ensure_open()?;
        self.run(true, |store| FsStore::gc(store, false)).await
    }

    /// There is nothing to wait for: what was acknowledged is in its place.
    async fn flush(&self) -> Result<()> {
        self.ensure_open()
    }

    /// There is nothing to finish: what was acknowledged is in its place. Clones of the store are closed as well, for
    /// users of this trait.
    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}

fn write_file(store: &FsStore, digest: &Digest, len: u64, file: &File, there: u64) -> Result<()> {
    // A file that is longer than announced is not read to its end.
    let reader = file.take(there.min(len.saturating_add(1)));
    let (function, expected) = (digest.function(), Some(*digest));
    match store.engine() {
        Engine::Files(files) => files.write_blob_from(function, expected, Some(len), 0, reader),
        #[cfg(unix)]
        Engine::Segments(segments) => segments.write_blob_from(function, expected, Some(len), reader),
    }
    .map(drop)
}

/// A blob in the making, in either engine.
enum Writer {
    Files(Box<files::BlobWriter>),
    #[cfg(unix)]
    Segments(Box<crate::logged::BlobWriter>),
}

impl Writer {
    fn new(store: &FsStore, digest: &Digest, len: u64) -> Result<Self> {
        let (function, expected) = (digest.function(), Some(*digest));
        Ok(match store.engine() {
            Engine::Files(it) => {
                Self::Files(Box::new(files::BlobWriter::new(it, function, expected, Some(len), 0)?))
            }
            #[cfg(unix)]
            Engine::Segments(it) => {
                let writer = crate::logged::BlobWriter::new(it, function, expected, Some(len))?;
                Self::Segments(Box::new(writer))
            }
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Files(writer) => writer.write(bytes),
            #[cfg(unix)]
            Self::Segments(writer) => writer.write(bytes),
        }
    }

    fn finish(self) -> Result<(Digest, u64)> {
        match self {
            Self::Files(writer) => writer.finish(),
            #[cfg(unix)]
            Self::Segments(writer) => writer.finish(),
        }
    }
}

fn read_in_memory(store: &FsStore, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Body>> {
    // It may have been replaced by something larger meanwhile, which then is no blob of ours but damaged.
    let content = store.read_blob(digest, u64::MAX)?;
    Ok(content.map(|content| {
        let range = clamp(range, content.len() as u64);
        Body::Bytes(content.slice(range.start as usize..range.end as usize))
    }))
}

fn read_as_file(store: &FsStore, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Body>> {
    let Some(blob) = store.open_blob(digest)? else { return Ok(None) };
    let range = clamp(range, blob.len);
    Ok(Some(match blob.content {
        Content::Bytes(bytes) => Body::Bytes(bytes.slice(range.start as usize..range.end as usize)),
        Content::File { mut file, path } => {
            if range.start > 0 {
                file.seek(SeekFrom::Start(range.start)).map_err(|e| Error::io("cannot read", &path, e))?;
            }
            // The path leads to the whole blob, so it only goes with the whole.
            let path = (range.end - range.start == blob.len).then_some(path);
            Body::File { file, len: range.end - range.start, path }
        }
    }))
}

/// Returns the part of `range` that lies within `len`.
fn clamp(range: Option<Range<u64>>, len: u64) -> Range<u64> {
    let range = range.unwrap_or(0..len);
    let end = range.end.min(len);
    range.start.min(end)..end
}
