//! Blobs: records under their digest; the large ones are files of their own.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cache_core::files::{self, Links};
use cache_core::{Digest, Error, Event, Fingerprinter, HashFunction, Hasher, Result};

use super::{Logged, address};
use crate::report::{Blob, Content};
use crate::segments::{Depth, LargeFile, Payload, Put, Sight, Source, Worth};

/// Bytes that are copied at a time: enough that BLAKE3 can use several threads.
const CHUNK: usize = 1 << 20;

impl Logged {
    fn find_blob(
        &self,
        digest: &Digest,
        limit: u64,
        depth: Depth,
    ) -> Result<Option<(Payload, u64, Vec<u8>)>> {
        let (kind, id) = address(digest);
        let mut buffer = Vec::new();
        let fail = |e| self.read_error(e);
        if limit < u64::MAX {
            // Nothing is read that nobody may have.
            let sight = self.log().look_up(kind, id, Depth::Header, false, &mut buffer).map_err(fail)?;
            if let Some(size) = sight.into_record().map(|record| record.len()).filter(|len| *len > limit) {
                return Err(Error::TooLarge { what: format!("the blob {digest}"), size, limit });
            }
        }
        match self.log().look_up(kind, id, depth, true, &mut buffer).map_err(fail)? {
            Sight::Hit(record) => {
                let len = record.len();
                Ok(Some((record.payload, len, buffer)))
            }
            Sight::Damaged => {
                self.tell_damaged(&format!("blob {digest}"), "its record does not have its checksum");
                Ok(None)
            }
            Sight::Absent | Sight::Evicted => Ok(None),
        }
    }

    /// Returns the content of a blob.
    pub(crate) fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Option<Bytes>> {
        Ok(match self.find_blob(digest, limit, Depth::Bytes)? {
            None | Some((Payload::Unread | Payload::File(..), ..)) => None,
            Some((Payload::Bytes(range), _, buffer)) => Some(Bytes::from(buffer).slice(range)),
        })
    }

    /// Returns a blob after all of it was read and found right.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<Option<Blob>> {
        Ok(match self.find_blob(digest, u64::MAX, Depth::Open)? {
            None | Some((Payload::Unread, ..)) => None,
            Some((Payload::Bytes(range), len, buffer)) => {
                let content = Content::Bytes(Bytes::from(buffer).slice(range));
                Some(Blob { len, content })
            }
            Some((Payload::File(file, path), len, _)) => {
                Some(Blob { len, content: Content::File { file, path } })
            }
        })
    }

    /// Returns the length of a blob, if there is one.
    pub(crate) fn blob_len(&self, digest: &Digest) -> Option<u64> {
        let (kind, id) = address(digest);
        let sight = self.log().look_up(kind, id, Depth::Header, false, &mut Vec::new()).ok()?;
        sight.into_record().map(|record| record.len())
    }

    /// Returns whether a blob is there, with this length if one is given, and counts that as a use.
    pub(crate) fn has_blob(&self, digest: &Digest, len: Option<u64>) -> bool {
        let sight = self.claim(digest, &mut Vec::new());
        let record = sight.ok().and_then(Sight::into_record);
        record.is_some_and(|record| len.is_none_or(|len| len == record.len()))
    }

    /// Looks for a blob that an entry may be about to name, which keeps it from a collection for a while.
    pub(super) fn claim(&self, digest: &Digest, buffer: &mut Vec<u8>) -> io::Result<Sight> {
        let (kind, id) = address(digest);
        let sight = self.log().look_up(kind, id, Depth::Header, true, buffer)?;
        let expired = self.unprotected_before();
        if matches!(&sight, Sight::Hit(record) if record.stored() < expired) {
            self.claims.note(kind, *id, self.clock.now().as_millis(), expired);
            // A collection may have taken it just before.
            return self.log().look_up(kind, id, Depth::Header, false, buffer);
        }
        Ok(sight)
    }

    /// Tells that a blob was announced which is there already.
    pub(crate) fn deduplicated(&self, digest: &Digest, len: u64) {
        self.emit(|| Event::Blob { digest, len, deduplicated: true });
    }

    /// Stores `content` and returns its digest under `function`.
    pub(crate) fn write_blob(self: &Arc<Self>, function: HashFunction, content: &[u8]) -> Result<Digest> {
        self.writable()?;
        let digest = Digest::of(function, content);
        if !self.has_blob(&digest, Some(content.len() as u64)) {
            self.put_blob(&digest, content)?;
        }
        Ok(digest)
    }

    fn put_blob(self: &Arc<Self>, digest: &Digest, content: &[u8]) -> Result<()> {
        let done =
            self.log.run(|log| log.put_bytes(&Put { payload: Source::Bytes(content), ..blob(digest) }));
        self.tell_evicted();
        done.map_err(|e| self.put_error(e))?;
        self.emit(|| Event::Blob { digest, len: content.len() as u64, deduplicated: false });
        Ok(())
    }

    /// Stores what `reader` gives.
    pub(crate) fn write_blob_from(
        self: &Arc<Self>,
        function: HashFunction,
        expected: Option<Digest>,
        len: Option<u64>,
        mut reader: impl Read,
    ) -> Result<(Digest, u64)> {
        let mut writer = BlobWriter::new(self, function, expected, len)?;
        let mut buffer = vec![0; CHUNK];
        loop {
            match crate::files::fill(&mut reader, &mut buffer) {
                Ok(0) => return writer.finish(),
                Ok(filled) => writer.write(&buffer[..filled])?,
                Err(source) => {
                    let what = "cannot read what is to be stored".to_owned();
                    return Err(Error::Io { what, source });
                }
            }
        }
    }

    /// Stores the content of a file. If it changes meanwhile, what was stored is what has the digest.
    pub(crate) fn import_file(self: &Arc<Self>, path: &Path) -> Result<(Digest, u64)> {
        self.writable()?;
        let fail = |e| Error::io("cannot read", path, e);
        let source = files::open(path, Links::Follow).map_err(fail)?;
        let meta = source.metadata().map_err(fail)?;
        if !meta.is_file() {
            return Err(Error::Invalid(format!(
                "{} is not a regular file; it cannot be stored",
                path.display()
            )));
        }
        if meta.len() > self.log().max_inline()
            && let Some(stored) = self.import_clone(&source, meta.len())?
        {
            return Ok(stored);
        }
        if meta.len() <= self.log().max_inline() {
            let mut content = Vec::with_capacity(meta.len() as usize + 1);
            (&source).take(CHUNK as u64).read_to_end(&mut content).map_err(fail)?;
            if content.len() < CHUNK {
                return Ok((self.write_blob(HashFunction::Blake3, &content)?, content.len() as u64));
            }
            return self.write_blob_from(HashFunction::Blake3, None, None, content.chain(&source));
        }
        self.write_blob_from(HashFunction::Blake3, None, None, &source)
    }

    /// Stores a clone of `source`; nothing if the file system cannot clone.
    fn import_clone(self: &Arc<Self>, source: &File, len: u64) -> Result<Option<(Digest, u64)>> {
        let full = |e| self.put_error(e);
        let created = self.log().create_large(len, Worth::Normal);
        self.tell_evicted();
        let mut large = created.map_err(full)?;
        if reflink_copy::reflink_file(source, large.file()).is_err() {
            return Ok(None);
        }
        let mut hasher = Hasher::new(HashFunction::Blake3);
        let mut fingerprinter = Fingerprinter::new();
        let mut read = || -> io::Result<u64> {
            let mut file = large.file();
            file.seek(SeekFrom::Start(0))?;
            let mut buffer = vec![0; CHUNK];
            loop {
                let filled = crate::files::fill(&mut file, &mut buffer)?;
                if filled == 0 {
                    return Ok(hasher.len());
                }
                hasher.update(&buffer[..filled]);
                fingerprinter.update(&buffer[..filled]);
            }
        };
        let found = read().map_err(|e| self.read_error(e))?;
        let digest = hasher.finish();
        if self.has_blob(&digest, Some(found)) {
            return Ok(Some((digest, found)));
        }
        large.cloned(found, fingerprinter).map_err(full)?;
        let done = large.finish(&blob(&digest));
        self.tell_evicted();
        done.map_err(full)?;
        self.emit(|| Event::Blob { digest: &digest, len: found, deduplicated: false });
        Ok(Some((digest, found)))
    }

    /// Removes a blob.
    pub(crate) fn delete_blob(&self, digest: &Digest) -> Result<bool> {
        self.writable()?;
        let (kind, id) = address(digest);
        self.log().remove(kind, id).map_err(|e| self.change_error(e))
    }
}

