//! The cache.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_core::{Key, Namespace};
use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(doc)]
use crate::Error;
use crate::flight::{self, Boarding};
use crate::inner::{Inner, KINDS, Slot, shown};
use crate::terms::{Made, Standing, Terms};
use crate::tier::{Look, Tier};
use crate::{CacheBuilder, Result, encoding};
#[cfg(feature = "macros")]
use crate::{async_making::Reach, place::Place};

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
pub struct Cache(Arc<Inner<Box<dyn Tier>>>);

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

    pub(crate) fn over(inner: Inner<Box<dyn Tier>>) -> Self {
        Self(Arc::new(inner))
    }

    /// Returns the value under `key`, or nothing if there is none of this type.
    ///
    /// # Errors
    /// [`Error::Store`] if the disk cannot be read, [`Error::Closed`]. What is damaged is a miss, not an error.
    pub fn get<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        self.read(&self.0.key(key.as_ref()), Look::Use)
    }

    /// Stores `value` under `key`, in place of what is there.
    ///
    /// # Errors
    /// [`Error::Type`] if values of this type cannot be read back, [`Error::Store`] if there is no room or the disk does
    /// not allow it, [`Error::Closed`]. A cache that is only read stores nothing and says nothing.
    pub fn put<T: Serialize + DeserializeOwned>(&self, key: impl AsRef<[u8]>, value: &T) -> Result<()> {
        self.keep(&self.0.slot(key.as_ref()), &Terms::default(), value)
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
        self.keep(&self.0.slot(key.as_ref()), &Terms::ttl(Some(ttl)), value)
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
        self.make_once(&self.0.slot(key.as_ref()), &Terms::default(), make)
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
        self.tier()?.has(&self.0.key(key.as_ref()))
    }

    /// Removes the value under `key` and returns whether there was one.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Store`] if the disk does not allow it, [`Error::Closed`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.tier()?.remove(&self.0.key(key.as_ref()))
    }

    /// Removes all values of this namespace, what memoised functions returned included, and returns how many there were.
    /// Entries of other kinds, such as those of commands that were run through the cache, stay.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub fn clear(&self) -> Result<u64> {
        KINDS.iter().try_fold(0, |sum, kind| Ok(sum + self.clear_kind(kind, None)?))
    }

    /// Removes all values of one kind, or those of them with one name.
    pub(crate) fn clear_kind(&self, kind: &str, name: Option<&str>) -> Result<u64> {
        let name = name.map(|name| shown(name.as_bytes()));
        self.tier()?.clear(&self.0.filter(kind, name.as_deref()), name.as_deref())
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
        self.0.close();
        Ok(())
    }

    /// Returns where the cache is; nothing if it is in memory alone.
    pub fn dir(&self) -> Option<&Path> {
        self.0.dir()
    }

    /// Returns the namespace of the values.
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    pub(crate) fn tier(&self) -> Result<&dyn Tier> {
        Ok(&**self.0.open()?)
    }

    /// Returns the value under `key`, if there is one of this type.
    fn read<T: DeserializeOwned>(&self, key: &Key, look: Look) -> Result<Option<T>> {
        let found = self.tier()?.look_up(key, look)?;
        Ok(found.and_then(|found| encoding::decode(found.bytes())))
    }

    fn keep<T: Serialize + DeserializeOwned>(&self, slot: &Slot, terms: &Terms, value: &T) -> Result<()> {
        self.write(slot, self.0.encode(value)?, terms, Made::default())
    }

    fn write(&self, slot: &Slot, bytes: Bytes, terms: &Terms, made: Made) -> Result<()> {
        let tier = self.tier()?;
        match self.0.facts(slot, &bytes, terms, made)? {
            Some(meta) => tier.put(&slot.key, meta, bytes),
            None => Ok(()),
        }
    }

    /// Removes what is under `key`, and returns whether there was something.
    #[cfg(feature = "macros")]
    pub(crate) fn remove(&self, key: &Key) -> bool {
        self.tier().and_then(|tier| tier.remove(key)).unwrap_or(false)
    }

    /// Returns what the value in `slot` is good for, of whatever type it is.
    #[cfg(feature = "macros")]
    pub(crate) fn standing(&self, slot: &Slot, terms: &Terms, look: Look) -> Option<Standing> {
        let found = self.tier().ok()?.look_up(&slot.key, look).ok()??;
        Some(terms.judge(found.meta(), self.0.clock.now()))
    }

    /// Returns the value in `slot` and what it is good for, but for one that was made from other files.
    fn judged<T: DeserializeOwned>(&self, slot: &Slot, terms: &Terms, look: Look) -> Option<(Standing, T)> {
        let found = self.tier().ok()?.look_up(&slot.key, look).ok()??;
        self.0.judge(&found, terms)
    }

    /// Returns the value in `slot`, or makes it, in one thread of all that ask for it at a time.
    pub(crate) fn make_once<T, E>(
        &self,
        slot: &Slot,
        terms: &Terms,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
    {
        let ticket = match self.judged(slot, terms, Look::Use) {
            Some((Standing::Fresh, value)) => return Ok(value),
            // One makes it anew, and nobody waits for that.
            Some((Standing::Stale, value)) => match flight::try_board(&self.0.place, slot.key) {
                Some(ticket) => Some(ticket),
                None => return Ok(value),
            },
            _ => loop {
                match flight::board(&self.0.place, slot.key) {
                    Boarding::Owner(ticket) => break Some(ticket),
                    Boarding::Circle => break None,
                    Boarding::Joined(bytes) => {
                        if let Some(value) = bytes.and_then(|bytes| encoding::decode(&bytes)) {
                            return Ok(value);
                        }
                    }
                }
            },
        };
        // Somebody may have landed between the first look and the boarding. That was no second miss.
        if let Some((Standing::Fresh, value)) = self.judged(slot, terms, Look::Peek) {
            return Ok(value);
        }
        let (value, bytes) = match self.make(slot, terms, make) {
            Ok(both) => both,
            Err(error) => {
                let old = terms.fallback.then(|| self.judged(slot, terms, Look::Peek)).flatten();
                let Some((_, value)) = old else { return Err(error) };
                let bytes = self.0.encode(&value).ok();
                (value, bytes)
            }
        };
        if let (Some(ticket), Some(bytes)) = (ticket, bytes) {
            ticket.land(bytes);
        }
        Ok(value)
    }

    /// Makes the value in `slot` and stores it. Returns its bytes as well if it may be given to others.
    pub(crate) fn make<T, E>(
        &self,
        slot: &Slot,
        terms: &Terms,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<(T, Option<Bytes>), E>
    where
        T: Serialize + DeserializeOwned,
    {
        let (started, before) = (Instant::now(), terms.before());
        let value = make()?;
        let bytes = terms.after(before).and_then(|files| {
            let bytes = self.0.encode(&value).ok()?;
            // What cannot be stored is still of use to whoever waits.
            let _ = self.write(slot, bytes.clone(), terms, Made { cost: started.elapsed(), files });
            Some(bytes)
        });
        Ok((value, bytes))
    }
}

/// A look-up on a disk blocks for some microseconds, which is less than it takes to move it to another thread.
#[cfg(feature = "macros")]
impl Reach for Cache {
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
        look: Look,
    ) -> Option<(Standing, T)> {
        Cache::judged(self, slot, terms, look)
    }

    async fn keep(&self, slot: &Slot, bytes: Bytes, terms: &Terms, made: Made) {
        let _ = self.write(slot, bytes, terms, made);
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("place", &format_args!("{}", self.0.place))
            .field("namespace", self.namespace())
            .finish_non_exhaustive()
    }
}
