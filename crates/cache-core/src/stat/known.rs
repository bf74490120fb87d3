//! Digests of files, remembered from one process to the next.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic `vtcmemo` and version 1 |
//! | 4 | generation of the last save, little-endian |
//! | 4 | number of records |
//! | 16 | XXH3-128 of the sixteen bytes before and of all records |
//! | 52 each | stat fingerprint (16), BLAKE3 digest (32), generation in which it was last used (4); sorted by fingerprint |

use std::cmp::Ordering::{Equal, Greater, Less};
use std::fs::{File, Metadata};
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Digest, Fingerprint, Fingerprinter, HashFunction, StatFingerprint};

const MAGIC: [u8; 8] = *b"vtcmemo\x01";
/// Bytes before the first record.
const HEADER: usize = 32;
/// Bytes of one record.
const RECORD: usize = 52;
/// Where the generation is in a record.
const GENERATION: usize = 48;
/// The largest file that is read: twice a million files and the others, rounded up. Anything larger is not ours.
const MAX_BYTES: u64 = 128 << 20;
/// How many records there are at most.
const MAX_RECORDS: usize = (MAX_BYTES as usize - HEADER) / RECORD;

/// What a file says about the content of others: stat fingerprint → BLAKE3 digest. It is only ever a shortcut.
///
/// # Why a fingerprint is right also for the next process
/// It is made of device, inode, size, mode, modification and change time, and is remembered only of a file that was left
/// alone for two seconds before it was read and has the same stat afterwards ([`Stat::settled`](super::Stat::settled)).
/// Whatever changes the content later, or puts another file under the same inode number, is stamped by the kernel with a
/// change time that no program can choose, and that is later than the one remembered. That is as true tomorrow as within
/// one process: the stamps are on the disk. So a fingerprint that returns means the same content, unless
/// - the machine's clock was set back to the very nanosecond;
/// - another disk got the same device number and has a file with the same inode, size, mode and both times, which is a copy
///   of the disk: then the content is the same as well, unless the copy was edited at the very nanosecond;
/// - a program writes through a shared memory map that it keeps, and the kernel does not stamp the file again. This is
///   beyond git, make and ninja as well.
///
/// Whoever asks must make sure that the file system keeps such stamps ([`is_trustworthy`](super::is_trustworthy)) in this
/// process too, as a device number may belong to another one by now.
#[derive(Debug, Default)]
pub struct KnownDigests {
    /// The file, checked; empty or at least a header.
    bytes: Vec<u8>,
    /// Which records were asked for.
    used: Vec<AtomicBool>,
}

impl KnownDigests {
    /// How many records are kept besides those that were used: 10 MB, read in 3 ms.
    pub const MAX_OTHERS: usize = 200_000;

