//! The file `usage`: how much each shard holds, so that a put knows the total without listing anything.
//!
//! A writer adds what it is about to write before it writes, and subtracts what it replaced afterwards; a process
//! that dies in between leaves a total that is too high, never too low. A visit of the shard counts it anew. The lock
//! is only ever tried for a moment: a process that was stopped while it held it must not stop the others. Who goes on
//! without the lock sets the doubt of a shard, a byte of its own that nobody else writes at the same time, and the next
//! visit counts it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cache_core::{Timestamp, crc32c};

use super::address::SHARDS;
use super::blobs::fill;

const MAGIC: [u8; 8] = *b"VTCUSAGE";
const VERSION: u32 = 1;
const HEADER: usize = 64;
const RECORD: usize = 32;
const DOUBTS: usize = HEADER + SHARDS * RECORD;
const SIZE: usize = DOUBTS + SHARDS;
/// What the store needs besides shards, in bytes: the ledger, the table of what was evicted, the marker, the tag and
/// eight directories of one block each.
pub(super) const FIXED: u64 = 160 << 10;
/// How long the lock is tried for. Whoever holds it needs microseconds, on a busy disk milliseconds.
const LOCK_PATIENCE: Duration = Duration::from_millis(50);
/// Pause between two tries; it doubles each time.
const LOCK_PAUSE: Duration = Duration::from_micros(50);
/// Longest pause between two tries.
const MAX_LOCK_PAUSE: Duration = Duration::from_micros(800);

/// The ledger of a store.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    read_only: bool,
    // Threads of one process share an open file, and with it its lock; this keeps them apart.
    open: Mutex<Option<Opened>>,
}

/// The open files of a ledger.
#[derive(Debug)]
struct Opened {
    data: File,
    /// A file of its own: where locks are mandatory, nobody could read the data while somebody else has the lock.
    lock: Option<File>,
}

impl Ledger {
    pub(super) fn new(path: PathBuf, read_only: bool) -> Self {
        Self { path, read_only, open: Mutex::new(None) }
    }

    /// Returns what the ledger says now, which may change at once.
    pub(super) fn read(&self) -> Books {
        let mut slot = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.open(&mut slot).map(|opened| Books::read(&opened.data).0).unwrap_or_default()
    }

    /// Lets `change` look at the ledger and change it while nobody else does.
    ///
    /// If that cannot be had in a moment, `change` is called all the same, and what it changes is marked as unknown.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Books) -> T) -> T {
        let mut slot = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(opened) = self.open(&mut slot) else { return change(&mut Books::default()) };
        let file = &opened.data;
        let lock = opened.lock.as_ref().and_then(|lock| Lock::within(lock, LOCK_PATIENCE));
        let (mut books, whole) = Books::read(file);
        let before = books.clone();
        let out = change(&mut books);
        // A ledger that cannot be written is out of date until the next visit of each shard; nothing depends on more.
        let _ = match lock {
            Some(_) => books.write(&before, whole, file),
            None => books.doubt(&before, file),
        };
        drop(lock);
        out
    }

    /// Lets go of the doubts about shards that are about to be counted, and returns the ledger. Whoever doubts them from
    /// now on has done something that the count may have missed.
    pub(super) fn before_count(&self) -> Books {
        let books = self.read();
        if books.doubts.contains(&true) {
            self.update(|books| {
                for (record, doubt) in books.shards.iter_mut().zip(&mut books.doubts) {
                    // A change, so that it is written: it stays unknown until it is counted.
                    record.seq = record.seq.wrapping_add(u32::from(*doubt));
                    *doubt = false;
                }
            });
            return self.read();
        }
        books
    }

    /// Opens the files, or opens them again if somebody removed them.
    fn open<'a>(&self, slot: &'a mut Option<Opened>) -> Option<&'a Opened> {
        let gone =
            |opened: &Opened| is_unlinked(&opened.data) || opened.lock.as_ref().is_some_and(is_unlinked);
        if slot.as_ref().is_some_and(gone) {
            *slot = None;
        }
        if slot.is_none() {
            let data = self.open_to_write(&self.path).or_else(|| File::open(&self.path).ok());
            let data = data.filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()))?;
            *slot = Some(Opened { data, lock: self.open_to_write(&self.path.with_extension("lock")) });
        }
        slot.as_ref()
    }

    fn open_to_write(&self, path: &Path) -> Option<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        if self.read_only { None } else { options.open(path).ok() }
    }
}

#[cfg(unix)]
fn is_unlinked(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|meta| meta.nlink() == 0)
}

/// Where an open file cannot be removed, there is nothing to notice.
#[cfg(not(unix))]
fn is_unlinked(_: &File) -> bool {
    false
}

/// A lock on a file, until it is dropped.
struct Lock<'a>(&'a File);

