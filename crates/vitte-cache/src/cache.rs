//! The cache.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_core::{Clock, EntryMeta, Key, KeyBuilder, ListFilter, Namespace};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::flight::{self, Boarding};
use crate::place::Place;
use crate::tier::{Look, Tier};
use crate::{CacheBuilder, Error, Result, encoding};

/// Largest value, encoded, in bytes: it is in memory as a whole, and twice on its way in.
pub const MAX_VALUE_BYTES: u64 = 1 << 30;

/// The kind of entries that hold the value of a Rust program.
const KIND: &str = "value";
/// The kind of entries that hold what a memoised function returned.
pub(crate) const CALL: &str = "call";
/// What is shown of a key in lists, in characters.
const MAX_NAME: usize = 200;
const WRITER: &str = concat!("vitte-cache ", env!("CARGO_PKG_VERSION"));

/// A cache of values by name, in a directory or in memory. Clones share everything.
///
/// Keys are texts or bytes. Values are of any type that serde can write and read back in the same way; a value that was
/// stored by a type that has changed since is a miss.
///
/// [`get`](Self::get) and [`put`](Self::put) say what is wrong with the disk, so that a program can tell its user;
/// [`get_or_insert_with`](Self::get_or_insert_with) and its fallible twin go on without the cache instead.
///
/// ```
/// # #[cfg(feature = "fs")] {
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("cache");
/// let cache = vitte_cache::Cache::new(&dir)?;
/// assert_eq!(cache.get::<Vec<u32>>("primes")?, None);
/// cache.put("primes", &vec![2_u32, 3, 5])?;
/// assert_eq!(cache.get::<Vec<u32>>("primes")?, Some(vec![2, 3, 5]));
/// assert_eq!(cache.get::<Vec<i64>>("primes")?, None, "these are no i64");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) tier: Box<dyn Tier>,
    pub(crate) place: Place,
    pub(crate) namespace: Namespace,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) default_ttl: Option<Duration>,
    pub(crate) read_only: bool,
    pub(crate) closed: AtomicBool,
}

/// Where a value is, and what is shown of it in lists.
pub(crate) struct Slot {
    pub(crate) key: Key,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
}

impl Cache {
    /// Returns the cache in `dir`, which is made when it is not there, with limits that fit the disk.
    ///
    /// # Errors
    /// [`Error::Store`] if the directory cannot be used: it cannot be made or read, or others may write to it.
    #[cfg(feature = "fs")]
    pub fn new(dir: impl AsRef<Path>) -> Result<Self> {
        Self::builder(dir).open()
    }

    /// Returns a builder for the cache in `dir`.
    #[cfg(feature = "fs")]
    pub fn builder(dir: impl AsRef<Path>) -> CacheBuilder {
        CacheBuilder::new(dir.as_ref())
    }

    /// Returns an empty cache in the memory of this process, of at most
    /// [256 MiB](crate::memory::DEFAULT_MAX_BYTES). It ends with its last clone.
    ///
    /// ```
    /// let cache = vitte_cache::Cache::in_memory();
    /// cache.put("answer", &42)?;
    /// assert_eq!(cache.get::<i32>("answer")?, Some(42));
    /// # Ok::<(), vitte_cache::Error>(())
    /// ```
    #[cfg(feature = "memory")]
    pub fn in_memory() -> Self {
        CacheBuilder::in_memory().in_memory_of(Namespace::default())
    }

    pub(crate) fn over(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Returns the value under `key`, or nothing if there is none of this type.
    ///
    /// # Errors
    /// [`Error::Store`] if the disk cannot be read, [`Error::Closed`]. What is damaged is a miss, not an error.
    pub fn get<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        self.read(&self.key(key.as_ref()), Look::Use)
    }

