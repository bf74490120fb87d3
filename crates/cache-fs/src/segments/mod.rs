//! `Layout::Segments`: records in a log, found by an index. `docs/format-segments.md` draws what lies where, and why.

mod control;
mod files;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handle;
mod index;
mod large;
#[cfg(all(target_os = "linux", not(all(test, cache_fs_loom))))]
mod map;
#[cfg(all(test, cache_fs_loom))]
#[path = "map_model.rs"]
mod map;
#[cfg(all(test, cache_fs_loom))]
mod orders;
mod pins;
#[cfg(test)]
mod power_cut;
mod proofs;
mod raw;
mod read;
mod rebuild;
mod reclaim;
mod record;
mod seal;
mod space;
mod sys;
mod table;
mod tally;
#[cfg(test)]
mod tape;
mod walk;
mod write;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::{Clock, SystemClock, stat};

use crate::options::Durability;
use control::{Constant, Control, LogState, State};
use files::SegmentFiles;
use index::{Index, Plan};
use proofs::Proofs;
use record::Class;
use space::Lease;
use table::Access;
use tally::Tally;

pub use control::Counters;
pub(crate) use handle::Handle;
pub(crate) use large::LargeFile;
pub(crate) use pins::Pins;
pub use raw::{SegmentOptions, Segments};
pub(crate) use read::{Depth, Payload, Record, Sight};
use reclaim::Evictor;
pub(crate) use reclaim::LEFTOVER;
pub(crate) use record::{Kind, Worth};
pub use walk::SegmentStats;
pub(crate) use walk::Visited;
pub(crate) use write::{Outcome, Put, Source};

/// Version of the layout. It is in the name of the root, so that two versions live side by side.
pub(crate) const VERSION: u32 = 1;
/// Name of the layout, in its marker.
pub(crate) const LAYOUT: &str = "segments";
/// Smallest limit of a store, in bytes: a few segments, so that making room is not giving up everything.
pub(crate) const MIN_LIMIT: u64 = 8 * MIN_SEGMENT;
/// Name of the root.
pub(crate) const ROOT: &str = "segments-v1";
/// Bytes of a segment, at most: one is what eviction takes at a time.
const MAX_SEGMENT: u64 = 64 << 20;
/// Bytes of a segment, at least: metadata of a quarter of it still fits.
const MIN_SEGMENT: u64 = 1 << 20;
/// A store has room for this many segments, so that what goes at a time is a small part of it.
const SEGMENTS: u64 = 32;
/// Payloads above this many bytes are files of their own: they can be cloned, mapped and sent without a copy.
const MAX_INLINE: u64 = 256 << 10;
/// Bytes on disk for which the index has a slot. Entries have about 11 KB on average and need two slots.
const BYTES_PER_SLOT: u64 = 4864;
/// Size that the index is made for if there is no limit.
const UNLIMITED: u64 = 20 << 30;
/// How long a put waits for another process that makes room.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a log is opened.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) max_bytes: Option<u64>,
    pub(crate) max_records: Option<u64>,
    /// Bytes of a segment; only if the store is made now.
    pub(crate) segment_bytes: Option<u64>,
    pub(crate) free_space_floor: u64,
    /// Whether the index may be shared memory, where the file system is one for it.
    pub(crate) map_index: bool,
    pub(crate) read_only: bool,
    pub(crate) durability: Durability,
    /// How long a large payload that proved to be right is not read again.
    pub(crate) proof: Duration,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_bytes: None,
            max_records: None,
            segment_bytes: None,
            free_space_floor: 0,
            map_index: true,
            read_only: false,
            durability: Durability::Relaxed,
            proof: Duration::ZERO,
            clock: Arc::new(SystemClock),
        }
    }
}

