//! Single flight: of all processes that want one result at a time, one makes it and the others wait.
//!
//! There is no daemon. A flight is an exclusive lock of the kernel on one file, so it ends when its owner ends, however
//! that happens. The owner unlinks the file before it unlocks it, so that lock files do not pile up; whoever then gets
//! the lock of a file that is no longer the one at its path starts again with the new one.
//!
//! Where files cannot be compared by device and inode (Windows), the empty file stays and is used again.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::regular;

/// The environment variable that lists the flights held by the processes above, separated by colons.
///
/// A command that runs itself under its own key would otherwise wait for itself.
pub const ACTIVE_ENV: &str = "VITTE_CACHE_ACTIVE";

/// The longest name of a flight, in bytes: names are hexadecimal keys, and file names end at 255 bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// How often a lock file may vanish between opening and locking it before a caller goes without. Each time somebody
/// else had finished a whole flight in between, so this many in a row means that the file system is at fault.
const MAX_STALE: u32 = 1000;

/// What came of asking for a flight.
#[derive(Debug)]
#[must_use]
pub enum Flight {
    /// Nobody else was at it: do the work, then drop the guard.
    Owner(Guard),
    /// Somebody else was at it and has ended: look for the result again first.
    Joined(Guard),
    /// Somebody else is still at it after the whole waiting time: go without.
    TimedOut,
    /// Flights do not work here, as in a read-only directory: go without.
    Unavailable(FlightError),
}

/// Why flights do not work in a directory.
#[derive(Debug, thiserror::Error)]
#[error("cannot lock {}: {source}; runs of the same command at the same time do not wait for each other", path.display())]
pub struct FlightError {
    /// The lock file or its directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Asks for the flights of one directory.
#[derive(Debug, Clone)]
pub struct FlightLock {
    path: PathBuf,
}

/// Holds a flight until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Guard {
    file: File,
    path: PathBuf,
}

impl FlightLock {
    /// Waits at most `wait` for the flight `name` (letters, digits, `-` and `_`) in the directory `dir`.
    ///
    /// `on_wait` is called once, before the first wait. Locks of the kernel have no time-out, so a thread waits in this
    /// one's place; after a time-out it stays until the lock is free or the process ends, and gives the lock back at
    /// once.
    pub fn acquire(dir: &Path, name: &str, wait: Duration, on_wait: impl FnMut()) -> Flight {
        let lock = Self { path: dir.join(format!("{name}.lock")) };
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(valid) {
            let source =
                io::Error::new(io::ErrorKind::InvalidInput, "the name of a flight is a hexadecimal key");
            return Flight::Unavailable(FlightError { path: lock.path, source });
        }
        lock.wait(Instant::now().checked_add(wait), on_wait)
            .unwrap_or_else(|source| Flight::Unavailable(FlightError { path: lock.path, source }))
    }

    /// Waits until `deadline`, for ever without one.
    fn wait(&self, deadline: Option<Instant>, mut on_wait: impl FnMut()) -> io::Result<Flight> {
        let mut waited = false;
        for _ in 0..MAX_STALE {
            let file = self.open()?;
            let guard = match file.try_lock() {
                Ok(()) => Guard { file, path: self.path.clone() },
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) => {
                    if !waited {
                        waited = true;
                        on_wait();
                    }
                    match lock_until(Guard { file, path: self.path.clone() }, deadline)? {
                        Some(guard) => guard,
                        None => return Ok(Flight::TimedOut),
                    }
                }
            };
            if guard.is_current()? {
                return Ok(if waited { Flight::Joined(guard) } else { Flight::Owner(guard) });
            }
        }
        Err(io::Error::other("the lock file vanishes whenever it is locked"))
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        match regular::open(&self.path, &mut options) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let Some(dir) = self.path.parent() else { return Err(error) };
                cache_core::files::create_private_dir(dir)?;
                regular::open(&self.path, &mut options)
            }
            other => other,
        }
    }
}

/// Locks the file of a guard that does not hold its lock yet; `None` when the deadline has passed.
fn lock_until(unlocked: Guard, deadline: Option<Instant>) -> io::Result<Option<Guard>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    // If the receiver is gone, the guard comes back from `send` and is dropped here: unlinked and unlocked in order.
    std::thread::Builder::new().name("flight".to_owned()).spawn(move || {
        let locked = unlocked.file.lock();
        let _ = sender.send(locked.map(|()| unlocked));
    })?;
    let outcome = match deadline {
        Some(deadline) => receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())),
        None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
    };
    match outcome {
        Ok(locked) => locked.map(Some),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => {
            Err(io::Error::other("the thread that waits for the lock has ended"))
        }
    }
}

impl Guard {
    /// Returns whether the locked file is still the one at its path.
    #[cfg(unix)]
    fn is_current(&self) -> io::Result<bool> {
        use std::os::unix::fs::MetadataExt;
        let held = self.file.metadata()?;
        match std::fs::symlink_metadata(&self.path) {
            Ok(there) => Ok((held.dev(), held.ino()) == (there.dev(), there.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    #[cfg(not(unix))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "the file is never unlinked here")]
    fn is_current(&self) -> io::Result<bool> {
        Ok(true)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The check keeps a flight that began after the directory was emptied by hand. What fails here leaves an empty
        // file that the next flight of this name uses and unlinks.
        if cfg!(unix) && self.is_current().unwrap_or(false) {
            let _ = std::fs::remove_file(&self.path);
        }
        let _ = self.file.unlock();
    }
}

/// Returns whether a process above holds the flight `name`, by the value of [`ACTIVE_ENV`].
pub fn is_held_by_ancestor(active: Option<&OsStr>, name: &str) -> bool {
    let Some(active) = active else { return false };
    active.as_encoded_bytes().split(|&byte| byte == b':').any(|held| held == name.as_bytes())
}

/// Returns the value of [`ACTIVE_ENV`] for a command that runs while `name` is held.
pub fn extend_active(active: Option<&OsStr>, name: &str) -> OsString {
    let mut value = active.map(OsStr::to_owned).unwrap_or_default();
    if !value.is_empty() {
        value.push(":");
    }
    value.push(name);
    value
}