impl<'a> Lock<'a> {
    /// Takes the lock if it can be had within `patience`.
    fn within(file: &'a File, patience: Duration) -> Option<Self> {
        let start = Instant::now();
        let mut pause = LOCK_PAUSE;
        loop {
            match file.try_lock() {
                Ok(()) => return Some(Self(file)),
                Err(TryLockError::WouldBlock) if start.elapsed() < patience => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(MAX_LOCK_PAUSE);
                }
                // Busy for too long, or a file system without locks.
                Err(_) => return None,
            }
        }
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// What is known about one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) bytes: u64,
    pub(super) entries: u32,
    pub(super) blobs: u32,
    /// Grows with each change, so that a count can tell whether anything happened meanwhile.
    pub(super) seq: u32,
    /// Whether the numbers are those of the whole shard. If not, they are those of what came since.
    pub(super) known: bool,
}

impl Record {
    pub(super) fn add(&mut self, bytes: u64, entries: u32, blobs: u32) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries = self.entries.saturating_add(entries);
        self.blobs = self.blobs.saturating_add(blobs);
        self.seq = self.seq.wrapping_add(1);
    }

    pub(super) fn subtract(&mut self, bytes: u64, entries: u32, blobs: u32) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.entries = self.entries.saturating_sub(entries);
        self.blobs = self.blobs.saturating_sub(blobs);
        self.seq = self.seq.wrapping_add(1);
    }

    fn decode(bytes: &[u8; RECORD]) -> Option<Self> {
        if crc32c(&bytes[..28]).to_le_bytes() != bytes[28..] {
            return None;
        }
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        Some(Self {
            bytes: u64::from_le_bytes(std::array::from_fn(|i| bytes[i])),
            entries: u32_at(8),
            blobs: u32_at(12),
            seq: u32_at(16),
            known: u32_at(20) == 1,
        })
    }

    fn encode(&self) -> [u8; RECORD] {
        let mut out = [0; RECORD];
        out[..8].copy_from_slice(&self.bytes.to_le_bytes());
        out[8..12].copy_from_slice(&self.entries.to_le_bytes());
        out[12..16].copy_from_slice(&self.blobs.to_le_bytes());
        out[16..20].copy_from_slice(&self.seq.to_le_bytes());
        out[20..24].copy_from_slice(&u32::from(self.known).to_le_bytes());
        let crc = crc32c(&out[..28]);
        out[28..].copy_from_slice(&crc.to_le_bytes());
        out
    }
}

/// The content of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Books {
    /// The shard at which eviction goes on.
    pub(super) cursor: u8,
    /// When a put last looked after a shard without need.
    pub(super) tended: Timestamp,
    /// Bytes in quarantine.
    pub(super) aside: u64,
    pub(super) shards: Vec<Record>,
    /// Which shards were changed without the lock.
    doubts: Vec<bool>,
}

/// The sums of a ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) bytes: u64,
    pub(super) entries: u64,
    pub(super) blobs: u64,
    /// Number of shards whose content was estimated.
    pub(super) unknown: usize,
}

impl Default for Books {
    fn default() -> Self {
        Self {
            cursor: 0,
            tended: Timestamp::default(),
            aside: 0,
            shards: vec![Record::default(); SHARDS],
            doubts: vec![false; SHARDS],
        }
    }
}

impl Books {
    pub(super) fn shard(&mut self, shard: u8) -> &mut Record {
        &mut self.shards[usize::from(shard)]
    }

    /// Returns the sums for the whole store. Shards spread evenly, so one that is not known counts as the mean of the
    /// others, or as what is known of it if that is more.
    pub(super) fn totals(&self) -> Totals {
        let unknown = self.shards.iter().filter(|record| !record.known).count();
        let total = |of: fn(&Record) -> u64| {
            let known = self.shards.iter().filter(|record| record.known).map(of).fold(0, u64::saturating_add);
            let mean = known.checked_div((SHARDS - unknown) as u64).unwrap_or(0);
            let estimates =
                self.shards.iter().filter(|record| !record.known).map(|record| of(record).max(mean));
            estimates.fold(known, u64::saturating_add)
        };
        Totals {
            bytes: total(|record| record.bytes).saturating_add(self.aside).saturating_add(FIXED),
            entries: total(|record| record.entries.into()),
            blobs: total(|record| record.blobs.into()),
            unknown,
        }
    }