/// The log and its index: a map from keys to bytes, in a directory that any number of processes share.
#[derive(Debug)]
pub(crate) struct Log {
    root: PathBuf,
    settings: Settings,
    control: Control,
    index: Index,
    files: SegmentFiles,
    leases: [Mutex<Lease>; 2],
    evictor: Mutex<Evictor>,
    tally: Tally,
    proofs: Proofs,
    /// The oldest segments of the logs, as far as this process knows.
    oldest: [AtomicU64; 2],
    /// Whether the index may lack what an index that was deleted leads to.
    deleted_index: AtomicBool,
}

impl Log {
    /// Opens the log in `root`, whose subdirectories are there unless it is only read. Nothing if it is only read and
    /// there is none.
    pub(crate) fn open(root: &Path, settings: Settings) -> io::Result<Option<Self>> {
        let writable = !settings.read_only;
        let control = match Control::open(root, writable)? {
            Some(control) => control,
            None if !writable => return Ok(None),
            None => create_control(root, &settings)?,
        };
        let store = control.constant.store;
        // An index that was made for a much larger limit would leave no room for anything else.
        let limit = settings.max_bytes.unwrap_or(u64::MAX);
        let made = |index: Option<Index>| {
            index.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the index cannot be made"))
        };
        let index = match Index::open(root, store, writable)? {
            Some(index) if !writable => index,
            Some(index)
                if index.bytes() <= limit / 2 && (settings.map_index || index.access() == Access::Locked) =>
            {
                index
            }
            Some(_) => {
                rebuild::replace(root, store, plan(root, &settings))?;
                made(Index::open(root, store, writable)?)?
            }
            None if !writable => return Ok(None),
            None => {
                rebuild::begin(root, store, plan(root, &settings))?;
                made(Index::open(root, store, writable)?)?
            }
        };
        // Elsewhere a file may change and not look so.
        let is_proof = !settings.proof.is_zero() && stat::is_trustworthy(root);
        let oldest = control.peek().map_or([1, 1], |state| state.logs.map(|log| log.oldest));
        Ok(Some(Self {
            files: SegmentFiles::new(root.join("log"), writable),
            root: root.to_owned(),
            control,
            index,
            leases: Class::ALL.map(|_| Mutex::default()),
            evictor: Mutex::default(),
            tally: Tally::default(),
            proofs: Proofs::new(if is_proof { settings.proof } else { Duration::ZERO }),
            oldest: oldest.map(AtomicU64::new),
            deleted_index: AtomicBool::new(writable && rebuild::is_deleted(root)),
            settings,
        }))
    }

    /// Opens the log in `root`, and makes it if it is absent.
    pub(crate) fn open_or_create(root: &Path, settings: Settings) -> io::Result<Arc<Self>> {
        let log = match Self::open(root, settings.clone()) {
            // There is none, or somebody has removed a part of it.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                create_dirs(root)?;
                sys::open_or_create(&root.join("locks").join("lease"))?;
                sys::open_or_create(&root.join("locks").join("evict"))?;
                Self::open(root, settings)?
            }
            opened => opened?,
        };
        let log = Arc::new(log.ok_or(io::ErrorKind::NotFound)?);
        log.rebuild_in_background();
        Ok(log)
    }

    /// Returns what happened since the log was made.
    pub(crate) fn counters(&self) -> Counters {
        let _ = self.write_down();
        self.control.peek().unwrap_or_default().counters
    }

    /// Returns how many records this process has evicted since the last call and the bytes that it freed by that; nothing
    /// if none, for the price of a look at a number.
    pub(crate) fn take_evicted(&self) -> Option<(u64, u64)> {
        self.control.take_evicted()
    }

    /// Returns the bytes that the log and its index take on the disk at most.
    pub(crate) fn bytes(&self) -> u64 {
        let logs = self.control.peek().map_or(0, |state| state.bytes());
        self.index.bytes().saturating_add(logs)
    }

    /// Returns why a put failed, in words.
    pub(crate) fn put_error(&self, error: io::Error) -> cache_core::Error {
        use cache_core::Error;
        if !space::is_full(&error) {
            return Error::io("cannot write to the cache at", &self.root, error);
        }
        let place = self.root.display().to_string();
        let why = match self.settings.max_bytes {
            Some(max) if self.bytes().saturating_add(self.segment()) > max => {
                format!("it is limited to {max} bytes; give it more, or store less at a time")
            }
            _ => "the disk is full; free some space on it".to_owned(),
        };
        Error::Full { place, why }
    }

    /// Returns the largest payload that lies in the log.
    pub(crate) fn max_inline(&self) -> u64 {
        MAX_INLINE.min(self.segment() / 4)
    }

    /// Returns the most metadata that a record can have.
    pub(crate) fn max_meta(&self) -> u64 {
        self.segment() / 4
    }

    fn segment(&self) -> u64 {
        self.control.constant.segment
    }

    fn large_dir(&self, class: Class, number: u64) -> PathBuf {
        self.root.join("large").join(files::name(class, number))
    }

    fn now(&self) -> u64 {
        self.settings.clock.now().as_millis()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // What was counted is for people; that it cannot be written down hurts nobody.
        let _ = self.write_down();
    }
}

