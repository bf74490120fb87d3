//! The cache.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_core::{
    Clock, Entry, EntryMeta, Key, KeyBuilder, ListFilter, Namespace, Output, OutputKind, PutMode, RelPath,
};
use cache_fs::{FsStore, Lookup};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::flight::{self, Boarding};
use crate::{CacheBuilder, Error, Result, encoding};

/// Largest value, encoded, in bytes: it is in memory as a whole, and twice on its way in.
pub const MAX_VALUE_BYTES: u64 = 1 << 30;

/// Values up to this many bytes are kept in their entry; for larger ones a blob of their own is quicker to check.
const MAX_INLINE: usize = 64 << 10;
/// The kind of entries that hold the value of a Rust program.
const KIND: &str = "value";
/// The path of a value that is an output of its entry.
const VALUE_PATH: &str = "value";
/// What is shown of a key in lists, in characters.
const MAX_NAME: usize = 200;
/// How many entries are removed at a time.
const PAGE: usize = 1000;
const WRITER: &str = concat!("vitte-cache ", env!("CARGO_PKG_VERSION"));

/// A cache of values by name, in a directory. Clones share everything.
///
/// Keys are texts or bytes. Values are of any type that serde can write and read back in the same way; a value that was
/// stored by a type that has changed since is a miss.
///
/// [`get`](Self::get) and [`put`](Self::put) say what is wrong with the disk, so that a program can tell its user;
/// [`get_or_insert_with`](Self::get_or_insert_with) and its fallible twin go on without the cache instead.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("cache");
/// let cache = vitte_cache::Cache::new(&dir)?;
/// assert_eq!(cache.get::<Vec<u32>>("primes")?, None);
/// cache.put("primes", &vec![2_u32, 3, 5])?;
/// assert_eq!(cache.get::<Vec<u32>>("primes")?, Some(vec![2, 3, 5]));
/// assert_eq!(cache.get::<Vec<i64>>("primes")?, None, "these are no i64");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    store: FsStore,
    /// The directory under one name, whatever name it was opened by.
    dir: Arc<Path>,
    namespace: Namespace,
    clock: Arc<dyn Clock>,
    read_only: bool,
    closed: AtomicBool,
}

impl Cache {
    /// Returns the cache in `dir`, which is made when it is not there, with limits that fit the disk.
    ///
    /// # Errors
    /// [`Error::Store`] if the directory cannot be used: it cannot be made or read, or others may write to it.
    pub fn new(dir: impl AsRef<Path>) -> Result<Self> {
        Self::builder(dir).open()
    }

    /// Returns a builder for the cache in `dir`.
    pub fn builder(dir: impl AsRef<Path>) -> CacheBuilder {
        CacheBuilder::new(dir.as_ref())
    }

    pub(crate) fn over(store: FsStore, namespace: Namespace, clock: Arc<dyn Clock>, read_only: bool) -> Self {
        let dir = store.dir().canonicalize().unwrap_or_else(|_| store.dir().to_owned());
        let closed = AtomicBool::new(false);
        Self(Arc::new(Inner { store, dir: dir.into(), namespace, clock, read_only, closed }))
    }