    /// Stores `value` under `key`, in place of what is there.
    ///
    /// # Errors
    /// [`Error::Type`] if values of this type cannot be read back, [`Error::Store`] if there is no room or the disk does
    /// not allow it, [`Error::Closed`]. A cache that is only read stores nothing and says nothing.
    pub fn put<T: Serialize + DeserializeOwned>(&self, key: impl AsRef<[u8]>, value: &T) -> Result<()> {
        let bytes = encoding::encode(value)?;
        self.write(&self.slot(key.as_ref()), bytes.into(), None, Duration::ZERO)
    }

    /// Stores `value` under `key` until `ttl` is over.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_with<T: Serialize + DeserializeOwned>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        ttl: Duration,
    ) -> Result<()> {
        let bytes = encoding::encode(value)?;
        self.write(&self.slot(key.as_ref()), bytes.into(), Some(ttl), Duration::ZERO)
    }

    /// Returns the value under `key`, or makes it with `make` and stores it.
    ///
    /// Of all threads of this process that ask for one key at a time, one calls its `make` and the others wait for that
    /// value. If it fails or panics, the next one tries. Trouble with the cache is no error here: then every caller makes
    /// the value itself. So is a type that cannot be stored, which [`put`](Self::put) would report.
    ///
    /// # Errors
    /// What `make` returns; nothing is stored then.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let cache = vitte_cache::Cache::new(dir.path().join("cache"))?;
    /// let count = |text: &str| text.split(' ').map(str::parse::<u32>).sum::<Result<u32, _>>();
    /// assert!(cache.get_or_try_insert_with("sum", || count("1 2 x")).is_err());
    /// assert_eq!(cache.get_or_try_insert_with("sum", || count("1 2 3")), Ok(6));
    /// assert_eq!(cache.get_or_try_insert_with("sum", || count("not called")), Ok(6));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_or_try_insert_with<T, E>(
        &self,
        key: impl AsRef<[u8]>,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
    {
        self.make_once(&self.slot(key.as_ref()), None, make)
    }

    /// Returns the value under `key`, or makes it with `make` and stores it: as
    /// [`get_or_try_insert_with`](Self::get_or_try_insert_with), for what cannot fail.
    pub fn get_or_insert_with<T: Serialize + DeserializeOwned>(
        &self,
        key: impl AsRef<[u8]>,
        make: impl FnOnce() -> T,
    ) -> T {
        let value: Result<T, Infallible> = self.get_or_try_insert_with(key, || Ok(make()));
        match value {
            Ok(value) => value,
        }
    }

    /// Returns whether there is a value under `key`, of whatever type. It does not count as used.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn has(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.tier()?.has(&self.key(key.as_ref()))
    }

    /// Removes the value under `key` and returns whether there was one.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Store`] if the disk does not allow it, [`Error::Closed`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.tier()?.remove(&self.key(key.as_ref()))
    }

    /// Removes all values of this namespace, what memoised functions returned included, and returns how many there were.
    /// Entries of other kinds, such as those of commands that were run through the cache, stay.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub fn clear(&self) -> Result<u64> {
        Ok(self.clear_kind(KIND, None)? + self.clear_kind(CALL, None)?)
    }

    /// Removes all values of one kind, or those of them with one name.
    pub(crate) fn clear_kind(&self, kind: &str, name: Option<&str>) -> Result<u64> {
        let name = name.map(|name| shown(name.as_bytes()));
        let filter = ListFilter {
            namespace: Some(self.0.namespace.clone()),
            kind: Some(kind.to_owned()),
            name_prefix: name.clone(),
        };
        self.tier()?.clear(&filter, name.as_deref())
    }

    /// Returns when all that was put is in the directory, for other processes to see. On a disk that is so as soon as
    /// [`put`](Self::put) returns, so this takes no time.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn flush(&self) -> Result<()> {
        self.tier().map(drop)
    }

    /// Ends the use of this cache, through all of its clones. Closing twice is fine; dropping does as well.
    ///
    /// # Errors
    /// If something that was put could not be finished. On a disk there is no such thing.
    pub fn close(&self) -> Result<()> {
        self.0.closed.store(true, Ordering::Release);
        Ok(())
    }

    /// Returns where the cache is; nothing if it is in memory alone.
    pub fn dir(&self) -> Option<&Path> {
        self.0.place.dir()
    }

    /// Returns the namespace of the values.
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    #[cfg(feature = "macros")]
    pub(crate) fn place(&self) -> &Place {
        &self.0.place
    }

    fn key(&self, name: &[u8]) -> Key {
        KeyBuilder::new(&self.0.namespace, KIND).bytes(name).finish()
    }

    fn slot(&self, name: &[u8]) -> Slot {
        Slot { key: self.key(name), kind: KIND, name: shown(name) }
    }

    pub(crate) fn tier(&self) -> Result<&dyn Tier> {
        if self.0.closed.load(Ordering::Acquire) {
            return Err(Error::Closed { cache: self.0.place.to_string() });
        }
        Ok(&*self.0.tier)
    }

    /// Returns the value under `key`, if there is one of this type.
    pub(crate) fn read<T: DeserializeOwned>(&self, key: &Key, look: Look) -> Result<Option<T>> {
        let found = self.tier()?.look_up(key, look)?;
        Ok(found.and_then(|bytes| encoding::decode(&bytes)))
    }

    pub(crate) fn write(
        &self,
        slot: &Slot,
        bytes: Bytes,
        ttl: Option<Duration>,
        cost: Duration,
    ) -> Result<()> {
        let tier = self.tier()?;
        if self.0.read_only {
            return Ok(());
        }
        let size = bytes.len() as u64;
        if size > MAX_VALUE_BYTES {
            let what = format!("the value of `{}`", slot.name);
            return Err(cache_core::Error::TooLarge { what, size, limit: MAX_VALUE_BYTES }.into());
        }
        let now = self.0.clock.now();
        let meta = EntryMeta {
            namespace: self.0.namespace.clone(),
            kind: slot.kind.to_owned(),
            name: slot.name.clone(),
            created: now,
            expires: ttl.or(self.0.default_ttl).map(|ttl| now.plus(ttl)),
            writer: WRITER.to_owned(),
            cost_ms: u64::try_from(cost.as_millis()).unwrap_or(u64::MAX),
            ..EntryMeta::default()
        };
        tier.put(&slot.key, meta, bytes)
    }

    /// Returns the value in `slot`, or makes it, in one thread of all that ask for it at a time.
    pub(crate) fn make_once<T, E>(
        &self,
        slot: &Slot,
        ttl: Option<Duration>,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
    {
        if let Ok(Some(found)) = self.read(&slot.key, Look::Use) {
            return Ok(found);
        }
        let ticket = loop {
            match flight::board(&self.0.place, slot.key) {
                Boarding::Owner(ticket) => break Some(ticket),
                Boarding::Circle => break None,
                Boarding::Joined(bytes) => {
                    if let Some(value) = bytes.and_then(|bytes| encoding::decode(&bytes)) {
                        return Ok(value);
                    }
                }
            }
        };
        // Somebody may have landed between the first look and the boarding. That was no second miss.
        if let Ok(Some(found)) = self.read(&slot.key, Look::Peek) {
            return Ok(found);
        }
        let started = Instant::now();
        let value = make()?;
        if let Ok(bytes) = encoding::encode(&value) {
            let bytes = Bytes::from(bytes);
            // What cannot be stored is still of use to whoever waits.
            let _ = self.write(slot, bytes.clone(), ttl, started.elapsed());
            if let Some(ticket) = ticket {
                ticket.land(bytes);
            }
        }
        Ok(value)
    }
}

/// Returns a key as lists show it.
pub(crate) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(MAX_NAME).collect()
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("place", &format_args!("{}", self.0.place))
            .field("namespace", self.namespace())
            .finish_non_exhaustive()
    }
}
