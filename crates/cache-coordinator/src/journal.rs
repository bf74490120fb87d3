//! The write-back queue on disk: what one process leaves behind, the next one finds.
//!
//! Each process appends to a file of its own, which it keeps locked; a file that nobody has locked was left behind, and
//! whoever locks it takes over what is in it. So no two processes ever write to one file, and none waits for another.
//!
//! All numbers are little-endian. The header is 16 bytes: magic `VTCJ`, version (4 bytes, 1), 8 bytes of zeros. Each
//! record is 64 bytes:
//!
//! | offset | bytes | what |
//! |--:|--:|---|
//! | 0 | 1 | what: 1 put, 2 put if absent, 3 remove, 4 done |
//! | 1 | 3 | 0 |
//! | 4 | 8 | bytes that will be sent |
//! | 12 | 32 | key |
//! | 44 | 16 | XXH3-128 of the name of the tier |
//! | 60 | 4 | CRC32C of bytes 0 to 59 |
//!
//! A record that is cut off or does not match its checksum is skipped: what it said is not pushed, or pushed once more,
//! which is harmless. Nothing is synced: the journal survives a killed process, not a power cut, and what it lists is
//! still in the local tier then. A file of a newer version is left alone.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::{Error, Fingerprint, Key, Result, crc32c};

use crate::push::Errand;

const MAGIC: [u8; 4] = *b"VTCJ";
const VERSION: u32 = 1;
const HEADER: usize = 16;
const RECORD: usize = 64;
const DONE: u8 = 4;
const EXTENSION: &str = "journal";
/// Whatever a file lists that nobody has written to for so long was evicted since: it is what a local tier keeps by
/// default.
const KEEP: Duration = cache_core::Policy::DEFAULT_MAX_AGE;
/// Larger files are not ours: 64 MiB are a million records.
const LARGEST: u64 = 64 << 20;
/// Files that are picked up at a start; each belongs to a process that was killed.
const MOST_FILES: usize = 64;
/// When a file has so many records, and most of them are done with, it is written anew.
const COMPACT_FROM: u64 = 4096;

/// What is to be done in which tier.
pub(crate) type Wanted = BTreeMap<(Fingerprint, Key), (Errand, u64)>;

/// A journal that this process writes.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    path: PathBuf,
    file: File,
    /// Bytes of whole records and the header.
    len: u64,
}