    /// Returns what `file` remembers; nothing if it is damaged, foreign, too large, of another version, or if somebody else
    /// could have written it.
    pub fn read(file: &File) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        if metadata.len() > MAX_BYTES || !is_own(&metadata) {
            return None;
        }
        let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
        file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
        Self::decode(bytes)
    }

    /// Returns what is in `bytes`; nothing if they are damaged, foreign, or of another version.
    pub fn decode(bytes: Vec<u8>) -> Option<Self> {
        if bytes.len() < HEADER || bytes[..8] != MAGIC {
            return None;
        }
        let count = u32::from_le_bytes(bytes[12..16].try_into().ok()?) as usize;
        let expected = count.checked_mul(RECORD)?.checked_add(HEADER)?;
        if bytes.len() != expected || checksum(&bytes).to_bytes() != bytes[16..HEADER] {
            return None;
        }
        Some(Self::checked(bytes))
    }

    fn checked(bytes: Vec<u8>) -> Self {
        let count = bytes.len().saturating_sub(HEADER) / RECORD;
        Self { bytes, used: std::iter::repeat_with(AtomicBool::default).take(count).collect() }
    }

    /// Returns the bytes of a file that says this.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns how many digests are known.
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// Returns whether none is known.
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// Returns the digest of the content that a file with this fingerprint has. It counts as used from now on.
    pub fn get(&self, stat: StatFingerprint) -> Option<Digest> {
        let wanted = stat.0.to_bytes();
        let (mut low, mut high) = (0, self.len());
        let all = self.records();
        while low < high {
            let middle = low.midpoint(high);
            let record = all.get(middle)?;
            match record[..16].cmp(&wanted) {
                Less => low = middle + 1,
                Greater => high = middle,
                Equal => {
                    self.used[middle].store(true, Ordering::Relaxed);
                    let digest = record[16..GENERATION].try_into().ok()?;
                    return Some(Digest::new(HashFunction::Blake3, digest));
                }
            }
        }
        None
    }

    /// Returns what is worth keeping for the next process: all that was `learned` since this was read, all of this that was
    /// used, and up to [`MAX_OTHERS`](Self::MAX_OTHERS) others of this and of what the file says by now, `current`; of those
    /// the most recently used. Other functions than BLAKE3 are not kept.
    #[must_use]
    pub fn merged(
        &self,
        current: &Self,
        learned: impl IntoIterator<Item = (StatFingerprint, Digest)>,
    ) -> Self {
        let generation = self.generation().max(current.generation()).saturating_add(1);
        let mut kept: Vec<[u8; RECORD]> = Vec::new();
        for (stat, digest) in learned {
            if digest.function() == HashFunction::Blake3 {
                let mut record = [0; RECORD];
                record[..16].copy_from_slice(&stat.0.to_bytes());
                record[16..GENERATION].copy_from_slice(digest.as_bytes());
                record[GENERATION..].copy_from_slice(&generation.to_le_bytes());
                kept.push(record);
            }
        }
        let mine = || self.records().iter().zip(&self.used);
        let is_used = |used: &AtomicBool| used.load(Ordering::Relaxed);
        for (record, _) in mine().filter(|(_, used)| is_used(used)) {
            let mut record = *record;
            record[GENERATION..].copy_from_slice(&generation.to_le_bytes());
            kept.push(record);
        }
        let used = kept.len();
        kept.extend_from_slice(current.records());
        kept.extend(mine().filter(|(_, used)| !is_used(used)).map(|(record, _)| *record));
        // Of two records of one fingerprint the more recently used comes first and stays.
        kept.sort_unstable_by(|a, b| {
            a[..16].cmp(&b[..16]).then_with(|| last_use(b).cmp(&last_use(a))).then_with(|| a.cmp(b))
        });
        kept.dedup_by(|a, b| a[..16] == b[..16]);
        let limit = used.saturating_add(Self::MAX_OTHERS).min(MAX_RECORDS);
        if kept.len() > limit {
            kept.sort_unstable_by_key(|record| std::cmp::Reverse(last_use(record)));
            kept.truncate(limit);
            kept.sort_unstable();
        }
        Self::checked(encode(&kept, generation))
    }

    fn records(&self) -> &[[u8; RECORD]] {
        self.bytes.get(HEADER..).unwrap_or_default().as_chunks().0
    }

    fn generation(&self) -> u32 {
        self.bytes.get(8..12).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
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

/// Returns whether nobody but this user can have written the file: who forges a digest has another file's result restored.
#[cfg(unix)]
fn is_own(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o002 == 0
}

/// Elsewhere the directory has to keep others out.
#[cfg(not(unix))]
fn is_own(_metadata: &Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stat(number: usize) -> StatFingerprint {
        StatFingerprint(Fingerprint::of(&(number as u64).to_le_bytes()))
    }

    fn digest(number: usize) -> Digest {
        Digest::blake3(&(number as u64).to_le_bytes())
    }

    fn learned(known: &KnownDigests, numbers: impl IntoIterator<Item = usize>) -> KnownDigests {
        known.merged(known, numbers.into_iter().map(|number| (stat(number), digest(number))))
    }

    #[test]
    fn what_was_learned_is_known() {
        let known = learned(&KnownDigests::default(), 0..100);
        let again = KnownDigests::decode(known.as_bytes().to_vec()).unwrap();
        assert_eq!((again.len(), again.is_empty(), again.get(stat(100))), (100, false, None));
        assert!((0..100).all(|number| again.get(stat(number)) == Some(digest(number))));
        assert_eq!(KnownDigests::default().get(stat(0)), None);
        let sha = Digest::new(HashFunction::Sha256, [1; 32]);
        assert!(again.merged(&again, [(stat(100), sha)]).get(stat(100)).is_none());
    }

    #[test]
    fn what_another_process_learned_meanwhile_stays() {
        let mine = learned(&KnownDigests::default(), 0..10);
        let theirs = learned(&mine, 10..20);
        let both = mine.merged(&theirs, [(stat(30), digest(30))]);
        assert!((0..20).chain([30]).all(|number| both.get(stat(number)) == Some(digest(number))));
    }

    #[test]
    fn what_was_not_used_for_longest_is_forgotten_first() {
        const MANY: usize = KnownDigests::MAX_OTHERS;
        let known = learned(&KnownDigests::default(), 0..10);
        let known = learned(&known, 10..MANY);
        assert_eq!(known.get(stat(3)), Some(digest(3)));
        let known = learned(&learned(&known, MANY..MANY + 5), [MANY + 5]);
        assert_eq!(known.len(), MANY + 1);
        // Of the first ten, all of one generation, only the one that was used again is sure to stay.
        assert!((10..MANY + 6).chain([3]).all(|number| known.get(stat(number)) == Some(digest(number))));
    }

    /// A file of version 1, which is to be read as long as there is a version 1.
    #[test]
    fn files_of_version_1_are_read() {
        let bytes = include_bytes!("../../tests/fixtures/known-digests-v1.bin");
        let known = KnownDigests::decode(bytes.to_vec()).unwrap();
        assert_eq!(
            (known.len(), known.get(stat(1)), known.get(stat(2))),
            (2, Some(digest(1)), Some(digest(2)))
        );
        assert_eq!(learned(&KnownDigests::default(), [1, 2]).as_bytes(), bytes);
    }

    proptest! {
        #[test]
        fn a_damaged_file_is_no_file(at in 0..HEADER + 3 * RECORD, flip in 1..=255_u8, cut in any::<bool>()) {
            let mut bytes = learned(&KnownDigests::default(), 0..3).as_bytes().to_vec();
            if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
            prop_assert!(KnownDigests::decode(bytes).is_none());
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(KnownDigests::decode([&MAGIC[..], &bytes].concat()).is_none());
        }
    }
}
