//! One stored file: how it is opened without harm, what it costs, when it was used, how dear it is.

use std::fs::{File, FileTimes, Metadata, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cache_core::{Priority, Timestamp};

/// Space is given out in blocks of this many bytes on nearly every file system.
const BLOCK: u64 = 4096;
/// What a file costs besides its blocks: its name in the directory, with the slack that directories have.
const NAME_COST: u64 = 160;
/// A hit writes the time of its use only if the one on record is older. It saves most writes, and makes recency as
/// coarse as this.
pub(super) const TOUCH_INTERVAL: Duration = Duration::from_secs(30);
/// A priority counts as having been used this much earlier or later.
const PRIORITY_OFFSET: Duration = Duration::from_hours(7 * 24);
/// A time this far ahead was not set by a clock that agrees with ours.
pub(super) const CLOCK_SKEW: Duration = Duration::from_mins(1);
/// The priority is kept in the microseconds of the modification time, whose milliseconds are the time of the last
/// use: rank times this many nanoseconds. Where a file system drops them, the priority reads as undecided.
const RANK_NANOS: u32 = 111_000;

/// What is found where a stored file should be.
#[derive(Debug)]
pub(super) enum Found {
    Absent,
    /// Something that is no regular file. It is neither followed nor read.
    Foreign,
    File(File, Metadata),
}

/// Opens the regular file at `path` for reading. Never follows a symbolic link and never waits for a pipe.
pub(super) fn open(path: &Path) -> io::Result<Found> {
    match open_options().open(path) {
        Ok(file) => {
            let meta = file.metadata()?;
            Ok(if meta.is_file() { Found::File(file, meta) } else { Found::Foreign })
        }
        Err(error) if is_absent(&error) => Ok(Found::Absent),
        // Links report ELOOP (EMLINK on FreeBSD), sockets ENXIO, directories an access violation on Windows.
        Err(error) => match path.symlink_metadata() {
            Ok(meta) if !meta.is_file() => Ok(Found::Foreign),
            Err(error) if is_absent(&error) => Ok(Found::Absent),
            _ => Err(error),
        },
    }
}

#[cfg(unix)]
fn open_options() -> OpenOptions {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    options
}

#[cfg(windows)]
fn open_options() -> OpenOptions {
    use std::os::windows::fs::OpenOptionsExt;
    // GENERIC_READ and FILE_WRITE_ATTRIBUTES: recency is kept through the handle that is read.
    const ACCESS: u32 = 0x8000_0000 | 0x0100;
    // FILE_FLAG_OPEN_REPARSE_POINT: links are not followed.
    const FLAGS: u32 = 0x0020_0000;
    let mut options = OpenOptions::new();
    options.read(true).access_mode(ACCESS).custom_flags(FLAGS);
    options
}

#[cfg(not(any(unix, windows)))]
fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    options
}

/// Returns whether the error says that there is nothing at that path.
pub(super) fn is_absent(error: &io::Error) -> bool {
    // A server that removed the file while we had it open reports it as stale.
    use io::ErrorKind::{NotADirectory, NotFound, StaleNetworkFileHandle};
    matches!(error.kind(), NotFound | NotADirectory | StaleNetworkFileHandle)
}

/// Returns whether the error says that the disk or a quota is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Returns what a file of `len` bytes takes from the limit.
pub(super) const fn cost(len: u64) -> u64 {
    match len.checked_next_multiple_of(BLOCK) {
        Some(blocks) => blocks.saturating_add(NAME_COST),
        None => u64::MAX,
    }
}

/// How dear a file is. A blob gets its rank from the dearest entry that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Undecided,
    Low,
    Normal,
    High,
}

impl From<Priority> for Rank {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Low => Self::Low,
            Priority::Normal => Self::Normal,
            Priority::High => Self::High,
        }
    }
}

/// When a file was last used, and how dear it is: the meaning of its modification time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recency {
    pub(super) used: Timestamp,
    pub(super) rank: Rank,
}

impl Recency {
    /// Reads the recency of a file. One without a time was used never.
    pub(super) fn of(meta: &Metadata) -> Self {
        let time = meta.modified().unwrap_or(UNIX_EPOCH);
        let nanos = time.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos() % 1_000_000;
        let rank = match nanos / 1000 * 1000 / RANK_NANOS {
            1 => Rank::Low,
            2 => Rank::Normal,
            3 => Rank::High,
            _ => Rank::Undecided,
        };
        // Times that other programs set have any microseconds: only the exact ones are ours.
        let exact = nanos / 1000 * 1000 == rank as u32 * RANK_NANOS;
        Self { used: time.into(), rank: if exact { rank } else { Rank::Undecided } }
    }

