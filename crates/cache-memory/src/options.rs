//! How a store is made.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{Clock, Observers, Policy, SystemClock};

/// Limit of a store that is not given one, in bytes: a hundred thousand entries, and small beside what one compiler takes.
pub const DEFAULT_MAX_BYTES: u64 = 256 << 20;

/// See [`Options::protect`]: as long as on a disk.
const DEFAULT_PROTECT: Duration = Duration::from_mins(10);

/// How a [`MemoryStore`](crate::MemoryStore) is made. The default keeps 256 MiB for as long as the process lives.
///
/// ```
/// use std::time::Duration;
///
/// use cache_core::Policy;
/// use cache_memory::{MemoryStore, Options};
///
/// let policy = Policy {
///     max_bytes: Some(64 << 20),
///     max_entries: Some(10_000),
///     default_ttl: Some(Duration::from_secs(600)),
///     max_age: Some(Duration::from_mins(1)),
///     ..Policy::unlimited()
/// };
/// let store = MemoryStore::new(Options { policy, ..Options::default() });
/// assert_eq!(store.stats().max_bytes, Some(64 << 20));
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// The limits: `max_bytes`, `max_entries`, `default_ttl`, and `max_age`, the time to idle of entries and blobs. The
    /// rest is about disks. All entries have the same priority here.
    pub policy: Policy,
    /// Largest blob, and largest value of an entry, in bytes. If nothing, it is a 64th of the whole, or 1 MiB if that is
    /// more, but never more than a quarter. The larger it is, the fewer parts of the store work independently of each
    /// other, because each must have room for it.
    pub max_blob: Option<u64>,
    /// Where the time comes from. It is not asked on a hit that no time limit applies to.
    pub clock: Arc<dyn Clock>,
    /// What [`gc`](crate::MemoryStore::gc) leaves alone although no entry names it: blobs that were written, or asked for with
    /// [`missing_blobs`](crate::MemoryStore::missing_blobs), within this time. Longer than it takes from a blob to the entry
    /// that names it.
    pub protect: Duration,
    /// Who is told what happens.
    pub observers: Observers,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policy: Policy { max_bytes: Some(DEFAULT_MAX_BYTES), ..Policy::unlimited() },
            max_blob: None,
            clock: Arc::new(SystemClock),
            protect: DEFAULT_PROTECT,
            observers: Observers::default(),
        }
    }
}
