//! What a look-up says.

use std::fmt;

use bytes::Bytes;
use cache_core::{Key, TreePath};

use super::trace::Upstream;
use crate::action;

/// What a look-up says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The entry is there, and what it was computed from is as it was.
    Hit(Found),
    /// There is no entry.
    Miss(Absence),
    /// There is or was an entry, and it must be computed anew.
    Invalidated(Invalidation),
}

impl Lookup {
    /// Returns what was found, if it is a hit.
    pub fn hit(self) -> Option<Found> {
        match self {
            Self::Hit(found) => Some(found),
            Self::Miss(_) | Self::Invalidated(_) => None,
        }
    }

    /// Returns whether it is a hit.
    pub fn is_hit(&self) -> bool {
        matches!(self, Self::Hit(_))
    }
}

/// An entry that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// What was persisted.
    pub bytes: Bytes,
    /// What it means, in the caller's words.
    pub kind: String,
    /// What an entry names that is computed from this one.
    pub upstream: Upstream,
}

/// Why there is no entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Absence {
    /// Nobody persisted it, or it was evicted.
    Absent,
    /// What is stored under the key is damaged, of another version, or something else.
    Unreadable,
    /// As many entries as may be known are in use, so this one cannot be checked: see
    /// [`LiveCacheBuilder::max_entries`](super::LiveCacheBuilder::max_entries).
    NoRoom,
    /// The store could not tell.
    StoreFailed {
        /// What it said.
        why: String,
    },
}

/// Why an entry must be computed anew.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalidation {
    /// A file has another content, or may be executed where it could not, or the reverse.
    FileChanged {
        /// Which one.
        path: TreePath,
    },
    /// There is a file where there was none.
    FileAdded {
        /// Which one.
        path: TreePath,
    },
    /// A file is not there any more.
    FileRemoved {
        /// Which one.
        path: TreePath,
    },
    /// It cannot be told what a file contains.
    FileUnreadable {
        /// Which one.
        path: TreePath,
        /// Why.
        why: String,
    },
    /// An entry upstream has another result than the one that was used.
    UpstreamChanged {
        /// Its key.
        key: Key,
    },
    /// An entry upstream has to be computed anew. If its result is the same as before, this entry is valid again.
    UpstreamInvalid {
        /// Its key.
        key: Key,
    },
    /// [`invalidate`](super::LiveCache::invalidate) was called.
    Dropped,
    /// [`invalidate_path`](super::LiveCache::invalidate_path) was called for a file of the entry, or a directory above it.
    PathReported,
    /// [`invalidate_upstream`](super::LiveCache::invalidate_upstream) was called for an entry that this one was computed
    /// from.
    UpstreamReported {
        /// Its key.
        key: Key,
    },
    /// Something was reported again and again while the entry was checked.
    Restless,
}

impl Absence {
    /// Returns the name of the reason.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Unreadable => "unreadable",
            Self::NoRoom => "no-room",
            Self::StoreFailed { .. } => "store-failed",
        }
    }
}

impl Invalidation {
    /// Returns the name of the reason, the same for all files and keys.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::FileChanged { .. } => "file-changed",
            Self::FileAdded { .. } => "file-added",
            Self::FileRemoved { .. } => "file-removed",
            Self::FileUnreadable { .. } => "file-unreadable",
            Self::UpstreamChanged { .. } => "upstream-changed",
            Self::UpstreamInvalid { .. } => "upstream-invalid",
            Self::Dropped => "dropped",
            Self::PathReported => "path-reported",
            Self::UpstreamReported { .. } => "upstream-reported",
            Self::Restless => "restless",
        }
    }

    /// Returns how a file differs, as the caches of actions say it.
    pub(super) fn of_file(miss: action::Miss, path: &TreePath) -> Self {
        use action::Miss;
        match miss {
            Miss::InputAdded { path } => Self::FileAdded { path },
            Miss::InputRemoved { path } => Self::FileRemoved { path },
            Miss::InputChanged { path } => Self::FileChanged { path },
            Miss::InputUnreadable { path, why } => Self::FileUnreadable { path, why },
            other => Self::FileUnreadable { path: path.clone(), why: other.to_string() },
        }
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("nothing is persisted"),
            Self::Unreadable => {
                f.write_str("what is stored is damaged, of another version, or something else")
            }
            Self::NoRoom => f.write_str("there is no room to check it; allow for more entries"),
            Self::StoreFailed { why } => write!(f, "the cache cannot tell: {why}"),
        }
    }
}

impl fmt::Display for Invalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileChanged { path } => write!(f, "{path} has changed"),
            Self::FileAdded { path } => write!(f, "{path} is new"),
            Self::FileRemoved { path } => write!(f, "{path} is gone"),
            Self::FileUnreadable { path, why } => write!(f, "{path} cannot be checked: {why}"),
            Self::UpstreamChanged { key } => {
                write!(f, "the entry {key} that it was computed from has another result")
            }
            Self::UpstreamInvalid { key } => {
                write!(f, "the entry {key} that it was computed from has to be computed anew")
            }
            Self::Dropped => f.write_str("it was dropped"),
            Self::PathReported => f.write_str("one of its files was reported as changed"),
            Self::UpstreamReported { key } => {
                write!(f, "all that was computed from the entry {key} was dropped")
            }
            Self::Restless => f.write_str("its inputs keep changing while it is checked"),
        }
    }
}
