//! How much is kept, and for how long.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Namespace;

/// How long an entry is kept compared with others of the same age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Priority {
    /// Goes first.
    Low,
    /// As most.
    #[default]
    Normal,
    /// Goes last: dear to make, or needed by everybody.
    High,
}

/// The limits of a store. They hold from the first put on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Bytes on disk, blobs and entries and what the store needs for itself; no limit if nothing.
    pub max_bytes: Option<u64>,
    /// Number of entries; no limit if nothing.
    pub max_entries: Option<u64>,
    /// What was not used for this long goes; never if nothing.
    pub max_age: Option<Duration>,
    /// How long an entry lives that does not say it itself; for ever if nothing.
    pub default_ttl: Option<Duration>,
    /// Bytes that stay free on the file system whatever else is allowed.
    pub free_space_floor: u64,
    /// When a limit is met, eviction goes on down to this percentage of it, so that not every put evicts.
    pub low_water_percent: u8,
    /// Priority of entries that have [`Priority::Normal`].
    pub priority: Priority,
    /// Bytes of the values and blobs of the entries of a namespace, each blob counted for each entry that names it; no limit
    /// for one that is not here. Kept when a store is collected, not with each put.
    pub namespace_bytes: BTreeMap<Namespace, u64>,
}

const GB: u64 = 1_000_000_000;

impl Policy {
    /// Size limit on a large disk, in bytes.
    pub const DEFAULT_MAX_BYTES: u64 = 20 * GB;
    /// What is not used for a month is not used for another.
    pub const DEFAULT_MAX_AGE: Duration = Duration::from_hours(30 * 24);
    /// Free space on a large disk that other programs can count on, in bytes.
    pub const DEFAULT_FREE_SPACE_FLOOR: u64 = GB;
    /// Evicting a tenth at a time keeps eviction rare and the cache full.
    pub const DEFAULT_LOW_WATER_PERCENT: u8 = 90;

    /// Returns a policy without any limit.
    pub fn unlimited() -> Self {
        Self {
            max_bytes: None,
            max_entries: None,
            max_age: None,
            default_ttl: None,
            free_space_floor: 0,
            low_water_percent: Self::DEFAULT_LOW_WATER_PERCENT,
            priority: Priority::Normal,
            namespace_bytes: BTreeMap::new(),
        }
    }

    /// Returns the default limits for a disk of `total` bytes: the smaller of 20 GB and a tenth of the disk, 30 days,
    /// and the smaller of 1 GB and a fiftieth of the disk left free.
    pub fn for_disk(total: u64) -> Self {
        Self {
            max_bytes: Some(Self::DEFAULT_MAX_BYTES.min(total / 10)),
            max_age: Some(Self::DEFAULT_MAX_AGE),
            free_space_floor: Self::DEFAULT_FREE_SPACE_FLOOR.min(total / 50),
            ..Self::unlimited()
        }
    }

    /// Returns what is left of `limit` after eviction.
    pub fn low_water(&self, limit: u64) -> u64 {
        (u128::from(limit) * u128::from(self.low_water_percent.min(100)) / 100) as u64
    }
}

impl Default for Policy {
    /// Returns the default limits of a large disk.
    fn default() -> Self {
        Self::for_disk(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_fit_the_disk() {
        assert_eq!(Policy::default().max_bytes, Some(20 * GB));
        let small = Policy::for_disk(GB);
        assert_eq!((small.max_bytes, small.free_space_floor), (Some(GB / 10), GB / 50));
        assert_eq!(Policy::default().low_water(u64::MAX), (u128::from(u64::MAX) * 9 / 10) as u64);
    }
}
