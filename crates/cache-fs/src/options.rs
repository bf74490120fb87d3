//! How a store is opened.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{Clock, Observers, Policy, SystemClock};

/// What was used within this time is never evicted with [`Layout::Files`], unless [`Options::protect`] says otherwise: a build
/// that has just looked something up is about to read it.
pub const DEFAULT_PROTECT: Duration = Duration::from_mins(1);

/// How the content of a store lies on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// What is there already; else [`Segments`](Self::Segments) on local file systems that are known to suit them, and
    /// [`Files`](Self::Files) everywhere else and for stores below 64 MiB.
    #[default]
    Auto,
    /// One file per entry and per blob: works on every file system, network file systems included.
    Files,
    /// Records in a log with an index: many times faster, for local file systems of Unix.
    Segments,
}

/// What is forced onto the disk before a put returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Nothing: a power failure may take the last half minute, and never gives a wrong byte.
    #[default]
    Relaxed,
    /// What was put: it is there after a power failure. Costs one or two round trips to the disk.
    Flush,
}

/// How a store is opened. The default is right for a cache of one's own on a local disk.
#[derive(Clone, Debug)]
pub struct Options {
    /// The limits; if nothing, [`Policy::for_disk`] of the disk that the directory is on.
    pub policy: Option<Policy>,
    /// Whether a directory is used although somebody else owns it or anybody may write to it.
    pub trust_dir: bool,
    /// Whether the directory is only read: nothing is written, touched, or put aside.
    pub read_only: bool,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Who is told what happens.
    pub observers: Observers,
    /// How the content lies on the disk.
    pub layout: Layout,
    /// What is forced onto the disk before a put returns, with [`Layout::Segments`].
    pub durability: Durability,
    /// With [`Layout::Files`], what was used within this time is never evicted. It goes by the clock of the file system, not by
    /// `clock`. Segments keep their limit first: what was used stays longer there, and a [lease](crate::FsStore::lease) is what
    /// keeps it for certain.
    pub protect: Duration,
    /// With [`Layout::Segments`], how long a blob above 256 KiB that was read and found right is taken for right without being
    /// read again, as long as nothing has changed its file. Nothing, unless a server says otherwise that many ask for the same
    /// blob at a time.
    pub proof: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policy: None,
            trust_dir: false,
            read_only: false,
            clock: Arc::new(SystemClock),
            observers: Observers::default(),
            layout: Layout::Auto,
            durability: Durability::Relaxed,
            protect: DEFAULT_PROTECT,
            proof: Duration::ZERO,
        }
    }
}
