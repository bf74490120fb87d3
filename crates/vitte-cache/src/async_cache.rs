//! The cache for futures.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_coordinator::{Flushed, Stats};
use cache_core::{Key, Namespace, Store};
use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(any(doc, feature = "fs"))]
use crate::Error;
use crate::async_making::{self, Reach};
use crate::chain::Chain;
use crate::inner::{Inner, KINDS, Slot, shown};
use crate::place::Place;
use crate::terms::{Made, Standing, Terms};
use crate::tier::Look;
use crate::{Result, encoding};

/// A [`Cache`](crate::Cache) behind `async`, over a chain of tiers: memory, a directory, and any further
/// [`Store`], such as one on a server. Clones share everything.
///
/// It keeps the same values under the same keys: what a `Cache` puts into a directory, an `AsyncCache` on it finds, and the
/// other way around.
///
/// A tier that is slow or fails has nothing, as far as callers can see, and writes to one that is not local go on in the
/// background: see [`tiers`](crate::tiers). What is still on its way when the process ends is in a journal in the directory, and
/// the next process sends it. [`close`](Self::close) waits for it, for a while.
///
/// With the feature `macros`, async functions keep their results in one: `#[cached(store = …)]`.
///
/// Timers and background work run on the tokio runtime that it is [opened](crate::CacheBuilder::open_async) in; its methods
/// may be called on any executor.
///
/// ```
/// use std::sync::Arc;
///
/// use vitte_cache::Cache;
/// use vitte_cache::memory::MemoryStore;
/// use vitte_cache::tiers::Tier;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("cache");
/// // Stands for a store on a server.
/// let server = Arc::new(MemoryStore::default());
/// let tier = Tier::new(server).named("server").write_back(true);
/// let cache = Cache::builder(&dir).copies_in_memory(64 << 20).tier(tier).open_async()?;
/// cache.put("answer", &42).await?;
/// assert_eq!(cache.get::<i32>("answer").await?, Some(42));
/// assert_eq!(cache.close().await?.left, 0, "the server has it");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AsyncCache(Arc<Inner<Chain>>);

impl AsyncCache {
    /// How long [`close`](Self::close) waits for what is on its way to slower tiers.
    pub const CLOSE_WITHIN: Duration = cache_coordinator::CoordinatorBuilder::CLOSE_WITHIN;

    pub(crate) fn over(inner: Inner<Chain>) -> Self {
        Self(Arc::new(inner))
    }

