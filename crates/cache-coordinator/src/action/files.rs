//! The files of a checkout: what is in them, by as few reads as possible.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use cache_core::files::{self, ContentError, Links};
use cache_core::stat::{KnownDigests, is_trustworthy};
use cache_core::{Clock, Digest, FileDependency, RelPath, StatFingerprint, SystemClock, TreePath};
use rayon::prelude::*;

use super::{RecordError, outputs};

/// How many contents are remembered: 100 MB at most. Beyond that, all are forgotten and those in use learned again.
const MAX_KNOWN: usize = 1 << 20;

/// What is known about the files of one checkout. Shared by the caches of a build tool.
///
/// A content is read once and then remembered by device, inode, size, mode, modification and change time: as long as the
/// process lives, and for the next one if that is [wanted](Self::remember_in). It keeps git's racy-clean rule: nothing is
/// remembered of a file that was touched less than two seconds before it was read, that changed meanwhile, or that is on a
/// file system whose time stamps cannot be believed.
#[derive(Debug)]
pub struct FileStates {
    base: PathBuf,
    clock: Arc<dyn Clock>,
    known: RwLock<HashMap<StatFingerprint, Digest>>,
    /// What an earlier process learned.
    earlier: KnownDigests,
    /// Where it is kept for the next one.
    memory: Option<PathBuf>,
    /// Whether something was learned since it was saved.
    unsaved: AtomicBool,
    devices: RwLock<HashMap<u64, bool>>,
    looked_at: AtomicU64,
    read: AtomicU64,
}