/// Refuses a limit that segments cannot keep.
pub(crate) fn check_limit(max_bytes: Option<u64>) -> cache_core::Result<()> {
    match max_bytes.filter(|max| *max < MIN_LIMIT) {
        Some(max) => Err(cache_core::Error::Invalid(format!(
            "{max} bytes are too little for a cache in segments; give it at least {MIN_LIMIT}, or use one file per entry"
        ))),
        None => Ok(()),
    }
}

/// Returns the error of a process that others always come before.
fn busy() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "too many processes are changing the same part of the cache")
}

fn create_dirs(root: &Path) -> io::Result<()> {
    ["log", "large", "tmp", "locks"]
        .iter()
        .try_for_each(|dir| cache_core::files::create_private_dir(&root.join(dir)))
}

/// Returns what the index of a store is made for.
fn plan(root: &Path, settings: &Settings) -> Plan {
    let slots = settings.max_bytes.unwrap_or(UNLIMITED) / BYTES_PER_SLOT;
    Plan { slots, access: if settings.map_index { Access::best_in(root) } else { Access::Locked } }
}

/// Makes the control file. Of two processes that do it at once, the first one counts.
fn create_control(root: &Path, settings: &Settings) -> io::Result<Control> {
    let lock = sys::open_or_create(&root.join("locks").join("evict"))?;
    let _held = sys::Flock::new(&lock)?;
    if let Some(control) = Control::open(root, true)? {
        return Ok(control);
    }
    let derived = settings.max_bytes.map_or(MAX_SEGMENT, |max| (max / SEGMENTS).next_power_of_two() / 2);
    let segment =
        settings.segment_bytes.unwrap_or(derived).clamp(MIN_SEGMENT, MAX_SEGMENT).next_power_of_two();
    let store = random();
    let logs = Class::ALL.map(|_| LogState::empty(1, segment));
    // Records know the number of their store, and a new one would make them strangers: they are cleared away.
    for dir in ["log", "large"] {
        clear(&root.join(dir))?;
    }
    Control::create(root, Constant { segment, store }, State { logs, ..State::default() })?;
    Control::open(root, true)?
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the control file cannot be made"))
}

fn clear(dir: &Path) -> io::Result<()> {
    for item in fs::read_dir(dir)? {
        let item = item?;
        if item.file_type()?.is_dir() {
            sys::remove_dir_all(&item.path())?;
        } else {
            // Processes that have it open find nothing in it from now on.
            let _ = sys::open(&item.path(), true).and_then(|file| sys::set_len(&file, 0));
            sys::remove_file(&item.path())?;
        }
    }
    Ok(())
}

/// Returns a number that no other store has. The system's entropy hashed into std's keyed hasher is random enough.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one((std::process::id(), std::time::SystemTime::now())).max(1)
}