/// Returns a put of an empty blob.
fn blob(digest: &Digest) -> Put<'_> {
    let (kind, key) = address(digest);
    let payload = Source::Bytes(&[]);
    Put { kind, key, meta: &[], payload, worth: Worth::Normal, expires: 0, if_absent: false }
}

/// A blob in the making: in memory while it is small. Dropped before [`finish`](Self::finish), it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct BlobWriter {
    store: Arc<Logged>,
    hasher: Hasher,
    small: Vec<u8>,
    large: Option<LargeFile>,
    expected: Option<Digest>,
    /// Length as announced.
    len: Option<u64>,
}

impl BlobWriter {
    /// Starts a blob of `function`, whose digest and length may be known beforehand.
    pub(crate) fn new(
        store: &Arc<Logged>,
        function: HashFunction,
        expected: Option<Digest>,
        len: Option<u64>,
    ) -> Result<Self> {
        store.writable()?;
        let large = match len.filter(|len| *len > store.log().max_inline()) {
            Some(len) => Some(store.log().create_large(len, Worth::Normal).map_err(|e| store.put_error(e))?),
            None => None,
        };
        let hasher = Hasher::new(function);
        Ok(Self { store: Arc::clone(store), hasher, small: Vec::new(), large, expected, len })
    }

    /// Takes the next bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let after = self.hasher.len() + bytes.len() as u64;
        if let Some(expected) = self.len.filter(|&len| after > len) {
            return Err(Error::LengthMismatch { expected, found: after });
        }
        self.hasher.update(bytes);
        let log = &self.store.log();
        if self.large.is_none() && after <= log.max_inline() {
            self.small.extend_from_slice(bytes);
            return Ok(());
        }
        let mut write = || {
            let large = match &mut self.large {
                Some(large) => large,
                none => {
                    let large = none.insert(log.create_large(after, Worth::Normal)?);
                    large.write(&std::mem::take(&mut self.small))?;
                    large
                }
            };
            large.write(bytes)
        };
        let done = write();
        self.store.tell_evicted();
        done.map_err(|e| self.store.put_error(e))
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
        let store = &self.store;
        // What came in under the same digest meanwhile is the same.
        if store.has_blob(&found, Some(len)) {
            store.deduplicated(&found, len);
            return Ok((found, len));
        }
        match self.large {
            None => store.put_blob(&found, &self.small)?,
            Some(large) => {
                let done = large.finish(&blob(&found));
                store.tell_evicted();
                done.map_err(|e| store.put_error(e))?;
                store.emit(|| Event::Blob { digest: &found, len, deduplicated: false });
            }
        }
        Ok((found, len))
    }
}