    /// Returns the value under `key`, or nothing if there is none of this type.
    ///
    /// # Errors
    /// [`Error::Store`] if the disk cannot be read, [`Error::Closed`]. What is damaged is a miss, not an error.
    pub fn get<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        let key = self.key(key.as_ref());
        let found = self.store()?.get(&key)?;
        self.value(found)
    }

    /// Stores `value` under `key`, in place of what is there.
    ///
    /// # Errors
    /// [`Error::Type`] if values of this type cannot be read back, [`Error::Store`] if there is no room or the disk does
    /// not allow it, [`Error::Closed`]. A cache that is only read stores nothing and says nothing.
    pub fn put<T: Serialize + DeserializeOwned>(&self, key: impl AsRef<[u8]>, value: &T) -> Result<()> {
        let bytes = encoding::encode(value)?;
        self.store_bytes(key.as_ref(), &bytes, None, Duration::ZERO)
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
        self.store_bytes(key.as_ref(), &bytes, Some(ttl), Duration::ZERO)
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
        let name = key.as_ref();
        if let Ok(Some(found)) = self.get(name) {
            return Ok(found);
        }
        let ticket = loop {
            match flight::board(&self.0.dir, self.key(name)) {
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
        if let Ok(Some(found)) = self.peek(name) {
            return Ok(found);
        }
        let started = Instant::now();
        let value = make()?;
        if let Ok(bytes) = encoding::encode(&value) {
            // What cannot be stored is still of use to whoever waits.
            let _ = self.store_bytes(name, &bytes, None, started.elapsed());
            if let Some(ticket) = ticket {
                ticket.land(bytes);
            }
        }
        Ok(value)
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
        Ok(matches!(self.store()?.peek(&self.key(key.as_ref()))?, Lookup::Hit(_)))
    }

    /// Removes the value under `key` and returns whether there was one.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Store`] if the disk does not allow it, [`Error::Closed`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.writable()?.remove(&self.key(key.as_ref()))?)
    }

    /// Removes all values of this namespace and returns how many there were. Entries of other kinds, such as those of
    /// commands that were run through the cache, stay.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub fn clear(&self) -> Result<u64> {
        let store = self.writable()?;
        let filter = ListFilter {
            namespace: Some(self.0.namespace.clone()),
            kind: Some(KIND.to_owned()),
            name_prefix: None,
        };
        let (mut removed, mut after) = (0, None::<String>);
        loop {
            let page = store.list(&filter, after.as_deref(), PAGE)?;
            for item in page.items {
                removed += u64::from(store.remove(&item.key)?);
            }
            after = page.next;
            if after.is_none() {
                return Ok(removed);
            }
        }
    }

    /// Returns when all that was put is in the directory, for other processes to see. On a disk that is so as soon as
    /// [`put`](Self::put) returns, so this takes no time.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn flush(&self) -> Result<()> {
        self.store().map(drop)
    }

    /// Ends the use of this cache, through all of its clones. Closing twice is fine; dropping does as well.
    ///
    /// # Errors
    /// If something that was put could not be finished. On a disk there is no such thing.
    pub fn close(&self) -> Result<()> {
        self.0.closed.store(true, Ordering::Release);
        Ok(())
    }

    /// Returns where the cache is.
    pub fn dir(&self) -> &Path {
        self.0.store.dir()
    }

    /// Returns the namespace of the values.
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    fn key(&self, name: &[u8]) -> Key {
        KeyBuilder::new(&self.0.namespace, KIND).bytes(name).finish()
    }

    fn store(&self) -> Result<&FsStore> {
        if self.0.closed.load(Ordering::Acquire) {
            return Err(Error::Closed { dir: self.dir().to_owned() });
        }
        Ok(&self.0.store)
    }

    fn writable(&self) -> Result<&FsStore> {
        if self.0.read_only {
            return Err(Error::ReadOnly { dir: self.dir().to_owned() });
        }
        self.store()
    }

    fn peek<T: DeserializeOwned>(&self, name: &[u8]) -> Result<Option<T>> {
        let found = self.store()?.peek(&self.key(name))?;
        self.value(found)
    }

    /// Returns the value that an entry holds, if it is one of this type.
    fn value<T: DeserializeOwned>(&self, found: Lookup) -> Result<Option<T>> {
        let Lookup::Hit(entry) = found else { return Ok(None) };
        let bytes = match entry.outputs.first().map(|output| &output.kind) {
            None => Some(entry.value),
            Some(OutputKind::File { digest, len, .. }) if *len <= MAX_VALUE_BYTES => {
                self.0.store.read_blob(digest, *len)?
            }
            Some(_) => None,
        };
        Ok(bytes.and_then(|bytes| encoding::decode(&bytes)))
    }

    fn store_bytes(&self, name: &[u8], bytes: &[u8], ttl: Option<Duration>, cost: Duration) -> Result<()> {
        let store = self.store()?;
        if self.0.read_only {
            return Ok(());
        }
        let size = bytes.len() as u64;
        if size > MAX_VALUE_BYTES {
            let what = format!("the value of `{}`", shown(name));
            return Err(cache_core::Error::TooLarge { what, size, limit: MAX_VALUE_BYTES }.into());
        }
        let now = self.0.clock.now();
        let meta = EntryMeta {
            namespace: self.0.namespace.clone(),
            kind: KIND.to_owned(),
            name: shown(name),
            created: now,
            expires: ttl.map(|ttl| now.plus(ttl)),
            writer: WRITER.to_owned(),
            cost_ms: u64::try_from(cost.as_millis()).unwrap_or(u64::MAX),
            ..EntryMeta::default()
        };
        let mut entry = Entry { meta, ..Entry::default() };
        if bytes.len() <= MAX_INLINE {
            entry.value = Bytes::copy_from_slice(bytes);
        } else {
            let path =
                RelPath::new(VALUE_PATH).map_err(|error| cache_core::Error::Invalid(error.to_string()))?;
            let digest = store.write_blob(bytes)?;
            let kind = OutputKind::File { digest, len: size, mode: 0o600, modified_ns: 0 };
            entry.outputs.push(Output { path, kind });
        }
        let _ = store.put(&self.key(name), &entry, PutMode::Overwrite)?;
        Ok(())
    }
}

/// Returns a key as lists show it.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(MAX_NAME).collect()
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("dir", &self.dir())
            .field("namespace", self.namespace())
            .finish_non_exhaustive()
    }
}
