//! How a cache is opened.

#[cfg(feature = "fs")]
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cache_core::envelope::Compression;
#[cfg(any(feature = "fs", feature = "tiers"))]
use cache_core::signing::Keyring;
use cache_core::{Clock, Namespace, Observer, Observers, Policy, SystemClock};
#[cfg(feature = "fs")]
use cache_fs::{FsStore, Options};

#[cfg(feature = "tiers")]
use crate::chain_builder::Further;
use crate::inner::Inner;
use crate::place::Place;
#[cfg(feature = "fs")]
use crate::seal::Seal;
use crate::tier::Tier;
use crate::{Cache, Result};

/// Opens a [`Cache`] with other limits than the default ones.
///
/// ```
/// # #[cfg(feature = "fs")] {
/// use std::time::Duration;
/// use vitte_cache::CacheBuilder;
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("cache");
/// let cache = CacheBuilder::new(&dir)
///     .namespace("my-linter")
///     .max_bytes(500_000_000)
///     .max_age(Duration::from_hours(24 * 7))
///     .open()?;
/// cache.put("answer", &42)?;
/// assert_eq!(cache.get::<i32>("answer")?, Some(42));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct CacheBuilder {
    /// Where the values are; in memory if nothing.
    #[cfg(feature = "fs")]
    pub(crate) dir: Option<PathBuf>,
    /// Bytes of copies in memory.
    #[cfg(all(feature = "fs", feature = "memory"))]
    copies: Option<u64>,
    #[cfg(feature = "fs")]
    pub(crate) read_only: bool,
    #[cfg(feature = "fs")]
    trust_dir: bool,
    namespace: Option<String>,
    limits: Limits,
    policy: Option<Policy>,
    compression: Compression,
    #[cfg(any(feature = "fs", feature = "tiers"))]
    pub(crate) ring: Option<Keyring>,
    #[cfg(feature = "tiers")]
    pub(crate) further: Further,
    observers: Observers,
    pub(crate) clock: Arc<dyn Clock>,
}

/// What differs from the policy that fits the disk.
#[derive(Clone, Debug, Default)]
struct Limits {
    max_bytes: Option<u64>,
    max_entries: Option<u64>,
    max_age: Option<Duration>,
    default_ttl: Option<Duration>,
}

