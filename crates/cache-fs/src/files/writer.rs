//! Writing a blob whose content arrives in pieces.

use std::sync::Arc;

use cache_core::{Digest, Error, Event, HashFunction, Hasher, PutMode, Result};

use super::Files;
use super::address::{Address, Space};
use super::item::Rank;
use super::temp::Temp;

/// Room that a content of unknown length makes at a time is as much as there was so far, but at most this many bytes.
const MAX_STEP: u64 = 16 << 20;

/// A blob in the making. Dropped before [`finish`](Self::finish), it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct BlobWriter {
    files: Arc<Files>,
    temp: Temp,
    hasher: Hasher,
    expected: Option<Digest>,
    /// Length as announced.
    len: Option<u64>,
    /// Bytes that there is room for.
    room: u64,
}

impl BlobWriter {
    /// Starts a blob of `function`, whose digest and length may be known beforehand. If only something `like` its
    /// length is known, room for that is made at once.
    pub(crate) fn new(
        files: &Arc<Files>,
        function: HashFunction,
        expected: Option<Digest>,
        len: Option<u64>,
        like: u64,
    ) -> Result<Self> {
        let shard = expected.map(|digest| digest.as_bytes()[0]);
        let room = len.unwrap_or(like);
        let temp = Temp::create(files, Space::Blobs(function), shard, room)?;
        Ok(Self { files: Arc::clone(files), temp, hasher: Hasher::new(function), expected, len, room })
    }

    /// Takes the next bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let after = self.hasher.len() + bytes.len() as u64;
        if let Some(expected) = self.len.filter(|&len| after > len) {
            return Err(Error::LengthMismatch { expected, found: after });
        }
        if after > self.room {
            let step = after.min(MAX_STEP).max(after - self.room);
            self.temp.grow(step)?;
            self.room += step;
        }
        self.temp.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Makes the blob visible; returns its digest and length.
    pub(crate) fn finish(self) -> Result<(Digest, u64)> {
        let (found, len) = (self.hasher.finish(), self.hasher.len());
        if let Some(expected) = self.len.filter(|&expected| expected != len) {
            return Err(Error::LengthMismatch { expected, found: len });
        }
        if let Some(expected) = self.expected.filter(|&expected| expected != found) {
            return Err(Error::DigestMismatch { expected, found });
        }
        self.files.publish_blob(self.temp, &found, len)?;
        Ok((found, len))
    }
}

impl Files {
    /// Makes a blob visible whose content was hashed while it was written.
    pub(super) fn publish_blob(&self, temp: Temp, digest: &Digest, len: u64) -> Result<()> {
        // The content is what the address says, so it does not matter whose file stays.
        let _ = temp.publish(&Address::blob(digest), len, Rank::Undecided, PutMode::Overwrite)?;
        self.emit(|| Event::Blob { digest, len, deduplicated: false });
        Ok(())
    }
}