    /// Returns what `file` holds, and whether its header is whole. Each part that is not is as if new.
    fn read(mut file: &File) -> (Self, bool) {
        let mut bytes = [0; SIZE];
        let mut books = Self::default();
        let read = file.seek(SeekFrom::Start(0)).and_then(|_| fill(&mut file, &mut bytes));
        let bytes = &bytes[..read.unwrap_or(0)];
        let Some(header) = bytes.first_chunk::<HEADER>() else { return (books, false) };
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| header[at + i]));
        let whole = header[..8] == MAGIC
            && header[8..12] == VERSION.to_le_bytes()
            && header[60..] == crc32c(&header[..60]).to_le_bytes();
        if whole {
            books.cursor = header[12];
            books.tended = Timestamp::from_millis(u64_at(16));
            books.aside = u64_at(24);
        }
        let (records, _) = bytes[HEADER..bytes.len().min(DOUBTS)].as_chunks::<RECORD>();
        for (shard, record) in books.shards.iter_mut().zip(records) {
            *shard = Record::decode(record).unwrap_or_default();
        }
        for (i, &doubt) in bytes.iter().skip(DOUBTS).enumerate() {
            books.doubts[i] = doubt != 0;
            books.shards[i].known &= doubt == 0;
        }
        (books, whole)
    }

    fn header(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12] = self.cursor;
        out[16..24].copy_from_slice(&self.tended.as_millis().to_le_bytes());
        out[24..32].copy_from_slice(&self.aside.to_le_bytes());
        let crc = crc32c(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Writes what differs from `before`: records that grew first, so that a crash in between counts too much.
    fn write(&self, before: &Self, whole: bool, file: &File) -> io::Result<()> {
        let mut changed: Vec<usize> = (0..SHARDS).filter(|&i| self.shards[i] != before.shards[i]).collect();
        changed.sort_by_key(|&i| self.shards[i].bytes < before.shards[i].bytes);
        for i in changed {
            write_at(file, HEADER + i * RECORD, &self.shards[i].encode())?;
        }
        if !whole || self.header() != before.header() {
            write_at(file, 0, &self.header())?;
        }
        for i in (0..SHARDS).filter(|&i| before.doubts[i] && !self.doubts[i]) {
            write_at(file, DOUBTS + i, &[0])?;
        }
        Ok(())
    }

    /// Writes down that the shards which differ from `before` are in doubt.
    fn doubt(&self, before: &Self, file: &File) -> io::Result<()> {
        for i in (0..SHARDS).filter(|&i| self.shards[i] != before.shards[i]) {
            write_at(file, DOUBTS + i, &[1])?;
        }
        Ok(())
    }
}

fn write_at(mut file: &File, at: usize, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(at as u64))?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(dir.path().join("usage"), false);
        (dir, ledger)
    }

    fn fill(ledger: &Ledger) {
        ledger.update(|books| {
            for shard in 0..=255 {
                *books.shard(shard) = Record { bytes: 100, entries: 1, blobs: 2, seq: 0, known: true };
            }
        });
    }

    #[test]
    fn changes_are_there_for_the_next_process() {
        let (dir, ledger) = ledger();
        fill(&ledger);
        ledger.update(|books| {
            books.shard(7).add(11, 1, 0);
            (books.cursor, books.aside) = (9, 1000);
        });
        let books = Ledger::new(dir.path().join("usage"), true).read();
        assert_eq!((books.cursor, books.shards[7].seq), (9, 1));
        assert_eq!(
            books.totals(),
            Totals { bytes: FIXED + 25_600 + 11 + 1000, entries: 257, blobs: 512, unknown: 0 }
        );
    }

    #[test]
    fn what_is_torn_is_unknown_and_estimated() {
        let (dir, ledger) = ledger();
        fill(&ledger);
        let path = dir.path().join("usage");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[HEADER + 3] ^= 1;
        std::fs::write(&path, &bytes[..DOUBTS - 40]).unwrap();
        let totals = ledger.read().totals();
        assert_eq!(totals, Totals { bytes: FIXED + 25_600, entries: 256, blobs: 512, unknown: 3 });
    }

    #[test]
    fn without_the_lock_a_shard_becomes_unknown() {
        let (dir, ledger) = ledger();
        fill(&ledger);
        let other = File::open(dir.path().join("usage.lock")).unwrap();
        other.lock().unwrap();
        ledger.update(|books| books.shard(3).add(50, 0, 1));
        drop(other);
        let books = ledger.read();
        assert!(!books.shards[3].known && books.shards[4].known);
        // A change by somebody who has the lock does not hide it.
        ledger.update(|books| books.shard(3).add(1, 0, 0));
        assert!(!ledger.read().shards[3].known);
        let seq = ledger.before_count().shards[3].seq;
        assert!(!ledger.read().shards[3].known && seq > 0, "it is still to be counted");
        ledger.update(|books| books.shard(3).known = true);
        assert!(ledger.read().shards[3].known);
    }

    #[cfg(unix)]
    #[test]
    fn a_removed_ledger_is_made_again() {
        let (dir, ledger) = ledger();
        fill(&ledger);
        std::fs::remove_file(dir.path().join("usage")).unwrap();
        assert_eq!(ledger.read().totals().unknown, SHARDS);
        ledger.update(|books| books.shard(0).add(1, 0, 1));
        assert_eq!(Ledger::new(dir.path().join("usage"), true).read().shards[0].bytes, 1);
    }

    #[test]
    fn every_flipped_byte_leaves_a_ledger_that_works() {
        let (dir, ledger) = ledger();
        fill(&ledger);
        let path = dir.path().join("usage");
        let good = std::fs::read(&path).unwrap();
        let mut file = OpenOptions::new().write(true).open(&path).unwrap();
        let mut put = |at: usize, byte: u8| {
            file.seek(SeekFrom::Start(at as u64)).unwrap();
            file.write_all(&[byte]).unwrap();
        };
        for (at, &byte) in good.iter().enumerate() {
            put(at, byte ^ 0xff);
            let totals = ledger.read().totals();
            assert!(totals.bytes == FIXED + 25_600 && totals.unknown <= 1, "{at}: {totals:?}");
            put(at, byte);
        }
    }
}
