//! Which entries a build used, for the next one to fetch before it asks.
//!
//! The file is a header of 16 bytes, all numbers little-endian, and then the keys, 32 bytes each, in the order in which they
//! were first used:
//!
//! | offset | bytes | what |
//! |--:|--:|---|
//! | 0 | 4 | magic `VTCU` |
//! | 4 | 4 | version, 1 |
//! | 8 | 4 | number of keys, at most 262,144 |
//! | 12 | 4 | CRC32C of the keys |
//!
//! It is written beside its place and put there at once, so a reader sees the old one or the new one. One that is damaged, cut
//! off or of a newer version counts as none: all that is lost is the head start.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cache_core::{Error, Key, Result, crc32c};

const MAGIC: [u8; 4] = *b"VTCU";
const VERSION: u32 = 1;
const HEADER: usize = 16;
const KEY: usize = 32;

/// Keys that a build used, in the order in which it first used them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsedKeys(Vec<Key>);

impl UsedKeys {
    /// Keys that are kept at most: 8 MiB, more than any build uses. Of more, the first.
    pub const MOST: usize = 1 << 18;

    /// Returns the first [`MOST`](Self::MOST) of `keys`, each once.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Self {
        let mut seen = HashSet::new();
        Self(keys.into_iter().filter(|key| seen.insert(*key)).take(Self::MOST).collect())
    }

    /// Returns the keys.
    pub fn keys(&self) -> &[Key] {
        &self.0
    }

    /// Returns the content of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes.reserve_exact(self.0.len() * KEY);
        self.0.iter().for_each(|key| bytes.extend_from_slice(key.as_bytes()));
        let checksum = crc32c(&bytes[HEADER..]);
        let numbers = [VERSION, self.0.len() as u32, checksum];
        bytes[..4].copy_from_slice(&MAGIC);
        for (place, number) in bytes[4..HEADER].chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// Returns what [`encode`](Self::encode) made `bytes` from, or nothing if it did not.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, content) = bytes.split_at_checked(HEADER)?;
        let number = |at: usize| header[at..].first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
        let count = usize::try_from(number(8)?).ok()?;
        let right = header.starts_with(&MAGIC)
            && number(4)? == VERSION
            && count <= Self::MOST
            && content.len() == count * KEY
            && number(12)? == crc32c(content);
        let keys = content.as_chunks::<KEY>().0;
        right.then(|| Self(keys.iter().map(|key| Key::from_bytes(*key)).collect()))
    }

    /// Reads a file; nothing if there is none or it is of no use.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        let fail = |e| Error::io("cannot read which entries were used last time from", path, e);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let longest = (HEADER + Self::MOST * KEY) as u64;
        let mut bytes = Vec::new();
        file.take(longest + 1).read_to_end(&mut bytes).map_err(fail)?;
        Ok(Self::decode(&bytes))
    }

    /// Writes a file in place of what is there, in one step.
    ///
    /// # Errors
    /// If it cannot be written. What is there stays then.
    pub fn save(&self, path: &Path) -> Result<()> {
        let fail = |e| Error::io("cannot write which entries were used to", path, e);
        cache_core::files::replace(path, &self.encode()).map_err(fail)
    }
}

/// Takes down which keys are used, and writes them into a file at the end.
#[derive(Debug)]
pub(crate) struct Usage {
    path: PathBuf,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    order: Vec<Key>,
    seen: HashSet<Key>,
    /// How many of them are in the file.
    saved: usize,
}

impl Usage {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, used: Mutex::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn note<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            if used.order.len() < UsedKeys::MOST && used.seen.insert(*key) {
                used.order.push(*key);
            }
        }
    }

    /// Writes what was used, if anything was that is not in the file: a process that used nothing says nothing about builds.
    pub(crate) fn save(&self) -> Result<()> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.order.len() == used.saved {
            return Ok(());
        }
        UsedKeys(used.order.clone()).save(&self.path)?;
        used.saved = used.order.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: u32) -> UsedKeys {
        let key =
            |number: u32| Key::from_bytes(*cache_core::Digest::blake3(&number.to_le_bytes()).as_bytes());
        UsedKeys::new((0..count).chain(0..count).map(key))
    }

    #[test]
    fn what_is_written_is_read() {
        for count in [0, 1, 1000] {
            let used = keys(count);
            assert_eq!(used.keys().len(), count as usize);
            assert_eq!(UsedKeys::decode(&used.encode()), Some(used));
        }
    }

    #[test]
    fn the_bytes_stay_the_same() {
        let used = UsedKeys::new([Key::from_bytes([7; 32])]);
        let mut expected = b"VTCU\x01\0\0\0\x01\0\0\0".to_vec();
        expected.extend(crc32c(&[7; 32]).to_le_bytes());
        expected.extend([7; 32]);
        assert_eq!(used.encode(), expected);
    }

    #[test]
    fn what_is_damaged_or_newer_is_nothing() {
        let bytes = keys(3).encode();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(UsedKeys::decode(&damaged), None, "byte {at}");
            assert_eq!(UsedKeys::decode(&bytes[..at]), None, "{at} bytes");
        }
        assert_eq!(UsedKeys::decode(&[&bytes[..], b"x"].concat()), None);
        let mut many = bytes;
        many[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(UsedKeys::decode(&many), None);
    }

    #[test]
    fn a_file_is_replaced_and_one_without_use_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/used");
        assert_eq!(UsedKeys::load(&path).unwrap(), None);
        keys(5).save(&path).unwrap();
        Usage::new(path.clone()).save().unwrap();
        assert_eq!(UsedKeys::load(&path).unwrap(), Some(keys(5)));
        let usage = Usage::new(path.clone());
        usage.note(keys(2).keys());
        usage.note(keys(2).keys());
        usage.save().unwrap();
        assert_eq!(UsedKeys::load(&path).unwrap(), Some(keys(2)));
        std::fs::write(&path, b"rubbish").unwrap();
        assert_eq!(UsedKeys::load(&path).unwrap(), None);
        assert_eq!(std::fs::read_dir(dir.path().join("deep")).unwrap().count(), 1, "nothing is left over");
        assert!(UsedKeys::load(dir.path()).is_err(), "a directory");
    }
}
