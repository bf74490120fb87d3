//! File digests are remembered, so that an unchanged file costs a `stat` and not a read.
//!
//! One file holds the memory of one base directory:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic `vtcmemo` and version 1 |
//! | 4 | generation of the last save, little-endian |
//! | 4 | number of records |
//! | 16 | XXH3-128 of the sixteen bytes before and of all records |
//! | 52 each | stat fingerprint (16), BLAKE3 digest (32), generation in which it was last used (4); sorted by fingerprint |
//!
//! A file that is damaged, foreign, or of another version is an empty memory. What is in it is only ever a shortcut.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cache_core::{
    Clock, Digest, Fingerprint, Fingerprinter, HashFunction, StatFingerprint, SystemClock, Timestamp,
};

use crate::inputs::{InputError, Read as ReadFile, Stat, is_trustworthy, read_file};
use crate::regular::{self, make_private_dir};

const MAGIC: [u8; 8] = *b"vtcmemo\x01";
/// Bytes before the first record.
const HEADER: usize = 32;
/// Bytes of one record.
const RECORD: usize = 52;
/// Where the generation is in a record.
const GENERATION: usize = 48;
/// How many records are kept besides those that this run used: 10 MB, read in 3 ms.
pub const MAX_OTHERS: usize = 200_000;
/// The largest file that is read: twice a million inputs and the others, rounded up. Anything larger is not ours.
const MAX_BYTES: u64 = 128 << 20;

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
    /// The file as it was loaded, checked; empty or at least a header.
    loaded: Vec<u8>,
    /// Which records of `loaded` this run has used.
    used: Vec<bool>,
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
        let loaded = read_checked(path).unwrap_or_default();
        let used = vec![false; records(&loaded).len() / RECORD];
        Self { path: Some(path.to_path_buf()), loaded, used, ..Self::none(clock) }
    }

    /// Returns a memory that is empty and is never saved.
    pub fn none(clock: Arc<dyn Clock>) -> Self {
        Self {
            path: None,
            clock,
            loaded: Vec::new(),
            used: Vec::new(),
            learned: Vec::new(),
            devices: Vec::new(),
        }
    }

    /// Returns the time by the memory's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the digest of the content that a file with this fingerprint has.
    pub fn get(&mut self, stat: StatFingerprint) -> Option<Digest> {
        let wanted = stat.0.to_bytes();
        let all = records(&self.loaded);
        let (mut low, mut high) = (0, all.len() / RECORD);
        while low < high {
            let middle = low.midpoint(high);
            let record = &all[middle * RECORD..(middle + 1) * RECORD];
            match record[..16].cmp(&wanted) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    self.used[middle] = true;
                    let digest = record[16..GENERATION].try_into().ok()?;
                    return Some(Digest::new(HashFunction::Blake3, digest));
                }
            }
        }
        None
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
        let ReadFile { digest, stat, len } = read_file(path, true)?;
        if trusted && stat.settled(now) && len == stat.len {
            self.insert(stat.fingerprint, digest);
        }
        Ok(digest)
    }

    /// Writes what was learned, merged with what the file says now, if anything was learned: all that this run used
    /// and up to [`MAX_OTHERS`] others, the most recently used first.
    ///
    /// # Errors
    /// If the file cannot be written. Nothing is lost by that but time, so a caller may ignore it.
    pub fn save(&mut self) -> io::Result<()> {
        let Some(path) = self.path.clone() else { return Ok(()) };
        if self.learned.is_empty() {
            return Ok(());
        }
        let current = read_checked(&path).unwrap_or_default();
        let generation = generation_of(&self.loaded).max(generation_of(&current)).saturating_add(1);
        let bytes = self.merge(&current, generation);
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        make_private_dir(dir)?;
        let mut file = tempfile::Builder::new().prefix(".memory-").tempfile_in(dir)?;
        file.write_all(&bytes)?;
        file.persist(&path).map_err(|error| error.error)?;
        self.used = vec![false; records(&bytes).len() / RECORD];
        self.loaded = bytes;
        self.learned.clear();
        Ok(())
    }

    /// Returns the bytes of a file with all that is worth keeping.
    fn merge(&self, current: &[u8], generation: u32) -> Vec<u8> {
        let mut kept: Vec<[u8; RECORD]> = Vec::with_capacity(self.used.len() + self.learned.len());
        for (stat, digest) in &self.learned {
            let mut record = [0; RECORD];
            record[..16].copy_from_slice(&stat.0.to_bytes());
            record[16..GENERATION].copy_from_slice(digest.as_bytes());
            record[GENERATION..].copy_from_slice(&generation.to_le_bytes());
            kept.push(record);
        }
        let (mine, _) = records(&self.loaded).as_chunks::<RECORD>();
        for (record, _) in mine.iter().zip(&self.used).filter(|(_, used)| **used) {
            let mut record = *record;
            record[GENERATION..].copy_from_slice(&generation.to_le_bytes());
            kept.push(record);
        }
        let used = kept.len();
        let (theirs, _) = records(current).as_chunks::<RECORD>();
        kept.extend_from_slice(theirs);
        kept.extend(mine.iter().zip(&self.used).filter(|(_, used)| !**used).map(|(record, _)| *record));
        // Of two records of one fingerprint the more recently used comes first and stays.
        kept.sort_unstable_by(|a, b| {
            a[..16].cmp(&b[..16]).then_with(|| last_use(b).cmp(&last_use(a))).then_with(|| a.cmp(b))
        });
        kept.dedup_by(|a, b| a[..16] == b[..16]);
        let limit = used + MAX_OTHERS;
        if kept.len() > limit {
            kept.sort_unstable_by_key(|record| std::cmp::Reverse(last_use(record)));
            kept.truncate(limit);
            kept.sort_unstable();
        }
        encode(&kept, generation)
    }
}

