//! The log by itself: a map from 32-byte keys to bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cache_core::files::create_private_dir;
use cache_core::{Clock, Error, Result, SystemClock};

use super::read::{Depth, Payload};
use super::{Counters, Handle, Kind, Outcome, Put, Settings, Source, Worth};
use crate::marker;
use crate::options::Durability;
use crate::trust;

/// How [`Segments`] are opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SegmentOptions {
    /// Bytes on disk, the index included; no limit if nothing.
    pub max_bytes: Option<u64>,
    /// Bytes of a segment, between 1 MiB and 64 MiB, if the store is made now; derived from the limit if nothing.
    pub segment_bytes: Option<u64>,
    /// Whether the index may be shared memory, on file systems that are known to keep it right. False where the directory is
    /// also used in a way that is not, such as from another machine; each get costs a system call more then. All
    /// processes of a store should say the same, or the index is made anew time and again.
    pub map_index: bool,
    /// What is forced onto the disk before a put returns.
    pub durability: Durability,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        let clock = Arc::new(SystemClock);
        let durability = Durability::Relaxed;
        Self { max_bytes: None, segment_bytes: None, map_index: true, durability, clock }
    }
}

/// A map from 32-byte keys to bytes in a directory on a local disk, shared by any number of threads and processes.
///
/// It is the engine below [`FsStore`](crate::FsStore) with [`Layout::Segments`](crate::Layout::Segments), for programs that
/// need no entries. Anything may be evicted at any time; what is returned is what was put. All methods block for
/// microseconds, a put that has to make room for milliseconds.
///
/// Keys should be digests: their bits are used as a hash.
#[derive(Clone, Debug)]
pub struct Segments {
    log: Arc<Handle>,
    root: PathBuf,
}

impl Segments {
    /// Opens the store in `dir`, in constant time whatever its size. Creates it if it is absent.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if somebody else could have put wrong content there, [`Error::Io`] if the directory cannot be
    /// made or read.
    pub fn open(dir: &Path, options: SegmentOptions) -> Result<Self> {
        if dir.symlink_metadata().is_err() {
            create_private_dir(dir).map_err(|e| Error::io("cannot create the cache directory", dir, e))?;
        }
        trust::check(dir)?;
        super::check_limit(options.max_bytes)?;
        let settings = Settings {
            max_bytes: options.max_bytes,
            segment_bytes: options.segment_bytes,
            map_index: options.map_index,
            durability: options.durability,
            clock: options.clock,
            ..Settings::default()
        };
        let root = dir.join(super::ROOT);
        let there = marker::is_there(&root, super::LAYOUT, super::VERSION)?;
        let log = Handle::open_or_create(root.clone(), settings)
            .map_err(|e| Error::io("cannot open the cache at", dir, e))?;
        if !there {
            marker::tag(dir);
            marker::write(&root, super::LAYOUT, super::VERSION)?;
        }
        Ok(Self { log: Arc::new(log), root })
    }

    /// Returns what is under `key`, verified, as a part of `buffer`, which only ever grows. It counts as a use.
    ///
    /// # Errors
    /// If the disk cannot be read. What is damaged is absent.
    pub fn get_into<'a>(&self, key: &[u8; 32], buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
        let fail = |e| Error::io("cannot read the cache at", &self.root, e);
        let sight = self.log.log().look_up(Kind::Raw, key, Depth::Bytes, true, buffer).map_err(fail)?;
        Ok(match sight.into_record().map(|record| record.payload) {
            Some(Payload::Bytes(range)) => buffer.get(range),
            _ => None,
        })
    }

    /// Stores `value` under `key`, in the place of what is there.
    ///
    /// # Errors
    /// [`Error::Full`] if no room can be made, [`Error::Io`] if the disk cannot be written. Nothing has changed then.
    pub fn put(&self, key: &[u8; 32], value: &[u8]) -> Result<()> {
        let put = Put {
            kind: Kind::Raw,
            key,
            meta: &[],
            payload: Source::Bytes(value),
            worth: Worth::Normal,
            expires: 0,
            if_absent: false,
        };
        match self.log.run(|log| log.put_bytes(&put)) {
            Ok(Outcome::Stored { .. } | Outcome::Present) => Ok(()),
            Err(e) => Err(self.log.log().put_error(e)),
        }
    }

    /// Returns whether something is under `key`, and counts that as a use. It is verified when it is read.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn contains(&self, key: &[u8; 32]) -> Result<bool> {
        let fail = |e| Error::io("cannot read the cache at", &self.root, e);
        self.log.log().contains(Kind::Raw, key, true).map_err(fail)
    }

    /// Counts a use of what is under `key`, and returns whether something is: [`contains`](Self::contains), by the name that
    /// says what it is called for.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn touch(&self, key: &[u8; 32]) -> Result<bool> {
        self.contains(key)
    }

    /// Removes what is under `key`, and returns whether there was something.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn remove(&self, key: &[u8; 32]) -> Result<bool> {
        let fail = |e| Error::io("cannot change the cache at", &self.root, e);
        self.log.run(|log| log.remove(Kind::Raw, key)).map_err(fail)
    }

    /// Returns what happened since the store was made.
    pub fn counters(&self) -> Counters {
        self.log.log().counters()
    }

    /// Returns the bytes that the store takes on the disk at most.
    pub fn bytes(&self) -> u64 {
        self.log.log().bytes()
    }
}