impl Journal {
    /// Starts a journal in `directory`, which is made if it is not there.
    pub(crate) fn create(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).map_err(|e| Error::io("cannot make the directory", directory, e))?;
        let (path, file) = start(directory)?;
        Ok(Self { directory: directory.to_owned(), path, file, len: HEADER as u64 })
    }

    /// Notes that something is to be done.
    pub(crate) fn queued(&mut self, tier: Fingerprint, key: &Key, errand: Errand, bytes: u64) -> Result<()> {
        self.append(&record(errand.code(), tier, key, bytes))
    }

    /// Notes that it is done, or not to be done any more.
    pub(crate) fn done(&mut self, tier: Fingerprint, key: &Key) -> Result<()> {
        self.append(&record(DONE, tier, key, 0))
    }

    /// Writes the journal anew if most of it is done with; `wanted` is what is not.
    pub(crate) fn compact(
        &mut self,
        wanted: impl ExactSizeIterator<Item = (Fingerprint, Key, Errand, u64)>,
    ) -> Result<()> {
        let records = (self.len - HEADER as u64) / RECORD as u64;
        if wanted.len() == 0 && records > 0 {
            return self.cut(HEADER as u64);
        }
        if records < COMPACT_FROM || records < 4 * wanted.len() as u64 {
            return Ok(());
        }
        // A second file, complete before the first one goes: whoever is killed in between leaves both, and what is in
        // both is pushed twice.
        let mut next = Self::create(&self.directory)?;
        for (tier, key, errand, bytes) in wanted {
            if let Err(error) = next.queued(tier, &key, errand, bytes) {
                let _ = next.discard();
                return Err(error);
            }
        }
        std::mem::replace(self, next).discard()
    }

    /// Removes the file: nothing is left to do.
    pub(crate) fn discard(self) -> Result<()> {
        // Windows does not remove a file that is open.
        drop(self.file);
        remove(&self.path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn append(&mut self, record: &[u8; RECORD]) -> Result<()> {
        match self.file.write_all(record) {
            Ok(()) => {
                self.len += RECORD as u64;
                Ok(())
            }
            Err(error) => {
                // A half record would put all later ones out of step.
                let _ = self.cut(self.len);
                Err(Error::io("cannot write to the journal of uploads", &self.path, error))
            }
        }
    }

    fn cut(&mut self, len: u64) -> Result<()> {
        let cut = self.file.set_len(len).and_then(|()| self.file.seek(SeekFrom::Start(len)));
        cut.map_err(|e| Error::io("cannot shorten the journal of uploads", &self.path, e))?;
        self.len = len;
        Ok(())
    }
}

/// A journal that another process left behind, locked.
#[derive(Debug)]
pub(crate) struct Left {
    path: PathBuf,
    /// Held for its lock.
    file: File,
    pub(crate) wanted: Wanted,
}

impl Left {
    /// Removes the file, once all that it wants is taken over.
    pub(crate) fn discard(self) -> Result<()> {
        drop(self.file);
        remove(&self.path)
    }
}

/// Returns the journals in `directory` that were left behind, oldest name first, and what could not be read. `own` is
/// that of this process.
pub(crate) fn left_behind(directory: &Path, own: &Path) -> (Vec<Left>, Vec<Error>) {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    let mut paths = match paths(directory) {
        Ok(paths) => paths,
        Err(error) => return (found, vec![Error::io("cannot list the directory", directory, error)]),
    };
    paths.retain(|path| path != own);
    paths.sort_unstable();
    for path in paths.into_iter().take(MOST_FILES) {
        match take(&path) {
            Ok(Some(left)) => found.push(left),
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    (found, errors)
}

fn paths(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Returns the journal at `path`, unless its process lives, somebody else takes it, or it is of a newer version.
fn take(path: &Path) -> Result<Option<Left>> {
    let cannot_read = |e| Error::io("cannot read the journal of uploads", path, e);
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot_read(error)),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => {
            return Err(Error::io("cannot lock the journal of uploads", path, error));
        }
    }
    // Whoever had it until now may have removed it.
    if !path.exists() {
        return Ok(None);
    }
    let changed = file.metadata().and_then(|metadata| metadata.modified()).map_err(cannot_read)?;
    if changed.elapsed().is_ok_and(|age| age > KEEP) {
        drop(file);
        remove(path)?;
        return Ok(None);
    }
    let mut bytes = Vec::new();
    (&mut file).take(LARGEST).read_to_end(&mut bytes).map_err(cannot_read)?;
    match decode(&bytes) {
        Ok(wanted) => Ok(Some(Left { path: path.to_owned(), file, wanted })),
        Err(found) => {
            let what = format!("the journal of uploads {}", path.display());
            Err(Error::NewerFormat { what, found, known: VERSION })
        }
    }
}

/// Returns what the records want, or the version if it is a newer one.
fn decode(bytes: &[u8]) -> std::result::Result<Wanted, u32> {
    let mut wanted = Wanted::new();
    let Some((header, records)) = bytes.split_first_chunk::<HEADER>() else { return Ok(wanted) };
    if header[..4] != MAGIC {
        return Ok(wanted);
    }
    let version = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    if version > VERSION {
        return Err(version);
    }
    for record in records.as_chunks::<RECORD>().0 {
        let Some((code, tier, key, bytes)) = parse(record) else { continue };
        match Errand::from_code(code) {
            Some(errand) => wanted.insert((tier, key), (errand, bytes)),
            None if code == DONE => wanted.remove(&(tier, key)),
            None => None,
        };
    }
    Ok(wanted)
}

fn parse(record: &[u8; RECORD]) -> Option<(u8, Fingerprint, Key, u64)> {
    let (body, crc) = record.split_last_chunk::<4>()?;
    if crc32c(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let bytes = u64::from_le_bytes(*body[4..].first_chunk()?);
    let key = Key::from_bytes(*body[12..].first_chunk()?);
    let tier = Fingerprint::from_bytes(*body[44..].first_chunk()?);
    Some((body[0], tier, key, bytes))
}

fn record(code: u8, tier: Fingerprint, key: &Key, bytes: u64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[0] = code;
    record[4..12].copy_from_slice(&bytes.to_le_bytes());
    record[12..44].copy_from_slice(key.as_bytes());
    record[44..60].copy_from_slice(&tier.to_bytes());
    let crc = crc32c(&record[..60]);
    record[60..].copy_from_slice(&crc.to_le_bytes());
    record
}

/// Makes a file that nobody has, locks it and writes the header.
fn start(directory: &Path) -> Result<(PathBuf, File)> {
    /// Makes names of one process differ.
    static STARTED: AtomicU64 = AtomicU64::new(0);
    /// Names that are taken belong to processes of the same number that were killed; there are not many.
    const ATTEMPTS: u64 = 10_000;
    for _ in 0..ATTEMPTS {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("{}-{number}.{EXTENSION}", std::process::id()));
        let mut file = match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(Error::io("cannot make the journal of uploads", &path, error)),
        };
        // Somebody who looks for what was left behind may have it for a moment, and removes it then.
        if file.try_lock().is_err() {
            continue;
        }
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&MAGIC);
        header[4..8].copy_from_slice(&VERSION.to_le_bytes());
        file.write_all(&header).map_err(|e| Error::io("cannot write to the journal of uploads", &path, e))?;
        if path.exists() {
            return Ok((path, file));
        }
    }
    Err(Error::io("cannot find a free name for a journal in", directory, io::ErrorKind::AlreadyExists.into()))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("cannot remove the journal of uploads", path, error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u8) -> Key {
        Key::from_bytes([number; 32])
    }

    fn tier(name: &str) -> Fingerprint {
        Fingerprint::of(name.as_bytes())
    }

    fn journal(directory: &Path) -> Journal {
        let mut journal = Journal::create(directory).unwrap();
        journal.queued(tier("a"), &key(1), Errand::Put, 10).unwrap();
        journal.queued(tier("a"), &key(2), Errand::PutIfAbsent, 20).unwrap();
        journal.queued(tier("b"), &key(1), Errand::Remove, 0).unwrap();
        journal.done(tier("a"), &key(1)).unwrap();
        journal
    }

    fn wanted() -> Wanted {
        [((tier("a"), key(2)), (Errand::PutIfAbsent, 20)), ((tier("b"), key(1)), (Errand::Remove, 0))].into()
    }

    #[test]
    fn what_a_process_leaves_the_next_one_takes_once() {
        let directory = tempfile::tempdir().unwrap();
        let first = journal(directory.path());
        let second = Journal::create(directory.path()).unwrap();
        assert!(left_behind(directory.path(), second.path()).0.is_empty(), "its process lives");
        drop(first);
        let (mut left, errors) = left_behind(directory.path(), second.path());
        assert!(errors.is_empty() && left.len() == 1);
        assert!(left_behind(directory.path(), second.path()).0.is_empty(), "somebody else takes it");
        let left = left.remove(0);
        assert_eq!(left.wanted, wanted());
        left.discard().unwrap();
        assert_eq!(paths(directory.path()).unwrap(), [second.path()]);
        second.discard().unwrap();
        assert!(paths(directory.path()).unwrap().is_empty());
    }

    #[test]
    fn a_process_killed_while_writing_loses_the_last_record_at_most() {
        let directory = tempfile::tempdir().unwrap();
        let journal = journal(directory.path());
        let whole = fs::read(journal.path()).unwrap();
        assert_eq!(whole.len(), HEADER + 4 * RECORD);
        let mut expected = Wanted::new();
        for len in 0..=whole.len() {
            if len >= HEADER && (len - HEADER).is_multiple_of(RECORD) {
                expected = match (len - HEADER) / RECORD {
                    0 => Wanted::new(),
                    1 => [((tier("a"), key(1)), (Errand::Put, 10))].into(),
                    2 => [
                        ((tier("a"), key(1)), (Errand::Put, 10)),
                        ((tier("a"), key(2)), (Errand::PutIfAbsent, 20)),
                    ]
                    .into(),
                    3 => {
                        let mut all = wanted();
                        all.insert((tier("a"), key(1)), (Errand::Put, 10));
                        all
                    }
                    _ => wanted(),
                };
            }
            assert_eq!(decode(&whole[..len]), Ok(expected.clone()), "cut off after {len} bytes");
        }
    }

    #[test]
    fn a_spoiled_record_is_skipped_and_no_other_one() {
        let directory = tempfile::tempdir().unwrap();
        let whole = fs::read(journal(directory.path()).path()).unwrap();
        for at in 0..RECORD {
            let mut spoiled = whole.clone();
            spoiled[HEADER + RECORD + at] ^= 4;
            let found = decode(&spoiled).unwrap();
            assert_eq!(found.len(), 1, "byte {at}");
            assert!(found.contains_key(&(tier("b"), key(1))));
        }
    }

    #[test]
    fn a_newer_version_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1-1.journal");
        let mut newer = b"VTCJ\x02\0\0\0".to_vec();
        newer.resize(1000, 7);
        fs::write(&path, &newer).unwrap();
        let (left, errors) = left_behind(directory.path(), Path::new("own"));
        assert!(left.is_empty() && matches!(errors[..], [Error::NewerFormat { found: 2, .. }]));
        assert_eq!(fs::read(&path).unwrap(), newer);
    }

    #[test]
    fn it_stays_small() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(directory.path()).unwrap();
        let rest = || [(tier("a"), key(9), Errand::Put, 5)].into_iter();
        for number in 0..20_000_u32 {
            journal.queued(tier("a"), &key((number % 200) as u8), Errand::Put, 1).unwrap();
            journal.compact(rest()).unwrap();
            assert!(journal.len <= HEADER as u64 + (COMPACT_FROM + 1) * RECORD as u64);
        }
        assert_eq!(paths(directory.path()).unwrap().len(), 1);
        let path = journal.path().to_owned();
        assert!(decode(&fs::read(&path).unwrap()).unwrap().contains_key(&(tier("a"), key(9))));
        journal.compact([].into_iter()).unwrap();
        assert_eq!(fs::read(&path).unwrap().len(), HEADER);
        journal.queued(tier("a"), &key(1), Errand::Put, 10).unwrap();
        assert_eq!(decode(&fs::read(&path).unwrap()).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(&bytes);
            let magic = MAGIC.into_iter().chain(VERSION.to_le_bytes());
            bytes.iter_mut().zip(magic).for_each(|(byte, magic)| *byte = magic);
            prop_assert_eq!(decode(&bytes), Ok(Wanted::new()), "no checksum matches by chance");
        }
    }
}