    /// Returns the value under `key`, or nothing if there is none of this type.
    ///
    /// # Errors
    /// [`Error::Store`] if the chain is strict and a tier could not be asked, [`Error::Closed`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn get<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        let found = self.0.open()?.look_up(&self.0.key(key.as_ref())).await?;
        Ok(found.and_then(|found| encoding::decode(found.bytes())))
    }

    /// Stores `value` under `key`, in place of what is there: in the local tiers before it returns, in the others afterwards.
    ///
    /// # Errors
    /// [`Error::Type`] if values of this type cannot be read back, [`Error::Store`] if the chain is strict and a tier could
    /// not take it, [`Error::Closed`]. A cache that is only read stores nothing and says nothing.
    ///
    /// # Cancel safety
    /// Either the old value is there or the new one.
    pub async fn put<T: Serialize + DeserializeOwned>(&self, key: impl AsRef<[u8]>, value: &T) -> Result<()> {
        let (slot, bytes) = (self.0.slot(key.as_ref()), self.0.encode(value)?);
        self.write(&slot, bytes, &Terms::default(), Made::default()).await
    }

    /// Stores `value` under `key` until `ttl` is over.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    ///
    /// # Cancel safety
    /// As [`put`](Self::put).
    pub async fn put_with<T: Serialize + DeserializeOwned>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        ttl: Duration,
    ) -> Result<()> {
        let (slot, bytes) = (self.0.slot(key.as_ref()), self.0.encode(value)?);
        self.write(&slot, bytes, &Terms::ttl(Some(ttl)), Made::default()).await
    }

    /// Returns the value under `key`, or makes it with `make` and stores it.
    ///
    /// Of all tasks of this process that ask for one key at a time, one awaits its `make` and the others wait for that value,
    /// without blocking a thread. If it fails, panics or is dropped, the next one tries. Trouble with the cache is no error
    /// here: then every caller makes the value itself.
    ///
    /// # Errors
    /// What `make` returns; nothing is stored then.
    ///
    /// # Cancel safety
    /// If it is dropped, the next one that waits for the same value makes it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), vitte_cache::Error> {
    /// let cache = vitte_cache::CacheBuilder::in_memory().open_async()?;
    /// let parse = async |text: &str| text.parse::<u32>();
    /// assert!(cache.get_or_try_insert_with("key", || parse("x")).await.is_err());
    /// assert_eq!(cache.get_or_try_insert_with("key", || parse("7")).await, Ok(7));
    /// assert_eq!(cache.get_or_try_insert_with("key", || parse("not called")).await, Ok(7));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_or_try_insert_with<T, E, F>(
        &self,
        key: impl AsRef<[u8]>,
        make: impl FnOnce() -> F,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T, E>>,
    {
        let slot = self.0.slot(key.as_ref());
        let make = pin!(async { make().await });
        async_making::make_once(self, &slot, &Terms::default(), make).await
    }

    /// Returns the value under `key`, or makes it with `make` and stores it: as
    /// [`get_or_try_insert_with`](Self::get_or_try_insert_with), for what cannot fail.
    ///
    /// # Cancel safety
    /// As [`get_or_try_insert_with`](Self::get_or_try_insert_with).
    pub async fn get_or_insert_with<T, F>(&self, key: impl AsRef<[u8]>, make: impl FnOnce() -> F) -> T
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = T>,
    {
        let make = || async { Ok::<_, Infallible>(make().await) };
        let Ok(value) = self.get_or_try_insert_with(key, make).await;
        value
    }

    /// Returns whether there is a value under `key`, of whatever type. It counts as used.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn has(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.0.open()?.coordinator.get(&self.0.key(key.as_ref())).await?.is_some())
    }

    /// Removes the value under `key` from all tiers and returns whether there was one.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Store`] if the chain is strict and a tier could not remove it, [`Error::Closed`].
    ///
    /// # Cancel safety
    /// Either it is there or not.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.remove(&self.0.key(key.as_ref())).await
    }

    /// Removes all values of this namespace from all tiers, what memoised functions returned included, and returns how many
    /// there were. Entries of other kinds and of other namespaces stay.
    ///
    /// # Errors
    /// [`Error::Store`] if a tier cannot list what it has, or could not be asked: what only that tier has may still be there.
    /// The other tiers are cleared all the same. Else as [`delete`](Self::delete).
    ///
    /// # Cancel safety
    /// What was removed stays removed.
    pub async fn clear(&self) -> Result<u64> {
        let (mut removed, mut trouble) = (0, None);
        for kind in KINDS {
            match self.clear_kind(kind, None).await {
                Ok(count) => removed += count,
                Err(error) => trouble = Some(error),
            }
        }
        trouble.map_or(Ok(removed), Err)
    }

    /// Waits until all that was put has arrived in all tiers, for at most so long, and returns what has not.
    ///
    /// # Errors
    /// [`Error::Closed`].
    ///
    /// # Cancel safety
    /// The work goes on.
    pub async fn flush(&self, within: Duration) -> Result<Flushed> {
        Ok(self.0.open()?.coordinator.flush(within).await)
    }

    /// Ends the use of this cache, through all of its clones, and returns what did not arrive in slower tiers within
    /// [10 seconds](Self::CLOSE_WITHIN): the next process on the directory sends it. Closing twice is fine.
    ///
    /// # Errors
    /// [`Error::Store`] if a tier could not be closed that callers write to themselves.
    ///
    /// # Cancel safety
    /// It is closed to callers; close again to do the rest.
    pub async fn close(&self) -> Result<Flushed> {
        self.0.close();
        Ok(self.0.reach.coordinator.close_within(Self::CLOSE_WITHIN).await?)
    }

    /// Returns what the tiers have done so far.
    pub fn stats(&self) -> Stats {
        self.0.reach.coordinator.stats()
    }

    /// Returns where the cache is; nothing if it has no directory.
    pub fn dir(&self) -> Option<&Path> {
        self.0.dir()
    }

    /// Returns the namespace of the values.
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    fn writable(&self) -> Result<&Chain> {
        let chain = self.0.open()?;
        #[cfg(feature = "fs")]
        if let (true, Some(dir)) = (self.0.read_only, self.dir()) {
            return Err(Error::ReadOnly { dir: dir.to_owned() });
        }
        Ok(chain)
    }

    pub(crate) async fn remove(&self, key: &Key) -> Result<bool> {
        Ok(self.writable()?.coordinator.remove(key).await?)
    }

    /// Removes all values of one kind, or those of them whose names begin with `name`, as far as names are kept.
    pub(crate) async fn clear_kind(&self, kind: &str, name: Option<&str>) -> Result<u64> {
        let name = name.map(|name| shown(name.as_bytes()));
        Ok(self.writable()?.coordinator.clear(&self.0.filter(kind, name.as_deref())).await?)
    }

    /// Returns what the value in `slot` is good for, of whatever type it is.
    #[cfg(feature = "macros")]
    pub(crate) async fn standing(&self, slot: &Slot, terms: &Terms) -> Option<Standing> {
        let found = self.0.open().ok()?.look_up(&slot.key).await.ok()??;
        Some(terms.judge(found.meta(), self.0.clock.now()))
    }

    async fn write(&self, slot: &Slot, bytes: Bytes, terms: &Terms, made: Made) -> Result<()> {
        let chain = self.0.open()?;
        match self.0.facts(slot, &bytes, terms, made)? {
            Some(meta) => chain.put(&slot.key, meta, bytes).await,
            None => Ok(()),
        }
    }
}

impl Reach for AsyncCache {
    fn place(&self) -> &Place {
        &self.0.place
    }

    fn encode<T: Serialize + DeserializeOwned>(&self, value: &T) -> Result<Bytes> {
        self.0.encode(value)
    }

    async fn judged<T: DeserializeOwned>(
        &self,
        slot: &Slot,
        terms: &Terms,
        _: Look,
    ) -> Option<(Standing, T)> {
        let found = self.0.open().ok()?.look_up(&slot.key).await.ok()??;
        self.0.judge(&found, terms)
    }

    async fn keep(&self, slot: &Slot, bytes: Bytes, terms: &Terms, made: Made) {
        let _ = self.write(slot, bytes, terms, made).await;
    }
}

impl fmt::Debug for AsyncCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncCache")
            .field("place", &format_args!("{}", self.0.place))
            .field("namespace", self.namespace())
            .field("tiers", &self.0.reach.coordinator)
            .finish_non_exhaustive()
    }
}