fn last_use(record: &[u8; RECORD]) -> u32 {
    record[GENERATION..].try_into().map_or(0, u32::from_le_bytes)
}

fn encode(kept: &[[u8; RECORD]], generation: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + kept.len() * RECORD);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.extend_from_slice(&(kept.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 16]);
    bytes.extend_from_slice(kept.as_flattened());
    let sum = checksum(&bytes);
    bytes[16..HEADER].copy_from_slice(&sum.to_bytes());
    bytes
}

/// Returns the checksum of a file: of all that is in it but the checksum.
fn checksum(bytes: &[u8]) -> Fingerprint {
    let mut sum = Fingerprinter::new();
    sum.update(&bytes[..16]);
    sum.update(&bytes[HEADER..]);
    sum.finish()
}

fn generation_of(bytes: &[u8]) -> u32 {
    bytes.get(8..12).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn records(bytes: &[u8]) -> &[u8] {
    bytes.get(HEADER..).unwrap_or_default()
}

/// Returns the bytes of the file at `path` if they are a memory of this version in good order.
fn read_checked(path: &Path) -> Option<Vec<u8>> {
    let file = regular::read(path).ok()?;
    let len = file.metadata().ok()?.len();
    if len > MAX_BYTES {
        return None;
    }
    let mut bytes = Vec::with_capacity(len as usize + 1);
    (&file).take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    if bytes.len() < HEADER || bytes[..8] != MAGIC {
        return None;
    }
    let count = u32::from_le_bytes(bytes[12..16].try_into().ok()?) as usize;
    let expected = count.checked_mul(RECORD)?.checked_add(HEADER)?;
    (bytes.len() == expected && checksum(&bytes).to_bytes() == bytes[16..HEADER]).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_is_forgotten_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory");
        let stat = |n: usize| StatFingerprint(Fingerprint::of(&n.to_le_bytes()));
        let digest = |n: usize| Digest::blake3(&n.to_le_bytes());
        let learn = |numbers: std::ops::Range<usize>, used: Option<usize>| {
            let mut memory = Memory::load(&path);
            used.map(|n| memory.get(stat(n)).unwrap());
            numbers.for_each(|n| memory.insert(stat(n), digest(n)));
            memory.save().unwrap();
        };
        learn(0..10, None);
        learn(10..MAX_OTHERS, None);
        learn(MAX_OTHERS..MAX_OTHERS + 5, Some(3));
        learn(MAX_OTHERS + 5..MAX_OTHERS + 6, None);
        let mut memory = Memory::load(&path);
        let all = MAX_OTHERS + 6;
        let known: Vec<_> = (0..all).filter(|n| memory.get(stat(*n)) == Some(digest(*n))).collect();
        assert_eq!(known.len(), MAX_OTHERS + 1);
        // Of the first ten, all of one generation, only the one that was used again is sure to stay.
        assert!(known.contains(&3));
        assert!(known.iter().filter(|n| **n >= 10).count() == MAX_OTHERS + 6 - 10);
    }
}