    fn time(self) -> SystemTime {
        let nanos = self.rank as u32 * RANK_NANOS;
        let time = SystemTime::from(self.used);
        time.checked_add(Duration::from_nanos(nanos.into())).unwrap_or(time)
    }

    /// Writes the recency into an open file.
    pub(super) fn write(self, file: &File) -> io::Result<()> {
        file.set_times(FileTimes::new().set_modified(self.time()))
    }

    /// Returns where the file stands in the order in which files go.
    pub(super) fn order(self) -> Timestamp {
        match self.rank {
            Rank::Low => self.used.minus(PRIORITY_OFFSET),
            Rank::Undecided | Rank::Normal => self.used,
            Rank::High => self.used.plus(PRIORITY_OFFSET),
        }
    }

    /// Returns whether a use at `now` has to be written down. A time in the future is corrected: a clock that was
    /// wrong may not keep a file for ever.
    pub(super) fn is_stale(self, now: Timestamp) -> bool {
        now.since(self.used) > TOUCH_INTERVAL || self.is_future(now)
    }

    /// Returns whether the file claims to have been used after `now`.
    pub(super) fn is_future(self, now: Timestamp) -> bool {
        self.used.since(now) > CLOCK_SKEW
    }
}

/// Returns whether a file was written, or used as far as that is recorded, within `protect` of real time. A file
/// whose time lies in the future is not protected, or a clock that went back would fill the store for good.
pub(super) fn is_protected(meta: &Metadata, protect: Duration) -> bool {
    if protect.is_zero() {
        return false;
    }
    let Some(changed) = changed(meta) else { return false };
    match SystemTime::now().duration_since(changed) {
        // Recency is only that exact: what was read up to `protect` ago may have been touched a bit earlier.
        Ok(age) => age < protect.saturating_add(TOUCH_INTERVAL),
        Err(ahead) => ahead.duration() <= CLOCK_SKEW,
    }
}

/// Returns when anything about the file changed last, a time that nobody can set.
#[cfg(unix)]
fn changed(meta: &Metadata) -> Option<SystemTime> {
    use std::os::unix::fs::MetadataExt;
    let seconds = u64::try_from(meta.ctime()).ok()?;
    UNIX_EPOCH.checked_add(Duration::new(seconds, u32::try_from(meta.ctime_nsec()).unwrap_or(0)))
}

#[cfg(not(unix))]
fn changed(meta: &Metadata) -> Option<SystemTime> {
    meta.modified().ok()
}

/// Returns whether both describe the same file, as far as the system tells.
#[cfg(unix)]
pub(super) fn same_file(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
pub(super) fn same_file(a: &Metadata, b: &Metadata) -> bool {
    (a.len(), a.created().ok()) == (b.len(), b.created().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recency_survives_the_file_system() {
        let file = tempfile::tempfile().unwrap();
        for rank in [Rank::Undecided, Rank::Low, Rank::Normal, Rank::High] {
            let recency = Recency { used: Timestamp::from_millis(1_700_000_000_123), rank };
            recency.write(&file).unwrap();
            assert_eq!(Recency::of(&file.metadata().unwrap()), recency);
        }
        // Somebody else's time is no priority.
        file.set_modified(UNIX_EPOCH + Duration::from_micros(1_333_999)).unwrap();
        assert_eq!(Recency::of(&file.metadata().unwrap()).rank, Rank::Undecided);
    }

    #[test]
    fn costs_are_whole_blocks() {
        assert_eq!(cost(0), NAME_COST);
        assert_eq!(cost(1), BLOCK + NAME_COST);
        assert_eq!(cost(BLOCK), BLOCK + NAME_COST);
        assert_eq!(cost(u64::MAX), u64::MAX);
    }

    #[test]
    fn what_just_changed_is_protected() {
        let file = tempfile::tempfile().unwrap();
        // The modification time says "long ago", and yet it was written a moment ago.
        file.set_modified(UNIX_EPOCH).unwrap();
        let meta = file.metadata().unwrap();
        assert_eq!(is_protected(&meta, Duration::from_mins(1)), cfg!(unix));
        assert!(!is_protected(&meta, Duration::ZERO));
    }
}