/// Why it cannot be told what a file contains.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It has no content that could be digested.
    #[error("{} is a FIFO, socket or device, which has no content; leave it out", path.display())]
    Special {
        /// Where it is.
        path: PathBuf,
    },
    /// It did not stay the same while it was read.
    #[error("{} keeps changing while it is read; try again when it is complete", path.display())]
    KeepsChanging {
        /// Where it is.
        path: PathBuf,
    },
    /// It, or a name on the way to it, was touched while it may have been in use.
    #[error(
        "nobody knows what was read as {}: {} was touched since, or less than two seconds before; do it again",
        path.display(), touched.display()
    )]
    Touched {
        /// Which file may have been another one.
        path: PathBuf,
        /// The file itself, or a directory or link on the way to it.
        touched: PathBuf,
    },
    /// It cannot be told when it was touched.
    #[error(
        "{} has no time stamps that can be believed; take a snapshot of what lies there before it is used",
        path.display()
    )]
    NoTimes {
        /// Where it is.
        path: PathBuf,
    },
    /// Time stamps are from another time than the mark that they are compared with.
    #[error("the clock was set back meanwhile, so time stamps do not tell what was touched; do it again")]
    ClockSetBack,
    /// The system refused.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// What is known cannot be kept for the next process, which has to read all files again.
    #[error("cannot write {}: {source}; make its directory writable or name another file", path.display())]
    Unsaved {
        /// Where it was to be kept.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Its name means nothing on this system.
    #[error(transparent)]
    Path(#[from] cache_core::PathError),
}

impl FileStates {
    /// Returns what is known about the checkout at `base`: nothing yet.
    ///
    /// # Errors
    /// If `base` is no directory that can be found.
    pub fn new(base: &Path) -> Result<Self, FileError> {
        Self::with_clock(base, Arc::new(SystemClock))
    }

    /// As [`new`](Self::new), with a clock of the caller's.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_clock(base: &Path, clock: Arc<dyn Clock>) -> Result<Self, FileError> {
        let base = base.canonicalize().map_err(|error| FileError::io(base, error))?;
        if !base.is_dir() {
            return Err(FileError::io(&base, io::ErrorKind::NotADirectory.into()));
        }
        Ok(Self {
            base,
            clock,
            known: RwLock::default(),
            earlier: KnownDigests::default(),
            memory: None,
            unsaved: AtomicBool::new(false),
            devices: RwLock::default(),
            looked_at: AtomicU64::new(0),
            read: AtomicU64::new(0),
        })
    }

    /// Takes over what an earlier process [saved](Self::save) in `file`, and saves there as well. One file for each base
    /// directory is best. It has to be where only this user may write, as what it says is believed: in the cache directory,
    /// or in the user's own state directory. A file that is not there, damaged, of another version, of another user, or that
    /// everybody may write to, says nothing.
    ///
    /// Why what it says is right also in another process is told in [`KnownDigests`].
    #[must_use]
    pub fn remember_in(mut self, file: impl Into<PathBuf>) -> Self {
        let file = file.into();
        self.earlier = earlier(&file);
        self.memory = Some(file);
        self
    }

    /// Keeps what is known about files for the next process, if a [file](Self::remember_in) was named and there is anything
    /// new. What another process saved meanwhile stays. The file holds what this process used, at most a million contents,
    /// and 200,000 others that were used before: 52 bytes each.
    ///
    /// # Errors
    /// If the file cannot be written. Nothing is lost by that but time.
    pub fn save(&self) -> Result<(), FileError> {
        let Some(path) = &self.memory else { return Ok(()) };
        if !self.unsaved.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let merged = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            let learned = known.iter().map(|(stat, digest)| (*stat, *digest));
            self.earlier.merged(&earlier(path), learned)
        };
        files::replace(path, merged.as_bytes()).map_err(|source| {
            self.unsaved.store(true, Ordering::Relaxed);
            FileError::Unsaved { path: path.clone(), source: Arc::new(source) }
        })
    }

    /// Returns the base directory, without symbolic links.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Returns the clock that time stamps are compared with.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Returns how often the file system was asked for the state of a path.
    pub fn looked_at(&self) -> u64 {
        self.looked_at.load(Ordering::Relaxed)
    }

    /// Returns how many files were read.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Returns the state of each of `paths` now, links followed, sorted by path and each once.
    ///
    /// Take it **before** an action runs, and hand it to `record` afterwards: what was edited in between is noticed there.
    ///
    /// # Errors
    /// If a file cannot be read or keeps changing, or a path names a FIFO, socket or device.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing; reading goes on in the background to the end of the files.
    pub async fn snapshot(self: &Arc<Self>, paths: &[TreePath]) -> Result<Vec<FileDependency>, FileError> {
        let (files, mut paths) = (Arc::clone(self), paths.to_vec());
        paths.sort_unstable();
        paths.dedup();
        let work = move || {
            let states: Result<Vec<_>, FileError> = paths
                .into_par_iter()
                .map(|path| {
                    let seen = files.observe(&path)?;
                    Ok(FileDependency { path, state: seen.behind, stat: seen.stat })
                })
                .collect();
            states
        };
        let interrupted = || FileError::io(&self.base, io::ErrorKind::Interrupted.into());
        super::offload(work).await.unwrap_or_else(|| Err(interrupted()))
    }

    /// Returns the digest of what is at `outputs` now, as [`Recording::outputs`](super::Recording::outputs) has it: what
    /// targets depend on that are made from a target that could not be recorded.
    ///
    /// # Errors
    /// If an output is not there or cannot be read.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing; reading goes on in the background to the end of the files.
    pub async fn digest(self: &Arc<Self>, outputs: &[RelPath]) -> Result<Digest, RecordError> {
        let (files, paths) = (Arc::clone(self), outputs.to_vec());
        let captured = super::offload(move || outputs::capture(&files, &paths)).await;
        Ok(outputs::digest(&captured.unwrap_or(Err(RecordError::Interrupted))?))
    }

    pub(super) fn count_looks(&self, looks: u64) {
        self.looked_at.fetch_add(looks, Ordering::Relaxed);
    }

    pub(super) fn read_file(&self, path: &Path) -> Result<files::Content, FileError> {
        self.read.fetch_add(1, Ordering::Relaxed);
        files::content(path, Links::Follow).map_err(|error| match error {
            ContentError::Special => FileError::Special { path: path.to_owned() },
            ContentError::KeepsChanging => FileError::KeepsChanging { path: path.to_owned() },
            ContentError::Io(error) => FileError::io(path, error),
            other => FileError::io(path, io::Error::other(other)),
        })
    }

    pub(super) fn known(&self, stat: StatFingerprint) -> Option<Digest> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&stat).copied();
        known.or_else(|| self.earlier.get(stat))
    }

    pub(super) fn learn(&self, stat: StatFingerprint, digest: Digest) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(stat, digest);
        self.unsaved.store(true, Ordering::Relaxed);
    }

    /// Returns whether time stamps of files on the device `dev` are to be believed. The file system is asked once.
    pub(super) fn trusts(&self, dev: u64, path: &Path) -> bool {
        let asked = self.devices.read().unwrap_or_else(PoisonError::into_inner).get(&dev).copied();
        asked.unwrap_or_else(|| {
            let trusted = is_trustworthy(path);
            self.devices.write().unwrap_or_else(PoisonError::into_inner).insert(dev, trusted);
            trusted
        })
    }
}

impl FileError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source: Arc::new(source) }
    }
}

/// Returns what the file at `path` remembers; nothing if it is not there or cannot be trusted.
fn earlier(path: &Path) -> KnownDigests {
    // A link could lead to a file that somebody else may replace.
    let is_own = path.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
    let file = is_own.then(|| files::open(path, Links::Refuse).ok()).flatten();
    file.and_then(|file| KnownDigests::read(&file)).unwrap_or_default()
}

/// Returns whether there is nothing at a path.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Returns the bytes of a link's target, `/` between components on every system.
pub(crate) fn link_bytes(target: &Path) -> Vec<u8> {
    let bytes = target.as_os_str().as_encoded_bytes();
    if cfg!(windows) {
        return bytes.iter().map(|&byte| if byte == b'\\' { b'/' } else { byte }).collect();
    }
    bytes.to_vec()
}
