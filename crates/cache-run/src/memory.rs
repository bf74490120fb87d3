//! File digests are remembered, so that an unchanged file costs a `stat` and not a read.
//!
//! One file holds the memory of one base directory, in the format of [`KnownDigests`]. A file that is damaged, foreign, or
//! of another version is an empty memory. What is in it is only ever a shortcut.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cache_core::files::{self, Links};
use cache_core::stat::KnownDigests;
use cache_core::{Clock, Digest, HashFunction, StatFingerprint, SystemClock, Timestamp};

use crate::inputs::{InputError, Stat, is_trustworthy, read_file};
use crate::regular;

/// What is remembered about the files below one base directory: stat fingerprint → BLAKE3 digest of the content.
///
/// It keeps the racy-clean rule: a digest is remembered only if the file's time stamps were older than the moment when
/// reading began by two seconds, if the stat was the same before and after, and if the file system is
/// [trustworthy](is_trustworthy).
///
/// One thing is beyond it, as it is beyond git, make and ninja: a program that goes on writing through a shared memory
/// map without the kernel stamping the file again.
#[derive(Debug)]
pub struct Memory {
    path: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    /// The file as it was loaded.
    loaded: KnownDigests,
    learned: Vec<(StatFingerprint, Digest)>,
    /// Devices that were asked about, and whether they are trustworthy.
    devices: Vec<(u64, bool)>,
}

impl Memory {
    /// Returns what the file at `path` remembers; nothing if it is not there or cannot be trusted.
    pub fn load(path: &Path) -> Self {
        Self::load_with(path, Arc::new(SystemClock))
    }

    /// As [`load`](Self::load), with a clock of the caller's.
    pub fn load_with(path: &Path, clock: Arc<dyn Clock>) -> Self {
        Self { path: Some(path.to_path_buf()), loaded: read(path), ..Self::none(clock) }
    }

    /// Returns a memory that is empty and is never saved.
    pub fn none(clock: Arc<dyn Clock>) -> Self {
        Self { path: None, clock, loaded: KnownDigests::default(), learned: Vec::new(), devices: Vec::new() }
    }

    /// Returns the time by the memory's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the digest of the content that a file with this fingerprint has.
    pub fn get(&self, stat: StatFingerprint) -> Option<Digest> {
        self.loaded.get(stat)
    }

    /// Remembers the digest of a file whose content had `stat` before and after it was read. The caller has made sure
    /// that the file was settled; other functions than BLAKE3 are not remembered.
    pub(crate) fn insert(&mut self, stat: StatFingerprint, digest: Digest) {
        if digest.function() == HashFunction::Blake3 {
            self.learned.push((stat, digest));
        }
    }

    /// Returns whether time stamps of a file on the device `dev` are to be believed. Asks for its path only once for
    /// each device.
    pub(crate) fn trusts<E>(
        &mut self,
        dev: u64,
        path: impl FnOnce() -> Result<PathBuf, E>,
    ) -> Result<bool, E> {
        if let Some(&(_, trusted)) = self.devices.iter().find(|(known, _)| *known == dev) {
            return Ok(trusted);
        }
        let trusted = is_trustworthy(&path()?);
        self.devices.push((dev, trusted));
        Ok(trusted)
    }

    /// Returns the digest of the file at `path`, or of the file behind the links there, and its stat. Reads the file
    /// only if it is not remembered.
    ///
    /// # Errors
    /// If there is no readable file, or it keeps changing.
    pub fn digest_file(&mut self, path: &Path) -> Result<Digest, InputError> {
        let metadata = std::fs::metadata(path).map_err(|error| InputError::io(path, error))?;
        let stat = Stat::new(&metadata);
        let now = self.now();
        let trusted = self.trusts(stat.dev, || Ok::<_, InputError>(path.to_path_buf()))?;
        if trusted && let Some(digest) = self.get(stat.fingerprint) {
            return Ok(digest);
        }
        let files::Content { digest, stat, len } = read_file(path, Links::Follow)?;
        if trusted && stat.settled(now) && len == stat.len {
            self.insert(stat.fingerprint, digest);
        }
        Ok(digest)
    }

    /// Writes what was learned, merged with what the file says now, if anything was learned: all that this run used
    /// and up to [`KnownDigests::MAX_OTHERS`] others, the most recently used first.
    ///
    /// # Errors
    /// If the file cannot be written. Nothing is lost by that but time, so a caller may ignore it.
    pub fn save(&mut self) -> io::Result<()> {
        let Some(path) = self.path.clone() else { return Ok(()) };
        if self.learned.is_empty() {
            return Ok(());
        }
        let merged = self.loaded.merged(&read(&path), self.learned.iter().copied());
        files::replace(&path, merged.as_bytes())?;
        self.loaded = merged;
        self.learned.clear();
        Ok(())
    }
}

/// Returns what the file at `path` says; nothing if it is not there or cannot be trusted.
fn read(path: &Path) -> KnownDigests {
    regular::read(path).ok().and_then(|file| KnownDigests::read(&file)).unwrap_or_default()
}