impl CacheBuilder {
    /// Returns a builder for the cache in `dir`, which is made when it is not there.
    #[cfg(feature = "fs")]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: Some(dir.into()), ..Self::empty() }
    }

    /// Returns a builder for a cache in the memory of this process. Without other limits it takes at most
    /// [256 MiB](crate::memory::DEFAULT_MAX_BYTES).
    ///
    /// ```
    /// let cache = vitte_cache::CacheBuilder::in_memory().max_bytes(16 << 20).open()?;
    /// assert!(cache.dir().is_none());
    /// # Ok::<(), vitte_cache::Error>(())
    /// ```
    #[cfg(feature = "memory")]
    pub fn in_memory() -> Self {
        Self::empty()
    }

    fn empty() -> Self {
        Self {
            #[cfg(feature = "fs")]
            dir: None,
            #[cfg(all(feature = "fs", feature = "memory"))]
            copies: None,
            #[cfg(feature = "fs")]
            read_only: false,
            #[cfg(feature = "fs")]
            trust_dir: false,
            namespace: None,
            limits: Limits::default(),
            policy: None,
            compression: Compression::None,
            #[cfg(any(feature = "fs", feature = "tiers"))]
            ring: None,
            #[cfg(feature = "tiers")]
            further: Further::default(),
            observers: Observers::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Keeps copies of what was used last in memory as well, in at most so many bytes, so that most look-ups do not read
    /// the disk. What this cache and its clones change is seen at once. What others change in the directory, through
    /// another cache or in another process, is seen after at most a second. For a cache in memory it changes nothing.
    #[cfg(all(feature = "fs", feature = "memory"))]
    pub fn copies_in_memory(mut self, bytes: u64) -> Self {
        self.copies = Some(bytes);
        self
    }

    /// Keeps the values apart from those of other programs in the same directory: 1 to 100 characters of
    /// `A-Z a-z 0-9 . _ -`. Without it, the namespace is `default`.
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespace = Some(name.into());
        self
    }

    /// Limits the bytes, on a disk those of all namespaces together. What was not used for the longest time goes first.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.limits.max_bytes = Some(bytes);
        self
    }

    /// Limits the number of values, on a disk those of all namespaces together.
    pub fn max_entries(mut self, entries: u64) -> Self {
        self.limits.max_entries = Some(entries);
        self
    }

    /// Lets go what was not used for this long.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.limits.max_age = Some(age);
        self
    }

    /// Lets values expire so long after they were put, unless they are [put with](Cache::put_with) a time of their own.
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.limits.default_ttl = Some(ttl);
        self
    }

    /// Sets all limits at once. The single limits of this builder go before those of `policy`.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Compresses values before they are stored, on a disk and in memory. Without it, they are kept as they are: on a local
    /// disk compressing mostly costs more than it saves. Values are read whether they are compressed or not.
    ///
    /// ```
    /// use vitte_cache::core::envelope::Compression;
    ///
    /// let cache = vitte_cache::CacheBuilder::in_memory().compression(Compression::Adaptive).open()?;
    /// cache.put("text", &"so ".repeat(1000))?;
    /// assert_eq!(cache.get::<String>("text")?, Some("so ".repeat(1000)));
    /// # Ok::<(), vitte_cache::Error>(())
    /// ```
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Signs what is put, and refuses what is not signed by a key of `ring`: it is a miss. For a directory that others may
    /// write to. Values that are given no end last 30 days. Caches with different keys share a directory without seeing or
    /// replacing each other's values. In memory there is nobody else, and nothing is signed.
    ///
    /// ```
    /// use vitte_cache::Cache;
    /// use vitte_cache::core::signing::{Keyring, SigningKey};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let dir = dir.path().join("cache");
    /// let ring = Keyring::new(SigningKey::generate()?);
    /// let cache = Cache::builder(&dir).signing(ring).open()?;
    /// cache.put("answer", &42)?;
    /// assert_eq!(cache.get::<i32>("answer")?, Some(42));
    ///
    /// let other = Cache::builder(&dir).signing(Keyring::new(SigningKey::generate()?)).open()?;
    /// assert_eq!(other.get::<i32>("answer")?, None, "somebody else signed it");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(any(feature = "fs", feature = "tiers"))]
    pub fn signing(mut self, ring: Keyring) -> Self {
        self.ring = Some(ring);
        self
    }

    /// Only reads: what is put is not stored, and nothing else changes on the disk. It is of no use in memory.
    #[cfg(feature = "fs")]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Uses the directory even if somebody else owns it or anybody may write to it. Whoever can write there can make
    /// this program read any value.
    #[cfg(feature = "fs")]
    pub fn trust_dir(mut self, trust: bool) -> Self {
        self.trust_dir = trust;
        self
    }

    /// Tells `observer` about hits, misses with their reasons, puts and evictions.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers = Observers::new(observer);
        self
    }

    /// Reads the time from `clock`, so that a test can let values expire.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Returns the cache, in constant time whatever its size.
    ///
    /// # Errors
    /// [`Error::Namespace`](crate::Error::Namespace), or [`Error::Store`](crate::Error::Store) if the directory cannot
    /// be used.
    pub fn open(mut self) -> Result<Cache> {
        let namespace = self.take_namespace()?;
        #[cfg(feature = "tiers")]
        if !self.further.tiers.is_empty() {
            let what = "a cache that blocks has no further tiers; open it with `open_async`".to_owned();
            return Err(cache_core::Error::Invalid(what).into());
        }
        #[cfg(feature = "fs")]
        if let Some(dir) = self.dir.take() {
            return self.on_disk(&dir, namespace);
        }
        #[cfg(feature = "memory")]
        return Ok(self.in_memory_of(namespace));
        #[cfg(not(feature = "memory"))]
        unreachable!("without memory there is no builder that has no directory")
    }

    pub(crate) fn take_namespace(&mut self) -> Result<Namespace> {
        Ok(self.namespace.take().map_or_else(|| Ok(Namespace::default()), Namespace::new)?)
    }

    #[cfg(feature = "memory")]
    pub(crate) fn in_memory_of(self, namespace: Namespace) -> Cache {
        let policy = self.memory_policy();
        let (tier, default_ttl) = (self.memory(policy.clone()), policy.default_ttl);
        self.cache(Box::new(tier), Place::in_memory(), namespace, default_ttl)
    }

    /// Returns the limits of a cache that is in memory alone.
    #[cfg(feature = "memory")]
    pub(crate) fn memory_policy(&self) -> Policy {
        self.limits.over(self.policy.clone().unwrap_or(cache_memory::Options::default().policy))
    }

    #[cfg(feature = "memory")]
    pub(crate) fn memory(&self, policy: Policy) -> crate::in_memory::Memory {
        let (clock, observers) = (Arc::clone(&self.clock), self.observers.clone());
        let options = cache_memory::Options { policy, clock, observers, ..cache_memory::Options::default() };
        crate::in_memory::Memory(cache_memory::MemoryStore::new(options))
    }

    /// Returns the memory for copies of what is on the disk, if there is to be some.
    #[cfg(all(feature = "fs", feature = "memory"))]
    pub(crate) fn copies(&self) -> Option<crate::in_memory::Memory> {
        self.copies.map(|bytes| self.memory(Policy { max_bytes: Some(bytes), ..Policy::unlimited() }))
    }

    #[cfg(feature = "fs")]
    fn on_disk(self, dir: &Path, namespace: Namespace) -> Result<Cache> {
        let store = self.disk(dir)?;
        let (place, lifetime) = (Place::on_disk(store.dir()), self.lifetime(store.policy()));
        let seal = Seal { ring: self.ring.clone(), observers: self.observers.clone() };
        let disk = crate::disk::Disk { store, read_only: self.read_only, seal };
        #[cfg(feature = "memory")]
        if let Some(copies) = self.copies() {
            let tier = crate::copied::Copied::new(copies, disk, Arc::clone(&self.clock));
            return Ok(self.cache(Box::new(tier), place, namespace, lifetime));
        }
        Ok(self.cache(Box::new(disk), place, namespace, lifetime))
    }

    /// Returns the store in `dir`.
    #[cfg(feature = "fs")]
    pub(crate) fn disk(&self, dir: &Path) -> Result<FsStore> {
        let mut options = Options {
            policy: self.policy.clone(),
            read_only: self.read_only,
            trust_dir: self.trust_dir,
            clock: Arc::clone(&self.clock),
            observers: self.observers.clone(),
            ..Options::default()
        };
        if self.limits.any() {
            let policy = if let Some(policy) = options.policy {
                policy
            } else {
                // What fits the disk is known to the store. It is only read: how it is made depends on the limits.
                let there = dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("."));
                let options = Options { read_only: true, trust_dir: true, ..options.clone() };
                FsStore::open(there, options)?.policy().clone()
            };
            options.policy = Some(self.limits.over(policy));
        }
        Ok(FsStore::open(dir, options)?)
    }

    /// Returns how long values last by default. Signed ones have an end, which bounds for how long somebody who may write
    /// to a store can put an old one in the place of a new one.
    #[cfg(any(feature = "fs", feature = "tiers"))]
    pub(crate) fn lifetime(&self, policy: &Policy) -> Option<Duration> {
        policy.default_ttl.or(self.ring.is_some().then_some(Policy::DEFAULT_MAX_AGE))
    }

    fn cache(
        self,
        tier: Box<dyn Tier>,
        place: Place,
        namespace: Namespace,
        default_ttl: Option<Duration>,
    ) -> Cache {
        Cache::over(self.inner(tier, place, namespace, default_ttl))
    }

    pub(crate) fn inner<T>(
        self,
        reach: T,
        place: Place,
        namespace: Namespace,
        default_ttl: Option<Duration>,
    ) -> Inner<T> {
        #[cfg(feature = "fs")]
        let read_only = self.read_only;
        #[cfg(not(feature = "fs"))]
        let read_only = false;
        let (clock, compression, closed) = (self.clock, self.compression, AtomicBool::new(false));
        Inner { reach, place, namespace, clock, default_ttl, compression, read_only, closed }
    }
}

impl Limits {
    #[cfg(feature = "fs")]
    fn any(&self) -> bool {
        let Self { max_bytes, max_entries, max_age, default_ttl } = self;
        max_bytes.is_some() || max_entries.is_some() || max_age.is_some() || default_ttl.is_some()
    }

    /// Returns `policy` with these limits in place of its own.
    fn over(&self, policy: Policy) -> Policy {
        Policy {
            max_bytes: self.max_bytes.or(policy.max_bytes),
            max_entries: self.max_entries.or(policy.max_entries),
            max_age: self.max_age.or(policy.max_age),
            default_ttl: self.default_ttl.or(policy.default_ttl),
            ..policy
        }
    }
}
