//! How a cache is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cache_core::{Clock, Namespace, Observer, Observers, Policy};
use cache_fs::{FsStore, Options};

use crate::{Cache, Result};

/// Opens a [`Cache`] with other limits than the default ones.
///
/// ```
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
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct CacheBuilder {
    dir: PathBuf,
    namespace: Option<String>,
    limits: Limits,
    options: Options,
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
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), namespace: None, limits: Limits::default(), options: Options::default() }
    }

    /// Keeps the values apart from those of other programs in the same directory: 1 to 100 characters of
    /// `A-Z a-z 0-9 . _ -`. Without it, the namespace is `default`.
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespace = Some(name.into());
        self
    }

    /// Limits the bytes on disk, of all namespaces together. What was not used for the longest time goes first.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.limits.max_bytes = Some(bytes);
        self
    }

    /// Limits the number of values, of all namespaces together.
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
        self.options.policy = Some(policy);
        self
    }

    /// Only reads: what is put is not stored, and nothing else changes on the disk.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.options.read_only = read_only;
        self
    }

    /// Uses the directory even if somebody else owns it or anybody may write to it. Whoever can write there can make
    /// this program read any value.
    pub fn trust_dir(mut self, trust: bool) -> Self {
        self.options.trust_dir = trust;
        self
    }

    /// Tells `observer` about hits, misses with their reasons, puts and evictions.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.options.observers = Observers::new(observer);
        self
    }

    /// Reads the time from `clock`, so that a test can let values expire.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.options.clock = clock;
        self
    }

    /// Returns the cache, in constant time whatever its size.
    ///
    /// # Errors
    /// [`Error::Namespace`](crate::Error::Namespace), or [`Error::Store`](crate::Error::Store) if the directory cannot
    /// be used.
    pub fn open(mut self) -> Result<Cache> {
        let namespace = self.namespace.map_or_else(|| Ok(Namespace::default()), Namespace::new)?;
        let Limits { max_bytes, max_entries, max_age, default_ttl } = self.limits;
        if max_bytes.is_some() || max_entries.is_some() || max_age.is_some() || default_ttl.is_some() {
            let mut policy = if let Some(policy) = self.options.policy {
                policy
            } else {
                // What fits the disk is known to the store. It is only read: how it is made depends on the limits.
                let there = self.dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("."));
                let options = Options { read_only: true, trust_dir: true, ..self.options.clone() };
                FsStore::open(there, options)?.policy().clone()
            };
            policy.max_bytes = max_bytes.or(policy.max_bytes);
            policy.max_entries = max_entries.or(policy.max_entries);
            policy.max_age = max_age.or(policy.max_age);
            policy.default_ttl = default_ttl.or(policy.default_ttl);
            self.options.policy = Some(policy);
        }
        let (clock, read_only) = (Arc::clone(&self.options.clock), self.options.read_only);
        let store = FsStore::open(&self.dir, self.options)?;
        Ok(Cache::over(store, namespace, clock, read_only))
    }
}
